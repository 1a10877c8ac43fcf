"""Figures of behaviour over time: ethograms, transitions and scores over time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.outputs.words import counted
from actiondiff.report.budget_figures import BoutsByVideo, check_bouts, clock, most_time, not_drawn
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, PHONE_INCHES, Figure, behaviour_colours, canvas, styled
from actiondiff.report.figures import (
    MOST_NAMES,
    busiest,
    counted_cells,
    heatmap,
    label_of,
    legend_name,
    longest_inches,
)
from actiondiff.types import Bout

__all__ = [
    "ethogram",
    "score_lines",
    "transition_counts",
    "transition_matrix",
]

_WIDE_INCHES = 9.6
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_LANES = 300  # lines of behaviours in an ethogram, of all videos together


@styled()
def ethogram(
    videos: BoutsByVideo,
    durations: Mapping[str, float],
    *,
    labels: Sequence[str],
    truth: BoutsByVideo | None = None,
    colours: Mapping[str, str] | None = None,
    title: str = "Ethogram",
    name: str = "ethogram",
    noun: str = "video",
) -> Figure:
    """Draw the bouts of each video over time: one row per video, with one line per behaviour.

    Args:
        videos: Video -> predicted bouts.
        durations: Video -> length in seconds.
        labels: Behaviours in the order of lines.
        truth: Video -> labelled bouts, drawn thin below the predicted ones; None for none.
        colours: Behaviour -> colour; those of `labels` in their order if None.
        title: Heading.
        name: Stem of the figure's files.
        noun: What has a row: a video, or an individual of one.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    check_bouts(videos, labels)
    behaviours = most_time(labels, _seconds_of(videos, truth or {}))
    colours = colours or behaviour_colours(labels)
    drawn = list(videos)[: max(1, min(MOST_NAMES, _LANES // max(1, len(behaviours))))]
    drawn_colours = {label: colours[label] for label in behaviours}
    wide, phone = (
        _draw_ethogram({video: videos[video] for video in drawn}, durations, drawn_colours, truth, inches)
        for inches in (_WIDE_INCHES, PHONE_INCHES)
    )
    count = sum(len(bouts) for bouts in videos.values())
    number = f"{counted(count, 'bout')} {'in' if noun == 'video' else 'of'} {counted(len(videos), noun)}"
    caption = f"{number}. The grey bands show the length of each video."
    if len(videos) > len(drawn):
        caption += f" Only the first {len(drawn)} {noun}s are drawn; the data has all of them."
    caption += not_drawn(behaviours, labels)
    alt = f"{title}. {caption}"
    return Figure(name, wide, title, alt, caption, _bout_table(videos, truth), phone=phone)


def _draw_ethogram(
    videos: BoutsByVideo,
    durations: Mapping[str, float],
    colours: Mapping[str, str],
    truth: BoutsByVideo | None,
    inches: float,
) -> Drawing:
    """Draw the rows of the videos; on a narrow drawing, their names stand above the rows."""
    # The drawing grows with the number of videos, behaviours and lines of the legend.
    is_narrow = inches < _WIDE_INCHES
    names = [legend_name(label) for label in colours] + (["labelled by a person"] if truth else [])
    columns = int(np.clip((inches - 0.4) / (longest_inches(names) + 0.5), 1, 6))  # of the legend
    legend = 0.19 * -(-len(names) // columns)
    band = max(0.42, 0.13 * len(colours))
    title = 0.3 if is_narrow else 0.0  # room above a row
    drawing, axes = canvas(inches, 0.7 + legend + len(videos) * (band + title))
    # One row per video: a grey band for its length, and the bouts of each behaviour on a line of their own.
    height = 0.92 * band / (band + title)
    lane = (height - 0.04) / max(1, len(colours))
    for row, (video, bouts) in enumerate(videos.items()):
        start = row + 0.46 - height
        axes.broken_barh([(0, durations[video])], (start, height), facecolor="#8a94a31f")
        for i, (label, colour) in enumerate(colours.items()):
            top = start + 0.02 + lane * i
            axes.broken_barh(_spans(bouts, label), (top, lane * (0.6 if truth else 0.92)), facecolor=colour)
            if truth:
                labelled = _spans(truth.get(video, ()), label)
                axes.broken_barh(labelled, (top + lane * 0.66, lane * 0.22), facecolor=INK)
        if is_narrow:
            axes.annotate(_row_name(video), (0, start), (0, 3), textcoords="offset points", va="bottom")
    # Axes and legend.
    longest = max(durations[video] for video in videos)
    axes.set_ylim(len(videos) - 0.5, -0.5)
    beside = [] if is_narrow else [_row_name(video) for video in videos]
    axes.set_yticks(range(len(beside)), beside)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, longest)
    axes.set_xlabel("time (min:s)")
    axes.xaxis.set_major_locator(MultipleLocator(_time_step(longest, 4 if is_narrow else 8)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.grid(axis="x")
    handles: list[Any] = [Patch(color=colour) for colour in colours.values()]
    handles += [Patch(color=INK)] if truth else []
    drawing.legend(handles, names, loc="outside upper left", ncols=columns)
    return drawing


def _row_name(video: str) -> str:
    return label_of(_short(video))


def _time_step(longest: float, most: int) -> float:
    """A round step in seconds that divides a time into at most this many parts."""
    return next((step for step in _TIME_STEPS if longest / step <= most), 7200.0)


def transition_counts(videos: BoutsByVideo, labels: Sequence[str]) -> NDArray[np.int64]:
    """(K, K) int64, how often a bout of one behaviour (column) is the next to begin after another one (row).

    Transitions are counted within videos. Bouts that begin at the same time follow in the order of the
    labels.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    check_bouts(videos, labels)
    order = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for bouts in videos.values():
        sequence = [order[b.label] for b in sorted(bouts, key=lambda b: (b.start_seconds, order[b.label]))]
        for (first, second), times in Counter(pairwise(sequence)).items():
            counts[first, second] += times
    return counts


def transition_matrix(
    videos: BoutsByVideo,
    labels: Sequence[str],
    *,
    colours: Mapping[str, str] | None = None,
    title: str = "Transitions",
    name: str = "transitions",
) -> Figure:
    """Draw transitions as shares of each row; the data has their numbers.

    Args:
        videos: Video -> bouts.
        labels: Behaviours in the order of rows and columns.
        colours: Behaviour -> colour; those of `labels` in their order if None.
        title: Heading.
        name: Stem of the figure's files.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    counts = transition_counts(videos, labels)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    caption = (
        f"{int(counts.sum())} transitions within videos. Each cell is how often (%) the behaviour of its "
        "column is the next to begin after the behaviour of its row. A dash means that nothing follows that "
        "behaviour."
    )
    drawn = np.arange(len(labels)) if len(labels) <= MOST_NAMES else busiest(counts, MOST_NAMES)
    names = [labels[at] for at in drawn]
    figure = heatmap(
        shares[np.ix_(drawn, drawn)], rows=names, columns=names, title=title, name=name, row_title="from",
        column_title="to", caption=caption, limits=(0.0, 1.0), colours=colours or behaviour_colours(labels),
    )  # fmt: skip
    if len(drawn) == len(labels):
        return replace(figure, data=figure.data.assign(transitions=counts.ravel()))
    data = counted_cells(counts, labels, labels, "from", "to").rename(columns={"value": "transitions"})
    caption += (
        f" Only the {len(names)} of {len(labels)} behaviours with the most transitions are drawn; the data "
        "has all transitions."
    )
    return replace(figure, data=data, caption=caption)


@styled()
def score_lines(
    seconds: NDArray[np.float64],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
    *,
    thresholds: Mapping[str, float] | None = None,
    title: str = "Scores over time",
    name: str = "scores-over-time",
) -> Figure:
    """Draw the probability of each behaviour over a video as a band of colours.

    Args:
        seconds: (T,) times of the scores, increasing.
        probabilities: (T, K) in [0, 1].
        labels: Names of the K behaviours.
        thresholds: Label -> probability from which it counts as predicted, shown beside its name; None for
            none.
        title: Heading.
        name: Stem of the figure's files.

    Raises:
        UsageError: If the shapes do not fit.
    """
    if probabilities.shape != (len(seconds), len(labels)) or not len(seconds):
        raise UsageError(
            f"{len(seconds)} times and {len(labels)} labels need probabilities of that shape; "
            f"got {probabilities.shape}."
        )
    drawing, axes = canvas(9.6, 1.0 + 0.3 * len(labels))
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    edges = np.append(seconds, seconds[-1] + step)
    mesh = axes.pcolormesh(edges, np.arange(len(labels) + 1), probabilities.T, cmap="cividis", vmin=0, vmax=1)
    mesh.set_rasterized(True)
    axes.invert_yaxis()
    names = [
        label_of(k) + (f" ≥ {thresholds[k]:.2f}" if thresholds and k in thresholds else "") for k in labels
    ]
    axes.set_yticks(np.arange(len(labels)) + 0.5, names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time (min:s)")
    axes.xaxis.set_major_locator(MultipleLocator(_time_step(float(edges[-1] - edges[0]), 8)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    bar = drawing.colorbar(mesh, ax=axes, pad=0.01)
    bar.outline.set_visible(False)
    top = np.asarray(probabilities).max(axis=0)
    spoken = ", ".join(
        f"{label} up to {percent(float(value))}" for label, value in zip(labels, top, strict=True)
    )
    data = pd.DataFrame({"seconds": seconds} | {f"p({k})": probabilities[:, i] for i, k in enumerate(labels)})
    caption = "Probability of each behaviour over the video."
    return Figure(name, drawing, title, f"{title}. {spoken}.", caption, data)


def _seconds_of(*sources: BoutsByVideo) -> dict[str, float]:
    """Seconds of each behaviour, all bouts together."""
    seconds: dict[str, float] = {}
    for bouts in (bouts for videos in sources for bouts in videos.values()):
        for bout in bouts:
            seconds[bout.label] = seconds.get(bout.label, 0.0) + bout.end_seconds - bout.start_seconds
    return seconds


def _spans(bouts: Sequence[Bout], label: str) -> list[tuple[float, float]]:
    return [(b.start_seconds, b.end_seconds - b.start_seconds) for b in bouts if b.label == label]


def _short(video: str) -> str:
    """Shorten a path at its beginning, because its end tells videos apart."""
    return video if len(video) <= 28 else "…" + video[-27:]


def _bout_table(videos: BoutsByVideo, truth: BoutsByVideo | None) -> pd.DataFrame:
    rows = [
        (video, source, b.label, b.start_seconds, b.end_seconds, b.probability)
        for source, by_video in (("predicted", videos), ("labelled", truth or {}))
        for video, bouts in by_video.items()
        for b in bouts
    ]
    titles = ["video", "source", "label", "start_seconds", "end_seconds", "probability"]
    return pd.DataFrame(rows, columns=titles)
