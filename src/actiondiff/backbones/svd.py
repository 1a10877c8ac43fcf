"""Stable Video Diffusion as a frozen backbone.

A window of frames becomes latents z (VAE), conditioning latents y (VAE) and image embeddings e (CLIP); the
U-Net's encoder half sees [c_in z, y], the noise level and e, and its layers' outputs are the features.
Nothing is noised by default: the timestep enters through c_in and the time embedding only.

Source: the released code of arXiv 2509.08908, whose random draws are set to their mean unless
`stochastic=True`; every other choice is a field of `BackboneOptions`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from actiondiff.backbones.base import (
    BackboneOptions,
    BackboneSpec,
    WindowBatch,
    check_options,
    resolve,
)
from actiondiff.backbones.modules import VaeEncoder, build_image_encoder, build_vae_encoder
from actiondiff.backbones.random_weights import RandomCheckpoint
from actiondiff.backbones.run import extract, window_generator
from actiondiff.backbones.schedule import input_scale, noise_condition, sigmas
from actiondiff.backbones.taps import NUM_LAYERS, Context, Encoder
from actiondiff.checkpoints.locate import VARIABLE, find_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.errors import UsageError, WeightsError
from actiondiff.types import JSON, FeatureKey, Features, Frames
from actiondiff.video.transforms import blur_and_resize, scale_and_resize

__all__ = ["ADDED", "LATENT_SCALE", "SVD", "Encoded", "clip_input", "load"]

LATENT_SCALE = 0.18215  # the autoencoder's scaling factor, in the released configuration
_PIXEL_NOISE = 0.02  # cond_aug of the released configuration
ADDED = (6.0, 127.0, _PIXEL_NOISE)  # fps_id, motion_bucket_id, cond_aug as embedded by the released code
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # OpenCLIP's preprocessing constants
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_VAE_CHUNK_PIXELS = 4 * 576 * 1024  # frames encoded at a time, so that memory stays bounded
_FREE_TAPS = ("clip", "vae")
_BUILT_IN = Path(__file__).parent / "builtin"  # weights that come with the package, in folders
_OTHERS_OPTIONS = {"fit", "tokens"}  # of video transformers
_SHORTHAND = {
    "per-frame": ("own", "own"),
    "middle-frame": ("middle", "own"),
    "none": ("none", "zero"),
}


class _Checkpoint(Protocol):
    """What is needed of a checkpoint; files and random weights both have it."""

    unet_config: dict[str, Any]
    clip_config: Any
    vae_config: Any

    @property
    def one_vae(self) -> bool: ...

    @property
    def identity(self) -> str: ...

    def tensors(
        self, component: str, names: Collection[str] | None = None, *, dtype: torch.dtype | None = None
    ) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class Encoded:
    """A batch of windows, encoded once for all timesteps.

    Attributes:
        latents: (B, L, 4, h, w) float32, scaled by 0.18215.
        conditioning: (B, L, 4, h, w) float32, unscaled; concatenated to the latents.
        spatial: (B, L, n, D) tokens for spatial cross-attention.
        temporal: (B, n, D) tokens for temporal cross-attention.
        embeddings: (B, L, D) float32, the frames' own image embeddings.
        noise: (B, L, 4, h, w) float32 standard normal draws for `noise="forward"`, else None.
    """

    latents: Tensor
    conditioning: Tensor
    spatial: Tensor
    temporal: Tensor
    embeddings: Tensor
    noise: Tensor | None = None


class SVD:
    """See `Backbone`. Build it with `load_backbone`."""

    tubelet = 1

    def __init__(self, spec: BackboneSpec, options: BackboneOptions, checkpoint: _Checkpoint) -> None:
        self.spec = spec
        self.options = options
        self.num_timesteps = int(options.num_steps or spec.num_timesteps)
        self.taps = tuple(f"layer{n}" for n in range(1, NUM_LAYERS + 1)) + _FREE_TAPS
        self._checkpoint = checkpoint
        self.device = torch.device(options.device)
        self._dtype: torch.dtype = getattr(torch, options.dtype)
        if checkpoint.vae_config is None or checkpoint.clip_config is None:
            raise WeightsError(
                f"the weights for {spec.name} hold a U-Net without VAE or image encoder; features need all "
                "three. Give the complete original file or a complete folder."
            )
        factor = 2 ** (len(checkpoint.vae_config["block_out_channels"]) - 1)
        if options.height % factor or options.width % factor:
            raise UsageError(
                f"height and width must be multiples of {factor}; got {options.height}x{options.width}."
            )

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that makes a number; see `Backbone.settings`."""
        ignored = {"device", "conditioning", "unet_head_dim", "clip_head_dim"} | (
            {"seed"} if not self._random else set()
        )
        chosen: dict[str, JSON] = self.options.model_dump(exclude=ignored, exclude_none=True)
        return {"name": self.spec.name, "weights": self._checkpoint.identity, **chosen}

    @property
    def _random(self) -> bool:
        drawn = isinstance(self._checkpoint, RandomCheckpoint)
        return drawn or self.options.stochastic or self.options.noise == "forward"

    # -- the networks, each loaded when it is first needed ---------------------------------------------

    def _read(self, component: str, names: Collection[str], dtype: torch.dtype) -> dict[str, Tensor]:
        tensors = self._checkpoint.tensors(component, names, dtype=dtype)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    @cached_property
    def encoder(self) -> Encoder:
        """The U-Net's encoder half; its stages are loaded as deep as they are asked for."""
        return Encoder(self._checkpoint.unet_config, lambda names: self._read("unet", names, self._dtype))

    @cached_property
    def _image_encoder(self) -> torch.nn.Module:
        model = build_image_encoder(self._checkpoint.clip_config)
        model.load_state_dict(self._read("image_encoder", list(model.state_dict()), self._dtype), assign=True)
        return model.to(self.device).requires_grad_(False).eval()

    def _vae(self, component: str, *, quant_conv: bool) -> VaeEncoder:
        model = build_vae_encoder(self._checkpoint.vae_config, quant_conv=quant_conv)
        # float32 whatever the rest computes in, as released: its activations are large
        model.load_state_dict(self._read(component, list(model.state_dict()), torch.float32), assign=True)
        return model.requires_grad_(False).eval()

    @cached_property
    def vae(self) -> VaeEncoder:
        """The encoder of the conditioning latents, with its quantisation convolution."""
        return self._vae("vae", quant_conv=True)

    @cached_property
    def _latent_vae(self) -> VaeEncoder:
        """The encoder of z: the same one, unless the checkpoint holds two that differ."""
        return self.vae if self._checkpoint.one_vae else self._vae("latent_encoder", quant_conv=False)

    # -- encoding --------------------------------------------------------------------------------------

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1]."""
        return scale_and_resize(pixels, int(self.options.height or 0), int(self.options.width or 0))

    def encode(
        self,
        windows: WindowBatch,
        *,
        pixel_noise: Tensor | None = None,
        posterior_noise: Tensor | None = None,
    ) -> Encoded:
        """Latents, conditioning latents and embeddings of a batch of windows.

        Args:
            windows: The frames.
            pixel_noise: (B, L, 3, H, W) standard normal draws added, times 0.02, to the frames that are
                encoded for conditioning. None: drawn if `stochastic`, else no noise.
            posterior_noise: (B, L, 4, h, w) standard normal draws of the latents' posterior. None: drawn if
                `stochastic`, else the posterior's mean.
        """
        pixels = windows.pixels.to(self.device)
        if self.options.stochastic and pixel_noise is None:
            pixel_noise = self._draw(windows, "pixel", pixels.shape[1:])
        mean, log_variance = self._posterior(self._latent_vae, pixels)
        if self.options.stochastic and posterior_noise is None:
            posterior_noise = self._draw(windows, "posterior", mean.shape[1:])
        latents = (
            mean if posterior_noise is None else mean + (log_variance / 2).exp() * posterior_noise.to(mean)
        )
        return Encoded(
            latents=LATENT_SCALE * latents,
            conditioning=self._condition(windows, pixels, pixel_noise, mean),
            embeddings=(embeddings := self._embed(pixels)),
            noise=self._draw(windows, "forward", mean.shape[1:]) if self.options.noise == "forward" else None,
            **self._tokens(embeddings, windows.num_real),
        )

    def _posterior(self, vae: VaeEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, 3, H, W) -> mean and log-variance, each (B, L, 4, h, w) float32."""
        # Channels last, as the released code's frames are: on a CPU that decides how GroupNorm rounds where a
        # group hardly varies (black frames, one channel a group). Always the same layout, so the same bits.
        frames = pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        chunk = max(1, _VAE_CHUNK_PIXELS // (frames.shape[-1] * frames.shape[-2]))
        parts = [vae(part) for part in frames.split(chunk)]
        means, log_variances = (torch.cat(half).contiguous() for half in zip(*parts, strict=True))
        return means.unflatten(0, pixels.shape[:2]), log_variances.unflatten(0, pixels.shape[:2])

    def _condition(self, windows: WindowBatch, pixels: Tensor, noise: Tensor | None, mean: Tensor) -> Tensor:
        if self.options.latents == "zero":
            return torch.zeros_like(mean)
        if noise is not None:
            mean = self._posterior(self.vae, pixels + _PIXEL_NOISE * noise.to(pixels))[0]
        elif not self._checkpoint.one_vae:
            mean = self._posterior(self.vae, pixels)[0]
        if self.options.latents == "middle":
            return _middle(mean, windows.num_real)[:, None].expand_as(mean)
        return mean

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, L, 3, H, W) -> the frames' projected CLIP class tokens, not normalised: (B, L, D)."""
        side = self._checkpoint.clip_config["image_size"]
        output = self._image_encoder(pixel_values=clip_input(pixels.flatten(0, 1), side).to(self._dtype))
        embeddings: Tensor = output.image_embeds.float()
        return embeddings.unflatten(0, pixels.shape[:2])

    def _tokens(self, embeddings: Tensor, num_real: Sequence[int]) -> dict[str, Tensor]:
        """Cross-attention's tokens by option: spatial (B, L, 1, D), temporal (B, 1, D)."""
        first = embeddings[:, 0]
        match self.options.embedding:
            case "own":
                return {"spatial": embeddings[:, :, None], "temporal": first[:, None]}
            case "middle":
                first = _middle(embeddings, num_real)
            case "none":
                first = torch.zeros_like(first)
        return {
            "spatial": first[:, None, None].expand(-1, embeddings.shape[1], -1, -1),
            "temporal": first[:, None],
        }

    def _draw(self, windows: WindowBatch, purpose: str, shape: torch.Size) -> Tensor:
        """Standard normal draws, (B, *shape), that depend on nothing but seed, video, place and purpose."""
        draws = [
            torch.randn(shape, generator=window_generator(self.options.seed, identity, first, purpose))
            for identity, first in zip(windows.identities, windows.first_frames, strict=True)
        ]
        return torch.stack(draws).to(self.device)

    # -- the U-Net -------------------------------------------------------------------------------------

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled layers of a batch of windows; see `Backbone.maps`."""
        return self.unet_maps(self.encode(windows), keys)

    @torch.inference_mode()
    def unet_maps(self, encoded: Encoded, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Layers of windows that are encoded already; one U-Net pass a timestep.

        Returns:
            Key -> (B, L, C, h, w). The taps `vae` (the unscaled posterior mean's latents) and `clip`
            (h = w = 1) are the same at every timestep.
        """
        L = encoded.latents.shape[1]
        context = Context(
            encoded.spatial.flatten(0, 1).to(self._dtype),
            encoded.temporal.to(self._dtype),
            L,
            self.options.temporal,
        )
        free = {"vae": encoded.latents / LATENT_SCALE, "clip": encoded.embeddings[..., None, None]}
        outputs: dict[FeatureKey, Tensor] = {}
        for timestep in sorted({key.timestep for key in keys}):
            taps = {key.layer for key in keys if key.timestep == timestep}
            outputs |= {FeatureKey(timestep, tap): free[tap] for tap in taps & free.keys()}
            layers = {int(tap.removeprefix("layer")) for tap in taps - free.keys()}
            for layer, sample in self._pass(encoded, timestep, context, layers).items() if layers else ():
                outputs[FeatureKey.of(timestep, layer)] = sample.unflatten(0, (-1, L))
        return outputs

    def _pass(
        self, encoded: Encoded, timestep: int, context: Context, layers: Collection[int]
    ) -> dict[int, Tensor]:
        """One pass of the encoder: layer -> (B L, C, h, w)."""
        table = sigmas(self.num_timesteps)
        scale_at = timestep if self.options.sigma_scale is None else self.options.sigma_scale
        embed_at = timestep if self.options.sigma_embed is None else self.options.sigma_embed
        latents = encoded.latents
        if encoded.noise is not None:
            latents = latents + table[timestep].to(latents) * encoded.noise
        scaled = latents * input_scale(table[scale_at]).to(latents)
        sample = torch.cat([scaled, encoded.conditioning], dim=2).flatten(0, 1).to(self._dtype)
        embedding = self.encoder.embed(noise_condition(table[embed_at]), torch.tensor(ADDED))
        outputs: dict[int, Tensor] = self.encoder(sample, embedding, context, layers)
        return outputs

    def extract(
        self,
        frames: Frames,
        *,
        timesteps: Sequence[int] | None = None,
        layers: Sequence[int | str] | None = None,
        maps: bool = False,
    ) -> Features:
        """Features of one video's frames; see `Backbone.extract`."""
        return extract(self, frames, timesteps=timesteps, layers=layers, maps=maps)


def clip_input(frames: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> what CLIP's image encoder takes: (N, 3, side, side), normalised."""
    pixels = (blur_and_resize(frames, side) + 1) / 2
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    return (pixels - mean) / std


def _middle(values: Tensor, num_real: Sequence[int]) -> Tensor:
    """(B, L, ...) -> the middle real frame's value of each window, index floor(n / 2): (B, ...)."""
    return torch.stack([window[n // 2] for window, n in zip(values, num_real, strict=True)])


def load(spec: BackboneSpec, options: BackboneOptions, weights: str | Path | None) -> SVD:
    """An SVD backbone from a checkpoint, or with seeded random weights where the spec has none.

    Raises:
        WeightsError: If the backbone needs weights and none are given, or they do not fit.
    """
    check_options(spec, options, BackboneOptions.model_fields.keys() - _OTHERS_OPTIONS)
    options = _conditioned(options)
    if spec.weights == "random":
        return SVD(spec, resolve(spec, options), RandomCheckpoint(spec.architecture, options.seed))
    weights = weights or (_BUILT_IN / spec.name if spec.weights == "built-in" else find_weights(spec.name))
    if weights is None:
        raise WeightsError(
            f"{spec.name} needs weights: give weights= (--weights) the path of the published file, such as "
            f"{spec.name.replace('-', '_')}.safetensors, of a converted or diffusers folder, or a hub id; or "
            f"name a folder that holds them in {VARIABLE}. The backbone 'tiny' needs none."
        )
    checkpoint = open_checkpoint(
        str(weights), unet_head_dim=options.unet_head_dim, clip_head_dim=options.clip_head_dim
    )
    return SVD(spec, resolve(spec, options), checkpoint)


def _conditioned(options: BackboneOptions) -> BackboneOptions:
    """Replace the shorthand `conditioning` by the two options it stands for."""
    if options.conditioning is None:
        return options
    if options.embedding or options.latents:
        raise UsageError("give either conditioning or embedding and latents; got both.")
    embedding, latents = _SHORTHAND[options.conditioning]
    return options.model_copy(update={"embedding": embedding, "latents": latents, "conditioning": None})
