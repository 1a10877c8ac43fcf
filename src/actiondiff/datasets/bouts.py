"""Bouts annotated in another program, and the table of labels that is made of them."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from actiondiff.datasets.files import MediaFinder
from actiondiff.errors import TableError, UnknownNameError, UsageError
from actiondiff.provenance import write_csv

__all__ = ["CodedBout", "ImportedRows", "locate_in_files", "tabulate", "write_rows"]

_COLUMNS = ("video", "label", "start_seconds", "end_seconds", "group")
_INDIVIDUAL, _SUBJECT = "individual", "subject"


@dataclass(frozen=True)
class CodedBout:
    """One behaviour from one time to another, in one media file.

    Attributes:
        media: Path of the media file, as the program stores it.
        label: The behaviour.
        start_seconds: Start in the file; None for a label of the whole file.
        end_seconds: End in the file; equal to the start for a point event, None for a label of the whole
            file.
        group: The observation, which is kept whole.
        subject: The individual; empty if none is named.
        columns: Further values of the observation.
        split: `train`, `val`, `test`, or empty if the program does not divide its labels.
        coder: Who made the label, if that is not what `group` says.
        is_apart: Whether each individual of the video was coded by itself, as our own exports of crops say.
    """

    media: str
    label: str
    start_seconds: float | None
    end_seconds: float | None
    group: str = ""
    subject: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    coder: str = ""
    is_apart: bool = False

    @property
    def observation(self) -> str:
        """What a video has several of if several observers coded it."""
        return self.coder or self.group

    @property
    def is_point(self) -> bool:
        """Whether the bout has no duration, to the millisecond."""
        if self.start_seconds is None or self.end_seconds is None:
            return False
        return round(self.end_seconds, 3) <= round(self.start_seconds, 3)


_Span: TypeAlias = tuple[float, float, CodedBout]
"""Start, end and bout; a label of a whole file lasts from minus infinity to infinity."""


@dataclass(frozen=True)
class ImportedRows:
    """Rows of a table of labels, made of bouts.

    Attributes:
        rows: Rows with `video`, `label`, `start_seconds`, `end_seconds`, `group`, `subject` or `individual`,
            and further columns.
        num_points: Number of point events that were left out.
        absent: Videos that are not on disk.
    """

    rows: tuple[Mapping[str, str], ...]
    num_points: int
    absent: tuple[str, ...]


def locate_in_files(
    media: Sequence[tuple[str, float | None]], start: float, end: float
) -> list[tuple[str, float, float]]:
    """Locate a span of time in files that follow each other.

    Args:
        media: Path and length in seconds (None if unknown) of each file, in order.
        start: Start of the span, in seconds from the beginning of the first file.
        end: End of the span, likewise.

    Returns:
        (file, start, end) for each file that the span covers, in the file's own time.

    Raises:
        ValueError: If the span lies in no file, or the length of a file before it is unknown.
    """
    parts, begin = [], 0.0
    for number, (path, length) in enumerate(media):
        last = number == len(media) - 1
        if length is None and not last:
            raise ValueError(
                f"the length of {path} is unknown, so that times in later files are unknown as well"
            )
        stop = float("inf") if last or length is None else begin + length
        if start < stop and (end > begin or (start == end and start >= begin)):
            parts.append((path, max(start, begin) - begin, min(end, stop) - begin))
        begin = stop
    if not parts or start < 0:
        raise ValueError(f"{start:g} to {end:g} s lies in none of the observation's {len(media)} files")
    return parts


def tabulate(
    bouts: Sequence[CodedBout],
    files: MediaFinder,
    *,
    out: str | os.PathLike[str],
    source: str | os.PathLike[str],
    point_seconds: float | None = None,
    observations: Sequence[str] = (),
    by_individual: bool | None = None,
) -> ImportedRows:
    """Make the rows of a table of labels from bouts.

    Overlapping bouts of one label, as those of two animals may be, are merged. Labels with exactly the same
    span share a row, whose `subject` lists the individuals. By individual, as crops need it, only bouts of
    one individual are merged or share a row, and `individual` names it.

    Args:
        bouts: Bouts of any number of files.
        files: Finds the videos.
        out: Path of the table that will be written; the rows' paths are relative to its folder.
        source: File that was read, for messages.
        point_seconds: Duration to give to point events, centred on them; None leaves them out.
        observations: Groups to keep; all if empty. Several observations of one video are only put together if
            they are named here: they may be those of two observers.
        by_individual: Whether rows are about one individual each; None if they are in exports of crops only.

    Raises:
        UnknownNameError: If there is no observation of a name.
        UsageError: If the duration of point events is not above 0.
        TableError: If videos cannot be found, a label contains `;`, a video has several observations, or no
            bout is left.
    """
    if point_seconds is not None and not 0 < point_seconds < float("inf"):
        raise UsageError(f"--point-seconds must be a number of seconds above 0; got {point_seconds:g}.")
    groups = dict.fromkeys(bout.observation for bout in bouts)
    for name in observations:
        if name not in groups:
            raise UnknownNameError("observation", name, groups)
    bouts = [bout for bout in bouts if not observations or bout.observation in observations]
    if by_individual is not None:
        bouts = [replace(bout, is_apart=by_individual) for bout in bouts]
    # All videos that cannot be found are listed at once.
    names, absent, problems = _video_names(bouts, files, Path(out).resolve().parent)
    problems += _wrong_labels(bouts)
    if not observations:
        problems += _several_observations(bouts, names)
    points = [bout for bout in bouts if bout.is_point]
    spans: dict[tuple[str, str, str], list[_Span]] = {}
    for bout in bouts:
        if bout.media in names and (not bout.is_point or point_seconds):
            key = (names[bout.media], bout.label, _individual(bout))
            spans.setdefault(key, []).append(_widened(bout, point_seconds))
    rows = _rows(spans)
    if not rows and not problems:
        left = f"; {len(points)} point events were left out (give them a duration)" if points else ""
        problems.append(f"no bout has a duration{left}")
    if problems:
        raise TableError(source, problems)
    ordered = sorted(
        rows,
        key=lambda row: (
            row["video"],
            float(row["start_seconds"] or -1),
            row["label"],
            row.get(_INDIVIDUAL, ""),
        ),
    )
    return ImportedRows(tuple(ordered), 0 if point_seconds else len(points), tuple(absent))


def _video_names(
    bouts: Sequence[CodedBout], files: MediaFinder, base: Path
) -> tuple[dict[str, str], list[str], list[str]]:
    """Media path -> path relative to a folder; videos that are not on disk; and problems."""
    names: dict[str, str] = {}
    absent: list[str] = []
    problems: list[str] = []
    for media in dict.fromkeys(bout.media for bout in bouts):
        path = files.find(media)
        if isinstance(path, str):
            problems.append(path)
            continue
        names[media] = Path(os.path.relpath(path.resolve(), base)).as_posix()
        if not path.is_file():
            absent.append(names[media])
    return names, absent, problems


def _wrong_labels(bouts: Sequence[CodedBout]) -> list[str]:
    """Problems of labels that a table cannot hold."""
    labels = dict.fromkeys(bout.label for bout in bouts)
    return [
        f"the label {label!r} {'contains ;' if ';' in label else 'is empty'}, which a table cannot hold; "
        "rename it in the program that it comes from"
        for label in labels
        if ";" in label or not label.strip()
    ]


def _several_observations(bouts: Sequence[CodedBout], names: Mapping[str, str]) -> list[str]:
    """Problems of videos that several observations are about."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for bout in bouts:
        if bout.media in names:
            groups.setdefault((names[bout.media], _individual(bout)), {})[bout.observation] = None
    return [
        f"{video} was coded in {len(several)} observations: {', '.join(map(repr, several))}; choose one of "
        "them with --observation, or name each one whose labels are to be put together"
        for (video, _), several in groups.items()
        if len(several) > 1
    ]


def _individual(bout: CodedBout) -> str:
    """The individual that a row is about; empty where rows are about whole pictures."""
    return bout.subject if bout.is_apart else ""


def _rows(spans: Mapping[tuple[str, str, str], Sequence[_Span]]) -> list[dict[str, str]]:
    """One row per video (and individual) and span, with all its labels and subjects."""
    rows: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for (video, label, individual), own_spans in spans.items():
        for start, end, own in _merged(own_spans):
            # Spans are the same if their times are, as they will be written.
            whole = math.isinf(end)
            key = (video, individual, "" if whole else f"{start:.3f}", "" if whole else f"{end:.3f}")
            column = _INDIVIDUAL if own[0].is_apart else _SUBJECT
            subjects = dict.fromkeys(bout.subject for bout in own if bout.subject)
            if key in rows:
                rows[key]["label"] += f";{label}"
                subjects = dict.fromkeys([*rows[key][column].split(";"), *subjects])
                rows[key][column] = ";".join(name for name in subjects if name)
                continue
            values = dict(zip(_COLUMNS, (video, label, *key[2:], own[0].group), strict=True))
            values[column] = ";".join(subjects)
            extra = {name if name not in (*values, "split") else f"coded_{name}": value
                     for name, value in own[0].columns.items()}  # fmt: skip
            split = {"split": own[0].split} if own[0].split else {}
            rows[key] = {**values, **split, **extra}
    return list(rows.values())


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a CSV; columns have the order in which they first occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, rows)


def _widened(bout: CodedBout, point_seconds: float | None) -> _Span:
    if bout.start_seconds is None or bout.end_seconds is None:
        return -math.inf, math.inf, bout
    if bout.is_point and point_seconds:
        start = max(0.0, bout.start_seconds - point_seconds / 2)
        return start, start + point_seconds, bout
    return bout.start_seconds, bout.end_seconds, bout


def _merged(
    spans: Sequence[_Span],
) -> list[tuple[float, float, list[CodedBout]]]:
    """Merge overlapping spans of one label in one video."""
    merged: list[tuple[float, float, list[CodedBout]]] = []
    for start, end, bout in sorted(spans, key=lambda span: span[:2]):
        if merged and start < merged[-1][1]:
            first, last, own = merged[-1]
            merged[-1] = (first, max(end, last), [*own, bout])
        else:
            merged.append((start, end, [bout]))
    return merged
