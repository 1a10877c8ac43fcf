"""Results as HTML for the page. Everything that comes from a file, a table or a model is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actiondiff.app.analysis import Findings, HeatmapFiles
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Bout

__all__ = ["show_findings", "show_header", "show_heatmap", "show_message", "show_model", "show_timeline"]

_LABELS, _ROWS, _POINTS = 8, 12, 400
_TICKS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class _TimelineRow:
    """The row of one behaviour in the timeline: its bouts, and its scores as points of a polyline."""

    label: str
    colour: int
    bouts: tuple[Bout, ...]
    points: str
    seconds: float


def show_header(name: str, *, is_local: bool) -> str:
    """Render the name of the model, and what happens to uploaded files."""
    return _environment.get_template("header.html").render(name=name, is_local=is_local)


def show_message(text: str, *, kind: str = "note") -> str:
    """Render a message; screen readers read a message of kind `error` at once."""
    return _environment.get_template("message.html").render(text=text, kind=kind)


def show_findings(findings: Findings, video: str, *, is_guess: bool = False) -> str:
    """Render the player and the labels.

    Args:
        findings: Results for the video.
        video: Address of a file that browsers play.
        is_guess: Whether the model was not shown to be better than guessing; no probability is shown then.
    """
    prediction = findings.prediction
    return _environment.get_template("findings.html").render(
        prediction=prediction,
        labels=prediction.top(_LABELS),
        num_more_labels=max(0, len(prediction.probabilities) - _LABELS),
        timeline=findings.timeline,
        video=video,
        is_copy=findings.playable != findings.path,
        is_guess=is_guess,
        hides_certainty=is_guess or findings.timeline.abstains,
        domain=findings.timeline.domain,
        abstains=findings.timeline.abstains,
        report=findings.features.report,
        clock=clock,
    )


def show_timeline(findings: Findings, downloads: Mapping[str, str], *, is_guess: bool = False) -> str:
    """Render the timeline and the downloads; arguments as for `show_findings`.

    Args:
        findings: Results for the video.
        downloads: Name of each download -> its address.
        is_guess: Whether the model was not shown to be better than guessing; no probability is shown then.
    """
    timeline = findings.timeline
    return _environment.get_template("timeline.html").render(
        timeline=timeline,
        rows=_rows(findings),
        num_more_rows=max(0, len(timeline.labels) - _ROWS),
        ticks=_ticks(timeline.end_seconds),
        downloads=downloads,
        is_guess=is_guess,
        clock=clock,
    )


def show_heatmap(files: HeatmapFiles, addresses: Mapping[str, str]) -> str:
    """Render the overlay, the strip and what they mean.

    Args:
        files: The heatmap and its files.
        addresses: Name of each file -> its address.
    """
    heatmap = files.heatmap
    t, row, column = np.unravel_index(heatmap.probabilities.argmax(), heatmap.probabilities.shape)
    return _environment.get_template("heatmap.html").render(
        heatmap=heatmap,
        top=float(heatmap.probabilities[t, row, column]),
        seconds=None if heatmap.seconds is None else float(heatmap.seconds[t]),
        x=float(heatmap.columns[column]),
        y=float(heatmap.rows[row]),
        overlay=addresses[files.overlay.name],
        strip=addresses[files.strip.name],
        downloads=addresses,
        clock=clock,
    )


def show_model(model: ActionDiff) -> str:
    """Render the facts about the model and the settings of its features."""
    return _environment.get_template("model.html").render(config=model.config, labels=model.labels)


def clock(seconds: float) -> str:
    """Format seconds as a time: `75.26` -> `1:15.3`; `3.04` -> `0:03.0`; `3675` -> `1:01:15.0`."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else str(minutes)
    return f"{head}:{rest // 10:02}.{rest % 10}"


def _rows(findings: Findings) -> list[_TimelineRow]:
    """Rows of the behaviours with the most time, then of the most probable ones, in the model's order."""
    timeline = findings.timeline
    budget = timeline.budget()
    weight = {label: (budget[label], findings.prediction.probabilities[label]) for label in timeline.labels}
    chosen = sorted(timeline.labels, key=lambda label: weight[label], reverse=True)[:_ROWS]
    # As in reports, the background takes no colour.
    behaviours = [label for label in timeline.labels if label != timeline.options.background]
    colours = {label: number for number, label in enumerate(behaviours)}
    return [
        _TimelineRow(
            label,
            colours.get(label, 0) % 24 + 1,
            tuple(bout for bout in timeline.bouts if bout.label == label),
            _points(timeline, index),
            budget[label],
        )
        for index, label in enumerate(timeline.labels)
        if label in chosen
    ]


def _points(timeline: Timeline, index: int) -> str:
    """Scores as at most 400 points `x,y` in a box of 1000 x 100; each is the highest of its stretch."""
    values, seconds = timeline.probabilities[:, index], timeline.seconds
    parts: Sequence[np.ndarray] = np.array_split(np.arange(len(values)), min(_POINTS, len(values)))
    tops = [part[values[part].argmax()] for part in parts]
    end = max(timeline.end_seconds, 1e-9)
    pairs = [f"{1000 * seconds[t] / end:.1f},{100 - 100 * values[t]:.1f}" for t in tops]
    return " ".join([*pairs, f"1000,{100 - 100 * values[tops[-1]]:.1f}"])


def _ticks(end: float) -> list[float]:
    """At most eight round times, in seconds, from the beginning to the end."""
    step = next((step for step in _TICKS if end / step <= 7), 7200)
    return [float(t) for t in np.arange(0, end, step)]
