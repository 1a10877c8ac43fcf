"""What Lightning trains: a head, its batches, what an epoch draws, and what is kept of it."""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import lightning.pytorch as lightning
import numpy as np
import torch

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError
from actiondiff.evaluation.metrics import summary
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, predict_probabilities
from actiondiff.training.augment import draw_mixup, mixup
from actiondiff.training.batches import draw_batches
from actiondiff.training.losses import loss_function
from actiondiff.training.options import TrainingOptions
from actiondiff.training.schedule import rate_factor

__all__ = ["Row", "Training"]

Row: TypeAlias = dict[str, float]


class Training(lightning.LightningModule):
    """What Lightning trains. Its batches are made here, by number, from tensors that lie on the device.

    All that is random in an epoch follows from (seed, epoch), so that resuming needs no random state.
    """

    def __init__(
        self,
        head: Head,
        train: PackedFeatures,
        validation: PackedFeatures | None,
        options: TrainingOptions,
        *,
        activation: Activation,
        metric: str,
        seed: int,
        settings: dict[str, Any],
        progress: Callable[[Row], None] | None,
    ) -> None:
        super().__init__()
        self.head = head
        self.clips, self.validation_clips = train, validation
        self.options, self.activation, self.metric = options, activation, metric
        self.seed, self.settings, self.progress = seed, settings, progress
        self.loss = loss_function(options)
        self.num_steps = math.ceil(len(train) / options.batch_size)
        self.history: list[Row] = []
        self.best: dict[str, torch.Tensor] = {}

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, the first of equals."""
        if self.metric == "last":
            return len(self.history)
        return 1 + int(np.argmax([row[self.metric] for row in self.history]))

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped after every batch."""
        options = self.options
        optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        factor = partial(
            rate_factor,
            warmup_steps=options.warmup_epochs * self.num_steps,
            total_steps=options.epochs * self.num_steps,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Write the epochs before a resumption to the log again, which begins anew."""
        for row in self.history:
            self._log_row(row)

    def on_train_epoch_start(self) -> None:
        """Draw what is random in this epoch; dropout follows the global state, which `fit` gives back."""
        self.generator = np.random.default_rng((self.seed, self.current_epoch))
        torch.manual_seed(int(self.generator.integers(2**63)))
        self.batches = draw_batches(
            self.clips.lengths,
            batch_size=self.options.batch_size,
            pool=self.options.length_pool,
            generator=self.generator,
        )
        self.total_loss = torch.zeros((), device=self.device)

    def training_step(self, step: int, _: int) -> torch.Tensor:
        """Loss of the epoch's batch of this number."""
        chosen = self.batches[step]
        batch = self.clips.batch(chosen, max_tokens=self.head.options.max_tokens)
        if self.options.mixup:
            share, partner = draw_mixup(self.options.mixup, len(chosen), self.generator)
            batch = mixup(batch, share=share, partner=partner)
        loss = self.loss(self.head(batch.tokens, batch.mask).float(), batch.targets)
        self.total_loss += loss.detach() * len(chosen)
        return loss

    def on_train_epoch_end(self) -> None:
        """Score the epoch, and keep its weights if it is the best."""
        epoch = self.current_epoch + 1
        loss = float(self.total_loss) / len(self.clips)
        if not math.isfinite(loss):
            raise RunError(
                f"training diverged in epoch {epoch}: the loss is {loss}. Lower learning_rate "
                f"({self.options.learning_rate}), or use input=standardised."
            )
        last_step = epoch * self.num_steps - 1
        factor = self.lr_schedulers().lr_lambdas[0](last_step)
        row: Row = {"epoch": epoch, "train_loss": loss, "learning_rate": self.options.learning_rate * factor}
        if self.validation_clips is not None:
            row |= self._validate(self.validation_clips)
        self.history.append(row)
        if self.best_epoch == epoch:
            self.best = {
                name: tensor.detach().cpu().clone() for name, tensor in self.head.state_dict().items()
            }
        self._log_row(row)
        if self.progress:
            self.progress(row)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours to the state; plain values and tensors only."""
        checkpoint["actiondiff"] = {
            "settings": json.dumps(self.settings),
            "history": self.history,
            "best": self.best,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what was ours."""
        state = checkpoint["actiondiff"]
        self.history, self.best = state["history"], state["best"]

    def _validate(self, clips: PackedFeatures) -> Row:
        probabilities = predict_probabilities(self.head, clips, self.activation)
        totals = summary(probabilities, clips.targets.cpu().numpy(), multi_label=self.activation == "sigmoid")
        return {name: value for name, value in totals.items() if value is not None}

    def _log_row(self, row: Row) -> None:
        self.logger.log_metrics(row, step=int(row["epoch"]))
