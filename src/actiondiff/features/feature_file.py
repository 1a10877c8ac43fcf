"""The features of one content in a safetensors file. The same features always give the same bytes.

The tensors are features such as `t20.layer9`, (T, C) in the store's dtype, `frame_index` (T,) int64 and, if
times are known, `seconds` (T,) float64. The header is one JSON text named `actiondiff` in the metadata of the
file, since the library writes several entries in an order that changes from run to run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from actiondiff.errors import ActionDiffError, StoreError, UsageError
from actiondiff.outputs import checked_identity
from actiondiff.provenance import atomic_path, canonical_json
from actiondiff.types import Appearance, DecodeReport, FeatureKey

__all__ = [
    "Header",
    "Tensors",
    "damages",
    "read_entry",
    "read_header",
    "read_tensors",
    "recorded_report",
    "rename",
    "sound_tensors",
    "tensor_sum",
    "write_entry",
    "write_file",
]

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
_ENTRY = "actiondiff"
_PLACES = ("frame_index", "seconds")


@dataclass(frozen=True)
class Header:
    """The header of a feature file.

    Attributes:
        identity: sha256 of the video's content.
        fingerprint: Fingerprint of the settings that the features were made with.
        videos: Names of the videos that have this content, sorted.
        num_tokens: Number of tokens T.
        num_windows: Number of windows that passed the backbone.
        num_padded: Number of window slots that held padding.
        window_length: Slots per window.
        report: How decoding went; None for frames that were not read from a file.
        batch: Windows per batch, if memory did not suffice for the batch of the store.
        num_encoded_again: Number of windows that were encoded again in more precision, because half precision
            could not represent them; not in the file if it is 0.
        appearance: What the pictures look like; not in the file if it is unknown, as of older versions.
        sums: Tensor -> sha256 of its dtype, shape and bytes.
    """

    identity: str
    fingerprint: str
    videos: tuple[str, ...]
    num_tokens: int
    num_windows: int
    num_padded: int
    window_length: int
    report: DecodeReport | None
    batch: int | None = None
    num_encoded_again: int = 0
    appearance: Appearance | None = None
    sums: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[FeatureKey, ...]:
        """The features in the file, sorted."""
        return tuple(sorted(FeatureKey.parse(name) for name in self.sums if name not in _PLACES))

    @property
    def padding_share(self) -> float:
        """Share of the window slots that held padding."""
        return self.num_padded / max(1, self.num_windows * self.window_length)


def write_file(path: Path, header: Header, tensors: Tensors) -> Header:
    """Write a feature file, whole or not at all.

    Sums that the header has already are not computed again, so that a damaged tensor still does not fit its
    sum after the file was rewritten.

    Returns:
        The header with the sums of all tensors.

    Raises:
        OSError: If the file cannot be written, for example because the disk is full.
    """
    sums = {name: header.sums.get(name) or tensor_sum(tensor) for name, tensor in tensors.items()}
    header = replace(header, videos=tuple(sorted(set(header.videos))), sums=sums)
    report = recorded_report(header.report)
    entry: dict[str, Any] = asdict(header) | {"report": report, "padding_share": header.padding_share}
    # Fields that older files lack are left out where they say nothing, so that files keep their bytes.
    if header.batch is None:
        del entry["batch"]
    if not header.num_encoded_again:
        del entry["num_encoded_again"]
    if header.appearance is None:
        del entry["appearance"]
    else:
        entry["appearance"] = [value for value in header.appearance if value is not None]
    write_entry(path, entry, tensors)
    return header


def write_entry(path: Path, entry: Mapping[str, Any], tensors: Tensors) -> None:
    """Write a safetensors file with a header, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    text = canonical_json({**entry, "checksum": _checksum(entry)})
    with atomic_path(path) as aside:
        try:
            save_file(ordered, aside, metadata={_ENTRY: text})
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def recorded_report(report: DecodeReport | None) -> dict[str, Any] | None:
    """A report as files record it: without details that older files lack, where there is nothing to say."""
    details = ("num_times_mended", "times_note", "num_frames_corrupt")
    if report is None:
        return None
    return {name: value for name, value in vars(report).items() if value or name not in details}


def read_header(path: Path) -> Header:
    """What a feature file says, without reading its tensors.

    Raises:
        StoreError: If there is no file, it is cut short, or its header is damaged.
    """
    entry = read_entry(path)
    try:
        checked_identity(entry["identity"])
        if "frame_index" not in entry["sums"]:
            raise StoreError(f"{path}: the header names no frames.")
        del entry["padding_share"]
        report = entry["report"] and DecodeReport(**entry["report"])
        appearance = Appearance(*entry["appearance"]) if "appearance" in entry else None
        parsed = {"videos": tuple(entry["videos"]), "report": report, "appearance": appearance}
        return Header(**{**entry, **parsed})
    except (KeyError, TypeError, UsageError) as error:
        raise StoreError(f"{path} is damaged: {error}.") from None


def read_entry(path: Path) -> dict[str, Any]:
    """Read the header of a file of `write_entry`, which contains the `sums` of the tensors.

    The tensors are not read.

    Raises:
        StoreError: If the file does not exist, is cut short, or its header is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            entry: dict[str, Any] = json.loads((file.metadata() or {})[_ENTRY])
            names = set(file.keys())
        if entry.pop("checksum") != _checksum(entry) or names != set(entry["sums"]):
            raise StoreError(f"{path}: the header does not fit its checksum.")
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist.") from None
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        if isinstance(error, ActionDiffError):
            raise
        raise StoreError(f"{path} is cut short or damaged: {error}.") from None
    return entry


def read_tensors(path: Path, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read tensors of a feature file as they are stored.

    Args:
        path: The file.
        names: Names of the tensors; None for all.

    Raises:
        StoreError: If the file does not exist, is cut short, or lacks a tensor.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}. Run: actiondiff features verify") from None


def rename(path: Path, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> Header:
    """Change the names of videos in the header of a feature file; tensors and sums stay as they are.

    Raises:
        StoreError: If the file does not exist, or is cut short.
    """
    header = read_header(path)
    videos = {*header.videos, *add} - {*drop}
    return write_file(path, replace(header, videos=tuple(videos)), read_tensors(path))


def sound_tensors(path: Path, header: Header) -> dict[str, NDArray[Any]]:
    """The tensors of a feature file that fit their sums; none if frame indices or times do not fit."""
    tensors = read_tensors(path)
    sound = {name: tensor for name, tensor in tensors.items() if tensor_sum(tensor) == header.sums[name]}
    return sound if {*_PLACES} & set(tensors) <= set(sound) else {}


def damages(header: Header, tensors: Tensors, dtype: str) -> list[str]:
    """Descriptions of what is wrong with the tensors of a file; empty if they are sound.

    Args:
        header: Header of the file.
        tensors: All tensors of the file.
        dtype: Type of the features in the store.
    """
    problems = []
    T = header.num_tokens
    for name, tensor in sorted(tensors.items()):
        wanted = {"frame_index": "int64", "seconds": "float64"}.get(name, dtype)
        if tensor_sum(tensor) != header.sums[name]:
            problems.append(f"{name} does not fit its checksum")
        elif tensor.dtype != wanted or tensor.ndim != 2 - (name in _PLACES) or len(tensor) != T:
            problems.append(f"{name} is {tensor.shape} {tensor.dtype}, which does not fit {T} tokens")
        elif not np.isfinite(tensor).all():
            problems.append(f"{name} has values that are not finite")
    return problems


def tensor_sum(tensor: NDArray[Any]) -> str:
    """sha256 (hex) of a tensor's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {tensor.shape} ".encode())
    digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _checksum(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(entry)).encode()).hexdigest()
