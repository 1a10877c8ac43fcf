"""How much time each behaviour takes: a table and a figure, and what figures of behaviours share."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from actiondiff.errors import UsageError
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, PHONE_INCHES, SERIES, Figure, behaviour_colours, canvas, styled
from actiondiff.report.figures import MOST_NAMES, label_of, legend_name
from actiondiff.report.tables import ReportTable
from actiondiff.types import Bout

__all__ = [
    "BoutsByVideo",
    "budget_table",
    "check_bouts",
    "clock",
    "most_time",
    "not_drawn",
    "time_budget",
    "time_budgets",
]

BoutsByVideo = Mapping[str, Sequence[Bout]]
_WIDE_INCHES = 7.2


def time_budget(videos: BoutsByVideo, durations: Mapping[str, float], labels: Sequence[str]) -> pd.DataFrame:
    """Compute how much of the observed time each behaviour takes.

    Returns:
        One row per behaviour: the number of `bouts`, the `seconds` of all bouts together, their `share` of
        the observed time, the `mean_seconds` and `median_seconds` of a bout (NaN without bouts), and the
        `bouts_per_minute`.

    Raises:
        UsageError: If there is no video, a bout has another label, or the videos have no length.
    """
    check_bouts(videos, labels)
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


def budget_table(
    budget: pd.DataFrame, *, caption: str = "Time budget", colours: Mapping[str, str] | None = None
) -> ReportTable:
    """Format the rows of `time_budget` as a table for a page, each behaviour beside its colour, if any."""
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
    note = "Where behaviours overlap, the shares may add up to more than 100 %."
    return ReportTable(titles, tuple(rows), caption, note, colours=colours or {})


@styled()
def time_budgets(
    shares: Mapping[str, Mapping[str, float]],
    *,
    colours: Mapping[str, str] | None = None,
    title: str = "Time budget",
    name: str = "time-budget",
) -> Figure:
    """Draw the share of time of each behaviour: one group of bars per behaviour, one bar per source.

    The bars of the first source have the colours of the behaviours, as in the ethogram. Those of a second one
    have the colour of what a person labelled; of more than two sources, each has a colour of its own.

    Args:
        shares: Source (for example `predicted` and `labelled`, or individuals) -> behaviour -> share in [0,
            1].
        colours: Behaviour -> colour; those of all behaviours in their order if None.
        title: Heading.
        name: Stem of the figure's files.
    """
    every = list(dict.fromkeys(label for row in shares.values() for label in row))
    labels = most_time(every, {label: max(row.get(label, 0.0) for row in shares.values()) for label in every})
    colours = colours or behaviour_colours(every)
    own = [colours[label] for label in labels]
    wide, phone = (_draw_budgets(shares, labels, own, inches) for inches in (_WIDE_INCHES, PHONE_INCHES))
    rows = [(who, label, value) for who, row in shares.items() for label, value in row.items()]
    each = {
        who: ", ".join(f"{k} {percent(row[k])}" for k in labels if k in row) for who, row in shares.items()
    }
    spoken = "; ".join(f"{who}: {text}" for who, text in each.items())
    data = pd.DataFrame(rows, columns=["who", "behaviour", "share"])
    caption = f"Share of the observed time of all videos.{not_drawn(labels, every)}"
    return Figure(name, wide, title, f"{title}. {spoken}.", caption, data, phone=phone)


def _draw_budgets(
    shares: Mapping[str, Mapping[str, float]], labels: Sequence[str], own: Sequence[str], inches: float
) -> Drawing:
    """Draw the bars; on a narrow drawing, the names of the behaviours stand above them."""
    is_narrow = inches < _WIDE_INCHES
    group = 0.16 + 0.17 * len(shares)
    title = 0.2 if is_narrow else 0.0  # room above a group of bars
    drawing, axes = canvas(inches, 0.9 + len(labels) * (group + title))
    height = 0.82 * group / (group + title)
    step = height / max(1, len(shares))
    # One series of bars per source, with its numbers beside the bars.
    for i, (who, row) in enumerate(shares.items()):
        positions = np.arange(len(labels)) + 0.41 - height + step * (i + 0.5)
        values = [100 * row.get(label, np.nan) for label in labels]
        colours = (own if i == 0 else INK) if len(shares) <= 2 else SERIES[i % len(SERIES)]
        axes.barh(positions, values, step * 0.9, color=colours, label=legend_name(who))
        for y, value in zip(positions, values, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    f"{value:.1f}",
                    (value, float(y)),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )
    names = [label_of(label) for label in labels]
    for y, text in enumerate(names if is_narrow else ()):
        axes.annotate(text, (0, y + 0.41 - height), (0, 1), textcoords="offset points", va="bottom")
    axes.set_yticks([] if is_narrow else range(len(names)), [] if is_narrow else names)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the observed time (%)")
    axes.grid(axis="x")
    if len(shares) > 1:
        columns = 2 if is_narrow else 5
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns)
    return drawing


def clock(seconds: float, *, tenths: bool = False) -> str:
    """A time as minutes and seconds: `75.26` -> `1:15`, with tenths `1:15.3`; hours if any."""
    units = round(10 * seconds) if tenths else 10 * round(seconds)
    minutes, rest = divmod(units, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}" + (f".{rest % 10}" if tenths else "")


def most_time(labels: Sequence[str], amounts: Mapping[str, float]) -> list[str]:
    """The behaviours that are drawn, in their order: all, or of many those with the largest amounts."""
    if len(labels) <= MOST_NAMES:
        return list(labels)
    chosen = set(sorted(labels, key=lambda label: -amounts.get(label, 0.0))[:MOST_NAMES])
    return [label for label in labels if label in chosen]


def not_drawn(drawn: Sequence[str], labels: Sequence[str]) -> str:
    """Sentence for a caption on behaviours that are left out; empty if all are drawn."""
    if len(drawn) == len(labels):
        return ""
    return (
        f" Only the {len(drawn)} of {len(labels)} behaviours with the most time are drawn; the data has all."
    )


def check_bouts(videos: BoutsByVideo, labels: Sequence[str]) -> None:
    """Make sure that there are videos, and that every bout has one of the labels.

    Raises:
        UsageError: If there is no video, or a bout has another label.
    """
    if not videos:
        raise UsageError("there are no videos to draw bouts of.")
    other = sorted({bout.label for bouts in videos.values() for bout in bouts} - set(labels))
    if other:
        raise UsageError(f"bouts have labels that are not among the behaviours: {', '.join(other[:5])}.")


def _seconds(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"
