"""Crop files: small files that are read like videos, and show one animal of a video.

A crop file (suffix `.crop`, JSON) names its source and says where in its pictures the crop lies. To read it
is to decode the source and to cut each frame: nothing is encoded a second time. The source is named by its
path relative to the crop file and by the sha256 of its content, so that a source that moved or changed is
noticed. The identity of a crop is the sha256 of what the file says, without the path of the source.
"""

import json
import os
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from actiondiff.errors import UsageError, VideoError
from actiondiff.provenance import sha256_of_file, write_text
from actiondiff.types import DoubleArray
from actiondiff.types.crops import CropOptions
from actiondiff.video.cutting import CROP_FORMAT, CropFile, CropPiece

__all__ = [
    "CROP_SUFFIX",
    "identity_of",
    "individual_of",
    "is_crop",
    "read_crop",
    "source_of",
    "write_crop_file",
]

CROP_SUFFIX = ".crop"

_MOST_BYTES = 16 << 20  # about 20 hours of a track
_MOST_SIDE = 1 << 15  # pixels
_LATEST = 1e9  # seconds or frames
_LONGEST_NAME = 4096


def is_crop(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a crop file, by its suffix."""
    return os.fspath(path).lower().endswith(CROP_SUFFIX)


def identity_of(path: str | os.PathLike[str]) -> str:
    """Identity of a video: the sha256 of a file's content, or of what a crop file says.

    Raises:
        OSError: If the file cannot be read.
        VideoError: If it is a crop file that is damaged.
    """
    return read_crop(path).identity if is_crop(path) else sha256_of_file(path)


def individual_of(path: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """Absolute path of the source and name of the individual of a crop file; None for any other video.

    The name is empty if the source has no boxes.

    Raises:
        VideoError: If it is a crop file that is missing or damaged.
    """
    if not is_crop(path):
        return None
    crop = read_crop(path)
    return crop.source, crop.individual


def source_of(crop: CropFile, path: Path) -> Path:
    """The source of a crop file, which must be there.

    Raises:
        VideoError: If it is not; the error says what to do.
    """
    if not crop.source.is_file():
        raise VideoError(
            f"{path}: its video is not at {crop.source}. Put it there, or keep videos and crops in the same "
            "places relative to each other; or write the crops again with --boxes."
        )
    return crop.source


def write_crop_file(path: Path, crop: CropFile) -> None:
    """Write a crop file, whole or not at all.

    Raises:
        VideoError: If it would be too large.
        UsageError: If a claim covers the file, and does not permit to replace it.
    """
    relative = os.path.relpath(crop.source, os.path.abspath(path.parent))
    text = json.dumps(crop.content() | {"source": Path(relative).as_posix()}, allow_nan=False) + "\n"
    if len(text) > _MOST_BYTES:
        raise VideoError(
            f"{crop.source}: the way of {crop.individual or 'its animal'} takes {len(text) / 1e6:.0f} MB, "
            f"more than the {_MOST_BYTES / 1e6:.0f} MB of a crop file. Split the video."
        )
    if not (path.is_file() and path.read_bytes() == text.encode()):
        write_text(path, text)


def read_crop(path: str | os.PathLike[str]) -> CropFile:
    """Read a crop file. Its source is not opened.

    Raises:
        VideoError: If the file does not exist, is too large, or is not a crop file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size if path.is_file() else -1
        if size < 0:
            raise VideoError(f"{path} is not a file; the path of a crop file is needed.")
        if size > _MOST_BYTES:
            raise ValueError(f"it has {size / 1e6:.0f} MB, at most {_MOST_BYTES / 1e6:.0f} are allowed")
        content: object = json.loads(path.read_bytes().decode("utf-8"))
        return _parsed(content, Path(os.path.abspath(path.parent)))
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError, OverflowError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise VideoError(f"{path} is not a crop file: {reason}. Write it again with --boxes.") from None


def _parsed(content: object, folder: Path) -> CropFile:
    """The crop file of a JSON value. Raises ValueError, which says what is wrong."""
    fields = _fields(content, "the file")
    if fields.get("format") != CROP_FORMAT:
        raise ValueError(f"its format is {str(fields.get('format'))[:40]!r}, known is {CROP_FORMAT!r}")
    try:
        options = CropOptions.from_settings(fields.get("options"))
    except UsageError as error:
        raise ValueError(str(error).removesuffix(".")) from None
    if fields.get("unit") not in ("seconds", "frames"):
        raise ValueError("its unit must be seconds or frames")
    sha256 = _text(fields, "source_sha256")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError("its source_sha256 must be 64 hexadecimal digits")
    pieces = fields.get("pieces")
    if not isinstance(pieces, list):
        raise ValueError("its pieces must be a list")
    parsed = tuple(map(_piece, pieces))
    if any(one.last >= other.first for one, other in pairwise(parsed)):
        raise ValueError("its pieces must follow each other in time")
    return CropFile(
        source=_source(folder, _text(fields, "source")),
        source_sha256=sha256,
        individual=_text(fields, "individual"),
        options=options,
        width_px=int(_number(fields, "width_px", 1, _MOST_SIDE)),
        height_px=int(_number(fields, "height_px", 1, _MOST_SIDE)),
        in_seconds=fields["unit"] == "seconds",
        rate=_number(fields, "rate", 1e-6, 1e6),
        pieces=parsed,
    )


def _piece(value: object) -> CropPiece:
    fields = _fields(value, "a piece")
    columns, rows, sizes = (_numbers(fields, name) for name in ("columns", "rows", "sizes"))
    if not len(columns) == len(rows) == len(sizes):
        raise ValueError("the columns, rows and sizes of a piece must be of equal number, at least 1")
    return CropPiece(
        first=_number(fields, "first", 0, _LATEST),
        step=_number(fields, "step", 1e-6, _LATEST),
        columns=columns,
        rows=rows,
        sizes=sizes,
        side_px=int(_number(fields, "side_px", 1, _MOST_SIDE)),
    )


def _source(folder: Path, name: str) -> Path:
    """The path of a source: a relative one, and no crop itself."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    if not name.strip() or posix.is_absolute() or windows.drive or windows.root:
        raise ValueError(f"its source must be a path relative to it; got {name[:80]!r}")
    if is_crop(name):
        raise ValueError(f"its source {name[:80]!r} is a crop itself")
    return Path(os.path.abspath(folder / name))


def _fields(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")
    return value


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or any(ord(letter) < 32 for letter in value):
        raise ValueError(f"its {name} must be a text of one line")
    return value


def _number(fields: dict[str, object], name: str, low: float, high: float) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}; got {str(value)[:40]}")
    return float(value)


def _numbers(fields: dict[str, object], name: str) -> DoubleArray:
    """(N,) finite numbers, which are places in a picture or lengths."""
    values = fields.get(name)
    if not isinstance(values, list) or not values or any(type(value) not in (int, float) for value in values):
        raise ValueError(f"the {name} of a piece must be a list of numbers")
    numbers = np.array([float(value) for value in values])
    if not (np.abs(numbers) <= _MOST_SIDE).all():
        raise ValueError(f"the {name} of a piece must be from {-_MOST_SIDE} to {_MOST_SIDE}")
    return numbers
