"""A video diffusion transformer as a frozen backbone whose taps are the outputs of its blocks.

A window of L frames, with a copy of its first frame in front, becomes 1 + L / tubelet latents. The
autoencoder compresses tubelet frames into one latent, except that its first latent covers a single frame:
that is the copy's, whose outputs are dropped. So each token covers tubelet frames of the video, and has the
time of the first of them.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.dit.models import FAMILIES, Family
from actiondiff.backbones.dit.prompt import EmptyPrompt, drawn_prompt, open_prompt
from actiondiff.backbones.dit.published import check_scheduler, folder_of
from actiondiff.backbones.dit.schedule import noise_levels
from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.backbones.engine.precision import autoencoder_arithmetic, float32_mode
from actiondiff.backbones.engine.windows import window_generator
from actiondiff.backbones.frozen import Frozen, Parts, Weights, find_tensors
from actiondiff.backbones.options import DiTOptions
from actiondiff.backbones.random_weights import RandomTensors
from actiondiff.errors import UsageError
from actiondiff.types import JSON, FeatureKey

__all__ = ["EncodedLatents", "VideoDiT", "load"]


@dataclass(frozen=True)
class EncodedLatents(EncodedWindows):
    """A batch of windows after the autoencoder.

    Attributes:
        latents: (B, c, 1 + S, h, w) float32, scaled as the transformer takes them; the first is the copy's.
        noise: (B, c, 1 + S, h, w) float32 standard normal draws; None without noise.
    """

    latents: Tensor | None = None
    noise: Tensor | None = None

    @classmethod
    def needed_for(cls, keys: Collection[FeatureKey]) -> frozenset[str]:
        """See `EncodedWindows.needed_for`."""
        return frozenset({"latents"})


class VideoDiT(Frozen):
    """See `Backbone`. Build it with `load_backbone`.

    Without noise, latents are only scaled as at the timestep, which is the mean of the forward process; with
    `noise="forward"` they are noised as in training.
    """

    options: DiTOptions
    encoded_type: type[EncodedWindows] = EncodedLatents

    def __init__(
        self, spec: BackboneSpec, options: DiTOptions, family: Family, weights: Weights, prompt: EmptyPrompt
    ) -> None:
        model = family.transformer()
        depth = int(spec.architecture["transformer"]["num_layers"])
        taps = [f"layer{number}" for number in range(1, depth + 1)]
        super().__init__(spec, options, taps, weights, tubelet=family.tubelet)
        self._family, self._all_weights = family, weights
        self._prompt = prompt.values.to(self.device)
        self._prompt_identity = prompt.identity
        self._levels = noise_levels(spec.architecture["scheduler"])
        self.blocks = Parts(model, "transformer", weights, self.device, self._dtype)
        # Few operations, whose errors every block would inherit; the autoencoder has large activations.
        self._outer = Parts(model, "transformer", weights, self.device, torch.float32)
        self._vae_dtype = _half_or_float32(options.vae_dtype or "float32")
        self._vae = Parts(
            family.vae(), "vae", weights, self.device, self._vae_dtype, in_float32=family.statistics
        )
        self._exact_vae: Parts | None = None  # for windows that half precision cannot hold
        self._encoded_again: set[tuple[str, int]] = set()

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that the features depend on; of the text encoder its identity, not its path."""
        settings = super().settings
        settings.pop("text_weights", None)
        # Settings are as before there was a choice, where it is as it was.
        if settings["vae_dtype"] == "float32":
            del settings["vae_dtype"]
        if self.options.frame_rate == type(self._family).frame_rate:
            settings.pop("frame_rate", None)
        if not isinstance(self._weights, RandomTensors):
            settings["text_weights"] = self._prompt_identity
        return settings

    def num_parameters(self, layer: str) -> tuple[int, int]:
        """Numbers of parameters of the transformer up to a layer, and of the autoencoder's encoder."""
        deepest = self.taps.index(layer)
        count = 0
        for name, tensor in self.blocks.model.state_dict().items():
            block = re.match(r"(?:transformer_)?blocks\.(\d+)\.", name)
            if block is None or int(block[1]) <= deepest:
                count += tensor.numel()
        return count, sum(tensor.numel() for tensor in self._vae.model.state_dict().values())

    @property
    def _random(self) -> bool:
        return super()._random or self.options.noise == "forward"

    @torch.inference_mode()
    def encode(self, windows: WindowBatch, keys: Sequence[FeatureKey] | None = None) -> EncodedLatents:
        """Latents of a batch of windows, one window at a time, so that memory stays bounded."""
        pixels = windows.pixels.to(self.device)
        video = torch.cat([pixels[:, :1], pixels], dim=1).transpose(1, 2)  # (B, 3, 1 + L, H, W)
        with float32_mode(tf32=self.options.vae_dtype in ("tf32", "auto-float16")):
            latents = torch.cat([self._latents(windows, n, own) for n, own in enumerate(video.split(1))])
        noise = self._noise(windows, latents) if self.options.noise == "forward" else None
        return EncodedLatents(latents, noise)

    def _latents(self, windows: WindowBatch, number: int, video: Tensor) -> Tensor:
        """Latents of one window (1, 3, 1 + L, H, W), in more precision if need be.

        Raises:
            UsageError: If they are not finite in half precision.
        """
        latents = self._family.encode(self._vae[""], video.to(self._vae_dtype))
        if self._vae_dtype == torch.float32 or bool(latents.isfinite().all()):
            return latents
        if self.options.vae_dtype != "auto-float16":
            raise UsageError(
                f"the autoencoder's latents are not finite in {self.options.vae_dtype}. Use vae_dtype "
                "float32 (--vae-dtype float32) with these weights; `actiondiff weights check` compares them."
            )
        if self._exact_vae is None:
            self._exact_vae = Parts(self._family.vae(), "vae", self._all_weights, self.device, torch.float32)
        self._encoded_again.add((windows.identities[number], windows.first_frames[number]))
        return self._family.encode(self._exact_vae[""], video)

    def is_encoded_again(self, identity: str, first_frame: int) -> bool:
        """See `EncodesAgain`."""
        return (identity, first_frame) in self._encoded_again

    def _noise(self, windows: WindowBatch, latents: Tensor) -> Tensor:
        """Standard normal draws that depend on seed, video and first frame only."""
        draws = [
            torch.randn(
                latents.shape[1:], generator=window_generator(self.options.seed, identity, first, "forward")
            )
            for identity, first in zip(windows.identities, windows.first_frames, strict=True)
        ]
        return torch.stack(draws).to(latents)

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled taps of a batch of windows, encoded once for all timesteps; see `Backbone.maps`."""
        return self.maps_from(self.encode(windows, keys), keys)

    @torch.inference_mode()
    def maps_from(self, encoded: EncodedWindows, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Taps of windows that are encoded already, with one pass of the transformer per timestep."""
        assert isinstance(encoded, EncodedLatents), f"got {type(encoded).__name__}"
        assert encoded.latents is not None
        outputs: dict[FeatureKey, Tensor] = {}
        for timestep in sorted({key.timestep for key in keys}):
            taps = {key.layer for key in keys if key.timestep == timestep}
            level = self._levels[timestep]
            sample = level.signal * encoded.latents
            if encoded.noise is not None:
                sample = sample + level.noise * encoded.noise
            for tap, value in self._pass(sample, level.model_timestep, taps):
                outputs[FeatureKey(timestep, tap)] = value
        return outputs

    def _pass(
        self, sample: Tensor, model_timestep: float, taps: Collection[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """One pass of the transformer, no deeper than the deepest tap: tap, (B, S, C, h, w)."""
        B, _, steps = sample.shape[:3]
        size = self._family.patch
        grid = (steps, (self.options.height or 0) // size, (self.options.width or 0) // size)
        times = torch.full((B,), model_timestep, device=self.device)
        prompt = self._prompt.expand(B, -1, -1)
        wanted = set(taps)
        values = self._family.outputs(self._outer, self.blocks, sample, times, prompt)
        for tap, value in zip(self.taps, values, strict=False):
            if tap in wanted:
                maps = value.unflatten(1, grid).permute(0, 1, 4, 2, 3)  # (B, 1 + S, C, h, w)
                yield tap, maps[:, 1:]
                wanted.remove(tap)
            if not wanted:
                return


def _half_or_float32(vae_dtype: str) -> torch.dtype:
    """Dtype of the autoencoder's numbers for an option `vae_dtype`."""
    name = vae_dtype.removeprefix("auto-")
    dtype: torch.dtype = torch.float32 if name == "tf32" else getattr(torch, name)
    return dtype


def load(spec: BackboneSpec, options: DiTOptions, weights: str | Path | None) -> VideoDiT:
    """Load a video diffusion transformer from the folder that diffusers loads, or with random weights.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights or the empty prompt's embedding are missing or of another model.
    """
    family = FAMILIES[spec.architecture["transformer"]["_class_name"]](spec.architecture)
    if options.frame_rate is not None:
        if family.frame_rate is None:
            raise UsageError(
                f"frame_rate is for LTX-Video; {spec.name} counts positions in time in latents. Leave it out."
            )
        family.frame_rate = options.frame_rate
    asked_dtype = options.dtype
    options = resolve(spec, options)
    # SVD's default, auto-float16, was measured on CUDA with SVD; no such measurement was made here.
    vae_dtype = autoencoder_arithmetic(options.vae_dtype, default="float32", device=options.device)
    options = options.model_copy(update={"vae_dtype": vae_dtype, "frame_rate": family.frame_rate})
    if asked_dtype == "auto" and options.device.startswith("cuda"):
        options = options.model_copy(update={"dtype": family.half})
    height, width = options.height or 0, options.width or 0
    if height % family.patch or width % family.patch:
        raise UsageError(
            f"height and width must be multiples of {family.patch} for {spec.name}; got {height}x{width}."
        )
    if spec.weights == "random":
        if options.text_weights is not None:
            raise UsageError(
                f"{spec.name} draws the empty prompt's embedding from the seed; got text_weights "
                f"{options.text_weights} too."
            )
        folder = None
    else:
        folder = folder_of(spec, weights)
        check_scheduler(folder, spec.architecture["scheduler"])
    build = {"transformer": family.transformer, "vae": family.vae}
    tensors = find_tensors(spec, options, folder or weights, family.keymap, build)
    if folder is None:
        prompt = drawn_prompt(spec, options)
    else:
        # Of a repository on the hub, the folder holds what was downloaded so far: not yet the text encoder.
        own = folder if weights is None or Path(weights).expanduser().exists() else str(weights)
        prompt = open_prompt(spec, options.text_weights, own)
    return VideoDiT(spec, options, family, tensors, prompt)
