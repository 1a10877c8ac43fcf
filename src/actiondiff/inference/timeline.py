"""When an action happens: a head slides over the tokens of a long video, and its scores become bouts.

Each score is computed from a span of tokens that is centred on its time and cut at the ends of the video.
Between the steps of the head, scores are interpolated. A bout is a stretch in which the smoothed score of a
class reaches the threshold of that class.
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
from actiondiff.inference.guard import Guard, check_domain
from actiondiff.inference.options import TimelineOptions
from actiondiff.types import Array, Bout, DecodeReport, DomainCheck, Features
from actiondiff.types.display import bouts_picture, titled

__all__ = [
    "Timeline",
    "TimelineOptions",
    "cut_timeline",
    "default_threshold",
    "find_bouts",
    "finish",
    "make_timeline",
    "score_timeline",
    "span_and_step",
    "span_scores",
]

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The actions that a model predicts for a video over time.

    Attributes:
        video: The video's path as given (of a crop: that of its source), or the identity of frames in memory.
        labels: The K classes.
        seconds: (T,) float64, presentation time of each sampled frame.
        frame_index: (T,) int64, number of each sampled frame among the video's raw frames.
        end_seconds: Time at which the last sampled frame ends.
        probabilities: (T, K) float32, smoothed.
        bouts: The bouts, sorted by start and label.
        activation: `softmax` where one class holds at a time, `sigmoid` where several can hold, or none.
        thresholds: Label -> probability from which the class counts as present.
        options: Options that the timeline was made with; `span_seconds` and `step_seconds` are always set.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; its `coverage` is the share of the video that decoded.
        domain: How far the video lies outside what the model has learnt from; None if that is unknown. If it
            lies outside, there are no bouts unless `options.abstain_outside` is off.
        individual: The individual that the crop follows; empty for whole pictures.
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
    domain: DomainCheck | None = None
    individual: str = ""

    def __repr__(self) -> str:
        bouts = f"{len(self.bouts)} bout" + ("" if len(self.bouts) == 1 else "s")
        return f"Timeline({titled(self.video, self.individual)!r}: {bouts} in {self.end_seconds:.1f} s)"

    def _repr_html_(self) -> str:
        spans = [(bout.label, bout.start_seconds, bout.end_seconds) for bout in self.bouts]
        return bouts_picture(self.labels, spans, self.end_seconds, repr(self))

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """(T, K), whether each time lies in a bout of each class."""
        held = np.zeros(self.probabilities.shape, dtype=bool)
        for bout in self.bouts:
            inside = (self.seconds >= bout.start_seconds) & (self.seconds < bout.end_seconds)
            held[inside, self.labels.index(bout.label)] = True
        return held

    @property
    def abstains(self) -> bool:
        """Whether there are no bouts because the video lies outside what the model has learnt from."""
        return self.options.abstain_outside and self.domain is not None and self.domain.is_outside

    @property
    def coverage(self) -> float:
        """Share of the video that decoded, in [0, 1]."""
        return self.report.coverage if self.report else 1.0

    def budget(self) -> dict[str, float]:
        """Label -> total seconds of its bouts."""
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
    guard: Guard | None = None,
) -> Timeline:
    """Slide a trained head over a video's features.

    Args:
        head: The trained head.
        config: The head's config.
        features: Features of the whole video, with times.
        video: Name of the video in the timeline.
        options: How scores and bouts are made. Options that are set override the model's own.
        guard: Tells whether the video lies outside what the model has learnt from.

    Raises:
        UsageError: If the times of the frames are unknown.
    """
    raw = score_timeline(head, config, features, video, options=options, guard=guard)
    return cut_timeline(raw, config, options=options)


def score_timeline(
    head: Head,
    config: ModelConfig,
    features: Features,
    video: str,
    *,
    options: TimelineOptions | None = None,
    guard: Guard | None = None,
) -> Timeline:
    """Compute the scores of a timeline, which `cut_timeline` makes bouts of; arguments as `make_timeline`.

    Returns:
        A timeline of scores that are not smoothed, without bouts.

    Raises:
        UsageError: If the times of the frames are unknown.
    """
    seconds = features.seconds
    if seconds is None:
        raise UsageError(
            f"the times of the frames of {video} are unknown, so no timeline can be made; got features "
            "without seconds. Give the video's file, or frames with seconds."
        )
    chosen = TimelineOptions.of_model(config.timeline, options)
    # Spans and steps are counted in tokens, and recorded in seconds.
    tokens = config.tokens_of(features)  # (T, D)
    domain = check_domain(guard, config, features, tokens, video)
    period = _period(seconds)
    span, step = span_and_step(
        config, head, seconds, span_seconds=chosen.span_seconds, step_seconds=chosen.step_seconds
    )
    return Timeline(
        video=video,
        labels=tuple(config.labels),
        seconds=seconds,
        frame_index=features.frame_index,
        end_seconds=_end(features, seconds, period),
        probabilities=span_scores(head, tokens, span=span, step=step, activation=config.activation),
        bouts=(),
        activation=config.activation,
        thresholds={},
        options=chosen.model_copy(update={"span_seconds": span * period, "step_seconds": step * period}),
        padding_share=features.padding_share,
        report=features.report,
        domain=domain,
    )


def cut_timeline(raw: Timeline, config: ModelConfig, *, options: TimelineOptions | None = None) -> Timeline:
    """Cut scores into bouts, as often as options change: no network runs.

    Args:
        raw: What `score_timeline` returned. Its span and step are kept.
        config: The head's config.
        options: How scores are smoothed and bouts are found. Options that are set override the model's own.
    """
    lengths = {"span_seconds": raw.options.span_seconds, "step_seconds": raw.options.step_seconds}
    chosen = TimelineOptions.of_model(config.timeline, options).model_copy(update=lengths)
    own = config.thresholds if chosen.threshold is None else {}
    fallback = default_threshold(raw.activation) if chosen.threshold is None else chosen.threshold
    return finish(raw, {label: own.get(label, fallback) for label in raw.labels}, chosen)


def span_and_step(
    config: ModelConfig,
    head: Head,
    seconds: Seconds | None,
    *,
    span_seconds: float | None,
    step_seconds: float | None,
) -> tuple[int, int]:
    """Number of tokens that each score is computed from, and number from one score to the next.

    Args:
        config: The head's config, whose `span_tokens` is the default span.
        head: The trained head, whose `max_tokens` limits the span.
        seconds: (T,) times of the tokens; None if unknown.
        span_seconds: The span in seconds; None for the default.
        step_seconds: The step in seconds; None for a step of one token.

    Raises:
        UsageError: If span or step is given in seconds, and the times of the frames are unknown.
    """
    if seconds is None and not (span_seconds is None and step_seconds is None):
        raise UsageError(
            "the times of the frames are unknown, so span_seconds and step_seconds cannot be used. Give the "
            "video's file or frames with seconds, or leave both options out."
        )
    period = 1.0 if seconds is None else _period(seconds)
    limit = head.options.max_tokens
    usual = limit if config.span_tokens is None else config.span_tokens
    span = usual if span_seconds is None else span_seconds / period
    step = 1 if step_seconds is None else step_seconds / period
    return min(limit, _at_least_one(span)), _at_least_one(step)


def default_threshold(activation: Activation) -> float:
    """Threshold of a class that none was chosen for; with softmax 0, since the most probable class holds."""
    return 0.0 if activation == "softmax" else 0.5


def finish(raw: Timeline, thresholds: Mapping[str, float], options: TimelineOptions) -> Timeline:
    """Complete a timeline of raw scores: smooth the scores and find the bouts.

    Args:
        raw: A timeline whose probabilities are not smoothed; its bouts and thresholds are replaced.
        thresholds: Label -> probability from which the class counts as present.
        options: How scores are smoothed and bouts are found.
    """
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
    made = replace(raw, probabilities=scores, bouts=tuple(bouts), thresholds=thresholds, options=options)
    return replace(made, bouts=()) if made.abstains else made


def span_scores(head: Head, tokens: Array, *, span: int, step: int, activation: Activation) -> Array:
    """Compute probabilities over time, with the head's temperature.

    Args:
        head: The trained head.
        tokens: (T, D) float32.
        span: Number of tokens that each score is computed from; fewer at the ends of the video.
        step: Number of tokens from one score to the next.
        activation: How logits become probabilities.

    Returns:
        (T, K) float32, interpolated linearly between steps.
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
    """Find the stretches in which the probability of a class reaches its threshold.

    Bouts of a class that are close together are joined, bouts that are too short are dropped, and bouts that
    have then become neighbours are joined again. Where only one class holds at a time, it is the most
    probable one (the first of equal ones), and two bouts are joined only if no other bout lies between them.

    Args:
        probabilities: (T, K).
        edges: (T + 1,) the time at which each step begins, and the time at which the last one ends.
        labels: The K classes.
        thresholds: Label -> probability from which the class counts as present.
        exclusive: Whether only one class holds at a time.
        options: Shortest bout, longest gap, and the background label.
    """
    held = probabilities >= np.array([thresholds[label] for label in labels])  # (T, K)
    if exclusive:
        held &= probabilities.argmax(1)[:, None] == np.arange(len(labels))
    runs = {
        k: list(_runs(held[:, k])) for k, label in enumerate(labels) if label != options.background
    }  # class -> [start, stop) in steps
    # Short bouts are dropped between two passes of joining, since the drop can make neighbours of others.
    runs = _joined(runs, edges, options.max_gap_seconds, exclusive)
    runs = {
        k: [(a, b) for a, b in own if edges[b] - edges[a] >= options.min_seconds - 1e-9]
        for k, own in runs.items()
    }
    runs = _joined(runs, edges, options.max_gap_seconds, exclusive)
    bouts = [
        Bout(labels[k], float(edges[a]), float(edges[b]), float(probabilities[a:b, k].mean()))
        for k, own in runs.items()
        for a, b in own
    ]
    return sorted(bouts, key=lambda bout: (bout.start_seconds, bout.label))


_Runs = dict[int, list[tuple[int, int]]]
"""Class -> its stretches as [start, stop) in steps."""


def _joined(runs: _Runs, edges: Seconds, max_gap: float, exclusive: bool) -> _Runs:
    """Join runs of a class across short gaps that, if exclusive, hold no run of another class."""
    taken = np.zeros(len(edges) - 1, dtype=bool)
    if exclusive:
        for own in runs.values():
            for start, stop in own:
                taken[start:stop] = True
    joined: _Runs = {}
    for k, own in runs.items():
        longer: list[tuple[int, int]] = []
        for start, stop in own:
            last = longer[-1][1] if longer else 0
            if longer and edges[start] - edges[last] <= max_gap + 1e-9 and not taken[last:start].any():
                longer[-1] = (longer[-1][0], stop)
            else:
                longer.append((start, stop))
        joined[k] = longer
    return joined


def _runs(held: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Stretches of True values as [start, stop)."""
    changes = np.flatnonzero(np.diff(held.astype(np.int8), prepend=0, append=0))
    return ((int(a), int(b)) for a, b in list(pairwise(changes))[::2])


def _period(seconds: Seconds) -> float:
    """Median time from one sampled frame to the next; 1 s if there is a single frame."""
    steps = np.diff(seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


def _end(features: Features, seconds: Seconds, period: float) -> float:
    """Time at which the last token ends: one period later, but not after the last frame that decoded."""
    end = float(seconds[-1]) + period
    index = features.frame_index
    decoded = features.report.num_frames_decoded if features.report else 0
    if decoded > index[-1] > index[0]:
        per_frame = (seconds[-1] - seconds[0]) / float(index[-1] - index[0])
        end = min(end, float(seconds[-1] + per_frame * (decoded - index[-1])))
    return end


def _at_least_one(value: float) -> int:
    return max(1, round(value))
