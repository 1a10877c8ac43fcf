"""SVD's VAE encoder and U-Net encoder with few passes over memory, for half precision on CUDA.

The modules' own weights are used, in another memory layout and without a copy; the arithmetic is theirs up to
rounding. Activations stay (N, H, W, C) in memory from the first convolution to the last, so that tokens of a
transformer and sequences of frames are views. Convolutions run without bias: biases, time embeddings and
residuals are added where values are read or written anyway. See `kernels.py` for these operations.
"""

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from actiondiff.backbones.svd import eager

__all__ = ["Activation", "FusedVae", "apply_stage", "fits", "kernel_problem", "operations"]

_FLASH_WIDTH = 256  # widest head of the fused attention kernels
_CONV_IN_CHANNELS = 8  # images get as many channels, since tensor cores read 16 bytes at a time
_LARGEST_ERROR = 5e-3  # of a kernel in half precision against its eager form
_CHOSEN: list[ModuleType] = []


def fits(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the fused forms are meant for this device and data type."""
    return device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)


@functools.cache
def kernel_problem(device: str) -> str | None:
    """Why the kernels do not work on a device, in a few words; None if they do.

    Triton may be missing, or lack a C compiler, or not support the device: each kernel runs once, on a few
    numbers, and is compared with its eager form.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        from actiondiff.backbones.svd import kernels

        return _difference(kernels, device)
    except Exception as error:  # from Triton, the compilers that it calls, or the driver
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__


@torch.inference_mode()
def _difference(kernels: ModuleType, device: str) -> str | None:
    """The first operation whose result differs from its eager form, with the error; None if none does."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 96, generator=random).to(device, torch.float16)
    norm = nn.GroupNorm(32, 96).to(device, torch.float16)
    bias = x[:, 0, 0].contiguous()
    results = []
    for ops in (kernels, eager):
        total, partial = ops.add(x, bias, x, scale=0.5, statistics=True)
        results.append(
            (
                ops.normalise(x, norm, bias=bias[:1], frames=2),
                ops.normalise(total, norm, partial=partial),
                total,
                ops.geglu(x, bias[0]),
                ops.attend_frames(x.view(1, 2, 15, 96), 2),
            )
        )
    for name, ours, theirs in zip(
        ("normalise", "statistics", "add", "geglu", "attend_frames"), *results, strict=True
    ):
        error = float((ours.float() - theirs.float()).norm() / theirs.float().norm())
        if not error < _LARGEST_ERROR:
            return f"kernel {name} is off by {error:.1e}"
    return None


@contextmanager
def operations(module: ModuleType) -> Iterator[None]:
    """Use these operations (`eager` or `kernels`) instead of the device's own; for tests."""
    _CHOSEN.append(module)
    try:
        yield
    finally:
        _CHOSEN.pop()


def _ops(x: Tensor) -> Any:
    if _CHOSEN:
        return _CHOSEN[-1]
    if x.is_cuda:
        from actiondiff.backbones.svd import kernels

        return kernels
    return eager


@dataclass(frozen=True)
class Activation:
    """An activation with what is known of its statistics.

    Attributes:
        x: (N, H, W, C), contiguous.
        partial: Its partial statistics by `add`, if it comes from there.
    """

    x: Tensor
    partial: Tensor | None = None

    @classmethod
    def of(cls, images: Tensor) -> "Activation":
        """From (N, C, H, W) in any layout."""
        return cls(images.permute(0, 2, 3, 1).contiguous())

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), a view."""
        return self.x.permute(0, 3, 1, 2)


def _normalise(value: Activation, norm: nn.GroupNorm, **more: Any) -> Tensor:
    result: Tensor = _ops(value.x).normalise(value.x, norm, partial=value.partial, **more)
    return result


def _add(x: Tensor, bias: Tensor | None, residual: Tensor, *, scale: float = 1.0) -> Activation:
    return Activation(*_ops(x).add(x, bias, residual, scale=scale, statistics=True))


def _conv(x: Tensor, conv: Any, *, padding: Any = None) -> Tensor:
    """(N, H, W, C) through a convolution, without its bias."""
    if not conv.weight.is_contiguous(memory_format=torch.channels_last):
        conv.weight = nn.Parameter(conv.weight.contiguous(memory_format=torch.channels_last), False)
    padding = conv.padding if padding is None else padding
    y = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, None, conv.stride, padding)
    return y.permute(0, 2, 3, 1).contiguous()


def _conv_frames(x: Tensor, conv: Any, frames: int) -> Tensor:
    """(B L, H, W, C) through a convolution over frames, without its bias: a (3, 1) one over (L, H W)."""
    N, H, W, C = x.shape
    weight = conv.weight.squeeze(-1)
    if not weight.is_contiguous(memory_format=torch.channels_last):
        weight = weight.contiguous(memory_format=torch.channels_last)
        conv.weight = nn.Parameter(weight.unsqueeze(-1), False)
    video = x.view(N // frames, frames, H * W, C).permute(0, 3, 1, 2)
    y = F.conv2d(video, weight, None, 1, (conv.padding[0], 0))
    return y.permute(0, 2, 3, 1).contiguous().view(N, H, W, -1)


def _resnet(block: Any, value: Activation, embedding: Tensor | None) -> Activation:
    """A spatial residual block; the embedding is (M, E) or None."""
    h = _conv(_normalise(value, block.norm1), block.conv1)
    bias = block.conv1.bias[None]
    if embedding is not None:
        bias = bias + block.time_emb_proj(F.silu(embedding))
    h = _conv(_normalise(Activation(h), block.norm2, bias=bias), block.conv2)
    residual, last = value.x, block.conv2.bias
    if block.conv_shortcut is not None:
        residual, last = _conv(residual, block.conv_shortcut), last + block.conv_shortcut.bias
    return _add(h, last[None], residual)


def _resnet_frames(block: Any, value: Activation, embedding: Tensor, frames: int, mix: float) -> Activation:
    """A temporal residual block, blended: x + mix (block(x) - x)."""
    h = _conv_frames(_normalise(value, block.norm1, frames=frames), block.conv1, frames)
    bias = block.conv1.bias[None] + block.time_emb_proj(F.silu(embedding))
    normal = _normalise(Activation(h), block.norm2, bias=bias, frames=frames)
    h = _conv_frames(normal, block.conv2, frames)
    return _add(h, block.conv2.bias[None], value.x, scale=mix)


def _mix(mixer: Any) -> float:
    """The temporal share of a blend, 1 - alpha; read from the device once."""
    if not hasattr(mixer, "temporal_share"):
        mixer.temporal_share = 1 - float(mixer.mix_factor.float().sigmoid())
    share: float = mixer.temporal_share
    return share


def _qkv(attention: Any) -> Tensor:
    """(3 C, C): the three projections as one, of which the modules' own become views."""
    if not hasattr(attention, "joined"):
        layers = (attention.to_q, attention.to_k, attention.to_v)
        attention.joined = torch.cat([layer.weight for layer in layers])
        for layer, part in zip(layers, attention.joined.chunk(3), strict=True):
            layer.weight = nn.Parameter(part, False)
    joined: Tensor = attention.joined
    return joined


def _transformer(model: Any, value: Activation, context: Any) -> Activation:
    """Spatial transformer blocks, each with the temporal one blended in."""
    N, H, W, C = value.x.shape
    L = context.num_frames
    ops = _ops(value.x)
    normal = _normalise(value, model.norm, activate=False)
    x = F.linear(normal, model.proj_in.weight, model.proj_in.bias)  # (N, H, W, C)
    for block, temporal in zip(model.transformer_blocks, model.temporal_transformer_blocks, strict=True):
        x = _attend(block, x, context.spatial, _attend_positions)
        x = _feed_forward(block.ff, block.norm3, x, x)
        if not context.run_temporal:
            continue
        positions = model.time_proj(torch.arange(L, device=x.device)).to(x.dtype)
        places = model.time_pos_embed(positions)  # (L, C)
        y = (x.view(-1, L, H * W, C) + places[:, None]).view(N, H, W, C)
        y = _feed_forward(temporal.ff_in, temporal.norm_in, y, y)
        y = _attend(temporal, y, context.temporal, _attend_frames, L)
        # The blend alpha x + (1 - alpha) y costs nothing where y is made: y = last + ff(last).
        mix = _mix(model.time_mixer)
        base = torch.lerp(x, y, mix)
        x = _feed_forward(temporal.ff, temporal.norm3, y, base, scale=mix)
    h = F.linear(x, model.proj_out.weight)
    return Activation(*ops.add(h, model.proj_out.bias[None], value.x, statistics=True))


def _feed_forward(layers: Any, norm: nn.LayerNorm, x: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
    """Return residual + scale ff(norm(x))."""
    ops = _ops(x)
    gate, last = layers.net[0].proj, layers.net[2]
    h = ops.geglu(F.linear(norm(x), gate.weight), gate.bias)
    result: Tensor = ops.add(F.linear(h, last.weight), last.bias[None], residual, scale=scale)[0]
    return result


def _attend(block: Any, x: Tensor, context: Tensor, attend: Any, *more: Any) -> Tensor:
    """Self-attention, then cross-attention, each added to x: (N, H, W, C); context (N or B, n, D)."""
    own, cross = block.attn1, block.attn2
    attended = attend(F.linear(block.norm1(x), _qkv(own)), own.heads, *more)
    bias = own.to_out[0].bias[None]
    if context.shape[1] == 1:  # a single token: the softmax is 1, and the result a constant per sequence
        bias = bias + cross.to_out[0](cross.to_v(context))[:, 0]
    ops = _ops(x)
    y: Tensor = ops.add(F.linear(attended, own.to_out[0].weight), bias, x)[0]
    if context.shape[1] > 1:
        N, H, W, C = y.shape
        queries = block.norm2(y).view(len(context), -1, C)
        result = cross(queries, encoder_hidden_states=context)
        y = y + result.view(N, H, W, C)
    return y


def _attend_positions(qkv: Tensor, heads: int) -> Tensor:
    """Self-attention over the positions of each image: (N, H, W, 3 C) -> (N, H, W, C)."""
    N, H, W, _ = qkv.shape
    q, k, v = qkv.view(N, H * W, 3, heads, -1).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(q, k, v)  # (N, heads, H W, d)
    return attended.transpose(1, 2).reshape(N, H, W, -1)


def _attend_frames(qkv: Tensor, heads: int, frames: int) -> Tensor:
    """Self-attention over the frames at each position: (B L, H, W, 3 C) -> (B L, H, W, C)."""
    N, H, W, width = qkv.shape
    sequences = qkv.view(N // frames, frames, H * W, width)
    head = width // 3 // heads
    powers = head >= 16 and head & (head - 1) == 0
    ops = _ops(qkv) if powers and frames <= 64 else eager
    attended: Tensor = ops.attend_frames(sequences, heads)
    return attended.view(N, H, W, -1)


def apply_stage(modules: Any, value: Activation, embedding: Tensor, context: Any) -> Activation:
    """One stage of the U-Net; the embedding is (1, E), or (B, E) with one for each window."""
    for module in modules:
        if isinstance(module, SpatioTemporalResBlock):
            value = _resnet(module.spatial_res_block, value, embedding)
            if context.run_temporal:
                value = _resnet_frames(
                    module.temporal_res_block, value, embedding, context.num_frames, _mix(module.time_mixer)
                )
        elif isinstance(module, TransformerSpatioTemporalModel):
            value = _transformer(module, value, context)
        else:
            conv = getattr(module, "conv", module)
            value = Activation(_conv(value.x, conv).add_(conv.bias))
    return value


class FusedVae:
    """Forward pass of a `VaeEncoder` with its own weights.

    Args:
        vae: The encoder; its layers' memory layout changes.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        first = vae.encoder.conv_in
        spare = _CONV_IN_CHANNELS - first.weight.shape[1]
        self._first = F.pad(first.weight, (0, 0, 0, 0, 0, spare)).contiguous(
            memory_format=torch.channels_last
        )
        self._spare = spare

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 8, H/f, W/f), before mean and log-variance are separated."""
        encoder = self._vae.encoder
        padded = F.pad(images.permute(0, 2, 3, 1), (0, self._spare)).permute(0, 3, 1, 2)
        first = F.conv2d(padded, self._first, encoder.conv_in.bias, 1, encoder.conv_in.padding)
        value = Activation.of(first)
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                value = _resnet(resnet, value, None)
            for down in block.downsamplers or ():
                wide = F.pad(value.x, (0, 0, 0, 1, 0, 1))
                value = Activation(_conv(wide, down.conv, padding=0).add_(down.conv.bias))
        mid = encoder.mid_block
        value = _resnet(mid.resnets[0], value, None)
        for attention, resnet in zip(mid.attentions, mid.resnets[1:], strict=True):
            if attention is not None:
                value = _attend_image(attention, value)
            value = _resnet(resnet, value, None)
        last = _conv(_normalise(value, encoder.conv_norm_out), encoder.conv_out).add_(encoder.conv_out.bias)
        result: Tensor = self._vae.quant_conv(last.permute(0, 3, 1, 2))
        return result


def _attend_image(attention: Any, value: Activation) -> Activation:
    """The VAE's self-attention with residual: one wide head, by products where no kernel takes it."""
    N, H, W, C = value.x.shape
    normal = _normalise(value, attention.group_norm, activate=False)
    q, k, v = (
        F.linear(normal, layer.weight, layer.bias).view(N, H * W, attention.heads, -1).transpose(1, 2)
        for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    if q.shape[-1] <= _FLASH_WIDTH or not q.is_cuda:
        attended = F.scaled_dot_product_attention(q, k, v)
    else:
        attended = torch.empty_like(q)
        for image in range(N):  # scores of one image at a time: 170 MB at 576 x 1024
            scores = torch.matmul(q[image] * q.shape[-1] ** -0.5, k[image].transpose(-1, -2))
            torch.matmul(scores.softmax(-1), v[image], out=attended[image])
    attended = attended.transpose(1, 2).reshape(N, H, W, C)
    h = F.linear(attended, attention.to_out[0].weight)
    return _add(h, attention.to_out[0].bias[None], value.x)
