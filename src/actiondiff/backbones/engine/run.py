"""The one function that makes a feature: windows through a backbone, pooled, without padding, averaged.

`backbone.extract`, bulk extraction, prediction and localisation all come through here. Batches always have
the backbone's own shape (short ones are filled with repeats, which are dropped), and the number of threads
is the backbone's, because both change rounding: so a feature's bits depend on nothing but its own video. Only
where memory does not suffice for a batch, fewer windows pass together from then on, and features say so.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.ahead import Source, WindowInput, read_ahead, read_in_turn
from actiondiff.backbones.engine.network import Network, Outputs, change_tensors
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import Array, DecodeReport, FeatureKey, Features, Frames

__all__ = ["Keep", "extract", "feature_keys", "run", "run_as_completed", "window_generator"]


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


Keep: TypeAlias = Callable[[int, WindowInput], None]
"""`keep(position, window)` is called for every window, in order within a video, with what it was encoded to
(on the CPU, B = 1) in place of its pixels."""
_Row: TypeAlias = tuple[int, WindowInput]  # position of its video, and the window


def run(
    backbone: Backbone,
    readers: Iterable[Source],
    keys: Sequence[FeatureKey],
    *,
    maps: bool = False,
    decode_threads: int = 0,
) -> Iterator[Features | None]:
    """Features of many videos, in order; windows of different videos share batches.

    Args:
        backbone: The frozen network.
        readers: One iterable of frame chunks a video; a `VideoReader`, or a list with one `Frames`.
        keys: What to extract.
        maps: Whether to keep the un-pooled layers too.
        decode_threads: How many threads read ahead, one a video. 0: readers are taken one after the other,
            and only as far as batches need.

    Yields:
        Features of each video, or None for one that gave no frame.
    """
    waiting: dict[int, Features | None] = {}
    following = 0
    completed = run_as_completed(backbone, readers, keys, maps=maps, decode_threads=decode_threads)
    for position, features in completed:
        waiting[position] = features
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def run_as_completed(
    backbone: Backbone,
    readers: Iterable[Source],
    keys: Sequence[FeatureKey],
    *,
    maps: bool = False,
    decode_threads: int = 0,
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Features | None]]:
    """As `run`, but each video's features come as soon as they are complete.

    Args:
        backbone: See `run`; with `keep` and for encoded videos one that is an `Encoding`, too.
        readers: See `run`; either all of them frames, or all of them encoded videos.
        keys: See `run`.
        maps: See `run`.
        decode_threads: See `run`.
        keep: Given what every window is encoded to.
        progress: Told how many windows passed, after each batch.

    Yields:
        Position among the readers, and features or None.

    Raises:
        UsageError: If memory does not suffice for a single window.
    """
    network = Network(backbone, keys, keep_maps=maps, keep_encoded=keep is not None)
    videos: dict[int, _Video] = {}
    pending: list[_Row] = []
    flights: list[_Flight] = []  # batches on their way: a GPU works on one while the next is put together
    count = network.threads
    if decode_threads:
        arrivals = read_ahead(backbone, readers, threads=decode_threads, compute_threads=count)
    else:
        arrivals = read_in_turn(backbone, readers, compute_threads=count)
    with closing(arrivals):
        for position, reader, item in arrivals:
            video = videos.setdefault(position, _Video(reader))
            if item is None:
                video.finished = True
            else:
                video.see(item)
                pending.append((position, item))
            if len(pending) == network.size:
                flights.append(_Flight(pending, network.launch([item for _, item in pending])))
                pending = []
            while len(flights) > 1:
                flights.pop(0).land(videos, backbone.tubelet, keep, progress)
            yield from _completed(videos, keys)
    if pending:
        flights.append(_Flight(pending, network.launch([item for _, item in pending])))
    for flight in flights:
        flight.land(videos, backbone.tubelet, keep, progress)
    yield from _completed(videos, keys)


def _completed(
    videos: "dict[int, _Video]", keys: Sequence[FeatureKey]
) -> Iterator[tuple[int, Features | None]]:
    """Features of the videos that are done, which are then forgotten."""
    for position in [position for position, video in videos.items() if video.complete]:
        yield position, videos.pop(position).features(keys)


@dataclass(frozen=True)
class _Flight:
    """A batch that was started."""

    rows: Sequence[_Row]
    outputs: Outputs

    def land(
        self,
        videos: "Mapping[int, _Video]",
        tubelet: int,
        keep: Keep | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        """Wait for it, and hand each window's tokens to its video."""
        pooled = {key: value.cpu().numpy() for key, value in self.outputs.pooled.items()}
        maps = {key: value.cpu().numpy() for key, value in self.outputs.maps.items()}
        encoded = self.outputs.encoded and change_tensors(self.outputs.encoded, lambda tensor: tensor.cpu())
        for row, (position, item) in enumerate(self.rows):
            count = len(range(0, item.window.num_real, tubelet))
            videos[position].add(
                item,
                [item.window.slots[step * tubelet] for step in range(count)],
                {key: value[row, :count] for key, value in pooled.items()},
                {key: value[row, :count] for key, value in maps.items()},
                self.outputs.batch,
            )
            if keep and encoded:
                rows = slice(row, row + 1)
                own = change_tensors(encoded, lambda tensor, rows=rows: tensor[rows])  # type: ignore[misc]
                keep(position, replace(item, pixels=None, encoded=own, batch=self.outputs.batch))
        if progress:
            progress(len(self.rows))


@dataclass
class _Video:
    """What is known of a video whose windows are on their way."""

    reader: Source
    identity: str = ""
    batch: int | None = None
    frame_index: dict[int, int] = field(default_factory=dict)  # sampled position -> raw index
    seconds: dict[int, float] = field(default_factory=dict)
    tokens: list[tuple[list[int], dict[FeatureKey, Array]]] = field(default_factory=list)
    maps: list[dict[FeatureKey, Array]] = field(default_factory=list)
    window_length: int = 0
    num_windows: int = 0
    num_padded: int = 0
    num_done: int = 0
    finished: bool = False

    @property
    def complete(self) -> bool:
        return self.finished and self.num_done == self.num_windows

    def see(self, item: WindowInput) -> None:
        """Note a window that is about to pass."""
        window = item.window
        self.identity = item.identity
        self.window_length = len(window.slots)
        self.num_windows += 1
        self.num_padded += len(window.slots) - window.num_real
        for slot in range(window.num_real):
            self.frame_index[window.slots[slot]] = int(item.frame_index[slot])
            if item.seconds is not None:
                self.seconds[window.slots[slot]] = float(item.seconds[slot])

    def add(
        self,
        item: WindowInput,
        positions: list[int],
        tokens: dict[FeatureKey, Array],
        maps: dict[FeatureKey, Array],
        batch: int | None,
    ) -> None:
        """Take what came of a window: tokens (S, C), maps (S, C, h, w), and the positions they are of."""
        self.tokens.append((positions, tokens))
        if maps:
            self.maps.append(maps)
        self.batch = min((count for count in (self.batch, item.batch, batch) if count), default=None)
        self.num_done += 1

    def features(self, keys: Sequence[FeatureKey]) -> Features | None:
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
            window_length=self.window_length,
            maps={key: _average(places, [values[key] for values in self.maps], len(starts)) for key in keys}
            if self.maps
            else {},
            report=report,
            batch=self.batch,
        )


def _average(places: Sequence[Sequence[int]], values: Sequence[Array], count: int) -> Array:
    """Put windows' values in their rows; rows that several windows cover get the mean."""
    total = np.zeros((count, *values[0].shape[1:]), dtype=np.float32)
    covered = np.zeros(count, dtype=np.float32)
    for rows, part in zip(places, values, strict=True):
        total[rows] += part
        covered[rows] += 1
    return np.divide(total, covered.reshape(-1, *[1] * (total.ndim - 1)), dtype=np.float32)
