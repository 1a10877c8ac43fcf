"""Fitting of a head, from the start or resumed. Lightning runs the loop and saves the state to resume."""

import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError, UsageError
from actiondiff.heads.inputs import Head, TokenInput
from actiondiff.heads.predict import Activation
from actiondiff.provenance import differences
from actiondiff.training.batches import by_identity
from actiondiff.training.loop import EpochRow, Training
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.training.options import FIRST_RESOLVED, TrainingOptions
from actiondiff.training.trainer import open_trainer

__all__ = ["FitResult", "fit"]

_RESUME = ".resume"
_STATE = "last"
_MOST_SAVED = 50  # states of a training run
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """How a head was fitted.

    Attributes:
        history: One row per epoch: `epoch` (from 1), `train_loss` (mean over clips), `learning_rate` (of the
            epoch's last step) and, with validation clips, their scores.
        best_epoch: Epoch whose weights the head has.
        selected_on: Validation score that the epoch was chosen by, or `last`.
        num_train: Number of training clips.
        num_validation: Number of validation clips.
        num_cut: Number of training clips longer than the head's `max_tokens`; only their beginning was used.
    """

    history: tuple[EpochRow, ...]
    best_epoch: int
    selected_on: str
    num_train: int
    num_validation: int
    num_cut: int


def fit(
    head: Head,
    train: PackedFeatures,
    validation: PackedFeatures | None,
    options: TrainingOptions,
    *,
    activation: Activation,
    seed: int,
    folder: str | os.PathLike[str],
    device: str = "auto",
    measure: bool = True,
    progress: Callable[[EpochRow], None] | None = None,
) -> FitResult:
    """Train a head in place; it ends on the CPU, in evaluation mode, with the weights of its best epoch.

    If a run was killed, a call with the same arguments continues after its last complete epoch, and the
    result is the same as without the interruption. The global random state is restored at the end. On the
    CPU the same arguments give the same bits, in whatever order the clips come.

    Args:
        head: Head to train.
        train: Clips to learn from.
        validation: Clips to choose the epoch by, scored whole as in prediction; None keeps the last epoch.
        options: Options of training.
        activation: `sigmoid` for multi-label tasks.
        seed: Seed of the batches' order, of mixup and of dropout.
        folder: Folder that gets `logs/metrics.csv`, and `.resume` until training ends.
        device: cpu, cuda, cuda:1 ...; auto takes CUDA if it is available.
        measure: Whether the standardisation of tokens is measured on the training clips. False keeps the
            head's own, for a trained head that goes on with few clips.
        progress: Called with the row of each epoch.

    Raises:
        UsageError: If head, clips and options do not fit each other.
        RunError: If the folder holds the state of another training run, or the loss is no longer finite.
    """
    # Refuse what cannot be trained before anything is computed.
    metric = _check(head, train, validation, options, activation)
    num_cut = int((train.lengths > head.options.max_tokens).sum())
    if num_cut:
        _log.warning(
            "%d of %d training clips are longer than max_tokens=%d; only their beginning is trained on.",
            num_cut, len(train), head.options.max_tokens,
        )  # fmt: skip

    # Sort the clips, so that the order of the table's rows changes no bit of the result.
    train, validation = by_identity(train), by_identity(validation) if validation is not None else None

    # What a resumed run must share with this one: taken before the head learns anything from the clips.
    settings = _settings(head, train, validation, options, activation, seed)

    # Standardisation of the tokens belongs to the head's weights; it is measured on the training clips.
    for module in head.modules():
        if measure and isinstance(module, TokenInput):
            module.measure(train.tokens, train.offsets)

    # Train with all clips on the device.
    torch_device = _device(device)
    training = Training(
        head,
        train.to(torch_device),
        validation.to(torch_device) if validation is not None else None,
        options,
        activation=activation,
        metric=metric,
        seed=seed,
        settings=settings,
        progress=progress,
    )
    _run_trainer(training, Path(folder), torch_device)

    # Keep the weights of the best epoch.
    head.load_state_dict(training.best)
    head.eval()
    return FitResult(
        history=tuple(training.history),
        best_epoch=training.best_epoch,
        selected_on=metric,
        num_train=len(train),
        num_validation=len(validation) if validation is not None else 0,
        num_cut=num_cut,
    )


def _run_trainer(training: Training, folder: Path, device: torch.device) -> None:
    """Run Lightning's trainer to the end, from the state in the folder if there is one."""
    resume = folder.resolve() / _RESUME
    state = _resumable(resume / f"{_STATE}.ckpt", training.settings)
    # Where few clips make hundreds of short epochs, the state is not saved after each of them.
    every = max(1, training.options.epochs // _MOST_SAVED)
    saving = ModelCheckpoint(resume, filename=_STATE, enable_version_counter=False, every_n_epochs=every)
    with open_trainer(
        device,
        folder,
        callbacks=[saving],
        bfloat16=training.options.precision == "bfloat16",
        max_epochs=training.options.epochs,
        logger=CSVLogger(folder, name="logs", version="", flush_logs_every_n_steps=1),
    ) as trainer:
        training.head.train()
        trainer.fit(
            training,
            train_dataloaders=range(training.num_steps),
            ckpt_path=state,
            weights_only=True,
        )
    shutil.rmtree(resume, ignore_errors=True)


def _resumable(state: Path, settings: dict[str, Any]) -> Path | None:
    """Return the state to resume from; None if there is none.

    Raises:
        RunError: If it cannot be read, or is the state of another training run.
    """
    if not state.exists():
        return None
    advice = f"Use another folder, or delete {state.parent}."
    try:
        text = torch.load(state, weights_only=True, mmap=True)["actiondiff"]["settings"]
    except (OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        raise RunError(
            f"the state of the unfinished training run, {state}, cannot be read ({type(error).__name__}). "
            f"{advice}"
        ) from None
    changes = differences(settings, json.loads(text))
    if changes:
        listed = "; ".join(f"{name}: {ours!r} against {theirs!r}" for name, (ours, theirs) in changes.items())
        raise RunError(
            f"the unfinished training run in {state.parent.parent} has other settings (now against then: "
            f"{listed}). {advice}"
        )
    return state


def _check(
    head: Head,
    train: PackedFeatures,
    validation: PackedFeatures | None,
    options: TrainingOptions,
    activation: Activation,
) -> str:
    """Check that head, clips and options fit each other, and return the score to select on."""
    for clips in (train, validation):
        if clips is not None:
            _check_clips(head, clips, options, activation)
    if options.metric == "last" or validation is None:
        return "last"
    if options.metric == "auto":
        return "accuracy" if activation == "softmax" else "micro_map"
    if activation == "sigmoid" and options.metric in ("accuracy", "balanced_accuracy"):
        raise UsageError(f"metric={options.metric} needs a single-label task; use micro_map or macro_map.")
    return options.metric


def _check_clips(head: Head, clips: PackedFeatures, options: TrainingOptions, activation: Activation) -> None:
    """Check that clips have the head's token width and classes, and as many labels as the loss needs."""
    width, num_classes = clips.token_width, clips.targets.shape[1]
    if not clips.targets.any() or (width, num_classes) != (head.token_width, head.num_classes):
        raise UsageError(
            f"the head takes tokens of width {head.token_width} and names {head.num_classes} classes; got "
            f"{len(clips)} clips of width {width} with {num_classes} classes and {int(clips.targets.sum())} "
            "labels."
        )
    wrong = (clips.targets.sum(1) != 1).nonzero().flatten().tolist()
    if wrong and (activation == "softmax" or options.loss in SINGLE_LABEL_LOSSES):
        example = clips.examples[wrong[0]]
        raise UsageError(
            f"loss={options.loss} with {activation} needs one label per clip; {example.video or 'one'} has "
            f"{', '.join(example.labels) or 'none'}. Multi-label tasks: sigmoid with bce or sigmoid-focal."
        )


def _device(name: str) -> torch.device:
    """Resolve the name of a device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N; got {name!r}.") from None


def _settings(
    head: Head,
    train: PackedFeatures,
    validation: PackedFeatures | None,
    options: TrainingOptions,
    activation: Activation,
    seed: int,
) -> dict[str, Any]:
    """What a training run must share with the one that it resumes."""
    return {
        "head": head.options.model_dump(),
        "training": options.model_dump(exclude=FIRST_RESOLVED),
        "activation": activation,
        "seed": seed,
        "train": _digest(train),
        "validation": _digest(validation) if validation is not None else None,
    }


def _digest(clips: PackedFeatures) -> str:
    """A short hash of the clips. Of the tokens only the sum enters, since they may be gigabytes."""
    names = json.dumps([(item.video, item.start_seconds, item.end_seconds) for item in clips.examples])
    digest = hashlib.sha256(names.encode())
    for tensor in (clips.offsets, clips.targets, clips.tokens.sum(0, dtype=torch.float64)):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
