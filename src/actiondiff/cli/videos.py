"""`actiondiff videos check`: problems of video files."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import JsonOption, MaxMegapixelsOption, MaxPauseOption, StreamOption

if TYPE_CHECKING:
    from rich.table import Table

    from actiondiff.video.probe import VideoCheck

__all__ = ["check"]


def check(
    paths: Annotated[list[Path], typer.Argument(help="Video files, or folders that are searched for them.")],
    stream: StreamOption = None,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode videos and report what is broken, cut short or odd.

    Every video is decoded completely. The exit code is 3 if any video is failed or partial.
    """
    from rich.console import Console
    from rich.progress import track

    from actiondiff.video.probe import check_videos

    console = Console(stderr=True)
    checks = list(
        track(
            check_videos(paths, stream=stream), "Decoding", console=console, transient=True, disable=as_json
        )
    )
    counts = Counter(item.report.status for item in checks)
    if as_json:
        values = [{**asdict(item), "path": item.path.as_posix()} for item in checks]
        typer.echo(json.dumps(values, indent=2))
    else:
        Console().print(_table(checks))
        summary = ", ".join(f"{counts[name]} {name}" for name in ("ok", "partial", "failed") if counts[name])
        typer.echo(f"{len(checks)} checked: {summary}.")
    if counts["partial"] or counts["failed"]:
        raise typer.Exit(3)


def _table(checks: "list[VideoCheck]") -> "Table":
    """One row per video."""
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "status", "size", "rate", "frames", "seconds", "notes", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for item in checks:
        info, report = item.info, item.report
        expected = report.num_frames_expected
        promised = f"/{expected}" if expected not in (None, report.num_frames_decoded) else ""
        cells = (
            item.path.as_posix(),
            report.status,
            f"{info.width_px}x{info.height_px}" if info else "",
            f"{info.average_rate:.4g}" if info and info.average_rate else "",
            f"{report.num_frames_decoded}{promised}",
            f"{item.seconds:.2f}" if item.seconds else "",
            "; ".join(filter(None, (report.reason, *item.notes))),
        )
        table.add_row(*map(Text, cells))  # as Text, because names of files may look like markup
    return table
