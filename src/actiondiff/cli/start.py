"""`actiondiff start`: from a folder of videos and labels to a verdict."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.crop_options import BoxesOption, BoxesRootOption, boxes_from_options
from actiondiff.cli.options import OverridesOption, OverwriteOption

if TYPE_CHECKING:
    from actiondiff.start.groups import GroupProposal

__all__ = ["start"]

_LISTED = 5  # groups that are shown


def start(
    folder: Annotated[Path, typer.Argument(help="Folder of the videos.")],
    labels: Annotated[
        Path | None,
        typer.Argument(
            help="Labels: a CSV, a folder per class, a BORIS project or export, or DeepEthogram's folder.  "
            "[default: those in FOLDER]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to.  [default: FOLDER-start]", show_default=False),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="What must not be on both sides of a test: a column of the table, or folders, names or "
            "videos.  [default: proposed, and asked about in a terminal]"
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Column of the table that names the camera, to try taking the place away that it shows; "
            "none for no such trial.  [default: a column such as camera or site]",
            show_default=False,
        ),
    ] = None,
    background_clips: Annotated[
        Path | None,
        typer.Option(
            help="CSV of clips without animals and their cameras (video, camera), from which the places are "
            "estimated.  [default: the clips themselves]",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Backbone to compare with simple colours and motion.  [default: what suits this machine]"
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint of the backbone: a file, folder or hub id.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and of training.")] = 0,
    overrides: OverridesOption = None,
    boxes: BoxesOption = None,
    boxes_root: BoxesRootOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask about the proposed groups or similar labels.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Go from videos and labels to a model and a verdict.

    With --boxes, each animal is cut out of its video and taken by itself.
    Every step is one of the other commands, and is printed, so that it can be repeated. A second run goes on
    where the first one ended.
    """
    from actiondiff.start.road import StartOptions
    from actiondiff.start.road import start as go

    boxes_from_options(boxes, boxes_root, None)  # what is wrong with them is an error before any work
    options = StartOptions(
        folder,
        labels,
        out or Path(f"{folder.resolve().name}-start"),
        groups,
        backbone,
        weights,
        seed,
        tuple(overrides or ()),
        overwrite,
        camera,
        background_clips,
        boxes,
        boxes_root,
    )
    go(
        options,
        run_command=_run_command,
        echo=typer.echo,
        confirm=lambda proposal: yes or not sys.stdin.isatty() or _confirm(proposal),
        ask=lambda question: yes or not sys.stdin.isatty() or typer.confirm(question, default=True),
    )


def _run_command(words: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process; its errors and its progress are shown, its output is returned."""
    from actiondiff.cli.main import run

    printed = io.StringIO()
    with redirect_stdout(printed):
        code = run(list(words))
    return code, printed.getvalue()


def _confirm(proposal: "GroupProposal") -> bool:
    """Show the first groups, and ask whether they are right."""
    members: dict[str, list[str]] = {}
    for video, group in proposal.names.items():
        members.setdefault(group, []).append(Path(video).name)
    for group, videos in list(members.items())[:_LISTED]:
        typer.echo(f"  {group}: {', '.join(videos[:_LISTED])}{', ...' if len(videos) > _LISTED else ''}")
    if len(members) > _LISTED:
        typer.echo(f"  ... and {len(members) - _LISTED} more")
    return typer.confirm("Do the videos of a group belong together, and all others not?", default=True)
