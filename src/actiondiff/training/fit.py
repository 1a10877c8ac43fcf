"""Training of a head, begun or gone on with. Lightning runs the loop and keeps the state to resume from."""

import hashlib
import json
import logging
import os
import pickle
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.seed import isolate_rng

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError, UsageError
from actiondiff.heads.inputs import Head, TokenInput
from actiondiff.heads.predict import Activation
from actiondiff.provenance import differences
from actiondiff.training.batches import by_identity
from actiondiff.training.loop import Row, Training
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.training.options import TrainingOptions

__all__ = ["FitResult", "fit"]

_RESUME = ".resume"
_STATE = "last"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """How a training went.

    Attributes:
        history: One row an epoch: `epoch` (from 1), `train_loss` (mean over clips), `learning_rate` (of its
            last step) and, with validation clips, their scores.
        best_epoch: The epoch whose weights the head now has.
        selected_on: The validation score it was chosen by, or `last`.
        num_train: Training clips.
        num_validation: Validation clips.
        num_cut: Training clips longer than the head's `max_tokens`, of which the beginning was used.
    """

    history: tuple[Row, ...]
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
    progress: Callable[[Row], None] | None = None,
) -> FitResult:
    """Train a head in place; it ends on the CPU, in evaluation mode, with the weights of its best epoch.

    A training that was killed goes on where its last epoch ended when it is called again with the same
    arguments, to the same result. The global random state is left as it was. On the CPU the same arguments
    give the same bits, in whatever order the clips come.

    Args:
        head: To train.
        train: Clips to learn from.
        validation: Clips to choose the epoch by, scored whole as in prediction; None keeps the last epoch.
        options: How.
        activation: `sigmoid` for multi-label tasks.
        seed: Of the batches' order, mixup and dropout.
        folder: Gets `logs/metrics.csv`, and `.resume` until training ends.
        device: cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.
        progress: Called with each epoch's row.

    Raises:
        UsageError: If head, clips and options do not fit each other.
        RunError: If the folder holds the state of another training, or the loss stops being a number.
    """
    metric = _check(head, train, validation, options, activation)
    cut = int((train.lengths > head.options.max_tokens).sum())
    if cut:
        _log.warning(
            "%d of %d training clips are longer than max_tokens=%d; only their beginning is trained on.",
            cut, len(train), head.options.max_tokens,
        )  # fmt: skip
    where = _device(device)
    train, validation = by_identity(train), by_identity(validation) if validation is not None else None
    settings = _settings(head, train, validation, options, activation, seed)
    for module in head.modules():
        if isinstance(module, TokenInput):
            module.measure(train.tokens, train.offsets)
    training = Training(
        head,
        train.to(where),
        validation.to(where) if validation is not None else None,
        options,
        activation=activation,
        metric=metric,
        seed=seed,
        settings=settings,
        progress=progress,
    )
    _run(training, Path(folder), where)
    head.load_state_dict(training.best)
    head.eval()
    return FitResult(
        history=tuple(training.history),
        best_epoch=training.best_epoch,
        selected_on=metric,
        num_train=len(train),
        num_validation=len(validation) if validation is not None else 0,
        num_cut=cut,
    )


def _run(training: Training, folder: Path, device: torch.device) -> None:
    """Train to the end, from the state that is in the folder if there is one."""
    resume = folder.resolve() / _RESUME
    state = _resumable(resume / f"{_STATE}.ckpt", training.settings)
    trainer_options: dict[str, Any] = {
        "accelerator": "gpu" if device.type == "cuda" else device.type,
        "devices": [device.index or 0] if device.type == "cuda" else 1,
        "plugins": [LightningEnvironment()],  # one process, whatever cluster job this runs in
        "precision": {"float32": "32-true", "bfloat16": "bf16-mixed"}[training.options.precision],
        "max_epochs": training.options.epochs,
        "default_root_dir": folder,
        "logger": CSVLogger(folder, name="logs", version="", flush_logs_every_n_steps=1),
        "callbacks": [ModelCheckpoint(resume, filename=_STATE, enable_version_counter=False)],
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    with _quiet(), isolate_rng():
        trainer = lightning.Trainer(**trainer_options)
        training.head.train()
        trainer.fit(
            training,
            train_dataloaders=range(training.num_steps),
            ckpt_path=state,
            weights_only=True,
        )
    shutil.rmtree(resume)


def _resumable(state: Path, settings: dict[str, Any]) -> Path | None:
    """The state to go on from, if there is one.

    Raises:
        RunError: If it cannot be read, or is of another training.
    """
    if not state.exists():
        return None
    advice = f"Use another folder, or delete {state.parent}."
    try:
        then = torch.load(state, weights_only=True, mmap=True)["actiondiff"]["settings"]
    except (OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        raise RunError(
            f"the unfinished training {state} cannot be read ({type(error).__name__}). {advice}"
        ) from None
    found = differences(settings, json.loads(then))
    if found:
        told = "; ".join(f"{name}: {ours!r} against {theirs!r}" for name, (ours, theirs) in found.items())
        raise RunError(f"an unfinished training differs from this one (now against then: {told}). {advice}")
    return state


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice off the screen, and its hands off Ctrl-C."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    handler = signal.getsignal(signal.SIGINT)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    except SystemExit:  # what Lightning makes of a KeyboardInterrupt
        raise KeyboardInterrupt from None
    finally:
        logger.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _check(
    head: Head,
    train: PackedFeatures,
    validation: PackedFeatures | None,
    options: TrainingOptions,
    activation: Activation,
) -> str:
    """The score to select on, once everything is known to fit."""
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
    got = (clips.token_width, clips.targets.shape[1])
    if not clips.targets.any() or got != (head.token_width, head.num_classes):
        raise UsageError(
            f"the head takes tokens of width {head.token_width} and names {head.num_classes} classes; got "
            f"{len(clips)} clips of width {got[0]} with {got[1]} classes, {int(clips.targets.sum())} labels."
        )
    wrong = (clips.targets.sum(1) != 1).nonzero().flatten().tolist()
    if wrong and (activation == "softmax" or options.loss in SINGLE_LABEL_LOSSES):
        example = clips.examples[wrong[0]]
        raise UsageError(
            f"loss={options.loss} with {activation} needs one label a clip; {example.video or 'one'} has "
            f"{', '.join(example.labels) or 'none'}. Multi-label tasks: sigmoid, with bce or sigmoid-focal."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"device is auto, cpu, cuda or cuda:N; got {name!r}.") from None


def _settings(
    head: Head,
    train: PackedFeatures,
    validation: PackedFeatures | None,
    options: TrainingOptions,
    activation: Activation,
    seed: int,
) -> dict[str, Any]:
    """What a training must share with one it goes on from."""
    return {
        "head": head.options.model_dump(),
        "training": options.model_dump(),
        "activation": activation,
        "seed": seed,
        "train": _digest(train),
        "validation": _digest(validation) if validation is not None else None,
    }


def _digest(clips: PackedFeatures) -> str:
    """A short hash of which clips these are; of their tokens the sum only, as they may be gigabytes."""
    names = json.dumps([(item.video, item.start_seconds, item.end_seconds) for item in clips.examples])
    digest = hashlib.sha256(names.encode())
    for tensor in (clips.offsets, clips.targets, clips.tokens.sum(0, dtype=torch.float64)):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
