"""A backbone of one's own: LTX-Video, a video diffusion *transformer*, with diffusers' own modules.

It is the example of docs/extend.md, and its test runs the checks that every backbone must pass. The
architecture below is a small one with random weights; for the published model give the folder that diffusers
loads as `weights`, and a size and window that suit it (multiples of 32 pixels and of 8 frames).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from pydantic import Field
from torch import Tensor, nn

from actiondiff.backbones.base import KINDS, PLUGIN_SPECS, BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import Frozen
from actiondiff.backbones.options import OPTIONS, FitOptions
from actiondiff.backbones.random_weights import RandomTensors
from actiondiff.checkpoints.identity import Digest
from actiondiff.types import FeatureKey

SPEC = BackboneSpec(
    name="ltx-small",
    kind="ltx",
    title="LTX-Video's architecture, small, with random weights unless a folder is given",
    weights="random",
    num_timesteps=30,
    timestep=20,
    layer="layer2",
    defaults={"height": 32, "width": 48, "window": 4, "padding": "repeat", "batch": 2, "fit": "squash"},
    architecture={
        "vae": {
            "latent_channels": 8, "block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
            "down_block_types": ["LTXVideoDownBlock3D"] * 2, "layers_per_block": [1, 1, 1],
            "decoder_layers_per_block": [1, 1, 1], "spatio_temporal_scaling": [True, False],
            "decoder_spatio_temporal_scaling": [True, False], "decoder_inject_noise": [False] * 3,
            "downsample_type": ["conv"] * 2, "upsample_residual": [False] * 2, "upsample_factor": [1, 1],
        },
        "transformer": {
            "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 16,
            "cross_attention_dim": 32, "num_layers": 3, "caption_channels": 16,
        },
    },
)  # fmt: skip


class LTXOptions(FitOptions):
    """Options that all backbones have, `fit`, and one of its own."""

    caption_length: int = Field(1, ge=1, description="Number of tokens of the empty caption.")


class LTX(Frozen):
    """Blocks of the transformer as taps `layer1`, `layer2` ...; one token covers as many frames as a latent.

    The network sees clean latents, the timestep and an empty caption.
    """

    options: LTXOptions

    def __init__(
        self, spec: BackboneSpec, options: LTXOptions, vae: Any, transformer: Any, weights: Any
    ) -> None:
        blocks = transformer.transformer_blocks
        taps = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        super().__init__(spec, options, taps, weights, tubelet=vae.temporal_compression_ratio)
        self._vae = vae.to(self.device, self._dtype).eval().requires_grad_(False)
        self._transformer = transformer.to(self.device, self._dtype).eval().requires_grad_(False)
        self._blocks = blocks

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Each (B, S, C, h, w), S = L / tubelet; see `Backbone.maps`."""
        latents = self._encode(windows.pixels.to(self.device, self._dtype))  # (B, c, 1 + S, h, w)
        maps = {}
        for timestep in sorted({key.timestep for key in keys}):
            layers = [key.layer for key in keys if key.timestep == timestep]
            for layer, values in self._run(latents, timestep, layers).items():
                maps[FeatureKey(timestep, layer)] = values
        return maps

    def _encode(self, pixels: Tensor) -> Tensor:
        """(B, L, 3, H, W) -> (B, c, 1 + S, h, w). The first frame is doubled: one latent covers it."""
        video = torch.cat([pixels[:, :1], pixels], dim=1).transpose(1, 2)  # (B, 3, 1 + L, H, W)
        vae = self._vae
        mean: Tensor = vae.encode(video).latent_dist.mean
        shape = (1, -1, 1, 1, 1)
        shift, scale = vae.latents_mean.view(shape), vae.latents_std.view(shape)
        return (mean - shift) * vae.config.scaling_factor / scale

    def _run(self, latents: Tensor, timestep: int, layers: Sequence[str]) -> dict[str, Tensor]:
        """Layer -> (B, S, C, h, w); blocks after the deepest requested one are not run."""
        B, _, steps, h, w = latents.shape
        numbers = [int(layer.removeprefix("layer")) for layer in layers]
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda block, inputs, output: seen.__setitem__(name, output)

        hooks = [self._blocks[number - 1].register_forward_hook(keep(f"layer{number}")) for number in numbers]
        self._transformer.transformer_blocks = self._blocks[: max(numbers)]
        noise_level = 1000 * (1 - timestep / self.num_timesteps)  # 1000 is pure noise
        length = self.options.caption_length
        caption = latents.new_zeros(B, length, self._transformer.config.caption_channels)
        try:
            self._transformer(
                latents.flatten(2).transpose(1, 2),  # (B, (1 + S) h w, c)
                caption,
                latents.new_full((B,), noise_level),
                latents.new_ones(B, length),
                num_frames=steps, height=h, width=w,
            )  # fmt: skip
        finally:
            self._transformer.transformer_blocks = self._blocks
            for hook in hooks:
                hook.remove()
        return {
            name: values.unflatten(1, (steps, h, w)).permute(0, 1, 4, 2, 3)[:, 1:]  # without the leading copy
            for name, values in seen.items()
        }


def load(spec: BackboneSpec, options: LTXOptions, weights: str | Path | None) -> LTX:
    """Build the backbone with random weights from the seed, or from the folder that diffusers loads."""
    options = resolve(spec, options)
    if weights is not None:
        vae = AutoencoderKLLTXVideo.from_pretrained(weights, subfolder="vae")
        transformer = LTXVideoTransformer3DModel.from_pretrained(weights, subfolder="transformer")
        return LTX(spec, options, vae, transformer, _Opened({"vae": vae, "transformer": transformer}))
    vae = AutoencoderKLLTXVideo.from_config(spec.architecture["vae"])
    transformer = LTXVideoTransformer3DModel.from_config(spec.architecture["transformer"])
    build = {"vae": lambda: vae, "transformer": lambda: transformer}
    drawn = RandomTensors(build, spec.architecture, options.seed)
    for name, module in (("vae", vae), ("transformer", transformer)):
        module.load_state_dict(drawn.tensors(name))
    return LTX(spec, options, vae, transformer, drawn)


class _Opened:
    """Weights that were read already; features need their identity only."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        digest = Digest()
        for component, module in modules.items():
            for name, tensor in module.state_dict().items():
                digest.add(f"{component}.{name}", tensor)
        self.identity = digest.hexdigest()


# In your own package entry points do this: see docs/extend.md.
KINDS.register("ltx", "ltx_backbone:load")
OPTIONS.register("ltx", "ltx_backbone:LTXOptions")
PLUGIN_SPECS.register("ltx-small", "ltx_backbone:SPEC")
