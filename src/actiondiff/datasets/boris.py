"""Bouts annotated in BORIS, from its projects and its tabular and aggregated exports of all layouts."""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actiondiff.datasets.boris_events import (
    POINT,
    BorisEvent,
    BorisObservation,
    first_player,
    number,
    pair_events,
)
from actiondiff.datasets.boris_exports import read_export
from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.sheets import decode_text
from actiondiff.errors import TableError, UsageError, warn_once

__all__ = ["read_boris"]

_LARGEST_BYTES = 256 << 20


def read_boris(path: str | Path) -> list[CodedBout]:
    """Read the bouts of a BORIS project or export; observations of no video are left out with a warning.

    Args:
        path: A `.boris` or `.boris.gz` project, or events exported as CSV, TSV, XLSX or ODS.

    Raises:
        UsageError: If there is no such file.
        TableError: If the file is none of these, starts and stops are unpaired, or times lie outside the
            video files; the error lists all problems.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a .boris project, or exported events.")
    problems: list[str] = []
    if path.name.lower().endswith((".boris", ".boris.gz")):
        observations = _project(path, problems)
        bouts = [bout for item in observations for bout in pair_events(item, problems)]
    else:
        bouts = read_export(path, problems)
    if problems:
        raise TableError(path, problems)
    return bouts


def _project(path: Path, problems: list[str]) -> list[BorisObservation]:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = zlib.decompressobj(wbits=31).decompress(data, _LARGEST_BYTES) if data else data
        project = json.loads(decode_text(path, data), object_pairs_hook=_without_repetition)
        types = {entry["code"]: entry["type"] for entry in project["behaviors_conf"].values()}
        observations = []
        for name, entry in project["observations"].items():
            if entry["type"] == "MEDIA":
                observations += _observation(path, name, entry, types, problems)
            else:
                warn_once(f"{path}: the observation {name!r} is of no video and was left out.")
        return observations
    except TableError:
        raise
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, LookupError) as error:
        problems.append(f"not a BORIS project ({type(error).__name__}: {error})")
    except (TypeError, AttributeError, RecursionError) as error:
        problems.append(f"not a BORIS project, or of a layout that is not known ({type(error).__name__})")
    return []


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """The fields of an object of a project.

    Raises:
        ValueError: If two have the same name; one of them would be lost.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return values


def _observation(
    path: Path, name: str, entry: Mapping[str, Any], types: Mapping[str, str], problems: list[str]
) -> list[BorisObservation]:
    """An observation; none if it has no events."""
    info = entry.get("media_info") or {}
    player = first_player(entry["file"])
    if not entry["events"]:
        return []
    if player is None:
        problems.append(f"the observation {name!r} names no media file")
        return []
    others = [other for other, files in entry["file"].items() if files and other != player]
    if others:
        warn_once(
            f"{path}: {name!r} shows several videos at a time; its labels were taken for those of player "
            f"{player} ({', '.join(entry['file'][player])})."
        )
    start_offset = number(str((info.get("offset") or {}).get(player, 0)))
    if start_offset != 0:
        problems.append(
            f"{name}: its video has an offset of {start_offset} s against the observation, which cannot be "
            "read; set it to 0 in BORIS, or export aggregated events"
        )
        return []
    lengths = {media: number(str(length)) for media, length in (info.get("length") or {}).items()}
    events = []
    for position, event in enumerate(entry["events"], start=1):
        events += _event(f"{name}, event {position}", event, types, problems)
    files = tuple((media, lengths.get(media)) for media in entry["file"][player])
    own = {key: str(value) for key, value in (entry.get("independent_variables") or {}).items()}
    offset = number(str(entry.get("time offset", 0))) or 0.0
    return [BorisObservation(name, files, offset, tuple(events), own)]


def _event(
    position: str, event: Sequence[Any], types: Mapping[str, str], problems: list[str]
) -> list[BorisEvent]:
    time, subject, label, modifiers = event[:4]
    seconds = number(str(time))
    if seconds is None:
        problems.append(f"{position}: the time is {time!r}; it must be a number of seconds")
    elif label not in types:
        problems.append(
            f"{position}: the behaviour {label!r} is not in the project's ethogram, so that starts and stops "
            "cannot be told from points; add it in BORIS"
        )
    else:
        kind = POINT if str(types[label]).startswith("Point") else ""
        return [BorisEvent(position, seconds, str(label), str(subject), str(modifiers), kind)]
    return []
