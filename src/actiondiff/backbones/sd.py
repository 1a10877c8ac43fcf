"""Stable Diffusion 2.1, an image diffusion model, as a frozen backbone that sees each frame by itself.

Each frame's latents, scaled or noised as at timestep t of the model's own schedule, pass its U-Net with the
empty prompt. The taps `layer1` .. `layer13` correspond to SVD's (12 stages of the encoder half and the middle
block), so that the two can be compared layer by layer; `up0` .. `up3` are the decoder's blocks, numbered as
in DIFT.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.engine.windows import window_generator
from actiondiff.backbones.frozen import Build, Frozen, Parts, Weights, find_tensors
from actiondiff.backbones.options import StableDiffusionOptions
from actiondiff.backbones.svd.modules import build_vae_encoder
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey
from actiondiff.video.transforms import scale_and_resize

__all__ = ["StableDiffusion", "build_networks", "load", "signal_shares"]

_LATENT_SCALE = 0.18215  # the autoencoder's scaling factor, in the published configuration
_BETAS = (0.00085, 0.012)  # scaled-linear schedule of the published configuration, 1000 steps
_BEGIN, _END, _PAD, _PROMPT_LENGTH = 49406, 49407, 0, 77  # the empty prompt, as the model's tokenizer pads it
_TAPS = [*(f"layer{n}" for n in range(1, 14)), *(f"up{n}" for n in range(4))]
_VAE_CHUNK = 4  # frames encoded at a time, so that memory stays bounded


def signal_shares(num_steps: int) -> Tensor:
    """Share of the signal in the power at each timestep, noisiest first: (num_steps,) float32, in (0, 1).

    Timesteps are indices in the generative direction, as everywhere: index i is the published schedule's
    timestep num_steps - 1 - i (DIFT's 261 of 1000 is 738 here).
    """
    low, high = (beta**0.5 for beta in _BETAS)
    betas = torch.linspace(low, high, num_steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).flip(0).float()


class StableDiffusion(Frozen):
    """See `Backbone`. Build it with `load_backbone`.

    With `noise="forward"` latents are noised as in training, as DIFT does (with one draw, where DIFT averages
    several). Without noise they are only scaled as at that timestep, as SVD's are.
    """

    options: StableDiffusionOptions

    def __init__(
        self, spec: BackboneSpec, options: StableDiffusionOptions, weights: Weights, build: Build
    ) -> None:
        super().__init__(spec, options, _TAPS, weights)
        self._build = build
        self.unet = Parts(build["unet"](), "unet", weights, self.device, self._dtype)
        # float32 whatever the rest computes in, because its activations are large
        self._vae = Parts(build["vae"](), "vae", weights, self.device, torch.float32)

    @property
    def _random(self) -> bool:
        return super()._random or self.options.noise == "forward"

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1], the same pixels that SVD sees."""
        return scale_and_resize(pixels, self.options.height or 0, self.options.width or 0)

    @cached_property
    def _prompt(self) -> Tensor:
        """Tokens of the empty prompt: (1, 77, D)."""
        assert self._weights is not None
        parts = Parts(
            self._build["text_encoder"](), "text_encoder", self._weights, self.device, torch.float32
        )
        ids = torch.full((1, _PROMPT_LENGTH), _PAD, device=self.device)
        ids[0, :2] = torch.tensor([_BEGIN, _END])
        output: Tensor = parts[""](ids).last_hidden_state
        return output.to(self._dtype)

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled taps of a batch of windows, encoded once for all timesteps; see `Backbone.maps`."""
        shape = windows.pixels.shape[:2]
        frames = windows.pixels.to(self.device).flatten(0, 1)
        latents = torch.cat([self._vae[""](part)[0] for part in frames.split(_VAE_CHUNK)]) * _LATENT_SCALE
        noise = self._noise(windows, latents) if self.options.noise == "forward" else None
        outputs: dict[FeatureKey, Tensor] = {}
        for timestep in sorted({key.timestep for key in keys}):
            share = signal_shares(self.num_timesteps)[timestep].to(latents)
            sample = share.sqrt() * latents
            if noise is not None:
                sample = sample + (1 - share).sqrt() * noise
            taps = {key.layer for key in keys if key.timestep == timestep}
            for tap, value in self._pass(sample.to(self._dtype), timestep, taps).items():
                outputs[FeatureKey(timestep, tap)] = value.unflatten(0, shape)
        return outputs

    def _noise(self, windows: WindowBatch, latents: Tensor) -> Tensor:
        """Standard normal draws that depend on seed, video and first frame only: (B L, 4, h, w)."""
        shape = (windows.pixels.shape[1], *latents.shape[1:])
        draws = [
            torch.randn(shape, generator=window_generator(self.options.seed, identity, first, "forward"))
            for identity, first in zip(windows.identities, windows.first_frames, strict=True)
        ]
        return torch.cat(draws).to(latents)

    def _pass(self, sample: Tensor, timestep: int, taps: Collection[str]) -> dict[str, Tensor]:
        """One pass of the U-Net, no deeper than the deepest tap: tap -> (B L, C, h, w)."""
        outputs: dict[str, Tensor] = {}
        for tap, value in self._stages(sample, self.num_timesteps - 1 - timestep):
            if tap in taps:
                outputs[tap] = value
            if len(outputs) == len(taps):
                break
        return outputs

    def _stages(self, sample: Tensor, timestep: int) -> Iterator[tuple[str, Tensor]]:
        """The U-Net's stages in order; each is run, and its weights are read, when it is asked for."""
        parts = self.unet
        times = parts.model.time_proj(torch.full((len(sample),), timestep, device=self.device))
        embedding = parts["time_embedding"](times.to(self._dtype))
        prompt = self._prompt.expand(len(sample), -1, -1)
        sample = parts["conv_in"](sample)
        skips = [sample]
        yield "layer1", sample
        for names in _encoder_stages(parts.model):
            for part in names:
                sample = _apply(parts[part], part, sample, embedding, prompt)
            skips.append(sample)
            yield f"layer{len(skips)}", sample
        sample = parts["mid_block"](sample, embedding, encoder_hidden_states=prompt)
        yield f"layer{len(skips) + 1}", sample
        for number, block in enumerate(parts.model.up_blocks):
            count = len(block.resnets)
            residuals, skips = tuple(skips[-count:]), skips[:-count]
            attended = {"encoder_hidden_states": prompt} if hasattr(block, "attentions") else {}
            sample = parts[f"up_blocks.{number}"](
                sample,
                residuals,
                embedding,
                upsample_size=skips[-1].shape[-2:] if skips else None,
                **attended,
            )
            yield f"up{number}", sample


def _encoder_stages(unet: Any) -> list[list[str]]:
    """Names of the modules of stages 2 .. 12, in order."""
    stages = []
    for b, block in enumerate(unet.down_blocks):
        kinds = ["resnets", "attentions"] if hasattr(block, "attentions") else ["resnets"]
        stages += [[f"down_blocks.{b}.{kind}.{r}" for kind in kinds] for r in range(len(block.resnets))]
        if block.downsamplers is not None:
            stages.append([f"down_blocks.{b}.downsamplers.0"])
    return stages


def _apply(module: Any, name: str, sample: Tensor, embedding: Tensor, prompt: Tensor) -> Tensor:
    output: Tensor
    if "attentions" in name:
        output = module(sample, encoder_hidden_states=prompt, return_dict=False)[0]
    elif "resnets" in name:
        output = module(sample, embedding)
    else:
        output = module(sample)
    return output


def build_networks(architecture: Mapping[str, Mapping[str, Any]]) -> Build:
    """Functions that build U-Net, VAE encoder and text encoder on the meta device.

    Args:
        architecture: Arguments of `diffusers.UNet2DConditionModel`, of our `VaeEncoder` and of
            `transformers.CLIPTextConfig`.
    """

    def unet() -> nn.Module:
        with torch.device("meta"):
            return UNet2DConditionModel(**architecture["unet"])

    def text_encoder() -> nn.Module:
        with torch.device("meta"):
            model = CLIPTextModel(CLIPTextConfig(**architecture["text_encoder"]))
        model.embeddings.position_ids = torch.arange(model.config.max_position_embeddings)[None]
        return model

    return {
        "unet": unet,
        "vae": lambda: build_vae_encoder(architecture["vae"]),
        "text_encoder": text_encoder,
    }


def load(spec: BackboneSpec, options: StableDiffusionOptions, weights: str | Path | None) -> StableDiffusion:
    """Load Stable Diffusion 2.1 from a diffusers folder.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing or of another model.
    """
    options = resolve(spec, options)
    factor = 2 ** (len(spec.architecture["vae"]["block_out_channels"]) - 1)
    if (options.height or 0) % factor or (options.width or 0) % factor:
        raise UsageError(
            f"height and width must be multiples of {factor}; got {options.height}x{options.width}."
        )
    build = build_networks(spec.architecture)
    tensors = find_tensors(spec, options, weights, "stable_diffusion", build)
    return StableDiffusion(spec, options, tensors, build)
