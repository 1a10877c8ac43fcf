"""Options of Stable Video Diffusion."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from actiondiff.backbones.options import BackboneOptions

if TYPE_CHECKING:
    from actiondiff.types import JSON  # loads numpy, which the help of a command does not need

__all__ = ["SVDOptions"]


class SVDOptions(BackboneOptions):
    """Options of Stable Video Diffusion. None takes the backbone's own value from `specs.yaml`.

    Source: the options and their defaults are those of the released code unless a field says otherwise.
    """

    without_effect = frozenset()
    arithmetic: ClassVar["Mapping[str, JSON]"] = {"vae_dtype": "float32", "fused": False}
    older: ClassVar["Mapping[str, JSON]"] = {"exact_norm": False}
    memory_advice: ClassVar[str] = (
        "smaller frames (--height, --width), a smaller --vae-chunk or half precision (--dtype)"
    )

    num_steps: int | None = Field(
        None, ge=2, le=10_000, description="Length of the noise schedule that timesteps index."
    )
    embedding: Literal["own", "middle", "first", "none", "text"] | None = Field(
        None,
        description="What cross-attention sees: each frame's own CLIP vector, the middle or first "
        "frame's for all, zeros, or the names of the actions.",
    )
    latents: Literal["own", "middle", "zero"] | None = Field(
        None,
        description="What is concatenated to the latents: each frame's own latent, the middle frame's "
        "for all, or zeros.",
    )
    conditioning: Literal["per-frame", "middle-frame", "none", "text"] | None = Field(
        None, description="Shorthand that sets embedding and latents together."
    )
    text_weights: str | Path | None = Field(
        None,
        description="For text: folder or hub id of the CLIP model whose text tower embeds the actions. For "
        "video diffusion transformers: file of the empty prompt's embedding, or their text encoder.",
    )
    actions: str | tuple[str, ...] | None = Field(
        None, description="For text: names of actions, separated by commas, or a file with one name per line."
    )
    stochastic: bool = Field(
        False, description="Draw pixel and posterior noise as the released code does, instead of its mean."
    )
    temporal: bool = Field(True, description="Run the temporal modules; off is the paper's SDv2 baseline.")
    noise: Literal["none", "forward"] = Field(
        "none", description="forward adds sigma * noise to the latents, as other diffusion features do."
    )
    sigma_scale: int | None = Field(
        None, ge=0, le=9_999, description="Timestep used for the input scaling only."
    )
    sigma_embed: int | None = Field(
        None, ge=0, le=9_999, description="Timestep used for the time embedding only."
    )
    vae_dtype: Literal["float32", "tf32", "float16", "bfloat16", "auto-float16"] | None = Field(
        None,
        description="Arithmetic of the VAE, where most time goes. auto-float16, SVD's default for half "
        "precision on CUDA, repeats in tf32 what is not finite in float16; else the default is float32.",
    )
    vae_chunk: int | None = Field(
        None, ge=1, le=1_000_000, description="Number of frames that pass the VAE together."
    )
    fused: bool | None = Field(
        None,
        description="Fused kernels for half precision on CUDA, part of the fingerprint.  [default: where "
        "Triton works]",
    )
    exact_norm: bool = Field(
        True,
        description="On a CPU, normalise those frames again in the VAE for which PyTorch's sums lose digits, "
        "such as black ones; part of the fingerprint. Not in half precision, nor with compile.",
    )
    compile: bool = Field(
        False, description="Compile the networks first: takes minutes, and pays for itself over hours."
    )
    allow_unknown: bool = Field(
        False, description="List tensors of the checkpoint that SVD's networks do not have, and go on."
    )
    unet_head_dim: int | None = Field(None, ge=1, le=65_536, description="Attention head width of the U-Net.")
    clip_head_dim: int | None = Field(
        None, ge=1, le=65_536, description="Attention head width of the image encoder."
    )

    def arithmetic_in_words(self) -> str:
        """See `BackboneOptions.arithmetic_in_words`."""
        return f"U-Net {self.dtype}, VAE {self.vae_dtype}, {'fused' if self.fused else 'not fused'}"

    def on_meta(self) -> Self:
        """See `BackboneOptions.on_meta`; counting needs neither text weights nor a compiler."""
        update = {"vae_dtype": None, "fused": None, "compile": False, "text_weights": None, "actions": None}
        embedding = {"embedding": "none"} if self.embedding == "text" else {}
        return super().on_meta().model_copy(update={**update, **embedding})
