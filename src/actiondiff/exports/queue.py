"""A queue of what to label next: clips or stretches of videos about which a model is least certain."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.heads.predict import Activation
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv
from actiondiff.types import Prediction

__all__ = ["QUEUE", "QUEUE_COLUMNS", "certainty", "clip_queue", "stretch_queue", "write_queue"]

QUEUE = "queue.csv"
QUEUE_COLUMNS = ("video", "label", "start_seconds", "end_seconds", "suggestion", "probability", "certainty")
QueueRow = dict[str, str]
"""Name of the column -> text."""


def certainty(probabilities: NDArray[np.floating], activation: Activation) -> NDArray[np.float64]:
    """How certain a model is, in [0, 1]: (N, K) -> (N,).

    With `softmax`, certainty is the difference between the two highest probabilities. With `sigmoid`, it is
    twice the distance from 1/2 of the probability that is nearest to 1/2.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if activation == "sigmoid":
        return 2 * np.abs(values - 0.5).min(axis=1)
    if values.shape[1] == 1:
        return np.ones(len(values))
    top = np.sort(values, axis=1)
    return top[:, -1] - top[:, -2]


def clip_queue(predictions: Sequence[Prediction], *, most: int) -> list[QueueRow]:
    """One row per clip, the least certain first, at most `most` rows."""
    rows = []
    for prediction in predictions:
        label, probability = prediction.top(1)[0]
        values = np.array([list(prediction.probabilities.values())])
        sure = float(certainty(values, prediction.activation)[0])
        rows.append(_row(prediction.video, None, None, label, probability, sure))
    return _first(rows, most)


def stretch_queue(timelines: Sequence[Timeline], *, most: int) -> list[QueueRow]:
    """One row per stretch of the length of one span, the least certain first, at most `most` rows."""
    rows = []
    for timeline in timelines:
        # The video is cut into stretches as long as the span that each score was computed from.
        length = timeline.options.span_seconds or timeline.end_seconds
        begin = float(timeline.seconds[0])
        sure = certainty(timeline.probabilities, timeline.activation)
        number = np.floor((timeline.seconds - begin) / length + 1e-9).astype(int)
        for n in np.unique(number):
            inside = number == n
            means = timeline.probabilities[inside].mean(axis=0)
            best = int(means.argmax())
            start, end = begin + n * length, min(begin + (n + 1) * length, timeline.end_seconds)
            label, probability = timeline.labels[best], float(means[best])
            rows.append(_row(timeline.video, start, end, label, probability, float(sure[inside].mean())))
    return _first(rows, most)


def write_queue(path: str | os.PathLike[str], rows: Sequence[QueueRow]) -> None:
    """Write the rows as a table of labels, whose empty column `label` is to be filled in by hand.

    The filled table can be added to one's own. Paths are relative to the table.
    """
    base = Path(path).resolve().parent
    relative = [Path(os.path.relpath(Path(row["video"]).resolve(), base)).as_posix() for row in rows]
    write_csv(
        path, QUEUE_COLUMNS, [{**row, "video": video} for row, video in zip(rows, relative, strict=True)]
    )


def _row(
    video: str, start: float | None, end: float | None, label: str, probability: float, sure: float
) -> QueueRow:
    """One row of the table, whose label is empty."""
    times = ["" if value is None else f"{value:.3f}" for value in (start, end)]
    values = (video, "", *times, label, f"{probability:.4f}", f"{sure:.4f}")
    return dict(zip(QUEUE_COLUMNS, values, strict=True))


def _first(rows: list[QueueRow], most: int) -> list[QueueRow]:
    return sorted(rows, key=lambda row: (float(row["certainty"]), row["video"], row["start_seconds"]))[:most]
