"""Cutting videos into spans of one length, each with the labels of the behaviours in it.

A head that is trained on spans sees what a timeline will show it: stretches of one length at any position,
with several behaviours or none.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from actiondiff.datasets.base import Table, value_of
from actiondiff.errors import TableError, UsageError, VideoError
from actiondiff.types import Example
from actiondiff.video.probe import length_seconds

__all__ = ["cut_spans"]

_BEYOND_SECONDS, _BEYOND_SHARE = (
    1.0,
    0.02,
)  # labels may end after the video by the larger of the two, as clocks differ


def cut_spans(
    table: Table,
    *,
    span_seconds: float,
    step_seconds: float | None = None,
    background: str = "background",
    min_share: float = 0.5,
    root: str | os.PathLike[str] | None = None,
) -> list[Example]:
    """Cut every video of a table into spans, and for each value of a column `individual` by itself.

    A span gets the labels whose bouts cover `min_share` of it, and is background if none does. If no two
    bouts of the table overlap, it gets only the label that covers most of it. If the table itself has rows of
    background, the rest of a video counts as not labelled: spans of which bouts, background included, cover
    less than `min_share` are left out. The time of rows with an empty label counts as not labelled as well.

    Args:
        table: Rows with times; a row without times stands for the whole video.
        span_seconds: Length of a span.
        step_seconds: Time from one span's start to the next; the length of a span if None.
        background: Label of spans without any behaviour; empty to leave out such spans.
        min_share: Share of a span that a label must cover, in (0, 1].
        root: Folder that the table's paths are relative to, if it is not the table's own.

    Raises:
        UsageError: If a number is out of its range.
        TableError: If no row has a label, the length of a video cannot be read, or labels lie beyond its end;
            the error lists all problems.
    """
    step = span_seconds if step_seconds is None else step_seconds
    if not (span_seconds > 0 and step > 0 and 0 < min_share <= 1):
        raise UsageError(
            f"spans need a length and a step above 0, and a share above 0 and at most 1; got {span_seconds}, "
            f"{step} and {min_share}."
        )
    if not table.label_names:
        raise TableError(
            table.source, ["no row has a label, so that there is nothing to cut; fill in the column label"]
        )
    by_video: dict[tuple[str, str], list[Example]] = {}
    for example in table.examples:
        by_video.setdefault((example.video, value_of(example, "individual")), []).append(example)
    rule = _LabelRule(
        background=background,
        min_share=min_share,
        one_at_a_time=not any(_overlap([bout for bout in own if bout.labels]) for own in by_video.values()),
        rest_is_background=background not in table.label_names,
        labels_are_complete=table.labels_are_complete,
    )
    # All problems are listed at once, over all videos.
    problems, spans = [], []
    for (video, _), own in by_video.items():
        try:
            length = _length(Path(root or table.root) / video)
        except VideoError as error:
            problems.append(str(error))
            continue
        problems += _beyond(own, length)
        for number in range(max(1, math.ceil((length - span_seconds) / step + 1e-9))):
            start = number * step
            end = start + span_seconds
            labels = _span_labels(own, start, end, length, rule)
            if labels:
                span = replace(own[0], labels=tuple(labels), start_seconds=start, end_seconds=end)
                spans.append(span)
    if problems:
        raise TableError(table.source, problems)
    return spans


@dataclass(frozen=True)
class _LabelRule:
    """How a span gets its labels: the options of `cut_spans`, and what the table implies."""

    background: str
    min_share: float
    one_at_a_time: bool
    rest_is_background: bool
    labels_are_complete: bool


def _span_labels(
    own: Sequence[Example], start: float, end: float, length: float, rule: _LabelRule
) -> list[str]:
    """Labels of one span of a video; empty if the span is left out."""
    covering = _labels(own, start, min(end, length), rule.min_share)
    behaviours = [label for label in covering if label != rule.background]
    if behaviours:
        return behaviours[:1] if rule.one_at_a_time else sorted(behaviours)
    # Time that nobody labelled is neither a behaviour nor background.
    unlabelled = [] if rule.labels_are_complete else [bout for bout in own if not bout.labels]
    is_background = rule.background in covering or (
        rule.rest_is_background and not _touched(unlabelled, start, end)
    )
    return [rule.background] if rule.background and is_background else []


def _labels(bouts: Sequence[Example], start: float, end: float, min_share: float) -> list[str]:
    """Labels whose bouts cover enough of a span, the one that covers most first."""
    shared: dict[str, float] = {}
    for bout in bouts:
        begin, stop = bout.start_seconds or 0.0, math.inf if bout.end_seconds is None else bout.end_seconds
        for label in bout.labels:
            shared[label] = shared.get(label, 0.0) + max(0.0, min(end, stop) - max(start, begin))
    enough = [label for label, time in shared.items() if time >= min_share * (end - start) - 1e-9]
    return sorted(enough, key=lambda label: (-shared[label], label))


def _overlap(bouts: Sequence[Example]) -> bool:
    """Whether a video has several labels at the same time."""
    ordered = sorted(bouts, key=lambda bout: bout.start_seconds or 0.0)
    ends = accumulate((math.inf if b.end_seconds is None else b.end_seconds for b in ordered), max)
    return any(len(bout.labels) > 1 for bout in bouts) or any(
        (after.start_seconds or 0.0) < end - 1e-9 for end, after in zip(ends, ordered[1:], strict=False)
    )


def _touched(bouts: Sequence[Example], start: float, end: float) -> bool:
    """Whether any bout overlaps with a span."""
    return any(
        (bout.start_seconds or 0.0) < end and (bout.end_seconds is None or bout.end_seconds > start)
        for bout in bouts
    )


def _beyond(bouts: Sequence[Example], length: float) -> list[str]:
    """Problems of labels that lie where a video has no frames."""
    limit = length + max(_BEYOND_SECONDS, _BEYOND_SHARE * length)
    return [
        f"{bout.video}: {'; '.join(bout.labels) or 'a row'} from {bout.start_seconds or 0:g} s to "
        f"{'the end' if bout.end_seconds is None else f'{bout.end_seconds:g} s'}, but its frames end at "
        f"{length:.2f} s; check whether the times are those of another file or frame rate"
        for bout in bouts
        if (bout.start_seconds or 0.0) >= length or (bout.end_seconds or 0.0) > limit
    ]


def _length(path: Path) -> float:
    seconds = length_seconds(path)
    if seconds is None:
        raise VideoError(
            f"{path}: the file has neither times nor a frame rate; convert it, for example to .mp4"
        )
    return seconds
