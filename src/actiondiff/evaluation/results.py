"""Results of trainings and evaluations: the values that `metrics.json` holds, and how it is read back.

A value is made once, by the function that computes it, and travels as it is to tables, reports and the
command line. Its JSON has the keys, and the order of keys, of `metrics.json` since the first version.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from actiondiff.errors import RunError, explain_validation
from actiondiff.evaluation.options import Metric

__all__ = [
    "METRICS_FILE",
    "Calibration",
    "CalibrationTest",
    "ClassScores",
    "ConfidenceScores",
    "CoverageRow",
    "EpochChoice",
    "EvaluationMetrics",
    "FitSummary",
    "Leak",
    "LeftOutClip",
    "Metrics",
    "PriorFloor",
    "Scores",
    "SeedsMetrics",
    "SideScores",
    "Task",
    "TrainingMetrics",
    "read_metrics",
    "read_training_metrics",
]

METRICS_FILE = "metrics.json"
Task: TypeAlias = Literal["single-label", "multi-label"]


class Result(BaseModel):
    """Base class: a frozen value that is written as JSON and read back to an equal one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    OMITTED: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of the JSON where they are None; others are written as null."""

    ORDER: ClassVar[tuple[str, ...]] = ()
    """Order of the JSON's keys, where it is not that of the fields."""

    @model_serializer(mode="wrap")
    def _serialize(self, serialize_fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize_fields(self)
        names = self.ORDER or tuple(values)
        return {name: values[name] for name in names if values[name] is not None or name not in self.OMITTED}

    def to_json(self) -> str:
        """The text of `metrics.json`."""
        return json.dumps(self.model_dump(), indent=2)


class Totals(Result):
    """Base class of results that have one number per metric, as a field of the metric's name."""

    def total(self, metric: Metric) -> float | None:
        """The number of one metric; None where it does not exist."""
        value: float | None = getattr(self, metric)
        return value


class PriorFloor(Totals):
    """Scores of a guess by class frequencies; names as in `actiondiff.evaluation.metrics`.

    A number that does not exist is None.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    micro_map: float | None = None
    macro_map: float | None = None
    charades_map: float | None = None


class ClassScores(Result):
    """Scores of one class. A number that does not exist is None.

    Attributes:
        label: Name of the class.
        support: Number of clips that have the class.
        predicted: Number of clips for which the class was predicted.
        precision: Share of correct predictions among the clips for which the class was predicted.
        recall: Share of the clips of the class for which it was predicted.
        f1: Harmonic mean of precision and recall.
        average_precision: Area under precision over recall, as a sum over thresholds.
    """

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


class Scores(Totals):
    """Scores of predictions; names as in `actiondiff.evaluation.metrics`. None where a number does not exist.

    Attributes:
        num_clips: Number of clips, N.
        num_classes_without_clips: Number of classes that no clip has; averages over classes leave them out.
        per_class: One entry per class, in the order of the labels.
        confusion: (K, K) number of clips by true class (row) and predicted class (column); None for
            multi-label tasks.
    """

    num_clips: int
    num_classes_without_clips: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    micro_map: float | None = None
    macro_map: float | None = None
    charades_map: float | None = None
    per_class: tuple[ClassScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None


class SideScores(Result):
    """Scores of one side of a split, such as the test clips, with their floor and intervals.

    Attributes:
        num_clips: Number of clips.
        scores: What the predictions score.
        prior_floor: What guessing by the training clips' class frequencies scores.
        intervals: Metric -> lower and upper bound of its 95 % interval; without metrics that have none.
        by_domain: Value of the domain -> scores of its clips; None where the study has no domain.
        clips: Which clips of the source were scored: `training` or `held-out`; None for other sides.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"by_domain", "clips"})

    num_clips: int
    scores: Scores
    prior_floor: PriorFloor
    intervals: dict[str, tuple[float, float]]
    by_domain: "dict[str, SideScores] | None" = None
    clips: str | None = None


class CoverageRow(Result):
    """Accuracy when the model answers only for its most confident clips.

    Attributes:
        threshold: Lowest confidence at which the model answers.
        coverage: Share of the clips that it answers for.
        accuracy: Share of these that are correct.
    """

    threshold: float
    coverage: float
    accuracy: float


class ConfidenceScores(Result):
    """How well confidence agrees with accuracy.

    Attributes:
        calibration_error: Expected calibration error.
        by_domain: Value of the domain -> expected calibration error; None where there is no domain.
        coverage_accuracy: Accuracy at full coverage and at every tenth below; None for multi-label tasks.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"by_domain", "coverage_accuracy"})

    calibration_error: float
    by_domain: dict[str, float] | None = None
    coverage_accuracy: tuple[CoverageRow, ...] | None = None


class CalibrationTest(Result):
    """Confidence on the test clips.

    Attributes:
        before: With temperature 1.
        after: With the calibrated temperature.
    """

    before: ConfidenceScores
    after: ConfidenceScores


class Calibration(Result):
    """Temperature and thresholds that were chosen on validation clips.

    Attributes:
        temperature: What the head's logits are divided by.
        thresholds: Label -> probability from which predicting it gives the highest F1.
        num_clips: Number of validation clips.
        before: `log_loss` and `calibration_error` of the validation clips with temperature 1.
        after: The same with the chosen temperature.
        test: Confidence on the test clips; None where there are none.
    """

    temperature: float
    thresholds: dict[str, float]
    num_clips: int
    before: dict[str, float]
    after: dict[str, float]
    test: CalibrationTest | None = None


class FitSummary(Result):
    """How a head was fitted.

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
    partial: dict[str, float] = {}
    leaks: tuple[Leak, ...] = ()
    cautions: tuple[str, ...] = ()
    environment: dict[str, Any] = {}
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
    partial: dict[str, float] = {}
    cautions: tuple[str, ...] = ()
    run: str
    table: str
    environment: dict[str, Any] = {}


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
