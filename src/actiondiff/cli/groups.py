"""Groups of commands that import a command when it is called, and help texts in sections."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from actiondiff.cli.arguments import check_arguments
from actiondiff.cli.listing import ALIASES, SECTIONS, CommandEntry, GroupEntry, entries

__all__ = ["EXPERT", "CommandGroup", "MainGroup", "SectionedCommand"]

EXPERT = "Expert options"
"""Panel of the help for options that are rarely needed."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SectionedCommand(TyperCommand):
    """A command whose help lists its options by panel: everyday options first, expert options last."""

    def invoke(self, ctx: Any) -> Any:
        """Check the paths among the arguments, before the command imports what it needs."""
        check_arguments(self.name or "", ctx.params)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options (the types are click's, of which typer has its own copy)."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                title = getattr(parameter, "rich_help_panel", None) or usual
                panels.setdefault(title, []).append(record)
        panels |= {EXPERT: panels.pop(EXPERT, [])}  # the last panel, wherever its first option stands
        for title, records in panels.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """A group that knows its commands from the listing and imports one only when it is called."""

    def __init__(self, *, members: Sequence[CommandEntry | GroupEntry] = (), **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(members, ())  # type: ignore[assignment]  # read as a mapping, never written

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and summaries of the commands."""
        _write_section(formatter, "Commands", self.commands.entries.values())  # type: ignore[attr-defined]


class MainGroup(CommandGroup):
    """`actiondiff` itself: the commands of the listing in their sections, and the hidden aliases."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands([*entries(), *ALIASES], ALIASES)  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and summaries of the commands, section by section."""
        width = max(len(entry.name) for entry in entries())
        for title, members in SECTIONS.items():
            _write_section(formatter, title, members, width=width)


class _Commands(Mapping[str, Any]):
    """Name -> command; it is made when it is looked up."""

    def __init__(
        self, members: Sequence[CommandEntry | GroupEntry], hidden: Sequence[CommandEntry | GroupEntry]
    ) -> None:
        self.entries = {entry.name: entry for entry in members}
        self.hidden = {entry.name for entry in hidden}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(self.entries[name], hidden=name in self.hidden)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _make(entry: CommandEntry | GroupEntry, *, hidden: bool) -> Any:
    if isinstance(entry, GroupEntry):
        return CommandGroup(
            name=entry.name, members=entry.members, help=f"{entry.summary}.", hidden=hidden,
            no_args_is_help=True, rich_markup_mode=None,
        )  # fmt: skip
    module, _, function = entry.reference.partition(":")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    command = getattr(importlib.import_module(f"actiondiff.cli.{module}"), function)
    app.command(entry.name, cls=SectionedCommand, hidden=hidden)(command)
    made = typer.main.get_command(app)
    if all(parameter.name != "threads" for parameter in made.params):
        made.params.append(_threads_option())
    return made


def _threads_option() -> Any:
    """`--threads` for commands that have no such option of their own."""
    app = typer.Typer(add_completion=False)
    app.command(cls=SectionedCommand)(_take_threads)
    return next(p for p in typer.main.get_command(app).params if p.name == "threads")


def _limit_threads(number: int | None) -> None:
    if number is None:
        return
    # The libraries read these when they are loaded, which no command has done yet.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(number)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)


def _take_threads(
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            callback=_limit_threads,
            expose_value=False,
            rich_help_panel=EXPERT,
            help="Number of CPU threads.  [default: one per core]",
        ),
    ] = None,
) -> None:
    """The signature that the option is made from."""


def _write_section(
    formatter: Any, title: str, members: "Sequence[CommandEntry | GroupEntry]", *, width: int = 0
) -> None:
    """Write names and summaries; names take at least `width` columns, so that sections line up."""
    rows = []
    for entry in members:
        text = entry.summary
        if isinstance(entry, GroupEntry):
            text += f" ({', '.join(member.name for member in entry.members)})."
        rows.append((entry.name.ljust(width), text))
    with formatter.section(title):
        formatter.write_dl(rows)
