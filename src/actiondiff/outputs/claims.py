"""The one rule about results: nothing is replaced that the same command did not write, or that was changed.

A command claims what it is about to write (`claim`). The claim is a lock, so that no second command writes
to the same place, and a manifest: `.actiondiff/files.jsonl` in the folder has one line per written file, with
its sha256 and the command. `provenance.atomic_path`, through which files are written aside and moved into
place, calls `permit` before each move. The line is written before the move, so that a command that is killed
in between recognises its own file later.

Feature stores, which several processes may fill at once, keep the rule by themselves: a folder with anything
else is refused, each file says with checksums what it holds, and only features that do not fit theirs are
written again. `features verify` moves damaged files to `quarantine/`.
"""

import errno
import hashlib
import json
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from actiondiff.errors import UsageError

__all__ = ["STATE_FOLDER", "OutputClaim", "claim", "claim_file", "join", "permit", "try_lock"]

STATE_FOLDER = ".actiondiff"
_MANIFEST = "files.jsonl"
_MOST_LISTED = 3  # files in a message
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


@dataclass(frozen=True)
class OutputClaim:
    """What a command may write in a folder.

    Attributes:
        folder: The folder, without symbolic links.
        command: Name of the command.
        names: Files that the command may write, relative to the folder; a name that ends with a slash stands
            for everything in that folder.
        overwrite: Whether files of others may be replaced.
        sums: File, relative to the folder -> sha256 of each content that the command has written to it.
        thread: Thread that holds the claim.
    """

    folder: Path
    command: str
    names: Collection[str]
    overwrite: bool
    sums: dict[str, set[str]]
    thread: int

    def covers(self, name: str) -> bool:
        """Whether a file, relative to the folder, is among the names."""
        return any(name.startswith(item) if item.endswith("/") else name == item for item in self.names)

    def owns(self, name: str) -> bool:
        """Whether the command wrote the content that a file has now."""
        path = self.folder / name
        return name in self.sums and path.is_file() and _sha256(path) in self.sums[name]

    def record(self, name: str, sha256: str) -> None:
        """Add a line to the manifest, unless the content is known."""
        if sha256 in self.sums.get(name, ()):
            return
        line = json.dumps({"file": name, "sha256": sha256, "command": self.command})
        # The line break comes first, so that a line cut short by a kill does not damage the next one.
        with open(self.folder / STATE_FOLDER / _MANIFEST, "ab") as file:
            file.write(f"\n{line}".encode())
            file.flush()
            os.fsync(file.fileno())
        self.sums.setdefault(name, set()).add(sha256)

    def refused(self) -> list[str]:
        """Files that exist, and that the command may not replace."""
        if self.overwrite:
            return []
        return [name for name in self._existing() if not self.owns(name)]

    def _existing(self) -> Iterator[str]:
        for item in sorted(self.names):
            path = self.folder / item
            if not item.endswith("/"):
                if os.path.lexists(path):
                    yield item
            elif path.is_dir():
                files = (name for name in path.rglob("*") if name.is_symlink() or not name.is_dir())
                relative = (name.relative_to(self.folder) for name in sorted(files))
                yield from (n.as_posix() for n in relative if not any(p.startswith(".") for p in n.parts))
            elif os.path.lexists(path):
                yield item.rstrip("/")


_claims: list[OutputClaim] = []  # of this process, the innermost last


@contextmanager
def claim(
    folder: str | os.PathLike[str],
    command: str,
    names: Collection[str] = (),
    *,
    overwrite: bool = False,
    lock: str = "folder",
) -> Iterator[OutputClaim]:
    """Claim what a command is about to write; to be called before any work is done.

    Args:
        folder: Folder to write to; created if it does not exist.
        command: Name of the command: only what the same command wrote may be replaced.
        names: Files that the command may write (see `OutputClaim`).
        overwrite: Whether files of others, and files that were changed, may be replaced.
        lock: Name of the lock in the folder. Commands that write single files have one for each file.

    Raises:
        UsageError: If another process writes there, or a file exists that may not be replaced.
    """
    folder = Path(folder)
    is_new, has_state = not folder.exists(), (folder / STATE_FOLDER).exists()
    try:
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{folder} is a file or lies in one, but a folder is to be written; give another path (-o)."
        ) from None
    folder = Path(os.path.realpath(folder))
    place = folder / STATE_FOLDER / f"{lock}.lock"
    thread = threading.get_ident()
    is_nested = any(held.folder == folder and held.thread == thread for held in _claims)
    guard = None if is_nested else try_lock(place)
    if not is_nested and guard is None:
        raise UsageError(
            f"another actiondiff command is writing to {folder}; wait until it has ended, or give another "
            "path (-o)."
        )
    held = OutputClaim(folder, command, names, overwrite, _read(folder, command), thread)
    try:
        _refuse(held, held.refused())
        _claims.append(held)
        try:
            yield held
        finally:
            _claims.remove(held)
    finally:
        if guard is not None:
            guard.release()
            if not has_state and not held.sums:  # nothing was written, so nothing is left behind
                _remove(place, folder if is_new else None)


@contextmanager
def join(held: OutputClaim) -> Iterator[None]:
    """Write on behalf of a claim that another process holds, which waits for this one."""
    _claims.append(held)
    try:
        yield
    finally:
        _claims.remove(held)


@contextmanager
def claim_file(
    path: str | os.PathLike[str], command: str, *, others: Collection[str] = (), overwrite: bool = False
) -> Iterator[OutputClaim]:
    """Claim a single file, and others in the same folder that are written with it; see `claim`."""
    path = Path(path)
    lock = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    with claim(path.parent, command, [path.name, *others], overwrite=overwrite, lock=lock) as held:
        yield held


def permit(target: Path, aside: Path) -> None:
    """Record that a file is about to be moved into place, if a claim covers it.

    Raises:
        UsageError: If the file exists, and may not be replaced.
    """
    if not _claims:
        return
    real = Path(os.path.realpath(target.parent)) / target.name
    for held in reversed(_claims):
        if not real.is_relative_to(held.folder):
            continue
        name = real.relative_to(held.folder).as_posix()
        if not held.covers(name):
            continue
        sha256 = _sha256(aside)
        if os.path.lexists(real) and not held.overwrite and not held.owns(name):
            # The file appeared, or changed, since the claim; equal content is no loss.
            _refuse(held, [] if real.is_file() and _sha256(real) == sha256 else [name])
        held.record(name, sha256)
        return


def try_lock(path: Path) -> FileLock | None:
    """Take a lock without waiting; None if another process holds it.

    On file systems without locks, as some network file systems are, the returned lock holds nothing.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return lock


def _remove(place: Path, folder: Path | None) -> None:
    """Remove a lock, the folder of state, and the folder that a command created, as far as they are empty."""
    place.unlink(missing_ok=True)
    with suppress(OSError):
        place.parent.rmdir()
        if folder is not None:
            folder.rmdir()


def _refuse(held: OutputClaim, names: list[str]) -> None:
    """Raise an error that names the files that may not be replaced, if there are any."""
    if not names:
        return
    listed = ", ".join(str(held.folder / name) for name in names[:_MOST_LISTED])
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    raise UsageError(
        f"{listed}{more} would be replaced, but actiondiff {held.command} did not write it, or it was "
        "changed since. Give another path (-o), or replace it with --overwrite."
    )


def _read(folder: Path, command: str) -> dict[str, set[str]]:
    """What a command has written according to the manifest; lines that were cut short are left out."""
    sums: dict[str, set[str]] = {}
    try:
        text = (folder / STATE_FOLDER / _MANIFEST).read_bytes()
    except OSError:
        return sums
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            if entry["command"] == command:
                sums.setdefault(entry["file"], set()).add(entry["sha256"])
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
    return sums


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
