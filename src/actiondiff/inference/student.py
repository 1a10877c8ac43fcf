"""A trained model that takes its features from a student of its backbone."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actiondiff.backbones.base import find_spec, load_backbone
from actiondiff.backbones.options import Dtype, options_class
from actiondiff.errors import SettingsMismatchError, UsageError
from actiondiff.heads.bundle import ModelConfig
from actiondiff.provenance import differences, fingerprint

__all__ = ["check_taught_by", "student_differences", "with_student"]

_ROUNDING = {"batch", "threads", "dtype"}
_log = logging.getLogger(__name__)


def student_differences(
    config: ModelConfig, settings: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]] | None:
    """Where the features of a student's store differ from what a model takes; None if it is no student's.

    Args:
        config: The model's config.
        settings: Settings of the store.

    Returns:
        Field -> (that of the student, that of the model); empty if it is a student of the model's backbone.
        What only changes rounding (batches, threads, arithmetic) does not count.
    """
    backbone = settings.get("backbone")
    teacher = backbone.get("teacher") if isinstance(backbone, Mapping) else None
    if not isinstance(backbone, Mapping) or not isinstance(teacher, Mapping):
        return None
    ours = {"teacher": teacher, "key": [backbone.get("key")], "sampling": settings.get("sampling")}
    theirs = {
        "teacher": config.backbone,
        "key": list(config.keys),
        "sampling": config.features.get("sampling"),
    }
    fields = differences(ours, theirs)
    family = options_class(find_spec(config.backbone["name"]).kind)
    rounding = {f"teacher.{name}" for name in _ROUNDING | set(family.arithmetic)}
    return {name: values for name, values in fields.items() if name not in rounding}


def check_taught_by(config: ModelConfig, settings: Mapping[str, Any], source: object) -> None:
    """Make sure that a student is one of the model's backbone, and log a warning that says so.

    Args:
        config: The model's config.
        settings: Settings of the student's store, or of features that it would make.
        source: The student's folder or store, for messages.

    Raises:
        SettingsMismatchError: If it learnt from another teacher, another feature or other frames.
    """
    fields = student_differences(config, settings)
    if fields is None or fields:
        raise SettingsMismatchError(
            f"{source} is no student of the backbone that the model was trained on (the student's against "
            "the model's)",
            fields or {},
            "Distill a student from the store that the model was trained on.",
        )
    _log.warning(
        "Features come from a student in place of %s (%s); its card says how near they are.",
        config.backbone["name"], source,
    )  # fmt: skip


def with_student(
    config: ModelConfig,
    student: str | Path | None,
    weights: str | Path | None,
    *,
    device: str = "auto",
    dtype: Dtype | None = None,
) -> tuple[ModelConfig, str | Path | None]:
    """The config and checkpoint of the same head on the features of a student in place of its teacher's.

    Args:
        config: The model's config.
        student: Folder of the student; None leaves config and checkpoint as they are.
        weights: Checkpoint of the backbone, which a student does not need.
        device: Device that the student runs on.
        dtype: Arithmetic of the student.

    Raises:
        UsageError: If there is a checkpoint beside the student.
        SettingsMismatchError: If it learnt from another teacher, another feature or other frames.
        WeightsError: If the folder holds no student.
    """
    if student is None:
        return config, weights
    if weights is not None:
        raise UsageError(f"a student needs no weights of its teacher; got {student} and {weights}.")
    from actiondiff.backbones.student import read_student  # loads the libraries of networks

    taught = read_student(student)
    settings = load_backbone("student", weights=student, device=device, dtype=dtype or "auto").settings
    features = {**config.features, "backbone": settings}
    check_taught_by(config, {**features, "sampling": taught.sampling}, student)
    replaced = config.replaced(
        backbone=settings, features=features, feature_fingerprint=fingerprint(features)
    )
    return replaced, student
