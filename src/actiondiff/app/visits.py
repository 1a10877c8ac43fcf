"""Visits to the page: the files, results and running work of each visitor, removed when the visit ends."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from actiondiff.app.analysis import Findings
from actiondiff.types import Progress

__all__ = ["Stopped", "Visit", "Visits"]

_PATIENCE_SECONDS = 15.0  # that a visitor may have no connection before the visit is over


class Stopped(Exception):  # noqa: N818  # not an error: the visitor asked for it
    """Raised inside work whose visitor stopped it or left."""


@dataclass(eq=False)
class Visit:
    """One visit: a browser tab that has the page open.

    Attributes:
        folder: Folder of the visitor's files; it is made when the first is written.
        patience_seconds: Seconds without a connection after which the visitor has left.
        token: Part of the addresses of the files that nobody can guess.
        findings: Results for the video that was analysed last.
        files: `group/name` -> file; no other file is served.
        video: The video that was analysed last.
        is_over: Whether the visitor has left.
    """

    folder: Path
    patience_seconds: float = _PATIENCE_SECONDS
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    findings: Findings | None = None
    files: dict[str, Path] = field(default_factory=dict)
    video: Path | None = None
    is_over: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _asked: str = ""
    _num_connections: int = 0
    _last_connected: float = field(default_factory=time.monotonic)
    _remove_video: Callable[[Path], None] | None = None

    def ask(self, what: str) -> None:
        """Note which work the visitor wants next; the work that runs or waits ends."""
        self._stop.set()
        self._stop, self._asked = threading.Event(), what

    def begin(self, what: str, progress: Progress) -> "StoppableWork":
        """Begin work that was asked for.

        Raises:
            Stopped: If it was stopped while it waited, or something else was asked for since.
        """
        work = StoppableWork(self, self._stop, progress)
        if what != self._asked:
            raise Stopped
        work.check()
        return work

    def stop(self) -> None:
        """End the work that is running or waits."""
        self._stop.set()

    @property
    def is_abandoned(self) -> bool:
        """Whether the visitor has left, or has had no connection for a while."""
        waited = time.monotonic() - self._last_connected
        return self.is_over or (not self._num_connections and waited > self.patience_seconds)

    def connect(self, change: int) -> None:
        """Count the connections that the visitor's browser keeps open."""
        self._num_connections += change
        self._last_connected = time.monotonic()

    def clear(self, video: Path | None = None, remove_video: Callable[[Path], None] | None = None) -> Path:
        """Forget the last video and remove its files; returns the empty folder.

        Args:
            video: The next video.
            remove_video: Removes it when it is no longer needed.
        """
        self.findings, self.files = None, {}
        self.token = secrets.token_urlsafe(18)
        self.remove()
        self.video, self._remove_video = video, remove_video
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def remove(self) -> None:
        """Remove the files of the visit."""
        if self.video is not None and self._remove_video is not None:
            self._remove_video(self.video)
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, group: str, files: Mapping[str, Path]) -> dict[str, str]:
        """Serve these files instead of the earlier files of the group; returns name -> address."""
        others = {name: path for name, path in self.files.items() if not name.startswith(f"{group}/")}
        self.files = others | {f"{group}/{name}": path for name, path in files.items()}
        return {name: f"files/{self.token}/{group}/{quote(name)}" for name in files}


@dataclass(frozen=True)
class StoppableWork:
    """Work for a visitor; a `Progress` that ends it when it is no longer wanted.

    Attributes:
        visit: The visit.
        end: Set when the work is to end.
        progress: Called with the progress.
    """

    visit: Visit
    end: threading.Event
    progress: Progress

    def check(self) -> None:
        """Raise `Stopped` if the work is to end."""
        if self.end.is_set() or self.visit.is_abandoned:
            raise Stopped

    def __call__(self, done: int, total: int, what: str, /) -> None:
        """Note progress; raises `Stopped` if the work is to end."""
        self.check()
        self.progress(done, total, what)


class Visits:
    """All visits that have not ended.

    Args:
        root: Folder that holds the folder of each visit.
        patience_seconds: Seconds without a connection after which a visitor has left.
    """

    def __init__(self, root: Path, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._root = root
        self._patience_seconds = patience_seconds
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def visit(self, session: str) -> Visit:
        """The visit with a session id of gradio; it begins if there is none. Abandoned visits end."""
        with self._lock:
            abandoned = [name for name, visit in self._visits.items() if visit.is_abandoned]
        for name in abandoned:
            self.leave(name)
        with self._lock:
            if session not in self._visits:
                self._visits[session] = Visit(self._root / secrets.token_hex(8), self._patience_seconds)
            return self._visits[session]

    @contextmanager
    def connected(self, session: str) -> Iterator[None]:
        """Note that the browser of a visit keeps a connection open."""
        visit = self.visit(session)
        visit.connect(1)
        try:
            yield
        finally:
            visit.connect(-1)

    def stop(self, session: str) -> None:
        """End the work of a visit, if there is one."""
        with self._lock:
            visit = self._visits.get(session)
        if visit:
            visit.stop()

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
