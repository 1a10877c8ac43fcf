"""What an extraction would take, its progress, and its result."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from actiondiff.outputs.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from actiondiff.extraction.planned import Extraction, ExtractionSummary

__all__ = ["Meter", "print_price", "print_summary", "show_progress", "span"]

_MAX_FAILURES = 20  # failures that are printed; all are in failures.csv
_LINE_SECONDS = 60.0  # between lines where there is no terminal, such as in a job's log
_HOUR, _DAY = 3600, 86400


def print_price(extraction: "Extraction", *, timed: bool, workers: int, as_json: bool) -> None:
    """Print what an extraction would take, and what would take less.

    Args:
        extraction: The planned extraction.
        timed: Whether to run two windows, to estimate time and memory.
        workers: Number of worker processes.
        as_json: Whether to print JSON.
    """
    from actiondiff.extraction.cost import estimate_cost

    plan, estimate = extraction.plan, estimate_cost(extraction, timed=timed, workers=workers)
    counts = {
        "videos": len(plan.videos),
        "contents_to_do": len(plan.todo),
        "contents_stored": len(plan.stored),
        "contents_failed_before": len(plan.failed),
        "videos_not_readable": len(plan.absent),
        "videos_of_other_shards": plan.num_elsewhere,
    }
    values = asdict(estimate)
    cost = values.pop("workload")
    if as_json:
        typer.echo(json.dumps({**counts, **cost, **values, "processes": workers}, indent=2))
        return
    for name, count in counts.items():
        typer.echo(f"{count:8d} {name.replace('_', ' ')}")
    unknown = f", and {cost['num_unknown']} videos of unknown length" if cost["num_unknown"] else ""
    work = "" if estimate.tflop is None else f", {estimate.tflop:.3g} TFLOP"
    typer.echo(
        f"about {span(cost['video_seconds'])} of video: {cost['num_windows']} windows, "
        f"{cost['num_tokens']} tokens per feature{work}{unknown}"
    )
    if cost["num_bytes"] is not None:
        latents = f", and at most {_size(estimate.latent_bytes)} of latents" if estimate.latent_bytes else ""
        typer.echo(f"on disk: {_size(cost['num_bytes'])} of features{latents}")
    if estimate.timing:
        memory = estimate.timing.peak_memory_bytes
        typer.echo(
            f"timed here: {estimate.timing.seconds_a_window:.3g} s per window, "
            f"{1000 * estimate.timing.decode_seconds_a_frame:.3g} ms to decode each sampled frame"
            + (f"; {_size(memory)} of memory at most, in each process" if memory else "")
        )
    if estimate.seconds is not None:
        typer.echo(
            f"it will take about {span(estimate.seconds)} in {workers} process{'es'[: 2 * (workers > 1)]}"
        )
    for other in estimate.alternatives:
        duration = "" if estimate.seconds is None else f", about {span(estimate.seconds * other.share)}"
        store = "the same store" if other.same_store else "a store of its own"
        typer.echo(f"cheaper: {other.options:30} {other.share:5.2f} of the work{duration} ({store})")


def print_summary(summary: "ExtractionSummary", *, as_json: bool) -> None:
    """Print how many videos were done, and which failed or are partial."""
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "store": summary.store.as_posix()}, indent=2))
        return
    bad = [("failed", *item) for item in summary.failed.items()]
    bad += [("partial", *item) for item in summary.partial.items()]
    notes = list(summary.mended.items())
    for video, note in notes[:_MAX_FAILURES]:
        typer.echo(f"note: {video}: {note}")
    if len(notes) > _MAX_FAILURES:
        typer.echo(f"... and {len(notes) - _MAX_FAILURES} more notes; `actiondiff videos check` gives each")
    for status, video, reason in bad[:_MAX_FAILURES]:
        typer.echo(f"{status}: {video}: {reason}")
    if len(bad) > _MAX_FAILURES:
        typer.echo(f"... and {len(bad) - _MAX_FAILURES} more, all in {summary.store / 'failures.csv'}")
    typer.echo(
        f"{counted(summary.num_videos, 'video')}: {summary.num_done} done, {summary.num_skipped} skipped, "
        f"{len(summary.partial)} partial, {len(summary.failed)} failed; features in {summary.store}"
    )


class Meter:
    """The progress of an extraction, its rate, and the time that is left.

    On a terminal it is a bar; elsewhere, such as in a job's log, one line per minute.

    Args:
        total: Number of windows or videos in all.
        unit: What is counted: windows, or videos where other processes do the work.
        bar: The bar; None to print lines.
    """

    def __init__(self, total: int, unit: str, bar: "Progress | None") -> None:
        self.total, self.unit = total, unit
        self._done = 0
        self._bar = bar
        self._video = ""
        self._start = self._last_line = time.monotonic()
        self._task = bar.add_task("", total=total) if bar else None

    def on_windows(self, count: int) -> None:
        """Count windows that passed the backbone."""
        if self.unit == "windows":
            self._advance(self._done + count)

    def on_video(self, done: int, total: int, video: str) -> None:
        """Count a video that was stored."""
        self._video = video if self.unit == "videos" else f"{done} of {total} videos, {video}"
        self._advance(done if self.unit == "videos" else self._done)

    def line(self) -> str:
        """The progress in words."""
        seconds = time.monotonic() - self._start
        rate = self._done / seconds if seconds else 0.0
        left = span(max(0, self.total - self._done) / rate) if rate else "unknown time"
        pace = f"{rate:.1f} per second" if rate >= 1 else f"{_HOUR * rate:.0f} per hour"
        total = f"about {self.total}" if self.unit == "windows" else self.total
        return f"{self._done} of {total} {self.unit}, {pace}, {left} left; {self._video}"

    def _advance(self, done: int) -> None:
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=self.line())
        elif time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            typer.echo(self.line(), err=True)


@contextmanager
def show_progress(extraction: "Extraction", *, by_windows: bool, quiet: bool) -> Iterator[Meter]:
    """Show the progress of an extraction while it runs.

    Args:
        extraction: The extraction that is about to run.
        by_windows: Whether windows are counted, else videos.
        quiet: Show no bar. Where there is no terminal, one line per minute goes to standard error all the
            same.

    Yields:
        The meter, whose `on_windows` and `on_video` the extraction calls.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    todo = len(extraction.plan.todo)
    total = extraction.workload().num_windows if todo and by_windows else todo
    console = Console(stderr=True)
    if quiet or not todo or not console.is_terminal:
        yield Meter(total, "windows" if by_windows else "videos", None)
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        yield Meter(total, "windows" if by_windows else "videos", bar)


def span(seconds: float) -> str:
    """A duration in its two largest units: 75 -> `1 min 15 s`."""
    if seconds < _HOUR:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes else f"{seconds:.2g} s"
    days, hours, minutes = int(seconds // _DAY), int(seconds % _DAY // _HOUR), int(seconds % _HOUR // 60)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
