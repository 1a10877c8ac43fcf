"""What is to be done: videos by content, less what the store holds already."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError, VideoError
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import sha256_of_file
from actiondiff.types import Example, FeatureKey, Sampling
from actiondiff.video.probe import find_videos, probe

if TYPE_CHECKING:
    from actiondiff.backbones.engine.encoding import EncodedWindows

__all__ = ["Cost", "Item", "Plan", "Videos", "estimate", "kept_videos", "make_plan", "name_videos"]

StrPath: TypeAlias = str | os.PathLike[str]
Videos: TypeAlias = StrPath | Iterable[StrPath] | Iterable[Example]
"""Videos, folders of videos, the path of a table, or examples."""

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Item:
    """One content, under all its names.

    Attributes:
        identity: sha256 of the file.
        videos: Its names, sorted.
        path: One file that holds it.
        keys: What is to be made; nothing if all features are stored.
    """

    identity: str
    videos: tuple[str, ...]
    path: Path
    keys: tuple[FeatureKey, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A work list; all of it concerns one shard.

    Attributes:
        videos: Names of all videos that were asked for, sorted.
        todo: Contents that lack features.
        stored: Contents that have all.
        failed: Contents that could not be decoded before, and have not changed.
        absent: Names of videos whose file cannot be read -> why.
        num_elsewhere: How many videos belong to other shards.
    """

    videos: tuple[str, ...]
    todo: tuple[Item, ...]
    stored: tuple[Item, ...]
    failed: tuple[Item, ...]
    absent: Mapping[str, str]
    num_elsewhere: int = 0


@dataclass(frozen=True)
class Cost:
    """About how much a plan takes, as far as headers tell.

    Attributes:
        num_windows: Backbone passes.
        num_tokens: Tokens of one feature.
        num_bytes: Of features on disk; None if the width of one is not known yet.
        num_unknown: Videos whose header does not say how long they are.
        video_seconds: How long the others are.
    """

    num_windows: int
    num_tokens: int
    num_bytes: int | None
    num_unknown: int
    video_seconds: float = 0.0


def name_videos(
    videos: Videos,
    *,
    root: StrPath | None = None,
    stored_root: Path | None = None,
    kept: Iterable[str] = (),
) -> tuple[Path, dict[str, Path]]:
    """The names that videos have in a store, and their files.

    Args:
        videos: See `Videos`. Folders are searched.
        root: The folder that names are relative to. A table's and examples' paths start from it. None: the
            store's; for a new one the table's own, or the folder that all paths are in.
        stored_root: The store's, if there is one.
        kept: Names of videos that are gone and not needed; they are found in folders that held them.

    Returns:
        The folder that names are relative to; name -> file, sorted.

    Raises:
        UsageError: If there is no video, or a path does not exist.
        TableError: If a table has problems.
    """
    given = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    examples = [item for item in given if isinstance(item, Example)]
    paths = [Path(item) for item in given if not isinstance(item, Example)]
    if examples and paths:
        raise UsageError("give either examples or paths, not both.")
    if len(paths) == 1 and paths[0].suffix.lower() in _TABLES and paths[0].is_file():
        table = read_table(paths[0])
        examples, root_of_examples = list(table.examples), Path(root or table.root)
    elif examples:
        if root is None and stored_root is None:
            raise UsageError("examples have paths relative to a folder: give root=.")
        root_of_examples = Path(root or stored_root or "")
    if examples:
        files, common = [root_of_examples / example.video for example in examples], root_of_examples
    else:
        gone = [Path(root or stored_root or "", name) for name in kept]
        gone = [file for file in gone if any(_holds(path, file) for path in paths)]
        present = [path for path in paths if path.exists() or not any(_holds(path, file) for file in gone)]
        files, common = [*find_videos(present), *gone], _common(paths)
    if not files:
        raise UsageError(f"no videos in {', '.join(map(str, paths)) or 'an empty list'}.")
    base = os.path.abspath(root or stored_root or common)
    names = {Path(os.path.relpath(os.path.abspath(file), base)).as_posix(): file for file in files}
    return Path(base), dict(sorted(names.items()))


def kept_videos(store: FeatureStore) -> list[str]:
    """Names of a store's videos whose files are gone, but whose latents are kept."""
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
) -> Plan:
    """Videos less what is stored. Reads every file once, for its sha256.

    Args:
        videos: Name -> file.
        keys: The features asked for.
        store: Where they are to be; None if it is yet to be made.
        shard: (i, n): the i-th, from 1, of n parts that together are the whole. A content belongs to the
            same part whatever else is asked for.
        retry_failed: Whether contents that failed before are tried again.
        keep_latents: Whether contents whose latents are not kept are to be done, too.
        encoded_type: `TwoStage.encoded_type` of the backbone, by which latents of deleted files are judged;
            None: they are taken to hold all that the features need.

    Raises:
        UsageError: If the shard is not as described.
    """
    if shard and not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"a shard is i/n with i from 1 to n, for example 1/4; got {shard[0]}/{shard[1]}.")
    keys = tuple(sorted(set(keys)))
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
    todo: list[Item] = []
    stored: list[Item] = []
    failed: list[Item] = []
    for identity, names in contents.items():
        lacking = tuple(store.missing(identity, keys)) if store else keys
        item = Item(identity, tuple(sorted(names)), videos[min(names)], lacking)
        given_up = store and not retry_failed and store.known_failure(identity)
        complete = not lacking and not (keep_latents and not (store and store.latents(identity)))
        (stored if complete else failed if given_up else todo).append(item)
    num_mine = len(absent) + sum(map(len, contents.values()))
    return Plan(
        videos=tuple(sorted(videos)),
        todo=_sorted(todo),
        stored=_sorted(stored),
        failed=_sorted(failed),
        absent=dict(sorted(absent.items())),
        num_elsewhere=len(videos) - num_mine,
    )


def estimate(
    plan: Plan,
    *,
    sampling: Sampling,
    window: int,
    store: FeatureStore | None,
    tubelet: int = 1,
    widths: Mapping[FeatureKey, int] | None = None,
) -> Cost:
    """About how much a plan takes. Reads the header of every video that is to be done.

    Args:
        plan: What is to be done.
        sampling: Which frames are read.
        window: Frames a window.
        store: Where features are to be.
        tubelet: Frames a token.
        widths: How wide features are; those in the store tell it, too.
    """
    num_windows = num_tokens = num_unknown = num_values = 0
    video_seconds = 0.0
    known = _widths(store) if widths is None else {key.layer: width for key, width in widths.items()}
    for item in plan.todo:
        count, seconds = _length(item, store, sampling, tubelet)
        if count is None:
            num_unknown += 1
            continue
        num_windows += math.ceil(count / window)
        num_tokens += math.ceil(count / tubelet)
        num_values += math.ceil(count / tubelet) * sum(known.get(key.layer, 0) for key in item.keys)
        video_seconds += seconds
    all_known = all(key.layer in known for item in plan.todo for key in item.keys)
    size = np.dtype(store.dtype if store else np.float32).itemsize
    return Cost(num_windows, num_tokens, num_values * size if all_known else None, num_unknown, video_seconds)


def _identify(
    path: Path,
    name: str,
    store: FeatureStore | None,
    keys: Sequence[FeatureKey],
    encoded_type: "type[EncodedWindows] | None",
) -> str:
    """sha256 of a file; of one that is gone, the store's, if what it kept of it is all that is needed.

    Raises:
        VideoError: If there is none, or it cannot be read; the message leaves the path out.
    """
    if not path.is_file():
        row = store.row(name) if store else None
        kept = store.latents(row.identity) if store and row and row.file else None
        if row and kept and (encoded_type is None or kept.suffice_for(keys, encoded_type)):
            return row.identity
        raise VideoError("this is no file" if path.exists() else "the file does not exist")
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise VideoError(f"the file cannot be read: {error.strerror}") from None


def _holds(path: Path, file: Path) -> bool:
    """Whether a path is a file's own, or that of a folder it is in; neither need be there."""
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(path))


def _is_in(shard: tuple[int, int] | None, digest: str) -> bool:
    return shard is None or int(digest[:8], 16) % shard[1] == shard[0] - 1


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.videos))


def _common(paths: list[Path]) -> Path:
    """The folder that all paths are in; a folder given alone is that folder."""
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path()


def _length(
    item: Item, store: FeatureStore | None, sampling: Sampling, tubelet: int
) -> tuple[int | None, float]:
    """Sampled frames of a video and its seconds, as the store or its header tells; None if neither does."""
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
