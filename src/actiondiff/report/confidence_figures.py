"""Figures of a model's confidence: reliability diagram, and accuracy against coverage."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from actiondiff.evaluation.calibration import calibration_bins, calibration_error, coverage_accuracy
from actiondiff.report.card import percent
from actiondiff.report.drawing import GRID, INK, SERIES, Figure, canvas, styled
from actiondiff.report.figures import label_of
from actiondiff.types import BoolArray, DoubleArray

__all__ = ["coverage_curve", "reliability_diagram"]


@styled()
def reliability_diagram(
    confidence: DoubleArray, right: BoolArray, *, title: str = "Calibration", name: str = "calibration"
) -> Figure:
    """Draw accuracy against confidence; a well calibrated model lies on the diagonal.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,), whether the prediction is correct.
        title: Heading.
        name: Stem of the figure's files.

    Raises:
        UsageError: If there is no clip, or the two arrays differ in length.
    """
    bins = calibration_bins(confidence, right)
    filled = bins[bins["clips"] > 0]
    error = calibration_error(confidence, right)
    drawing, axes = canvas(4.4, 4.6)
    drawing.clear()
    axes, below = drawing.subplots(2, 1, height_ratios=(3.2, 1), sharex=True)
    width = 1 / len(bins)
    axes.bar(filled["low"] + width / 2, filled["accuracy"], width * 0.94, color=SERIES[0])
    axes.plot(filled["confidence"], filled["accuracy"], "o", color=SERIES[1], markersize=4)
    axes.plot((0, 1), (0, 1), color=INK, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    below.bar(bins["low"] + width / 2, bins["clips"], width * 0.94, color=SERIES[7])
    below.set(ylabel="clips", xlabel="confidence")
    for part in (axes, below):
        part.grid(axis="y", color=GRID)
    caption = (
        "Each bar is the accuracy of the clips in a range of confidence, and each dot marks their mean "
        "confidence. On the dashed line, confidence equals accuracy. The expected calibration error over "
        f"{len(bins)} bins is {percent(error)}."
    )
    mean = float(np.mean(confidence))
    alt = f"{title}. Mean confidence {percent(mean)}, accuracy {percent(float(np.mean(right)))}."
    return Figure(name, drawing, title, alt, caption, bins)


@styled()
def coverage_curve(
    models: Mapping[str, tuple[DoubleArray, BoolArray]],
    *,
    title: str = "Accuracy of the most confident predictions",
    name: str = "coverage",
) -> Figure:
    """Draw the accuracy of the predictions when the least confident ones are left to a person.

    Args:
        models: Name of the model -> confidence (N,), and whether the prediction is correct (N,).
        title: Heading.
        name: Stem of the figure's files.

    Raises:
        UsageError: If there is no clip, or two arrays differ in length.
    """
    drawing, axes = canvas(5.6, 3.0)
    tables, sentences = [], []
    for i, (model, (confidence, right)) in enumerate(models.items()):
        curve = coverage_accuracy(confidence, right)
        axes.step(
            100 * curve["coverage"],
            100 * curve["accuracy"],
            where="post",
            color=SERIES[i % 8],
            label=label_of(model),
        )
        tables.append(curve.assign(model=model))
        half = curve[curve["coverage"] >= 0.5].iloc[0]
        sentences.append(
            f"{model}: {percent(half['accuracy'])} of the most confident half, "
            f"{percent(curve['accuracy'].iloc[-1])} of all clips"
        )
    axes.set(
        xlabel="clips predicted, the most confident first (%)",
        ylabel="accuracy of these (%)",
        xlim=(0, 102),
        ylim=(0, 102),
    )
    axes.grid()
    if len(models) > 1:
        axes.legend(loc="lower left")
    caption = "Correctly predicted: " + "; ".join(sentences) + "."
    return Figure(name, drawing, title, f"{title}. {caption}", caption, pd.concat(tables, ignore_index=True))
