"""Backgrounds of new cameras, estimated from the videos that are predicted, for heads that take them away."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError
from actiondiff.heads.background import Backgrounds
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.individuals import subject_of
from actiondiff.outputs.words import counted
from actiondiff.types import Array, DecodeReport, Features
from actiondiff.video.names import locate

__all__ = ["cameras_of_videos", "cameras_to_subtract", "places_of_videos", "set_to_cameras"]


def set_to_cameras(config: ModelConfig, videos: Iterable[tuple[str, Features]]) -> dict[str, ModelConfig]:
    """Set a model to each camera of some videos.

    Args:
        config: Config of a model that takes backgrounds away.
        videos: Name of the camera, and the features of a whole video.

    Returns:
        Camera -> the config with its background: that of training if it is a training camera, else the one
        estimated from these videos.
    """
    assert config.backgrounds is not None
    means: dict[str, list[Array]] = {}
    for camera, features in videos:
        means.setdefault(camera, []).append(config.stored_tokens_of(features).mean(0, dtype=np.float64))
    return {
        camera: config.with_backgrounds(config.backgrounds.at(camera, np.stack(own)))
        for camera, own in means.items()
    }


def cameras_of_videos(
    videos: Sequence[str | os.PathLike[str]], table: str | os.PathLike[str] | None, *, column: str
) -> dict[str, str]:
    """Say which camera took each video (of a crop, its source): video, as given -> name of the camera.

    Args:
        videos: The files.
        table: CSV with the columns `video` and `column`; None to take each folder for a camera.
        column: Column that names the camera.

    Raises:
        TableError: If the table lacks the column, or a camera is empty.
        UsageError: If a video is not in the table.
    """
    sources = {os.fspath(video): Path(subject_of(video).video).resolve() for video in videos}
    if table is None:
        return {name: os.fspath(source.parent) for name, source in sources.items()}
    path = Path(table)
    rows = read_rows(path)
    names: dict[Path, str] = {}
    problems = []
    for number, row in rows:
        if not row.get(column):
            problems.append(f"row {number}: {column} is empty or missing")
        names[(path.parent / locate(path.parent, row["video"])).resolve()] = row.get(column, "")
    if problems:
        raise TableError(path, problems)
    absent = [subject_of(name).video for name, source in sources.items() if source not in names]
    if absent:
        raise UsageError(
            f"{len(absent)} of {len(videos)} videos are not in {path}, such as {absent[0]}; add them with "
            f"their {column}, or leave out --cameras to take each folder for a camera."
        )
    return {name: names[source] for name, source in sources.items()}


def cameras_to_subtract(
    config: ModelConfig,
    videos: Sequence[str | os.PathLike[str]],
    cameras: str | os.PathLike[str] | None,
) -> dict[str, str]:
    """Say which camera took each video, if the head takes backgrounds away; see `cameras_of_videos`.

    Raises:
        TableError: If the CSV lacks the camera of a row.
        UsageError: If cameras are named and the head takes no background away, or a video has no camera.
    """
    if config.backgrounds is not None:
        return cameras_of_videos(videos, cameras, column=config.backgrounds.column)
    if cameras is not None:
        raise UsageError(
            f"this model's head has input={config.head.input}, which takes no background away; leave out "
            "--cameras, or train with --set head.input=minus-background."
        )
    return {}


def places_of_videos(
    config: ModelConfig,
    cameras: Mapping[str, str],
    read: Callable[[list[str]], Iterable[tuple[str, Features | DecodeReport]]],
    *,
    by_folder: bool,
) -> tuple[dict[str, ModelConfig], str]:
    """Estimate what the videos of each camera have in common, for a head that takes it away.

    Without this, the background of each video is estimated from that video by itself.

    Args:
        config: The model's config.
        cameras: Video -> its camera, for all files that are going to be predicted; see `cameras_to_subtract`.
        read: Gives the features of files, such as `ActionDiff.extract_many`.
        by_folder: Whether folders were taken for cameras.

    Returns:
        Value for `ActionDiff.places`, and a sentence that says what was estimated; both are empty if the head
        takes no background away.
    """
    backgrounds = config.backgrounds
    if backgrounds is None:
        return {}, ""
    features = ((cameras[name], one) for name, one in read(list(cameras)) if isinstance(one, Features))
    configs = set_to_cameras(config, features)
    places = {name: configs[camera] for name, camera in cameras.items() if camera in configs}
    return places, _in_words(backgrounds, {name: cameras[name] for name in places}, by_folder=by_folder)


def _in_words(backgrounds: Backgrounds, cameras: Mapping[str, str], *, by_folder: bool) -> str:
    """Say what the backgrounds of some videos were estimated from.

    Args:
        backgrounds: Backgrounds of the training cameras.
        cameras: Video -> name of its camera.
        by_folder: Whether folders were taken for cameras.
    """
    counts = Counter(cameras.values())
    new = {camera: count for camera, count in counts.items() if camera not in backgrounds.cameras}
    old = len(counts) - len(new)
    parts = ["Each folder was taken for a camera (--cameras names them)."] if by_folder else []
    if old:
        parts.append(f"{counted(old, 'camera')} of training kept the background that was estimated there.")
    return " ".join([*parts, *([backgrounds.note(new)] if new else [])])
