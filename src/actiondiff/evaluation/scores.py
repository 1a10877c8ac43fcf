"""Scores as values: of predictions, of guessing by class frequencies, and of a model's confidence."""

import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from actiondiff.evaluation.options import Metric

__all__ = [
    "Calibration",
    "CalibrationTest",
    "ClassScores",
    "ClipsOutside",
    "ConfidenceScores",
    "CoverageRow",
    "FrameClassScores",
    "FrameScores",
    "PriorFloor",
    "Result",
    "Scores",
    "SegmentClassScores",
    "SegmentScores",
    "SideScores",
    "Totals",
]


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


class ClipsOutside(Result):
    """Clips that lie outside what the model has learnt from, by its guard.

    Attributes:
        num_clips: Number of these clips.
        causes: What was compared, such as `frame rate` or `features` -> number of clips outside in it.
    """

    num_clips: int
    causes: dict[str, int] = Field(default_factory=dict)


class SideScores(Result):
    """Scores of one side of a split, such as the test clips, with their floor and intervals.

    Attributes:
        num_clips: Number of clips.
        scores: What the predictions score.
        prior_floor: What guessing by the training clips' class frequencies scores.
        intervals: Metric -> lower and upper bound of its 95 % interval; without metrics that have none.
        by_domain: Value of the domain -> scores of its clips; None for the validation clips, and where
            the study has no domain.
        clips: Which clips of the source were scored: `training` or `held-out`; None for other sides.
        outside: Clips that the guard places outside; they are scored like all others. None for sides other
            than the test clips, and for models without a guard.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"by_domain", "clips", "outside"})

    num_clips: int
    scores: Scores
    prior_floor: PriorFloor
    intervals: dict[str, tuple[float, float]]
    by_domain: "dict[str, SideScores] | None" = None
    clips: str | None = None
    outside: ClipsOutside | None = None


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
        num_folds: Number of folds of the training groups where the clips are training clips, each predicted
            by a head that was trained without its fold; None where they are validation clips.
        before: `log_loss` and `calibration_error` of the validation clips with temperature 1.
        after: The same with the chosen temperature.
        test: Confidence on the test clips; None where there are none.
    """

    OMITTED: ClassVar[frozenset[str]] = frozenset({"num_folds"})

    temperature: float
    thresholds: dict[str, float]
    num_clips: int
    num_folds: int | None = None
    before: dict[str, float]
    after: dict[str, float]
    test: CalibrationTest | None = None


class FrameClassScores(Result):
    """Frame-wise scores of one class. A number that does not exist is None.

    Attributes:
        label: Name of the class.
        support: Number of frames in which the class holds.
        precision: Share of correct frames among those in which a predicted bout of the class holds.
        recall: Share of the frames of the class in which a predicted bout of it holds.
        f1: Harmonic mean of precision and recall.
        average_precision: Area under precision over recall, as a sum over thresholds.
    """

    label: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


class FrameScores(Result):
    """Frame-wise scores of timelines. A number that does not exist is None.

    Attributes:
        num_frames: Number of sampled frames of all videos.
        macro_f1: Mean F1 over classes that occur.
        macro_ap: Mean average precision over classes that occur.
        per_class: One entry per class, in the order of the labels.
    """

    num_frames: int
    macro_f1: float | None
    macro_ap: float | None
    per_class: tuple[FrameClassScores, ...]


class SegmentClassScores(Result):
    """Bout-wise scores of one class. A number that does not exist is None.

    Attributes:
        label: Name of the class.
        num_labelled: Number of labelled bouts.
        num_predicted: Number of predicted bouts.
        ap: IoU, as text -> average precision.
        f1: IoU, as text -> F1.
    """

    label: str
    num_labelled: int
    num_predicted: int
    ap: dict[str, float | None]
    f1: dict[str, float | None]


class SegmentScores(Result):
    """Bout-wise scores of timelines. A number that does not exist is None.

    Attributes:
        map: IoU, as text -> mean average precision over classes that occur.
        f1: IoU, as text -> mean F1 over classes that occur.
        mean_map: Mean of `map` over all IoU.
        mean_f1: Mean of `f1` over all IoU.
        per_class: One entry per class, in the order of the labels.
    """

    map: dict[str, float | None]
    f1: dict[str, float | None]
    mean_map: float | None
    mean_f1: float | None
    per_class: tuple[SegmentClassScores, ...]
