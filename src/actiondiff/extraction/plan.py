"""The plan of an extraction: which contents need which features, given what the store holds already."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from actiondiff.datasets.sheets import TABLE_SUFFIXES
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError, VideoError
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example, FeatureKey, Sampling
from actiondiff.video.crop_file import identity_of
from actiondiff.video.probe import probe
from actiondiff.video.search import find_videos

if TYPE_CHECKING:
    from actiondiff.backbones.engine.encoding import EncodedWindows

__all__ = [
    "ExtractionPlan",
    "Item",
    "StrPath",
    "VideoInputs",
    "Workload",
    "estimate_workload",
    "make_plan",
    "name_videos",
    "videos_with_latents_only",
]

StrPath: TypeAlias = str | os.PathLike[str]
VideoInputs: TypeAlias = StrPath | Iterable[StrPath] | Iterable[Example]
"""Videos, folders of videos, the path of a table, or examples."""


@dataclass(frozen=True)
class Item:
    """One content, which may have several names.

    Attributes:
        identity: sha256 of the file.
        videos: Names of the videos that have this content, sorted.
        path: One of the files that have this content.
        keys: Features that are to be made; empty if all are stored.
    """

    identity: str
    videos: tuple[str, ...]
    path: Path
    keys: tuple[FeatureKey, ...] = ()


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction has to do. All fields but `videos` and `num_elsewhere` concern this shard alone.

    Attributes:
        videos: Names of all videos that were asked for, sorted.
        todo: Contents that lack features.
        stored: Contents that have all features.
        failed: Contents that could not be decoded before, and have not changed.
        absent: Name of a video whose file cannot be read -> why.
        num_elsewhere: Number of videos that belong to other shards.
    """

    videos: tuple[str, ...]
    todo: tuple[Item, ...]
    stored: tuple[Item, ...]
    failed: tuple[Item, ...]
    absent: Mapping[str, str]
    num_elsewhere: int = 0


@dataclass(frozen=True)
class Workload:
    """How much a plan has to do, as far as the videos' headers say.

    Attributes:
        num_windows: Number of windows that pass the backbone.
        num_tokens: Number of tokens of one feature.
        num_bytes: Size of the features on disk; None if the width of a feature is not known yet.
        num_unknown: Number of videos whose header does not say how long they are.
        video_seconds: Total duration of the other videos.
    """

    num_windows: int
    num_tokens: int
    num_bytes: int | None
    num_unknown: int
    video_seconds: float = 0.0


def name_videos(
    videos: VideoInputs,
    *,
    root: StrPath | None = None,
    stored_root: Path | None = None,
    deleted: Iterable[str] = (),
) -> tuple[Path, dict[str, Path]]:
    """The names of videos in a store, and the videos' files.

    Args:
        videos: See `VideoInputs`. Folders are searched for videos.
        root: Folder that names are relative to; also the paths in a table and of examples. By default that of
            the store; for a new store the table's own, or the folder that all paths are in.
        stored_root: Root of the store, if it exists.
        deleted: Names of videos whose files were deleted and are not needed. A folder that is asked for also
            yields those that it held.

    Returns:
        The folder that names are relative to, and name -> file, sorted.

    Raises:
        UsageError: If there is no video, or a path does not exist.
        TableError: If a table has problems.
    """
    inputs = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    examples = [item for item in inputs if isinstance(item, Example)]
    paths = [Path(item) for item in inputs if not isinstance(item, Example)]
    if examples and paths:
        raise UsageError("give either examples or paths, not both.")
    # A table is read, and stands for its examples.
    if len(paths) == 1 and paths[0].suffix.lower() in TABLE_SUFFIXES and paths[0].is_file():
        table = read_table(paths[0])
        examples, root_of_examples = list(table.examples), Path(root or table.root)
    elif examples:
        if root is None and stored_root is None:
            raise UsageError("examples have paths relative to a folder: give root=.")
        root_of_examples = Path(root or stored_root or "")
    if examples:
        files, common = [root_of_examples / example.video for example in examples], root_of_examples
    else:
        gone = [Path(root or stored_root or "", name) for name in deleted]
        gone = [file for file in gone if any(_holds(path, file) for path in paths)]
        present = [path for path in paths if path.exists() or not any(_holds(path, file) for file in gone)]
        files, common = [*find_videos(present), *gone], _common(paths)
    if not files:
        raise UsageError(f"no videos in {', '.join(map(str, paths)) or 'an empty list'}.")
    # Names use forward slashes on every system, so that stores can be moved between systems.
    base = os.path.abspath(root or stored_root or common)
    names = {Path(os.path.relpath(os.path.abspath(file), base)).as_posix(): file for file in files}
    return Path(base), dict(sorted(names.items()))


def videos_with_latents_only(store: FeatureStore) -> list[str]:
    """Names of a store's videos whose files were deleted, but whose latents are stored."""
    rows = (store.row(name) for name in store.videos() if not (store.root / name).is_file())
    return [row.video for row in rows if row and store.latents(row.identity)]


def make_plan(
    videos: Mapping[str, Path],
    keys: Iterable[FeatureKey],
    *,
    store: FeatureStore | None = None,
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_latents: bool = False,
    encoded_type: "type[EncodedWindows] | None" = None,
) -> ExtractionPlan:
    """Plan what is to be done, given what is stored. Reads every file once, for its sha256.

    Args:
        videos: Name -> file.
        keys: The features that are asked for.
        store: The store that the features are written to; None if it does not exist yet.
        shard: (i, n): the i-th of n parts, counted from 1. A content belongs to the same part whatever else
            is asked for.
        retry_failed: Whether contents that failed before are tried again.
        keep_latents: Whether contents whose latents are not stored are to be done, too.
        encoded_type: `TwoStage.encoded_type` of the backbone, by which latents of deleted files are judged;
            if None, they are assumed to suffice for all features.

    Raises:
        UsageError: If the shard is not as described.
    """
    if shard and not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"a shard is i/n with i from 1 to n, for example 1/4; got {shard[0]}/{shard[1]}.")
    keys = tuple(sorted(set(keys)))
    # Group the videos of this shard by content.
    contents: dict[str, list[str]] = {}
    absent: dict[str, str] = {}
    for name, path in videos.items():
        try:
            identity = _identify(path, name, store, keys, encoded_type)
        except VideoError as error:
            if _is_in(shard, hashlib.sha256(os.fsencode(name)).hexdigest()):
                absent[name] = str(error)
        else:
            if _is_in(shard, identity):
                contents.setdefault(identity, []).append(name)
    # Sort the contents by what is left to do.
    todo: list[Item] = []
    stored: list[Item] = []
    failed: list[Item] = []
    for identity, names in contents.items():
        lacking = tuple(store.missing(identity, keys)) if store else keys
        item = Item(identity, tuple(sorted(names)), videos[min(names)], lacking)
        is_given_up = store and not retry_failed and store.known_failure(identity)
        is_complete = not lacking and not (keep_latents and not (store and store.latents(identity)))
        (stored if is_complete else failed if is_given_up else todo).append(item)
    num_mine = len(absent) + sum(map(len, contents.values()))
    return ExtractionPlan(
        videos=tuple(sorted(videos)),
        todo=_sorted(todo),
        stored=_sorted(stored),
        failed=_sorted(failed),
        absent=dict(sorted(absent.items())),
        num_elsewhere=len(videos) - num_mine,
    )


def estimate_workload(
    plan: ExtractionPlan,
    *,
    sampling: Sampling,
    window: int,
    store: FeatureStore | None,
    tubelet: int = 1,
    widths: Mapping[FeatureKey, int] | None = None,
) -> Workload:
    """Estimate how much a plan has to do. Reads the header of every video that is to be done.

    Args:
        plan: What is to be done.
        sampling: Which frames are read.
        window: Frames per window.
        store: The store that the features are written to; None if it does not exist yet.
        tubelet: Frames per token.
        widths: Number of channels of each feature; by default as far as features in the store show it.
    """
    num_windows = num_tokens = num_unknown = num_values = 0
    video_seconds = 0.0
    channels = _widths(store) if widths is None else {key.layer: width for key, width in widths.items()}
    for item in plan.todo:
        count, seconds = _length(item, store, sampling, tubelet)
        if count is None:
            num_unknown += 1
            continue
        num_windows += math.ceil(count / window)
        num_tokens += math.ceil(count / tubelet)
        num_values += math.ceil(count / tubelet) * sum(channels.get(key.layer, 0) for key in item.keys)
        video_seconds += seconds
    is_complete = all(key.layer in channels for item in plan.todo for key in item.keys)
    size = np.dtype(store.dtype if store else np.float32).itemsize
    return Workload(
        num_windows=num_windows,
        num_tokens=num_tokens,
        num_bytes=num_values * size if is_complete else None,
        num_unknown=num_unknown,
        video_seconds=video_seconds,
    )


def _identify(
    path: Path,
    name: str,
    store: FeatureStore | None,
    keys: Sequence[FeatureKey],
    encoded_type: "type[EncodedWindows] | None",
) -> str:
    """Identity of a file. For a deleted file it is the recorded one, if its stored latents suffice.

    Raises:
        VideoError: If there is no file, or it cannot be read. The message does not name the path.
    """
    if not path.is_file():
        row = store.row(name) if store else None
        latents = store.latents(row.identity) if store and row and row.file else None
        if row and latents and (encoded_type is None or latents.suffice_for(keys, encoded_type)):
            return row.identity
        raise VideoError("this is not a file" if path.exists() else "the file does not exist")
    try:
        return identity_of(path)
    except OSError as error:
        raise VideoError(f"the file cannot be read: {error.strerror}") from None
    except VideoError as error:  # a crop file that is damaged
        raise VideoError(error.reason_for(path)) from None


def _holds(path: Path, file: Path) -> bool:
    """Whether a path is that of a file, or of a folder that contains it. Neither needs to exist."""
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(path))


def _is_in(shard: tuple[int, int] | None, digest: str) -> bool:
    return shard is None or int(digest[:8], 16) % shard[1] == shard[0] - 1


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.videos))


def _common(paths: list[Path]) -> Path:
    """The folder that all paths are in; if the only path is a folder, that folder itself."""
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path()


def _length(
    item: Item, store: FeatureStore | None, sampling: Sampling, tubelet: int
) -> tuple[int | None, float]:
    """Number of sampled frames of a video, and its duration in seconds.

    The number is None if neither the store nor the header of the video says it.
    """
    row = store.row(item.videos[0]) if store else None
    stored = row.num_tokens * tubelet if row and row.identity == item.identity and row.file else None
    try:
        info = probe(item.path)
    except VideoError:
        return stored, 0.0
    seconds, rate, frames = info.duration_seconds, info.average_rate, info.num_frames_from_header
    if not frames:
        frames = round(seconds * rate) if seconds and rate else None
    seconds = seconds or (frames / rate if frames and rate else 0.0)
    if stored or not frames:
        return stored, seconds
    if sampling.stride:
        return math.ceil(frames / sampling.stride), seconds
    fps = sampling.fps
    return (min(frames, math.ceil(seconds * fps)) if seconds and fps else None), seconds


def _widths(store: FeatureStore | None) -> dict[str, int]:
    """Channels of the layers that are stored for the first video."""
    videos = store.videos() if store else []
    tokens = store.read(videos[0]).tokens if store and videos else {}
    return {key.layer: values.shape[1] for key, values in tokens.items()}
