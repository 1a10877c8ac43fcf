"""Who is visiting: each visitor's folder, files, findings and running work; all gone when the visit ends."""

import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from actiondiff.app.analysis import Findings
from actiondiff.types import Progress

__all__ = ["Desk", "Stopped", "Visit"]


class Stopped(Exception):  # noqa: N818  # no error: the visitor asked for it
    """Raised inside work whose visitor stopped it or left."""


@dataclass(eq=False)
class Visit:
    """One visitor's.

    Attributes:
        folder: Where files lie.
        token: Unguessable part of the addresses of the files.
        findings: Of the video that was looked at last.
        files: `group/name` -> file; nothing else is served.
        is_over: Whether the visitor left.
    """

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    findings: Findings | None = None
    files: dict[str, Path] = field(default_factory=dict)
    is_over: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def begin(self, progress: Progress) -> Progress:
        """Start new work; returns what it is to tell its progress to, which ends it if it is to stop."""
        self._stop = stop = threading.Event()

        def told(done: int, total: int, what: str, /) -> None:
            if stop.is_set():
                raise Stopped
            progress(done, total, what)

        return told

    def stop(self) -> None:
        """End the work that is under way."""
        self._stop.set()

    def clear(self) -> Path:
        """Forget the last video, and remove its files; returns the empty folder."""
        self.findings, self.files = None, {}
        self.token = secrets.token_urlsafe(18)
        self.remove()
        self.folder.mkdir(parents=True)
        return self.folder

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, group: str, files: Mapping[str, Path]) -> dict[str, str]:
        """Let the visitor fetch files, in place of those of the group; returns name -> address."""
        kept = {name: path for name, path in self.files.items() if not name.startswith(f"{group}/")}
        self.files = kept | {f"{group}/{name}": path for name, path in files.items()}
        return {name: f"files/{self.token}/{group}/{quote(name)}" for name in files}


class Desk:
    """All visits.

    Args:
        root: Folder for theirs.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def visit(self, session: str) -> Visit:
        """The visit of a browser's session, begun if need be."""
        with self._lock:
            if session not in self._visits:
                folder = self._root / secrets.token_hex(8)
                folder.mkdir(parents=True)
                self._visits[session] = Visit(folder)
            return self._visits[session]

    def leave(self, session: str) -> None:
        """End a visit: stop its work and remove its files."""
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit:
            visit.is_over = True
            visit.stop()
            visit.remove()

    def find(self, token: str, name: str) -> Path | None:
        """A published file."""
        with self._lock:
            visits = list(self._visits.values())
        given = token.encode()
        held = next((visit for visit in visits if secrets.compare_digest(visit.token.encode(), given)), None)
        path = held.files.get(name) if held else None
        return path if path and path.is_file() else None
