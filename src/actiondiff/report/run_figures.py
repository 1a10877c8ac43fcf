"""Figures of one training and its test: learning curve, confusion matrix and scores of each class."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, styled
from actiondiff.report.figures import MOST_NAMES, busiest, counted_cells, draw_cells, label_of, long_table

__all__ = ["class_bars", "confusion_matrix", "learning_curve"]

_ENDS = 30  # classes drawn from either end where there are too many for one figure
_WHOLE = 60  # classes up to which a whole confusion matrix is drawn


@styled()
def learning_curve(history: pd.DataFrame, *, best_epoch: int | None = None, name: str = "learning") -> Figure:
    """Draw the training loss and the validation scores by epoch.

    Args:
        history: One row per epoch, with `epoch`, `train_loss` and any of the metrics' names (in [0, 1]).
        best_epoch: Epoch whose weights the head has, drawn as a dotted line; None for none.
        name: Stem of the figure's files.
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
    chosen = "" if best_epoch is None else f" The head has the weights of epoch {best_epoch} (dotted line)."
    caption = f"Loss on the training clips, and scores on the validation clips.{chosen}"
    first, last = history["train_loss"].iloc[[0, -1]]
    alt = f"Training loss from {first:.3g} to {last:.3g}.{chosen}"
    return Figure(name, drawing, "Learning curve", alt, caption, history[["epoch", "train_loss", *names]])


@styled()
def confusion_matrix(
    counts: NDArray[np.integer], labels: Sequence[str], *, title: str = "Confusion", name: str = "confusion"
) -> Figure:
    """Draw the clips by true class (row) and predicted class (column), as shares of each row.

    Of many classes, only those that are confused most often are drawn.

    Args:
        counts: (K, K) number of clips.
        labels: Names of the K classes.
        title: Heading.
        name: Stem of the figure's files.
    """
    drawn = np.arange(len(labels)) if len(labels) <= _WHOLE else busiest(counts, MOST_NAMES - 1)
    rows = columns = [labels[at] for at in drawn]
    cells = counts[np.ix_(drawn, drawn)]
    if len(drawn) < len(labels):
        columns = [*rows, "(another class)"]
        cells = np.column_stack([cells, counts[drawn].sum(1) - cells.sum(1)])
    totals = cells.sum(1, keepdims=True)
    share = np.divide(cells, totals, out=np.full(cells.shape, np.nan), where=totals > 0)
    side = min(9.5, 2.2 + 0.5 * len(columns))
    drawing, axes = canvas(side + 0.6, max(2.2, side - 0.8))
    draw_cells(
        axes, share, rows=rows, columns=columns, row_title="true class", column_title="predicted class",
        limits=(0, 1),
    )  # fmt: skip
    right = int(np.trace(counts))
    caption = (
        "Each row is a true class; each cell is the share (%) of its clips that were predicted as the class "
        "of the column. A dash means that the class has no test clips."
    )
    if len(drawn) < len(labels):
        caption += (
            f" Only the {len(drawn)} of {len(labels)} classes that are confused most often are drawn; the "
            "data has all pairs of classes that have clips."
        )
        data = counted_cells(counts, labels, labels, "true", "predicted")
    else:
        data = long_table(counts, labels, labels, "true", "predicted")
    return Figure(
        name,
        drawing,
        title,
        f"{title}. {right} of {int(counts.sum())} clips lie on the diagonal.",
        caption,
        data.rename(columns={"value": "clips"}),
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
    """Draw one bar per class, the best first, with its number of clips.

    Args:
        values: Class -> score; classes whose score is None are left out.
        support: Class -> number of clips.
        title: Heading.
        name: Stem of the figure's files.
        value_title: Title of the score axis.
        average: Mean score, drawn as a line; None for none.
    """
    every = sorted(((v, k) for k, v in values.items() if v is not None), key=lambda item: (-item[0], item[1]))
    drawn = every if len(every) <= 2 * _ENDS else [*every[:_ENDS], *every[-_ENDS:]]
    drawing, axes = canvas(7.2, 0.9 + 0.2 * max(3, len(drawn)))
    positions = np.arange(len(drawn))
    axes.barh(positions, [100 * value for value, _ in drawn], color=SERIES[0], height=0.75)
    for y, (value, label) in zip(positions, drawn, strict=True):
        axes.text(
            100 * value + 1, float(y), f"{100 * value:.0f}  (n = {support[label]})", va="center", fontsize=7.5
        )
    axes.set_yticks(positions, [label_of(label) for _, label in drawn], fontsize=8)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(value_title)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    if average is not None:
        axes.axvline(100 * average, color=INK, linestyle="--", linewidth=1, zorder=0)
    # The caption says what is not drawn.
    left_out = len(values) - len(every)
    caption = "Number of clips in brackets."
    caption += f" The dashed line is the mean, {percent(average)}." if average is not None else ""
    caption += (
        f" {left_out} {'class has' if left_out == 1 else 'classes have'} no clips here and therefore no bar."
        if left_out
        else ""
    )
    if len(drawn) < len(every):
        caption += (
            f" Only the best and the worst {_ENDS} of {len(every)} classes are drawn; the data has all."
        )
    alt = f"{title}. {len(every)} classes."
    if drawn:
        (high, first), (low, last) = drawn[0], drawn[-1]
        alt += f" From {first}, {percent(high)}, to {last}, {percent(low)}."
    data = pd.DataFrame([(k, v, support[k]) for v, k in every], columns=["class", "score", "clips"])
    return Figure(name, drawing, title, alt, caption, data)
