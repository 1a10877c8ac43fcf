"""How features are made: windows pass through a backbone, are pooled without padding, and are averaged.

`_completed_videos` makes every feature; `extract`, `extract_in_order` and `extract_as_completed` call it, for
`backbone.extract`, bulk extraction, prediction and localisation. Batches always have the size that
the backbone's options give (short ones are filled with repeats, which are dropped), and so does the number of
CPU threads, because both change rounding: so the bits of a feature depend on nothing but its own video. Only
where memory does not suffice for a batch do fewer windows pass together from then on; features record that.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias

import numpy as np

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.network import Network, Outputs
from actiondiff.backbones.engine.reading import read_ahead, read_in_turn
from actiondiff.backbones.engine.track import network_keys, track_tokens
from actiondiff.backbones.engine.windows import FrameSequence, Source, WindowInput
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import TRACK, Appearance, Array, DoubleArray, FeatureKey, Features, Frames

__all__ = ["Keep", "extract", "extract_as_completed", "extract_in_order", "feature_keys"]

Keep: TypeAlias = Callable[[Source, WindowInput], None]
"""`keep(reader, window)` is called for every window, in order within a video. In place of its pixels the
window has what the backbone's first stage made of it, on the CPU, with B = 1."""


def feature_keys(
    backbone: Backbone, timesteps: Sequence[int] | None, layers: Sequence[int | str] | None
) -> list[FeatureKey]:
    """Keys of all timesteps x layers, checked before anything is computed.

    Args:
        backbone: The backbone.
        timesteps: Diffusion timesteps; None for the backbone's own.
        layers: Numbers or names of layers; None for the backbone's own.

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
        if backbone.spec.only_timestep and key.timestep != backbone.spec.timestep:
            raise UsageError(
                f"this {backbone.spec.name} gives timestep {backbone.spec.timestep} only; got {key.timestep}."
            )
        if key.layer not in (*backbone.taps, TRACK):
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

    Args:
        backbone: The frozen network.
        frames: The sampled frames of one video.
        timesteps: Diffusion timesteps; None for the backbone's own.
        layers: Numbers or names of layers; None for the backbone's own.
        maps: Whether to return the un-pooled layers too.

    Raises:
        UsageError: If there are no frames, or a timestep does not exist.
        UnknownNameError: If a layer does not exist.
    """
    if not len(frames):
        raise UsageError("no frames to extract features from: got 0.")
    reader = FrameSequence([frames], frames.report)
    keys = feature_keys(backbone, timesteps, layers)
    _, features = next(extract_in_order(backbone, [reader], keys, maps=maps))
    assert features is not None
    return features


def extract_in_order(
    backbone: Backbone,
    readers: Iterable[Source],
    keys: Sequence[FeatureKey],
    *,
    maps: bool = False,
    decode_threads: int = 0,
) -> Iterator[tuple[Source, Features | None]]:
    """Features of many videos, in order; windows of different videos share batches.

    Args:
        backbone: The frozen network.
        readers: One reader per video, for example a `VideoReader`, or a `FrameSequence` for frames in memory.
        keys: Features to extract.
        maps: Whether to return the un-pooled layers too.
        decode_threads: Number of threads that read ahead, one video each. 0: readers are read one after the
            other, and only as far as batches need.

    Yields:
        Each reader with its video's features, or with None if it gave no frame.
    """
    finished: dict[int, tuple[Source, Features | None]] = {}
    following = 0
    completed = _completed_videos(backbone, readers, keys, maps=maps, decode_threads=decode_threads)
    with closing(completed):
        for position, reader, features in completed:
            finished[position] = reader, features
            while following in finished:
                yield finished.pop(following)
                following += 1


def extract_as_completed(
    backbone: Backbone,
    readers: Iterable[Source],
    keys: Sequence[FeatureKey],
    *,
    maps: bool = False,
    decode_threads: int = 0,
    keep: Keep[Source] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Source, Features | None]]:
    """As `extract_in_order`, but each video's features are yielded once they are complete, in any order.

    Args:
        backbone: See `extract_in_order`; with `keep` and for encoded videos the backbone must be `TwoStage`.
        readers: See `extract_in_order`; either all of them read frames, or all of them are encoded videos.
        keys: See `extract_in_order`.
        maps: See `extract_in_order`.
        decode_threads: See `extract_in_order`.
        keep: Called with every window after the backbone's first stage.
        progress: Called after each batch with the number of windows that passed.

    Yields:
        See `extract_in_order`.

    Raises:
        UsageError: If memory does not suffice for a single window.
    """
    completed = _completed_videos(
        backbone, readers, keys, maps=maps, decode_threads=decode_threads, keep=keep, progress=progress
    )
    with closing(completed):
        for _, reader, features in completed:
            yield reader, features


def _completed_videos(
    backbone: Backbone,
    readers: Iterable[Source],
    keys: Sequence[FeatureKey],
    *,
    maps: bool = False,
    decode_threads: int = 0,
    keep: Keep[Source] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Generator[tuple[int, Source, Features | None], None, None]:
    """Position, reader and features of each video, as soon as they are complete."""
    network = Network(backbone, network_keys(keys), keep_maps=maps, keep_encoded=keep is not None)
    videos: dict[int, _VideoInProgress[Source]] = {}
    pending: list[_PendingWindow] = []
    batches: list[_RunningBatch] = []  # a GPU computes one while the next is put together
    if decode_threads:
        arrivals = read_ahead(backbone, readers, threads=decode_threads, compute_threads=network.threads)
    else:
        arrivals = read_in_turn(backbone, readers, compute_threads=network.threads)
    with closing(arrivals):
        for arrival in arrivals:
            # Note what arrived: a window, or the end of its video.
            video = videos.setdefault(arrival.position, _VideoInProgress(arrival.reader))
            if arrival.item is None:
                video.finished = True
            else:
                video.see(arrival.item)
                pending.append((arrival.position, arrival.item))
            # Start a full batch before waiting for the one before it, so that a GPU is never idle.
            if len(pending) == network.size:
                batches.append(_RunningBatch.start(network, pending))
                pending = []
            while len(batches) > 1:
                batches.pop(0).finish(videos, backbone.tubelet, keep, progress)
            yield from _take_completed(videos, keys)
    # The last batch may be short.
    if pending:
        batches.append(_RunningBatch.start(network, pending))
    for batch in batches:
        batch.finish(videos, backbone.tubelet, keep, progress)
    yield from _take_completed(videos, keys)


def _take_completed(
    videos: "dict[int, _VideoInProgress[Source]]", keys: Sequence[FeatureKey]
) -> Iterator[tuple[int, Source, Features | None]]:
    """Yield the videos that are complete, and forget them."""
    for position in [position for position, video in videos.items() if video.complete]:
        video = videos.pop(position)
        yield position, video.reader, video.features(keys)


_PendingWindow: TypeAlias = tuple[int, WindowInput]  # position of its video, and the window


@dataclass(frozen=True)
class _RunningBatch:
    """A batch that was started."""

    rows: Sequence[_PendingWindow]
    outputs: Outputs

    @classmethod
    def start(cls, network: Network, rows: Sequence[_PendingWindow]) -> "_RunningBatch":
        """Start a batch of windows."""
        return cls(rows, network.launch([item for _, item in rows]))

    def finish(
        self,
        videos: "Mapping[int, _VideoInProgress[Source]]",
        tubelet: int,
        keep: Keep[Source] | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        """Wait for the batch, and hand each window's tokens to its video."""
        pooled = {key: value.cpu().numpy() for key, value in self.outputs.pooled.items()}
        maps = {key: value.cpu().numpy() for key, value in self.outputs.maps.items()}
        encoded = self.outputs.encoded and self.outputs.encoded.changed(lambda tensor: tensor.cpu())
        strange = self.outputs.strangeness
        strangeness: Sequence[float] | None = None if strange is None else strange.cpu().tolist()
        for row, (position, item) in enumerate(self.rows):
            # Steps that hold padding only are dropped.
            count = len(range(0, item.window.num_real, tubelet))
            again = self.outputs.encoded_again[row]
            videos[position].add(
                item,
                [item.window.slots[step * tubelet] for step in range(count)],
                {key: value[row, :count] for key, value in pooled.items()},
                {key: value[row, :count] for key, value in maps.items()},
                self.outputs.batch,
                again=again,
                strangeness=None if strangeness is None else strangeness[row],
            )
            if keep and encoded:
                rows = slice(row, row + 1)
                own = encoded.changed(lambda tensor, rows=rows: tensor[rows])  # type: ignore[misc]
                window = replace(
                    item, pixels=None, encoded=own, batch=self.outputs.batch, encoded_again=again
                )
                keep(videos[position].reader, window)
        if progress:
            progress(len(self.rows))


@dataclass
class _VideoInProgress(Generic[Source]):
    """A video whose windows are on their way, and the results so far."""

    reader: Source
    identity: str = ""
    batch: int | None = None
    frame_index: dict[int, int] = field(default_factory=dict)  # sampled position -> raw index
    crop_places: dict[int, DoubleArray] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    tokens: list[tuple[list[int], dict[FeatureKey, Array]]] = field(default_factory=list)
    maps: list[dict[FeatureKey, Array]] = field(default_factory=list)
    window_length: int = 0
    num_windows: int = 0
    num_padded: int = 0
    num_done: int = 0
    num_encoded_again: int = 0
    appearances: list[tuple[Appearance | None, int]] = field(default_factory=list)  # with numbers of frames
    finished: bool = False

    @property
    def complete(self) -> bool:
        return self.finished and self.num_done == self.num_windows

    def see(self, item: WindowInput) -> None:
        """Note a window that is about to pass the backbone."""
        window = item.window
        self.identity = item.identity
        self.window_length = len(window.slots)
        self.num_windows += 1
        self.num_padded += len(window.slots) - window.num_real
        for slot in range(window.num_real):
            self.frame_index[window.slots[slot]] = int(item.frame_index[slot])
            if item.seconds is not None:
                self.seconds[window.slots[slot]] = float(item.seconds[slot])
            if item.crop_places is not None:
                self.crop_places[window.slots[slot]] = item.crop_places[slot]

    def add(
        self,
        item: WindowInput,
        positions: list[int],
        tokens: dict[FeatureKey, Array],
        maps: dict[FeatureKey, Array],
        batch: int | None,
        *,
        again: bool,
        strangeness: float | None,
    ) -> None:
        """Take the results of a window: tokens (S, C) and maps (S, C, h, w) of S sampled positions."""
        self.tokens.append((positions, tokens))
        if maps:
            self.maps.append(maps)
        self.batch = min((count for count in (self.batch, item.batch, batch) if count), default=None)
        self.num_done += 1
        self.num_encoded_again += again
        look = item.appearance and item.appearance._replace(strangeness=strangeness)
        self.appearances.append((look, item.window.num_real))

    def features(self, keys: Sequence[FeatureKey]) -> Features | None:
        """Features of the whole video; None if it had no window, or reading it failed on the way."""
        report = self.reader.report
        if not self.num_windows or (report is not None and report.status == "failed"):
            return None
        starts = sorted({position for positions, _ in self.tokens for position in positions})
        rows = {position: row for row, position in enumerate(starts)}
        pooled = [values for _, values in self.tokens]
        rows_of_windows = [[rows[position] for position in positions] for positions, _ in self.tokens]

        def average(windows: Sequence[Mapping[FeatureKey, Array]], key: FeatureKey) -> Array:
            return _average(rows_of_windows, [values[key] for values in windows], len(starts))

        computed = network_keys(keys)
        places = np.stack([self.crop_places[s] for s in starts]) if self.crop_places else None
        track = track_tokens(places, len(starts))
        tracks = {key: track for key in keys if key not in computed}
        maps = {key: average(self.maps, key) for key in computed} if self.maps else {}
        return Features(
            tokens={key: average(pooled, key) for key in computed} | tracks,
            seconds=np.array([self.seconds[s] for s in starts]) if self.seconds else None,
            frame_index=np.array([self.frame_index[s] for s in starts], dtype=np.int64),
            identity=self.identity,
            num_windows=self.num_windows,
            num_padded=self.num_padded,
            window_length=self.window_length,
            maps=maps | {key: values[..., None, None] for key, values in tracks.items() if maps},
            report=self.reader.report,
            batch=self.batch,
            num_encoded_again=self.num_encoded_again,
            appearance=self._appearance(),
        )

    def _appearance(self) -> Appearance | None:
        """What the pictures look like on average; None unless that is known of every window."""
        parts = [(appearance, count) for appearance, count in self.appearances if appearance is not None]
        if len(parts) < len(self.appearances):
            return None
        return Appearance.mean([part for part, _ in parts], [count for _, count in parts])


def _average(rows_of_windows: Sequence[Sequence[int]], values: Sequence[Array], count: int) -> Array:
    """Put the values of windows into their rows; a row that several windows cover gets the mean."""
    total = np.zeros((count, *values[0].shape[1:]), dtype=np.float32)
    covered = np.zeros(count, dtype=np.float32)
    for rows, part in zip(rows_of_windows, values, strict=True):
        total[rows] += part
        covered[rows] += 1
    return np.divide(total, covered.reshape(-1, *[1] * (total.ndim - 1)), dtype=np.float32)
