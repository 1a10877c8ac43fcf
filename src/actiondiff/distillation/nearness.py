"""How near a student's features are to its teacher's, and what both cost."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from actiondiff.backbones.base import Backbone, backbone_from_settings, find_spec, resolve
from actiondiff.backbones.engine.counting import count_window
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import options_class
from actiondiff.backbones.student import Student
from actiondiff.distillation.lessons import windows_of
from actiondiff.distillation.recordings import TaughtVideo
from actiondiff.errors import MissingExtraError, SettingsMismatchError, UsageError, WeightsError
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.model import ActionDiff
from actiondiff.provenance import differences
from actiondiff.types import Array, FeatureKey, Features, Frames, Prediction, Sampling
from actiondiff.video.decode import iter_video

__all__ = [
    "Agreement",
    "Nearness",
    "WorkOfWindow",
    "compare_predictions",
    "compare_tokens",
    "measure_work",
    "student_features",
    "window_flop",
]

_ROUNDS = 5  # windows that each of the two networks computes, in turns
_MOST_FLOP = 2e12  # of a teacher's window that is timed on a CPU; more takes minutes


class Nearness(BaseModel):
    """How near the tokens of a student are to its teacher's.

    Attributes:
        num_videos: Number of videos.
        num_tokens: Number of tokens.
        correlation: Pearson correlation over the tokens, the mean over channels.
        cosine: Cosine of the angle between the two tokens, the mean over tokens. Tokens are standardised with
            the training's mean and deviation, so that what all tokens have in common does not count.
        unexplained: Squared distance between the two, as a share of the teacher's squared distance from its
            own mean; 0 for a perfect student, 1 for one that always says the mean.
    """

    model_config = ConfigDict(frozen=True)

    num_videos: int
    num_tokens: int
    correlation: float
    cosine: float
    unexplained: float


class Agreement(BaseModel):
    """How the predictions of one head agree on the features of student and teacher.

    Attributes:
        num_videos: Number of videos.
        same_label: Share of videos with the same most probable label.
        difference: Mean absolute difference of probabilities.
        teacher_outside: Share of videos that the guard places outside, from the teacher's features; None if
            the model has no guard.
        student_outside: The same, from the student's features.
    """

    model_config = ConfigDict(frozen=True)

    num_videos: int
    same_label: float
    difference: float
    teacher_outside: float | None = None
    student_outside: float | None = None


class WorkOfWindow(BaseModel):
    """What one window costs.

    Attributes:
        student_flop: Operations of the student.
        teacher_flop: Operations of the teacher; None if they cannot be counted.
        student_seconds: Seconds of the student, the median; processor time on a CPU, else wall time.
        teacher_seconds: Seconds of the teacher, in turns with the student; None if it was not run.
        not_timed: Why the teacher was not run; empty if it was.
        device: Device of both.
    """

    model_config = ConfigDict(frozen=True)

    student_flop: float | None
    teacher_flop: float | None
    student_seconds: float
    teacher_seconds: float | None = None
    not_timed: str = ""
    device: str = "cpu"


def student_features(
    student: Backbone, videos: Sequence[TaughtVideo], key: FeatureKey, sampling: Sampling
) -> Iterator[tuple[TaughtVideo, Features]]:
    """The student's features of videos, made as `extract` makes them."""
    readers = [
        iter_video(
            video.path,
            stride=sampling.stride,
            fps=sampling.fps,
            stream=sampling.stream,
            square=sampling.square,
        )
        for video in videos
    ]
    results = extract_in_order(student, readers, [key])
    for video, (_, features) in zip(videos, results, strict=True):
        if features is not None:
            yield video, features


def compare_tokens(pairs: Sequence[tuple[Array, Array]], *, mean: Array, deviation: Array) -> Nearness:
    """Compare the tokens of videos.

    Args:
        pairs: For each video the student's tokens and the teacher's, each (T, D).
        mean: (D,), mean of the teacher's tokens in training.
        deviation: (D,), their deviation.
    """
    student, teacher = (
        (np.concatenate([pair[side] for pair in pairs]).astype(np.float64) - mean) / deviation
        for side in (0, 1)
    )
    centred_student, centred_teacher = student - student.mean(0), teacher - teacher.mean(0)
    spread = np.sqrt((centred_student**2).sum(0) * (centred_teacher**2).sum(0))
    varies = (centred_teacher**2).sum(0) > 1e-12 * len(teacher)
    products = (centred_student * centred_teacher).sum(0)[varies] / np.maximum(spread[varies], 1e-12)
    lengths = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    cosines = (student * teacher).sum(1) / np.maximum(lengths, 1e-12)
    return Nearness(
        num_videos=len(pairs),
        num_tokens=len(teacher),
        correlation=float(products.mean()) if len(products) else 0.0,
        cosine=float(cosines.mean()),
        unexplained=float(((student - teacher) ** 2).sum() / max((centred_teacher**2).sum(), 1e-12)),
    )


def compare_predictions(
    model: ActionDiff, pairs: Sequence[tuple[str, Features, Features]]
) -> tuple[Agreement, list[tuple[Prediction, Prediction]]]:
    """Compare the predictions of one head.

    Args:
        model: The trained model; only its head and guard are used.
        pairs: For each video its name, the student's features and the teacher's.

    Returns:
        The agreement, and each video's predictions from the student's and the teacher's features.
    """
    predictions = [(model.classify(ours, name), model.classify(theirs, name)) for name, ours, theirs in pairs]
    values = [
        [np.array(list(prediction.probabilities.values())) for prediction in both] for both in predictions
    ]
    outside: list[float | None] = [
        float(np.mean([both[side].domain.is_outside for both in predictions]))  # type: ignore[union-attr]
        if model.guard is not None
        else None
        for side in (0, 1)
    ]
    agreement = Agreement(
        num_videos=len(predictions),
        same_label=float(np.mean([ours.label == theirs.label for ours, theirs in predictions])),
        difference=float(np.mean([np.abs(ours - theirs).mean() for ours, theirs in values])),
        student_outside=outside[0],
        teacher_outside=outside[1],
    )
    return agreement, predictions


def check_model(config: ModelConfig, store: FeatureStore, key: FeatureKey) -> None:
    """Make sure that a model was trained on the feature that the student learns.

    Raises:
        UsageError: If it was not.
        SettingsMismatchError: If the feature was made with other settings.
    """
    settings: Any = store.settings["backbone"]
    teacher: Mapping[str, Any] = settings
    if config.keys != [str(key)] or config.backbone.get("name") != teacher.get("name"):
        raise UsageError(
            f"the model takes {' and '.join(config.keys)} of {config.backbone.get('name')}; the student "
            f"learns {key} of {teacher.get('name')}. Give a model that was trained on that feature (--model)."
        )
    if config.feature_fingerprint != store.fingerprint:
        raise SettingsMismatchError(
            "the model was trained on features with other settings (the store's against the model's)",
            differences(store.settings, config.features),
            "Give a model that was trained on this store (--model).",
        )


def window_flop(settings: Mapping[str, Any], key: FeatureKey) -> float | None:
    """Operations of one window of a backbone with these settings; None if they cannot be counted."""
    try:
        spec = find_spec(str(settings["name"]))
        family = options_class(spec.kind)
        fields = {name: value for name, value in settings.items() if name in family.model_fields}
        options = resolve(spec, family(**{**fields, "device": "cpu", "dtype": "float32"}))
        cost = count_window(spec, options, [key])
    except (UsageError, ValueError, RuntimeError):
        return None
    return cost.flop if cost else None


def measure_work(
    student: Student,
    video: TaughtVideo,
    key: FeatureKey,
    sampling: Sampling,
    *,
    teacher_weights: str | Path | None = None,
) -> WorkOfWindow:
    """Count the operations of a window, and time both networks side by side.

    Args:
        student: The student.
        video: A video whose first window is used.
        key: The feature.
        sampling: How the video is read.
        teacher_weights: Checkpoint of the teacher, where it needs one.
    """
    assert student.config is not None
    settings = student.config.teacher
    device, threads = student.device, student.options.threads or 1
    counted = count_window(student.spec, student.options, [key])
    teacher_flop = window_flop(settings, key)
    frames = next(windows_of(
        video, sampling, length=student.config.window, padding=student.config.padding
    ))[1]  # fmt: skip
    teacher: Backbone | None = None
    reason = ""
    if device.type == "cpu" and (teacher_flop or 0) > _MOST_FLOP:
        reason = f"a window of {settings['name']} takes minutes on a CPU"
    else:
        try:
            teacher = backbone_from_settings(
                {**settings, **({"threads": threads} if "threads" in settings else {})},
                weights=teacher_weights,
                device=str(device),
            )
        except (WeightsError, MissingExtraError, UsageError) as error:
            reason = f"{settings['name']} cannot be loaded here: {error}"
    networks: list[Backbone] = [student] if teacher is None else [student, teacher]
    seconds: list[list[float]] = [[] for _ in networks]
    for turn in range(_ROUNDS + 1):  # the first turn also loads weights
        for network, times in zip(networks, seconds, strict=True):
            taken = _time(network, frames, key)
            if turn:
                times.append(taken)
    return WorkOfWindow(
        student_flop=counted.flop if counted else None,
        teacher_flop=teacher_flop,
        student_seconds=statistics.median(seconds[0]),
        teacher_seconds=statistics.median(seconds[1]) if teacher is not None else None,
        not_timed=reason,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    )


def _time(network: Backbone, frames: Frames, key: FeatureKey) -> float:
    """Seconds that a full batch takes, per window."""
    clock = time.perf_counter if network.options.device.startswith("cuda") else time.process_time
    size = int(network.options.batch or 1)
    start = clock()
    list(extract_in_order(network, [FrameSequence([frames])] * size, [key]))
    return (clock() - start) / size
