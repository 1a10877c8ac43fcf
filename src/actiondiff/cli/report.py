"""`actiondiff report`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(help="A run, an evaluation, predictions, a sweep or a reproduction.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; report.html in the folder if not given.")
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that the videos' paths are relative to; may be repeated."),
    ] = None,
) -> None:
    """Write a report: one HTML page that needs no other file.

    It shows what was run, numbers with intervals and floors, figures, and the leakage audit.
    """
    from actiondiff.cli.pages import build_report

    path = build_report(folder, out, videos=videos or ())
    typer.echo(f"written to {path}; the figures and their data are beside it.")
