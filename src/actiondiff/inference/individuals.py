"""What a result is about: a whole video, or one individual of it that a crop follows."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from actiondiff.errors import VideoError
from actiondiff.inference.localization import Heatmap
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Prediction
from actiondiff.types.display import titled
from actiondiff.video.crop_file import individual_of

__all__ = ["Subject", "of_source", "subject_of"]

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
