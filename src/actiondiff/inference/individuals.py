"""What a result is about: a whole video, or one individual of it that a crop follows."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from actiondiff.errors import UsageError, VideoError
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.localization import Heatmap
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Prediction
from actiondiff.types.display import titled
from actiondiff.video.crop_file import individual_of, is_crop, read_crop

__all__ = ["CROPS", "Subject", "check_crops_of_model", "of_source", "subject_of", "subjects_of"]

CROPS = "crops"
"""Folder in that of predictions, or of corrections, in which crops are written."""

_Result = TypeVar("_Result", Prediction, Timeline, Heatmap)


@dataclass(frozen=True)
class Subject:
    """A video, or an individual of it.

    Attributes:
        video: Path of the video; of a crop, that of its source.
        individual: The individual that the crop follows; empty for whole pictures.
    """

    video: str
    individual: str = ""

    @property
    def title(self) -> str:
        """Both in one text, such as `a.mp4 · fox`."""
        return titled(self.video, self.individual)

    @property
    def short_title(self) -> str:
        """The same with the name of the video's file alone."""
        return titled(os.path.basename(self.video), self.individual)


def subject_of(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Subject:
    """What the result of a file is about. A crop file that cannot be read is taken for a video itself.

    Args:
        path: The file.
        root: Folder that the path is relative to, and that of a source will be. If None, the path of a source
            is relative to the working folder if the path of the crop is.
    """
    name = os.fspath(path)
    try:
        crop = individual_of(name if root is None else os.path.join(root, name))
    except VideoError:
        return Subject(name)
    if crop is None:
        return Subject(name)
    source, individual = crop
    if root is None and os.path.isabs(name):
        return Subject(os.fspath(source), individual)
    return Subject(Path(os.path.relpath(source, root or os.curdir)).as_posix(), individual)


def of_source(result: _Result, *, root: str | os.PathLike[str] | None = None) -> _Result:
    """A result of a crop file, with the source and the individual in place of the crop file's path.

    Args:
        result: The result, whose `video` is the path of a file.
        root: See `subject_of`.
    """
    subject = subject_of(result.video, root=root)
    return replace(result, video=subject.video, individual=subject.individual)


def subjects_of(videos: Sequence[str | os.PathLike[str]]) -> list[Subject]:
    """What the results of some files will be about.

    Raises:
        UsageError: If two crops are about one individual of one video.
    """
    subjects: dict[Subject, str | os.PathLike[str]] = {}
    listed = []
    for video in videos:
        subject = subject_of(video)
        other = subjects.setdefault(subject, video)
        if other is not video and (is_crop(video) or is_crop(other)):
            raise UsageError(f"{other} and {video} are both about {subject.title}; give one of them.")
        listed.append(subject)
    return listed


def check_crops_of_model(
    config: ModelConfig, videos: Iterable[str | os.PathLike[str]], *, run: str | os.PathLike[str]
) -> None:
    """Make sure that a model which has learnt from crops is given crops like these, and any other none.

    Crop files that cannot be read are passed over; they fail when they are read.

    Args:
        config: The model's config.
        videos: The files.
        run: Name of the model, for messages.

    Raises:
        UsageError: If a file is of the other kind.
    """
    learnt = config.sampling.crops
    for video in videos:
        try:
            crops = read_crop(video).options if is_crop(video) else None
        except VideoError:
            continue
        if crops == learnt:
            continue
        if learnt is None:
            raise UsageError(
                f"{run} has learnt from whole videos, and {video} is a crop; give its video, "
                f"{subject_of(video).video}, or a model that was trained on crops (extract --boxes)."
            )
        here = "is a whole video" if crops is None else f"is a crop with other options ({crops})"
        raise UsageError(
            f"{run} has learnt from crops around animals ({learnt}), and {video} {here}; give videos and "
            "--boxes, the boxes of the animals in them, or crops alone that were made for this model."
        )
