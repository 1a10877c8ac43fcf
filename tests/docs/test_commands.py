"""What README and docs tell people to type exists, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from actiondiff.cli.main import app, run
from actiondiff.video.write import write_video

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def commands(page: Path) -> list[str]:
    """Every `actiondiff ...` in code, with comments removed; those that only name a command are left out."""
    text = page.read_text("utf-8")
    blocks = [line for _, block in _FENCE.findall(text) for line in block.splitlines()]
    inline = re.findall(r"`(actiondiff [^`]+)`", text)
    lines = [line.split(" #")[0].strip() for line in (*blocks, *inline)]
    return [line for line in lines if line.startswith("actiondiff ")]


def test_there_is_something_to_check():
    assert sum(len(commands(page)) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    for line in commands(page):
        command, words = get_command(app), shlex.split(line)[1:]
        if words[0].isupper():
            continue  # `actiondiff COMMAND --help`
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {
            flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        known.add("--help")
        for word in words:
            if word.startswith("-"):
                assert word.split("=")[0] in known, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_python_of_the_readme_compiles():
    blocks = [
        block for kind, block in _FENCE.findall((ROOT / "README.md").read_text("utf-8")) if kind == "python"
    ]
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def test_the_readmes_own_videos_section_works(tmp_path, monkeypatch):
    """Its commands, word for word, on a folder of clips and a table of the shape it shows."""
    import numpy as np

    text = (ROOT / "README.md").read_text("utf-8")
    section = text[text.index("## Your own videos") : text.index("## Real weights")]
    lines = [
        line.split(" #")[0].strip() for _, block in _FENCE.findall(section) for line in block.splitlines()
    ]
    monkeypatch.chdir(tmp_path)
    rows = ["video,label,site"]
    for number in range(24):
        action, site = ("eating", "walking")[number % 2], ("north", "south")[number // 12]
        shade = np.random.default_rng(number).integers(0, 60, (16, 32, 32, 3)) + 150 * (number % 2)
        write_video(tmp_path / f"my-videos/clip_{number:02}.mp4", shade.astype(np.uint8), fps=25)
        rows.append(f"my-videos/clip_{number:02}.mp4,{action},{site}")
    (tmp_path / "table.csv").write_text("\n".join(rows), "utf-8")
    (tmp_path / "new-videos").mkdir()
    (tmp_path / "my-videos/clip_00.mp4").rename(tmp_path / "new-videos/new.mp4")
    for name in ("table.csv", "labels.csv"):
        (tmp_path / name).write_text("\n".join([rows[0], *rows[2:]]), "utf-8")
    typed = [line for line in lines if line.startswith("actiondiff ")]
    assert len(typed) == 12
    for line in typed:
        if line.startswith("actiondiff app "):  # serves until it is stopped; see tests/browser
            continue
        assert run(shlex.split(line)[1:]) == 0, line
    assert "new.mp4" in (tmp_path / "predictions/predictions.csv").read_text("utf-8")
    assert (tmp_path / "runs/shift/metrics.json").is_file()
    assert (tmp_path / "bouts/bouts.csv").is_file()
    assert (tmp_path / "bouts/queue.csv").is_file()
    assert (tmp_path / "heat.mp4").is_file()
