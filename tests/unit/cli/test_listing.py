"""The list of commands agrees with the commands, and help imports no more than it shows."""

import inspect
import subprocess
import sys

import pytest
from typer.main import get_command

from actiondiff.cli.listing import ALIASES, SECTIONS, GroupEntry, entries
from actiondiff.cli.main import app, run

HEAVY = ("torch", "numpy", "pandas", "yaml", "av", "lightning", "transformers", "matplotlib", "rich")
"""Typer itself imports pydantic to make any command, so it is our own modules that are counted instead."""
ALWAYS = {"cli", "cli.main", "cli.groups", "cli.arguments", "cli.listing", "errors"}
SHOWN = {
    "extract": {"backbones.options", "backbones.svd.options", "registry"},
    "predict": {"inference.options"},
    "localize": {"inference.options"},
    "app": {"inference.options", "app.options"},
    "detect": {"detection.options"},
    "distill": {"distillation.options"},
    "dev pretrain-tiny": {"builtin.pretraining.options"},
    "pretrain-tiny": {"builtin.pretraining.options"},
}
"""Command -> the modules of the option models that its help shows."""


def leaves(members, before=()):
    for entry in members:
        words = (*before, entry.name)
        if isinstance(entry, GroupEntry):
            yield from leaves(entry.members, words)
        else:
            yield words, entry


COMMANDS = dict(leaves([*entries(), *ALIASES]))


def find(words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_summary_is_the_first_line_of_the_docstring(words):
    entry = COMMANDS[words]
    first = inspect.cleandoc(find(words).help).split("\n\n")[0].replace("\n", " ")
    assert first == entry.summary
    assert len(first) <= 63  # one line of a terminal of 80 columns, beside the names


def test_an_option_of_several_commands_has_one_name():
    names: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for words in COMMANDS:
        for option in find(words).params:
            if option.param_type_name == "option" and option.help:
                commands = names.setdefault(option.help, {}).setdefault(tuple(option.opts), [])
                commands.append(" ".join(words))
    assert not {text: spellings for text, spellings in names.items() if len(spellings) > 1}


def loaded_by(arguments):
    """The heavy packages, and the modules of ours without those of `cli` that a command may import."""
    code = (
        "import sys; from actiondiff.cli.main import run; code = run(sys.argv[1:])\n"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    names = set(done.stderr.split())
    return names & set(HEAVY), {n.removeprefix("actiondiff.") for n in names if n.startswith("actiondiff.")}


@pytest.mark.parametrize("words", [(), ("features",), ("dev",)], ids=str)
def test_help_of_a_group_imports_no_command(words):
    assert loaded_by([*words, "--help"]) == (set(), ALWAYS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_a_command_loads_only_what_it_shows(words):
    heavy, own = loaded_by([*words, "--help"])
    assert heavy == set()
    models = SHOWN.get(" ".join(words), set())
    packages = {name[:end] for name in models for end, letter in enumerate(name) if letter == "."}
    assert {name for name in own if not name.startswith("cli.")} - ALWAYS - packages == models


def test_the_help_shows_the_sections_in_order_and_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 80
    lines = text.splitlines()
    for entry in entries():
        assert sum(line.startswith(f"  {entry.name} ") and entry.summary in line for line in lines) == 1


def test_options_are_shown_by_panel(capsys):
    assert run(["extract", "--help"]) == 0
    text = capsys.readouterr().out
    titles = [line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[:2] == ["Arguments", "Options"]
    assert titles[-1] == "Expert options"
    assert text.index("--backbone") < text.index(f"\n{titles[2]}:\n") < text.index("--ray-address")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_described_and_the_help_fits_80_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*words, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    undescribed = [parameter.name for parameter in find(words).params if not parameter.help]
    assert undescribed == []


@pytest.mark.parametrize("words", dict(leaves(ALIASES)), ids=" ".join)
def test_an_old_name_is_the_same_command_and_hidden(words, capsys):
    old, new = find(words), find(("dev", *words))
    assert get_command(app).commands[words[0]].hidden
    assert not get_command(app).commands["dev"].commands[words[0]].hidden
    assert [p.opts for p in old.params] == [p.opts for p in new.params]
    assert old.help == new.help
    assert run(["--help"]) == 0
    assert f"  {words[0]} " not in capsys.readouterr().out


def test_an_old_name_works_as_before(tmp_path, capsys):
    for number, command in enumerate((["menagerie"], ["dev", "menagerie"])):
        assert run([*command, "sheet", str(tmp_path / f"{number}.png"), "--kind", "bodies"]) == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(capsys):
    assert run(["extrac"]) == 2
    assert "'extract'" in capsys.readouterr().err
    assert run(["features", "mergee"]) == 2
    assert "'merge'" in capsys.readouterr().err
