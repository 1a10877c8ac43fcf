"""Import of features that other programs extracted."""

import hashlib
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.features.store import FORMAT, FeatureStore
from actiondiff.types import DEFAULT_STRIDE, JSON, Array, FeatureKey, Features
from actiondiff.video.search import is_system_name

__all__ = ["ImportSummary", "import_features"]

_SUFFIX = "_mean.npy"
_PREFIX = "layer_"


@dataclass(frozen=True)
class ImportSummary:
    """Summary of an import.

    Attributes:
        num_videos: Number of videos that now have features.
        layers: Names of the layers, shallow to deep.
        failed: Video -> why it was not imported.
    """

    num_videos: int
    layers: tuple[str, ...]
    failed: dict[str, str]


def import_features(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    layout: Literal["released"] = "released",
    backbone: str = "svd-xt",
    timestep: int = 20,
    stride: int = DEFAULT_STRIDE,
    offset: int = 0,
    frame_rate: float | None = None,
    video_suffix: str = ".mp4",
    root: str | os.PathLike[str] = ".",
) -> ImportSummary:
    """Read a tree of `layer_N/{name}_mean.npy` files, as the released code writes them, into a store.

    The files do not say how they were made: backbone, timestep, stride and offset are taken from the
    arguments. The backbone's weights are unknown, so that a model trained on these features cannot predict
    from videos, but everything that reads features works.

    Args:
        source: Folder that holds `layer_1`, `layer_2` ...; each file has (T, C) numbers, one row per frame.
        store: Folder of the store; created if it does not exist.
        layout: Layout of the tree.
        backbone: Name of the backbone that made the features.
        timestep: Diffusion timestep of the features.
        stride: Number of raw frames from one row to the next.
        offset: Raw index of the first row's frame.
        frame_rate: Frames per second, the same for all videos. If None, times are unknown, and the features
            cannot be used for timelines and spans.
        video_suffix: Suffix of the videos' names, which tables contain.
        root: Folder of the videos, which names in the store are relative to.

    Raises:
        UnknownNameError: If the layout is unknown.
        UsageError: If there are no such files, or a number is out of range.
        SettingsMismatchError: If the store was made with other settings.
    """
    if layout != "released":
        raise UnknownNameError("layout", layout, ["released"])
    if stride < 1 or offset < 0 or timestep < 0 or (frame_rate is not None and not frame_rate > 0):
        raise UsageError(
            "stride is at least 1, offset and timestep at least 0, frame_rate above 0; got "
            f"stride={stride}, offset={offset}, timestep={timestep}, frame_rate={frame_rate}."
        )
    files = _find(Path(source))
    settings: dict[str, JSON] = {
        "format": FORMAT,
        "backbone": {"name": backbone, "weights": "unknown (imported)", "layout": layout},
        "sampling": {"stride": stride, "offset": offset, "frame_rate": frame_rate},
        "store_dtype": "float32",
    }
    target = FeatureStore.create(store, settings=settings, root=root)
    failed: dict[str, str] = {}
    for name, layers in sorted(files.items()):
        video = name + video_suffix
        try:
            tokens = {FeatureKey.of(timestep, layer): _read(path) for layer, path in sorted(layers.items())}
            target.write(video, _features(tokens, stride, offset, frame_rate))
        except (UsageError, OSError, ValueError) as error:
            failed[video] = str(error)
            target.fail(video, str(error))
    target.tidy()
    numbers = sorted({layer for layers in files.values() for layer in layers})
    return ImportSummary(len(files) - len(failed), tuple(f"layer{n}" for n in numbers), failed)


def _find(source: Path) -> dict[str, dict[int, Path]]:
    """Name of a video (posix, without suffix) -> layer -> file."""
    files: dict[str, dict[int, Path]] = defaultdict(dict)
    for folder in sorted(source.glob(f"{_PREFIX}*")):
        number = folder.name.removeprefix(_PREFIX)
        if number.isdecimal():
            for path in sorted(folder.rglob(f"*{_SUFFIX}")):
                if any(map(is_system_name, path.relative_to(folder).parts)):
                    continue  # a side file that an operating system or a file server put there
                files[path.relative_to(folder).as_posix().removesuffix(_SUFFIX)][int(number)] = path
    if not files:
        raise UsageError(
            f"{source} holds no files layer_N/NAME{_SUFFIX}; give the folder that contains layer_1 ..."
        )
    return files


def _read(path: Path) -> Array:
    """(T, C) float32 numbers of a file. Pickled content is refused."""
    _check_header(path)
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or not len(values) or values.dtype.kind != "f":
        raise UsageError(
            f"{path} must hold (T, C) floating-point numbers; got {values.shape} {values.dtype}."
        )
    if not np.isfinite(values).all():
        raise UsageError(f"{path} has values that are not finite.")
    result: Array = values.astype(np.float32)
    return result


def _check_header(path: Path) -> None:
    """Compare the shape that an array's header promises with the file's size, before memory is taken for it.

    Raises:
        UsageError: If the header is damaged, or the array would have more bytes than the file.
    """
    with open(path, "rb") as file:
        try:
            is_first = np.lib.format.read_magic(file) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        except (ValueError, OverflowError, MemoryError, SyntaxError, RecursionError) as error:
            raise UsageError(f"{path} is no array (.npy), or damaged: {str(error)[:120]}") from None
        size = path.stat().st_size - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise UsageError(f"{path} is cut short: its header promises {shape} {dtype}, it has {size} bytes.")


def _features(
    tokens: dict[FeatureKey, Array], stride: int, offset: int, frame_rate: float | None
) -> Features:
    lengths = {len(values) for values in tokens.values()}
    if len(lengths) > 1:
        raise UsageError(
            f"the layers have different numbers of rows: {', '.join(map(str, sorted(lengths)))}."
        )
    index = offset + stride * np.arange(lengths.pop(), dtype=np.int64)
    digest = hashlib.sha256()
    for key, values in sorted(tokens.items()):
        digest.update(f"{key}{values.shape}".encode() + values.tobytes())
    seconds = None if frame_rate is None else index / frame_rate
    return Features(tokens=tokens, seconds=seconds, frame_index=index, identity=digest.hexdigest())
