"""Timelines of a trained head on videos with timed labels: the choice of their options, and their scores.

The rows of a video in a table are taken to be complete: between them, none of the classes occurs.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.crop_tables import table_of_crops
from actiondiff.datasets.packing import MissingClip
from actiondiff.datasets.table import read_table
from actiondiff.errors import StoreError, UsageError
from actiondiff.evaluation.calibration import choose_thresholds
from actiondiff.evaluation.results import TimelineMetrics
from actiondiff.evaluation.scores import FrameScores, SegmentScores
from actiondiff.evaluation.segments import frame_scores, frame_truth, segment_scores
from actiondiff.experiments.backgrounds import footage_of
from actiondiff.experiments.run import Run, check_settings, seen_in_training, stored_rows
from actiondiff.features.manifest import Row
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import ModelConfig, load_bundle
from actiondiff.heads.inputs import Head
from actiondiff.inference.backgrounds import set_to_cameras
from actiondiff.inference.folders import find_model_folder
from actiondiff.inference.timeline import Timeline, TimelineOptions, finish, make_timeline
from actiondiff.provenance import environment
from actiondiff.types import JSON, Array, Bout, Example

__all__ = ["TimelineEvaluation", "bouts_of", "choose_timeline", "evaluate_timelines", "usual_timeline"]

_SMOOTH_SECONDS = (0.0, 0.5, 1.0, 2.0, 3.0)
_MIN_SECONDS = (0.0, 0.5, 1.0, 2.0)
_SHORTEST_SPAN = 4  # tokens; half of fewer averages nothing
_MIN_COVERED = 0.9  # share of a video's frames that its rows must cover for options to be chosen on it


@dataclass(frozen=True)
class TimelineEvaluation:
    """Timelines of videos with labelled bouts, and their scores.

    Attributes:
        metrics: Scores of frames and of bouts, and what was left out.
        timelines: Video -> timeline.
        truth: Video -> labelled bouts.
    """

    metrics: TimelineMetrics
    timelines: Mapping[str, Timeline]
    truth: Mapping[str, Sequence[Bout]]


class TimelineChoice(TypedDict):
    """Options of timelines that were chosen on validation videos; fields of `ModelConfig`.

    `thresholds` has one probability per label, `timeline` values of `TimelineOptions`, and `chosen_on` the
    numbers `num_videos`, `frame_f1` and `segment_f1`.
    """

    thresholds: dict[str, float]
    timeline: dict[str, JSON]
    chosen_on: dict[str, float | None]


def evaluate_timelines(
    run: Run | str | os.PathLike[str],
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    options: TimelineOptions | None = None,
    root: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
) -> TimelineEvaluation:
    """Score a model's timelines. Videos that it was trained or selected on are left out and counted.

    Args:
        run: Run that made the model, or its folder.
        store: Features of the whole videos, made with the same settings as the features of training.
        table: Their bouts: rows with `start_seconds` and `end_seconds`. If its `split` column marks test
            rows, only their videos are taken.
        options: Options that are set here win over the model's own.
        root: Folder that the table's paths are relative to, if not the table's own.
        background: Table of stored clips without animals, from which backgrounds of new cameras are estimated
            if the model takes backgrounds away; None for the videos themselves.

    Raises:
        SettingsMismatchError: If the features were made with other settings.
        UsageError: If no video is left to test, or clips without animals do not fit.
    """
    # Open the model, the features and the labels, and check that they fit each other.
    folder = find_model_folder(run.folder if isinstance(run, Run) else run)
    head, config = load_bundle(folder)
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    check_settings(store, config, folder)
    root = Path(root) if root else table.root
    table = table_of_crops(table, store, root)

    # Leave out what the model was trained or selected on, by content, whatever its name is.
    examples = [example for example in table.examples if example.split == "test"] or list(table.examples)
    seen, notes = seen_in_training(folder)
    rows = stored_rows(store, examples, root)
    videos = {example.video for example in examples}
    trained_on = {video for video in videos if video in rows and rows[video].identity in seen}
    fresh = [example for example in examples if example.video in rows and example.video not in trained_on]

    # Make the timelines, and score them against the labelled bouts.
    footage = footage_of(config, store, background)
    timelines, truth, missing = _timelines(head, config, store, fresh, root, options, footage)
    if config.backgrounds is not None:
        column = config.backgrounds.column
        cameras = {
            example.video: value_of(example, column) for example in fresh if example.video in timelines
        }
        notes = [*notes, *filter(None, [config.backgrounds.note_of_videos(cameras, footage)])]
    if not timelines:
        raise UsageError(
            f"{table.source} has no videos to test timelines on: it names {len(videos)}, of which "
            f"{len(videos & set(rows))} have features, and the model was trained or selected on these. Give "
            "further videos."
        )
    first = next(iter(timelines.values()))
    frames, segments = _score_timelines(timelines, truth)
    metrics = TimelineMetrics(
        num_videos=len(timelines),
        seconds=float(sum(t.end_seconds - t.seconds[0] for t in timelines.values())),
        frames=frames,
        segments=segments,
        options=first.options.model_dump(),
        thresholds=dict(first.thresholds),
        num_left_out_as_trained_on=len(trained_on),
        missing=tuple(sorted((videos - set(rows)) | {clip.example.video for clip in missing})),
        cautions=tuple(notes),
        run=str(folder),
        table=str(table.source),
        environment=environment(),
    )
    return TimelineEvaluation(metrics, timelines, truth)


def usual_timeline(config: ModelConfig) -> dict[str, JSON]:
    """Options of timelines for a model that none were chosen for: scores are averaged over half a clip.

    Each score is computed from the median length of a training clip, so shorter bouts are mostly noise.
    `python benchmarks/smoothing.py WORK` measures what the average is worth.

    Args:
        config: The model's config, with `span_tokens` and `frame_seconds`.
    """
    tokens = min(config.span_tokens or 1, config.head.max_tokens)
    if config.frame_seconds is None or tokens < _SHORTEST_SPAN:
        return {}
    tenths = math.ceil(10 * tokens * config.frame_seconds / 2 - 1e-6)  # the steps of the pages' sliders
    return {"smooth_seconds": tenths / 10}


def choose_timeline(
    head: Head,
    config: ModelConfig,
    store: FeatureStore,
    examples: Sequence[Example],
    root: Path,
) -> TimelineChoice | None:
    """Choose the thresholds, the smoothing and the shortest bout that suit validation videos best.

    Thresholds give the highest frame-wise F1. Smoothing and shortest bout (and the widest gap, which is the
    same) give the highest F1 of bouts, averaged over overlaps of 0.3 to 0.7.

    Args:
        head: The trained and calibrated head.
        config: Its config.
        store: Features of the whole videos.
        examples: Labelled rows of the validation videos.
        root: Folder that the videos' paths are relative to.

    Returns:
        What was chosen; None if the rows have no times, or cover too little of every video.
    """
    # Take the videos whose rows cover nearly all of their time: elsewhere, silence may mean no label.
    timed = {example.video for example in examples if example.end_seconds is not None}
    examples = [example for example in examples if example.video in timed]
    config = config.replaced(timeline={})  # scores as they are
    timelines, truth, _ = _timelines(head, config, store, examples, root, None)
    covered = {
        video: timeline
        for video, timeline in timelines.items()
        if frame_truth(truth[video], timeline.seconds, timeline.labels).any(1).mean() >= _MIN_COVERED
    }
    if not covered:
        return None

    # Try every combination; of equally good ones, the first is taken.
    best: TimelineChoice | None = None
    for smooth_seconds in _SMOOTH_SECONDS:
        for min_seconds in _MIN_SECONDS:
            options = TimelineOptions(
                smooth_seconds=smooth_seconds, min_seconds=min_seconds, max_gap_seconds=min_seconds
            )
            finished = _with_thresholds(covered, truth, options)
            frames, segments = _score_timelines(finished, truth)
            if best is None or (segments.mean_f1 or 0.0) > (best["chosen_on"]["segment_f1"] or 0.0) + 1e-9:
                best = {
                    "thresholds": dict(next(iter(finished.values())).thresholds),
                    "timeline": options.model_dump(exclude_unset=True),
                    "chosen_on": {
                        "num_videos": len(covered),
                        "frame_f1": frames.macro_f1,
                        "segment_f1": segments.mean_f1,
                    },
                }
    return best


def _with_thresholds(
    raw: Mapping[str, Timeline], truth: Mapping[str, Sequence[Bout]], options: TimelineOptions
) -> dict[str, Timeline]:
    """Finish timelines with the thresholds that suit all of them together best."""
    first = next(iter(raw.values()))
    smooth = {video: finish(timeline, {**first.thresholds}, options) for video, timeline in raw.items()}
    frames = [frame_truth(truth[video], t.seconds, t.labels) for video, t in smooth.items()]
    thresholds = choose_thresholds(
        np.concatenate([timeline.probabilities for timeline in smooth.values()]),
        np.concatenate(frames),
        first.labels,
        activation=first.activation,
    )
    return {video: finish(timeline, thresholds, options) for video, timeline in raw.items()}


def _score_timelines(
    timelines: Mapping[str, Timeline], truth: Mapping[str, Sequence[Bout]]
) -> tuple[FrameScores, SegmentScores]:
    """Score the frames and the bouts of every class but the background."""
    first = next(iter(timelines.values()))
    columns = [k for k, label in enumerate(first.labels) if label != first.options.background]
    labels = [first.labels[k] for k in columns]
    labelled = [frame_truth(truth[video], t.seconds, t.labels) for video, t in timelines.items()]
    frames = frame_scores(
        np.concatenate([t.probabilities for t in timelines.values()])[:, columns],
        np.concatenate([t.active for t in timelines.values()])[:, columns],
        np.concatenate(labelled)[:, columns],
        labels,
    )
    return frames, segment_scores({v: t.bouts for v, t in timelines.items()}, truth, labels)


def _timelines(
    head: Head,
    config: ModelConfig,
    store: FeatureStore,
    examples: Sequence[Example],
    root: Path,
    options: TimelineOptions | None,
    footage: Mapping[str, Array] | None = None,
) -> tuple[dict[str, Timeline], dict[str, list[Bout]], list[MissingClip]]:
    """Make timelines of the examples' videos from stored features, and gather their labelled bouts.

    Returns:
        Video -> timeline, video -> bouts, and the clips whose features cannot be read.
    """
    rows = stored_rows(store, examples, root)
    timelines: dict[str, Timeline] = {}
    truth: dict[str, list[Bout]] = {}
    missing: list[MissingClip] = []
    cameras = _cameras(config, store, examples, rows, footage or {})
    for video in dict.fromkeys(example.video for example in examples):
        own = [example for example in examples if example.video == video]
        try:
            features = store.load(rows[video].identity, config.feature_keys)
        except StoreError as error:
            missing.append(MissingClip(own[0], str(error)))
            continue
        timeline = make_timeline(head, cameras.get(video, config), features, video, options=options)
        timelines[video] = timeline
        truth[video] = bouts_of(own, end_seconds=timeline.end_seconds)
    return timelines, truth, missing


def _cameras(
    config: ModelConfig,
    store: FeatureStore,
    examples: Sequence[Example],
    rows: Mapping[str, Row],
    footage: Mapping[str, Array],
) -> dict[str, ModelConfig]:
    """Video -> the config with the background of its camera, if the head takes backgrounds away."""
    if config.backgrounds is None:
        return {}
    cameras = {example.video: value_of(example, config.backgrounds.column) for example in examples}
    readable = {video: row.identity for video, row in rows.items() if row.file and cameras[video]}
    configs = set_to_cameras(
        config,
        ((cameras[video], store.load(identity, config.feature_keys)) for video, identity in readable.items()),
        footage,
    )
    return {video: configs[cameras[video]] for video in readable}


def bouts_of(examples: Sequence[Example], *, end_seconds: float) -> list[Bout]:
    """Turn the labelled rows of one video into bouts. Rows of a label that touch or overlap become one bout.

    Args:
        examples: Rows of one video.
        end_seconds: End of the video, for rows without an end.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    for example in examples:
        start = example.start_seconds or 0.0
        end = end_seconds if example.end_seconds is None else example.end_seconds
        for label in example.labels:
            spans.setdefault(label, []).append((start, end))
    bouts = []
    for label, label_spans in spans.items():
        merged: list[tuple[float, float]] = []
        for start, end in sorted(label_spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        bouts += [Bout(label, start, end) for start, end in merged]
    return sorted(bouts, key=lambda bout: (bout.start_seconds, bout.label))
