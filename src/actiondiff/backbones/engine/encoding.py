"""Backbones whose work has two stages, and what the first stage makes of a batch of windows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from actiondiff.backbones.base import WindowBatch
from actiondiff.types import FeatureKey

__all__ = ["EncodedWindows", "EncodesAgain", "PoolsEarly", "TellsStrangeness", "TwoStage", "spatial_mean"]


@dataclass(frozen=True)
class EncodedWindows(ABC):
    """A batch of windows after the first stage of a backbone.

    A backbone's own class is a frozen dataclass that derives from this one. Each of its fields is a tensor
    (B, ...) or None: None where no requested feature needs the tensor.

    Attributes:
        multiples: Name of a tensor -> (name of another tensor, factor). The first is usually the second times
            the factor, to the bit, and then need not be stored.
    """

    multiples: ClassVar[Mapping[str, tuple[str, float]]] = {}

    @classmethod
    @abstractmethod
    def needed_for(cls, keys: Collection[FeatureKey]) -> frozenset[str]:
        """Names of the tensors without which these features cannot be computed."""

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor, without those that are None."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: tensor for name, tensor in values.items() if tensor is not None}

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same windows with `change` applied to every tensor."""
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several batches as one; at least one is needed, and all have the same tensors."""
        first = parts[0]
        if len(parts) == 1:
            return first
        tensors = [part.tensors() for part in parts]
        return replace(first, **{name: torch.cat([part[name] for part in tensors]) for name in tensors[0]})


@runtime_checkable
class TwoStage(Protocol):
    """A backbone whose work has two stages: what is the same for all timesteps, and what is not.

    A `Backbone` that also has these members can keep the result of its first stage, so that further timesteps
    and layers need no video. `isinstance(backbone, TwoStage)` tells whether it does.

    Attributes:
        encoded_type: Class of what the first stage returns.
    """

    encoded_type: type[EncodedWindows]

    def encode(self, windows: WindowBatch, keys: Sequence[FeatureKey] | None = None) -> EncodedWindows:
        """First stage, as far as these features need it; None: everything."""
        ...

    def maps_from(self, encoded: EncodedWindows, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Second stage; returns what `Backbone.maps` returns for the windows that were encoded."""
        ...


@runtime_checkable
class PoolsEarly(TwoStage, Protocol):
    """A backbone that can take spatial means while it computes, so that no map stays in memory."""

    def pooled_from(self, encoded: EncodedWindows, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Second stage; returns `spatial_mean` of what `TwoStage.maps_from` returns."""
        ...


@runtime_checkable
class TellsStrangeness(Protocol):
    """A backbone that can tell how unlike what it learnt from its windows are, as students do."""

    def strangeness(self, windows: WindowBatch) -> Tensor | None:
        """(B,) on the backbone's device, see `Appearance`; None if it cannot tell after all."""
        ...


@runtime_checkable
class EncodesAgain(Protocol):
    """A backbone that encodes a window again, in more precision, if half precision cannot represent it."""

    def is_encoded_again(self, identity: str, first_frame: int) -> bool:
        """Whether the window of this video that begins at this raw frame was encoded again."""
        ...


def spatial_mean(maps: Tensor) -> Tensor:
    """(..., C, h, w) -> (..., C) float32."""
    return maps.float().mean((-2, -1))
