"""What may be chosen about training."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Loss", "Precision", "SelectionMetric", "TrainingOptions"]

Loss = Literal["sigmoid-focal", "softmax-focal", "cross-entropy", "bce", "mse"]
Precision = Literal["float32", "bfloat16"]
SelectionMetric = Literal["auto", "accuracy", "balanced_accuracy", "micro_map", "macro_map", "last"]


class TrainingOptions(BaseModel):
    """How a head is trained: AdamW, a warm-up, then half a cosine down to zero.

    Source: defaults are those of the released code for Animal Kingdom (paper, A.1.3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(16, ge=1, description="Clips a step; the one shorter batch of an epoch is kept.")
    length_pool: int = Field(
        8,
        ge=1,
        description="Batches that are formed together, by length, of clips drawn at random: so less is "
        "padded. At most a quarter of an epoch's; 1 for batches at random, as in the released code.",
    )
    learning_rate: float = Field(3e-5, gt=0, description="The highest rate, at the end of the warm-up.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's, on all parameters.")
    epochs: int = Field(15, ge=1, description="Passes over the training clips.")
    warmup_epochs: int = Field(
        4, ge=0, description="Epochs over which the rate rises from 0; fewer than epochs."
    )
    loss: Loss = Field(
        "sigmoid-focal", description="What is minimised; sigmoid-focal is the released focal loss."
    )
    focal_alpha: float = Field(0.25, gt=0, description="Factor of the focal losses; it balances no classes.")
    focal_gamma: float = Field(
        2.0, ge=0, description="How much the focal losses pass over what is right already."
    )
    mixup: float = Field(
        0.2,
        ge=0,
        description="Each batch is mixed with itself by a share from Beta(mixup, mixup); 0 for not at all.",
    )
    precision: Precision = Field(
        "float32",
        description="Arithmetic of matrix products in training; weights, loss and scores stay float32.",
    )
    metric: SelectionMetric = Field(
        "auto",
        description="Validation score whose best epoch is kept; auto: accuracy, or micro_map for multi-label "
        "tasks; last: the last epoch, as without validation clips.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) must be fewer than epochs ({self.epochs}), or the "
                "rate never reaches learning_rate"
            )
        return self
