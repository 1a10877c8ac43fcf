"""The Lightning trainer that heads and the built-in backbone share: one device, nothing on the screen."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.seed import isolate_rng

from actiondiff.provenance import atomic_path

__all__ = ["open_trainer"]


@contextmanager
def open_trainer(
    device: torch.device,
    folder: Path,
    *,
    callbacks: Sequence[Callback],
    bfloat16: bool = False,
    max_epochs: int | None = None,
    max_steps: int = -1,
    gradient_norm: float | None = None,
    logger: Logger | None = None,
) -> Iterator[lightning.Trainer]:
    """A trainer to use within a `with` block, after which the global random state is as it was before.

    Args:
        device: Device to train on.
        folder: Root folder of whatever Lightning writes.
        callbacks: Callbacks of the trainer, which saves nothing unless there is a `Checkpoint` among them.
        bfloat16: Whether Lightning runs the training step in bfloat16 mixed precision.
        max_epochs: Number of epochs; None trains for `max_steps`.
        max_steps: Number of optimizer steps; -1 trains for `max_epochs`.
        gradient_norm: Norm to which gradients are clipped; None leaves them as they are.
        logger: Logger of metrics; None logs nothing.
    """
    with _quiet(), isolate_rng():
        yield lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            plugins=[LightningEnvironment(), _WholeFiles()],  # one process, whatever cluster job this runs in
            precision="bf16-mixed" if bfloat16 else "32-true",
            max_epochs=max_epochs,
            max_steps=max_steps,
            gradient_clip_val=gradient_norm,
            default_root_dir=folder,
            logger=logger or False,
            callbacks=list(callbacks),
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
        )


class _WholeFiles(TorchCheckpointIO):
    """Writes states beside their target; Lightning's own way copies them from the temporary folder."""

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        with atomic_path(path) as aside, open(aside, "wb") as file:
            torch.save(checkpoint, file)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice off the screen, and keep Lightning from handling Ctrl-C."""
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
