"""What `actiondiff extract` shows: what it would take, how far it is, what came of it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from actiondiff.extraction.local import Extraction, ExtractionSummary

__all__ = ["Meter", "print_price", "print_summary", "show_progress", "span"]

_SHOWN = 20  # failures; the rest is in failures.csv
_LINE_SECONDS = 60.0  # between lines where there is no terminal, such as in a job's log
_HOUR, _DAY = 3600, 86400


def print_price(extraction: "Extraction", *, timed: bool, workers: int, as_json: bool) -> None:
    """What an extraction would take, and what would take less."""
    from actiondiff.extraction.price import price

    plan, found = extraction.plan, price(extraction, timed=timed, workers=workers)
    counts = {
        "videos": len(plan.videos),
        "contents_to_do": len(plan.todo),
        "contents_stored": len(plan.stored),
        "contents_failed_before": len(plan.failed),
        "videos_not_readable": len(plan.absent),
        "videos_of_other_shards": plan.num_elsewhere,
    }
    facts = asdict(found)
    cost = facts.pop("cost")
    if as_json:
        typer.echo(json.dumps({**counts, **cost, **facts, "processes": workers}, indent=2))
        return
    for name, count in counts.items():
        typer.echo(f"{count:8d} {name.replace('_', ' ')}")
    unknown = f", and {cost['num_unknown']} videos of unknown length" if cost["num_unknown"] else ""
    work = "" if found.tflop is None else f", {found.tflop:.3g} TFLOP"
    typer.echo(
        f"about {span(cost['video_seconds'])} of video: {cost['num_windows']} windows, "
        f"{cost['num_tokens']} tokens a feature{work}{unknown}"
    )
    if cost["num_bytes"] is not None:
        latents = f", and at most {_size(found.latent_bytes)} of latents" if found.latent_bytes else ""
        typer.echo(f"on disk: {_size(cost['num_bytes'])} of features{latents}")
    if found.timing:
        memory = found.timing.peak_memory_bytes
        typer.echo(
            f"timed here: {found.timing.seconds_a_window:.3g} s a window, "
            f"{1000 * found.timing.decode_seconds_a_frame:.3g} ms to decode each kept frame"
            + (f"; {_size(memory)} of memory at most, in each process" if memory else "")
        )
    if found.seconds is not None:
        typer.echo(
            f"it will take about {span(found.seconds)} in {workers} process{'es'[: 2 * (workers > 1)]}"
        )
    for other in found.alternatives:
        took = "" if found.seconds is None else f", about {span(found.seconds * other.share)}"
        where = "the same store" if other.same_store else "a store of its own"
        typer.echo(f"cheaper: {other.options:30} {other.share:5.2f} of the work{took} ({where})")


def print_summary(summary: "ExtractionSummary", *, as_json: bool) -> None:
    """What came of an extraction."""
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "store": summary.store.as_posix()}, indent=2))
        return
    bad = [("failed", *item) for item in summary.failed.items()]
    bad += [("partial", *item) for item in summary.partial.items()]
    for status, video, reason in bad[:_SHOWN]:
        typer.echo(f"{status}: {video}: {reason}")
    if len(bad) > _SHOWN:
        typer.echo(f"... and {len(bad) - _SHOWN} more, all in {summary.store / 'failures.csv'}")
    typer.echo(
        f"{summary.num_videos} videos: {summary.num_done} done, {summary.num_skipped} skipped, "
        f"{len(summary.partial)} partial, {len(summary.failed)} failed; features in {summary.store}"
    )


class Meter:
    """How far an extraction is, at what rate, and how long the rest will take.

    On a terminal it is a bar; elsewhere, such as in a job's log, a line a minute.

    Args:
        total: Of what is counted.
        unit: What is counted: windows, or where other processes do the work, videos.
        bar: The bar; None for lines.
    """

    def __init__(self, total: int, unit: str, bar: "Progress | None") -> None:
        self.total, self.unit = total, unit
        self._done = 0
        self._bar = bar
        self._video = ""
        self._start = self._told = time.monotonic()
        self._task = bar.add_task("", total=total) if bar else None

    def on_windows(self, count: int) -> None:
        """So many more windows passed."""
        if self.unit == "windows":
            self._advance(self._done + count)

    def on_video(self, done: int, total: int, video: str) -> None:
        """A video is stored."""
        self._video = video if self.unit == "videos" else f"{done} of {total} videos, {video}"
        self._advance(done if self.unit == "videos" else self._done)

    def line(self) -> str:
        """Where it stands, in words."""
        seconds = time.monotonic() - self._start
        rate = self._done / seconds if seconds else 0.0
        left = span(max(0, self.total - self._done) / rate) if rate else "unknown time"
        pace = f"{rate:.1f} a second" if rate >= 1 else f"{_HOUR * rate:.0f} an hour"
        total = f"about {self.total}" if self.unit == "windows" else self.total
        return f"{self._done} of {total} {self.unit}, {pace}, {left} left; {self._video}"

    def _advance(self, done: int) -> None:
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=self.line())
        elif time.monotonic() - self._told >= _LINE_SECONDS:
            self._told = time.monotonic()
            typer.echo(self.line(), err=True)


@contextmanager
def show_progress(extraction: "Extraction", *, by_windows: bool, quiet: bool) -> Iterator[Meter]:
    """Show how an extraction goes, while it goes.

    Args:
        extraction: What is about to run.
        by_windows: Whether windows are told of, or only videos.
        quiet: Show no bar; a line a minute goes to the error stream all the same where there is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    todo = len(extraction.plan.todo)
    total = extraction.cost().num_windows if todo and by_windows else todo
    console = Console(stderr=True)
    if quiet or not todo or not console.is_terminal:
        yield Meter(total, "windows" if by_windows else "videos", None)
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        yield Meter(total, "windows" if by_windows else "videos", bar)


def span(seconds: float) -> str:
    """A length of time in the two units that matter: 75 -> `1 min 15 s`."""
    if seconds < _HOUR:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes else f"{seconds:.2g} s"
    days, hours, minutes = int(seconds // _DAY), int(seconds % _DAY // _HOUR), int(seconds % _HOUR // 60)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
