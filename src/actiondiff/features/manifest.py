"""The records of a feature store about its videos: index.csv, failures.csv, and a journal of recent results.

Each result is one line that is appended to `journal.jsonl`, and fsynced unless it is a failure: to read a
damaged video again takes less time than the disk takes to confirm a line. `tidy` merges the journal into both
tables, which are sorted, so that the order of results changes no byte of them. Readers merge the journal in
memory, so that a kill at any time loses nothing that was recorded. Tables that are missing or damaged are
rebuilt from the feature files.
"""

import csv
import errno
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from actiondiff.errors import UsageError
from actiondiff.outputs import checked_identity, inside
from actiondiff.provenance import PART_PREFIX, atomic_path, cell_text, fault_point, text_of_cell
from actiondiff.types import Status

__all__ = ["Entry", "Failure", "Manifest", "Row", "locked"]

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_POLL_SECONDS = 0.01  # between attempts at a lock that another process holds
_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # any name a file can have


class Row(NamedTuple):
    """One row of index.csv, which is about one video.

    Attributes:
        video: Posix path, relative to the store's root.
        identity: sha256 of the video's content.
        file: Posix path of the feature file, relative to the store; empty if the video failed.
        num_tokens: Number of tokens T; 0 if the video failed.
        coverage: Share of the promised frames that decoded, with 4 decimals.
        status: `ok`, `partial` or `failed`.
    """

    video: str
    identity: str
    file: str
    num_tokens: int
    coverage: float
    status: Status


class Failure(NamedTuple):
    """One row of failures.csv: the reason why a video is `failed` or `partial`."""

    status: Status
    reason: str


class Entry(NamedTuple):
    """One line of the journal: all that is recorded about a video.

    An entry with neither row nor failure drops the video from both tables.
    """

    video: str
    row: Row | None
    failure: Failure | None


class Manifest:
    """The rows and failures of a store, in memory and on disk.

    Args:
        folder: Folder of the store.
        scan: Returns the entries that follow from the feature files; called if a table cannot be used.
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
        """Names of the videos whose row has this identity."""
        return set(self._names.get(identity, ()))

    def entry(self, video: str) -> Entry:
        """All that is recorded about a video."""
        return Entry(video, self.rows.get(video), self.failures.get(video))

    def load(self) -> None:
        """Read the tables and the journal from disk."""
        recorded = list(_read_journal(self._journal))  # before the tables, which are then never older
        self.rows, self.failures = {}, {}
        self._names.clear()
        try:
            rows = [
                _checked(Row(video, identity, file, int(tokens), float(coverage), _status(status)))
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
        """Append entries to the journal in one write. The caller holds the lock.

        A process that is killed afterwards loses none of them, a loss of power at most failures.
        """
        entries = list(entries)
        if not entries:
            return
        # The line break comes first, so that a line cut short by a kill does not damage the next one.
        text = "".join("\n" + json.dumps(entry) for entry in entries)
        fault_point("unrecorded")
        with open(self._journal, "ab") as file:
            file.write(text.encode())
            file.flush()
            if any(entry.row and entry.row.file for entry in entries):
                os.fsync(file.fileno())
        fault_point("recorded")
        for entry in entries:
            self._apply(entry)

    def tidy(self) -> None:
        """Merge the journal into the tables, and remove files that killed writers left behind."""
        with locked(self.folder) as is_locked:
            self.load()
            if self._journal.exists() or not all(
                (self.folder / name).exists() for name in ("index.csv", "failures.csv")
            ):
                self._write("index.csv", Row._fields, sorted(self.rows.values()))
                failures = ((video, *failure) for video, failure in sorted(self.failures.items()))
                self._write("failures.csv", ("video", *Failure._fields), failures)
                self._journal.unlink(missing_ok=True)
            if is_locked:  # then no other process is writing these files
                parts = f"{PART_PREFIX}*.part"
                for part in (*self.folder.glob(parts), *self.folder.glob(f"*/*/{parts}")):
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
            lines = [[*map(text_of_cell, line)] for line in csv.reader(file, strict=True)]
        if not lines or lines[0] != list(columns):
            raise ValueError(name)
        return lines[1:]

    def _write(self, name: str, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
        with atomic_path(self.folder / name) as aside, open(aside, "w", **_TEXT) as file:
            cells = ([cell_text(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
            csv.writer(file, lineterminator="\n").writerows([columns, *cells])


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a store; must not be nested. Yields whether the file system supports locks.

    Without locks, as on some network file systems, two processes that write to one store at the same time may
    miss each other's rows. Nothing is damaged, and the next extraction or `verify` adds the rows.
    """
    lock = FileLock(folder / ".lock", poll_interval=_POLL_SECONDS, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read_journal(path: Path) -> Iterator[Entry]:
    """Entries of the journal; lines that were cut short are left out."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            video, row, failure = json.loads(line)
            yield Entry(video, row and _checked(Row(*row)), failure and Failure(*failure))
        except (ValueError, TypeError, RecursionError):
            continue


def _checked(row: Row) -> Row:
    """The row, after making sure that neither its identity nor its file leads out of the store.

    Raises:
        ValueError: If one does.
    """
    checked_identity(row.identity)
    if row.file:
        inside("store", row.file, error=UsageError, origin="index.csv")
    return row


def _status(text: str) -> Status:
    if text not in ("ok", "partial", "failed"):
        raise ValueError(text)
    return text  # type: ignore[return-value]
