"""Options of pre-training."""

from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CLIP_FRAMES", "CROP", "CROPS_PER_CLIP", "SMOKE", "WINDOW", "PretrainingOptions", "World"]

World: TypeAlias = Literal["held-out", "all"]
CLIP_FRAMES = 16
WINDOW = 8  # frames
CROP = 32  # pixels, side of the crops on which the autoencoder is trained
CROPS_PER_CLIP = 4
_WINDOWS_PER_CLIP = CLIP_FRAMES // WINDOW


class PretrainingOptions(BaseModel):
    """How the built-in backbone is trained.

    Every random number depends on the seed, the stage and the step alone, so that a run may be interrupted
    and continued anywhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="Seed of weights, clips and noise.")
    world: World = Field(
        "held-out", description="held-out leaves out what the protocols test on; all does not."
    )
    autoencoder_steps: int = Field(2000, ge=1, description="Training steps of the autoencoder.")
    autoencoder_batch: int = Field(32, ge=4, multiple_of=4, description="Crops of 32 x 32 pixels per step.")
    autoencoder_rate: float = Field(2e-3, gt=0, description="Highest learning rate of the autoencoder.")
    chroma_weight: float = Field(
        3.0,
        ge=0,
        description="Extra weight of colour errors; without it the autoencoder hardly learns colour.",
    )
    half_size_steps: int = Field(900, ge=0, description="Training steps on clips of 32 x 32 pixels.")
    half_size_batch: int = Field(8, ge=2, multiple_of=2, description="Windows of 8 frames per step.")
    full_size_steps: int = Field(1500, ge=1, description="Training steps on clips of 64 x 64 pixels.")
    full_size_batch: int = Field(4, ge=2, multiple_of=2, description="Windows of 8 frames per step.")
    rate: float = Field(1e-3, gt=0, description="Learning rate of the diffusion model after the warm-up.")
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate rises, per stage.")
    average: float = Field(0.998, ge=0, lt=1, description="Decay of the moving average of weights.")
    noise_mean: float = Field(0.7, description="Mean of ln sigma. Source: SVD, image-to-video training.")
    noise_std: float = Field(1.6, ge=0, description="Standard deviation of ln sigma. Source: as above.")
    dropout: float = Field(
        0.15,
        ge=0,
        le=1,
        description="Share of windows without conditioning latents; the same share lacks embeddings.",
    )
    first_frame: float = Field(
        0.3, ge=0, le=1, description="Share of windows conditioned on their first frame, as SVD was trained."
    )
    any_frame: float = Field(
        0.0, ge=0, le=1, description="Share of windows conditioned on one of their frames, chosen at random."
    )
    complete: float = Field(
        0.1, ge=0, le=1, description="Share of windows conditioned on each of their frames, as in extraction."
    )
    conditioning_noise_mean: float | None = Field(
        None,
        description="Mean of ln sigma of noise in conditioning latents (SVD: -3); by default there is none.",
    )
    conditioning_noise_std: float = Field(
        0.5, ge=0, description="Standard deviation of ln sigma of noise in conditioning latents. Source: SVD."
    )
    bfloat16: bool = Field(True, description="Compute in bfloat16 where PyTorch's autocast supports it.")

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        shares = (self.first_frame, self.any_frame, self.complete)
        if sum(shares) > 1:
            raise ValueError(
                "first-frame, any-frame and complete are shares of the same windows, at most 1 together; got "
                + " + ".join(f"{share:g}" for share in shares)
            )
        return self

    def steps(self, stage: str) -> int:
        """Number of training steps of a stage."""
        return int(self.model_dump()[f"{stage.replace('-', '_')}_steps"])

    def clips(self, stage: str) -> int:
        """Number of clips in one step of a stage."""
        batch = int(self.model_dump()[f"{stage.replace('-', '_')}_batch"])
        return batch // (CROPS_PER_CLIP if stage == "autoencoder" else _WINDOWS_PER_CLIP)


SMOKE = PretrainingOptions(
    autoencoder_steps=40,
    autoencoder_batch=32,
    half_size_steps=30,
    half_size_batch=8,
    full_size_steps=4,
    full_size_batch=2,
    warmup_steps=5,
)
"""A run of about one minute on a processor, to see that everything works."""
