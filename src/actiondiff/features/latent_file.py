"""Encoded windows of videos, stored so that further timesteps and layers can be made without the video.

    latents/ab/ab....00000.safetensors   the first 16 windows of the content ab...
    latents/ab/ab....00001.safetensors   the next ones; the last part says that it is the last

Every bit is preserved, so that features made from a file equal those made from the video. What can be
restored exactly is left out: a tensor that is a multiple of another, copies of one value for all frames, and
the second half of a float32 number that float16 can hold (as it can if the VAE computed in float16). A window
of SVD at 576x1024 takes 3.8 MB, or 1.9 MB in the latter case.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.errors import StoreError
from actiondiff.features.feature_file import (
    Tensors,
    read_entry,
    read_tensors,
    recorded_report,
    tensor_sum,
    write_entry,
)
from actiondiff.types import TRACK, Appearance, DecodeReport, FeatureKey, Window

__all__ = ["KeptLatents", "LatentWriter", "find_latents", "latent_files", "latent_problem"]

_FOLDER = "latents"
_PART_WINDOWS = 16


class LatentWriter:
    """Collects the encoded windows of a video in order, and returns jobs that write them.

    Args:
        folder: Folder of the store.
        identity: Identity of the video.
        fingerprint: Fingerprint of the store's settings.
    """

    def __init__(self, folder: Path, identity: str, fingerprint: str) -> None:
        self._folder = folder
        self._about = {"identity": identity, "fingerprint": fingerprint}
        self._windows: list[WindowInput] = []
        self._number = 0

    def add(self, item: WindowInput) -> Callable[[], None] | None:
        """Add the next window. Returns a job that writes a part if one is full, else None."""
        self._windows.append(item)
        if len(self._windows) <= _PART_WINDOWS:  # one is held back, so that the last part is never empty
            return None
        full, self._windows = self._windows[:-1], self._windows[-1:]
        return self._part(full, last=False, report=None)

    def finish(self, report: DecodeReport | None) -> Callable[[], None]:
        """A job that writes the last part. At least one window was added before."""
        return self._part(self._windows, last=True, report=report)

    def _part(
        self, items: Sequence[WindowInput], *, last: bool, report: DecodeReport | None
    ) -> Callable[[], None]:
        path = _path(self._folder, self._about["identity"], self._number)
        about: dict[str, Any] = {
            **self._about,
            "number": self._number,
            "last": last,
            "report": recorded_report(report),
            "batch": min((item.batch for item in items if item.batch), default=None),
        }
        if again := [n for n, item in enumerate(items) if item.encoded_again]:
            about["encoded_again"] = again  # positions in this part
        self._number += 1
        return partial(_write, path, about, items)


class KeptLatents:
    """A video's stored windows; see `find_latents`.

    Attributes:
        report: How decoding went when the windows were encoded.
        identity: Identity of the video.
    """

    def __init__(self, paths: Sequence[Path], entries: Sequence[Mapping[str, Any]]) -> None:
        report = entries[-1]["report"]
        self.report = report and DecodeReport(**report)
        self.identity = str(entries[0]["identity"])
        self._paths = paths
        self._entries = entries

    def suffice_for(self, keys: Sequence[FeatureKey], encoded_type: type[EncodedWindows]) -> bool:
        """Whether a backbone can compute these features from them.

        Args:
            keys: Features.
            encoded_type: `TwoStage.encoded_type` of the backbone.
        """
        if any(key.layer == TRACK for key in keys):  # where the crop lay is not stored
            return False
        needed = encoded_type.needed_for(keys)
        return all(needed <= set(entry["shapes"]) for entry in self._entries)

    def windows(self, encoded_type: type[EncodedWindows]) -> Iterator[WindowInput]:
        """The windows in order; one part of them at a time is held in memory.

        Args:
            encoded_type: `TwoStage.encoded_type` of the backbone that they are for.

        Raises:
            StoreError: If a part is damaged.
        """
        for path, entry in zip(self._paths, self._entries, strict=True):
            tensors = read_tensors(path)
            if damages := _damages(entry, tensors):
                raise StoreError(f"{path}: {'; '.join(damages)}.")
            encoded = _unpack(tensors, entry["shapes"], encoded_type.multiples)
            for n, slots in enumerate(tensors["slots"].tolist()):
                own = {name: tensor[n : n + 1] for name, tensor in encoded.items()}
                yield WindowInput(
                    window=Window(tuple(slots), int(tensors["num_real"][n])),
                    identity=self.identity,
                    frame_index=tensors["frame_index"][n],
                    seconds=tensors["seconds"][n] if "seconds" in tensors else None,
                    encoded=encoded_type(**own),
                    batch=entry["batch"],
                    encoded_again=n in entry.get("encoded_again", ()),
                    appearance=Appearance(*tensors["appearance"][n].tolist())
                    if "appearance" in tensors
                    else None,
                )


def find_latents(folder: Path, identity: str, fingerprint: str) -> KeptLatents | None:
    """The stored windows of a content; None if any are missing, or were made with other settings."""
    paths: list[Path] = []
    entries: list[Mapping[str, Any]] = []
    while not entries or not entries[-1]["last"]:
        paths.append(_path(folder, identity, len(paths)))
        try:
            entries.append(_read(folder, paths[-1], fingerprint))
        except StoreError:
            return None
    return KeptLatents(paths, entries)


def latent_files(folder: Path) -> list[Path]:
    """All files of latents in a store, sorted."""
    paths = (path for path in (folder / _FOLDER).glob("**/*") if path.is_file())
    return sorted(path for path in paths if not path.name.startswith("."))


def latent_problem(folder: Path, path: Path, fingerprint: str) -> str:
    """Description of what is wrong with a file of latents; empty if it is sound."""
    try:
        return "; ".join(_damages(_read(folder, path, fingerprint), read_tensors(path)))
    except StoreError as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ").removesuffix(".")


def _path(folder: Path, identity: str, number: int) -> Path:
    return folder / _FOLDER / identity[:2] / f"{identity}.{number:05d}.safetensors"


def _read(folder: Path, path: Path, fingerprint: str) -> Mapping[str, Any]:
    entry = read_entry(path)
    if path != _path(folder, entry["identity"], entry["number"]):
        raise StoreError(f"{path} holds the latents of another content, {entry['identity']}.")
    if entry["fingerprint"] != fingerprint:
        raise StoreError(f"{path} was made with other settings.")
    return entry


def _damages(entry: Mapping[str, Any], tensors: Tensors) -> list[str]:
    return [
        f"{name} does not fit its checksum"
        for name, tensor in sorted(tensors.items())
        if tensor_sum(tensor) != entry["sums"][name]
    ]


def _write(path: Path, about: Mapping[str, Any], items: Sequence[WindowInput]) -> None:
    tensors: dict[str, NDArray[Any]] = {
        "slots": np.array([item.window.slots for item in items], dtype=np.int64),
        "num_real": np.array([item.window.num_real for item in items], dtype=np.int64),
        "frame_index": np.stack([item.frame_index for item in items]),
    }
    seconds = [item.seconds for item in items if item.seconds is not None]
    if len(seconds) == len(items):
        tensors["seconds"] = np.stack(seconds)
    appearances = [item.appearance for item in items if item.appearance is not None]
    if len(appearances) == len(items):
        seen = [appearance[:4] for appearance in appearances]  # the rest is of students, which keep none
        tensors["appearance"] = np.array(seen, dtype=np.float64)
    encoded = EncodedWindows.joined([item.encoded for item in items if item.encoded])
    whole = encoded.tensors()
    shapes = {name: list(tensor.shape[1:]) for name, tensor in whole.items()}
    for name, (other, factor) in encoded.multiples.items():
        if {name, other} <= whole.keys() and _same(whole[name], factor * whole[other]):
            del whole[name]
    tensors |= {name: _pack(tensor) for name, tensor in whole.items()}
    sums = {name: tensor_sum(tensor) for name, tensor in tensors.items()}
    write_entry(path, {**about, "shapes": shapes, "sums": sums}, tensors)


def _pack(tensor: Tensor) -> NDArray[Any]:
    """(n, L, ...) float32 -> the smallest array that it can be restored from exactly."""
    first = tensor[:, :1]
    if tensor.shape[1] > 1 and _same(tensor, first.expand_as(tensor)):
        tensor = first
    half = tensor.half()
    array: NDArray[Any] = (half if _same(half.float(), tensor) else tensor).numpy()
    return array


def _unpack(
    tensors: Tensors, shapes: Mapping[str, Sequence[int]], multiples: Mapping[str, tuple[str, float]]
) -> dict[str, Tensor]:
    """Inverse of `_pack` for all tensors of a file, with those that are multiples of others restored."""
    unpacked = {}
    for name, shape in shapes.items():
        if name in tensors:
            tensor = torch.from_numpy(tensors[name]).float()
            unpacked[name] = tensor.expand(len(tensor), *shape)
    for name, (other, factor) in multiples.items():
        if name in shapes and name not in tensors:
            unpacked[name] = factor * unpacked[other]
    return unpacked


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two float32 tensors have the same bits."""
    return torch.equal(one.contiguous().view(torch.int32), other.contiguous().view(torch.int32))
