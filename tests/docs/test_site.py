"""The site is built without a warning, has a page for everything, and fetches nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import actiondiff
from actiondiff.cli.main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built as `make docs` builds it; --strict makes a warning an error."""
    pytest.importorskip("mkdocs", reason="needs mkdocs, of the extra dev")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text("utf-8"))


def names_of(command, name):
    inner = getattr(command, "commands", None)
    if inner is None:
        return [name]
    visible = {word: part for word, part in inner.items() if not part.hidden}
    return [n for word, part in visible.items() for n in names_of(part, f"{name} {word}")]


def test_every_command_and_option_is_described(site):
    text = text_of(site / "cli.html")
    for name in names_of(get_command(app), "actiondiff"):
        assert name in text
    for flag in ("--max-upload-mb", "--shard", "--domain", "--json"):
        assert flag in text


def test_every_public_name_is_described(site):
    text = (site / "api.html").read_text("utf-8")
    for name, module in actiondiff._PUBLIC.items():
        assert f'id="actiondiff.{module}.{name}"' in text


def test_every_page_is_there_and_is_reached(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "contributing", "changelog"}
    start = (site / "index.html").read_text("utf-8")
    for page in pages:
        assert (site / f"{page}.html").is_file()
        assert f'href="{page}.html"' in start or page == "index"


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.glob("*.html"):
        text = page.read_text("utf-8")
        assert not re.findall(r'(?:src|<link[^>]*href)="https?://[^"]*"', text), page.name
