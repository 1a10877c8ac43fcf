"""The options of training a head."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FIRST_RESOLVED", "LossName", "Precision", "SelectionMetric", "TrainingOptions"]

LossName = Literal["sigmoid-focal", "softmax-focal", "cross-entropy", "bce", "mse"]
Precision = Literal["float32", "bfloat16"]
FIRST_RESOLVED = {"min_steps", "min_validation_clips", "calibration_folds"}
"""Options that `TrainingOptions.for_clips` resolves before training."""
SelectionMetric = Literal["auto", "accuracy", "balanced_accuracy", "micro_map", "macro_map", "last"]


class TrainingOptions(BaseModel):
    """How a head is trained: with AdamW, a linear warm-up, then half a cosine down to zero.

    Source: the defaults are those of the released code for Animal Kingdom (paper, A.1.1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(
        16, ge=1, description="Number of clips per step; an epoch's last, smaller batch is used, too."
    )
    length_pool: int = Field(
        8,
        ge=1,
        description="Number of batches that are drawn together and sorted by length, which saves padding; at "
        "most a quarter of an epoch's. 1 draws every batch at random, as in the released code.",
    )
    learning_rate: float = Field(
        3e-5, gt=0, description="Highest learning rate, which is reached at the end of the warm-up."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of AdamW, on all parameters.")
    epochs: int = Field(15, ge=1, description="Number of passes over the training clips.")
    warmup_epochs: int = Field(
        4,
        ge=0,
        description="Number of epochs over which the learning rate rises from 0; must be below epochs.",
    )
    loss: LossName = Field(
        "sigmoid-focal",
        description="Loss that is minimised; sigmoid-focal is the focal loss of the released code.",
    )
    focal_alpha: float = Field(
        0.25, gt=0, description="Constant factor of the focal losses; it does not balance classes."
    )
    focal_gamma: float = Field(
        2.0,
        ge=0,
        description="Exponent of the focal losses; a higher value gives confident clips less weight.",
    )
    mixup: float = Field(
        0.2,
        ge=0,
        description="Parameter of mixup, which mixes each batch with a shuffled copy of itself; the share is "
        "drawn from Beta(mixup, mixup). 0 turns mixup off.",
    )
    min_steps: int = Field(
        0,
        ge=0,
        description="Least number of steps of the optimiser; where epochs gives fewer, because there are few "
        "clips, there are more epochs, and as many more of warm-up. An epochs that is set by hand is kept.",
    )
    min_validation_clips: int = Field(
        0,
        ge=0,
        description="Least number of validation clips to choose the epoch, the temperature and the "
        "thresholds by. With fewer, those that were drawn are trained on, the last epoch is used, and the "
        "temperature and the thresholds are fitted by cross-validation over the training groups, or keep "
        "their defaults.",
    )
    calibration_folds: int = Field(
        3,
        ge=0,
        description="Number of folds of that cross-validation, each of which trains another head; 0 keeps "
        "the defaults of temperature and thresholds.",
    )
    precision: Precision = Field(
        "float32",
        description="Precision of matrix products in training; weights, loss and scores stay float32.",
    )
    metric: SelectionMetric = Field(
        "auto",
        description="Validation score by which the best epoch is chosen. auto: accuracy, or micro_map for "
        "multi-label tasks. last: no choice, the last epoch, as without validation clips.",
    )

    def for_clips(self, num_train: int, num_validation: int | None) -> Self:
        """Options with the number of epochs, and the rule of choosing one, that suit the number of clips.

        Args:
            num_train: Number of training clips.
            num_validation: Number of validation clips; None where the epoch is not chosen on such clips.
        """
        changes: dict[str, object] = {"min_steps": 0, "min_validation_clips": 0}
        epochs = math.ceil(self.min_steps / math.ceil(num_train / self.batch_size))
        if epochs > self.epochs:
            changes["epochs"] = epochs
            changes["warmup_epochs"] = min(round(self.warmup_epochs * epochs / self.epochs), epochs - 1)
        if num_validation is not None and num_validation < self.min_validation_clips:
            changes["metric"] = "last"
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) must be fewer than epochs ({self.epochs}); otherwise "
                "the rate never reaches learning_rate"
            )
        return self
