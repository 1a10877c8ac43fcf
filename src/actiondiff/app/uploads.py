"""Videos that visitors upload: counted while they arrive, with a quota for each visitor and one for all."""

import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actiondiff.app.options import Quotas

__all__ = ["UploadRefused", "Uploads"]

_OLDEST_SECONDS = 600.0  # age at which an upload that nobody asked about is removed
_LONGEST_NAME = 150  # bytes, so that the names of files made from it fit into 255


class UploadRefused(Exception):  # noqa: N818  # not an error: the answer to a request
    """An upload that cannot be accepted.

    Attributes:
        status: Status code of the answer.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(eq=False)
class _Upload:
    visitor: str
    num_bytes: int
    since: float  # when it last grew
    is_used: bool = False


class Uploads:
    """The uploaded videos, each in a folder of its own, so that equal files do not meet.

    Args:
        root: Folder that holds them; made with the first upload.
        quotas: Most bytes.
        oldest_seconds: Age at which an upload that nobody asked about is removed.
    """

    def __init__(self, root: Path, quotas: Quotas, *, oldest_seconds: float = _OLDEST_SECONDS) -> None:
        self.root = root.resolve()
        self.quotas = quotas
        self._oldest_seconds = oldest_seconds
        self._uploads: dict[Path, _Upload] = {}  # by folder
        self._lock = threading.Lock()

    def begin(self, visitor: str, name: str) -> Path:
        """Begin an upload; returns the file to write to, in a new folder.

        Args:
            visitor: Whose quota it counts for.
            name: The file's name as the browser sent it.
        """
        self.sweep()
        folder = self.root / secrets.token_hex(16)
        folder.mkdir(parents=True)
        with self._lock:
            self._uploads[folder] = _Upload(visitor, 0, time.monotonic())
        return folder / _safe_name(name)

    def grow(self, path: Path, num_bytes: int) -> None:
        """Note, before they are written, that an upload gets more bytes.

        Raises:
            UploadRefused: If it becomes too large, or a quota does not allow it.
        """
        quotas = self.quotas
        with self._lock:
            upload = self._uploads.get(path.parent)
            if upload is None:
                raise UploadRefused("The upload was removed in the meantime; try again.", 410)
            if upload.num_bytes + num_bytes > quotas.of_video:
                raise UploadRefused(
                    f"The file is too large: at most {quotas.of_video / 1e6:.0f} MB are allowed.", 413
                )
            others = list(self._uploads.values())
            if (
                sum(u.num_bytes for u in others if u.visitor == upload.visitor) + num_bytes
                > quotas.of_visitor
            ):
                raise UploadRefused(
                    f"Your videos on this page would exceed {quotas.of_visitor / 1e6:.0f} MB. Close the page "
                    "where it is open in other tabs, or wait until those videos are analysed.",
                    413,
                )
            if sum(u.num_bytes for u in others) + num_bytes > quotas.in_all:
                raise UploadRefused(
                    "There is no room for more videos at the moment, because other visitors use it. "
                    "Try again later.",
                    507,
                )
            upload.num_bytes += num_bytes
            upload.since = time.monotonic()

    def take(self, path: Path) -> bool:
        """Keep an upload until it is dropped; whether it exists and was not taken before."""
        with self._lock:
            upload = self._uploads.get(path.resolve().parent)
            if upload is None or upload.is_used or not path.is_file():
                return False
            upload.is_used = True
            return True

    def drop(self, path: Path) -> None:
        """Remove an upload and all files beside it."""
        with self._lock:
            self._uploads.pop(path.parent, None)
        if path.parent.parent == self.root:
            shutil.rmtree(path.parent, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the uploads that nobody asked about, and empty files that the page's framework makes."""
        limit = time.monotonic() - self._oldest_seconds
        with self._lock:
            old = [f for f, upload in self._uploads.items() if not upload.is_used and upload.since < limit]
        for folder in old:
            self.drop(folder / "any")
        for path in self.root.iterdir() if self.root.is_dir() else ():
            if path.is_file() and not path.stat().st_size:
                path.unlink(missing_ok=True)


def _safe_name(name: str) -> str:
    """The last part of a name, without what file systems and shells do not like, and not too long."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    last = PurePosixPath(text.replace("\\", "/")).name
    path = PurePosixPath(re.sub(r"[\x00-\x1f\x7f]", "", last).lstrip(". -") or "video")
    suffix = path.suffix[:20]
    room = _LONGEST_NAME - len(suffix.encode())
    return path.stem.encode()[:room].decode("utf-8", "ignore") + suffix
