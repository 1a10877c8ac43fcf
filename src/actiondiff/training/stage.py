"""One stage of a long training run: Lightning trains a network, which may be interrupted at any moment.

All random numbers depend on the number of the step alone, so that an interrupted and continued run gives the
same bits as an uninterrupted one.
"""

import json
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from actiondiff.errors import RunError
from actiondiff.provenance import write_text
from actiondiff.training.trainer import open_trainer

__all__ = ["Deadline", "StageState", "TrainingStage", "step_generator"]

Batches: TypeAlias = Callable[[range], Iterable[Tensor]]
"""Gives the clips of each of these steps, in order."""
StepLoss: TypeAlias = Callable[[int, Tensor], tuple[Tensor, dict[str, float]]]
"""`loss(step, clips)` gives the loss of a step and numbers for the log."""

_SAVE_SECONDS = 60.0
_CLIP_NORM = 1.0
_LOG_EVERY = 20


class Deadline:
    """The moment at which a run stops for now.

    Args:
        minutes: Minutes from now; None for never.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = math.inf if minutes is None else time.monotonic() + 60.0 * minutes

    @property
    def passed(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self._end


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """Random generator of one step of a stage."""
    number = int.from_bytes(stage.encode()[:4], "big") ^ (seed * 1_000_003 + step) * 2_654_435_761
    return torch.Generator().manual_seed(number % 2**63)


@dataclass(frozen=True)
class StageState:
    """What a stage has saved on disk.

    Attributes:
        step: Number of steps that are done.
        weights: The model's weights, or their moving average where the stage has one; name -> tensor.
        averaging: The rest of the moving average's state; empty without one.
    """

    step: int
    weights: dict[str, Tensor]
    averaging: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> "StageState":
        """Read a state.

        Raises:
            RunError: If the file cannot be read, or was written by an earlier version.
        """
        try:
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
            weights = {
                name.removeprefix("model."): tensor for name, tensor in checkpoint["state_dict"].items()
            }
            return cls(checkpoint["global_step"], weights, checkpoint.get("averaging_state", {}))
        except (OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
            raise RunError(
                f"cannot read the training state {path} ({type(error).__name__}); it is damaged or was "
                "written by an earlier version. Start again in another folder."
            ) from None


class TrainingStage(lightning.LightningModule):
    """One network in training.

    Args:
        name: Name of the stage; its state on disk is called after it.
        folder: Folder of the state and of the log.
        model: Network to train, in place, on the device where it lies.
        steps: Number of steps of the whole stage.
        rate: Learning rate after the warm-up.
        warmup: Number of steps over which the rate rises linearly.
        decay: Whether the rate falls to 0 along a cosine; otherwise it stays.
        average: Decay of the moving average of weights; None for no average.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        model: nn.Module,
        steps: int,
        rate: float,
        warmup: int,
        *,
        decay: bool = False,
        average: float | None = None,
    ) -> None:
        super().__init__()
        self.name, self.folder, self.model = name, folder, model
        self.steps, self.rate, self.warmup, self.decay, self.average = steps, rate, warmup, decay, average
        self.to(next(model.parameters()).device)

    @property
    def path(self) -> Path:
        """File of the state."""
        return self.folder / f"{self.name}.state"

    def run(
        self,
        batches: Batches,
        loss: StepLoss,
        deadline: Deadline,
        report: Callable[[str], None],
        *,
        first_average: StageState | None = None,
    ) -> bool:
        """Train from the state on disk, or from the start if there is none.

        Args:
            batches: Gives the clips of each step.
            loss: Gives the loss of each step.
            deadline: Moment at which to save the state and stop for now.
            report: Called with a line of progress from time to time.
            first_average: State of an earlier stage, whose moving average this stage continues.

        Returns:
            Whether the stage is complete.

        Raises:
            RunError: If the loss is no longer finite, or the state on disk cannot be read.
        """
        state = self.restore()
        self._loss, self._deadline, self._report = loss, deadline, report
        self._saved = time.monotonic()
        device = self.device
        callbacks = [] if self.average is None else [_MovingAverage(self.average, first_average)]
        with open_trainer(
            device, self.folder, callbacks=callbacks, max_steps=self.steps, gradient_norm=_CLIP_NORM
        ) as trainer:
            self.train()
            trainer.fit(
                self,
                train_dataloaders=_ResumableBatches(batches, self.steps),
                ckpt_path=self.path if state is not None else None,
                weights_only=True,
            )
        self.to(device).eval()  # the trainer leaves the network on the processor
        return trainer.global_step >= self.steps

    def restore(self) -> StageState | None:
        """Read the state on disk if there is one, and drop the log's lines about later steps."""
        state = StageState.read(self.path) if self.path.exists() else None
        log = self.folder / "log.jsonl"
        if log.exists():
            step = state.step if state is not None else 0
            lines = [line for line in log.read_text("utf-8").splitlines() if not self._is_later(line, step)]
            write_text(log, "".join(line + "\n" for line in lines))
        return state

    def _is_later(self, line: str, step: int) -> bool:
        fields = json.loads(line)
        return bool(fields["stage"] == self.name and fields["step"] > step)

    # -- what Lightning calls --------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped after every batch."""
        optimizer = torch.optim.AdamW(
            self.model.parameters(), self.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        factor = partial(_rate_factor, warmup=self.warmup, steps=self.steps if self.decay else None)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, clips: Tensor, _: int) -> Tensor:
        """Loss of one step."""
        step = self.trainer.global_step
        loss, self._numbers = self._loss(step, clips)
        self._reached = float(loss.detach())
        if not math.isfinite(self._reached):
            raise RunError(
                f"the loss of {self.name} is {self._reached} at step {step}; try a lower learning rate."
            )
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the step, and save the state every minute, at the deadline and at the end."""
        step = self.trainer.global_step
        numbers = {"loss": self._reached, **self._numbers}
        line = {"stage": self.name, "step": step} | {key: round(value, 5) for key, value in numbers.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if step % _LOG_EVERY == 0 or step == self.steps:
            self._report(f"{self.name}: step {step} of {self.steps}, loss {self._reached:.4f}")
        self.trainer.should_stop = self._deadline.passed
        due = time.monotonic() - self._saved > _SAVE_SECONDS
        if due or self.trainer.should_stop or step == self.steps:
            self.trainer.save_checkpoint(self.path)
            self._saved = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Leave a run's functions out of copies: the moving average copies this module for its weights."""
        without = {"_loss", "_deadline", "_report"}
        return {name: value for name, value in super().__getstate__().items() if name not in without}


class _MovingAverage(WeightAveraging):
    """Exponential moving average of weights, saved with the state; the network keeps its own weights."""

    def __init__(self, decay: float, first: StageState | None) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._first = first

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Make the average; it begins with that of an earlier stage, if there is one."""
        super().setup(trainer, pl_module, stage)
        assert self._average_model is not None
        if self._first is not None:
            weights = {f"module.model.{name}": tensor for name, tensor in self._first.weights.items()}
            self._average_model.load_state_dict(weights | self._first.averaging)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the network its own weights, which the next stage continues; Lightning would replace them."""


class _ResumableBatches:
    """The clips of each step; Lightning saves and restores which step comes next."""

    def __init__(self, batches: Batches, steps: int) -> None:
        self._batches, self._steps = batches, steps
        self._step = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Tensor]:
        for clips in self._batches(range(self._step, self._steps)):
            self._step += 1
            yield clips

    def state_dict(self) -> dict[str, int]:
        """The step that comes next."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a step."""
        self._step = state["step"]


def _rate_factor(step: int, *, warmup: int, steps: int | None) -> float:
    """Factor of the learning rate in a step (0-based); it falls to 0 at `steps`, or stays with None."""
    if step < warmup:
        return (step + 1) / warmup
    if steps is None:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
