"""Hooks of MkDocs: the list of pages, their links, and the references made from the code.

README.md and its neighbours become pages of the site, so that every text exists only once. Links that work in
the repository are changed to work in the site; a link to a file that is not a page becomes the file's name.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import actiondiff
from actiondiff.cli.listing import SECTIONS
from actiondiff.cli.main import app

ROOT = Path(__file__).parents[1]
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "THIRD_PARTY.md": "third-party.md",
}
"""Texts at the top of the repository -> pages."""
NAVIGATION = {
    "Start": ["index.md", "quickstart.md", "your-data.md", "crops.md", "backgrounds.md", "concepts.md"],
    "Using it": [
        "which-backbone.md",
        "report.md",
        "evaluation.md",
        "several-keys.md",
        "large-scale.md",
        "backbones.md",
        "video-transformers.md",
        "student.md",
        "datasets.md",
    ],
    "The method": ["method.md", "reproduce.md", "builtin.md"],
    "Extending it": ["extend.md", "contributing.md"],
    "Reference": ["cli.md", "api.md", "changelog.md", "third-party.md"],
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that exist in order; pages that `NAVIGATION` does not name come last."""
    here = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    here |= set(TOP.values())
    placed = [page for pages in NAVIGATION.values() for page in pages]
    config.nav = [{part: [page for page in pages if page in here]} for part, pages in NAVIGATION.items()]
    config.nav += sorted(here - set(placed))
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the texts at the top of the repository."""
    for source, page in TOP.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links for the site, and fill in the references."""
    source = {made: source for source, made in TOP.items()}.get(page.file.src_uri)
    place = PurePosixPath(source or f"docs/{page.file.src_uri}").parent
    markdown = _LINK.sub(lambda match: _relinked(match, place, page.file.src_uri), markdown)
    markdown = markdown.replace("<!-- every command -->", "\n".join(_commands()))
    return markdown.replace("<!-- every public name -->", "\n".join(_public_names()))


def _relinked(match: re.Match[str], place: PurePosixPath, page: str) -> str:
    text, target, anchor = match[1], match[2], match[3] or ""
    if re.match(r"[a-z]+:", target):
        return match[0]
    path = os.path.normpath(place / target).replace(os.sep, "/")
    made = TOP.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if made is None:
        return f"{text} (`{path}`)"
    return f"[{text}]({os.path.relpath(made, PurePosixPath(page).parent)}{anchor})"


def _commands() -> Iterator[str]:
    """Every command, with its arguments and options, as Markdown; in the order of `actiondiff --help`."""
    from typer.main import get_command

    commands = get_command(app).commands
    for title, members in SECTIONS.items():
        yield f"# {title}\n"
        for entry in members:
            yield from _describe(commands[entry.name], f"actiondiff {entry.name}")


def _describe(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        for word, part in inner.items():
            yield from _describe(part, f"{name} {word}")
        return
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    yield f"## {name}\n\n{command.help}\n"
    yield "```"
    yield " ".join(
        [name, *(_placeholder(argument) for argument in arguments), "[OPTIONS]" if options else ""]
    )
    yield "```\n"
    if command.params:
        yield "| | | default |\n|---|---|---|"
    for parameter in (*arguments, *options):
        flags = [f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts)]
        shown = ", ".join(flags) if parameter in options else f"`{_placeholder(parameter)}`"
        yield f"| {shown} | {_cell(parameter.help or '')} | {_default(parameter)} |"
    yield ""


def _placeholder(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 or argument.multiple else "")
    return name if argument.required else f"[{name}]"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if (
        value is None
        or callable(value)
        or value is False
        or value in ((), [])
        or type(value).__name__ == "Sentinel"
    ):
        return ""
    return f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _public_names() -> Iterator[str]:
    """A directive for every public name of `actiondiff`."""
    for name in sorted(actiondiff._PUBLIC, key=str.lower):
        yield f"::: actiondiff.{actiondiff._PUBLIC[name]}.{name}\n"
