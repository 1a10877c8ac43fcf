"""The table of the release's commands names rows that exist."""

import re
import shlex
from pathlib import Path

from actiondiff.paper.plan import load_studies, variant_of

PAGE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text("utf-8")


def test_every_command_of_the_release_has_one_of_ours():
    _, _, section = PAGE.partition("## The release's commands")
    section = section.partition("\n## ")[0]
    ours = [line for line in section.splitlines() if line.startswith("| `") and "reproduce table" in line]
    results = [line for line in ours if "ablations" not in line]
    assert len(results) == 24
    assert len({line.split("|")[1] for line in results}) == 24
    for command in re.findall(r"`(actiondiff reproduce [^`]+)`", section):
        words = shlex.split(command)[2:]
        target, options = words[0], dict(zip(words[1::2], words[2::2], strict=True))
        cases = {cell.case for cell in load_studies(variant_of(target, options.get("--case"))).cells}
        rows = [value for flag, value in zip(words[1::2], words[2::2], strict=True) if flag == "--rows"]
        for row in rows:
            assert any(row in case for case in cases), command
