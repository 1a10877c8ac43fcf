"""The module that Lightning trains: a head with its batches, its loss and its schedule."""

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import lightning.pytorch as lightning
import numpy as np
import torch
from transformers.optimization import get_cosine_schedule_with_warmup

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError
from actiondiff.evaluation.metrics import summary
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, predict_probabilities
from actiondiff.training.augment import draw_mixup, mixup
from actiondiff.training.batches import draw_batches
from actiondiff.training.losses import loss_function
from actiondiff.training.options import TrainingOptions

__all__ = ["EpochRow", "Training"]

EpochRow: TypeAlias = dict[str, float]
"""One epoch in numbers: `epoch` (from 1), `train_loss`, `learning_rate` and, where there are, scores."""


class Training(lightning.LightningModule):
    """A head in training. Lightning passes a batch's number; the batch is made from tensors on the device.

    Everything random in an epoch follows from (seed, epoch), so that resuming needs no random state.

    Args:
        head: Head to train in place.
        train: Clips to learn from, on the device.
        validation: Clips to score after each epoch, on the device; None if there are none.
        options: Options of training.
        activation: `sigmoid` for multi-label tasks.
        metric: Score by which the best epoch is chosen, or `last`.
        seed: Seed of the batches' order, of mixup and of dropout.
        settings: What a run that resumes this one must share with it; JSON values.
        progress: Called with the row of each epoch.
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
        progress: Callable[[EpochRow], None] | None,
    ) -> None:
        super().__init__()
        self.head = head
        self.clips, self.validation_clips = train, validation
        self.options, self.activation, self.metric = options, activation, metric
        self.seed, self.settings, self.progress = seed, settings, progress
        self.loss = loss_function(options)
        self.num_steps = math.ceil(len(train) / options.batch_size)
        self.history: list[EpochRow] = []
        self.best: dict[str, torch.Tensor] = {}

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far; of equal epochs the first."""
        if self.metric == "last":
            return len(self.history)
        return 1 + int(np.argmax([row[self.metric] for row in self.history]))

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule, which is stepped after every batch.

        The rate rises from 0 in a line, then falls in half a cosine.

        Source: the released code.
        """
        options = self.options
        optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        schedule = get_cosine_schedule_with_warmup(
            optimizer, options.warmup_epochs * self.num_steps, options.epochs * self.num_steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Write the epochs of a resumed run to the log again, because the log file starts empty."""
        for row in self.history:
            self._log_row(row)

    def on_train_epoch_start(self) -> None:
        """Draw this epoch's batches. Dropout uses the global random state, which `fit` restores."""
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
        """Return the loss of one batch, by its number in the epoch."""
        chosen = self.batches[step]
        batch = self.clips.batch(chosen, max_tokens=self.head.options.max_tokens)
        if self.options.mixup:
            share, partner = draw_mixup(self.options.mixup, len(chosen), self.generator)
            batch = mixup(batch, share=share, partner=partner)
        loss = self.loss(self.head(batch.tokens, batch.mask).float(), batch.targets)
        self.total_loss += loss.detach() * len(chosen)
        return loss

    def on_train_epoch_end(self) -> None:
        """Score the epoch, and keep a copy of the weights if it is the best."""
        epoch = self.current_epoch + 1
        loss = float(self.total_loss) / len(self.clips)
        if not math.isfinite(loss):
            raise RunError(
                f"training diverged in epoch {epoch}: the loss is {loss}. Lower learning_rate "
                f"({self.options.learning_rate}), or use input=standardised."
            )
        last_step = epoch * self.num_steps - 1
        factor = self.lr_schedulers().lr_lambdas[0](last_step)
        row: EpochRow = {
            "epoch": epoch,
            "train_loss": loss,
            "learning_rate": self.options.learning_rate * factor,
        }
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
        """Add our own state to Lightning's; plain values and tensors only."""
        checkpoint["actiondiff"] = {
            "settings": json.dumps(self.settings),
            "history": self.history,
            "best": self.best,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore our own state."""
        state = checkpoint["actiondiff"]
        self.history, self.best = state["history"], state["best"]

    def _validate(self, clips: PackedFeatures) -> EpochRow:
        """Score the validation clips; scores that do not exist are left out."""
        probabilities = predict_probabilities(self.head, clips, self.activation)
        totals = summary(probabilities, clips.targets.cpu().numpy(), multi_label=self.activation == "sigmoid")
        return {name: value for name, value in totals.items() if value is not None}

    def _log_row(self, row: EpochRow) -> None:
        self.logger.log_metrics(row, step=int(row["epoch"]))
