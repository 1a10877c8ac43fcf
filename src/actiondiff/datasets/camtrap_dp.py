"""Behaviours from the observations of a Camtrap DP package.

An observation of a media file has absolute times in whole seconds; those of the file are counted from its
`timestamp`. Where `observationTags` holds exact times (`startSeconds:0.400 | endSeconds:1.200`, as our own
export writes them), these count. Where a table `videos` of our own export says where a video lies, that
counts, since the standard allows no path that leads out of a package.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from actiondiff.datasets.boris_events import APART
from actiondiff.datasets.boris_events import number as finite_number
from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.sheets import read_sheet, read_text
from actiondiff.errors import TableError, UsageError, warn_once
from actiondiff.video.search import SUFFIXES

__all__ = ["VIDEOS", "CamtrapLabel", "read_camtrap_dp"]

CamtrapLabel = Literal["behavior", "scientificName"]
VIDEOS = "videos"
"""Name of the table of our export that says where the videos lie: `mediaID` and `video`."""
_MISSING = ("", "NA", "NaN", "nan")
_NEEDED = {
    "observations": ("mediaID", "eventStart", "eventEnd"),
    "media": ("mediaID", "timestamp", "filePath"),
}
_TAG = re.compile(r"(startSeconds|endSeconds):([0-9.]+)")
_WHOLE_SECOND = 1.001  # and a thousandth, as tags have three decimals
_Row = Mapping[str, str]


def read_camtrap_dp(path: str | Path, *, label: CamtrapLabel = "behavior") -> list[CodedBout]:
    """Read the observations of video files; those of pictures and of events are left out with a warning.

    Args:
        path: Folder of a package, its `datapackage.json`, or its `observations.csv`.
        label: Column that is the label. A behaviour may have several parts, separated by `|`.

    Raises:
        UsageError: If there is no package.
        TableError: If a table lacks a column, or a row cannot be right; the error lists all problems.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise UsageError(f"there is no package at {path}; give a folder with datapackage.json.")
    observations, media = (_table(folder, name) for name in ("observations", "media"))
    locations = _locations(folder)
    problems = []
    files: dict[str, _Row] = {}
    for number, row in media:
        if row["mediaID"] in files:
            problems.append(f"media.csv, row {number}: the mediaID {row['mediaID']} occurs twice")
        files[row["mediaID"]] = {**row, "filePath": locations.get(row["mediaID"], row["filePath"])}
    if observations and label not in observations[0][1]:
        problems.append(f"observations.csv has no column {label}")
    problems += _contradictions(folder, observations, media)
    if problems:
        raise TableError(folder, problems)
    bouts: list[CodedBout] = []
    num_events = num_pictures = num_blank = 0
    for number, row in observations:
        if row["mediaID"] in _MISSING:
            num_events += 1
        elif row["mediaID"] not in files:
            problems.append(f"observations.csv, row {number}: there is no media {row['mediaID']}")
        elif not _is_video(files[row["mediaID"]]):
            num_pictures += 1
        elif row[label] in _MISSING:
            num_blank += 1
        else:
            bouts += _bouts(
                row, files[row["mediaID"]], row[label], f"observations.csv, row {number}", problems
            )
    if problems:
        raise TableError(folder, problems)
    _warn(folder, {"of events": num_events, "of pictures": num_pictures, f"without a {label}": num_blank})
    if not bouts:
        other = "scientificName" if label == "behavior" else "behavior"
        raise TableError(
            folder, [f"no observation of a video has a {label}; --label-from {other} may be meant"]
        )
    return bouts


def _contradictions(
    folder: Path, observations: Sequence[tuple[int, _Row]], media: Sequence[tuple[int, _Row]]
) -> list[str]:
    """Problems of rows of two tables that cannot both be right."""
    problems = []
    numbered = {row["mediaID"]: (number, row.get("deploymentID", "")) for number, row in media}
    for number, row in observations:
        own = row.get("deploymentID", "")
        medium, other = numbered.get(row["mediaID"], (0, ""))
        if own not in _MISSING and other not in _MISSING and own != other:
            problems.append(
                f"observations.csv, row {number}, and media.csv, row {medium}, contradict each other: the "
                f"deployment of the media {row['mediaID']} is {own} and {other}"
            )
    path = folder / _resource(folder, "deployments")
    sheet = read_sheet(path) if path.is_file() else None
    if sheet is None or not {"deploymentID", "deploymentStart", "deploymentEnd"} <= {*sheet.header}:
        return problems
    deployments: dict[str, tuple[int, _Row]] = {}
    for number, row in sheet.records():
        first, before = deployments.setdefault(row["deploymentID"], (number, row))
        problems += [
            f"deployments.csv, rows {first} and {number} contradict each other: {name} of the deployment "
            f"{row['deploymentID']} is {before[name]} and {row[name]}"
            for name in row
            if row[name] != before[name]
        ]
    for number, row in media:
        first, deployment = deployments.get(row.get("deploymentID", ""), (0, {}))
        taken, begun, over = (
            _time(text)
            for text in (
                row["timestamp"],
                deployment.get("deploymentStart", ""),
                deployment.get("deploymentEnd", ""),
            )
        )
        has_issues = deployment.get("timestampIssues", "").lower() == "true"  # the package says so itself
        if taken and begun and over and not begun <= taken <= over and not has_issues:
            problems.append(
                f"media.csv, row {number}, and deployments.csv, row {first}, contradict each other: "
                f"{row['timestamp']} is outside the deployment {row['deploymentID']}, "
                f"{deployment['deploymentStart']} to {deployment['deploymentEnd']}"
            )
    return problems


def _bouts(row: _Row, medium: _Row, text: str, position: str, problems: list[str]) -> list[CodedBout]:
    labels = [part.strip() for part in text.split("|") if part.strip()]
    times = [_time(value) for value in (row["eventStart"], row["eventEnd"], medium["timestamp"])]
    exact = {name: finite_number(value) for name, value in _TAG.findall(row.get("observationTags", ""))}
    begun, over, origin = times
    if begun is None or over is None or origin is None:
        problems.append(
            f"{position}: eventStart {row['eventStart']!r}, eventEnd {row['eventEnd']!r} and the media's "
            f"timestamp {medium['timestamp']!r} must be times with their zone"
        )
        return []
    start: float | None = (begun - origin).total_seconds()
    end: float | None = (over - origin).total_seconds()
    first, last = exact.get("startSeconds"), exact.get("endSeconds")
    if first is not None and last is not None and start is not None and end is not None:
        # Whole seconds are at most one second before a start and after an end.
        if abs(first - start) > _WHOLE_SECOND or abs(last - end) > _WHOLE_SECOND:
            problems.append(
                f"{position}: observationTags say {first:g} to {last:g} s, but eventStart and eventEnd are "
                f"{start:g} and {end:g} s after the media's timestamp; remove what is wrong"
            )
            return []
        start, end = first, last
    elif start == end == 0:
        start = end = None  # an observation of the file as such
    if start is not None and end is not None and not 0 <= start <= end:
        problems.append(
            f"{position}: {start:g} to {end:g} s after the media's timestamp is no span of the file"
        )
        return []
    who = row.get("individualID", "")
    columns = {"scientificName": row.get("scientificName", "")} if "scientificName" in row else {}
    tags = [tag.strip() for tag in row.get("observationTags", "").split("|")]
    coder = row.get("classifiedBy", "") or row.get("classificationMethod", "")
    return [
        CodedBout(
            medium["filePath"], name, start, end, row.get("deploymentID", ""), "" if who in _MISSING else who,
            columns, coder="" if coder in _MISSING else coder, is_apart=":".join(APART) in tags,
        )
        for name in labels
    ]  # fmt: skip


def _table(folder: Path, name: str) -> list[tuple[int, dict[str, str]]]:
    path = folder / _resource(folder, name)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; a package needs observations.csv and media.csv.")
    sheet = read_sheet(path)
    absent = [column for column in _NEEDED[name] if column not in sheet.header]
    if absent:
        raise TableError(path, [f"the column {column} is missing" for column in absent])
    if not sheet.rows:
        raise TableError(path, ["the file has a header and no rows"])
    return sheet.records()


def _locations(folder: Path) -> dict[str, str]:
    """Media -> path of the video from the folder, as the table of our own export says."""
    if not (folder / "datapackage.json").is_file() or not _resource(folder, VIDEOS, default=""):
        return {}
    sheet = read_sheet(folder / _resource(folder, VIDEOS))
    if not {"mediaID", "video"} <= {*sheet.header}:
        return {}  # a table of somebody else
    return {row["mediaID"]: row["video"] for _, row in sheet.records()}


def _resource(folder: Path, name: str, *, default: str | None = None) -> str:
    """Path of a table in the package, as `datapackage.json` says; never one outside the folder."""
    descriptor = folder / "datapackage.json"
    usual = f"{name}.csv" if default is None else default
    if not descriptor.is_file():
        return usual
    try:
        resources = json.loads(read_text(descriptor))["resources"]
        text = next((str(item["path"]) for item in resources if item["name"] == name), usual)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise TableError(descriptor, [f"not the description of a package ({type(error).__name__})"]) from None
    if PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or ":" in text or "\\" in text:
        raise TableError(descriptor, [f"the table {name} is at {text!r}; it must lie in the package"])
    return text


def _is_video(medium: _Row) -> bool:
    kind = medium.get("fileMediatype", "")
    return kind.startswith("video/") if kind else medium["filePath"].lower().endswith(SUFFIXES)


def _time(text: str) -> datetime | None:
    """The time that a text names; None if it names none, or lacks the zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def _warn(folder: Path, left_out: Mapping[str, int]) -> None:
    parts = [f"{count} {what}" for what, count in left_out.items() if count]
    if parts:
        warn_once(f"{folder}: observations that were left out: {', '.join(parts)}.")
