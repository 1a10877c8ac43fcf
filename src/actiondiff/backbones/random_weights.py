"""Seeded random weights in place of a checkpoint, for tests and controls."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from actiondiff.provenance import fingerprint

__all__ = ["RandomTensors"]


class RandomTensors:
    """Components whose tensors are drawn when they are read, each from the seed and its own name.

    Matrices and kernels are normally distributed with variance 1 / fan-in, so that activations keep their
    size at any depth. Norms are the identity, biases are zero, and mix factors are zero, so that both
    branches have the same weight.

    Args:
        build: Component -> function that makes its module, on the meta device, as only shapes are used.
        architecture: Arguments that the modules are built from; part of the identity.
        seed: Seed of all random draws.
        shapes_only: Whether tensors are left on the meta device without values, which suffices for counting
            operations.
    """

    def __init__(
        self,
        build: Mapping[str, Callable[[], nn.Module]],
        architecture: Mapping[str, Any],
        seed: int,
        *,
        shapes_only: bool = False,
    ) -> None:
        self.identity = f"random-{fingerprint({'architecture': dict(architecture), 'seed': seed})}"
        self._build = build
        self._seed = seed
        self._shapes_only = shapes_only
        self._shapes: dict[str, dict[str, torch.Size]] = {}

    def tensors(
        self, component: str, names: Iterable[str] | None = None, *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """The named tensors of a component, or all of them; None for `dtype`: float32."""
        shapes = self._shapes_of(component)
        if self._shapes_only:
            chosen = shapes if names is None else names
            return {name: torch.empty(shapes[name], dtype=dtype, device="meta") for name in chosen}
        return {
            name: _draw(f"{self._seed}/{component}/{name}", name, shapes[name]).to(dtype or torch.float32)
            for name in (shapes if names is None else names)
        }

    def keys(self, component: str) -> frozenset[str]:
        """Names of a component's tensors."""
        return frozenset(self._shapes_of(component))

    def _shapes_of(self, component: str) -> dict[str, torch.Size]:
        if component not in self._shapes:
            module = self._build[component]()
            self._shapes[component] = {name: t.shape for name, t in module.state_dict().items()}
        return self._shapes[component]


def _draw(identity: str, name: str, shape: torch.Size) -> Tensor:
    if name.endswith(("mix_factor", "bias", "running_mean")):
        return torch.zeros(shape)
    if name.endswith(".gamma") or (len(shape) < 2 and "embedding" not in name):
        return torch.ones(shape)  # norms
    seed = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") >> 1
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    fan_in = shape[1:].numel() if len(shape) > 1 else shape[0]
    return draws / fan_in**0.5
