"""Names and hashes from other people's files, which must not become paths outside of a folder."""

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from actiondiff.errors import ActionDiffError, UsageError

__all__ = ["checked_identity", "inside"]

_IDENTITY = re.compile(r"[0-9A-Za-z_-]{2,200}")


def checked_identity(text: object) -> str:
    """The identity of a content, after making sure that it is a hash, which is safe in a file name.

    Raises:
        UsageError: If it is not.
    """
    if not isinstance(text, str) or not _IDENTITY.fullmatch(text):
        raise UsageError(f"an identity is a hash in hexadecimal digits; got {str(text)[:80]!r}.")
    return text


def inside(
    folder: str | os.PathLike[str], name: object, *, error: type[ActionDiffError], origin: object
) -> Path:
    """The path of a file in a folder, after making sure that it lies there.

    Args:
        folder: The folder.
        name: Path relative to the folder, from a file that somebody else may have written.
        error: Class of the error.
        origin: The file that the name comes from, for the message.

    Raises:
        ActionDiffError: If the name is not text, is absolute, or leads out of the folder; of the class given.
    """
    text = name if isinstance(name, str) else ""
    windows, posix = PureWindowsPath(text), PurePosixPath(text)
    leads_out = ".." in windows.parts or ".." in posix.parts
    if not text.strip() or "\0" in text or posix.is_absolute() or windows.drive or windows.root or leads_out:
        raise error(
            f"{origin} names the file {str(name)[:80]!r}, which does not lie in {folder}; only files in that "
            "folder are used. Get the folder again from its source."
        )
    return Path(folder) / text
