"""Bouts annotated in BORIS, from its projects and its tabular and aggregated exports, old layouts included.

Columns are matched by name and every cell is read as text. BORIS counts time from the beginning of the first
file of player 1, plus the observation's offset. It does not store which event is a start: starts and stops
alternate within subject, behaviour and modifiers.
"""

import csv
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.datasets.bouts import CodedBout, locate_in_files
from actiondiff.errors import TableError, UsageError

__all__ = ["read_boris"]

_NOBODY = ("", "No focal subject")
_START, _STOP, _POINT = "START", "STOP", "POINT"
_MEDIA = ("Media file name", "Media file path")
_LENGTH = ("Media duration (s)", "Total length", "Total duration", "Total length (s)")
_VARIABLES_FROM = ("FPS (frame/s)", "FPS")  # the user's variables are the columns between this and Subject


@dataclass(frozen=True)
class _Mark:
    """An event. `kind` is empty where only the order tells starts from stops."""

    position: str  # position in the file, for messages: `row 7`
    time: float
    label: str
    subject: str
    modifiers: str
    kind: str


@dataclass(frozen=True)
class _Observation:
    name: str
    media: tuple[tuple[str, float | None], ...]
    offset: float
    marks: tuple[_Mark, ...]
    columns: Mapping[str, str]


def read_boris(path: str | Path) -> list[CodedBout]:
    """Read the bouts of a BORIS project or export; live observations are left out.

    Args:
        path: A `.boris` or `.boris.gz` project, or events exported as CSV or TSV.

    Raises:
        UsageError: If there is no such file.
        TableError: If the file is none of these, starts and stops are unpaired, or times lie outside the
            video files; the error lists all problems.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a .boris project, or events exported as CSV or TSV.")
    problems: list[str] = []
    if path.name.lower().endswith((".boris", ".boris.gz")):
        observations = _project(path, problems)
        bouts = [bout for item in observations for bout in _bouts(item, problems)]
    else:
        bouts = _export(path, problems)
    if problems:
        raise TableError(path, problems)
    return bouts


def _project(path: Path, problems: list[str]) -> list[_Observation]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        project = json.loads(data)
        types = {entry["code"]: entry["type"] for entry in project["behaviors_conf"].values()}
        return [
            _observation(name, entry, types)
            for name, entry in project["observations"].items()
            if entry["type"] == "MEDIA"
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problems.append(f"not a BORIS project ({type(error).__name__}: {error})")
        return []


def _observation(name: str, entry: Mapping[str, Any], types: Mapping[str, str]) -> _Observation:
    info = entry.get("media_info", {})
    lengths = {media: float(length) for media, length in info.get("length", {}).items()}
    marks = []
    for number, event in enumerate(entry["events"], start=1):
        time, subject, label, modifiers = event[:4]
        point = str(types.get(label, "State event")).startswith("Point")
        marks.append(
            _Mark(f"{name}, event {number}", float(time), label, subject, modifiers, _POINT if point else "")
        )
    return _Observation(
        name,
        tuple((media, lengths.get(media)) for media in entry["file"].get("1", [])),
        float(entry.get("time offset", 0)),
        tuple(marks),
        {key: str(value) for key, value in entry.get("independent_variables", {}).items()},
    )


def _bouts(observation: _Observation, problems: list[str]) -> list[CodedBout]:
    """Pair starts and stops, and locate each bout in its video file."""
    spans: list[tuple[_Mark, float]] = []
    open_: dict[tuple[str, str, str], _Mark] = {}
    for mark in sorted(observation.marks, key=lambda mark: mark.time):
        key = (mark.subject, mark.label, mark.modifiers)
        begun = open_.pop(key, None) if mark.kind != _POINT else None
        if mark.kind == _POINT:
            spans.append((mark, mark.time))
        elif begun and mark.kind != _START:
            spans.append((begun, mark.time))
        elif mark.kind == _STOP or begun:
            problems.append(
                f"{mark.position}: {mark.label} {mark.kind.lower()}s without the opposite event before it"
            )
        else:
            open_[key] = mark
    problems += [f"{mark.position}: {mark.label} starts and never stops" for mark in open_.values()]
    bouts = []
    for mark, end in spans:
        try:
            parts = locate_in_files(
                observation.media, mark.time - observation.offset, end - observation.offset
            )
        except ValueError as error:
            problems.append(f"{mark.position}: {error}")
            continue
        bouts += [_coded(observation, part, mark.label, mark.subject) for part in parts]
    return bouts


def _coded(observation: _Observation, part: tuple[str, float, float], label: str, subject: str) -> CodedBout:
    media, start, end = part
    who = "" if subject in _NOBODY else subject
    return CodedBout(media, label, start, end, observation.name, who, observation.columns)


def _export(path: Path, problems: list[str]) -> list[CodedBout]:
    """Bouts of a text export in any of its layouts."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        problems.append("not a text file in UTF-8; export events as CSV or TSV, or give the .boris project")
        return []
    first = text.splitlines()[0] if text else ""
    lines = list(csv.reader(text.splitlines(keepends=True), delimiter="\t" if "\t" in first else ","))
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if any(line)]
    header = numbered[0][1] if numbered else []
    if "Observation id" in header and "Start (s)" in header:
        return _aggregated(header, numbered[1:], problems)
    if "Observation id" in header and "Time" in header:
        return _tabular(header, numbered[1:], problems)
    where = next((i for i, (_, line) in enumerate(numbered) if line[0] == "Time"), None)
    if where is None or header[0] != "Observation id":
        problems.append(
            "neither tabular nor aggregated events of BORIS: the file has no header with Observation id and "
            "Time or Start (s). Export events as CSV or TSV, or give the .boris project"
        )
        return []
    return _block(numbered, where, problems)


def _aggregated(
    header: Sequence[str], lines: Sequence[tuple[int, list[str]]], problems: list[str]
) -> list[CodedBout]:
    bouts = []
    for number, line in lines:
        row = _row(header, line)
        observation = _of_row(header, row)
        if not observation.media:
            continue
        try:
            start, stop = float(row["Start (s)"]), float(row["Stop (s)"])
            parts = locate_in_files(observation.media, start - observation.offset, stop - observation.offset)
        except (ValueError, KeyError) as error:
            problems.append(f"row {number}: {error}")
            continue
        bouts += [_coded(observation, part, row["Behavior"], row.get("Subject", "")) for part in parts]
    return bouts


def _tabular(
    header: Sequence[str], lines: Sequence[tuple[int, list[str]]], problems: list[str]
) -> list[CodedBout]:
    observations: dict[str, _Observation] = {}
    marks: dict[str, list[_Mark]] = {}
    for number, line in lines:
        row = _row(header, line)
        name = row["Observation id"]
        if name not in observations:
            observations[name] = _of_row(header, row)
        marks.setdefault(name, []).extend(_mark(row, number, problems))
    return [
        bout
        for name, item in observations.items()
        if item.media
        for bout in _bouts(
            _Observation(item.name, item.media, item.offset, tuple(marks[name]), item.columns), problems
        )
    ]


def _block(numbered: Sequence[tuple[int, list[str]]], where: int, problems: list[str]) -> list[CodedBout]:
    """Bouts of the layout up to BORIS 8.9: lines of label and value, then the table; one observation."""
    facts = [(line[0], line[1] if len(line) > 1 else "") for _, line in numbered[:where]]
    header_values = dict(facts)
    names = [label for label, _ in facts]
    own = facts[names.index("variable") + 1 :] if "variable" in names else []
    header = [cell.removesuffix(" (s)") for cell in numbered[where][1]]
    media: dict[str, float | None] = {}
    marks = []
    for number, line in numbered[where + 1 :]:
        row = _row(header, line)
        if row.get("Status") not in (_START, _STOP, _POINT):  # an unknown length omits a cell
            at = header.index("Subject")
            row = _row(header, [*line[: at - 1], "", *line[at - 1 :]])
        media.setdefault(row["Media file path"], _number(row.get("Total length", "")))
        marks += _mark(row, number, problems)
    player = [value for label, value in facts if label == "Player #1" and value]
    files = tuple((path, media.get(path)) for path in player) or tuple(media.items())
    if not files or header_values.get("Live observation") is not None:
        return []
    offset = _number(header_values.get("Time offset (s)", "")) or 0.0
    name = header_values.get("Observation id", "")
    return _bouts(_Observation(name, files, offset, tuple(marks), dict(own)), problems)


def _mark(row: Mapping[str, str], number: int, problems: list[str]) -> list[_Mark]:
    kind = row.get("Behavior type") or row.get("Status", "")
    time = _number(row.get("Time", ""))
    if kind not in (_START, _STOP, _POINT) or time is None:
        problems.append(
            f"row {number}: Time {row.get('Time')!r} and type {kind!r} are not those of a BORIS event"
        )
        return []
    modifiers = "|".join(value for name, value in row.items() if name.startswith("Modifier"))
    return [_Mark(f"row {number}", time, row["Behavior"], row.get("Subject", ""), modifiers, kind)]


def _of_row(header: Sequence[str], row: Mapping[str, str]) -> _Observation:
    """An observation's media, offset and variables, which each row repeats; live ones have no media."""
    players = dict(re.findall(r"player #(\d+):([^|]*)", row.get("Source", "")))
    paths = [part for part in players.get("1", "").split(";") if part]
    if not paths:
        paths = [row[name] for name in _MEDIA if row.get(name) not in (None, "", "NA", "Not found")][:1]
    lengths = next((row[name] for name in _LENGTH if row.get(name)), "").split("|")[0].split(";")
    numbers = [_number(text) for text in lengths] if len(lengths) == len(paths) else [None] * len(paths)
    since = next((header.index(name) for name in _VARIABLES_FROM if name in header), None)
    subject = header.index("Subject") if "Subject" in header else 0
    own = header[since + 1 : subject] if since is not None else []
    return _Observation(
        row["Observation id"],
        tuple(zip(paths, numbers, strict=True)),
        _number(row.get("Time offset (s)", "")) or 0.0,
        (),
        {name: row[name] for name in own},
    )


def _row(header: Sequence[str], line: Sequence[str]) -> dict[str, str]:
    return dict(zip(header, [*line, *[""] * len(header)], strict=False))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
