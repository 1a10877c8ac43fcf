"""Results of trainings and evaluations: the values that `metrics.json` holds, and how it is read back.

A value is made once, by the function that computes it, and travels as it is to tables, reports and the
command line. Its JSON has the keys, and the order of keys, of `metrics.json` since the first version.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field, ValidationError

from actiondiff.errors import RunError, explain_validation
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.scores import Calibration, FrameScores, Result, Scores, SegmentScores, SideScores

__all__ = [
    "METRICS_FILE",
    "EpochChoice",
    "EvaluationMetrics",
    "FitSummary",
    "Leak",
    "LeftOutClip",
    "Metrics",
    "SeedsMetrics",
    "Task",
    "TimelineMetrics",
    "TrainingMetrics",
    "read_metrics",
    "read_training_metrics",
]

METRICS_FILE = "metrics.json"
Task: TypeAlias = Literal["single-label", "multi-label"]


class FitSummary(Result):
    """How a head was fitted; repeats epoch and metric of `EpochChoice` for readers of the first format.

    Attributes:
        best_epoch: Epoch, from 1, whose weights the head has.
        selected_on: Validation score that the epoch was chosen by, or `last`.
        num_train: Number of training clips.
        num_validation: Number of validation clips.
        num_cut: Number of training clips that were longer than the head's `max_tokens`.
        num_epochs: Number of epochs.
        selection: How the epoch was chosen, in words.
    """

    best_epoch: int
    selected_on: Metric | Literal["last"]
    num_train: int
    num_validation: int
    num_cut: int
    num_epochs: int
    selection: str


class EpochChoice(Result):
    """How the epoch was chosen.

    Attributes:
        rule: Rule of selection; see `actiondiff.evaluation.options.Selection`.
        metric: Score that the rule compared, or `last`.
        epoch: The chosen epoch, from 1.
        score: Value of the metric at this epoch; None for the last epoch.
        by_domain: Domain of the source that was left out -> its score; None under other rules.
        target_looks: How often the test clips were scored.
        oracle: Metric -> its highest value on the test clips; None where the rule did not look at them.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"by_domain", "oracle"})

    rule: str
    metric: Metric | Literal["last"]
    epoch: int
    score: float | None
    by_domain: dict[str, float | None] | None = None
    target_looks: int
    oracle: dict[str, float | None] | None = None


class Leak(Result):
    """Something that is on two sides of a split.

    Attributes:
        kind: `group`; `content` for the same file under any name; `features` for clips whose features are
            nearly the same; or the name of a column.
        name: The shared value, or one of the videos.
        sides: The two sides, for example `train/test`.
        num_clips: Number of its clips on the second side.
    """

    kind: str
    name: str
    sides: str
    num_clips: int


class LeftOutClip(Result):
    """A clip that was left out because it has no features.

    Attributes:
        video: Path of the video.
        reason: Why there are no features.
    """

    video: str
    reason: str


class Metrics(Result):
    """Metrics of a run, with one seed (`TrainingMetrics`) or several (`SeedsMetrics`).

    Attributes:
        feature: Key of the feature that the head reads.
        task: Whether a clip has one label or any number of them.
        split: How the clips were split, in words.
        counts: Side -> number of clips.
        missing: Clips that were left out because they have no features.
        partial: Video that decoded only in part -> share of its frames.
        leaks: What the leakage audit reports.
        cautions: Sentences that qualify the numbers.
        environment: Versions and machine.
        test: Scores of the test clips; None where there are none.
    """

    feature: str
    task: Task
    split: str
    counts: dict[str, int]
    missing: tuple[LeftOutClip, ...] = ()
    partial: dict[str, float] = Field(default_factory=dict)
    leaks: tuple[Leak, ...] = ()
    cautions: tuple[str, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
    test: SideScores | None = None


class TrainingMetrics(Metrics):
    """Metrics of one training.

    Attributes:
        seed: Seed of the training.
        train_clips_per_class: Label -> number of training clips.
        num_classes_without_training_clips: Number of classes that no training clip has.
        fit: How the head was fitted.
        selection: How the epoch was chosen.
        calibration: Temperature and thresholds; None where there are no validation clips.
        validation: Scores of the validation clips; None where there are none.
        in_domain: Scores of clips of the source; None where they were not asked for.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"train_clips_per_class", "in_domain"})
    ORDER: ClassVar[tuple[str, ...]] = (
        "seed", "feature", "task", "split", "counts", "train_clips_per_class",
        "num_classes_without_training_clips", "missing", "partial", "leaks", "cautions", "environment", "fit",
        "selection", "calibration", "validation", "test", "in_domain",
    )  # fmt: skip

    seed: int
    train_clips_per_class: dict[str, int] | None = None
    num_classes_without_training_clips: int = 0
    fit: FitSummary
    selection: EpochChoice
    calibration: Calibration | None = None
    validation: SideScores | None = None
    in_domain: SideScores | None = None


class SeedsMetrics(Metrics):
    """Metrics of one study over several seeds; what `Metrics` has is that of the best seed.

    Attributes:
        seeds: Name of the seed's folder -> its test scores; None where there are no test clips.
        mean: Metric -> mean of the test scores over seeds.
        sd: Metric -> their standard deviation (n - 1).
        best: Folder of the seed that predicts.
        why_best: Why this one, in words.
    """

    ORDER: ClassVar[tuple[str, ...]] = (
        "feature", "task", "split", "counts", "missing", "partial", "leaks", "seeds", "mean", "sd", "best",
        "why_best", "cautions", "test", "environment",
    )  # fmt: skip

    seeds: dict[str, Scores | None]
    mean: dict[str, float]
    sd: dict[str, float]
    best: str
    why_best: str


class EvaluationMetrics(SideScores):
    """Metrics of a trained model on further clips.

    Attributes:
        num_left_out_as_trained_on: Number of clips left out because the model has seen them in training.
        missing: Clips that were left out because they have no features.
        partial: Video that decoded only in part -> share of its frames.
        cautions: Sentences that qualify the numbers.
        run: Folder of the model.
        table: Where the labels came from.
        environment: Versions and machine.
    """

    num_left_out_as_trained_on: int
    missing: tuple[LeftOutClip, ...] = ()
    partial: dict[str, float] = Field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    run: str
    table: str
    environment: dict[str, Any] = Field(default_factory=dict)


class TimelineMetrics(Result):
    """Metrics of a trained model's timelines on videos with labelled bouts.

    Attributes:
        num_videos: Number of videos.
        seconds: Length of all videos together.
        frames: Frame-wise scores.
        segments: Bout-wise scores.
        options: Values of `TimelineOptions` that the timelines were made with.
        thresholds: Label -> probability from which the label holds.
        num_left_out_as_trained_on: Number of videos left out because the model has seen them in training.
        missing: Videos that were left out because they have no features.
        cautions: Sentences that qualify the numbers.
        run: Folder of the model.
        table: Where the labels came from.
        environment: Versions and machine.
    """

    num_videos: int
    seconds: float
    frames: FrameScores
    segments: SegmentScores
    options: dict[str, Any]
    thresholds: dict[str, float]
    num_left_out_as_trained_on: int
    missing: tuple[str, ...]
    cautions: tuple[str, ...]
    run: str
    table: str
    environment: dict[str, Any]


def read_metrics(folder: str | os.PathLike[str]) -> TrainingMetrics | SeedsMetrics | EvaluationMetrics:
    """Read the `metrics.json` of a run, of a study over several seeds, or of an evaluation.

    Args:
        folder: Folder that `actiondiff train` or `actiondiff evaluate` wrote.

    Raises:
        RunError: If the file is missing or is not a valid `metrics.json`.
    """
    path = Path(folder) / METRICS_FILE
    try:
        values = json.loads(path.read_text("utf-8"))
        return _kind(values).model_validate(values)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; expected the folder of a finished run or evaluation.") from None
    except ValidationError as error:
        raise RunError(f"{path} cannot be read ({explain_validation(error)}); write the run again.") from None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}); write the run again.") from None


def read_training_metrics(folder: str | os.PathLike[str]) -> TrainingMetrics:
    """Read the `metrics.json` of a training of one seed.

    Raises:
        RunError: If the file is missing, is not valid, or is not of a single training.
    """
    metrics = read_metrics(folder)
    if not isinstance(metrics, TrainingMetrics):
        raise RunError(f"{folder} is not the folder of a single training; give one, such as seed-0.")
    return metrics


def _kind(values: Any) -> type[TrainingMetrics] | type[SeedsMetrics] | type[EvaluationMetrics]:
    """Tell the kinds of metrics apart by a key that only one of them has."""
    if not isinstance(values, Mapping):
        raise ValueError("expected a JSON object")
    if "seeds" in values:
        return SeedsMetrics
    return TrainingMetrics if "fit" in values else EvaluationMetrics
