"""Feature extraction as in the released code, built from the libraries' stock modules.

This is not a benchmark by itself: `extraction.py` and `gpu_extraction.py` compare with it. For one window and
one timestep it does all that the released code does. The code is our own, and random draws are set to their
mean:

    VAE         encodes the frames three times: as latents, and for conditioning in each half of the guidance
    CLIP        embeds every frame in each half of the guidance
    U-Net       runs encoder and decoder on both halves, with cross-attention computed in full

A grid of timesteps takes one such pass per timestep: nothing is reused between them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from actiondiff.backbones.base import WindowBatch, find_spec, load_backbone
from actiondiff.backbones.svd.backbone import ADDED, SVD
from actiondiff.backbones.svd.inputs import LATENT_SCALE, SVDWeights, clip_input
from actiondiff.backbones.svd.modules import build_image_encoder, build_unet, build_vae_encoder
from actiondiff.backbones.svd.random_checkpoint import RandomCheckpoint
from actiondiff.backbones.svd.schedule import input_scale, noise_condition, sigmas
from actiondiff.types import FeatureKey
from actiondiff.video.transforms import scale_and_resize

PARTS = ("CLIP", "VAE", "U-Net")
GRID_TIMESTEPS = (0, 5, 10, 15, 20, 25, 29)
LAYERS = tuple(range(1, 14))
NUM_STEPS = 30
GROUP_NORM_EPS = 1e-5  # as in the released code's blocks; the stock blocks are built with 1e-6


class SharedWeights(RandomCheckpoint):
    """Random float32 weights, drawn once and shared by both paths without a copy.

    On the meta device there are shapes only, which is all that counting takes.
    """

    def __init__(self, architecture: Mapping[str, Any], *, meta: bool = False) -> None:
        super().__init__(architecture, seed=0)
        self._meta = meta
        self._drawn: dict[tuple[str, str], Tensor] = {}

    def tensors(self, component: str, names: Any = None, *, dtype: torch.dtype | None = None) -> Any:
        """See `RandomTensors.tensors`."""
        wanted = list(self.keys(component) if names is None else names)
        missing = [name for name in wanted if (component, name) not in self._drawn]
        if self._meta:
            shapes = self._shapes_of(component)
            drawn = {name: torch.empty(shapes[name], device="meta") for name in missing}
        else:
            with torch.inference_mode(False):  # so that the other path may take them as parameters
                drawn = super().tensors(component, missing)
        self._drawn |= {(component, name): tensor for name, tensor in drawn.items()}
        return {name: self._drawn[component, name].to(dtype or torch.float32) for name in wanted}


class ReleasedPath(nn.Module):
    """Runs one window through everything that the released code runs for it.

    Args:
        weights: Of all networks; held in float32, as the released code holds them. Where they hold one VAE
            encoder, it serves twice.
        device: Where to compute. On CUDA U-Net and CLIP run under float16 autocast, the VAE in float32.
    """

    def __init__(self, weights: SVDWeights, device: str = "cpu") -> None:
        super().__init__()
        self.device = torch.device(device)
        self.unet = WholeUnet(weights.unet_config)
        self.clip = build_image_encoder(weights.clip_config)
        self.first_stage = build_vae_encoder(weights.vae_config, quant_conv=weights.one_vae)
        self.conditioner_vae = build_vae_encoder(weights.vae_config)
        self._load(self.unet.net, weights, "unet")
        self._load(self.clip, weights, "image_encoder")
        self._load(self.first_stage, weights, "vae" if weights.one_vae else "latent_encoder")
        self._load(self.conditioner_vae, weights, "vae")
        self.requires_grad_(False).eval()

    def _load(self, module: nn.Module, weights: SVDWeights, component: str) -> None:
        tensors = weights.tensors(component, list(module.state_dict()), dtype=torch.float32)
        moved = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        module.load_state_dict(moved, strict=True, assign=True)
        module.to(self.device)  # buffers that are no weights

    @torch.inference_mode()
    def forward(self, pixels: Tensor, timestep: int) -> dict[int, Tensor]:
        """Maps of the conditional half.

        Args:
            pixels: (L, 3, H, W) float32 in [-1, 1], on the device.
            timestep: Index of the noise level.

        Returns:
            Layer -> (L, C, h, w) float32, all 13.
        """
        frames = pixels.contiguous(memory_format=torch.channels_last)
        latents = self.first_stage(frames)[0] * LATENT_SCALE
        tokens, concat = [], []
        for is_conditional in (False, True):
            embedded = self._embed(pixels)
            encoded = self.conditioner_vae(frames)[0]
            tokens.append(embedded if is_conditional else torch.zeros_like(embedded))
            concat.append(encoded if is_conditional else torch.zeros_like(encoded))
        sigma = sigmas(NUM_STEPS)[timestep]
        scaled = (latents * input_scale(sigma).to(latents)).expand(2, *latents.shape)
        sample = torch.cat([scaled, torch.stack(concat)], dim=2)  # (2, L, 8, h, w)
        with self._autocast():
            maps = self.unet(sample, noise_condition(sigma), torch.stack(tokens)[:, :, None])
        return {layer: value[len(pixels) :].float() for layer, value in maps.items()}

    def _embed(self, pixels: Tensor) -> Tensor:
        prepared = clip_input(pixels, self.clip.config.image_size)
        with self._autocast():
            embedded: Tensor = self.clip(pixel_values=prepared).image_embeds.float()
        return embedded

    def _autocast(self) -> AbstractContextManager[Any]:
        on_cuda = self.device.type == "cuda"
        return torch.autocast("cuda", torch.float16) if on_cuda else nullcontext()

    def features(self, pixels: Tensor, timestep: int) -> dict[FeatureKey, Tensor]:
        """Tokens (L, C) of all layers, from frames (L, 3, H, W) in [-1, 1]."""
        maps = self(pixels.to(self.device), timestep)
        return {FeatureKey.of(timestep, layer): value.mean((-2, -1)) for layer, value in maps.items()}

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        """The networks by part."""
        return {"CLIP": [self.clip], "VAE": [self.first_stage, self.conditioner_vae], "U-Net": [self.unet]}


class WholeUnet(nn.Module):
    """Every block of SVD's U-Net, on both halves of the guidance.

    The blocks are called one by one, because the stock forward has one embedding for all frames where the
    released code has one a frame; else this is what the stock forward does.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.net: Any = build_unet(config)
        for block in self.net.modules():
            if isinstance(block, SpatioTemporalResBlock):
                for norm in block.modules():
                    if isinstance(norm, nn.GroupNorm):
                        norm.eps = GROUP_NORM_EPS

    def forward(self, sample: Tensor, noise: Tensor, tokens: Tensor) -> dict[int, Tensor]:
        """Latents (2, L, 8, h, w), tokens (2, L, 1, D) -> the layers' outputs (2 L, C, h', w')."""
        B, L = sample.shape[:2]
        common: dict[str, Any] = {
            "temb": self._embed(noise, sample).expand(B * L, -1),
            "image_only_indicator": torch.zeros(B, L, dtype=sample.dtype, device=sample.device),
        }
        attended = {"encoder_hidden_states": tokens.flatten(0, 1)}
        x = self.net.conv_in(sample.flatten(0, 1))
        skips = [x]
        for block in self.net.down_blocks:
            x, outputs = block(x, **common, **(attended if _attends(block) else {}))
            skips += outputs
        x = self.net.mid_block(x, **common, **attended)
        maps = dict(enumerate([*skips, x], start=1))
        for block in self.net.up_blocks:
            count = len(block.resnets)
            residuals, skips = tuple(skips[-count:]), skips[:-count]
            x = block(x, res_hidden_states_tuple=residuals, **common, **(attended if _attends(block) else {}))
        self.net.conv_out(self.net.conv_act(self.net.conv_norm_out(x)))
        return maps

    def _embed(self, noise: Tensor, sample: Tensor) -> Tensor:
        time = self.net.time_proj(noise.reshape(1).to(sample.device))
        added = self.net.add_time_proj(torch.tensor(ADDED, device=sample.device)).reshape(1, -1)
        embedding: Tensor = self.net.time_embedding(time) + self.net.add_embedding(added)
        return embedding


def _attends(block: Any) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


def our_path(weights: SVDWeights, **options: Any) -> SVD:
    """Our backbone with the same networks and weights.

    Args:
        weights: Of all networks.
        **options: Fields of `SVDOptions`.
    """
    spec = find_spec("random-svd-xt")
    settled = load_backbone("random-svd-xt", num_steps=NUM_STEPS, **options).options
    return SVD(spec, settled, weights)


def our_parts(backbone: SVD) -> dict[str, list[nn.Module]]:
    """Our networks by part."""
    inputs = backbone.inputs
    return {"CLIP": [inputs.image_encoder], "VAE": [inputs.vae], "U-Net": [backbone.encoder]}


@contextmanager
def measured(
    parts: Mapping[str, Sequence[nn.Module]], read: Callable[[], Any]
) -> Iterator[dict[str, np.ndarray]]:
    """Measure by how much a reading grows during the networks' passes, by part and in all.

    Args:
        parts: Part -> its modules.
        read: A clock or counter, or several in one array.

    Yields:
        Part -> growth, and `all` once the block has ended.
    """
    grown = {part: np.zeros_like(np.asarray(read(), dtype=float)) for part in parts}
    starts: list[np.ndarray] = []
    hooks = []
    for part, modules in parts.items():
        for module in modules:
            hooks.append(
                module.register_forward_pre_hook(lambda *_: starts.append(np.asarray(read(), dtype=float)))
            )

            def finish(*_: Any, part: str = part) -> None:
                grown[part] = grown[part] + np.asarray(read(), dtype=float) - starts.pop()

            hooks.append(module.register_forward_hook(finish))
    begin = np.asarray(read(), dtype=float)
    try:
        yield grown
    finally:
        grown["all"] = np.asarray(read(), dtype=float) - begin
        for hook in hooks:
            hook.remove()


def count_flop(
    architecture: Mapping[str, Any], *, height: int, width: int, frames: int, grid: bool = True
) -> dict[str, dict[str, float]]:
    """TFLOP of both paths for one window, by part, counted on the meta device where nothing is computed.

    FLOP are twice the multiply-adds of matrix products, convolutions and attention.

    Returns:
        `released` (one timestep), `ours` (the same, layer 9); and, if `grid`, `released grid` (7 timesteps)
        and `ours grid` (7 timesteps x 13 layers).
    """
    weights = SharedWeights(architecture, meta=True)
    released = ReleasedPath(weights, "meta")
    ours = our_path(weights, height=height, width=width, window=frames, device="meta", dtype="float32")
    pixels = torch.empty(frames, 3, height, width, device="meta")
    window = WindowBatch(pixels[None], (frames,), ("",), (0,))
    counts = {
        "released": _flop(released.parts, lambda: released(pixels, 20)),
        "ours": _flop(our_parts(ours), lambda: ours.maps(window, [FeatureKey.of(20, 9)])),
    }
    if grid:
        keys = [FeatureKey.of(timestep, layer) for timestep in GRID_TIMESTEPS for layer in LAYERS]
        passes = len(GRID_TIMESTEPS)
        counts["released grid"] = {part: value * passes for part, value in counts["released"].items()}
        counts["ours grid"] = _flop(our_parts(ours), lambda: ours.maps(window, keys))
    return counts


def _flop(parts: Mapping[str, Sequence[nn.Module]], run: Callable[[], object]) -> dict[str, float]:
    counter = FlopCounterMode(display=False)
    with measured(parts, counter.get_total_flops) as grown, counter:
        run()
    return {part: float(value) / 1e12 for part, value in grown.items()}


def prepared(pixels: np.ndarray, height: int, width: int, device: str) -> Tensor:
    """Prepare frames: (L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1] on the device."""
    return scale_and_resize(torch.from_numpy(pixels).to(device), height, width)


def relative_error(ours: Any, theirs: Any) -> float:
    """L2 norm of the difference over that of the reference."""
    a, b = (torch.as_tensor(values).detach().cpu().double() for values in (ours, theirs))
    return float((a - b).norm() / b.norm())
