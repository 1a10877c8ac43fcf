"""The operations of `kernels.py` in PyTorch, with the same arguments: their reference, and their fallback.

Activations are (N, H, W, C) in memory. The partial statistics of `add` are left
out: `normalise` finds its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["add", "attend_frames", "geglu", "normalise"]


def normalise(
    x: Tensor,
    norm: nn.GroupNorm,
    *,
    bias: Tensor | None = None,
    partial: Tensor | None = None,
    frames: int = 1,
    activate: bool = True,
) -> Tensor:
    """Add a bias per channel, normalise by groups, and apply SiLU.

    Args:
        x: (N, H, W, C).
        norm: Number of groups, weight, bias and epsilon.
        bias: (M, C) values to add first; each is for N / M consecutive rows. None: nothing.
        partial: Statistics of x from `add`; not used here.
        frames: Number of consecutive rows that share statistics.
        activate: Whether SiLU follows.
    """
    N, H, W, C = x.shape
    values = x.float() if bias is None else x.float() + _per_row(bias, N)
    grouped = values.view(N // frames, frames * H * W, norm.num_groups, -1)
    variance, mean = torch.var_mean(grouped, dim=(1, 3), keepdim=True, correction=0)
    scaled = ((grouped - mean) * (variance + norm.eps).rsqrt()).view(N, H, W, C)
    result = scaled * norm.weight.float() + norm.bias.float()
    return (F.silu(result) if activate else result).to(x.dtype)


def add(
    x: Tensor, bias: Tensor | None, residual: Tensor, *, scale: float = 1.0, statistics: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Residual + scale (x + bias), and None in place of statistics; (N, H, W, C) each, bias (M, C)."""
    values = x.float() if bias is None else x.float() + _per_row(bias, len(x))
    return (residual.float() + scale * values).to(x.dtype), None


def geglu(x: Tensor, bias: Tensor) -> Tensor:
    """(..., 2 C) and bias (2 C,) -> the first half times GELU of the second: (..., C)."""
    values, gate = (x.float() + bias.float()).chunk(2, dim=-1)
    return (values * F.gelu(gate)).to(x.dtype)


def attend_frames(qkv: Tensor, heads: int) -> Tensor:
    """Self-attention over the frames at each position: (B, L, P, 3 C) -> (B, L, P, C)."""
    B, L, P, _ = qkv.shape
    q, k, v = qkv.view(B, L, P, 3, heads, -1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    attended = F.scaled_dot_product_attention(q, k, v)  # (B P, heads, L, d)
    return attended.unflatten(0, (B, P)).permute(0, 3, 1, 2, 4).flatten(3).contiguous()


def _per_row(bias: Tensor, rows: int) -> Tensor:
    return bias.float().repeat_interleave(rows // len(bias), 0)[:, None, None]
