"""What a person coded in another program: bouts in media files, and the table of labels they become."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actiondiff.datasets.files import MediaFinder
from actiondiff.errors import TableError
from actiondiff.provenance import write_csv

__all__ = ["CodedBout", "ImportedRows", "locate_in_files", "tabulate", "write_rows"]

_OWN = ("video", "label", "start_seconds", "end_seconds", "group", "subject")


@dataclass(frozen=True)
class CodedBout:
    """One behaviour from one time to another, in one media file.

    Attributes:
        media: Path of the file as the program has it.
        label: The behaviour.
        start_seconds: In the file.
        end_seconds: In the file; the start for a point event.
        group: What belongs together: the observation.
        subject: Who; empty if nobody in particular.
        columns: What else is known of the observation.
    """

    media: str
    label: str
    start_seconds: float
    end_seconds: float
    group: str = ""
    subject: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_point(self) -> bool:
        """Whether it has no duration."""
        return self.end_seconds <= self.start_seconds


@dataclass(frozen=True)
class ImportedRows:
    """Rows of a table of labels, and what did not become one.

    Attributes:
        rows: `video`, `label`, `start_seconds`, `end_seconds`, `group`, `subject` and further columns.
        num_points: Point events that were left out.
        absent: Videos that are not on disk.
    """

    rows: tuple[Mapping[str, str], ...]
    num_points: int
    absent: tuple[str, ...]


def locate_in_files(
    media: Sequence[tuple[str, float | None]], start: float, end: float
) -> list[tuple[str, float, float]]:
    """Where a time of several files that run on lies: (file, start, end) in each file's own time.

    Args:
        media: Path and length of each, in order.
        start: Seconds from the beginning of the first.
        end: Likewise.

    Raises:
        ValueError: If it lies in no file, or the length of one before it is unknown.
    """
    found, begin = [], 0.0
    for number, (path, length) in enumerate(media):
        last = number == len(media) - 1
        if length is None and not last:
            raise ValueError(f"the length of {path} is unknown, so times in the files after it are, too")
        stop = float("inf") if last or length is None else begin + length
        if start < stop and (end > begin or (start == end and start >= begin)):
            found.append((path, max(start, begin) - begin, min(end, stop) - begin))
        begin = stop
    if not found or start < 0:
        raise ValueError(f"{start:g} to {end:g} s lies in none of its {len(media)} files")
    return found


def tabulate(
    bouts: Sequence[CodedBout],
    files: MediaFinder,
    *,
    out: str | os.PathLike[str],
    source: str | os.PathLike[str],
    point_seconds: float | None = None,
) -> ImportedRows:
    """Bouts as rows of a table: paths relative to it, no span twice.

    Bouts of a label that overlap, as those of two animals may, become one. Labels with the very same span
    share a row.

    Args:
        bouts: Of any number of files.
        files: Finds the videos.
        out: Where the table will lie.
        source: What was read, for messages.
        point_seconds: Time that point events are given, around them; None leaves them out.

    Raises:
        TableError: If videos are not to be found, or nothing is left.
    """
    base = Path(out).resolve().parent
    names: dict[str, str] = {}
    problems, absent = [], []
    for media in dict.fromkeys(bout.media for bout in bouts):
        path = files.find(media)
        if isinstance(path, str):
            problems.append(path)
            continue
        names[media] = Path(os.path.relpath(path.resolve(), base)).as_posix()
        if not path.is_file():
            absent.append(names[media])
    points = [bout for bout in bouts if bout.is_point]
    spans: dict[tuple[str, str], list[tuple[float, float, CodedBout]]] = {}
    for bout in bouts:
        if bout.media in names and (not bout.is_point or point_seconds):
            spans.setdefault((names[bout.media], bout.label), []).append(_widened(bout, point_seconds))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for (video, label), found in spans.items():
        for start, end, own in _merged(found):
            key = (video, f"{start:.3f}", f"{end:.3f}")
            subjects = dict.fromkeys(bout.subject for bout in own if bout.subject)
            if key in rows:
                rows[key]["label"] += f";{label}"
                subjects = dict.fromkeys([*rows[key]["subject"].split(";"), *subjects])
                rows[key]["subject"] = ";".join(name for name in subjects if name)
                continue
            values = (video, label, key[1], key[2], own[0].group, ";".join(subjects))
            extra = {name if name not in (*_OWN, "split") else f"coded_{name}": value
                     for name, value in own[0].columns.items()}  # fmt: skip
            rows[key] = {**dict(zip(_OWN, values, strict=True)), **extra}
    if not rows and not problems:
        left = f"; {len(points)} point events were left out (give them a duration)" if points else ""
        problems.append(f"no bout with a duration was coded{left}")
    if problems:
        raise TableError(source, problems)
    ordered = sorted(rows.values(), key=lambda row: (row["video"], float(row["start_seconds"]), row["label"]))
    return ImportedRows(tuple(ordered), 0 if point_seconds else len(points), tuple(absent))


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a table; columns in the order in which they are met."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, rows)


def _widened(bout: CodedBout, point_seconds: float | None) -> tuple[float, float, CodedBout]:
    if bout.is_point and point_seconds:
        start = max(0.0, bout.start_seconds - point_seconds / 2)
        return start, start + point_seconds, bout
    return bout.start_seconds, bout.end_seconds, bout


def _merged(
    spans: Sequence[tuple[float, float, CodedBout]],
) -> list[tuple[float, float, list[CodedBout]]]:
    """Spans of one label in one video; those that overlap are one."""
    merged: list[tuple[float, float, list[CodedBout]]] = []
    for start, end, bout in sorted(spans, key=lambda span: span[:2]):
        if merged and start < merged[-1][1]:
            first, last, own = merged[-1]
            merged[-1] = (first, max(end, last), [*own, bout])
        else:
            merged.append((start, end, [bout]))
    return merged
