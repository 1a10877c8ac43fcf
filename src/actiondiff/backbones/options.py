"""Options that a backbone is loaded with: those that all backbones have, and those of each family.

Nothing heavy is imported here, because the command line and recipes need the options before any network.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model

from actiondiff.registry import Registry

if TYPE_CHECKING:
    from actiondiff.types import JSON  # loads numpy, which the help of a command does not need

__all__ = [
    "OPTIONS",
    "BackboneOptions",
    "DiTOptions",
    "Dtype",
    "FitOptions",
    "PixelOptions",
    "StableDiffusionOptions",
    "VideoMAEOptions",
    "VideoTransformerOptions",
    "every_option",
    "options_class",
]

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

OPTIONS = Registry(
    "backbone_option",
    {
        "vjepa": "actiondiff.backbones.options:VideoTransformerOptions",
        "vjepa2": "actiondiff.backbones.options:VideoTransformerOptions",
        "videomae": "actiondiff.backbones.options:VideoMAEOptions",
        "dinov3": "actiondiff.backbones.options:FitOptions",
        "videoprism": "actiondiff.backbones.options:FitOptions",
        "efficientnet": "actiondiff.backbones.options:FitOptions",
        "student": "actiondiff.backbones.options:FitOptions",
        "svd": "actiondiff.backbones.svd.options:SVDOptions",
        "sd": "actiondiff.backbones.options:StableDiffusionOptions",
        "dit": "actiondiff.backbones.options:DiTOptions",
        "pixels": "actiondiff.backbones.options:PixelOptions",
        "motion": "actiondiff.backbones.options:PixelOptions",
    },
)
"""Kind of backbone -> class of its options. A kind that is not listed has `BackboneOptions`."""


class BackboneOptions(BaseModel):
    """Options that all backbones have. None takes the backbone's own value from `specs.yaml`.

    A family with further options derives its own class from this one and registers it in `OPTIONS`.

    Source: the options and their defaults are those of the released code unless a field says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    without_effect: ClassVar[frozenset[str]] = frozenset({"preset"})
    """Fields that have no effect in this family, and are therefore refused if they are set. A preset has one
    wherever the backbone's spec has presets."""
    arithmetic: ClassVar["Mapping[str, JSON]"] = {}
    """Further fields whose default depends on device and dtype, with what settings mean that lack them."""
    older: ClassVar["Mapping[str, JSON]"] = {}
    """Fields that were added later and change results, with what settings mean that lack them."""
    memory_advice: ClassVar[str] = "smaller frames (--height, --width) or half precision (--dtype)"
    """What needs less memory, for messages."""

    preset: str | None = Field(
        None, description="Other defaults under one name, for example economy: smaller frames."
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    dtype: Dtype = Field("auto", description="Arithmetic; auto: float16 on CUDA, float32 on CPU.")
    height: int | None = Field(
        None, ge=8, le=8192, description="Height in pixels that frames are resized to."
    )
    width: int | None = Field(None, ge=8, le=8192, description="Width in pixels that frames are resized to.")
    window: int | None = Field(
        None, ge=1, le=4096, description="Number of frames that pass the backbone together."
    )
    padding: Literal["black", "repeat", "shift"] | None = Field(
        None,
        description="How the last window is filled: with black frames, with its last frame, or by starting "
        "earlier.",
    )
    batch: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Windows per batch; part of the fingerprint, because it changes rounding.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads; part of the fingerprint, because they change rounding."
    )
    seed: int = Field(
        0, ge=-(2**63), lt=2**63, description="Seed of everything that is random in the backbone."
    )

    def arithmetic_in_words(self) -> str:
        """What computes in which precision, in a few words; the options are those of a loaded backbone."""
        return self.dtype

    def on_meta(self) -> Self:
        """These options for a network without values on the meta device, whose operations are counted."""
        return self.model_copy(update={"device": "meta", "dtype": "float32", "preset": None, "batch": 1})


class FitOptions(BackboneOptions):
    """Options of backbones that can either crop or squash frames to their size."""

    fit: Literal["crop", "squash"] | None = Field(
        None,
        description="How frames are brought to the backbone's size: crop keeps the aspect ratio and the "
        "centre, squash keeps the whole frame.",
    )


class VideoTransformerOptions(FitOptions):
    """Options of video transformers: V-JEPA, V-JEPA 2 and VideoMAE v2."""

    tokens: Literal["tubelet", "segment"] | None = Field(
        None,
        description="What one token of a video transformer covers: a tubelet of frames, or the whole window.",
    )


class VideoMAEOptions(VideoTransformerOptions):
    """Options of VideoMAE v2."""

    normalise: Literal["imagenet", "none"] | None = Field(
        None,
        description="What VideoMAE v2 sees of pixels in [0, 1]: imagenet subtracts ImageNet's mean and "
        "divides by its deviation, as in pre-training; none leaves them, as the official extractor does.",
    )


class StableDiffusionOptions(BackboneOptions):
    """Options of Stable Diffusion, which sees each frame by itself."""

    noise: Literal["none", "forward"] = Field(
        "none", description="forward adds sigma * noise to the latents, as other diffusion features do."
    )


class DiTOptions(FitOptions):
    """Options of video diffusion transformers."""

    arithmetic: ClassVar["Mapping[str, JSON]"] = {"vae_dtype": "float32"}

    noise: Literal["none", "forward"] = Field(
        "none", description="forward adds noise to the latents, as in training."
    )
    text_weights: str | Path | None = Field(
        None, description="File of the empty prompt's embedding, or folder or hub id of the text encoder."
    )
    vae_dtype: Literal["float32", "tf32", "float16", "bfloat16", "auto-float16"] | None = Field(
        None,
        description="Arithmetic of the autoencoder, where most time goes. auto-float16 repeats in tf32 what "
        "is not finite in float16; the default is float32.",
    )
    frame_rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Rate of the sampled frames per second that LTX-Video takes their times to have.  "
        "[default: 25]",
    )

    def arithmetic_in_words(self) -> str:
        """See `BackboneOptions.arithmetic_in_words`."""
        return f"transformer {self.dtype}, autoencoder {self.vae_dtype}"

    def on_meta(self) -> Self:
        """See `BackboneOptions.on_meta`; counting needs no text weights."""
        return super().on_meta().model_copy(update={"vae_dtype": None, "text_weights": None})


class PixelOptions(BackboneOptions):
    """Options of the controls without a network, in which nothing is random."""

    without_effect = frozenset({"preset", "seed"})


def options_class(kind: str) -> type[BackboneOptions]:
    """Class of the options of a kind of backbone."""
    family: type[BackboneOptions] = OPTIONS[kind] if kind in OPTIONS else BackboneOptions  # noqa: SIM401
    return family


def every_option() -> type[BackboneOptions]:
    """A class with the options of all families, for where the backbone is not chosen yet.

    Of two families' options with one name, the first one's type and description count here; the options are
    checked again by the class of the backbone that they are used with.
    """
    return _union(tuple(dict.fromkeys(OPTIONS.values())))


@functools.cache
def _union(classes: tuple[type[BackboneOptions], ...]) -> type[BackboneOptions]:
    fields: dict[str, Any] = {}
    for family in classes:
        for name, info in family.model_fields.items():
            if name not in BackboneOptions.model_fields:
                fields.setdefault(name, (info.annotation, info))
    return create_model("EveryOption", __base__=BackboneOptions, __module__=__name__, **fields)
