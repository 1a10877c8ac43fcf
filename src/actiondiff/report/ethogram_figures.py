"""Figures of behaviour over time: ethograms, time budgets, transitions and scores over time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.outputs.words import counted
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, styled
from actiondiff.report.figures import (
    MOST_NAMES,
    busiest,
    counted_cells,
    heatmap,
    label_of,
    legend_name,
    longest_inches,
)
from actiondiff.report.tables import ReportTable
from actiondiff.types import Bout

__all__ = [
    "budget_table",
    "clock",
    "ethogram",
    "score_lines",
    "time_budget",
    "time_budgets",
    "transition_counts",
    "transition_matrix",
]

BoutsByVideo = Mapping[str, Sequence[Bout]]
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_LANES = 300  # lines of behaviours in an ethogram, of all videos together


@styled()
def ethogram(
    videos: BoutsByVideo,
    durations: Mapping[str, float],
    *,
    labels: Sequence[str],
    truth: BoutsByVideo | None = None,
    title: str = "Ethogram",
    name: str = "ethogram",
) -> Figure:
    """Draw the bouts of each video over time: one row per video, with one line per behaviour.

    Args:
        videos: Video -> predicted bouts.
        durations: Video -> length in seconds.
        labels: Behaviours in the order of colours and lines.
        truth: Video -> labelled bouts, drawn thin below the predicted ones; None for none.
        title: Heading.
        name: Stem of the figure's files.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    _check(videos, labels)
    behaviours = _longest(labels, _seconds_of(videos, truth or {}))
    # The drawing grows with the number of videos, behaviours and lines of the legend.
    drawn = list(videos)[: max(1, min(MOST_NAMES, _LANES // max(1, len(behaviours))))]
    lane = 1.0 / max(1, len(behaviours))
    names = [legend_name(label) for label in behaviours] + (["labelled by a person"] if truth else [])
    columns = int(np.clip(9.0 / (longest_inches(names) + 0.5), 1, 6))  # of the legend
    legend = 0.19 * -(-len(names) // columns)
    drawing, axes = canvas(9.6, 0.7 + legend + len(drawn) * max(0.42, 0.13 * len(behaviours)))
    colours = [SERIES[n % len(SERIES)] for n, label in enumerate(labels) if label in behaviours]
    # One row per video: a grey band for its length, and the bouts of each behaviour on a line of their own.
    for row, video in enumerate(drawn):
        axes.broken_barh([(0, durations[video])], (row - 0.46, 0.92), facecolor="#8a94a31f")
        for i, (label, colour) in enumerate(zip(behaviours, colours, strict=True)):
            top = row - 0.44 + 0.88 * lane * i
            spans = _spans(videos[video], label)
            axes.broken_barh(spans, (top, 0.88 * lane * (0.6 if truth else 0.92)), facecolor=colour)
            if truth:
                labelled = _spans(truth.get(video, ()), label)
                axes.broken_barh(labelled, (top + 0.88 * lane * 0.66, 0.88 * lane * 0.22), facecolor=INK)
    # Axes, legend and caption.
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_yticks(range(len(drawn)), [label_of(_short(video)) for video in drawn])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(durations[video] for video in drawn))
    axes.set_xlabel("time (min:s)")
    axes.xaxis.set_major_locator(MultipleLocator(_time_step(max(durations[video] for video in drawn))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.grid(axis="x")
    handles: list[Any] = [Patch(color=colour) for colour in colours]
    handles += [Patch(color=INK)] if truth else []
    drawing.legend(handles, names, loc="outside upper left", ncols=columns)
    count = sum(len(bouts) for bouts in videos.values())
    caption = (
        f"{counted(count, 'bout')} in {counted(len(videos), 'video')}. The grey bands show the length of "
        "each video."
    )
    if len(videos) > len(drawn):
        caption += f" Only the first {len(drawn)} videos are drawn; the data has all of them."
    caption += _not_drawn(behaviours, labels)
    return Figure(name, drawing, title, f"{title}. {caption}", caption, _bout_table(videos, truth))


def time_budget(videos: BoutsByVideo, durations: Mapping[str, float], labels: Sequence[str]) -> pd.DataFrame:
    """Compute how much of the observed time each behaviour takes.

    Returns:
        One row per behaviour: the number of `bouts`, the `seconds` of all bouts together, their `share` of
        the observed time, the `mean_seconds` and `median_seconds` of a bout (NaN without bouts), and the
        `bouts_per_minute`.

    Raises:
        UsageError: If there is no video, a bout has another label, or the videos have no length.
    """
    _check(videos, labels)
    observed = sum(durations[video] for video in videos)
    if observed <= 0:
        raise UsageError("the videos have a total length of 0 seconds; a time budget needs observed time.")
    lengths: dict[str, list[float]] = {label: [] for label in labels}
    for bouts in videos.values():
        for bout in bouts:
            lengths[bout.label].append(bout.end_seconds - bout.start_seconds)
    rows = [
        {
            "behaviour": label,
            "bouts": len(spans),
            "seconds": float(sum(spans)),
            "share": float(sum(spans)) / observed,
            "mean_seconds": float(np.mean(spans)) if spans else np.nan,
            "median_seconds": float(np.median(spans)) if spans else np.nan,
            "bouts_per_minute": 60 * len(spans) / observed,
        }
        for label, spans in lengths.items()
    ]
    return pd.DataFrame(rows)


def budget_table(budget: pd.DataFrame, *, caption: str = "Time budget") -> ReportTable:
    """Format the rows of `time_budget` as a table for a page."""
    rows = [
        (
            str(row["behaviour"]),
            str(row["bouts"]),
            clock(row["seconds"], tenths=True),
            percent(row["share"]),
            _seconds(row["mean_seconds"]),
            _seconds(row["median_seconds"]),
            f"{row['bouts_per_minute']:.2f}",
        )
        for row in budget.to_dict("records")
    ]
    lengths = ("mean bout (s)", "median bout (s)")
    titles = ("behaviour", "bouts", "time (min:s)", "share of time", *lengths, "bouts per minute")
    return ReportTable(
        titles, tuple(rows), caption, "Where behaviours overlap, the shares may add up to more than 100 %."
    )


@styled()
def time_budgets(
    shares: Mapping[str, Mapping[str, float]], *, title: str = "Time budget", name: str = "time-budget"
) -> Figure:
    """Draw the share of time of each behaviour: one group of bars per behaviour, one bar per source.

    The bars of the first source have the colours of the behaviours, as in the ethogram. Those of a second one
    have the colour of what a person labelled; of more than two sources, each has a colour of its own.

    Args:
        shares: Source (for example `predicted` and `labelled`, or individuals) -> behaviour -> share in [0,
            1].
        title: Heading.
        name: Stem of the figure's files.
    """
    every = list(dict.fromkeys(label for row in shares.values() for label in row))
    labels = _longest(every, {label: max(row.get(label, 0.0) for row in shares.values()) for label in every})
    drawing, axes = canvas(7.2, 0.9 + len(labels) * (0.16 + 0.17 * len(shares)))
    step = 0.82 / max(1, len(shares))
    # One series of bars per source, with its numbers beside the bars.
    for i, (who, row) in enumerate(shares.items()):
        positions = np.arange(len(labels)) - 0.41 + step * (i + 0.5)
        values = [100 * row.get(label, np.nan) for label in labels]
        own = [SERIES[n % len(SERIES)] for n, k in enumerate(every) if k in labels] if i == 0 else INK
        colours = own if len(shares) <= 2 else SERIES[i % len(SERIES)]
        axes.barh(positions, values, step * 0.9, color=colours, label=legend_name(who))
        for y, value in zip(positions, values, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    f"{value:.1f}",
                    (value, float(y)),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
    axes.set_yticks(range(len(labels)), [label_of(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the observed time (%)")
    axes.grid(axis="x")
    if len(shares) > 1:
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    rows = [(who, label, value) for who, row in shares.items() for label, value in row.items()]
    each = {
        who: ", ".join(f"{k} {percent(row[k])}" for k in labels if k in row) for who, row in shares.items()
    }
    spoken = "; ".join(f"{who}: {text}" for who, text in each.items())
    data = pd.DataFrame(rows, columns=["who", "behaviour", "share"])
    caption = f"Share of the observed time of all videos.{_not_drawn(labels, every)}"
    return Figure(name, drawing, title, f"{title}. {spoken}.", caption, data)


def clock(seconds: float, *, tenths: bool = False) -> str:
    """A time as minutes and seconds: `75.26` -> `1:15`, with tenths `1:15.3`; hours if any."""
    units = round(10 * seconds) if tenths else 10 * round(seconds)
    minutes, rest = divmod(units, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}" + (f".{rest % 10}" if tenths else "")


def _time_step(longest: float) -> float:
    """A round step in seconds that divides a time into at most eight parts."""
    return next((step for step in _TIME_STEPS if longest / step <= 8), 7200.0)


def transition_counts(videos: BoutsByVideo, labels: Sequence[str]) -> NDArray[np.int64]:
    """(K, K) int64, how often a bout of one behaviour (column) is the next to begin after another one (row).

    Transitions are counted within videos. Bouts that begin at the same time follow in the order of the
    labels.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    _check(videos, labels)
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
    title: str = "Transitions",
    name: str = "transitions",
) -> Figure:
    """Draw transitions as shares of each row; the data has their numbers.

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
        column_title="to", caption=caption, limits=(0.0, 1.0),
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
    axes.set_xlabel("seconds")
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


def _longest(labels: Sequence[str], amounts: Mapping[str, float]) -> list[str]:
    """The behaviours that are drawn, in their order: all, or of many those with the largest amounts."""
    if len(labels) <= MOST_NAMES:
        return list(labels)
    chosen = set(sorted(labels, key=lambda label: -amounts.get(label, 0.0))[:MOST_NAMES])
    return [label for label in labels if label in chosen]


def _not_drawn(drawn: Sequence[str], labels: Sequence[str]) -> str:
    if len(drawn) == len(labels):
        return ""
    return (
        f" Only the {len(drawn)} of {len(labels)} behaviours with the most time are drawn; the data has all."
    )


def _check(videos: BoutsByVideo, labels: Sequence[str]) -> None:
    if not videos:
        raise UsageError("there are no videos to draw bouts of.")
    other = sorted({bout.label for bouts in videos.values() for bout in bouts} - set(labels))
    if other:
        raise UsageError(f"bouts have labels that are not among the behaviours: {', '.join(other[:5])}.")


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


def _seconds(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"
