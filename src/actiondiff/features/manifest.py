"""What a feature store knows of its videos: index.csv, failures.csv, and the journal that precedes them.

Each result is one line appended to `journal.jsonl` and fsynced; `tidy` merges the journal into the two
tables, which are sorted, so that the order of results changes no byte of them. Readers merge on the fly: a
kill at any time loses nothing that was recorded. Tables that are missing or torn are made anew from the
feature files.
"""

import csv
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from actiondiff.provenance import atomic_path, fault_point
from actiondiff.types import Status

__all__ = ["Entry", "Failure", "Manifest", "Row", "locked"]

_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # any name a file can have


class Row(NamedTuple):
    """A line of index.csv.

    Attributes:
        video: Posix path, relative to the store's root.
        identity: sha256 of the video's content.
        file: Posix path of the feature file, relative to the store; empty if the video failed.
        num_tokens: T; 0 if it failed.
        coverage: Share of the promised frames that decoded, 4 decimals.
        status: `ok`, `partial` or `failed`.
    """

    video: str
    identity: str
    file: str
    num_tokens: int
    coverage: float
    status: Status


class Failure(NamedTuple):
    """Why a video is `failed` or `partial`: a line of failures.csv."""

    status: Status
    reason: str


class Entry(NamedTuple):
    """All that is known of a video: a line of the journal. With neither row nor failure it is forgotten."""

    video: str
    row: Row | None
    failure: Failure | None


class Manifest:
    """The rows and failures of a store, in memory and on disk.

    Args:
        folder: The store.
        scan: Gives the entries that the feature files themselves tell, for when a table is unusable.
    """

    def __init__(self, folder: Path, scan: Callable[[], Iterable[Entry]]) -> None:
        self.folder = folder
        self.rows: dict[str, Row] = {}
        self.failures: dict[str, Failure] = {}
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._scan = scan
        self._journal = folder / "journal.jsonl"
        self.load()

    def names(self, identity: str) -> set[str]:
        """Videos whose row has this identity."""
        return set(self._names.get(identity, ()))

    def entry(self, video: str) -> Entry:
        """What is known of a video."""
        return Entry(video, self.rows.get(video), self.failures.get(video))

    def load(self) -> None:
        """Read what is on disk."""
        recorded = list(_read_journal(self._journal))  # first: a table read after it is never older
        self.rows, self.failures = {}, {}
        self._names.clear()
        try:
            rows = [
                Row(video, identity, file, int(tokens), float(coverage), _status(status))
                for video, identity, file, tokens, coverage, status in self._read("index.csv", Row._fields)
            ]
            failures = {
                video: Failure(_status(status), reason)
                for video, status, reason in self._read("failures.csv", ("video", *Failure._fields))
            }
        except (OSError, ValueError):
            for entry in self._scan():
                self._apply(entry)
        else:
            for row in rows:
                self._apply(Entry(row.video, row, None))
            self.failures = failures
        for entry in recorded:
            self._apply(entry)

    def record(self, entries: Iterable[Entry]) -> None:
        """Add to the journal, in one write; the caller holds the lock."""
        entries = list(entries)
        if not entries:
            return
        # A line break comes first, so that a line torn by a kill spoils none after it.
        text = "".join("\n" + json.dumps(entry) for entry in entries)
        fault_point("unrecorded")
        with open(self._journal, "ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        fault_point("recorded")
        for entry in entries:
            self._apply(entry)

    def tidy(self) -> None:
        """Merge the journal into the tables, and remove what killed writers left behind."""
        with locked(self.folder) as alone:
            self.load()
            if self._journal.exists() or not all(
                (self.folder / name).exists() for name in ("index.csv", "failures.csv")
            ):
                self._write("index.csv", Row._fields, sorted(self.rows.values()))
                failures = ((video, *failure) for video, failure in sorted(self.failures.items()))
                self._write("failures.csv", ("video", *Failure._fields), failures)
                self._journal.unlink(missing_ok=True)
            if alone:  # then nobody is writing these
                for part in (*self.folder.glob(".*.part"), *self.folder.glob("*/*/.*.part")):
                    part.unlink(missing_ok=True)

    def _apply(self, entry: Entry) -> None:
        video, row, failure = entry
        before = self.rows.pop(video, None)
        if before:
            self._names[before.identity].discard(video)
        if row:
            self.rows[video] = row
            self._names[row.identity].add(video)
        self.failures.pop(video, None)
        if failure:
            self.failures[video] = failure

    def _read(self, name: str, columns: Sequence[str]) -> list[list[str]]:
        with open(self.folder / name, **_TEXT) as file:
            lines = list(csv.reader(file, strict=True))
        if not lines or lines[0] != list(columns):
            raise ValueError(name)
        return lines[1:]

    def _write(self, name: str, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
        with atomic_path(self.folder / name) as aside, open(aside, "w", **_TEXT) as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *lines])


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a store's lock; not to be nested. Yields whether this file system has locks.

    Where it has none (and on Windows), two processes that write to one store at the same time may miss each
    other's rows; nothing is damaged, and the next extraction or `verify` adds them.
    """
    with open(folder / ".lock", "a") as file:
        yield _lock(file.fileno())


def _read_journal(path: Path) -> Iterator[Entry]:
    """The journal's entries; torn lines are left out."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            video, row, failure = json.loads(line)
            yield Entry(video, row and Row(*row), failure and Failure(*failure))
        except (ValueError, TypeError):
            continue


def _status(text: str) -> Status:
    if text not in ("ok", "partial", "failed"):
        raise ValueError(text)
    return text  # type: ignore[return-value]


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; whether that is possible here."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        return False
    return True
