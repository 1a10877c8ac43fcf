"""The videos that a student learns from or is judged on, with the teacher's features of them."""

import hashlib
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from actiondiff.datasets.sheets import TABLE_SUFFIXES
from actiondiff.datasets.table import read_table
from actiondiff.errors import UnknownNameError, UsageError, VideoError
from actiondiff.extraction.plan import VideoInputs, name_videos
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey
from actiondiff.video.crop_file import identity_of, individual_of

__all__ = ["Recordings", "TaughtVideo", "choose_key", "find_recordings"]


@dataclass(frozen=True)
class TaughtVideo:
    """A video of which the teacher's features are stored.

    Attributes:
        name: Its name.
        path: Its file.
        identity: sha256 of the file.
        recording: The recording that it is from: its group in the table, or else itself, or the source of a
            crop.
    """

    name: str
    path: Path
    identity: str
    recording: str


@dataclass(frozen=True)
class Recordings:
    """Videos on two sides, of which no recording is on both.

    Attributes:
        train: Videos to learn from, sorted by identity.
        held_out: Videos to be judged on, sorted by identity.
        without_features: Names of videos whose features the store does not hold.
    """

    train: tuple[TaughtVideo, ...]
    held_out: tuple[TaughtVideo, ...]
    without_features: tuple[str, ...]


def choose_key(store: FeatureStore, timestep: int | None, layer: int | str | None) -> FeatureKey:
    """The feature to learn: the one that is asked for, or the only one that the store holds.

    Raises:
        UsageError: If the store holds several features, and it is open which one is meant.
        UnknownNameError: If the store does not hold the feature.
    """
    keys = store.keys()
    matching = [
        key
        for key in keys
        if timestep in (None, key.timestep)
        and (layer is None or FeatureKey.of(key.timestep, layer).layer == key.layer)
    ]
    listed = ", ".join(map(str, keys)) or "none that all videos have"
    if not matching:
        asked = ".".join(
            [*([f"t{timestep}"] if timestep is not None else []), *([str(layer)] if layer else [])]
        )
        raise UnknownNameError(
            "feature", asked, [str(key) for key in keys], f"{store.folder} holds {listed}."
        )
    if len(matching) > 1:
        raise UsageError(
            f"a student learns one feature, and {store.folder} holds {listed}; choose with timestep "
            "(--timestep) and layer (--layer)."
        )
    return matching[0]


def find_recordings(
    store: FeatureStore,
    videos: VideoInputs,
    key: FeatureKey,
    *,
    held_out: float,
    seed: int,
    root: str | os.PathLike[str] | None = None,
) -> Recordings:
    """Find the videos and divide their recordings. A content with several names counts once.

    Args:
        store: Store of the teacher's features.
        videos: Files, folders, or one table, whose column `group` names recordings.
        key: The feature to learn.
        held_out: Share of the recordings to hold out; at least one is.
        seed: Seed of the choice.
        root: Folder that the names of videos start at.

    Raises:
        UsageError: If there are fewer than two recordings with features.
    """
    base, files = name_videos(videos, root=root, stored_root=None)
    groups = _groups(videos, base)
    by_identity: dict[str, TaughtVideo] = {}
    without: list[str] = []
    for name, path in files.items():
        identity, of = "", None
        with suppress(OSError, VideoError):  # a file that cannot be read has no features either
            identity, of = identity_of(path), individual_of(path)
        if identity and store.has(identity, [key]):
            recording = groups.get(name) or (os.fspath(of[0]) if of else identity)
            by_identity.setdefault(identity, TaughtVideo(name, path, identity, recording))
        else:
            without.append(name)
    taught = [by_identity[identity] for identity in sorted(by_identity)]
    names = sorted(
        {video.recording for video in taught},
        key=lambda name: hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest(),
    )
    if len(names) < 2:
        raise UsageError(
            f"{store.folder} holds {key} of {len(taught)} of the {len(files)} videos, from {len(names)} "
            "recording(s); a student needs at least 2, one to learn from and one to be judged on. Extract "
            "features of more videos first: actiondiff extract."
        )
    judged = set(names[: min(len(names) - 1, max(1, math.ceil(held_out * len(names))))])
    return Recordings(
        tuple(video for video in taught if video.recording not in judged),
        tuple(video for video in taught if video.recording in judged),
        tuple(without),
    )


def _groups(videos: VideoInputs, base: Path) -> dict[str, str]:
    """Name of a video -> its group in the table, if the videos are given as a table with groups."""
    inputs = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    if len(inputs) != 1 or not isinstance(inputs[0], str | os.PathLike):
        return {}
    path = Path(inputs[0])
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return {}
    table = read_table(path)
    paths = {os.path.abspath(base / example.video): example.group for example in table.examples}
    return {Path(os.path.relpath(file, base)).as_posix(): group for file, group in paths.items() if group}
