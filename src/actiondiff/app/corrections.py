"""Corrected bouts on disk: one file per video or crop, and a table of labels and a BORIS project of all.

Every change is written at once, whole or not at all, so that a crash loses nothing.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.errors import UsageError, explain_validation
from actiondiff.exports.boris import write_project
from actiondiff.exports.bouts import with_paths_from
from actiondiff.exports.individuals import has_individuals, with_individual
from actiondiff.inference.individuals import Subject
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv, write_text
from actiondiff.types import Bout

__all__ = ["CORRECTIONS", "LABELS", "PROJECT", "BoutEdit", "Correction", "Corrections", "EditConflictError"]

LABELS, PROJECT, CORRECTIONS = "labels.csv", "project.boris", "corrections"
_COLUMNS = ("video", "label", "start_seconds", "end_seconds")
_LATE_SECONDS = 1.0  # a bout may end this long after the last sampled frame


class EditConflictError(UsageError):
    """A video's bouts were changed elsewhere since they were read."""


class BoutEdit(BaseModel):
    """One bout as the page sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str
    start_seconds: float = Field(ge=0)
    end_seconds: float = Field(ge=0)


class Correction(BaseModel):
    """The bouts of a video after a person has seen them.

    Attributes:
        video: Path of the video or crop file, relative to the opened folder.
        version: Number of times that it was saved.
        bouts: All bouts, corrected or not.
        checked: Stretches [start, end), in seconds, that the person has judged.
        done: Whether the person has judged the whole video.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    video: str
    version: int = 0
    bouts: tuple[BoutEdit, ...] = Field((), max_length=100_000)
    checked: tuple[tuple[float, float], ...] = Field((), max_length=100_000)
    done: bool = False


class Corrections:
    """All corrections of a folder of videos.

    Args:
        folder: Folder that they are written to; created with the first correction.
        root: The opened folder, which the videos' names are relative to.
        videos: Name of each video or crop -> what it is about; paths are relative to the opened folder.
        labels: The behaviours.

    Raises:
        UsageError: If a file of corrections is damaged.
    """

    def __init__(
        self, folder: Path, root: Path, videos: Mapping[str, Subject], labels: Sequence[str]
    ) -> None:
        self.folder = folder
        self._subjects = videos
        self._root = root
        self._labels = tuple(labels)
        self._lock = threading.RLock()
        self._paths = {video: folder / CORRECTIONS / _file_name(video) for video in videos}
        self._saved = {video: _read(path, video) for video, path in self._paths.items() if path.is_file()}

    def of(self, video: str) -> Correction | None:
        """The correction of a video; None if there is none."""
        return self._saved.get(video)

    @property
    def all(self) -> list[Correction]:
        """The corrections, in the order of the videos."""
        return [self._saved[video] for video in self._paths if video in self._saved]

    def save(self, edit: Correction, timelines: Mapping[str, Timeline]) -> Correction:
        """Write a video's bouts, the table of labels and the BORIS project.

        Args:
            edit: The bouts, with the version that they were made from.
            timelines: Video -> timeline, for the BORIS project.

        Returns:
            What was written, with its new version.

        Raises:
            EditConflictError: If the video was saved elsewhere since that version.
            UsageError: If a bout has an unknown label or does not lie in the video.
        """
        with self._lock:
            before = self._saved.get(edit.video)
            version = before.version if before else 0
            if edit.version != version:
                raise EditConflictError(
                    f"{edit.video} was changed in another window since this one read it; load the page again."
                )
            self._check(edit, timelines.get(edit.video))
            bouts = tuple(sorted(edit.bouts, key=lambda bout: (bout.start_seconds, bout.label)))
            saved = edit.model_copy(update={"version": version + 1, "bouts": bouts})
            write_text(self._paths[edit.video], saved.model_dump_json(indent=1) + "\n")
            self._saved[edit.video] = saved
            self.export(timelines)
            return saved

    def export(self, timelines: Mapping[str, Timeline]) -> None:
        """Write the table of labels, and the BORIS project of the videos whose timelines are made."""
        with self._lock:
            if not self._saved:
                return
            about = [(self._subjects[item.video], item) for item in self.all]
            rows = [
                {
                    "video": self._path_from_table(subject.video), "individual": subject.individual,
                    "label": bout.label, "start_seconds": f"{bout.start_seconds:.3f}",
                    "end_seconds": f"{bout.end_seconds:.3f}",
                }
                for subject, item in about
                for bout in item.bouts
            ]  # fmt: skip
            columns = with_individual(_COLUMNS, wanted=has_individuals(subject for subject, _ in about))
            write_csv(self.folder / LABELS, columns, rows)
            corrected = [
                replace(
                    timelines[item.video],
                    video=self._subjects[item.video].video,
                    individual=self._subjects[item.video].individual,
                    bouts=_bouts(item),
                )
                for item in self.all
                if item.video in timelines
            ]
            if len(corrected) == len(self._saved):
                named = with_paths_from(self.folder, corrected, root=self._root)
                path = self.folder / PROJECT
                write_project(path, named, model="a model, and corrected by hand", made=datetime.now(UTC))

    def _check(self, edit: Correction, timeline: Timeline | None) -> None:
        end = timeline.end_seconds + _LATE_SECONDS if timeline else float("inf")
        for bout in edit.bouts:
            if bout.label not in self._labels:
                raise UsageError(f"unknown behaviour {bout.label!r}; there are {', '.join(self._labels)}.")
            if not bout.start_seconds < bout.end_seconds <= end:
                raise UsageError(
                    f"a bout of {bout.label} from {bout.start_seconds:.3f} to {bout.end_seconds:.3f} s does "
                    f"not lie in the video, which ends at {end - _LATE_SECONDS:.3f} s."
                )

    def _path_from_table(self, video: str) -> str:
        return Path(os.path.relpath(self._root / video, self.folder)).as_posix()


def _bouts(correction: Correction) -> tuple[Bout, ...]:
    return tuple(Bout(b.label, b.start_seconds, b.end_seconds) for b in correction.bouts)


def _file_name(video: str) -> str:
    """A name that differs for videos of equal names in different folders."""
    return f"{Path(video).stem[:60]}-{hashlib.sha256(video.encode()).hexdigest()[:12]}.json"


def _read(path: Path, video: str) -> Correction:
    try:
        correction = Correction.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        raise UsageError(
            f"{path} is damaged: {explain_validation(error)}. Restore it or move it away."
        ) from None
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}. Restore it or move it away.") from None
    if correction.video != video:
        raise UsageError(f"{path} is about {correction.video}, not {video}; restore it or move it away.")
    return correction
