"""Provenance of results: settings, fingerprints, versions. Also writes files whole or not at all."""

import fnmatch
import gzip
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actiondiff import outputs
from actiondiff.errors import ActionDiffError
from actiondiff.types import JSON

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "PART_PREFIX",
    "atomic_path",
    "canonical_json",
    "cell_text",
    "check_own_folder",
    "csv_text",
    "differences",
    "environment",
    "fault_point",
    "fingerprint",
    "fsync_folder",
    "json_values",
    "name_of_utf8",
    "plain_cells",
    "safe_cells",
    "sha256_of_file",
    "text_of_cell",
    "utf8_name",
    "write_csv",
    "write_gzip",
    "write_text",
]

PART_PREFIX = ".actiondiff-"
"""Beginning of the names of files that are being written; other hidden files are not ours."""

_passed: Counter[str] = Counter()  # fault points that this process has passed

_UNDECODED = re.compile("[\udc80-\udcff]")  # how Python holds bytes of file names that are not UTF-8
_BYTE_CODE = re.compile("%((?:25)*[89A-F][0-9A-F])")
_WRITTEN_CODE = re.compile("%25(?=(?:25)*[89A-F][0-9A-F])|%[89A-F][0-9A-F]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_FORMULA_CELL = re.compile("'*[=+@\t\r-]")

_PACKAGES = ("actiondiff", "torch", "diffusers", "transformers", "av", "numpy", "lightning", "safetensors")


def canonical_json(value: JSON) -> str:
    """JSON text with sorted keys, no blanks and no NaN, so that equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def json_values(value: Any) -> Any:
    """The value as JSON can hold it, at any depth: None for NaN, plain numbers in place of numpy ones."""
    if isinstance(value, Mapping):
        return {str(name): json_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def fingerprint(settings: Mapping[str, JSON]) -> str:
    """sha256 (hex) of the canonical JSON of settings; equal settings have equal fingerprints."""
    return hashlib.sha256(canonical_json(dict(settings)).encode()).hexdigest()


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Fields in which two nested settings differ: dotted name -> (ours, theirs). A missing field is None."""
    fields: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*ours, *theirs}):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            fields |= differences(a, b, f"{prefix}{name}.")
        elif a != b:
            fields[prefix + name] = (a, b)
    return fields


def environment() -> dict[str, JSON]:
    """Versions of the libraries that affect results, kind of machine, and commit if it is known."""
    versions: dict[str, JSON] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the checkout that this package is imported from; None if it is installed from a wheel."""
    here = Path(__file__).resolve().parent
    if not (here.parent.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """sha256 (hex) of a file's content; symbolic links are followed."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, which becomes `target` only if the block ends without an error.

    The file is written under another name in the same folder, fsynced and renamed, and the folder is fsynced.
    Readers thus see either the old content or the new one, never a part of it, whatever happens.

    Raises:
        UsageError: If a claim covers the file (see `outputs`), and does not permit to replace it.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f"{PART_PREFIX}{target.name[:40]}.", suffix=".part"
    )
    os.close(handle)
    aside = Path(name)
    try:
        fault_point("opened")
        yield aside
        fault_point("written")
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp's 0600 would lock others out of a shared store
        fault_point("synced")
        outputs.permit(target, aside)
        fault_point("permitted")
        os.replace(aside, target)
        fault_point("renamed")
        fsync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def check_own_folder(
    folder: Path,
    noun: str,
    marks: Collection[str],
    *,
    error: type[ActionDiffError],
    option: str = "",
) -> set[str]:
    """Make sure that a folder may be written to: it does not exist, is empty, or is one of ours already.

    Args:
        folder: The folder.
        noun: What it is to hold, for messages: `"run"`.
        marks: Names, or patterns of names, one of which every folder of ours holds. Hidden files alone do not
            make a folder somebody else's.
        error: Class of the error.
        option: The command line's option that names the folder, for messages: `"-o"`.

    Returns:
        Names in the folder.

    Raises:
        ActionDiffError: If the path is a file, or the folder holds something else; of the class given.
    """
    hint = f" ({option})" if option else ""
    if folder.exists() and not folder.is_dir():
        raise error(f"{folder} is a file; a {noun} is a folder. Give another path{hint}.")
    names = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    is_ours = any(fnmatch.filter(names, mark) for mark in marks)
    if not is_ours and any(not name.startswith(".") for name in names):
        listed = " or ".join(sorted(marks))
        raise error(f"{folder} is neither empty nor a {noun} (no {listed}); give a new folder{hint}.")
    return names


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all (see `atomic_path`).

    Bytes of file names that are not UTF-8 are written as `utf8_name` writes them.
    """
    with atomic_path(target) as aside:
        aside.write_text(_without_surrogates(text), "utf-8")


def utf8_name(name: str) -> str:
    """A file name as text that every program can read: bytes that are not UTF-8 become `%E9` and the like.

    `name_of_utf8` is the way back. A name that contains such a code itself gets `%25E9`.
    """
    return _without_surrogates(_BYTE_CODE.sub(r"%25\1", name))


def name_of_utf8(text: str) -> str:
    """The file name that `utf8_name` wrote."""
    return _WRITTEN_CODE.sub(
        lambda match: "%" if match[0] == "%25" else chr(0xDC00 + int(match[0][1:], 16)), text
    )


def cell_text(text: str) -> str:
    """A text as a cell of a CSV file that may be opened in a spreadsheet.

    A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula,
    which may call programs. Such texts get an apostrophe in front; numbers are left alone. Bytes of file
    names that are not UTF-8 are written as `utf8_name` writes them. `text_of_cell` is the way back.
    """
    if not text.isascii() or "%" in text:
        text = utf8_name(text)
    return f"'{text}" if text[:1] in _FORMULA and _FORMULA_CELL.match(text) and not _is_number(text) else text


def text_of_cell(cell: str) -> str:
    """The text that `cell_text` wrote."""
    if cell[:1] == "'" and _FORMULA_CELL.match(cell):
        cell = cell[1:]
    return name_of_utf8(cell) if "%" in cell else cell


def safe_cells(frame: "DataFrame") -> "DataFrame":
    """A table whose names of columns and texts are as `cell_text` writes them. It is for `to_csv`."""
    return _with_texts(frame, cell_text)


def plain_cells(frame: "DataFrame") -> "DataFrame":
    """The table that `safe_cells` made safe."""
    return _with_texts(frame, text_of_cell)


def _with_texts(frame: "DataFrame", change: Callable[[str], str]) -> "DataFrame":
    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    numeric = {*frame.select_dtypes("number").columns}
    texts = {name: frame[name].map(changed) for name in frame.columns if name not in numeric}
    return frame.assign(**texts).set_axis([*map(changed, frame.columns)], axis=1)


def _without_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return _UNDECODED.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_gzip(target: str | os.PathLike[str], text: str) -> None:
    """Write a gzipped text file, whole or not at all; equal texts give equal bytes, whenever written."""
    with atomic_path(target) as aside:
        aside.write_bytes(gzip.compress(text.encode(), mtime=0))


def write_csv(
    target: str | os.PathLike[str],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object] | Sequence[object]],
    *,
    line_end: str = "\n",
) -> None:
    """Write a CSV file in UTF-8, whole or not at all; see `csv_text` for the arguments."""
    with atomic_path(target) as aside:
        aside.write_text(csv_text(columns, rows, line_end=line_end), "utf-8", newline="")


def csv_text(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object] | Sequence[object]],
    *,
    line_end: str = "\n",
) -> str:
    """A table as CSV: a header and one line per row.

    Args:
        columns: Names of the columns.
        rows: Each row's values in the order of the columns, or by name: a missing name or None leaves the
            cell empty, and names that are no column are ignored. Numbers are written as Python prints them,
            texts as `cell_text` writes them.
        line_end: What ends each line.
    """
    import pandas as pd  # not at module level: most users of this module write no table

    lines = ([row.get(name) for name in columns] if isinstance(row, Mapping) else row for row in rows)
    cells = [[cell_text(value) if isinstance(value, str) else value for value in line] for line in lines]
    frame = pd.DataFrame(cells, columns=[cell_text(name) for name in columns], dtype=object)
    text: str = frame.to_csv(index=False, lineterminator=line_end)
    return text


def fault_point(name: str) -> None:
    """Kill this process, as a power cut would, if the environment asks for it. Tests examine what is left.

    `ACTIONDIFF_FAULT=renamed:3` kills the process when it passes the point `renamed` for the third time.
    """
    requested, _, number = os.environ.get("ACTIONDIFF_FAULT", "").partition(":")
    if name == requested:
        _passed[name] += 1
        if _passed[name] == int(number or 1):
            os.kill(os.getpid(), 9)


def fsync_folder(folder: Path) -> None:
    """Make sure that files renamed or linked into a folder survive a loss of power."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
