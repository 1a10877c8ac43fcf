"""What to label next: the clips, or stretches of long videos, of which a model is least certain."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiondiff.heads.predict import Activation
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv
from actiondiff.types import Prediction

__all__ = ["QUEUE_COLUMNS", "certainty", "clip_queue", "stretch_queue", "write_queue"]

QUEUE_COLUMNS = ("video", "label", "start_seconds", "end_seconds", "suggestion", "probability", "certainty")
Row = dict[str, Any]


def certainty(probabilities: NDArray[np.floating], activation: Activation) -> NDArray[np.float64]:
    """How certain a model is, in [0, 1]: (N, K) -> (N,).

    `softmax`: by how much the most probable class leads the next. `sigmoid`: twice the distance from 1/2 of
    the class that is nearest to it.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if activation == "sigmoid":
        return 2 * np.abs(values - 0.5).min(axis=1)
    if values.shape[1] == 1:
        return np.ones(len(values))
    top = np.sort(values, axis=1)
    return top[:, -1] - top[:, -2]


def clip_queue(predictions: Sequence[Prediction], *, most: int) -> list[Row]:
    """A row a clip, the least certain first."""
    rows = []
    for prediction in predictions:
        label, probability = prediction.top(1)[0]
        values = np.array([list(prediction.probabilities.values())])
        sure = float(certainty(values, prediction.activation)[0])
        rows.append(_row(prediction.video, None, None, label, probability, sure))
    return _first(rows, most)


def stretch_queue(timelines: Sequence[Timeline], *, most: int) -> list[Row]:
    """A row a stretch as long as the time that each score looks at, the least certain first."""
    rows = []
    for timeline in timelines:
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


def write_queue(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write the rows as a table of labels whose `label` is empty: to be filled in, and added to one's own.

    Paths are relative to it.
    """
    base = Path(path).resolve().parent
    relative = [Path(os.path.relpath(Path(row["video"]).resolve(), base)).as_posix() for row in rows]
    write_csv(
        path, QUEUE_COLUMNS, [{**row, "video": video} for row, video in zip(rows, relative, strict=True)]
    )


def _row(
    video: str, start: float | None, end: float | None, label: str, probability: float, sure: float
) -> Row:
    times = ["" if value is None else f"{value:.3f}" for value in (start, end)]
    values = (video, "", *times, label, f"{probability:.4f}", f"{sure:.4f}")
    return dict(zip(QUEUE_COLUMNS, values, strict=True))


def _first(rows: list[Row], most: int) -> list[Row]:
    return sorted(rows, key=lambda row: (float(row["certainty"]), row["video"], row["start_seconds"]))[:most]
