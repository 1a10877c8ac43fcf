"""Completion in a shell: commands are completed although they are imported only when they are called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import actiondiff


def complete(typed: str) -> list[str]:
    """What bash is offered for the last word, through the variables that its script sets."""
    variables = {
        **os.environ, "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")),
        "_ACTIONDIFF_COMPLETE": "complete_bash", "PYTHONPATH": str(Path(actiondiff.__file__).parents[1]),
    }  # fmt: skip
    code = "import sys; sys.argv[0] = 'actiondiff'; from actiondiff.cli.main import run; sys.exit(run())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("actiondiff pred", ["predict"]),
        ("actiondiff table ", ["import", "spans", "add"]),
        ("actiondiff predict --smooth", ["--smooth-seconds"]),
        ("actiondiff pretrain", []),  # an alias that no help shows
    ],
)
def test_words_are_completed(typed, offered):
    assert complete(typed) == offered


def test_the_script_is_printed():
    variables = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    variables["PYTHONPATH"] = str(Path(actiondiff.__file__).parents[1])
    code = "import sys; sys.argv[0] = 'actiondiff'; from actiondiff.cli.main import run; "
    code += "sys.exit(run(['--show-completion', 'bash']))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert "_ACTIONDIFF_COMPLETE=complete_bash" in process.stdout, process.stderr
