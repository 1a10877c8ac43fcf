"""The cost of an extraction on this machine, estimated before it starts, and cheaper alternatives."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.engine.counting import WindowCost, count_window
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import UsageError
from actiondiff.extraction.plan import Item, Workload, estimate_workload
from actiondiff.extraction.planned import Extraction, open_if_present
from actiondiff.extraction.sources import VideoSource
from actiondiff.types import FeatureKey
from actiondiff.video.windows import iter_windows

__all__ = ["Alternative", "ExtractionCost", "Timing", "estimate_cost"]


@dataclass(frozen=True)
class Timing:
    """Time and memory that two batches of windows took on this machine.

    Attributes:
        seconds_a_window: Seconds per window in a full batch, once everything is loaded.
        decode_seconds_a_frame: Seconds per sampled frame that decoding takes, in one thread.
        peak_memory_bytes: Peak memory of the GPU, or else of this process; None where it is not available.
    """

    seconds_a_window: float
    decode_seconds_a_frame: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Alternative:
    """Other options, and their cost.

    Attributes:
        options: The options as they are typed.
        share: Their work (FLOP) as a share of the work of what was asked for.
        same_store: Whether the features could be written to the same store.
    """

    options: str
    share: float
    same_store: bool


@dataclass(frozen=True)
class ExtractionCost:
    """Estimated cost of an extraction.

    Attributes:
        workload: Windows, tokens and bytes.
        tflop: Total number of operations, in 10^12; None if the backbone's operations cannot be counted.
        latent_bytes: Upper limit of the size of stored latents on disk.
        timing: Time and memory of two batches; None if nothing was timed.
        seconds: How long the extraction will take; None if nothing was timed.
        alternatives: Cheaper options.
    """

    workload: Workload
    tflop: float | None
    latent_bytes: int
    timing: Timing | None
    seconds: float | None
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class _Group:
    """Contents that lack the same features and either all have stored latents or none has."""

    keys: tuple[FeatureKey, ...]
    has_latents: bool
    workload: Workload
    window: WindowCost | None

    @property
    def flop(self) -> float:
        if self.window is None:
            return 0.0
        return self.workload.num_windows * (
            self.window.flop_of_latents if self.has_latents else self.window.flop
        )


def estimate_cost(extraction: Extraction, *, timed: bool = True, workers: int = 1) -> ExtractionCost:
    """Estimate the cost of an extraction; nothing is written.

    Args:
        extraction: The planned extraction.
        timed: Whether to run two batches of windows of the first video, to measure time and memory.
        workers: Number of processes that will share the work.
    """
    groups = _groups(extraction)
    largest = max(groups, key=lambda group: group.workload.num_windows, default=None)
    is_counted = all(group.window for group in groups)
    flop = sum(group.flop for group in groups)
    timing = _time(extraction, largest.keys) if timed and largest else None
    latents = sum(
        group.workload.num_windows * group.window.latent_bytes
        for group in groups
        if group.window and not group.has_latents
    )
    workload = _total([group.workload for group in groups])
    seconds = None
    # The time of one full pass is scaled by operations, since windows with stored latents take fewer.
    if timing and largest:
        passes = (
            flop / largest.window.flop if largest.window and largest.window.flop else workload.num_windows
        )
        seconds = _seconds(extraction, timing, passes, workload) / workers
    return ExtractionCost(
        workload=workload,
        tflop=flop / 1e12 if is_counted else None,
        latent_bytes=latents if extraction.keep_latents else 0,
        timing=timing,
        seconds=seconds,
        alternatives=_alternatives(extraction, largest) if largest else (),
    )


def _groups(extraction: Extraction) -> list[_Group]:
    store = open_if_present(extraction.folder)
    backbone = extraction.backbone

    def kind(item: Item) -> tuple[tuple[FeatureKey, ...], bool]:
        if store is None or not item.keys or not isinstance(backbone, TwoStage):
            return item.keys, False
        latents = store.latents(item.identity)
        return item.keys, bool(latents and latents.suffice_for(item.keys, backbone.encoded_type))

    groups = []
    for (keys, has_latents), items in groupby(sorted(extraction.plan.todo, key=kind), key=kind):
        window = count_window(backbone.spec, backbone.options, keys or _default_keys(extraction))
        workload = estimate_workload(
            replace(extraction.plan, todo=tuple(items)),
            sampling=extraction.sampling,
            window=int(backbone.options.window or 1),
            store=store,
            tubelet=backbone.tubelet,
            widths=window.widths if window else None,
        )
        groups.append(_Group(keys or _default_keys(extraction), has_latents, workload, window))
    return groups


def _default_keys(extraction: Extraction) -> tuple[FeatureKey, ...]:
    """The backbone's own feature, which stands for the work of contents that are only encoded."""
    spec = extraction.backbone.spec
    return (FeatureKey.of(spec.timestep, spec.layer),)


def _total(workloads: Sequence[Workload]) -> Workload:
    sizes = [workload.num_bytes for workload in workloads if workload.num_bytes is not None]
    return Workload(
        num_windows=sum(workload.num_windows for workload in workloads),
        num_tokens=sum(workload.num_tokens for workload in workloads),
        num_bytes=sum(sizes) if len(sizes) == len(workloads) else None,
        num_unknown=sum(workload.num_unknown for workload in workloads),
        video_seconds=sum(workload.video_seconds for workload in workloads),
    )


def _time(extraction: Extraction, keys: Sequence[FeatureKey]) -> Timing | None:
    """Time two batches of the first window of the first video that decodes; None if none does.

    Only the second batch counts: the first one also loads weights and initialises libraries.
    """
    backbone = extraction.backbone
    length, padding = int(backbone.options.window or 1), backbone.options.padding or "black"
    size = int(backbone.options.batch or 1)
    on_gpu = backbone.options.device.startswith("cuda")
    for item in extraction.plan.todo:
        start = time.perf_counter()
        video = VideoSource(item, extraction.sampling)
        first = next(iter_windows(video, length=length, padding=padding), None)
        if first is None:
            continue
        window, frames = first
        decoding = (time.perf_counter() - start) / window.num_real
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(backbone.options.device)
        for _ in range(2):
            start = time.perf_counter()
            list(extract_in_order(backbone, [FrameSequence([frames])] * size, keys))
        return Timing((time.perf_counter() - start) / size, decoding, _peak_memory(backbone.options))
    return None


def _seconds(extraction: Extraction, timing: Timing, passes: float, workload: Workload) -> float:
    """Seconds in one process. A GPU works while videos are decoded; on a CPU both share the same cores."""
    computing = timing.seconds_a_window * passes
    decoding = timing.decode_seconds_a_frame * workload.num_tokens * extraction.backbone.tubelet
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


def _alternatives(extraction: Extraction, group: _Group) -> tuple[Alternative, ...]:
    """Cheaper options: a single timestep, a smaller picture, fewer frames."""
    if group.window is None or not group.window.flop:
        return ()
    backbone, whole = extraction.backbone, group.window.flop
    alternatives: list[Alternative] = []
    timesteps = sorted({key.timestep for key in group.keys})
    if len(timesteps) > 1:
        one = backbone.spec.timestep if backbone.spec.timestep in timesteps else timesteps[-1]
        keys = [key for key in group.keys if key.timestep == one]
        counted = count_window(backbone.spec, backbone.options, keys)
        if counted:
            alternatives.append(Alternative(f"--timesteps {one}", counted.flop / whole, same_store=True))
    for flags, changes in _smaller(backbone.spec.name, backbone.options):
        try:
            counted = count_window(backbone.spec, backbone.options.model_copy(update=changes), group.keys)
        except UsageError:  # this backbone takes frames of one size
            continue
        if counted:
            alternatives.append(Alternative(flags, counted.flop / whole, same_store=False))
    if extraction.sampling.stride:
        alternatives.append(Alternative(f"--stride {2 * extraction.sampling.stride}", 0.5, same_store=False))
    elif extraction.sampling.fps:
        alternatives.append(Alternative(f"--fps {extraction.sampling.fps / 2:g}", 0.5, same_store=False))
    return tuple(alternatives)


def _smaller(name: str, options: BackboneOptions) -> list[tuple[str, dict[str, int]]]:
    """The backbone's presets with smaller pictures; if it has no presets, half the height and width."""
    height, width = options.height or 0, options.width or 0
    presets = find_spec(name).presets
    smaller_presets = [
        (f"--preset {preset}", {"height": values["height"], "width": values["width"]})
        for preset, values in presets.items()
        if {"height", "width"} <= values.keys() and values["height"] * values["width"] < height * width
    ]
    half = {"height": height // 16 * 8, "width": width // 16 * 8}
    if presets or not min(half.values()):
        return smaller_presets
    return [(f"--height {half['height']} --width {half['width']}", half)]
