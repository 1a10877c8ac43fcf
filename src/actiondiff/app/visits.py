"""Visits to the page: the files, results and running work of each visitor, removed when the visit ends."""

import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from actiondiff.app.analysis import Findings
from actiondiff.types import Progress

__all__ = ["Stopped", "Visit", "Visits"]


class Stopped(Exception):  # noqa: N818  # not an error: the visitor asked for it
    """Raised inside work whose visitor stopped it or left."""


@dataclass(eq=False)
class Visit:
    """One visit: a browser tab that has the page open.

    Attributes:
        folder: Folder of the visitor's files.
        token: Part of the addresses of the files that nobody can guess.
        findings: Results for the video that was analysed last.
        files: `group/name` -> file; no other file is served.
        is_over: Whether the visitor has left.
    """

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    findings: Findings | None = None
    files: dict[str, Path] = field(default_factory=dict)
    is_over: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def begin(self, progress: Progress) -> Progress:
        """Begin new work; returns its progress function, which raises `Stopped` when the work is to end."""
        self._stop = stop = threading.Event()

        def stoppable(done: int, total: int, what: str, /) -> None:
            if stop.is_set():
                raise Stopped
            progress(done, total, what)

        return stoppable

    def stop(self) -> None:
        """End the work that is running."""
        self._stop.set()

    def clear(self) -> Path:
        """Forget the last video and remove its files; returns the empty folder."""
        self.findings, self.files = None, {}
        self.token = secrets.token_urlsafe(18)
        self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def remove(self) -> None:
        """Remove the files of the visit."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, group: str, files: Mapping[str, Path]) -> dict[str, str]:
        """Serve these files instead of the earlier files of the group; returns name -> address."""
        others = {name: path for name, path in self.files.items() if not name.startswith(f"{group}/")}
        self.files = others | {f"{group}/{name}": path for name, path in files.items()}
        return {name: f"files/{self.token}/{group}/{quote(name)}" for name in files}


class Visits:
    """All visits that have not ended.

    Args:
        root: Folder that holds the folder of each visit.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def visit(self, session: str) -> Visit:
        """The visit with a session id of gradio; it begins if there is none."""
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
        """The published file with a token and a name; None if there is none."""
        with self._lock:
            visits = list(self._visits.values())
        sent = token.encode()
        owner = next((visit for visit in visits if secrets.compare_digest(visit.token.encode(), sent)), None)
        path = owner.files.get(name) if owner else None
        return path if path and path.is_file() else None
