"""Passes batches of windows through a backbone, in smaller parts once memory did not suffice for a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actiondiff.backbones.base import Backbone, WindowBatch
from actiondiff.backbones.engine.encoding import (
    EncodedWindows,
    EncodesAgain,
    PoolsEarly,
    TellsStrangeness,
    TwoStage,
    spatial_mean,
)
from actiondiff.backbones.engine.precision import cpu_threads, float32_mode
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.errors import UsageError
from actiondiff.processes import keep_freed_memory
from actiondiff.types import FeatureKey

__all__ = ["Network", "Outputs"]

_Maps = dict[FeatureKey, Tensor]


@dataclass(frozen=True)
class Outputs:
    """Results of a batch, on the device, which may still be computing them.

    Attributes:
        pooled: Key -> (B, S, C) float32, spatial means.
        maps: Key -> (B, S, C, h, w) float32, if they are kept.
        encoded: The windows after the first stage, if that is kept.
        batch: Number of windows that passed together, if less than the backbone's own batch.
        encoded_again: For each window, whether half precision could not encode it.
        strangeness: (B,) float32, see `Appearance`; None if the backbone is not a student.
    """

    pooled: _Maps
    maps: _Maps
    encoded: EncodedWindows | None
    batch: int | None
    encoded_again: Sequence[bool] = ()
    strangeness: Tensor | None = None


class Network:
    """A backbone, the features asked of it, and the number of windows that fit into memory.

    Args:
        backbone: The backbone; for encoded windows and with `keep_encoded` it must be `TwoStage`.
        keys: Features to compute.
        keep_maps: Whether un-pooled outputs are kept.
        keep_encoded: Whether windows are kept as they are after the first stage.

    Attributes:
        size: Number of windows per batch.
        threads: CPU threads that the backbone computes with.
    """

    def __init__(
        self,
        backbone: Backbone,
        keys: Sequence[FeatureKey],
        *,
        keep_maps: bool = False,
        keep_encoded: bool = False,
    ) -> None:
        self.size = self._fitting = int(backbone.options.batch or 1)
        self.threads = int(backbone.options.threads or torch.get_num_threads())
        if torch.device(backbone.options.device).type == "cpu":
            keep_freed_memory()
        self._keys = tuple(keys)
        self._backbone = backbone
        self._keep_maps = keep_maps
        self._early = isinstance(backbone, PoolsEarly) and not keep_maps
        self._keep_encoded = keep_encoded

    def launch(self, items: Sequence[WindowInput]) -> Outputs:
        """Start a batch of at most `size` windows; a GPU may still be computing when this returns.

        Float32 means full precision here, also on a GPU, unless a part of the backbone sets another mode.

        Raises:
            UsageError: If memory does not suffice for a single window.
        """
        if not self._keys and not self._keep_encoded:  # nothing but the layer `track` is asked for
            return Outputs({}, {}, None, None, [False] * len(items))
        while True:
            try:
                with cpu_threads(self.threads), float32_mode():
                    starts = range(0, len(items), self._fitting)
                    parts = [self._pass(items[start : start + self._fitting]) for start in starts]
                break
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            self._halve()  # outside the except block, where nothing holds on to the memory of the failed pass
        encoded = [part.encoded for part in parts if part.encoded]
        strangeness = [part.strangeness for part in parts if part.strangeness is not None]
        return Outputs(
            pooled={key: torch.cat([part.pooled[key] for part in parts]) for key in parts[0].pooled},
            maps={key: torch.cat([part.maps[key] for part in parts]) for key in parts[0].maps},
            encoded=EncodedWindows.joined(encoded) if encoded else None,
            batch=self._fitting if self._fitting < self.size else None,
            encoded_again=[self._is_encoded_again(item) for item in items],
            strangeness=torch.cat(strangeness) if strangeness else None,
        )

    def _is_encoded_again(self, item: WindowInput) -> bool:
        if item.encoded:  # it passed the first stage in an earlier run
            return item.encoded_again
        backbone = self._backbone
        first = int(item.frame_index[0])
        return isinstance(backbone, EncodesAgain) and backbone.is_encoded_again(item.identity, first)

    def _pass(self, items: Sequence[WindowInput]) -> Outputs:
        """Compute one part of a batch; a short part is filled by repeating its last window, then cut."""
        count = len(items)
        filled = [*items, *[items[-1]] * (self._fitting - count)]
        pooled: _Maps = {}
        maps: _Maps = {}
        with torch.inference_mode():
            batch = None if items[0].encoded else self._batch(filled)
            outputs, encoded = self._compute(filled, batch)
            strangeness = self._strangeness(batch)
            for key in self._keys:
                value = outputs.pop(key)[:count].float()
                pooled[key] = value if self._early else spatial_mean(value)
                if self._keep_maps:
                    maps[key] = value
            encoded = encoded and encoded.changed(lambda tensor: tensor[:count])
            strangeness = None if strangeness is None else strangeness[:count]
        return Outputs(pooled, maps, encoded, None, strangeness=strangeness)

    def _strangeness(self, batch: WindowBatch | None) -> Tensor | None:
        backbone = self._backbone
        return backbone.strangeness(batch) if batch and isinstance(backbone, TellsStrangeness) else None

    def _compute(
        self, items: Sequence[WindowInput], batch: WindowBatch | None
    ) -> tuple[_Maps, EncodedWindows | None]:
        """Maps of a full batch, or their means if it pools early; and encoded windows that are to be kept."""
        backbone = self._backbone
        # Windows that were encoded before skip the first stage.
        if batch is None:
            encoded_items = [item.encoded for item in items if item.encoded]
            assert isinstance(backbone, TwoStage), "only a two-stage backbone takes encoded windows"
            device = torch.device(backbone.options.device)
            moved = EncodedWindows.joined(encoded_items).changed(lambda tensor: tensor.to(device))
            return self._second_stage(backbone, moved), None
        if not self._keep_encoded:
            if self._early:
                assert isinstance(backbone, TwoStage)
                return self._second_stage(backbone, backbone.encode(batch, self._keys)), None
            return backbone.maps(batch, self._keys), None
        assert isinstance(backbone, TwoStage), "only a two-stage backbone encodes windows"
        # What is kept has to serve any layer later, whatever is asked for now.
        usual = FeatureKey.of(backbone.spec.timestep, backbone.spec.layer)
        encoded = backbone.encode(batch, [*self._keys, usual])
        return self._second_stage(backbone, encoded), encoded

    def _second_stage(self, backbone: TwoStage, encoded: EncodedWindows) -> _Maps:
        if self._early:
            assert isinstance(backbone, PoolsEarly)
            return backbone.pooled_from(encoded, self._keys)
        return backbone.maps_from(encoded, self._keys)

    def _batch(self, items: Sequence[WindowInput]) -> WindowBatch:
        pixels = [item.pixels for item in items if item.pixels is not None]
        assert len(pixels) == len(items), "encoded windows share no batch with others"
        prepared = {id(part): part for part in pixels}  # a repeated window is preprocessed once
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
            UsageError: If only one window passes already.
        """
        options = self._backbone.options
        if self._fitting == 1:
            raise UsageError(
                f"the memory of {options.device} does not suffice for one window of {options.window} frames "
                f"at {options.height}x{options.width}. Use {options.memory_advice}."
            )
        self._fitting = -(-self._fitting // 2)
        if torch.device(options.device).type == "cuda":
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
