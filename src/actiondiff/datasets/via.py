"""Temporal segments of the VGG Image Annotator 3: its projects (`.json`) and its exports (`.csv`)."""

import csv
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.sheets import read_text
from actiondiff.errors import TableError, UnknownNameError, UsageError, warn_once
from actiondiff.outputs.words import counted

__all__ = ["read_via"]

_HEADER = "CSV_HEADER"
_ATTRIBUTES = re.compile(r"#\s*ATTRIBUTES?\s*=\s*(\{.*\})")
_PLACEHOLDER = "_DEFAULT"  # what VIA writes for an attribute that nobody filled in
_OF_VIA_2 = "a project of VIA 2, which has regions of pictures and no times"
_CHECKBOX, _VIDEO = 2, 4  # kinds of attributes and of files in a project
_SEVERAL = "several attributes have values"


def read_via(path: str | Path, *, attribute: str | None = None) -> list[CodedBout]:
    """Read the segments of a project or export; regions in pictures are left out with a warning.

    Args:
        path: A project, or a CSV that was exported from one.
        attribute: Name of the attribute whose values are the labels; needed if several have values.

    Raises:
        UsageError: If there is no such file.
        UnknownNameError: If there is no attribute of this name.
        TableError: If the file is none of these, or a segment cannot be read; the error lists all problems.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a project of VIA 3 (.json), or a CSV of it.")
    text = read_text(path)
    problems: list[str] = []
    try:
        segments = _export(path, text) if path.suffix.lower() == ".csv" else _project(path, text, problems)
    except TableError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TableError(path, [f"not a project of VIA 3 ({type(error).__name__}: {error})"]) from None
    names = dict.fromkeys(name for *_, values in segments for name in values)
    if attribute is not None and attribute not in names:
        raise UnknownNameError("attribute", attribute, names)
    if attribute is None and len(names) > 1:
        problems.append(f"{_SEVERAL}: {', '.join(map(repr, names))}; choose one with --label-from")
    bouts: list[CodedBout] = []
    num_without = 0
    chosen = attribute if attribute is not None else next(iter(names), "")
    for position, media, times, values in segments:
        labels = values.get(chosen, [])
        num_without += bool(values and chosen not in values)
        if not values:
            problems.append(f"{position}: the segment has no label; fill it in, or delete it")
        if len(times) > 2 or (times and not 0 <= times[0] <= times[-1] < math.inf):
            listed = " to ".join(f"{time:g}" for time in times)
            problems.append(f"{position}: {listed} s is no span of the video")
            continue
        start, end = (times[0], times[-1]) if times else (None, None)
        bouts += [CodedBout(media, label, start, end) for label in labels]
    if problems:
        raise TableError(path, problems)
    if num_without:
        left_out = counted(num_without, "segment")
        warn_once(f"{path}: left out {left_out} with values of other attributes than {chosen!r} only.")
    return bouts


_Segment = tuple[str, str, list[float], dict[str, list[str]]]
"""Position for messages, media file, no time, one time or two, and attribute -> labels."""


def _project(path: Path, text: str, problems: list[str]) -> list[_Segment]:
    project = json.loads(text)
    if "_via_settings" in project or "_via_img_metadata" in project:
        raise TableError(path, [_OF_VIA_2])
    if project and all(isinstance(item, dict) and "regions" in item for item in project.values()):
        raise TableError(path, [_OF_VIA_2])  # its annotations alone
    attributes, files, views = project["attribute"], project["file"], project["view"]
    segments: list[_Segment] = []
    num_regions = num_others = 0
    for key, item in project["metadata"].items():
        listed = views[item["vid"]]["fid_list"]
        if len(listed) != 1:
            problems.append(f"segment {key}: its view shows {len(listed)} files, and not one")
            continue
        file = files[str(listed[0])]
        if item.get("xy"):
            num_regions += 1
        elif int(file.get("type", _VIDEO)) != _VIDEO:
            num_others += 1
        else:
            values = {
                str(attributes[name]["aname"]): labels
                for name, value in item["av"].items()
                if (labels := _labels(str(value), attributes[name]))
            }
            segments.append((f"segment {key}", _media(file, project), [*map(float, item["z"])], values))
    if num_regions or num_others:
        warn_once(f"{path}: left out {num_regions} regions of pictures and {num_others} items of no video.")
    return segments


def _labels(value: str, attribute: Mapping[str, Any]) -> list[str]:
    """The labels that a value stands for: names of options, or the text itself."""
    options = attribute.get("options") or {}
    parts = value.split(",") if int(attribute.get("type", 1)) == _CHECKBOX else [value]
    return [
        str(options.get(part.strip(), part)).strip()
        for part in parts
        if part.strip() not in ("", _PLACEHOLDER)
    ]


def _media(file: Mapping[str, Any], project: Mapping[str, Any]) -> str:
    """Path of a file: it is local, or below a prefix that the project states."""
    prefixes = (project.get("config") or {}).get("file", {}).get("loc_prefix", {})
    source = str(file.get("src") or "")
    if not source or source.startswith(("blob:", "data:")):
        return str(file["fname"])
    address = str(prefixes.get(str(file.get("loc")), "")) + source
    if address.lower().startswith(("http://", "https://")):
        return PurePosixPath(unquote(urlsplit(address).path)).name  # --videos says where it lies
    return unquote(urlsplit(address).path) if address.lower().startswith("file:") else address


def _export(path: Path, text: str) -> list[_Segment]:
    """Segments of a CSV, whose header is in a comment and whose cells hold JSON.

    Another comment has the attributes, by the numbers that the column `metadata` gives them.
    """
    lines = text.splitlines()
    header = next((line.split("=", 1)[1] for line in lines if line.startswith("#") and _HEADER in line), "")
    names = [name.strip() for name in header.split(",")]
    if not {"file_list", "temporal_coordinates", "metadata"} <= {*names}:
        raise TableError(
            path, ["not an export of VIA 3: it has no comment with CSV_HEADER and the columns' names"]
        )
    matches = [match for line in lines if (match := _ATTRIBUTES.match(line))]
    attributes: Mapping[str, Any] = json.loads(matches[0][1]) if matches else {}
    segments: list[_Segment] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        position = f"row {number}"
        row = dict(zip(names, next(csv.reader([line], skipinitialspace=True)), strict=True))
        files, times, values = (
            json.loads(row[name]) for name in ("file_list", "temporal_coordinates", "metadata")
        )
        if json.loads(row.get("spatial_coordinates") or "[]"):
            warn_once(f"{path}: left out regions of pictures.")
            continue
        if len(files) != 1:
            raise TableError(path, [f"{position}: it names {len(files)} files, and not one"])
        labels: dict[str, list[str]] = {}
        for key, value in values.items():
            attribute = attributes.get(key, {})
            if isinstance(attribute, str) or not attribute:  # only its name is there, or nothing
                if str(value).strip().isdecimal():
                    raise TableError(
                        path, [f"{position}: the value is the number of an option; give the project (.json)"]
                    )
                attribute = {"aname": attribute or key}
            if own := _labels(str(value), attribute):
                labels[str(attribute["aname"])] = own
        segments.append((position, str(files[0]), [*map(float, times)], labels))
    return segments
