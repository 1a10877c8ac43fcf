"""Events that BORIS exported: tabular and aggregated, as text or workbooks, of all versions since 7.

Columns are matched by name and every cell is read as text.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from actiondiff.datasets.boris_events import (
    POINT,
    START,
    STOP,
    BorisEvent,
    BorisObservation,
    coded_bouts,
    first_player,
    number,
    pair_events,
)
from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.sheets import read_lines, repeated_columns
from actiondiff.errors import warn_once
from actiondiff.provenance import text_of_cell
from actiondiff.video.search import SUFFIXES

__all__ = ["read_export"]

_Line = tuple[int, list[str]]
_SOURCES = ("Source", "Media file")  # all files of all players; `Media file` up to BORIS 7.13
_MEDIA = ("Media file name", "Media file path")  # the file of one event
_LENGTHS = ("Media duration (s)", "Total length", "Total duration", "Total length (s)")
_VARIABLES_FROM = ("FPS (frame/s)", "FPS")  # the user's variables are the columns between this and Subject
_ABSENT = ("", "NA", "Not found", "None")
_LIVE = re.compile("live|from (pictures|directories)", re.IGNORECASE)


def read_export(path: Path, problems: list[str]) -> list[CodedBout]:
    """Bouts of a text export in any of its layouts; problems are added to the list."""
    parsed, delimiter = read_lines(path)
    lines = [(n, [*map(text_of_cell, cells)]) for n, cells in parsed]
    header = lines[0][1] if lines else []
    is_table = "Observation id" in header and ("Start (s)" in header or "Time" in header)
    where = next((i for i, (_, line) in enumerate(lines) if line[0] in ("Time", "Time (s)")), None)
    if not is_table and (where is None or header[:1] != ["Observation id"]):
        problems.append(
            "neither tabular nor aggregated events of BORIS: the file has no header with Observation id and "
            "Time or Start (s). Export events as CSV, TSV, XLSX or ODS, or give the .boris project"
        )
        return []
    columns = header if is_table else lines[where or 0][1]
    repeated = repeated_columns(columns)
    absent = [name for name in ("Behavior",) if name not in columns]
    if repeated or absent:
        problems += repeated + [f"the column {name} is missing" for name in absent]
        return []
    if not is_table:
        return _block(path, lines, where or 0, problems)
    if not {*_SOURCES, *_MEDIA} & {*header}:
        problems.append(f"no column names the media file; it is called {', '.join((*_SOURCES, *_MEDIA))}")
        return []
    if len(lines) == 1:
        problems.append("the file has a header and no events")
    problems += [
        f"row {line_number}: {len(line)} cells for {len(header)} columns; "
        + (f"quote cells that contain {delimiter!r}" if delimiter else "name every column")
        for line_number, line in lines[1:]
        if any(line[len(header) :])
    ]
    read = _aggregated if "Start (s)" in header else _tabular
    return read(path, header, lines[1:], problems)


def _aggregated(
    path: Path, header: Sequence[str], lines: Sequence[_Line], problems: list[str]
) -> list[CodedBout]:
    bouts = []
    for line_number, line in lines:
        row = _row(header, line)
        position = f"row {line_number}"
        observation = _observation(path, header, row, position, problems)
        if observation is None:
            continue
        start, stop = number(row["Start (s)"]), number(row.get("Stop (s)", ""))
        if row.get("Behavior type") == POINT and stop is None:
            stop = start
        if start is None or stop is None or stop < start:
            problems.append(
                f"{position}: Start {row['Start (s)']!r} and Stop {row.get('Stop (s)', '')!r} are no "
                "span of seconds"
            )
            continue
        event = BorisEvent(position, start, row["Behavior"], row.get("Subject", ""), "", "")
        bouts += coded_bouts(observation, position, start, stop, event, problems)
    return bouts


def _tabular(
    path: Path, header: Sequence[str], lines: Sequence[_Line], problems: list[str]
) -> list[CodedBout]:
    observations: dict[str, BorisObservation | None] = {}
    events: dict[str, list[BorisEvent]] = {}
    for line_number, line in lines:
        row = _row(header, line)
        name = row["Observation id"]
        if name not in observations:
            observations[name] = _observation(path, header, row, f"row {line_number}", problems)
        if observations[name] is not None:
            events.setdefault(name, []).extend(_event(row, line_number, problems))
    return [
        bout
        for name, item in observations.items()
        if item is not None
        for bout in pair_events(
            BorisObservation(item.name, item.media, item.offset, tuple(events[name]), item.columns), problems
        )
    ]


def _block(path: Path, lines: Sequence[_Line], where: int, problems: list[str]) -> list[CodedBout]:
    """Bouts of the layout up to BORIS 8.9: lines of label and value, then the table; one observation."""
    facts = [(line[0], line[1] if len(line) > 1 else "") for _, line in lines[:where]]
    values = dict(facts)
    names = [label for label, _ in facts]
    name = values.get("Observation id", "")
    if "Live observation" in values:
        _warn_of_live(path, name)
        return []
    own = facts[names.index("variable") + 1 :] if "variable" in names else []
    header = [cell.removesuffix(" (s)") for cell in lines[where][1]]
    lengths: dict[str, float | None] = {}
    events = []
    for line_number, line in lines[where + 1 :]:
        row = _row(header, line)
        if row.get("Status") not in (START, STOP, POINT) and "Subject" in header:
            at = header.index("Subject")  # an unknown length omits a cell
            row = _row(header, [*line[: at - 1], "", *line[at - 1 :]])
        lengths.setdefault(row.get("Media file path", ""), number(row.get("Total length", "")))
        events += _event(row, line_number, problems)
    players: dict[str, list[str]] = {}
    for label, value in facts:
        if label.startswith("Player #") and value:
            players.setdefault(label.removeprefix("Player #"), []).append(value)
    chosen = first_player(players)
    media = players[chosen] if chosen else [file for file in lengths if file not in _ABSENT]
    if not media:
        problems.append("no line names the media file")
        return []
    files = tuple((file, lengths.get(file)) for file in media)
    offset = number(values.get("Time offset (s)", "")) or 0.0
    return pair_events(BorisObservation(name, files, offset, tuple(events), dict(own)), problems)


def _event(row: Mapping[str, str], line_number: int, problems: list[str]) -> list[BorisEvent]:
    kind = row.get("Behavior type") or row.get("Status", "")
    time = number(row.get("Time", ""))
    if kind not in (START, STOP, POINT) or time is None:
        problems.append(
            f"row {line_number}: Time {row.get('Time')!r} and type {kind!r} are not those of a BORIS event"
        )
        return []
    modifiers = "|".join(value for name, value in row.items() if name.startswith("Modifier"))
    return [BorisEvent(f"row {line_number}", time, row["Behavior"], row.get("Subject", ""), modifiers, kind)]


def _observation(
    path: Path, header: Sequence[str], row: Mapping[str, str], position: str, problems: list[str]
) -> BorisObservation | None:
    """An observation's media, offset and variables, which each row repeats; None if it has no media."""
    name = row["Observation id"]
    if _LIVE.match(row.get("Observation type", "")) or any(_LIVE.match(row.get(c, "")) for c in _SOURCES):
        _warn_of_live(path, name)
        return None
    text = next((row[c] for c in _SOURCES if row.get(c, "") not in _ABSENT), "")
    alone = next((row[c] for c in _MEDIA if row.get(c, "") not in _ABSENT), "")
    lengths = next((row[c] for c in _LENGTHS if row.get(c)), "")
    parts = re.split(r"(?:^|\|)\s*player #(\d+):", text)
    players = dict(zip(parts[1::2], parts[2::2], strict=True)) if len(parts) > 1 else {"1": text}
    chosen = first_player({player: [files] if files.strip() else [] for player, files in players.items()})
    at = [*players].index(chosen) if chosen else 0
    seconds = (lengths.split("|") + [""] * len(players))[at].split(";")
    files = _split_files(players[chosen], alone) if chosen else [alone] if alone else []
    if not files:
        problems.append(f"{position}: the observation {name!r} names no media file")
        return None
    numbers = [number(part) for part in seconds] if len(seconds) == len(files) else [None] * len(files)
    since = next((header.index(column) for column in _VARIABLES_FROM if column in header), None)
    subject = header.index("Subject") if "Subject" in header else 0
    own = header[since + 1 : subject] if since is not None else []
    return BorisObservation(
        name,
        tuple(zip(files, numbers, strict=True)),
        number(row.get("Time offset (s)", "")) or 0.0,
        (),
        {column: row[column] for column in own},
    )


def _split_files(text: str, alone: str) -> list[str]:
    """The files of one player, which `;` separates.

    The name of a file may contain `;` itself: then the part before it has no suffix of a video.
    """
    if text.strip() == alone:
        return [alone]
    files = [""]
    for part in text.split(";"):
        files[-1] = f"{files[-1]};{part}" if files[-1] else part
        if PurePath(files[-1]).suffix.strip().lower() in SUFFIXES:
            files.append("")
    if files[-1]:  # the suffixes are of no help
        files = text.split(";")
    return [file.strip() for file in files if file.strip()]


def _warn_of_live(path: Path, name: str) -> None:
    warn_once(f"{path}: the observation {name!r} is of no video (live, or of pictures) and was left out.")


def _row(header: Sequence[str], line: Sequence[str]) -> dict[str, str]:
    return dict(zip(header, [*line, *[""] * len(header)], strict=False))
