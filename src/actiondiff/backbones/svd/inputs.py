"""From a window's pixels to what SVD's U-Net sees: latents, conditioning latents and embeddings.

Resizing, CLIP's blur and normalisation, random draws and the posterior are computed in float32, whatever the
networks compute in. Relative errors of half precision, measured on a real frame at 288 x 512:

    step                                          float16    bfloat16
    resizing                                      5e-4       5e-3
    CLIP's input                                  8e-4       8e-3
    CLIP's input, rounded once at the end         2e-4       2e-3
    embedding                                     3e-4       7e-3
    embedding, of an input rounded once           3e-5       2e-4

The VAE itself computes in float32
unless `vae_dtype` says otherwise, because its activations are large; `actiondiff weights check` tells what
given weights allow.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from actiondiff.backbones.base import WindowBatch
from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.backbones.engine.precision import float32_mode
from actiondiff.backbones.engine.windows import window_generator
from actiondiff.backbones.svd.fused import fits
from actiondiff.backbones.svd.modules import VaeEncoder, build_image_encoder, build_vae_encoder
from actiondiff.backbones.svd.options import SVDOptions
from actiondiff.backbones.svd.text import ActionTexts
from actiondiff.checkpoints.architecture import LATENT_SCALE, Config
from actiondiff.errors import UsageError, warn_once
from actiondiff.types import FeatureKey
from actiondiff.video.transforms import blur_and_resize, scale_and_resize

__all__ = [
    "FREE_TAPS",
    "LATENT_SCALE",
    "PIXEL_NOISE",
    "Encoded",
    "InputEncoder",
    "SVDWeights",
    "clip_input",
    "default_vae_chunk",
]

PIXEL_NOISE = 0.02  # cond_aug in the released configuration
FREE_TAPS = ("clip", "vae")
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # OpenCLIP's preprocessing constants
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_VAE_CHUNK_PIXELS = 4 * 576 * 1024  # pixels of the frames encoded at a time, so that memory stays bounded
_RESIZE_PIXELS = 2**25  # pixels of the frames resized at a time: one frame of 8K, 16 of full HD


class SVDWeights(Protocol):
    """What SVD needs of a checkpoint; files and random weights both provide it."""

    unet_config: Config
    clip_config: Any  # a configuration, or None in checkpoints without this component
    vae_config: Any

    @property
    def one_vae(self) -> bool: ...  # noqa: D102

    @property
    def latent_quant_conv(self) -> bool: ...  # noqa: D102

    @property
    def identity(self) -> str: ...  # noqa: D102

    def tensors(  # noqa: D102
        self, component: str, names: Collection[str] | None = None, *, dtype: torch.dtype | None = None
    ) -> Mapping[str, Tensor]: ...


_NEEDED = {"clip": frozenset({"embeddings"}), "vae": frozenset({"latents"})}  # by the taps that are no layers
_NEEDED_BY_LAYERS = frozenset({"latents", "conditioning", "spatial", "temporal"})


@dataclass(frozen=True)
class Encoded(EncodedWindows):
    """A batch of windows, encoded once for all timesteps; None where no requested feature needs the tensor.

    Attributes:
        latents: (B, L, 4, h, w) float32, scaled by 0.18215.
        conditioning: (B, L, 4, h, w) float32, unscaled; concatenated to the latents.
        spatial: (B, L, n, D) tokens for spatial cross-attention.
        temporal: (B, n, D) tokens for temporal cross-attention.
        embeddings: (B, L, D) float32, the frames' own image embeddings.
        noise: (B, L, 4, h, w) float32 standard normal draws for `noise="forward"`.
    """

    multiples: ClassVar[Mapping[str, tuple[str, float]]] = {"latents": ("conditioning", LATENT_SCALE)}

    latents: Tensor | None = None
    conditioning: Tensor | None = None
    spatial: Tensor | None = None
    temporal: Tensor | None = None
    embeddings: Tensor | None = None
    noise: Tensor | None = None

    @classmethod
    def needed_for(cls, keys: Collection[FeatureKey]) -> frozenset[str]:
        """Names of the tensors without which these features cannot be computed."""
        return frozenset().union(*(_NEEDED.get(key.layer, _NEEDED_BY_LAYERS) for key in keys))


class InputEncoder:
    """SVD's VAE encoder and image encoder, each loaded when it is first needed.

    Args:
        checkpoint: Source of their weights.
        options: Resolved options.
        texts: Names of actions, for `embedding="text"`.

    Attributes:
        encoded_again: Identity and first raw frame of the windows that float16 could not represent.
    """

    def __init__(self, checkpoint: SVDWeights, options: SVDOptions, texts: ActionTexts | None = None) -> None:
        self._checkpoint = checkpoint
        self._options = options
        self._texts = texts
        self._device = torch.device(options.device)
        self._dtype: torch.dtype = getattr(torch, options.dtype)
        self._repeats: dict[bool, VaeEncoder] = {}
        self.encoded_again: set[tuple[str, int]] = set()

    def _load(self, model: nn.Module, component: str, dtype: torch.dtype) -> None:
        tensors = self._checkpoint.tensors(component, list(model.state_dict()), dtype=dtype)
        moved = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        model.load_state_dict(moved, assign=True)
        model.to(self._device).requires_grad_(False).eval()
        if isinstance(model, VaeEncoder):
            model.fused = bool(self._options.fused) and fits(self._device, dtype)
        # Only the VAE is compiled: CLIP is a tenth of the work.
        if self._options.compile and isinstance(model, VaeEncoder):
            model.compile(dynamic=False)

    def _build_vae(self, *, quant_conv: bool) -> VaeEncoder:
        exact = self._options.exact_norm
        return build_vae_encoder(self._checkpoint.vae_config, quant_conv=quant_conv, exact_norm=exact)

    @cached_property
    def image_encoder(self) -> nn.Module:
        """CLIP's image encoder with its projection."""
        model = build_image_encoder(self._checkpoint.clip_config)
        self._load(model, "image_encoder", self._dtype)
        return model

    @cached_property
    def vae(self) -> VaeEncoder:
        """The encoder of the conditioning latents, with its quantisation convolution."""
        model = self._build_vae(quant_conv=True)
        self._load(model, "vae", self._vae_dtype)
        return model

    @cached_property
    def latent_vae(self) -> VaeEncoder:
        """The encoder of the latents z: the same one, unless the checkpoint holds two that differ."""
        if self._checkpoint.one_vae:
            return self.vae
        model = self._build_vae(quant_conv=self._checkpoint.latent_quant_conv)
        self._load(model, "latent_encoder", self._vae_dtype)
        return model

    @property
    def _vae_dtype(self) -> torch.dtype:
        name = (self._options.vae_dtype or "float32").removeprefix("auto-")
        dtype: torch.dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        return dtype

    def _in_float32(self, vae: VaeEncoder) -> VaeEncoder:
        """The same encoder in float32, for windows that half precision cannot represent."""
        latent = vae is not self.vae
        if latent not in self._repeats:
            quant_conv = not latent or self._checkpoint.latent_quant_conv
            model = self._build_vae(quant_conv=quant_conv)
            self._load(model, "latent_encoder" if latent else "vae", torch.float32)
            self._repeats[latent] = model
        return self._repeats[latent]

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1], on the device.

        Frames are moved to a GPU as bytes, from pinned memory and without waiting, and are resized there, a
        few at a time, so that large frames need little memory.
        """
        height, width = int(self._options.height or 0), int(self._options.width or 0)
        parts = pixels.split(max(1, _RESIZE_PIXELS // (pixels.shape[1] * pixels.shape[2])))
        return torch.cat([scale_and_resize(_moved(part, self._device), height, width) for part in parts])

    def encode(
        self,
        windows: WindowBatch,
        keys: Sequence[FeatureKey] | None = None,
        *,
        pixel_noise: Tensor | None = None,
        posterior_noise: Tensor | None = None,
    ) -> Encoded:
        """See `SVD.encode`."""
        # Decide which of the networks these features need.
        taps = None if keys is None else {key.layer for key in keys}
        pixels = windows.pixels.to(self._device)
        run_unet = taps is None or bool(taps - set(FREE_TAPS))
        embeddings = self._embed(pixels) if self._embeds_all(taps, run_unet) else None
        # Latents are the posterior's mean, or a draw from it.
        latents = mean = None
        if run_unet or (taps and "vae" in taps):
            mean, log_variance = self._posterior(self.latent_vae, windows, pixels)
            if self._options.stochastic and posterior_noise is None:
                posterior_noise = self._draw(windows, "posterior", mean.shape[1:])
            latents = mean
            if posterior_noise is not None:
                latents = mean + (log_variance / 2).exp() * posterior_noise.to(mean)
            latents = LATENT_SCALE * latents
        if not run_unet:
            return Encoded(latents=latents, embeddings=embeddings)
        # All else is the U-Net's: conditioning latents, cross-attention's tokens, noise.
        assert mean is not None
        forward = self._options.noise == "forward"
        return Encoded(
            latents=latents,
            conditioning=self._condition(windows, pixels, pixel_noise, mean),
            embeddings=embeddings,
            noise=self._draw(windows, "forward", mean.shape[1:]) if forward else None,
            **self._tokens(windows, pixels, embeddings),
        )

    def _embeds_all(self, taps: Collection[str] | None, run_unet: bool) -> bool:
        """Whether every frame passes the image encoder."""
        return taps is None or "clip" in taps or (run_unet and self._options.embedding == "own")

    def _posterior(self, vae: VaeEncoder, windows: WindowBatch, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, 3, H, W) -> mean and log-variance, each (B, L, 4, h, w) float32.

        Raises:
            UsageError: If they are not finite in half precision.
        """
        # Channels last, as in the released code: on a CPU the layout decides how GroupNorm rounds, most of
        # all where a group hardly varies (see `group_norm.py`), so that it has to be the same always.
        means, log_variances = self._moments(vae, pixels, self._vae_dtype)
        automatic = self._options.vae_dtype == "auto-float16"
        if self._vae_dtype != torch.float32 and not bool(means.isfinite().all()):
            if automatic:
                return self._repeated(vae, windows, pixels, means, log_variances)
            raise UsageError(
                f"the VAE's latents are not finite in {self._options.vae_dtype}. Use vae_dtype float32 "
                "(--vae-dtype float32) with these weights; `actiondiff weights check` compares them."
            )
        return means.unflatten(0, pixels.shape[:2]), log_variances.unflatten(0, pixels.shape[:2])

    def _moments(self, vae: VaeEncoder, pixels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(B, L, 3, H, W) -> mean and log-variance, each (B L, 4, h, w) float32."""
        frames = pixels.flatten(0, 1).to(dtype, memory_format=torch.channels_last)
        with float32_mode(tf32=self._options.vae_dtype in ("tf32", "auto-float16")):
            parts = [vae(part) for part in frames.split(int(self._options.vae_chunk or 1))]
        means, log_variances = (torch.cat(half).float().contiguous() for half in zip(*parts, strict=True))
        return means, log_variances

    def _repeated(
        self, vae: VaeEncoder, windows: WindowBatch, pixels: Tensor, means: Tensor, log_variances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode those windows again, in TF32, that are not finite in float16."""
        means, log_variances = (part.unflatten(0, pixels.shape[:2]) for part in (means, log_variances))
        for window, finite in enumerate(means.isfinite().flatten(1).all(1).tolist()):
            if not finite:
                again = self._moments(self._in_float32(vae), pixels[window : window + 1], torch.float32)
                means[window], log_variances[window] = again
                self.encoded_again.add((windows.identities[window], windows.first_frames[window]))
                warn_once(
                    f"1 window was encoded again in tf32, because it is not finite in float16: it begins at "
                    f"frame {windows.first_frames[window]} of the video {windows.identities[window][:12]}"
                )
        return means, log_variances

    def _condition(self, windows: WindowBatch, pixels: Tensor, noise: Tensor | None, mean: Tensor) -> Tensor:
        """Conditioning latents; the VAE runs again only if their pixels or their VAE differ."""
        if self._options.latents == "zero":
            return torch.zeros_like(mean)
        if self._options.stochastic and noise is None:
            noise = self._draw(windows, "pixel", pixels.shape[1:])
        if noise is None and self._checkpoint.one_vae:
            chosen = mean
            if self._options.latents == "middle":
                chosen = _middle(mean, windows.num_real)
        else:
            seen = pixels if noise is None else pixels + PIXEL_NOISE * noise.to(pixels)
            if self._options.latents == "middle":
                seen = _middle(seen, windows.num_real)
            chosen = self._posterior(self.vae, windows, seen)[0]
        return chosen.expand_as(mean)

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, L, 3, H, W) -> the frames' projected CLIP class tokens, not normalised: (B, L, D)."""
        side = self._checkpoint.clip_config["image_size"]
        with float32_mode():
            prepared = clip_input(pixels.flatten(0, 1), side).to(self._dtype)
            embeddings: Tensor = self.image_encoder(pixel_values=prepared).image_embeds.float()
        return embeddings.unflatten(0, pixels.shape[:2])

    def _tokens(self, windows: WindowBatch, pixels: Tensor, embeddings: Tensor | None) -> dict[str, Tensor]:
        """Cross-attention's tokens by option: spatial (B, L, n, D), temporal (B, n, D).

        Where all frames share the embedding of one frame, that frame passes CLIP alone, even if all frames
        pass it too for the tap `clip`: so a token has the same bits whatever else is asked for.
        """
        B, L = pixels.shape[:2]
        match self._options.embedding:
            case "own":
                assert embeddings is not None
                # Contiguous, as after reading it from disk, because strides decide how products round.
                return {"spatial": embeddings[:, :, None], "temporal": embeddings[:, :1].contiguous()}
            case "middle":
                shared = self._embed(_middle(pixels, windows.num_real))
            case "first":
                shared = self._embed(pixels[:, :1])
            case "text":
                assert self._texts is not None
                shared = self._texts.embeddings.to(self._device).expand(B, -1, -1)
            case _:
                width = self._checkpoint.unet_config["cross_attention_dim"]
                shared = torch.zeros(B, 1, width, device=self._device)
        return {"spatial": shared[:, None].expand(-1, L, -1, -1), "temporal": shared}

    def _draw(self, windows: WindowBatch, purpose: str, shape: torch.Size) -> Tensor:
        """Standard normal draws (B, *shape) that depend on seed, video, first frame and purpose only."""
        draws = [
            torch.randn(shape, generator=window_generator(self._options.seed, identity, first, purpose))
            for identity, first in zip(windows.identities, windows.first_frames, strict=True)
        ]
        return _moved(torch.stack(draws), self._device)


def clip_input(frames: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> input of CLIP's image encoder: (N, 3, side, side), normalised."""
    pixels = (blur_and_resize(frames, side) + 1) / 2
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    return (pixels - mean) / std


def default_vae_chunk(height: int, width: int) -> int:
    """Default number of frames that pass the VAE together: 4 at 576 x 1024."""
    return max(1, _VAE_CHUNK_PIXELS // (height * width))


def _middle(values: Tensor, num_real: Sequence[int]) -> Tensor:
    """(B, L, ...) -> the middle real frame's value of each window, index floor(n / 2): (B, 1, ...)."""
    return torch.stack([window[n // 2] for window, n in zip(values, num_real, strict=True)])[:, None]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; it is moved to a GPU from pinned memory, without waiting."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
