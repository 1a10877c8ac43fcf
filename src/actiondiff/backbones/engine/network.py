"""A backbone as it is fed: batches of its own size, or of fewer windows once memory did not suffice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from actiondiff.backbones.base import Backbone, WindowBatch
from actiondiff.backbones.engine.ahead import WindowInput, cpu_threads
from actiondiff.backbones.precision import float32_mode
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey

if TYPE_CHECKING:
    from actiondiff.backbones.svd.inputs import Encoded

__all__ = ["Encoding", "Network", "Outputs", "change_tensors", "join_encoded"]

_Encoded = TypeVar("_Encoded", bound="Encoded")
_Maps = dict[FeatureKey, Tensor]


class Encoding(Protocol):
    """A backbone whose work has two halves: what is the same for all timesteps, and what is not."""

    def encode(self, windows: WindowBatch, keys: Sequence[FeatureKey] | None = None) -> "Encoded":
        """The first half, as far as these keys need it."""
        ...

    def unet_maps(self, encoded: "Encoded", keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """The second half; see `Backbone.maps`."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What comes of a batch, on the device, which may still be at work on it.

    Attributes:
        pooled: Key -> (B, S, C) float32, spatial means.
        maps: Key -> (B, S, C, h, w) float32, if they are kept.
        encoded: What the windows were encoded to, if that is kept.
        batch: Windows that passed together, if fewer than the backbone's own batch.
    """

    pooled: _Maps
    maps: _Maps
    encoded: "Encoded | None"
    batch: int | None


class Network:
    """A backbone, what is asked of it, and how many windows its memory holds.

    Args:
        backbone: It; with `keep_encoded` or for encoded windows an `Encoding`, too.
        keys: What it is to give.
        keep_maps: Whether un-pooled outputs are kept.
        keep_encoded: Whether what windows are encoded to is kept.

    Attributes:
        size: Windows a batch.
        threads: CPU threads that it computes with.
    """

    def __init__(
        self,
        backbone: Backbone,
        keys: Sequence[FeatureKey],
        *,
        keep_maps: bool = False,
        keep_encoded: bool = False,
    ) -> None:
        self.size = self._rows = int(backbone.options.batch or 1)
        self.threads = int(backbone.options.threads or torch.get_num_threads())
        self._keys = tuple(keys)
        self._backbone = backbone
        self._keep_maps = keep_maps
        self._keep_encoded = keep_encoded

    def launch(self, items: Sequence[WindowInput]) -> Outputs:
        """Start a batch of at most `size` windows; a GPU goes on with it when this returns.

        Float32 is full precision here, also on a GPU, unless a part of the backbone says otherwise.

        Raises:
            UsageError: If memory does not suffice for a single window.
        """
        while True:
            try:
                with cpu_threads(self.threads), float32_mode():
                    starts = range(0, len(items), self._rows)
                    parts = [self._pass(items[start : start + self._rows]) for start in starts]
                break
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            self._halve()  # here, where nothing holds on to what the pass had allocated
        return Outputs(
            pooled={key: torch.cat([part.pooled[key] for part in parts]) for key in parts[0].pooled},
            maps={key: torch.cat([part.maps[key] for part in parts]) for key in parts[0].maps},
            encoded=join_encoded([part.encoded for part in parts if part.encoded]),
            batch=self._rows if self._rows < self.size else None,
        )

    def _pass(self, items: Sequence[WindowInput]) -> Outputs:
        """As many windows as pass together; if they are fewer, the last one is repeated and then dropped."""
        count = len(items)
        filled = [*items, *[items[-1]] * (self._rows - count)]
        pooled: _Maps = {}
        maps: _Maps = {}
        with torch.inference_mode():
            outputs, encoded = self._compute(filled)
            for key in self._keys:
                value = outputs.pop(key)[:count].float()
                pooled[key] = value.mean((-2, -1))
                if self._keep_maps:
                    maps[key] = value
            kept = encoded and change_tensors(encoded, lambda tensor: tensor[:count])
        return Outputs(pooled, maps, kept, None)

    def _compute(self, items: Sequence[WindowInput]) -> "tuple[_Maps, Encoded | None]":
        backbone: Any = self._backbone
        given = join_encoded([item.encoded for item in items if item.encoded])
        if given:
            device = torch.device(backbone.options.device)
            moved = change_tensors(given, lambda tensor: tensor.to(device))
            return backbone.unet_maps(moved, self._keys), None
        batch = self._batch(items)
        if not self._keep_encoded:
            return backbone.maps(batch, self._keys), None
        # all that the U-Net needs, whatever is asked for now
        usual = FeatureKey.of(backbone.spec.timestep, backbone.spec.layer)
        encoded = backbone.encode(batch, [*self._keys, usual])
        return backbone.unet_maps(encoded, self._keys), encoded

    def _batch(self, items: Sequence[WindowInput]) -> WindowBatch:
        pixels = [item.pixels for item in items if item.pixels is not None]
        assert len(pixels) == len(items), "encoded windows share no batch with others"
        prepared = {id(part): part for part in pixels}  # a repeated window is prepared once
        for name, part in prepared.items():
            if part.dtype == torch.uint8:
                prepared[name] = self._backbone.preprocess(part)
        return WindowBatch(
            pixels=torch.stack([prepared[id(part)] for part in pixels]),
            num_real=tuple(item.window.num_real for item in items),
            identities=tuple(item.identity for item in items),
            first_frames=tuple(int(item.frame_index[0]) for item in items),
        )

    def _halve(self) -> None:
        """Let half as many windows pass together from now on.

        Raises:
            UsageError: If that would be none.
        """
        options = self._backbone.options
        if self._rows == 1:
            raise UsageError(
                f"the memory of {options.device} does not suffice for one window of {options.window} frames "
                f"at {options.height}x{options.width}. Use smaller frames (--height, --width), a smaller "
                "--vae-chunk or half precision (--dtype)."
            )
        self._rows = -(-self._rows // 2)
        if torch.device(options.device).type == "cuda":
            torch.cuda.empty_cache()


def change_tensors(encoded: _Encoded, change: Callable[[Tensor], Tensor]) -> _Encoded:
    """Encoded windows with every tensor changed."""
    tensors = {part.name: getattr(encoded, part.name) for part in fields(encoded)}
    changed = {name: change(tensor) for name, tensor in tensors.items() if tensor is not None}
    return replace(encoded, **changed)


def join_encoded(parts: "Sequence[Encoded]") -> "Encoded | None":
    """Encoded windows as one batch; None if there are none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    names = [part.name for part in fields(parts[0]) if getattr(parts[0], part.name) is not None]
    return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
