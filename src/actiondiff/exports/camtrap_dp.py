"""Bouts as a Camtrap DP 1.0.2 package: deployments, media and observations of camera traps.

Where and when a camera stood and when a video began is not in the video: it comes from a table of the user's,
and what it lacks is said, never made up. The standard knows whole seconds only, so bouts are widened to them
and their exact times stand in `observationTags`.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError, explain_validation
from actiondiff.exports.boris import observation_names
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import atomic_path, write_csv

__all__ = ["VERSION", "CamtrapProject", "check_about", "write_camtrap_dp"]

VERSION = "1.0.2"
_SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_REQUIRED = (
    "video", "deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd", "timestamp",
)  # fmt: skip
_DEGREES = {"latitude": 90, "longitude": 180}  # and their limits
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
_MEDIATYPES = {
    ".mp4": "video/mp4", ".m4v": "video/x-m4v", ".avi": "video/x-msvideo", ".mov": "video/quicktime",
    ".mkv": "video/x-matroska", ".webm": "video/webm", ".mpg": "video/mpeg", ".wmv": "video/x-ms-wmv",
}  # fmt: skip
_Row = Mapping[str, str]


class CamtrapProject(BaseModel):
    """What a package says of its project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, description="Of the project.")
    contact: str = Field(min_length=1, description="Name of a person.")
    email: str = Field("", description="Of the contact.")
    sampling_design: Literal[
        "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"
    ] = Field(description="How places were chosen.")
    capture_method: Literal["activityDetection", "timeLapse"] = Field(
        "activityDetection", description="What set the cameras off."
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
) -> None:
    """Write `datapackage.json`, `deployments.csv`, `media.csv` and `observations.csv`.

    Args:
        folder: Where to.
        timelines: Of the videos.
        about: CSV with a row a video: `video` (path, relative to this file), `deploymentID`, `latitude`,
            `longitude`, `deploymentStart`, `deploymentEnd` and `timestamp` (when the video began; these three
            with their zone), and, as wanted, `scientificName`, `observationType` and any further column of
            the standard's deployments and media.
        project: YAML with the fields of `CamtrapProject`.
        model: What made the bouts.
        made: When; with a zone.

    Raises:
        TableError: If the table lacks columns, videos or values; it lists them all.
        UsageError: If the project's file cannot be used.
    """
    described = _project(Path(project))
    rows = _rows(Path(about), [timeline.video for timeline in timelines])
    names = observation_names(timelines)
    deployments = list({row["deploymentID"]: row for row in rows}.values())
    tables: dict[str, list[dict[str, Any]]] = {
        "deployments": [_deployment(row) for row in deployments],
        "media": [_medium(name, row, described) for name, row in zip(names, rows, strict=True)],
        "observations": [
            entry
            for name, row, timeline in zip(names, rows, timelines, strict=True)
            for entry in _observations(name, row, timeline, model, made)
        ],
    }
    for table, entries in tables.items():
        write_csv(Path(folder) / f"{table}.csv", _COLUMNS[table], entries)
    with atomic_path(Path(folder) / "datapackage.json") as aside:
        text = json.dumps(_package(described, deployments, rows, made), indent=2, ensure_ascii=False)
        aside.write_text(text + "\n", "utf-8")


def check_about(
    about: str | os.PathLike[str],
    project: str | os.PathLike[str],
    videos: Sequence[str | os.PathLike[str]],
) -> None:
    """Make sure that `write_camtrap_dp` will find all that it needs.

    Raises:
        TableError: If the table lacks columns, videos or values; it lists them all.
        UsageError: If a file cannot be used.
    """
    _project(Path(project))
    _rows(Path(about), videos)


def _project(path: Path) -> CamtrapProject:
    try:
        return CamtrapProject.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; Camtrap DP needs a YAML file about the project.") from None
    except (yaml.YAMLError, ValidationError) as error:
        fields = "; ".join(
            f"{name}: {field.description}" for name, field in CamtrapProject.model_fields.items()
        )
        what = explain_validation(error) if isinstance(error, ValidationError) else "it is not valid YAML"
        raise UsageError(f"{path} cannot be used ({what}). Its fields are: {fields}") from None


def _rows(path: Path, videos: Sequence[str | os.PathLike[str]]) -> list[_Row]:
    """The table's row of each video."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; Camtrap DP needs a table with {', '.join(_REQUIRED)}.")
    numbered = read_rows(path)
    absent = [name for name in _REQUIRED if name not in (numbered[0][1] if numbered else {})]
    if absent:
        raise TableError(path, [f"the columns {', '.join(absent)} are missing, or no row follows them"])
    for _, row in numbered:
        row.update({name: row[name].replace(",", ".") for name in _DEGREES})
    by_path = {(path.parent / row["video"].replace("\\", "/")).resolve(): row for _, row in numbered}
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
    found = [by_path.get(Path(video).resolve()) for video in videos]
    problems += [f"no row is about {video}" for video, row in zip(videos, found, strict=True) if not row]
    if problems:
        raise TableError(path, problems)
    return [row for row in found if row]


def _deployment(row: _Row) -> dict[str, str]:
    values = {name: row.get(name) or "" for name in _COLUMNS["deployments"]}
    return {**values, **{name: _whole(row[name]) for name in ("deploymentStart", "deploymentEnd")}}


def _medium(name: str, row: _Row, project: CamtrapProject) -> dict[str, str]:
    path = PurePosixPath(row["video"].replace("\\", "/"))
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
    name: str, row: _Row, timeline: Timeline, model: str, made: datetime
) -> list[dict[str, Any]]:
    begun = _time(row["timestamp"])
    assert begun is not None  # checked with the table
    species = row.get("scientificName") or ""
    found = []
    for number, bout in enumerate(timeline.bouts, start=1):
        start = math.floor(bout.start_seconds + begun.microsecond / 1e6)
        end = math.ceil(bout.end_seconds + begun.microsecond / 1e6)
        whole = begun.replace(microsecond=0)
        entry = {
            "observationID": f"{name}-{number}",
            "deploymentID": row["deploymentID"],
            "mediaID": name,
            "eventStart": _text(whole + timedelta(seconds=start)),
            "eventEnd": _text(whole + timedelta(seconds=end)),
            "observationLevel": "media",
            "observationType": row.get("observationType") or ("animal" if species else "unknown"),
            "scientificName": species,
            "behavior": bout.label,
            "classificationMethod": "machine",
            "classifiedBy": model,
            "classificationTimestamp": _text(made.astimezone(UTC).replace(microsecond=0)),
            "classificationProbability": f"{bout.probability:.4f}",
            "observationTags": f"startSeconds:{bout.start_seconds:.3f} | endSeconds:{bout.end_seconds:.3f}",
        }
        found.append({column: entry.get(column, "") for column in _COLUMNS["observations"]})
    return found


def _package(
    project: CamtrapProject, deployments: Sequence[_Row], rows: Sequence[_Row], made: datetime
) -> dict[str, Any]:
    places = sorted({(float(row["longitude"]), float(row["latitude"])) for row in deployments})
    starts, ends = ([row[name][:10] for row in deployments] for name in ("deploymentStart", "deploymentEnd"))
    species = sorted({row.get("scientificName") or "" for row in rows} - {""})
    contact = {"title": project.contact, "role": "contact"}
    if project.email:
        contact["email"] = project.email
    return {
        "resources": [
            {
                "name": table, "path": f"{table}.csv", "profile": "tabular-data-resource", "format": "csv",
                "mediatype": "text/csv", "encoding": "utf-8",
                "schema": f"{_SCHEMAS}/{table}-table-schema.json",
            }
            for table in _COLUMNS
        ],
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
        "spatial": {"type": "Point", "coordinates": places[0]} if len(places) == 1
        else {"type": "MultiPoint", "coordinates": places},
        "temporal": {"start": min(starts, default=""), "end": max(ends, default="")},
        "taxonomic": [{"scientificName": name} for name in species],
    }  # fmt: skip


def _within(text: str, limit: float) -> bool:
    try:
        return abs(float(text)) <= limit
    except ValueError:
        return False


def _time(text: str) -> datetime | None:
    """A time with its zone; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _whole(text: str) -> str:
    """A time as the standard has it: without fractions of a second."""
    time = _time(text)
    assert time is not None  # checked with the table
    return _text(time.replace(microsecond=0))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
