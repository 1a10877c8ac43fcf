"""What an extraction will take here, before it is begun, and what would take less."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.engine.counting import WindowCost, count_window
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.engine.run import run
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import UsageError
from actiondiff.extraction.clips import Clip
from actiondiff.extraction.local import Extraction
from actiondiff.extraction.plan import Cost, Item, estimate
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey
from actiondiff.video.windows import iter_windows

__all__ = ["Alternative", "Price", "Timing", "price"]


@dataclass(frozen=True)
class Timing:
    """What two windows took here.

    Attributes:
        seconds_a_window: In a full batch, once everything is loaded.
        decode_seconds_a_frame: In one thread, for each frame that is kept.
        peak_memory_bytes: Of the GPU, else of this process; None where the system does not tell.
    """

    seconds_a_window: float
    decode_seconds_a_frame: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Alternative:
    """Other options, and what they would take.

    Attributes:
        options: As they are typed.
        share: Of the work (FLOP) of what was asked for.
        same_store: Whether the features would go into the same store.
    """

    options: str
    share: float
    same_store: bool


@dataclass(frozen=True)
class Price:
    """About what an extraction takes.

    Attributes:
        cost: Windows, tokens and bytes.
        tflop: 10^12 operations in all; None if the backbone is not one that can be counted.
        latent_bytes: On disk for kept latents, at most.
        timing: What two windows took; None if nothing was timed.
        seconds: How long it will take; None if nothing was timed.
        alternatives: What would take less.
    """

    cost: Cost
    tflop: float | None
    latent_bytes: int
    timing: Timing | None
    seconds: float | None
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class _Group:
    """Contents that lack the same features, of which latents are kept or not."""

    keys: tuple[FeatureKey, ...]
    kept: bool
    cost: Cost
    window: WindowCost | None

    @property
    def flop(self) -> float:
        if self.window is None:
            return 0.0
        return self.cost.num_windows * (self.window.flop_of_latents if self.kept else self.window.flop)


def price(extraction: Extraction, *, timed: bool = True, workers: int = 1) -> Price:
    """About what an extraction takes; nothing is written.

    Args:
        extraction: As it is planned.
        timed: Whether to run two batches of windows of its first video, for the time and memory they take.
        workers: How many processes will share the work.
    """
    groups = _groups(extraction)
    largest = max(groups, key=lambda group: group.cost.num_windows, default=None)
    counted = all(group.window for group in groups)
    flop = sum(group.flop for group in groups)
    timing = _time(extraction, largest.keys) if timed and largest else None
    latents = sum(
        group.cost.num_windows * group.window.latent_bytes
        for group in groups
        if group.window and not group.kept
    )
    cost = _sum([group.cost for group in groups])
    seconds = None
    if timing and largest:
        passes = flop / largest.window.flop if largest.window and largest.window.flop else cost.num_windows
        seconds = _seconds(extraction, timing, passes, cost) / workers
    return Price(
        cost=cost,
        tflop=flop / 1e12 if counted else None,
        latent_bytes=latents if extraction.keep_latents else 0,
        timing=timing,
        seconds=seconds,
        alternatives=_alternatives(extraction, largest) if largest else (),
    )


def _groups(extraction: Extraction) -> list[_Group]:
    store = FeatureStore.open(extraction.folder) if FeatureStore.is_at(extraction.folder) else None
    backbone = extraction.backbone

    def kind(item: Item) -> tuple[tuple[FeatureKey, ...], bool]:
        if store is None or not item.keys or not isinstance(backbone, TwoStage):
            return item.keys, False
        latents = store.latents(item.identity)
        return item.keys, bool(latents and latents.suffice_for(item.keys, backbone.encoded_type))

    groups = []
    for (keys, kept), items in groupby(sorted(extraction.plan.todo, key=kind), key=kind):
        window = count_window(backbone.spec, backbone.options, keys or _usual(extraction))
        cost = estimate(
            replace(extraction.plan, todo=tuple(items)),
            sampling=extraction.sampling,
            window=int(backbone.options.window or 1),
            store=store,
            tubelet=backbone.tubelet,
            widths=window.widths if window else None,
        )
        groups.append(_Group(keys or _usual(extraction), kept, cost, window))
    return groups


def _usual(extraction: Extraction) -> tuple[FeatureKey, ...]:
    """What stands for the work of encoding alone."""
    spec = extraction.backbone.spec
    return (FeatureKey.of(spec.timestep, spec.layer),)


def _sum(costs: Sequence[Cost]) -> Cost:
    sizes = [cost.num_bytes for cost in costs]
    known = [size for size in sizes if size is not None]
    return Cost(
        num_windows=sum(cost.num_windows for cost in costs),
        num_tokens=sum(cost.num_tokens for cost in costs),
        num_bytes=sum(known) if len(known) == len(sizes) else None,
        num_unknown=sum(cost.num_unknown for cost in costs),
        video_seconds=sum(cost.video_seconds for cost in costs),
    )


def _time(extraction: Extraction, keys: Sequence[FeatureKey]) -> Timing | None:
    """Time two batches of the first video's first window; None if no video decodes.

    The first batch also loads weights and settles what libraries settle once: the second one counts.
    """
    backbone = extraction.backbone
    length, padding = int(backbone.options.window or 1), backbone.options.padding or "black"
    size = int(backbone.options.batch or 1)
    on_gpu = backbone.options.device.startswith("cuda")
    for item in extraction.plan.todo:
        start = time.perf_counter()
        clip = Clip(item, extraction.sampling)
        found = next(iter_windows(clip, length=length, padding=padding), None)
        if found is None:
            continue
        window, frames = found
        decoding = (time.perf_counter() - start) / window.num_real
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(backbone.options.device)
        for _ in range(2):
            start = time.perf_counter()
            list(run(backbone, [FrameSequence([frames])] * size, keys))
        return Timing((time.perf_counter() - start) / size, decoding, _peak_memory(backbone.options))
    return None


def _seconds(extraction: Extraction, timing: Timing, passes: float, cost: Cost) -> float:
    """In one process. A GPU works while videos are decoded; on a CPU both take from the same cores."""
    computing = timing.seconds_a_window * passes
    decoding = timing.decode_seconds_a_frame * cost.num_tokens * extraction.backbone.tubelet
    if extraction.backbone.options.device.startswith("cuda"):
        return max(computing, decoding / (extraction.decode_threads or 1))
    return computing + decoding


def _peak_memory(options: BackboneOptions) -> int | None:
    if options.device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(options.device))
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, kilobytes elsewhere


def _alternatives(extraction: Extraction, asked: _Group) -> tuple[Alternative, ...]:
    """What would take less: a single timestep, a smaller picture, fewer frames."""
    if asked.window is None or not asked.window.flop:
        return ()
    backbone, whole, found = extraction.backbone, asked.window.flop, []
    timesteps = sorted({key.timestep for key in asked.keys})
    if len(timesteps) > 1:
        one = backbone.spec.timestep if backbone.spec.timestep in timesteps else timesteps[-1]
        keys = [key for key in asked.keys if key.timestep == one]
        counted = count_window(backbone.spec, backbone.options, keys)
        if counted:
            found.append(Alternative(f"--timesteps {one}", counted.flop / whole, same_store=True))
    for flags, changes in _smaller(backbone.spec.name, backbone.options):
        try:
            counted = count_window(backbone.spec, backbone.options.model_copy(update=changes), asked.keys)
        except UsageError:  # this backbone takes frames of one size
            continue
        if counted:
            found.append(Alternative(flags, counted.flop / whole, same_store=False))
    if extraction.sampling.stride:
        found.append(Alternative(f"--stride {2 * extraction.sampling.stride}", 0.5, same_store=False))
    elif extraction.sampling.fps:
        found.append(Alternative(f"--fps {extraction.sampling.fps / 2:g}", 0.5, same_store=False))
    return tuple(found)


def _smaller(name: str, options: BackboneOptions) -> list[tuple[str, dict[str, int]]]:
    """The backbone's presets of smaller pictures; where it has none, half the height and width."""
    height, width = options.height or 0, options.width or 0
    presets = find_spec(name).presets
    found = [
        (f"--preset {preset}", {"height": values["height"], "width": values["width"]})
        for preset, values in presets.items()
        if {"height", "width"} <= values.keys() and values["height"] * values["width"] < height * width
    ]
    half = {"height": height // 16 * 8, "width": width // 16 * 8}
    if presets or not min(half.values()):
        return found
    return [(f"--height {half['height']} --width {half['width']}", half)]
