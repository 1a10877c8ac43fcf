"""`actiondiff videos check`: problems of video files."""

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import (
    JsonOption,
    MaxMegapixelsOption,
    MaxPauseOption,
    OverwriteOption,
    StreamOption,
)

if TYPE_CHECKING:
    from rich.table import Table

    from actiondiff.video.probe import VideoCheck

__all__ = ["check"]

_COLUMNS = (
    "video", "status", "reason", "notes", "width_px", "height_px", "frames_per_second", "num_frames",
    "num_frames_expected", "seconds", "codec", "num_bytes",
)  # fmt: skip


def check(
    paths: Annotated[list[Path], typer.Argument(help="Video files, or folders that are searched for them.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="CSV file to write the results to.", dir_okay=False),
    ] = None,
    overwrite: OverwriteOption = False,
    stream: StreamOption = None,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode videos and report what is broken, cut short or odd.

    Every video is decoded completely. The exit code is 3 if any video is failed or partial.
    """
    from contextlib import nullcontext

    from rich.console import Console
    from rich.progress import track

    from actiondiff import outputs
    from actiondiff.provenance import write_csv
    from actiondiff.video.probe import check_videos

    with outputs.claim_file(out, "videos check", overwrite=overwrite) if out else nullcontext():
        results = check_videos(paths, stream=stream)
        console = Console(stderr=True)
        checks = list(track(results, "Decoding", console=console, transient=True, disable=as_json))
        if out:
            write_csv(out, _COLUMNS, [_row(item) for item in checks])
    counts: Counter[str] = Counter(item.report.status for item in checks)
    if as_json:
        values = [{**asdict(item), "path": item.path.as_posix()} for item in checks]
        typer.echo(json.dumps(values, indent=2))
    else:
        _print(checks, counts, out)
    if counts["partial"] or counts["failed"]:
        raise typer.Exit(3)


def _print(checks: "list[VideoCheck]", counts: Counter[str], out: Path | None) -> None:
    """Print one row per video, then everything that is wrong or odd, then the sum."""
    from rich.console import Console

    base = os.path.commonpath([os.path.abspath(item.path.parent) for item in checks])
    names = [Path(os.path.relpath(item.path, base)).as_posix() for item in checks]
    console = Console(markup=False, emoji=False, highlight=False)  # names are printed as they are
    console.print(f"Videos in {base}:", soft_wrap=True)
    console.print(_table(checks, names))
    for title, notes in (
        ("Problems", [(name, item.report.reason) for name, item in zip(names, checks, strict=True)]),
        ("Notes", [(name, "; ".join(item.notes)) for name, item in zip(names, checks, strict=True)]),
    ):
        lines = [f"  {name}: {note}" for name, note in notes if note]
        if lines:
            console.print("\n".join([f"{title}:", *lines]), soft_wrap=True)
    summary = ", ".join(f"{counts[name]} {name}" for name in ("ok", "partial", "failed") if counts[name])
    written = f" Written to {out}." if out else ""
    typer.echo(f"{len(checks)} checked: {summary}.{written}")


def _row(item: "VideoCheck") -> tuple[object, ...]:
    """One row of the CSV file."""
    info, report = item.info, item.report
    return (
        item.path.as_posix(), report.status, report.reason, "; ".join(item.notes),
        info and info.width_px, info and info.height_px, info and info.average_rate,
        report.num_frames_decoded, report.num_frames_expected, item.seconds or None,
        info and info.codec, item.num_bytes,
    )  # fmt: skip


def _table(checks: "list[VideoCheck]", names: list[str]) -> "Table":
    """One row per video, which fits 80 columns: names are folded."""
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "status", "size", "rate", "frames", "seconds", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap = True
    for item, name in zip(checks, names, strict=True):
        info, report = item.info, item.report
        expected = report.num_frames_expected
        promised = f"/{expected}" if expected not in (None, report.num_frames_decoded) else ""
        cells = (
            name,
            report.status,
            f"{info.width_px}x{info.height_px}" if info else "",
            f"{info.average_rate:.4g}" if info and info.average_rate else "",
            f"{report.num_frames_decoded}{promised}",
            f"{item.seconds:.2f}" if item.seconds else "",
        )
        table.add_row(*map(Text, cells))  # as Text, because names of files may look like markup
    return table
