"""A queue of what to label next: clips or stretches of videos about which a model is least certain.

Videos that lie outside what the model has learnt from come first, the farthest at the head, whatever the
model's certainty: it says nothing about them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.exports.individuals import with_individual
from actiondiff.heads.predict import Activation
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv
from actiondiff.types import DomainCheck, Prediction

__all__ = ["QUEUE", "QUEUE_COLUMNS", "certainty", "clip_queue", "stretch_queue", "write_queue"]

QUEUE = "queue.csv"
QUEUE_COLUMNS = (
    "video", "label", "start_seconds", "end_seconds", "suggestion", "probability", "certainty", "outside"
)  # fmt: skip
_FIRST_STRETCHES = 3  # of a video outside what the model has learnt from, which come before all else
QueueRow = dict[str, str]
"""Name of the column -> text."""
_Who = tuple[str, str]
"""A video, and the individual in it that a crop follows; the latter is empty for whole pictures."""


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
    """One row per clip, those outside and then the least certain first, at most `most` rows."""
    rows, first = [], {}
    for prediction in predictions:
        label, probability = prediction.top(1)[0]
        values = np.array([list(prediction.probabilities.values())])
        sure = float(certainty(values, prediction.activation)[0])
        who = prediction.video, prediction.individual
        rows.append(_row(who, None, None, label, probability, sure, prediction.domain))
        if prediction.domain and prediction.domain.is_outside:
            first[who] = prediction.domain.distance
    return _ordered(rows, first, most)


def stretch_queue(timelines: Sequence[Timeline], *, most: int) -> list[QueueRow]:
    """One row per stretch of the length of one span, at most `most` rows.

    The least certain come first, and before them the three least certain of each video that lies outside.
    """
    rows, first = [], {}
    for timeline in timelines:
        # The video is cut into stretches as long as the span that each score was computed from.
        length = timeline.options.span_seconds or timeline.end_seconds
        who = timeline.video, timeline.individual
        begin = float(timeline.seconds[0])
        sure = certainty(timeline.probabilities, timeline.activation)
        number = np.floor((timeline.seconds - begin) / length + 1e-9).astype(int)
        for n in np.unique(number):
            inside = number == n
            means = timeline.probabilities[inside].mean(axis=0)
            best = int(means.argmax())
            start, end = begin + n * length, min(begin + (n + 1) * length, timeline.end_seconds)
            label, probability = timeline.labels[best], float(means[best])
            certain = float(sure[inside].mean())
            rows.append(_row(who, start, end, label, probability, certain, timeline.domain))
        if timeline.domain and timeline.domain.is_outside:
            first[who] = timeline.domain.distance
    return _ordered(rows, first, most)


def write_queue(path: str | os.PathLike[str], rows: Sequence[QueueRow]) -> None:
    """Write the rows as a table of labels, whose empty column `label` is to be filled in by hand.

    The filled table can be added to one's own. Paths are relative to the table.
    """
    base = Path(path).resolve().parent
    relative = [Path(os.path.relpath(Path(row["video"]).resolve(), base)).as_posix() for row in rows]
    columns = with_individual(QUEUE_COLUMNS, wanted=any(row["individual"] for row in rows))
    write_csv(path, columns, [{**row, "video": video} for row, video in zip(rows, relative, strict=True)])


def _row(
    who: _Who,
    start: float | None,
    end: float | None,
    label: str,
    probability: float,
    sure: float,
    domain: DomainCheck | None,
) -> QueueRow:
    """One row of the table, whose label is empty."""
    times = ["" if value is None else f"{value:.3f}" for value in (start, end)]
    why = domain.reason if domain else ""
    values = (*who, "", *times, label, f"{probability:.4f}", f"{sure:.4f}", why)
    return dict(zip(with_individual(QUEUE_COLUMNS), values, strict=True))


def _who(row: QueueRow) -> _Who:
    return row["video"], row["individual"]


def _ordered(rows: list[QueueRow], outside: Mapping[_Who, float], most: int) -> list[QueueRow]:
    """The rows to label first: some of each video that lies outside, by its distance, then by certainty."""
    ordered = sorted(rows, key=lambda row: (float(row["certainty"]), *_who(row), row["start_seconds"]))
    ahead: list[QueueRow] = []
    for who in sorted(outside, key=lambda who: -outside[who]):
        ahead += [row for row in ordered if _who(row) == who][:_FIRST_STRETCHES]
    taken = {id(row) for row in ahead}
    return [*ahead, *[row for row in ordered if id(row) not in taken]][:most]
