"""The record of predictions: what was predicted, and by which model, in one file that reports are made of."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from actiondiff.errors import RunError
from actiondiff.evaluation.verdict import verdict_of_run
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.predict import Activation
from actiondiff.inference.folders import find_model_folder
from actiondiff.inference.individuals import Subject, subject_of
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import environment, write_text
from actiondiff.types import JSON, Bout, DecodeReport, Prediction, Status

__all__ = [
    "RECORD",
    "HeatmapRecord",
    "PredictionRecord",
    "VideoRecord",
    "add_heatmaps",
    "describe_model",
    "read_record",
    "write_record",
]

RECORD = "predicted.json"
_FORMAT = 1
_Bouts = list[tuple[str, float, float, float]]
"""Label, start and end in seconds, and probability of each bout; arrays in the file."""


class VideoRecord(TypedDict):
    """One video of a record, or one individual of it.

    A video that failed has the first fields only. A crop has `individual`, and `crop`, the path of its file,
    from the folder of the record if it lies there. `distance` says how far a video lies outside what the
    model has learnt from (1 is the bound, None is unknown), and `outside` why. A clip also has
    `probabilities`, and a video with a timeline has `end_seconds`, `bouts` and `truth` (its labelled bouts,
    or None if they are unknown).
    """

    video: str
    individual: NotRequired[str]
    crop: NotRequired[str]
    status: Status
    reason: str
    coverage: float
    padding_share: NotRequired[float]
    distance: NotRequired[float | None]
    outside: NotRequired[list[str]]
    probabilities: NotRequired[dict[str, float]]
    end_seconds: NotRequired[float]
    bouts: NotRequired[_Bouts]
    truth: NotRequired[_Bouts | None]


class HeatmapRecord(TypedDict):
    """One example that a heatmap was made of."""

    video: str
    label: str
    probability: float
    start_seconds: float | None
    end_seconds: float | None
    num_frames: int
    caption: str
    picture: str


class ModelTestRecord(TypedDict):
    """The model's own test score, as in `actiondiff.evaluation.verdict.ChanceVerdict`."""

    beats_guessing: bool
    sentence: str


class PredictionRecord(TypedDict):
    """The content of `predicted.json`."""

    format: int
    kind: Literal["timelines", "clips"]
    run: str
    model: str
    dtype: str | None
    labels: list[str]
    activation: Activation
    abstain_below: float
    abstain_outside: NotRequired[bool]
    options: dict[str, JSON]
    thresholds: dict[str, float]
    made: str
    videos: list[VideoRecord]
    scores: Mapping[str, Any] | None
    calibration: JSON
    environment: dict[str, JSON]
    model_test: NotRequired[ModelTestRecord]
    heatmaps: NotRequired[list[HeatmapRecord]]


def describe_model(config: ModelConfig) -> str:
    """The model that made predictions, in words, such as `actiondiff 0.1.0 (tiny t20.layer9)`."""
    try:
        release = version("actiondiff")
    except PackageNotFoundError:  # run from a checkout that is not installed
        release = "(not installed)"
    if config.further:
        return f"actiondiff {release} ({config.sources})"
    return f"actiondiff {release} ({config.backbone['name']} {' '.join(config.keys)})"


def write_record(
    folder: str | os.PathLike[str],
    results: Sequence[tuple[str, Prediction | Timeline | DecodeReport]],
    *,
    run: str | os.PathLike[str],
    config: ModelConfig,
    timeline: bool,
    dtype: str | None = None,
    abstain_below: float = 0.0,
    abstain_outside: bool = False,
    truth: Mapping[str, Sequence[Bout]] | None = None,
    scores: Mapping[str, Any] | None = None,
    made: datetime | None = None,
) -> None:
    """Write `predicted.json`.

    Args:
        folder: Folder to write to; created if it does not exist.
        results: Each video with what was predicted, or with the report that says why it failed.
        run: The model's folder or hub id.
        config: The model's config.
        timeline: Whether timelines were asked for, else predictions of whole clips.
        dtype: Arithmetic of the backbone; that of the training's features if None.
        abstain_below: Predictions below this probability were left blank.
        abstain_outside: Whether videos that lie outside what the model has learnt from were left blank.
        truth: Video -> labelled bouts, where they are known.
        scores: Scores of the predictions, where labelled bouts are known.
        made: When the predictions were made; now if None.
    """
    timelines = [result for _, result in results if isinstance(result, Timeline)]
    verdict = verdict_of_run(run)
    record: PredictionRecord = {
        "format": _FORMAT,
        "kind": "timelines" if timeline else "clips",
        "run": str(run),
        "model": describe_model(config),
        "dtype": dtype or config.backbone.get("dtype"),
        "labels": list(config.labels),
        "activation": config.activation,
        "abstain_below": abstain_below,
        "abstain_outside": abstain_outside,
        "options": timelines[0].options.model_dump() if timelines else {},
        "thresholds": dict(timelines[0].thresholds) if timelines else {},
        "made": (made or datetime.now(UTC)).isoformat(timespec="seconds"),
        "videos": [_video(Path(folder), name, result, truth) for name, result in results],
        "scores": scores,
        "calibration": _calibration(run),
        "environment": environment(),
        "model_test": {"beats_guessing": verdict.beats_guessing, "sentence": verdict.sentence},
    }
    _write(folder, record)


def add_heatmaps(folder: str | os.PathLike[str], heatmaps: Sequence[HeatmapRecord]) -> None:
    """Add the list of heatmaps, which are made after the predictions, to a record.

    Raises:
        RunError: If the record is missing or damaged.
    """
    _write(folder, {**read_record(folder), "heatmaps": list(heatmaps)})


def read_record(folder: str | os.PathLike[str]) -> PredictionRecord:
    """Read what `write_record` wrote.

    Raises:
        RunError: If the record is missing or damaged.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); run actiondiff predict again.") from None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise RunError(f"{path} was written by another version; run actiondiff predict again.")
    checked: PredictionRecord = record  # type: ignore[assignment]
    return checked


def _write(folder: str | os.PathLike[str], record: PredictionRecord) -> None:
    write_text(Path(folder) / RECORD, json.dumps(record, indent=1) + "\n")


def _calibration(run: str | os.PathLike[str]) -> JSON:
    """The calibration that the training run measured on validation clips; None if there is none."""
    path = find_model_folder(run) / "metrics.json"
    calibration: JSON = json.loads(path.read_text("utf-8")).get("calibration") if path.is_file() else None
    return calibration


def _video(
    folder: Path,
    name: str,
    result: Prediction | Timeline | DecodeReport,
    truth: Mapping[str, Sequence[Bout]] | None,
) -> VideoRecord:
    subject = (
        subject_of(name) if isinstance(result, DecodeReport) else Subject(result.video, result.individual)
    )
    report = result if isinstance(result, DecodeReport) else result.report
    record: VideoRecord = {
        "video": subject.video,
        "status": report.status if report else "ok",
        "reason": report.reason if report else "",
        "coverage": report.coverage if report else 1.0,
    }
    if subject.video != name:
        crop, base = Path(os.path.abspath(name)), Path(os.path.abspath(folder))
        record["individual"] = subject.individual
        record["crop"] = crop.relative_to(base).as_posix() if crop.is_relative_to(base) else name
    if isinstance(result, DecodeReport):
        return record
    record["padding_share"] = result.padding_share
    record["distance"] = result.domain.distance if result.domain else None
    record["outside"] = list(result.domain.reasons) if result.domain else []
    if isinstance(result, Prediction):
        record["probabilities"] = dict(result.probabilities)
        return record
    labelled = truth.get(name) if truth else None
    record["end_seconds"] = result.end_seconds
    record["bouts"] = _rounded(result.bouts)
    record["truth"] = None if labelled is None else _rounded(labelled)
    return record


def _rounded(bouts: Sequence[Bout]) -> _Bouts:
    return [
        (b.label, round(b.start_seconds, 3), round(b.end_seconds, 3), round(b.probability, 4)) for b in bouts
    ]
