"""GroupNorm whose statistics are right on a CPU too where values hardly vary.

PyTorch's CPU kernel for tensors that are channels last in memory adds up the values of a channel, and their
squares, one after the other in float32, and takes E[x^2] - E[x]^2 for the variance. Where many values are
equal, as on black padding frames, roundings do not cancel out: means are off by up to 1e-3 deviations, and
deviations by up to 10 %. Its other kernels (channels first, CUDA) do not lose digits.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["ExactGroupNorm", "with_exact_statistics"]

_LARGEST_SHIFT = (
    1e-5  # error of a mean in deviations; without constant areas it is below, see `ExactGroupNorm`
)
_Model = TypeVar("_Model", bound=nn.Module)


class ExactGroupNorm(nn.GroupNorm):
    """As `GroupNorm`, but samples whose statistics are off are normalised again.

    A sample's means are compared with sums that are taken in pairs, which lose no digits and cost little.
    Samples that are not off have the bits of PyTorch's kernel. What is computed for a sample does not depend
    on the others.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (N, C, ...) -> the same shape and memory format."""
        if not _loses_digits(input):
            return super().forward(input)
        N, C, H, W = input.shape
        result, mean, inverse = torch.native_group_norm(
            input, self.weight, self.bias, N, C, H * W, self.num_groups, self.eps
        )
        shift = (mean - self._by_group(input.mean((2, 3)))) * inverse  # (N, G)
        samples = (shift.abs().amax(1) > _LARGEST_SHIFT).nonzero().flatten()
        if len(samples):
            positions, outputs = (t.permute(0, 2, 3, 1).flatten(1, 2) for t in (input, result))  # (N, H W, C)
            outputs[samples] = self._normalise(positions[samples])
        return result

    def _normalise(self, x: Tensor) -> Tensor:
        """Normalise (N, H W, C), by sums in pairs of values that are centred first; x is overwritten."""
        for _ in range(2):  # the second time, what rounding has left of the mean
            x -= self._by_channel(self._by_group(x.mean(1)))
        variance = self._by_group((x * x).mean(1))
        x *= self._by_channel((variance + self.eps).rsqrt()) * self.weight
        return x.add_(self.bias)

    def _by_group(self, means: Tensor) -> Tensor:
        """Means of channels (N, C) -> means of groups (N, G)."""
        return means.unflatten(1, (self.num_groups, -1)).mean(2)

    def _by_channel(self, values: Tensor) -> Tensor:
        """Values of groups (N, G) -> the same by channel (N, 1, C)."""
        return values.repeat_interleave(self.num_channels // self.num_groups, 1)[:, None]


def _loses_digits(x: Tensor) -> bool:
    """Whether PyTorch computes this with the kernel that loses digits."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4:
        return False
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def with_exact_statistics(model: _Model) -> _Model:
    """The same model, in which every `GroupNorm` has become an `ExactGroupNorm` with its parameters."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm:
                exact = ExactGroupNorm(child.num_groups, child.num_channels, child.eps, device="meta")
                exact.weight, exact.bias = child.weight, child.bias
                setattr(module, name, exact)
    return model
