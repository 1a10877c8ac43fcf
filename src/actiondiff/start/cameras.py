"""Which column of a user's table names the cameras, and which camera took the videos without labels."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.table import read_table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.outputs.words import counted
from actiondiff.provenance import write_csv

__all__ = [
    "NO_CAMERA",
    "CameraProposal",
    "cameras_of_new_videos",
    "check_background",
    "check_table",
    "propose_camera",
]

NO_CAMERA = "none"
"""In place of a column: no camera is taken for one."""
_NAMES = (
    "camera", "cameraid", "cameraname", "cam", "camerasite", "cameratrap", "trap", "station", "stationid",
    "deployment", "deploymentid", "location", "locationid", "locationname", "site", "siteid", "place",
)  # fmt: skip
"""Letters of the columns that may name a camera, the surest first."""


@dataclass(frozen=True)
class CameraProposal:
    """The column that names the camera of each clip.

    Attributes:
        column: The column; None if there is none that can be used.
        reason: Why it was chosen or left aside, in words; empty if nothing resembles such a column.
    """

    column: str | None
    reason: str = ""


def propose_camera(table: Table, asked: str | None = None) -> CameraProposal:
    """Propose the column that names the camera of each clip.

    A column is of use if all labelled clips have a camera, there are two cameras or more, and some camera has
    clips of two videos or more.

    Args:
        table: The labelled clips.
        asked: Column to take, or `NO_CAMERA`; None to look for one.

    Raises:
        UnknownNameError: If there is no column of the name.
        UsageError: If the column that is asked for is of no use.
    """
    if asked == NO_CAMERA:
        return CameraProposal(None)
    if asked is not None:
        if asked not in (*table.columns, "group"):
            raise UnknownNameError("column of cameras", asked, (*table.columns, "group", NO_CAMERA))
        problem = _problem(table, asked)
        if problem:
            raise UsageError(
                f"{asked} cannot be taken for the camera: {problem}. Correct the column, or give --camera "
                f"{NO_CAMERA}."
            )
        return CameraProposal(asked, f"the column {asked}")
    letters = {column: re.sub("[^a-z]", "", column.lower()) for column in table.columns}
    alike = sorted((_NAMES.index(name), column) for column, name in letters.items() if name in _NAMES)
    for _, column in alike:
        if not _problem(table, column):
            return CameraProposal(column, f"the column {column}")
    if not alike:
        return CameraProposal(None)
    column = alike[0][1]
    return CameraProposal(None, f"the column {column} is not taken for the camera: {_problem(table, column)}")


def _problem(table: Table, column: str) -> str:
    """Why a column is of no use as the camera; empty if it is of use."""
    labelled = [example for example in table.examples if example.labels]
    videos: dict[str, set[str]] = {}
    for example in labelled:
        videos.setdefault(value_of(example, column), set()).add(example.video)
    if "" in videos:
        lacking = sum(not value_of(example, column) for example in labelled)
        return f"{counted(lacking, 'labelled clip')} of {len(labelled)} have none"
    if len(videos) < 2:
        return f"all labelled clips have the same one ({next(iter(videos), 'none')})"
    if max(map(len, videos.values())) < 2:
        return "each video has one of its own"
    return ""


def check_table(background: Path | None) -> None:
    """Read a table of clips without animals, if there is one: a wrong one is an error."""
    if background is not None:
        read_table(background, check_files=True)


def check_background(camera: CameraProposal, background: Path | None) -> None:
    """Make sure that clips without animals can be used.

    Args:
        camera: Column that names the camera.
        background: Table of clips without animals; None for none.

    Raises:
        UsageError: If no column names the cameras, or the clips lack it.
    """
    if background is None:
        return
    if camera.column is None:
        raise UsageError(
            "clips without animals need the camera of each labelled clip; "
            f"{camera.reason or 'no column names it'}. "
            "Name the column with --camera, or leave out --background-clips."
        )
    lacking = [clip for clip in read_table(background).examples if not value_of(clip, camera.column)]
    if lacking:
        raise UsageError(
            f"{background}: {lacking[0].video} has no {camera.column}; fill the column of that name, which "
            "names the camera of the labelled clips, too."
        )


def cameras_of_new_videos(videos: Sequence[Path], table: Table, column: str, path: Path) -> tuple[Path, str]:
    """Write a CSV with the camera of each video without labels, and say where it is from.

    A video has the camera of its row in the table. One without is of the camera of the labelled videos in its
    folder, if these are all of one camera, or else of a camera that bears the name of the folder.

    Args:
        videos: The videos without labels.
        table: All clips of the user, also those without labels.
        column: Column that names the camera.
        path: The CSV to write.

    Returns:
        The CSV, and a sentence.
    """
    own: dict[Path, str] = {}
    of_folder: dict[Path, set[str]] = {}
    for example in table.examples:
        camera = value_of(example, column)
        video = (table.root / example.video).resolve()
        if camera:
            own[video] = camera
            of_folder.setdefault(video.parent, set()).add(camera)
    rows: list[Mapping[str, object]] = []
    counts = {"the table": 0, "the labelled videos beside them": 0, "their folders": 0}
    for video in videos:
        resolved = video.resolve()
        beside = of_folder.get(resolved.parent, set())
        if resolved in own:
            camera, source = own[resolved], "the table"
        elif len(beside) == 1:
            camera, source = next(iter(beside)), "the labelled videos beside them"
        else:
            camera, source = str(resolved.parent), "their folders"
        counts[source] += 1
        name = Path(os.path.relpath(video, path.parent)).as_posix()
        rows.append({"video": name, column: camera})
    write_csv(path, ("video", column), rows)
    parts = ", ".join(f"{number} from {source}" for source, number in counts.items() if number)
    return path, f"cameras of {counted(len(videos), 'video')} without labels: {parts} ({path})."
