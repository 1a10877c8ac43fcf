"""When: a head slides over the tokens of a long video; its scores over time become bouts.

A span is centred on each step and cut at the video's ends, so that every time is judged by what surrounds it.
Between steps scores are interpolated. Bouts follow from the smoothed scores by each class's threshold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from actiondiff.datasets.packing import pack_arrays
from actiondiff.errors import UsageError
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, activate, span_logits
from actiondiff.inference.options import TimelineOptions
from actiondiff.types import Array, Bout, DecodeReport, Features

__all__ = [
    "Timeline",
    "TimelineOptions",
    "default_threshold",
    "find_bouts",
    "finish",
    "make_timeline",
    "span_and_step",
    "span_scores",
]

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a model says of a video over time.

    Attributes:
        video: The video's path as given, or its identity for frames in memory.
        labels: The K classes.
        seconds: (T,) float64, when each sampled frame is shown.
        frame_index: (T,) int64, its number among the video's raw frames.
        end_seconds: Where the last sampled frame's time ends.
        probabilities: (T, K) float32, smoothed.
        bouts: By start and label.
        activation: `softmax`: one behaviour at a time; `sigmoid`: several, or none.
        thresholds: Label -> probability from which it was there.
        options: How it was made; `span_seconds` and `step_seconds` are those in force.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; its `coverage` says how much of the video was seen.
    """

    video: str
    labels: tuple[str, ...]
    seconds: Seconds
    frame_index: NDArray[np.int64]
    end_seconds: float
    probabilities: Array
    bouts: tuple[Bout, ...]
    activation: Activation
    thresholds: Mapping[str, float]
    options: TimelineOptions
    padding_share: float = 0.0
    report: DecodeReport | None = None

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """(T, K), whether a bout of each class holds at each time."""
        held = np.zeros(self.probabilities.shape, dtype=bool)
        for bout in self.bouts:
            inside = (self.seconds >= bout.start_seconds) & (self.seconds < bout.end_seconds)
            held[inside, self.labels.index(bout.label)] = True
        return held

    @property
    def coverage(self) -> float:
        """Share of the video that decoded, in [0, 1]."""
        return self.report.coverage if self.report else 1.0

    def budget(self) -> dict[str, float]:
        """Label -> seconds of its bouts in all."""
        totals = dict.fromkeys(self.labels, 0.0)
        for bout in self.bouts:
            totals[bout.label] += bout.end_seconds - bout.start_seconds
        return totals


def make_timeline(
    head: Head,
    config: ModelConfig,
    features: Features,
    video: str,
    *,
    options: TimelineOptions | None = None,
) -> Timeline:
    """Slide a trained head over a video's features.

    Args:
        head: The trained head.
        config: The head's config.
        features: Of the whole video, with times.
        video: What to call it.
        options: Those that are set count before the model's own.

    Raises:
        UsageError: If the times of the frames are unknown.
    """
    seconds = features.seconds
    if seconds is None:
        raise UsageError(
            f"the times of the frames of {video} are unknown, so nothing can be said of when; got features "
            "without seconds. Give the video's file, or frames with seconds."
        )
    given = options.model_dump(exclude_unset=True) if options else {}
    chosen = TimelineOptions(**{**config.timeline, **given})
    tokens = config.tokens_of(features)  # (T, D)
    period = _period(seconds)
    span, step = span_and_step(
        config, head, seconds, span_seconds=chosen.span_seconds, step_seconds=chosen.step_seconds
    )
    chosen = chosen.model_copy(update={"span_seconds": span * period, "step_seconds": step * period})
    activation = config.activation
    scores = span_scores(head, tokens, span=span, step=step, activation=activation)
    raw = Timeline(
        video=video,
        labels=tuple(config.labels),
        seconds=seconds,
        frame_index=features.frame_index,
        end_seconds=_end(features, seconds, period),
        probabilities=scores,
        bouts=(),
        activation=activation,
        thresholds={},
        options=chosen,
        padding_share=features.padding_share,
        report=features.report,
    )
    known = config.thresholds if chosen.threshold is None else {}
    fallback = default_threshold(activation) if chosen.threshold is None else chosen.threshold
    return finish(raw, {label: known.get(label, fallback) for label in raw.labels}, chosen)


def span_and_step(
    config: ModelConfig,
    head: Head,
    seconds: Seconds | None,
    *,
    span_seconds: float | None,
    step_seconds: float | None,
) -> tuple[int, int]:
    """Tokens that a score looks at, and from one score to the next; without times as the model has them.

    Raises:
        UsageError: If they are given in seconds, and the times of the frames are unknown.
    """
    if seconds is None and not (span_seconds is None and step_seconds is None):
        raise UsageError(
            "the times of the frames are unknown, so nothing can be cut by seconds. Give the video's file, "
            "frames with seconds, or neither span_seconds nor step_seconds."
        )
    period = 1.0 if seconds is None else _period(seconds)
    limit = head.options.max_tokens
    usual = limit if config.span_tokens is None else config.span_tokens
    span = usual if span_seconds is None else span_seconds / period
    step = 1 if step_seconds is None else step_seconds / period
    return min(limit, _at_least_one(span)), _at_least_one(step)


def default_threshold(activation: Activation) -> float:
    """Of a class that none was chosen for: where one class holds at a time, the most probable always does."""
    return 0.0 if activation == "softmax" else 0.5


def finish(raw: Timeline, thresholds: Mapping[str, float], options: TimelineOptions) -> Timeline:
    """From scores that are not smoothed yet to smoothed ones and bouts."""
    scores = raw.probabilities
    thresholds = {label: max(value, options.abstain_below) for label, value in thresholds.items()}
    if options.smooth_seconds:
        reach = int(options.smooth_seconds / _period(raw.seconds) / 2 + 1e-9)  # steps to either side
        width = 2 * min(reach, len(scores)) + 1
        scores = uniform_filter1d(scores, width, axis=0, mode="nearest")
    bouts = find_bouts(
        scores,
        np.append(raw.seconds, raw.end_seconds),
        raw.labels,
        thresholds,
        exclusive=raw.activation == "softmax",
        options=options,
    )
    return replace(raw, probabilities=scores, bouts=tuple(bouts), thresholds=thresholds, options=options)


def span_scores(head: Head, tokens: Array, *, span: int, step: int, activation: Activation) -> Array:
    """Probabilities over time.

    Args:
        head: With its temperature.
        tokens: (T, D) float32.
        span: Tokens that each score looks at; fewer at the ends of the video.
        step: Tokens from one score to the next.
        activation: From logits to probabilities.

    Returns:
        (T, K) float32; between steps interpolated linearly.
    """
    count = len(tokens)
    centres = np.arange(0, count, step)
    starts = np.maximum(centres - span // 2, 0)
    stops = np.minimum(centres - span // 2 + span, count)
    lengths = torch.from_numpy(stops - starts)
    logits = span_logits(head, pack_arrays([tokens]), torch.from_numpy(starts), lengths)
    values = activate(logits, activation, head.temperature).numpy()
    columns = [np.interp(np.arange(count), centres, column) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)


def find_bouts(
    probabilities: Array,
    edges: Seconds,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    exclusive: bool,
    options: TimelineOptions,
) -> list[Bout]:
    """Stretches in which a class reaches its threshold.

    Bouts of a class that are close become one, too short ones are left out, and what that brings together
    becomes one again. Where classes exclude each other, the most probable counts (the first of equals), and
    two bouts become one only if nothing else lies between them.

    Args:
        probabilities: (T, K).
        edges: (T + 1,) when each step begins, and when the last ends.
        labels: The K classes.
        thresholds: Of each class.
        exclusive: Whether only one class holds at a time.
        options: Minimum duration, gap, and which label is none.
    """
    held = probabilities >= np.array([thresholds[label] for label in labels])  # (T, K)
    if exclusive:
        held &= probabilities.argmax(1)[:, None] == np.arange(len(labels))
    runs = {
        k: list(_runs(held[:, k])) for k, label in enumerate(labels) if label != options.background
    }  # class -> [start, stop) in steps
    runs = _joined(runs, edges, options.max_gap_seconds, exclusive)
    runs = {
        k: [(a, b) for a, b in found if edges[b] - edges[a] >= options.min_seconds - 1e-9]
        for k, found in runs.items()
    }
    runs = _joined(runs, edges, options.max_gap_seconds, exclusive)
    bouts = [
        Bout(labels[k], float(edges[a]), float(edges[b]), float(probabilities[a:b, k].mean()))
        for k, found in runs.items()
        for a, b in found
    ]
    return sorted(bouts, key=lambda bout: (bout.start_seconds, bout.label))


_Runs = dict[int, list[tuple[int, int]]]


def _joined(runs: _Runs, edges: Seconds, max_gap: float, exclusive: bool) -> _Runs:
    taken = np.zeros(len(edges) - 1, dtype=bool)
    if exclusive:
        for found in runs.values():
            for start, stop in found:
                taken[start:stop] = True
    joined: _Runs = {}
    for k, found in runs.items():
        kept: list[tuple[int, int]] = []
        for start, stop in found:
            last = kept[-1][1] if kept else 0
            if kept and edges[start] - edges[last] <= max_gap + 1e-9 and not taken[last:start].any():
                kept[-1] = (kept[-1][0], stop)
            else:
                kept.append((start, stop))
        joined[k] = kept
    return joined


def _runs(held: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Stretches of True as [start, stop)."""
    changes = np.flatnonzero(np.diff(held.astype(np.int8), prepend=0, append=0))
    return ((int(a), int(b)) for a, b in list(pairwise(changes))[::2])


def _period(seconds: Seconds) -> float:
    """Usual time from one sampled frame to the next; 1 s for a single frame."""
    steps = np.diff(seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


def _end(features: Features, seconds: Seconds, period: float) -> float:
    """Where the last token's time ends: a period on, but not after the last frame that decoded."""
    end = float(seconds[-1]) + period
    index = features.frame_index
    decoded = features.report.num_frames_decoded if features.report else 0
    if decoded > index[-1] > index[0]:
        per_frame = (seconds[-1] - seconds[0]) / float(index[-1] - index[0])
        end = min(end, float(seconds[-1] + per_frame * (decoded - index[-1])))
    return end


def _at_least_one(value: float) -> int:
    return max(1, round(value))
