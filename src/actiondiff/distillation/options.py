"""Options of a distillation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DistillOptions"]


class DistillOptions(BaseModel):
    """How a student is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: Literal["small", "lite0"] = Field(
        "small",
        description="Network that sees each frame: small is trained from the start; lite0 is a pre-trained "
        "image network and needs the extra lite.",
    )
    size: int | None = Field(
        None,
        ge=32,
        le=1024,
        description="Height and width in pixels of the frames that the student sees; 64 for small and 128 "
        "for lite0 if not given.",
    )
    steps: int = Field(2000, ge=1, le=10_000_000, description="Number of training steps.")
    batch: int = Field(16, ge=1, le=4096, description="Number of windows per step.")
    rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Learning rate after the warm-up; 0.002 for small and 0.0003 for lite0 if not given.",
    )
    held_out: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the recordings that the student does not learn from, but is judged on.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the weights, batches and held-out recordings.")

    @property
    def side(self) -> int:
        """Height and width of frames, with the default filled in."""
        return self.size or (64 if self.encoder == "small" else 128)

    @property
    def learning_rate(self) -> float:
        """The learning rate, with the default filled in."""
        return self.rate or (2e-3 if self.encoder == "small" else 3e-4)
