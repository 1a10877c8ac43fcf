"""Reads a safetensors file tensor by tensor, and writes one tensor by tensor.

The format is 8 bytes (length of the table of contents, little-endian), the table (JSON) and the bytes of the
tensors. It is read and written here rather than by the safetensors package, because that package writes from
memory only (`save_file` needs all tensors at once), maps the whole file on reading (a file of 1 GB read
tensor by tensor takes 1053 MB at its peak, here 99 MB), and does not tell how much of a truncated file is
there.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch
from torch import Tensor

from actiondiff.checkpoints.bounds import MOST_SIDE
from actiondiff.errors import WeightsError

__all__ = ["TensorFile", "TensorInfo", "write_tensors"]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_TABLE_BYTES = 100_000_000  # the format's own limit
_PICKLE_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin"}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zip and bare pickles


@dataclass(frozen=True)
class TensorInfo:
    """Entry of the table of contents: a tensor's dtype, shape, and first byte in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A safetensors file, each of whose tensors is read when it is used.

    Args:
        path: The file.

    Attributes:
        path: The file.
        tensors: Name -> entry of the table of contents.
        metadata: Texts that are stored with the tensors.

    Raises:
        WeightsError: If the file is a pickle, no safetensors file, or cut short.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        size = self.path.stat().st_size
        with open(self.path, "rb") as file:
            table, start = _read_table(self.path, file, size)
        self.metadata: dict[str, str] = table.pop("__metadata__", None) or {}
        self.tensors = {name: _info(self.path, name, fields, start) for name, fields in table.items()}
        expected = max((info.start + info.num_bytes for info in self.tensors.values()), default=start)
        if size != expected:
            what = "is cut short" if size < expected else "has too many bytes"
            raise WeightsError(
                f"{path} {what}: {size:,} of {expected:,} bytes; {_complete_of(self.tensors, size)} of "
                f"{len(self.tensors)} tensors are complete. Download it again."
            )

    def read(self, name: str) -> Tensor:
        """One tensor, in the dtype that it is stored in and in memory of its own."""
        info = self.tensors[name]
        if not info.num_bytes:
            return torch.empty(info.shape, dtype=info.dtype)
        data = np.fromfile(self.path, np.uint8, count=info.num_bytes, offset=info.start)
        if len(data) != info.num_bytes:
            raise WeightsError(f"{self.path} became shorter while it was read. Download it again.")
        return torch.from_numpy(data).view(info.dtype).reshape(info.shape)


def _read_table(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The JSON table and the first byte after it."""
    head = file.read(9)
    if head[8:] != b"{" and (path.suffix in _PICKLE_SUFFIXES or head.startswith(_PICKLES)):
        raise WeightsError(
            f"{path} is a pickle, which could run code and is therefore never loaded; use the .safetensors "
            "file of the same weights."
        )
    length = int.from_bytes(head[:8], "little")
    if head[8:] != b"{" or length > _MAX_TABLE_BYTES:
        _fail_format(path)
    if 8 + length > size:
        raise WeightsError(
            f"{path} is cut short: it has {size:,} bytes, fewer than its table of contents alone "
            f"({8 + length:,}). Download it again."
        )
    file.seek(8)
    try:
        table = json.loads(file.read(length))
    except (ValueError, RecursionError):
        _fail_format(path)
    if not isinstance(table, dict):
        _fail_format(path)
    return table, 8 + length


def _fail_format(path: Path) -> NoReturn:
    raise WeightsError(
        f"{path} is no safetensors file (no readable table of contents); allowed: the original "
        ".safetensors file, or a converted or diffusers folder. It may be a web page or a Git LFS pointer "
        "that was saved under that name: download it again."
    )


def _info(path: Path, name: str, fields: Any, start: int) -> TensorInfo:
    try:
        dtype = str(fields["dtype"])
        shape = tuple(int(side) for side in fields["shape"])
        begin, end = (int(offset) for offset in fields["data_offsets"])
    except (KeyError, TypeError, ValueError, OverflowError):
        _fail_format(path)
    if dtype not in _DTYPES:
        raise WeightsError(f"{path}: {name[:80]} is stored as {dtype[:40]}; allowed: {', '.join(_DTYPES)}.")
    info = TensorInfo(_DTYPES[dtype], shape, start + begin)
    is_bounded = len(shape) <= 16 and all(0 <= side <= MOST_SIDE for side in shape)
    if begin < 0 or not is_bounded or info.num_bytes != end - begin:
        raise WeightsError(
            f"{path}: the table of contents is damaged at {name[:80]} ({dtype} {str(shape)[:80]} in "
            f"{str(end - begin)[:40]} bytes). Download the file again."
        )
    return info


def _complete_of(tensors: Mapping[str, TensorInfo], size: int) -> int:
    return sum(info.start + info.num_bytes <= size for info in tensors.values())


def write_tensors(
    path: str | os.PathLike[str],
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[Tensor],
    *,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
) -> int:
    """Write a safetensors file while holding only one of its tensors at a time.

    Args:
        path: The file; it is synced to disk, but not renamed.
        shapes: Name -> shape, in the order of the tensors. All have one dtype, so that any order is aligned.
        tensors: The tensors in that order and of that dtype; taken one after the other.
        dtype: Dtype of all tensors.
        metadata: Texts to store with them. They are read again when all tensors were taken, so that a value
            (for example a hash of the tensors) may change meanwhile, but not its length.

    Returns:
        Size of the file in bytes.
    """
    with open(path, "wb") as file:
        head = _table(shapes, dtype, metadata)
        file.write(head)
        stream = iter(tensors)
        for name, shape in shapes.items():  # zip would keep the last tensor while the next one is made
            tensor = next(stream)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(f"{name}: announced as {dtype} {shape}, got {tensor.dtype} {tensor.shape}")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            del tensor
        if next(stream, None) is not None:
            raise ValueError("more tensors than were announced")
        size = file.tell()
        final = _table(shapes, dtype, metadata)
        if len(final) != len(head):
            raise ValueError("the metadata changed its length while tensors were written")
        file.seek(0)
        file.write(final)
        file.flush()
        os.fsync(file.fileno())
    return size


def _table(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, metadata: Mapping[str, str]) -> bytes:
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format requires that tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text
