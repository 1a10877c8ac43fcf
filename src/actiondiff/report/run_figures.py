"""Figures of one training and its test: how it learnt, what it confuses, how each class fares."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, styled
from actiondiff.report.figures import draw_cells, label_of, long_table

__all__ = ["class_bars", "confusion_matrix", "learning_curve"]

_ENDS = 30  # classes drawn from either end where there are too many for one figure


@styled()
def learning_curve(history: pd.DataFrame, *, best_epoch: int | None = None, name: str = "learning") -> Figure:
    """Loss and validation scores by epoch.

    Args:
        history: A row an epoch with `epoch`, `train_loss` and any of the metrics' names (in [0, 1]).
        best_epoch: The one that was kept.
        name: Stem of its files.
    """
    drawing, left = canvas(7.2, 2.7)
    drawing.clear()
    left, right = drawing.subplots(1, 2)
    left.plot(history["epoch"], history["train_loss"], color=SERIES[7])
    left.set(xlabel="epoch", ylabel="training loss")
    names = [n for n in ("accuracy", "balanced_accuracy", "micro_map", "macro_map") if n in history]
    for i, metric in enumerate(names):
        title = metric.replace("_", " ").replace("map", "mAP")
        right.plot(history["epoch"], 100 * history[metric], color=SERIES[i], label=title)
    right.set(xlabel="epoch", ylabel="validation (%)")
    for axes in (left, right):
        axes.grid(axis="y")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linestyle=":", linewidth=1)
    if names:
        right.legend()
    kept = "" if best_epoch is None else f" Epoch {best_epoch} (dotted) is kept."
    caption = f"Loss on the training clips, and scores on the validation clips.{kept}"
    first, last = history["train_loss"].iloc[[0, -1]]
    alt = f"Training loss from {first:.3g} to {last:.3g}.{kept}"
    return Figure(name, drawing, "Learning curve", alt, caption, history[["epoch", "train_loss", *names]])


@styled()
def confusion_matrix(
    counts: NDArray[np.integer], labels: Sequence[str], *, title: str = "Confusion", name: str = "confusion"
) -> Figure:
    """Clips by true class (row) and predicted class (column), shaded by the share of the row.

    Args:
        counts: (K, K) clips.
        labels: The K classes.
        title: Heading.
        name: Stem of its files.
    """
    totals = counts.sum(1, keepdims=True)
    share = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = min(9.5, 2.2 + 0.5 * len(labels))
    drawing, axes = canvas(side + 0.6, max(2.2, side - 0.8))
    draw_cells(
        axes, share, rows=labels, columns=labels, row_title="true class", column_title="predicted class",
        limits=(0, 1),
    )  # fmt: skip
    right = int(np.trace(counts))
    data = long_table(counts, labels, labels, "true", "predicted").rename(columns={"value": "clips"})
    return Figure(
        name,
        drawing,
        title,
        f"{title}. {right} of {int(counts.sum())} clips lie on the diagonal.",
        "Each row is a true class; a cell is the share (%) of its clips that were named as the column says. "
        "A dash: the class has no clip here.",
        data,
    )


@styled()
def class_bars(
    values: Mapping[str, float | None],
    support: Mapping[str, int],
    *,
    title: str,
    name: str = "classes",
    value_title: str = "average precision (%)",
    average: float | None = None,
) -> Figure:
    """A bar a class, best first, with the clips it rests on.

    Args:
        values: Class -> score; None where there is none, which is left out.
        support: Class -> clips.
        title: Heading.
        name: Stem of its files.
        value_title: The axis.
        average: Drawn as a line.
    """
    every = sorted(((v, k) for k, v in values.items() if v is not None), key=lambda item: (-item[0], item[1]))
    known = every if len(every) <= 2 * _ENDS else [*every[:_ENDS], *every[-_ENDS:]]
    drawing, axes = canvas(7.2, 0.9 + 0.2 * max(3, len(known)))
    place = np.arange(len(known))
    axes.barh(place, [100 * value for value, _ in known], color=SERIES[0], height=0.75)
    for y, (value, label) in zip(place, known, strict=True):
        axes.text(
            100 * value + 1, float(y), f"{100 * value:.0f}  (n = {support[label]})", va="center", fontsize=7.5
        )
    axes.set_yticks(place, [label_of(label) for _, label in known], fontsize=8)
    axes.set_ylim(len(known) - 0.4, -0.6)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(value_title)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    if average is not None:
        axes.axvline(100 * average, color=INK, linestyle="--", linewidth=1, zorder=0)
    left_out = len(values) - len(known)
    caption = "In brackets: clips of the class."
    caption += f" Dashed: the mean, {percent(average)}." if average is not None else ""
    caption += (
        f" {left_out} {'class has' if left_out == 1 else 'classes have'} no clip here and no bar."
        if left_out
        else ""
    )
    if len(known) < len(every):
        caption += (
            f" Of {len(every)} classes the best {_ENDS} and the last {_ENDS} are drawn; all are in the data."
        )
    alt = f"{title}. {len(every)} classes."
    if known:
        (high, first), (low, last) = known[0], known[-1]
        alt += f" From {first}, {percent(high)}, to {last}, {percent(low)}."
    data = pd.DataFrame([(k, v, support[k]) for v, k in every], columns=["class", "score", "clips"])
    return Figure(name, drawing, title, alt, caption, data)
