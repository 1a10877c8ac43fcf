"""Export of bouts to a Camtrap DP 1.0.2 package: deployments, media and observations of camera traps.

A video does not say where and when its camera stood, nor when it began. This comes from a table of the user;
what the table lacks is reported and never invented. The standard allows whole seconds only, so that bouts
are widened to whole seconds, and their exact times are written into `observationTags`. It allows no path that
leads out of the package either; where the videos lie is in a table of our own, `videos.csv`.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.datasets.boris_events import APART
from actiondiff.datasets.camtrap_dp import VIDEOS
from actiondiff.datasets.sheets import read_text
from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError, explain_validation
from actiondiff.exports.boris import observation_names
from actiondiff.exports.individuals import by_video
from actiondiff.inference.timeline import Timeline
from actiondiff.outputs.documents import parse_yaml
from actiondiff.provenance import write_csv, write_text
from actiondiff.video.names import locate

__all__ = ["VERSION", "CamtrapProject", "check_about", "write_camtrap_dp"]

VERSION = "1.0.2"
_SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_REQUIRED = (
    "video", "deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd", "timestamp",
)  # fmt: skip
_DEGREES = {"latitude": 90, "longitude": 180}  # name of the column -> largest value
_TIMES = ("deploymentStart", "deploymentEnd", "timestamp")
_COLUMNS = {
    "deployments": (
        "deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty",
        "deploymentStart", "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay",
        "cameraHeight", "cameraDepth", "cameraTilt", "cameraHeading", "detectionDistance",
        "timestampIssues", "baitUse", "featureType", "habitat", "deploymentGroups", "deploymentTags",
        "deploymentComments",
    ),
    "media": (
        "mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName",
        "fileMediatype", "exifData", "favorite", "mediaComments",
    ),
    "observations": (
        "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
        "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior",
        "individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX",
        "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy",
        "classificationTimestamp", "classificationProbability", "observationTags", "observationComments",
    ),
}  # fmt: skip
_VIDEOS_SCHEMA = {
    "fields": [{"name": "mediaID", "type": "string"}, {"name": "video", "type": "string"}],
    "foreignKeys": [{"fields": "mediaID", "reference": {"resource": "media", "fields": "mediaID"}}],
}
_MEDIATYPES = {
    ".mp4": "video/mp4", ".m4v": "video/x-m4v", ".avi": "video/x-msvideo", ".mov": "video/quicktime",
    ".mkv": "video/x-matroska", ".webm": "video/webm", ".mpg": "video/mpeg", ".wmv": "video/x-ms-wmv",
}  # fmt: skip
_AboutRow = Mapping[str, str]
"""One row of the user's table, which describes one video: name of the column -> text."""


class CamtrapProject(BaseModel):
    """What a package says about its project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, description="Title of the project.")
    contact: str = Field(min_length=1, description="Name of the person to contact.")
    email: str = Field("", description="E-mail address of the contact.")
    sampling_design: Literal[
        "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"
    ] = Field(description="How the camera locations were chosen.")
    capture_method: Literal["activityDetection", "timeLapse"] = Field(
        "activityDetection", description="What triggered the cameras."
    )
    individual_animals: bool = Field(False, description="Whether individuals were recognised.")


def write_camtrap_dp(
    folder: str | os.PathLike[str],
    timelines: Sequence[Timeline],
    *,
    about: str | os.PathLike[str],
    project: str | os.PathLike[str],
    model: str,
    made: datetime,
    locations: Sequence[str] = (),
) -> None:
    """Write `datapackage.json`, `deployments.csv`, `media.csv`, `observations.csv` and `videos.csv`.

    Args:
        folder: Folder to write to; created if it does not exist.
        timelines: The timelines, one per video, or one per individual that a crop follows.
        about: CSV file with one row per video. It needs the columns `video` (path relative to this file),
            `deploymentID`, `latitude`, `longitude`, `deploymentStart`, `deploymentEnd` and `timestamp` (when
            the video began); the last three are times with their zone. It may have `scientificName`,
            `observationType` and any other column of the standard's deployments and media.
        project: YAML file with the fields of `CamtrapProject`.
        model: Description of the model that made the bouts.
        made: When the bouts were made, with a zone.
        locations: Path of each video from the folder; those that lead to no file are left out.

    Raises:
        TableError: If the table lacks columns, videos or values; the message lists all problems.
        UsageError: If the project's file cannot be used.
    """
    # The user's files are checked before anything is written.
    described = _project(Path(project))
    rows = _rows(Path(about), [timeline.video for timeline in timelines])
    firsts = [group[0] for group in by_video(timelines)]
    names = observation_names(replace(timeline, individual="") for timeline in firsts)
    name_of = {timeline.video: name for name, timeline in zip(names, firsts, strict=True)}
    row_of = {timeline.video: row for row, timeline in zip(rows, timelines, strict=True)}
    deployments = list({row["deploymentID"]: row for row in rows}.values())
    tables: dict[str, list[dict[str, str]]] = {
        "deployments": [_deployment(row) for row in deployments],
        "media": [_medium(name, row_of[video], described) for video, name in name_of.items()],
        "observations": [
            {**entry, "mediaID": name_of[timeline.video]}
            for name, row, timeline in zip(observation_names(timelines), rows, timelines, strict=True)
            for entry in _observations(name, row, timeline, model, made)
        ],
    }
    for table, entries in tables.items():
        write_csv(Path(folder) / f"{table}.csv", _COLUMNS[table], entries)
    package = _package(described, deployments, rows, made)
    located = [
        {"mediaID": name_of[video], "video": path}
        for video, path in {t.video: path for t, path in zip(timelines, locations, strict=False)}.items()
        if Path(folder, path).is_file()
    ]
    if located:
        write_csv(Path(folder) / f"{VIDEOS}.csv", ("mediaID", "video"), located)
        package["resources"] = [*_resources(_COLUMNS), {**_resources([VIDEOS])[0], "schema": _VIDEOS_SCHEMA}]
    text = json.dumps(package, indent=2, ensure_ascii=False)
    write_text(Path(folder) / "datapackage.json", text + "\n")


def check_about(
    about: str | os.PathLike[str],
    project: str | os.PathLike[str],
    videos: Sequence[str | os.PathLike[str]],
) -> None:
    """Make sure that the user's files have everything that `write_camtrap_dp` needs.

    Raises:
        TableError: If the table lacks columns, videos or values; the message lists all problems.
        UsageError: If a file cannot be used.
    """
    _project(Path(project))
    _rows(Path(about), videos)


def _project(path: Path) -> CamtrapProject:
    """Read and check the user's file about the project."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; Camtrap DP needs a YAML file about the project.")
    try:
        return CamtrapProject.model_validate(parse_yaml(read_text(path)))
    except TableError as error:
        raise UsageError(str(error)) from None
    except (yaml.YAMLError, ValidationError, RecursionError, ValueError) as error:
        fields = "; ".join(
            f"{name}: {field.description}" for name, field in CamtrapProject.model_fields.items()
        )
        what = explain_validation(error) if isinstance(error, ValidationError) else "it is not valid YAML"
        raise UsageError(f"{path} cannot be used ({what}). Its fields are: {fields}") from None


def _rows(path: Path, videos: Sequence[str | os.PathLike[str]]) -> list[_AboutRow]:
    """Read and check the user's table, and return the row of each video."""
    if not path.is_file():
        raise UsageError(
            f"{path} does not exist; Camtrap DP needs a table with the columns {', '.join(_REQUIRED)}."
        )
    numbered = read_rows(path)
    # Without the columns, no row can be checked; every other problem is collected.
    absent = [name for name in _REQUIRED if name not in (numbered[0][1] if numbered else {})]
    if absent:
        raise TableError(path, [f"the columns {', '.join(absent)} are missing, or no row follows them"])
    for _, row in numbered:
        row["video"] = locate(path.parent, row["video"])
        row.update({name: row[name].replace(",", ".") for name in _DEGREES})
    by_path = {(path.parent / row["video"]).resolve(): row for _, row in numbered}
    problems = [
        f"row {number}: {name} is empty" for number, row in numbered for name in _REQUIRED if not row[name]
    ]
    problems += [
        f"row {number}: {name} is {row[name]!r}; it must be like 2026-04-12T05:31:07+02:00, with its zone"
        for number, row in numbered
        for name in _TIMES
        if row[name] and _time(row[name]) is None
    ]
    problems += [
        f"row {number}: {name} is {row[name]!r}; it must be degrees, {-limit} to {limit}, such as 23.84995"
        for number, row in numbered
        for name, limit in _DEGREES.items()
        if row[name] and not _within(row[name], limit)
    ]
    problems += [
        f"row {number}: deploymentEnd, {row['deploymentEnd']}, is before deploymentStart, "
        f"{row['deploymentStart']}"
        for number, row in numbered
        if (begun := _time(row["deploymentStart"])) and (over := _time(row["deploymentEnd"])) and over < begun
    ]
    problems += _contradictions(path, numbered)
    chosen = [by_path.get(Path(video).resolve()) for video in videos]
    problems += [f"no row is about {video}" for video, row in zip(videos, chosen, strict=True) if not row]
    if problems:
        raise TableError(path, problems)
    return [row for row in chosen if row]


def _contradictions(path: Path, numbered: Sequence[tuple[int, _AboutRow]]) -> list[str]:
    """Problems of rows that cannot both be right, and of videos that were taken outside their deployment."""
    problems = []
    videos: dict[Path, int] = {}
    deployments: dict[str, tuple[int, _AboutRow]] = {}
    for number, row in numbered:
        same_video = videos.setdefault((path.parent / row["video"]).resolve(), number)
        if same_video != number:
            problems.append(
                f"rows {same_video} and {number} are both about {row['video']}; remove one of them"
            )
        first_number, first = deployments.setdefault(row["deploymentID"], (number, row))
        problems += [
            f"rows {first_number} and {number} contradict each other: {name} of the deployment "
            f"{row['deploymentID']} is {first[name]} and {row[name]}"
            for name in _COLUMNS["deployments"]
            if name in row and not _agree(name, first[name], row[name])
        ]
        begun, over, taken = (_time(row[name]) for name in _TIMES)
        if begun and over and taken and begun <= over and not begun <= taken <= over:
            problems.append(
                f"row {number}: the timestamp, {row['timestamp']}, is outside the deployment "
                f"{row['deploymentID']}, {row['deploymentStart']} to {row['deploymentEnd']}"
            )
    return problems


def _agree(column: str, one: str, other: str) -> bool:
    """Whether two cells say the same: the same text, degrees or instant."""
    if column in _DEGREES and _within(one, _DEGREES[column]) and _within(other, _DEGREES[column]):
        return float(one) == float(other)
    if column in _TIMES and _time(one) and _time(other):
        return _time(one) == _time(other)
    return one == other


def _deployment(row: _AboutRow) -> dict[str, str]:
    """One row of `deployments.csv`."""
    values = {name: row.get(name) or "" for name in _COLUMNS["deployments"]}
    return {**values, **{name: _whole(row[name]) for name in ("deploymentStart", "deploymentEnd")}}


def _medium(name: str, row: _AboutRow, project: CamtrapProject) -> dict[str, str]:
    """One row of `media.csv`. The standard allows relative paths only; of other paths the name remains."""
    path = PurePosixPath(row["video"])
    plain = not path.is_absolute() and ".." not in path.parts and not str(path).startswith((".", "~"))
    values = {column: row.get(column) or "" for column in _COLUMNS["media"]}
    return {
        **values,
        "mediaID": name,
        "captureMethod": values["captureMethod"] or project.capture_method,
        "timestamp": _whole(row["timestamp"]),
        "filePath": values["filePath"] or (str(path) if plain else path.name),
        "filePublic": values["filePublic"] or "false",
        "fileName": values["fileName"] or path.name,
        "fileMediatype": values["fileMediatype"] or _MEDIATYPES.get(path.suffix.lower(), "video/x-unknown"),
    }


def _observations(
    name: str, row: _AboutRow, timeline: Timeline, model: str, made: datetime
) -> list[dict[str, str]]:
    """The rows of `observations.csv` about one timeline, one per bout, without `mediaID`."""
    begun = _time(row["timestamp"])
    assert begun is not None  # the table was checked
    species = row.get("scientificName") or ""
    part = begun.microsecond / 1e6
    # Where one behaviour holds at a time, neighbours that share a second do not overlap in whole seconds: the
    # later one begins where the earlier one ends. The tags have the times as they are.
    over = {
        b.end_seconds: math.ceil(b.end_seconds + part)
        for b in timeline.bouts
        if timeline.activation == "softmax"
    }
    entries = []
    for number, bout in enumerate(timeline.bouts, start=1):
        end = math.ceil(bout.end_seconds + part)
        start = math.floor(bout.start_seconds + part)
        earlier = [whole for before, whole in over.items() if before <= bout.start_seconds + 1e-6]
        start = min(end, max([start, *earlier]))
        whole = begun.replace(microsecond=0)
        tags = [f"startSeconds:{bout.start_seconds:.3f}", f"endSeconds:{bout.end_seconds:.3f}"]
        tags += [":".join(APART)] if timeline.individual else []
        entry = {
            "observationID": f"{name}-{number}",
            "deploymentID": row["deploymentID"],
            "eventStart": _text(whole + timedelta(seconds=start)),
            "eventEnd": _text(whole + timedelta(seconds=end)),
            "observationLevel": "media",
            "observationType": row.get("observationType") or ("animal" if species else "unknown"),
            "scientificName": species,
            "behavior": bout.label,
            "individualID": timeline.individual,
            "classificationMethod": "machine",
            "classifiedBy": model,
            "classificationTimestamp": _text(made.astimezone(UTC).replace(microsecond=0)),
            "classificationProbability": f"{bout.probability:.4f}",
            "observationTags": " | ".join(tags),
        }
        entries.append({column: entry.get(column, "") for column in _COLUMNS["observations"]})
    return entries


def _package(
    project: CamtrapProject, deployments: Sequence[_AboutRow], rows: Sequence[_AboutRow], made: datetime
) -> dict[str, object]:
    """The content of `datapackage.json`."""
    coordinates = sorted({(float(row["longitude"]), float(row["latitude"])) for row in deployments})
    starts, ends = ([row[name][:10] for row in deployments] for name in ("deploymentStart", "deploymentEnd"))
    species = sorted({row.get("scientificName") or "" for row in rows} - {""})
    contact = {"title": project.contact, "role": "contact"}
    if project.email:
        contact["email"] = project.email
    return {
        "resources": _resources(_COLUMNS),
        "profile": f"{_SCHEMAS}/camtrap-dp-profile.json",
        "created": _text(made.astimezone(UTC).replace(microsecond=0)),
        "contributors": [contact],
        "project": {
            "title": project.title,
            "samplingDesign": project.sampling_design,
            "captureMethod": [project.capture_method],
            "individualAnimals": project.individual_animals,
            "observationLevel": ["media"],
        },
        "spatial": {"type": "Point", "coordinates": coordinates[0]} if len(coordinates) == 1
        else {"type": "MultiPoint", "coordinates": coordinates},
        "temporal": {"start": min(starts, default=""), "end": max(ends, default="")},
        "taxonomic": [{"scientificName": name} for name in species],
    }  # fmt: skip


def _resources(tables: Iterable[str]) -> list[dict[str, object]]:
    """Description of each table."""
    return [
        {
            "name": table, "path": f"{table}.csv", "profile": "tabular-data-resource", "format": "csv",
            "mediatype": "text/csv", "encoding": "utf-8", "schema": f"{_SCHEMAS}/{table}-table-schema.json",
        }
        for table in tables
    ]  # fmt: skip


def _within(text: str, limit: float) -> bool:
    try:
        return abs(float(text)) <= limit
    except ValueError:
        return False


def _time(text: str) -> datetime | None:
    """The time that a text names; None if it names none, or lacks the zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def _whole(text: str) -> str:
    """A time as the standard allows it: without fractions of a second."""
    time = _time(text)
    assert time is not None  # the table was checked
    return _text(time.replace(microsecond=0))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
