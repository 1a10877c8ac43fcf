"""A training loop that may be cut off at any moment: all draws depend on the step's number alone."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from actiondiff.errors import RunError
from actiondiff.provenance import atomic_path

__all__ = ["Deadline", "Stage", "step_generator"]

_SAVE_SECONDS = 60.0
_CLIP_NORM = 1.0
_LOG_EVERY = 20


class Deadline:
    """When to stop for now.

    Args:
        minutes: From now; None for never.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = math.inf if minutes is None else time.monotonic() + 60.0 * minutes

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._end


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """Chance of one step."""
    number = int.from_bytes(stage.encode()[:4], "big") ^ (seed * 1_000_003 + step) * 2_654_435_761
    return torch.Generator().manual_seed(number % 2**63)


@dataclass
class Stage:
    """One network in training.

    Attributes:
        name: Of the stage; files are called after it.
        folder: Where state and log are kept.
        model: What is trained, in place.
        steps: How many in all.
        rate: Learning rate once warm.
        warmup: Steps of linear warm-up.
        decay: Whether the rate falls to 0 by a cosine; else it stays.
        average: Decay of the moving average of weights; 0 for none.
    """

    name: str
    folder: Path
    model: nn.Module
    steps: int
    rate: float
    warmup: int
    decay: bool = False
    average: float = 0.0

    def __post_init__(self) -> None:
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), self.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.average))
        self.step = 0

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.name}.state"

    def run(
        self,
        batches: Callable[[range], Iterable[Tensor]],
        loss: Callable[[int, Tensor], tuple[Tensor, dict[str, float]]],
        deadline: Deadline,
        report: Callable[[str], None],
    ) -> bool:
        """Train from where the state on disk stands.

        Args:
            batches: Gives the clips of steps, in order.
            loss: `loss(step, clips)` gives the loss and numbers for the log.
            deadline: When to stop for now; the state is kept.
            report: Called with a line now and then.

        Returns:
            Whether the last step is done.

        Raises:
            RunError: If the loss is no longer finite.
        """
        self.restore()
        saved = time.monotonic()
        self.model.train()
        for clips in batches(range(self.step, self.steps)):
            self._advance(*loss(self.step, clips), report)
            if time.monotonic() - saved > _SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
            if deadline.passed:
                break
        self.save()
        self.model.eval()
        return self.step >= self.steps

    def _advance(self, value: Tensor, numbers: dict[str, float], report: Callable[[str], None]) -> None:
        reached = float(value.detach())
        if not math.isfinite(reached):
            raise RunError(f"the loss of {self.name} is {reached} at step {self.step}; try a lower rate.")
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * self._share(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        self._optimizer.step()
        self.averaged.update_parameters(self.model)
        self.step += 1
        line = {"stage": self.name, "step": self.step, "loss": round(reached, 5)} | {
            name: round(number, 5) for name, number in numbers.items()
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self.step % _LOG_EVERY == 0 or self.step == self.steps:
            report(f"{self.name}: step {self.step} of {self.steps}, loss {reached:.4f}")

    def _share(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        if not self.decay:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)))

    def save(self) -> None:
        """Keep everything that is needed to go on."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic_path(self._path) as path:
            torch.save(state, path)

    def restore(self) -> None:
        """Go on from the state on disk, if there is one."""
        if not self._path.exists():
            return
        state = torch.load(self._path, weights_only=True, map_location="cpu")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._forget_later()

    def _forget_later(self) -> None:
        """Drop the log's lines about steps that were done after the state was kept."""
        path = self.folder / "log.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if not self._is_later(json.loads(line))]
        path.write_text("".join(line + "\n" for line in kept), "utf-8")

    def _is_later(self, line: dict[str, Any]) -> bool:
        return line["stage"] == self.name and line["step"] > self.step
