"""Extraction from crops around animals: they are written beside the store, and its settings say so."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.datasets.boxes import VideoBoxes
from actiondiff.datasets.crop_folder import TABLE_CSV, CroppedVideos, write_crop_files
from actiondiff.datasets.sheets import TABLE_SUFFIXES
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError, VideoError
from actiondiff.extraction.planned import open_if_present
from actiondiff.features.description import CROPS_FOLDER
from actiondiff.features.store import FeatureStore
from actiondiff.types import Progress
from actiondiff.types.crops import CropOptions
from actiondiff.types.sampling import Sampling
from actiondiff.video.crop_file import is_crop, read_crop
from actiondiff.video.search import find_videos

__all__ = ["CropInputs", "check_crops", "options_of_crops", "write_crops_for_store"]


@dataclass(frozen=True)
class CropInputs:
    """Crops that were written for an extraction.

    Attributes:
        result: What was written.
        videos: What is to be extracted: a table of the crops, or the crops.
        root: Folder that the names of the crops are relative to.
    """

    result: CroppedVideos
    videos: tuple[Path, ...]
    root: Path


def write_crops_for_store(
    paths: Iterable[str | os.PathLike[str]],
    store: str | os.PathLike[str],
    boxes: VideoBoxes,
    options: CropOptions | None = None,
    *,
    individuals: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> CropInputs:
    """Write the crops that a store is to be filled from.

    Then comes `extract_features(crops.videos, store, root=crops.root)`.

    Args:
        paths: Videos, folders of videos, or one table of labels. Of a table, `table.csv` beside the crops is
            the same for the crops.
        store: Folder of the store. Crops go into its folder `crops`, beside its files.
        boxes: Boxes of animals.
        options: How videos are cropped; the defaults if None.
        individuals: Most individuals of a video; None for all that the boxes name, or else the best one.
        folder: Where crops go instead.
        progress: Called after each video.

    Raises:
        UsageError: If the store holds features of something else, or boxes and videos do not fit.
        TableError: If the table has problems.
    """
    options, inputs = options or CropOptions(), [Path(path) for path in paths]
    out = folder or Path(store) / CROPS_FOLDER
    existing = open_if_present(Path(store))
    if existing:
        check_crops(existing, options)
    labels = None
    if len(inputs) == 1 and inputs[0].suffix.lower() in TABLE_SUFFIXES and inputs[0].is_file():
        labels = read_table(inputs[0])
        videos = list(dict.fromkeys(labels.root / example.video for example in labels.examples))
    else:
        own = os.path.abspath(Path(store) / CROPS_FOLDER)
        videos = [path for path in find_videos(inputs) if not Path(os.path.abspath(path)).is_relative_to(own)]
        if not videos:
            raise UsageError(f"no videos in {', '.join(map(str, inputs))}; give files, or folders of videos.")
    result = write_crop_files(
        out,
        videos,
        boxes,
        options,
        command="extract",
        individuals=individuals,
        labels=labels,
        progress=progress,
    )
    if not result.files:
        example = next(iter(result.failed.items()))
        raise UsageError(f"no video can be cropped; for example {example[0]}: {example[1]}.")
    return CropInputs(result, (out / TABLE_CSV,) if labels else tuple(result.files), out)


def options_of_crops(paths: Iterable[Path]) -> CropOptions | None:
    """How the crops among some videos were made; None if they are whole videos.

    Crop files that are damaged say nothing; they fail when they are read.

    Raises:
        UsageError: If some are crops and others are not, or they were made with different options.
    """
    by_options: dict[CropOptions | None, Path] = {}
    for path in paths:
        try:
            by_options.setdefault(read_crop(path).options if is_crop(path) else None, path)
        except VideoError:
            continue
    if len(by_options) > 1:
        (one, path), (other, further) = list(by_options.items())[:2]
        raise UsageError(
            f"{path} is {_what(one)} and {further} is {_what(other)}; their features do not belong in one "
            "store. Extract them separately, each with its own -o."
        )
    return next(iter(by_options), None)


def check_crops(store: FeatureStore, options: CropOptions | None) -> None:
    """Make sure that a store holds features of crops with these options, or of whole videos (None).

    Raises:
        UsageError: If it does not.
    """
    sampling: Any = store.settings["sampling"]
    stored = Sampling.from_settings(sampling).crops
    if stored != options:
        raise UsageError(
            f"the feature store {store.folder} holds features of {_what(stored, plural=True)}, not of "
            f"{_what(options, plural=True)}. Give another folder (-o), or the same options as before."
        )


def _what(options: CropOptions | None, *, plural: bool = False) -> str:
    if options is None:
        return "whole videos" if plural else "a whole video"
    return f"crops ({options})" if plural else f"a crop ({options})"
