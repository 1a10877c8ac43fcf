"""Backgrounds of new cameras, estimated from the videos that are predicted, for heads that take them away."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.individuals import subject_of
from actiondiff.outputs.words import counted
from actiondiff.types import Array, DecodeReport, Features
from actiondiff.video.names import locate

__all__ = [
    "cameras_of_videos",
    "cameras_to_subtract",
    "footage_to_subtract",
    "places_of_videos",
    "set_to_camera",
    "set_to_cameras",
    "takes_none_away",
]

_LISTED = 5


def takes_none_away(config: ModelConfig, option: str) -> UsageError:
    """The error of an option that is only for models that take backgrounds away."""
    return UsageError(
        f"this model's head has input={config.head.input}, which takes no background away; leave out "
        f"{option}, or train with --set head.input=minus-background."
    )


def set_to_cameras(
    config: ModelConfig,
    videos: Iterable[tuple[str, Features]],
    footage: Mapping[str, Array] | None = None,
) -> dict[str, ModelConfig]:
    """Set a model to each camera of some videos.

    Args:
        config: Config of a model that takes backgrounds away.
        videos: Name of the camera, and the features of a whole video.
        footage: Camera -> (n, D) mean tokens of its clips without animals, which take the place of the
            videos.

    Returns:
        Camera -> the config with its background: that of training if it is a training camera, else the one
        estimated from these videos.
    """
    assert config.backgrounds is not None
    means: dict[str, list[Array]] = {}
    for camera, features in videos:
        means.setdefault(camera, []).append(config.stored_tokens_of(features).mean(0, dtype=np.float64))
    bare = footage or {}
    return {
        camera: config.with_backgrounds(
            config.backgrounds.at(camera, bare[camera] if camera in bare else np.stack(own))
        )
        for camera, own in means.items()
    }


def footage_to_subtract(config: ModelConfig, path: str | os.PathLike[str] | None) -> dict[str, str]:
    """Read a table of clips without animals: path of the clip -> its camera.

    Args:
        config: The model's config.
        path: CSV with the column `video` and that of the camera; None for no clips.

    Raises:
        TableError: If a clip does not exist, has no camera, or is only a part of a video.
        UsageError: If the model takes no background away.
    """
    if path is None:
        return {}
    if config.backgrounds is None:
        raise takes_none_away(config, "--background-clips")
    column, table = config.backgrounds.column, Path(path)
    clips: dict[str, str] = {}
    problems = []
    for number, row in read_rows(table):
        clip = table.parent / locate(table.parent, row["video"])
        clips[os.fspath(clip)] = row.get(column, "")
        if not row.get(column):
            problems.append(f"row {number}: {column} is empty or missing")
        if not clip.is_file():
            problems.append(f"row {number}: {row['video']} does not exist")
        if row.get("start_seconds") or row.get("end_seconds"):
            problems.append(f"row {number}: has times, but only whole clips are taken; cut it first")
    if problems or not clips:
        raise TableError(table, problems or ["the table has no rows"])
    return clips


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
    *,
    footage: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Say which camera took each video, if the head takes backgrounds away; see `cameras_of_videos`.

    Without a table, and with clips without animals of one camera, all videos are of that camera.

    Args:
        config: The model's config.
        videos: The files.
        cameras: CSV with the camera of each video.
        footage: Clip without animals -> its camera.

    Raises:
        TableError: If the CSV lacks the camera of a row.
        UsageError: If cameras are named and the head takes no background away, or a video has no camera.
    """
    if config.backgrounds is None:
        if cameras is not None:
            raise takes_none_away(config, "--cameras")
        return {}
    bare = sorted(set((footage or {}).values()))
    if len(bare) == 1 and cameras is None:
        return {os.fspath(video): bare[0] for video in videos}
    of_videos = cameras_of_videos(videos, cameras, column=config.backgrounds.column)
    if bare and not set(bare) & set(of_videos.values()):
        whose = "folders, which are taken for cameras" if cameras is None else "cameras"
        raise UsageError(
            f"the clips without animals are of {_listed(bare)}, and the videos are of other {whose}: "
            f"{_listed(sorted(set(of_videos.values())))}. Name the camera of each video with --cameras."
        )
    return of_videos


def places_of_videos(
    config: ModelConfig,
    cameras: Mapping[str, str],
    read: Callable[[list[str]], Iterable[tuple[str, Features | DecodeReport]]],
    *,
    by_folder: bool,
    footage: Mapping[str, str] | None = None,
) -> tuple[dict[str, ModelConfig], str]:
    """Estimate what the videos of each camera have in common, for a head that takes it away.

    Without this, the background of each video is estimated from that video by itself.

    Args:
        config: The model's config.
        cameras: Video -> its camera, for all files that are going to be predicted; see `cameras_to_subtract`.
        read: Gives the features of files, such as `ActionDiff.extract_many`.
        by_folder: Whether folders were taken for cameras.
        footage: Clip without animals -> its camera; see `footage_to_subtract`.

    Returns:
        Value for `ActionDiff.places`, and sentences that say what was estimated; both are empty if the head
        takes no background away.

    Raises:
        UsageError: If a clip without animals cannot be read.
    """
    backgrounds = config.backgrounds
    if backgrounds is None:
        return {}, ""
    wanted = set(cameras.values()) - set(backgrounds.cameras)
    bare = _means_of(config, {k: v for k, v in (footage or {}).items() if v in wanted}, read)
    features = ((cameras[name], one) for name, one in read(list(cameras)) if isinstance(one, Features))
    configs = set_to_cameras(config, features, bare)
    places = {name: configs[camera] for name, camera in cameras.items() if camera in configs}
    of_places = {name: cameras[name] for name in places}
    parts = ["Each folder was taken for a camera (--cameras names them)."] if by_folder else []
    old = len(set(of_places.values()) & set(backgrounds.cameras))
    if old:
        parts.append(f"{counted(old, 'camera')} of training kept the background that was estimated there.")
    return places, " ".join([*parts, *filter(None, [backgrounds.note_of_videos(of_places, bare)])])


def set_to_camera(
    config: ModelConfig,
    camera: str | None,
    footage: Mapping[str, str],
    read: Callable[[list[str]], Iterable[tuple[str, Features | DecodeReport]]],
) -> ModelConfig:
    """Set a model to one camera, for videos that are looked at one by one.

    Args:
        config: The model's config.
        camera: Name of the camera; None for that of the clips without animals, if there are any.
        footage: Clip without animals -> its camera; see `footage_to_subtract`.
        read: Gives the features of files, such as `ActionDiff.extract_many`.

    Returns:
        The config with the background of the camera; unchanged if nothing names a camera.

    Raises:
        UsageError: If the model takes no background away, the camera is new and there are no clips of it, the
            clips are of several cameras and none is named, or a clip cannot be read.
    """
    if camera is None and not footage:
        return config
    backgrounds = config.backgrounds
    if backgrounds is None:
        raise takes_none_away(config, "--camera")
    names = sorted(set(footage.values()))
    if camera is None and len(names) > 1:
        raise UsageError(
            f"the clips without animals are of several cameras ({_listed(names)}); say with --camera which "
            "one took the video."
        )
    name = names[0] if camera is None else camera
    if name in backgrounds.cameras:
        return config.with_backgrounds(backgrounds.at(name))
    if name not in names:
        raise UsageError(
            f"{name} is none of the training cameras ({_listed(sorted(backgrounds.cameras))}); give clips "
            "without animals of it with --background-clips, or leave out --camera to take the video "
            "itself for it."
        )
    means = _means_of(config, {clip: own for clip, own in footage.items() if own == name}, read)
    return config.with_backgrounds(backgrounds.at(name, means[name]))


def _means_of(
    config: ModelConfig,
    footage: Mapping[str, str],
    read: Callable[[list[str]], Iterable[tuple[str, Features | DecodeReport]]],
) -> dict[str, Array]:
    """Camera -> (n, D) mean tokens of its clips without animals."""
    means: dict[str, list[Array]] = {}
    for clip, features in read(list(footage)) if footage else ():
        if not isinstance(features, Features):
            raise UsageError(
                f"{clip}, a clip without animals, cannot be read: {features.reason}. Leave it out of the "
                "table of --background-clips."
            )
        means.setdefault(footage[clip], []).append(
            config.stored_tokens_of(features).mean(0, dtype=np.float64)
        )
    return {camera: np.stack(own) for camera, own in means.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
