# mypy: disable-error-code="no-untyped-def, untyped-decorator, name-defined, no-untyped-call"
"""Triton kernels for what surrounds the convolutions and products of SVD's networks in half precision.

Convolutions run near the hardware's limit, but what lies between them is memory traffic. Here every
activation is read once for its statistics (not even that where `add` finds them while it writes), read once
and written once. See `eager.py` for what each function computes. Import this only where Triton is installed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

__all__ = ["add", "attend_frames", "geglu", "normalise"]

_CHANNELS = 64  # channels of a tile: 128 bytes of half precision
_ROWS = 32  # rows of a tile


@triton.jit
def _statistics_kernel(x, partial, P, C, chunk, BR: tl.constexpr, BC: tl.constexpr):
    n, k = tl.program_id(2).to(tl.int64), tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    r = tl.arange(0, BR)
    start = k * chunk
    base = x + n * P * C
    first = tl.load(base + start * C + c, mask=c < C, other=0.0).to(tl.float32)  # near the mean
    total = tl.zeros((BR, BC), tl.float32)
    square = tl.zeros((BR, BC), tl.float32)
    for i in range(0, chunk, BR):
        row = start + i + r
        inside = (row < P)[:, None] & (c < C)[None, :]
        value = tl.load(base + row[:, None] * C + c[None, :], mask=inside, other=0.0).to(tl.float32)
        d = tl.where(inside, value - first[None, :], 0.0)
        total += d
        square += d * d
    count = tl.minimum(chunk, P - start).to(tl.float32)
    s = tl.sum(total, 0)
    out = partial + (n * tl.num_programs(1) + k) * 2 * C + c
    tl.store(out, first + s / count, mask=c < C)
    tl.store(out + C, tl.sum(square, 0) - s * s / count, mask=c < C)


@triton.jit
def _merge_kernel(
    partial, bias, weight, offset, scale, shift, P, C, chunk, chunks, parts, size, groups, share, eps,
    HAS_BIAS: tl.constexpr, BK: tl.constexpr, BG: tl.constexpr,
):  # fmt: skip
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    j = tl.arange(0, BG)
    c = g * size + j
    own = j < size
    extra = tl.zeros((BG,), tl.float32)
    if HAS_BIAS:
        extra = tl.load(bias + (b // share) * C + c, mask=own, other=0.0).to(tl.float32)
    base = partial + b * parts * 2 * C
    total = tl.zeros((BK, BG), tl.float64)
    count = tl.zeros((BK, BG), tl.float64)
    for i in range(0, parts, BK):
        k = i + tl.arange(0, BK)
        inside = (k < parts)[:, None] & own[None, :]
        rows = tl.minimum(chunk, P - (k % chunks) * chunk).to(tl.float64)[:, None]
        mean = tl.load(base + k[:, None] * 2 * C + c[None, :], mask=inside, other=0.0).to(tl.float64)
        total += tl.where(inside, rows * (mean + extra[None, :].to(tl.float64)), 0.0)
        count += tl.where(inside, rows, 0.0)
    number = tl.sum(tl.sum(count, 0), 0)
    centre = tl.sum(tl.sum(total, 0), 0) / number
    spread = tl.zeros((BK, BG), tl.float64)
    for i in range(0, parts, BK):
        k = i + tl.arange(0, BK)
        inside = (k < parts)[:, None] & own[None, :]
        rows = tl.minimum(chunk, P - (k % chunks) * chunk).to(tl.float64)[:, None]
        mean = tl.load(base + k[:, None] * 2 * C + c[None, :], mask=inside, other=0.0).to(tl.float64)
        m2 = tl.load(base + k[:, None] * 2 * C + C + c[None, :], mask=inside, other=0.0).to(tl.float64)
        d = mean + extra[None, :].to(tl.float64) - centre
        spread += tl.where(inside, m2 + rows * d * d, 0.0)
    variance = tl.sum(tl.sum(spread, 0), 0) / number
    inverse = 1.0 / tl.sqrt((variance + eps).to(tl.float32))
    w = tl.load(weight + c, mask=own, other=0.0).to(tl.float32) * inverse
    o = tl.load(offset + c, mask=own, other=0.0).to(tl.float32)
    tl.store(scale + b * C + c, w, mask=own)
    difference = (extra.to(tl.float64) - centre).to(tl.float32)
    tl.store(shift + b * C + c, o + difference * w, mask=own)


@triton.jit
def _apply_kernel(
    x, scale, shift, y, P, C, chunk, frames, ACTIVATE: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr
):
    n, k = tl.program_id(2).to(tl.int64), tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    r = tl.arange(0, BR)
    b = n // frames
    w = tl.load(scale + b * C + c, mask=c < C, other=0.0)[None, :]
    o = tl.load(shift + b * C + c, mask=c < C, other=0.0)[None, :]
    base = n * P * C
    for i in range(0, chunk, BR):
        row = k * chunk + i + r
        inside = (row < P)[:, None] & (c < C)[None, :]
        at = base + row[:, None] * C + c[None, :]
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) * w + o
        if ACTIVATE:
            value = value / (1.0 + tl.exp(-value))
        tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _add_kernel(
    x, bias, residual, y, partial, P, C, chunk, share, factor,
    HAS_BIAS: tl.constexpr, STATISTICS: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    n, k = tl.program_id(2).to(tl.int64), tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    r = tl.arange(0, BR)
    start = k * chunk
    base = n * P * C
    extra = tl.zeros((BC,), tl.float32)
    if HAS_BIAS:
        extra = tl.load(bias + (n // share) * C + c, mask=c < C, other=0.0).to(tl.float32)
    at = base + start * C + c
    first = tl.load(residual + at, mask=c < C, other=0.0).to(tl.float32)
    first += factor * (tl.load(x + at, mask=c < C, other=0.0).to(tl.float32) + extra)
    total = tl.zeros((BR, BC), tl.float32)
    square = tl.zeros((BR, BC), tl.float32)
    for i in range(0, chunk, BR):
        row = start + i + r
        inside = (row < P)[:, None] & (c < C)[None, :]
        at2 = base + row[:, None] * C + c[None, :]
        value = tl.load(x + at2, mask=inside, other=0.0).to(tl.float32) + extra[None, :]
        value = tl.load(residual + at2, mask=inside, other=0.0).to(tl.float32) + factor * value
        rounded = value.to(y.dtype.element_ty)
        tl.store(y + at2, rounded, mask=inside)
        if STATISTICS:
            d = tl.where(inside, rounded.to(tl.float32) - first[None, :], 0.0)
            total += d
            square += d * d
    if STATISTICS:
        count = tl.minimum(chunk, P - start).to(tl.float32)
        s = tl.sum(total, 0)
        out = partial + (n * tl.num_programs(1) + k) * 2 * C + c
        tl.store(out, first + s / count, mask=c < C)
        tl.store(out + C, tl.sum(square, 0) - s * s / count, mask=c < C)


@triton.jit
def _geglu_kernel(x, bias, y, rows, C, BR: tl.constexpr, BC: tl.constexpr):
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    inside = (row < rows)[:, None] & (c < C)[None, :]
    at = row[:, None] * 2 * C + c[None, :]
    first = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    second = tl.load(bias + C + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + first
    gate = tl.load(x + at + C, mask=inside, other=0.0).to(tl.float32) + second
    gate = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(y + row[:, None] * C + c[None, :], (value * gate).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _attend_kernel(qkv, y, L, P, C, factor, BL: tl.constexpr, D: tl.constexpr):
    h, p, b = tl.program_id(1), tl.program_id(0), tl.program_id(2).to(tl.int64)
    t, d = tl.arange(0, BL), tl.arange(0, D)
    row = (b * L + t) * P + p
    inside = (t < L)[:, None]
    at = row[:, None] * 3 * C + h * D + d[None, :]
    q = tl.load(qkv + at, mask=inside, other=0.0)
    k = tl.load(qkv + at + C, mask=inside, other=0.0)
    v = tl.load(qkv + at + 2 * C, mask=inside, other=0.0)
    scores = tl.dot(q, tl.trans(k)).to(tl.float32) * factor
    scores = tl.where((t < L)[None, :], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    out = tl.dot(weights.to(v.dtype), v).to(tl.float32) / tl.sum(weights, 1)[:, None]
    tl.store(y + row[:, None] * C + h * D + d[None, :], out.to(y.dtype.element_ty), mask=inside)


def normalise(
    x: Tensor,
    norm: nn.GroupNorm,
    *,
    bias: Tensor | None = None,
    partial: Tensor | None = None,
    frames: int = 1,
    activate: bool = True,
) -> Tensor:
    """See `eager.normalise`."""
    N, H, W, C = x.shape
    P, chunk, chunks = H * W, _chunk(H * W), triton.cdiv(H * W, _chunk(H * W))
    grid = (triton.cdiv(C, _CHANNELS), chunks, N)
    if partial is None:
        partial = x.new_empty((N, chunks, 2, C), dtype=torch.float32)
        _statistics_kernel[grid](x, partial, P, C, chunk, BR=_ROWS, BC=_CHANNELS)
    B, size = N // frames, C // norm.num_groups
    scale, shift = x.new_empty((2, B, C), dtype=torch.float32)
    share = 1 if bias is None else B // len(bias)
    _merge_kernel[(B, norm.num_groups)](
        partial, bias, norm.weight, norm.bias, scale, shift, P, C, chunk, chunks, frames * chunks, size,
        norm.num_groups, share, norm.eps,
        HAS_BIAS=bias is not None, BK=32, BG=triton.next_power_of_2(size),
    )  # fmt: skip
    y = torch.empty_like(x)
    _apply_kernel[grid](x, scale, shift, y, P, C, chunk, frames, ACTIVATE=activate, BR=_ROWS, BC=_CHANNELS)
    return y


def add(
    x: Tensor, bias: Tensor | None, residual: Tensor, *, scale: float = 1.0, statistics: bool = False
) -> tuple[Tensor, Tensor | None]:
    """See `eager.add`; the second result is what `normalise` takes as `partial`."""
    N, H, W, C = x.shape
    P, chunk = H * W, _chunk(H * W)
    grid = (triton.cdiv(C, _CHANNELS), triton.cdiv(P, chunk), N)
    y = torch.empty_like(x)
    partial = x.new_empty((N, grid[1], 2, C), dtype=torch.float32) if statistics else None
    share = 1 if bias is None else N // len(bias)
    _add_kernel[grid](
        x, bias, residual, y, partial, P, C, chunk, share, scale,
        HAS_BIAS=bias is not None, STATISTICS=statistics, BR=_ROWS, BC=_CHANNELS,
    )  # fmt: skip
    return y, partial


def geglu(x: Tensor, bias: Tensor) -> Tensor:
    """See `eager.geglu`."""
    C = x.shape[-1] // 2
    y = x.new_empty((*x.shape[:-1], C))
    rows = y.numel() // C
    _geglu_kernel[(triton.cdiv(rows, _ROWS), triton.cdiv(C, _CHANNELS))](
        x, bias, y, rows, C, BR=_ROWS, BC=_CHANNELS
    )
    return y


def attend_frames(qkv: Tensor, heads: int) -> Tensor:
    """See `eager.attend_frames`. Heads are powers of two wide, from 16; there are at most 64 frames."""
    B, L, P, width = qkv.shape
    C = width // 3
    y = qkv.new_empty((B, L, P, C))
    D = C // heads
    _attend_kernel[(P, heads, B)](
        qkv, y, L, P, C, D**-0.5, BL=max(16, triton.next_power_of_2(L)), D=D, num_warps=2
    )
    return y


def _chunk(rows: int) -> int:
    """Rows that one program handles."""
    return min(1024, max(64, triton.next_power_of_2(rows) // 32))
