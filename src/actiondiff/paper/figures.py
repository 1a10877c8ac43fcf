"""The paper's figures, drawn from data frames: 4, S6 to S10 and S12 to S16, and score against cost."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from actiondiff.errors import UsageError
from actiondiff.evaluation.matrices import correlate, mantel, off_diagonal
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, styled
from actiondiff.report.figures import heatmap, label_of, legend_name, long_table

__all__ = [
    "correlation_matrix",
    "cost_plot",
    "distribution",
    "frequency_bars",
    "gain_matrix",
    "pair_scatter",
    "transfer_matrix",
]

_MARKERS = "osD^vP*X"


def transfer_matrix(
    scores: pd.DataFrame,
    *,
    title: str,
    name: str = "transfer",
    held_out: Mapping[str, float] | None = None,
    caption: str = "",
) -> Figure:
    """Heatmap of the accuracy from each domain to each (figures 4 and S15).

    Args:
        scores: Accuracy in [0, 1]; index: the domain trained on; columns: the domain tested on.
        title: Heading of the figure.
        name: File name without suffix.
        held_out: Domain -> accuracy on held-out clips of its own, drawn as a last column. The diagonal itself
            is scored on the training clips, as in the paper.
        caption: Text below the figure: what it shows, on what data.
    """
    table = scores if held_out is None else scores.assign(**{"own, held out": pd.Series(held_out)})
    note = "The diagonal (outlined) is scored on the training clips themselves, as in the paper."
    if held_out is not None:
        note += " The last column scores each domain on held-out clips of its own."
    figure = heatmap(
        table.to_numpy(dtype=np.float64), rows=list(table.index), columns=list(table.columns), title=title,
        name=name, row_title="trained on", column_title="tested on", caption=f"{caption} {note}".strip(),
    )  # fmt: skip
    for i in range(len(scores)):
        figure.drawing.axes[0].add_patch(
            Rectangle((i, i), 1, 1, fill=False, edgecolor=SERIES[1], linewidth=2)
        )
    return figure


def gain_matrix(
    scores: pd.DataFrame, prior: pd.DataFrame, *, title: str, name: str = "gain", caption: str = ""
) -> Figure:
    """Heatmap of the gain over guessing the source's most frequent class (figure S16).

    Args:
        scores: Accuracy in [0, 1], as for `transfer_matrix`.
        prior: Accuracy of the guess, likewise.
        title: Heading of the figure.
        name: File name without suffix.
        caption: Text below the figure: what it shows, on what data.

    Raises:
        UsageError: If the two are over different domains.
    """
    if list(scores.index) != list(prior.index) or list(scores.columns) != list(prior.columns):
        raise UsageError("scores and prior need the same domains in the same order, in rows and columns.")
    gain = scores.to_numpy(dtype=np.float64) - prior.to_numpy(dtype=np.float64)
    outside = float(off_diagonal(gain).mean())
    note = f"Mean off the diagonal: {100 * outside:+.1f} points. Below 0 the model is worse than the guess."
    return heatmap(
        gain, rows=list(scores.index), columns=list(scores.columns), title=title, name=name,
        row_title="trained on", column_title="tested on", caption=f"{caption} {note}".strip(), centre=0.0,
    )  # fmt: skip


def correlation_matrix(
    values: pd.DataFrame, *, title: str, name: str = "correlation", caption: str = ""
) -> Figure:
    """Heatmap of correlations between domains, for example of their action frequencies (figure S12).

    Args:
        values: Correlations in [-1, 1]; the domains are index and columns.
        title: Heading of the figure.
        name: File name without suffix.
        caption: Text below the figure: what it shows, on what data.
    """
    return heatmap(
        values.to_numpy(dtype=np.float64), rows=list(values.index), columns=list(values.columns),
        title=title, name=name, caption=caption, limits=(-1.0, 1.0), centre=0.0, unit="number",
    )  # fmt: skip


@styled()
def distribution(
    counts: pd.DataFrame,
    *,
    title: str,
    name: str = "distribution",
    value_title: str = "clips",
    caption: str = "",
) -> Figure:
    """Bar chart of clips per class or species, most frequent first, stacked by side (figures S6 to S10).

    Args:
        counts: Number of clips; index: the classes in order; one column per side, or `clips` alone. A column
            `share` is not drawn.
        title: Heading of the figure.
        name: File name without suffix.
        value_title: Title of the vertical axis.
        caption: Text below the figure: what it shows, on what data.
    """
    sides = [column for column in counts.columns if column not in ("clips", "share")] or ["clips"]
    drawing, axes = canvas(float(np.clip(1.2 + 0.2 * len(counts), 4.0, 11.0)), 3.8)
    positions, floor = np.arange(len(counts)), np.zeros(len(counts))
    for i, side in enumerate(sides):
        heights = counts[side].to_numpy(dtype=np.float64)
        axes.bar(
            positions, heights, 0.82, bottom=floor, color=SERIES[i % len(SERIES)], label=legend_name(side)
        )
        floor = floor + heights
    size = float(np.clip(72 * 10.0 / max(1, len(counts)) * 0.85, 3.2, 8.5))
    axes.set_xticks(positions, [label_of(item) for item in counts.index], rotation=90, fontsize=size)
    axes.set_xlim(-0.7, len(counts) - 0.3)
    axes.set_ylabel(value_title)
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0)
    if len(sides) > 1:
        axes.legend()
    note = f"{len(counts)} in all"
    if floor.any():
        top = int(floor.argmax())
        share = f" ({percent(counts['share'].iloc[top])} of all clips)" if "share" in counts else ""
        note += f"; most frequent: {counts.index[top]}, {floor[top]:.0f}{share}"
    data = counts[sides].rename_axis("name").reset_index()
    return Figure(name, drawing, title, f"{title}. {note}.", f"{caption} {note}.".strip(), data)


@styled()
def frequency_bars(
    shares: pd.DataFrame, *, title: str, name: str = "frequencies", caption: str = ""
) -> Figure:
    """Shares of the classes in each domain, with one bar per domain (figure S14).

    Args:
        shares: Shares in [0, 1]; index: domains; columns: classes.
        title: Heading of the figure.
        name: File name without suffix.
        caption: Text below the figure: what it shows, on what data.
    """
    drawing, axes = canvas(8.6, 1.0 + 0.36 * len(shares))
    positions, start = np.arange(len(shares)), np.zeros(len(shares))
    for i, column in enumerate(shares.columns):
        widths = 100 * shares[column].to_numpy(dtype=np.float64)
        colour = SERIES[i % len(SERIES)]
        hatch = "" if i < len(SERIES) else "///"
        axes.barh(
            positions, widths, 0.78, left=start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6,
            label=legend_name(column),
        )  # fmt: skip
        for y, (x, width) in enumerate(zip(start, widths, strict=True)):
            if width >= 6:
                axes.text(
                    x + width / 2, y, f"{width:.0f}", ha="center", va="center", fontsize=7.5, color="#000000"
                )
        start = start + widths
    axes.set_yticks(positions, [label_of(item) for item in shares.index])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(100.0, float(start.max())))
    axes.set_xlabel("share of the domain's clips (%)")
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=6)
    top = "; ".join(
        f"{domain}: {row.idxmax()} {percent(float(row.max()))}" for domain, row in shares.iterrows()
    )
    data = long_table(shares.to_numpy(), list(shares.index), list(shares.columns), "domain", "class")
    return Figure(name, drawing, title, f"{title}. Most frequent: {top}.", caption, data)


@styled()
def pair_scatter(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    title: str,
    first_title: str,
    second_title: str,
    name: str = "pairs",
    second_is_share: bool = True,
    num_permutations: int = 9999,
    caption: str = "",
) -> Figure:
    """Scatter plot with one dot per pair of different domains, and the p of Mantel's test (figure S13).

    Args:
        first: Values of the horizontal axis, for example similarity; the domains are index and columns.
        second: Values of the vertical axis, for example accuracy; the same domains in the same order.
        title: Heading of the figure.
        first_title: Title of the horizontal axis.
        second_title: Title of the vertical axis.
        name: File name without suffix.
        second_is_share: Whether the vertical axis is in per cent.
        num_permutations: Number of permutations of Mantel's test.
        caption: Text below the figure: what it shows, on what data.

    Raises:
        UsageError: If the two are over different domains, or lack a number off the diagonal.
    """
    names = list(first.index)
    if any(list(axis) != names for axis in (first.columns, second.index, second.columns)):
        raise UsageError("both matrices need the same domains in the same order, in rows and columns.")
    a, b = first.to_numpy(dtype=np.float64), second.to_numpy(dtype=np.float64)
    relation = correlate(a, b)
    linear = mantel(a, b, method="pearson", num_permutations=num_permutations)
    ranked = mantel(a, b, method="spearman", num_permutations=num_permutations)
    x, y = off_diagonal(a), off_diagonal(b) * (100 if second_is_share else 1)
    drawing, axes = canvas(4.8, 3.6)
    axes.scatter(x, y, s=18, color=SERIES[0], alpha=0.75, linewidths=0)
    if np.ptp(x) > 0:
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=SERIES[1], linewidth=1.2)
    if (x == x.round()).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=first_title, ylabel=second_title + (" (%)" if second_is_share else ""))
    axes.grid()
    note = (
        f"{relation.num_pairs} ordered pairs of {len(names)} domains. Pearson r = {relation.pearson:.2f} "
        f"(Mantel p = {linear.p:.2g}), Spearman rho = {relation.spearman:.2f} (p = {ranked.p:.2g}); "
        f"p by {linear.num_permutations} permutations of the domains, as pairs are not independent."
    )
    rows = [(s, t, a[i, j], b[i, j]) for i, s in enumerate(names) for j, t in enumerate(names) if i != j]
    data = pd.DataFrame(rows, columns=["source", "target", first_title, second_title])
    return Figure(name, drawing, title, f"{title}. {note}", f"{caption} {note}".strip(), data)


@styled()
def cost_plot(
    rows: pd.DataFrame,
    *,
    title: str,
    value_title: str,
    name: str = "cost",
    floor: float | None = None,
    caption: str = "",
) -> Figure:
    """Scatter plot of score against the number of operations per second of video.

    Args:
        rows: One row per backbone with `name`, `teraflop` (10^12 operations per second of video) and `score`
            in [0, 1]; `low` and `high` where an interval is known.
        title: Heading of the figure.
        value_title: What the score is.
        name: File name without suffix.
        floor: What a guess scores.
        caption: Text below the figure: what it shows, on what data.

    Raises:
        UsageError: If a cost is not above 0.
    """
    if not (rows["teraflop"] > 0).all():
        raise UsageError(
            "every backbone needs a cost above 0 TFLOP per second of video: the axis is logarithmic."
        )
    drawing, axes = canvas(7.4, 3.6)
    for i, row in enumerate(rows.to_dict("records")):
        colour = SERIES[i % len(SERIES)]
        low, high = row.get("low"), row.get("high")
        if low is not None and high is not None and np.isfinite(low) and np.isfinite(high):
            axes.vlines(row["teraflop"], 100 * low, 100 * high, color=colour, linewidth=1.2)
        axes.plot(
            row["teraflop"], 100 * row["score"], _MARKERS[i % len(_MARKERS)], color=colour, markersize=7,
            linestyle="none", label=legend_name(row["name"]),
        )  # fmt: skip
    if floor is not None:
        axes.axhline(100 * floor, color=INK, linestyle="--", linewidth=1, label="prior floor")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12, y=0.12)
    axes.set(xlabel="TFLOP per second of video", ylabel=f"{value_title} (%)")
    axes.grid()
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    note = "; ".join(
        f"{r['name']}: {percent(r['score'])} at {r['teraflop']:.3g}" for r in rows.to_dict("records")
    )
    text = (
        f"{caption} The dashed line is the score of guessing by class frequencies."
        if floor is not None
        else caption
    )
    return Figure(name, drawing, title, f"{title}. {note}.", text.strip(), rows.assign(floor=floor))
