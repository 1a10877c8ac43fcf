"""Networks of each family of video diffusion transformers: how they are built, fed and run block by block."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXTransformer3DModel,
    LTXVideoTransformer3DModel,
    WanTransformer3DModel,
)
from torch import Tensor, nn

from actiondiff.backbones.frozen import Parts

__all__ = ["FAMILIES", "CogVideoX", "Family", "LTXVideo", "Wan"]

Config = Mapping[str, Any]


class Family(ABC):
    """One family of video diffusion transformers.

    Args:
        architecture: Arguments of the transformer (`transformer`) and of the autoencoder (`vae`).

    Attributes:
        keymap: Name of the key map of its checkpoints.
        half: Half precision in which its weights are published.
        tubelet: Number of frames that one latent covers; the first latent covers one frame alone.
        patch: Side in pixels of what one position of the output covers.
        statistics: Names of tensors of the autoencoder that scale the latents, in float32.
        frame_rate: Frames per second that positions in time stand for; None if positions count latents.
    """

    keymap: ClassVar[str]
    half: ClassVar[Literal["float16", "bfloat16"]]
    statistics: ClassVar[tuple[str, ...]] = ()
    tubelet: int
    patch: int
    frame_rate: float | None = None

    def __init__(self, architecture: Mapping[str, Config]) -> None:
        self._transformer = _arguments(architecture["transformer"])
        self._vae = _arguments(architecture["vae"])

    @abstractmethod
    def transformer(self) -> nn.Module:
        """The transformer without what follows its blocks, on the meta device."""

    @abstractmethod
    def vae(self) -> nn.Module:
        """The autoencoder without its decoder, on the meta device."""

    @abstractmethod
    def encode(self, vae: Any, video: Tensor) -> Tensor:
        """(B, 3, 1 + n tubelet, H, W) in [-1, 1] -> (B, c, 1 + n, h, w) float32, the latents' scaled mean.

        The autoencoder computes in the dtype of the video; the scaling is in float32.
        """

    @abstractmethod
    def outputs(
        self, outer: Parts, blocks: Parts, latents: Tensor, timestep: Tensor, prompt: Tensor
    ) -> Iterator[Tensor]:
        """Outputs of the blocks in order; each is run, and its weights are read, when it is asked for.

        Args:
            outer: The transformer, whose parts before the blocks compute in float32.
            blocks: The same transformer, whose blocks compute in the backbone's arithmetic.
            latents: (B, c, S, h, w) float32.
            timestep: (B,) float32, as the network is given it.
            prompt: (B, n, D) float32, embedding of the empty prompt.

        Yields:
            (B, S h' w', C), positions in the order time, row, column.
        """


class Wan(Family):
    """Wan 2.1, from text to video."""

    keymap = "wan"
    half = "bfloat16"

    def __init__(self, architecture: Mapping[str, Config]) -> None:
        super().__init__(architecture)
        self.tubelet = 4  # the autoencoder's class encodes this number of frames at a time
        side = 2 ** (len(self._vae["dim_mult"]) - 1)
        self.patch = side * self._transformer["patch_size"][1]

    def transformer(self) -> nn.Module:
        """See `Family.transformer`."""
        with torch.device("meta"):
            model = WanTransformer3DModel(**self._transformer)
        # Rotations are no weights, so they are computed here.
        rope = type(model.rope)(
            model.config.attention_head_dim, model.config.patch_size, model.config.rope_max_seq_len
        )
        model.rope = rope
        return _without(model, "proj_out", "norm_out", "scale_shift_table")

    def vae(self) -> nn.Module:
        """See `Family.vae`."""
        with torch.device("meta"):
            model = AutoencoderKLWan(**self._vae)
        return _without(model, "decoder", "post_quant_conv")

    def encode(self, vae: Any, video: Tensor) -> Tensor:
        """See `Family.encode`."""
        mean, std = (
            torch.tensor(values, device=video.device).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents: Tensor = vae.encode(video, return_dict=False)[0].mode().float()
        return (latents - mean) / std

    def outputs(
        self, outer: Parts, blocks: Parts, latents: Tensor, timestep: Tensor, prompt: Tensor
    ) -> Iterator[Tensor]:
        """See `Family.outputs`."""
        model, dtype = blocks.model, blocks.dtype
        rotations = model.rope.to(latents.device)(latents)
        sample = outer["patch_embedding"](latents).flatten(2).transpose(1, 2).contiguous().to(dtype)
        _, modulation, text, _ = outer["condition_embedder"](timestep, prompt)
        modulation, text = modulation.unflatten(1, (6, -1)), text.to(dtype)
        for number in range(len(model.blocks)):
            sample = blocks[f"blocks.{number}"](sample, text, modulation, rotations)
            yield sample


class LTXVideo(Family):
    """LTX-Video, from text to video."""

    keymap = "ltx_video"
    half = "bfloat16"
    statistics = ("latents_mean", "latents_std")
    frame_rate = 25.0  # the default of diffusers' pipeline

    def __init__(self, architecture: Mapping[str, Config]) -> None:
        super().__init__(architecture)
        scale = 2 ** sum(self._vae["spatio_temporal_scaling"])
        self.tubelet = self._vae["patch_size_t"] * scale
        self.patch = self._vae["patch_size"] * scale

    def transformer(self) -> nn.Module:
        """See `Family.transformer`."""
        with torch.device("meta"):
            model = LTXVideoTransformer3DModel(**self._transformer)
        return _without(model, "proj_out", "norm_out", "scale_shift_table")

    def vae(self) -> nn.Module:
        """See `Family.vae`."""
        with torch.device("meta"):
            model = AutoencoderKLLTXVideo(**self._vae)
        return _without(model, "decoder")

    def encode(self, vae: Any, video: Tensor) -> Tensor:
        """See `Family.encode`."""
        mean, std = (values.view(1, -1, 1, 1, 1) for values in (vae.latents_mean, vae.latents_std))
        latents: Tensor = vae.encode(video, return_dict=False)[0].mode().float()
        return (latents - mean) * vae.config.scaling_factor / std

    def outputs(
        self, outer: Parts, blocks: Parts, latents: Tensor, timestep: Tensor, prompt: Tensor
    ) -> Iterator[Tensor]:
        """See `Family.outputs`."""
        model, dtype = blocks.model, blocks.dtype
        B, _, steps, h, w = latents.shape
        side = float(self.patch)
        sample = outer["proj_in"](latents.flatten(2).transpose(1, 2)).to(dtype)
        rotations = model.rope(sample, steps, h, w, (self.tubelet / self.frame_rate, side, side))
        modulation, _ = outer["time_embed"](timestep, batch_size=B, hidden_dtype=torch.float32)
        modulation = modulation.view(B, 1, -1).to(dtype)
        text = outer["caption_projection"](prompt).to(dtype)
        for number in range(len(model.transformer_blocks)):
            sample = blocks[f"transformer_blocks.{number}"](sample, text, modulation, rotations)
            yield sample


class CogVideoX(Family):
    """CogVideoX 2B, from text to video, whose positions are sums of sines."""

    keymap = "cogvideox"
    half = "float16"

    def __init__(self, architecture: Mapping[str, Config]) -> None:
        super().__init__(architecture)
        self.tubelet = self._vae["temporal_compression_ratio"]
        self.patch = 2 ** (len(self._vae["block_out_channels"]) - 1) * self._transformer["patch_size"]

    def transformer(self) -> nn.Module:
        """See `Family.transformer`."""
        with torch.device("meta"):
            model = CogVideoXTransformer3DModel(**self._transformer)
        # Positions are no weights. Those that the class computed for its own size are never used: with 0 as
        # their number of frames, it computes the positions of the windows at hand in each pass.
        model.patch_embed.pos_embedding = None
        model.patch_embed.sample_frames = 0
        return _without(model, "norm_final", "norm_out", "proj_out")

    def vae(self) -> nn.Module:
        """See `Family.vae`."""
        with torch.device("meta"):
            model = AutoencoderKLCogVideoX(**self._vae)
        return _without(model, "decoder")

    def encode(self, vae: Any, video: Tensor) -> Tensor:
        """See `Family.encode`."""
        latents: Tensor = vae.encode(video, return_dict=False)[0].mode().float()
        return latents * vae.config.scaling_factor

    def outputs(
        self, outer: Parts, blocks: Parts, latents: Tensor, timestep: Tensor, prompt: Tensor
    ) -> Iterator[Tensor]:
        """See `Family.outputs`."""
        model, dtype = blocks.model, blocks.dtype
        modulation = outer["time_embedding"](model.time_proj(timestep)).to(dtype)
        joint = outer["patch_embed"](prompt, latents.transpose(1, 2)).to(dtype)
        text, sample = joint.split([prompt.shape[1], joint.shape[1] - prompt.shape[1]], dim=1)
        for number in range(len(model.transformer_blocks)):
            sample, text = blocks[f"transformer_blocks.{number}"](sample, text, modulation)
            yield sample


FAMILIES: Mapping[str, type[Family]] = {
    "WanTransformer3DModel": Wan,
    "LTXVideoTransformer3DModel": LTXVideo,
    "CogVideoXTransformer3DModel": CogVideoX,
}
"""Class of the transformer, as its published config.json names it -> its family."""


def _arguments(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _without(model: nn.Module, *names: str) -> nn.Module:
    """The model without the parts of these names, whose weights are not needed."""
    for name in names:
        if isinstance(getattr(model, name), nn.Parameter):
            delattr(model, name)
        else:
            setattr(model, name, nn.Identity())
    return model
