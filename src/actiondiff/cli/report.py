"""`actiondiff report`: one page about a folder."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import OverwriteOption

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a run, an evaluation, predictions, a sweep or a reproduction.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write.  [default: report.html in the folder]"),
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that the paths of the videos start at; repeatable."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a report: one HTML page that needs no other file.

    It shows what was run, numbers with intervals and floors, figures, and the leakage audit.
    """
    from actiondiff.cli.build_report import build_report

    path = build_report(folder, out, videos=videos or (), overwrite=overwrite)
    typer.echo(f"written to {path}; the figures and their data are beside it.")
