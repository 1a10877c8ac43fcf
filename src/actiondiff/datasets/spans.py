"""Videos cut into spans of one length, each with the labels of what is to be seen in it.

Training on spans shows a head what a timeline will show it: stretches of one length, wherever they lie, with
several behaviours, or none.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.errors import TableError, UsageError, VideoError
from actiondiff.types import Example
from actiondiff.video.probe import probe

__all__ = ["cut_spans"]


def cut_spans(
    table: Table,
    *,
    span_seconds: float,
    step_seconds: float | None = None,
    background: str = "background",
    min_share: float = 0.5,
    root: str | os.PathLike[str] | None = None,
) -> list[Example]:
    """Spans of every video of a table.

    A span has the labels whose bouts cover `min_share` of it, and is background if none does. Where the
    table itself has background, the rest of a video counts as not labelled: spans of which bouts, background
    included, cover less than `min_share` are left out.

    Args:
        table: Rows with times; one without is there for the whole video.
        span_seconds: Length of a span.
        step_seconds: From one to the next; as the length if None.
        background: Label for none of the behaviours; empty to leave such spans out.
        min_share: Of a span, in (0, 1].
        root: Folder that the table's paths are relative to, if not its own.

    Raises:
        UsageError: If a number is out of its range.
        TableError: If the length of a video cannot be read; it lists them all.
    """
    step = span_seconds if step_seconds is None else step_seconds
    if not (span_seconds > 0 and step > 0 and 0 < min_share <= 1):
        raise UsageError(
            f"spans need a length and a step above 0 and a share above 0 and up to 1; got {span_seconds}, "
            f"{step} and {min_share}."
        )
    complete = background not in table.label_names
    by_video: dict[str, list[Example]] = {}
    for example in table.examples:
        by_video.setdefault(example.video, []).append(example)
    problems, spans = [], []
    for video, own in by_video.items():
        try:
            length = _length(Path(root or table.root) / video)
        except VideoError as error:
            problems.append(str(error))
            continue
        for number in range(max(1, math.ceil((length - span_seconds) / step + 1e-9))):
            start = number * step
            labels = _labels(own, start, min(start + span_seconds, length), min_share)
            if not labels and complete and background:
                labels = [background]
            labels = [label for label in labels if label != background or (background and len(labels) == 1)]
            if labels:
                first = own[0]
                spans.append(
                    Example(
                        video,
                        tuple(labels),
                        start,
                        start + span_seconds,
                        first.split,
                        first.group,
                        first.columns,
                    )
                )
    if problems:
        raise TableError(table.source, problems)
    return spans


def _labels(bouts: Sequence[Example], start: float, end: float, min_share: float) -> list[str]:
    """Labels whose bouts cover enough of a span, in the order of their names."""
    shared: dict[str, float] = {}
    for bout in bouts:
        begin, stop = bout.start_seconds or 0.0, math.inf if bout.end_seconds is None else bout.end_seconds
        for label in bout.labels:
            shared[label] = shared.get(label, 0.0) + max(0.0, min(end, stop) - max(start, begin))
    return sorted(label for label, time in shared.items() if time >= min_share * (end - start) - 1e-9)


def _length(path: Path) -> float:
    seconds = probe(path).duration_seconds
    if seconds is None:
        raise VideoError(f"{path}: its header says no duration; convert it, for example to .mp4")
    return seconds
