"""The one function that makes a feature: windows through a backbone, pooled, without padding, averaged.

`backbone.extract`, bulk extraction, prediction and localisation all come through `run`. Batches always have
the backbone's own shape (short ones are filled with repeats, which are dropped), and the number of threads
is the backbone's, because both change rounding: so a feature's bits depend on nothing but its own video.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from actiondiff.backbones.base import Backbone, WindowBatch
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import Array, DecodeReport, FeatureKey, Features, Frames, Window
from actiondiff.windows import iter_windows

__all__ = ["extract", "feature_keys", "run", "window_generator"]


def window_generator(seed: int, identity: str, first_frame: int, purpose: str) -> torch.Generator:
    """A CPU generator fixed by the seed, the video's content, the window's place and the purpose alone."""
    digest = hashlib.sha256(f"{seed}/{identity}/{first_frame}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def feature_keys(
    backbone: Backbone, timesteps: Sequence[int] | None, layers: Sequence[int | str] | None
) -> list[FeatureKey]:
    """Keys of all timesteps x layers; the backbone's own where None. Checked before anything is computed.

    Raises:
        UsageError: If a timestep does not exist.
        UnknownNameError: If a layer does not exist.
    """
    chosen = [
        FeatureKey.of(timestep, layer)
        for timestep in ([backbone.spec.timestep] if timesteps is None else timesteps)
        for layer in ([backbone.spec.layer] if layers is None else layers)
    ]
    for key in chosen:
        if not 0 <= key.timestep < backbone.num_timesteps:
            raise UsageError(
                f"timestep {key.timestep} does not exist: {backbone.spec.name} has timesteps 0 (noisiest) to "
                f"{backbone.num_timesteps - 1} (cleanest)."
            )
        if key.layer not in backbone.taps:
            raise UnknownNameError(f"layer of {backbone.spec.name}", key.layer, backbone.taps)
    return sorted(set(chosen))


def extract(
    backbone: Backbone,
    frames: Frames,
    *,
    timesteps: Sequence[int] | None = None,
    layers: Sequence[int | str] | None = None,
    maps: bool = False,
) -> Features:
    """Features of one video's frames.

    Raises:
        UsageError: If there is no frame, or a timestep does not exist.
        UnknownNameError: If a layer does not exist.
    """
    if not len(frames):
        raise UsageError("no frames to extract features from: got 0.")
    result = next(run(backbone, [[frames]], feature_keys(backbone, timesteps, layers), maps=maps))
    assert result is not None
    return result


def run(
    backbone: Backbone, readers: Iterable[Iterable[Frames]], keys: Sequence[FeatureKey], *, maps: bool = False
) -> Iterator[Features | None]:
    """Features of many videos, in order; windows of different videos share batches.

    Args:
        backbone: The frozen network.
        readers: One iterable of frame chunks a video; a `VideoReader`, or a list with one `Frames`. They are
            taken one after the other, and only as far as batches need.
        keys: What to extract.
        maps: Whether to keep the un-pooled layers too.

    Yields:
        Features of each video, or None for one that gave no frame.
    """
    videos: list[_Video] = []
    pending: list[tuple[_Video, Window, Frames]] = []
    size = int(backbone.options.batch or 1)
    for reader in readers:
        video = _Video(reader)
        videos.append(video)
        length = int(backbone.options.window or 1)
        for window, frames in iter_windows(
            reader, length=length, padding=backbone.options.padding or "black"
        ):
            video.see(window, frames)
            pending.append((video, window, frames))
            if len(pending) == size:
                _process(backbone, pending, size, keys, maps)
                pending.clear()
        video.finished = True
        while videos and videos[0].complete:
            yield videos.pop(0).features(backbone, keys)
    if pending:
        _process(backbone, pending, size, keys, maps)
    for video in videos:
        yield video.features(backbone, keys)


@dataclass
class _Video:
    """What is known of a video whose windows are on their way."""

    reader: Iterable[Frames]
    identity: str = ""
    frame_index: dict[int, int] = field(default_factory=dict)  # sampled position -> raw index
    seconds: dict[int, float] = field(default_factory=dict)
    tokens: list[tuple[list[int], dict[FeatureKey, Array]]] = field(default_factory=list)
    maps: list[dict[FeatureKey, Array]] = field(default_factory=list)
    num_windows: int = 0
    num_padded: int = 0
    num_done: int = 0
    finished: bool = False

    @property
    def complete(self) -> bool:
        return self.finished and self.num_done == self.num_windows

    def see(self, window: Window, frames: Frames) -> None:
        self.identity = frames.identity
        self.num_windows += 1
        self.num_padded += len(window.slots) - window.num_real
        for slot in range(window.num_real):
            self.frame_index[window.slots[slot]] = int(frames.frame_index[slot])
            if frames.seconds is not None:
                self.seconds[window.slots[slot]] = float(frames.seconds[slot])

    def features(self, backbone: Backbone, keys: Sequence[FeatureKey]) -> Features | None:
        if not self.num_windows:
            return None
        starts = sorted({position for positions, _ in self.tokens for position in positions})
        rows = {position: row for row, position in enumerate(starts)}
        pooled = [values for _, values in self.tokens]
        places = [[rows[position] for position in positions] for positions, _ in self.tokens]
        report: DecodeReport | None = getattr(self.reader, "report", None)
        if report is None and isinstance(self.reader, list) and self.reader:
            report = self.reader[0].report
        return Features(
            tokens={key: _average(places, [values[key] for values in pooled], len(starts)) for key in keys},
            seconds=np.array([self.seconds[s] for s in starts]) if self.seconds else None,
            frame_index=np.array([self.frame_index[s] for s in starts], dtype=np.int64),
            identity=self.identity,
            num_windows=self.num_windows,
            num_padded=self.num_padded,
            window_length=int(backbone.options.window or 1),
            maps={key: _average(places, [values[key] for values in self.maps], len(starts)) for key in keys}
            if self.maps
            else {},
            report=report,
        )


def _average(places: Sequence[Sequence[int]], values: Sequence[Array], count: int) -> Array:
    """Put windows' values in their rows; rows that several windows cover get the mean."""
    total = np.zeros((count, *values[0].shape[1:]), dtype=np.float32)
    covered = np.zeros(count, dtype=np.float32)
    for rows, part in zip(places, values, strict=True):
        total[rows] += part
        covered[rows] += 1
    return np.divide(total, covered.reshape(-1, *[1] * (total.ndim - 1)), dtype=np.float32)


def _process(
    backbone: Backbone,
    pending: Sequence[tuple[_Video, Window, Frames]],
    size: int,
    keys: Sequence[FeatureKey],
    keep_maps: bool,
) -> None:
    """Run one batch and hand each window's tokens to its video."""
    filled = [*pending, *[pending[-1]] * (size - len(pending))]
    with _threads(int(backbone.options.threads or torch.get_num_threads())):
        batch = WindowBatch(
            pixels=torch.stack(
                [
                    backbone.preprocess(torch.from_numpy(np.ascontiguousarray(frames.pixels)))
                    for _, _, frames in filled
                ]
            ),
            num_real=tuple(window.num_real for _, window, _ in filled),
            identities=tuple(frames.identity for _, _, frames in filled),
            first_frames=tuple(int(frames.frame_index[0]) for _, _, frames in filled),
        )
        outputs = {key: value.float() for key, value in backbone.maps(batch, keys).items()}
        pooled = {key: value.mean((-2, -1)).cpu().numpy() for key, value in outputs.items()}
    for row, (video, window, _) in enumerate(pending):
        steps = range(0, window.num_real, backbone.tubelet)
        positions = [window.slots[slot] for slot in steps]
        video.tokens.append((positions, {key: pooled[key][row, : len(steps)] for key in keys}))
        if keep_maps:
            video.maps.append({key: _numpy(outputs[key][row, : len(steps)]) for key in keys})
        video.num_done += 1


def _numpy(values: Tensor) -> Array:
    return values.cpu().numpy()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
