"""Names of videos in tables, and the files on disk that they stand for."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from actiondiff.provenance import name_of_utf8

__all__ = ["locate", "same_name"]


def same_name(one: str, other: str) -> bool:
    """Whether two names look the same: they differ at most in how accents are encoded."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def locate(base: Path, name: str) -> str:
    r"""The name of a file relative to a folder, as the disk spells it, for a name in a table.

    A table may spell a name in another way than the disk: accents may be composed or not (a Mac decomposes
    them), folders may be separated by `\`, and bytes that are not UTF-8 are written as `%E9` (see
    `utf8_name`). The name as it is written counts first; if no file has any of these names, folders are taken
    to be separated by `/`.

    Args:
        base: The folder.
        name: Relative or absolute path in the table.
    """
    plain = name.replace("\\", "/")
    if name.isascii() and plain == name and "%" not in name:
        return name
    for spelling in dict.fromkeys((name, plain, name_of_utf8(name), name_of_utf8(plain))):
        if os.path.lexists(base / spelling):
            return spelling
    on_disk = _same_on_disk(base, plain)
    return on_disk if on_disk is not None else name_of_utf8(plain)


def _same_on_disk(base: Path, name: str) -> str | None:
    """The one path on disk that looks the same, folder by folder; None if there is none, or several."""
    here, parts = (Path("/"), name[1:].split("/")) if name.startswith("/") else (base, name.split("/"))
    spelling = []
    for part in parts:
        if not os.path.lexists(here / part):
            same = [entry for entry in _entries(here) if same_name(entry, part)]
            if len(same) != 1:
                return None
            part = same[0]
        spelling.append(part)
        here = here / part
    return ("/" if name.startswith("/") else "") + "/".join(spelling)


def _entries(folder: Path) -> tuple[str, ...]:
    try:
        return _listed(str(folder), folder.stat().st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=256)
def _listed(folder: str, changed_ns: int) -> tuple[str, ...]:
    """Names in a folder that was last changed at a time: a table may have many rows about one folder."""
    return tuple(os.listdir(folder))
