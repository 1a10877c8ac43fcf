"""What a student learns from: windows of small frames and the teacher's tokens of them, in files.

The files hold every window once, so that videos are decoded once however long the training lasts, and are
mapped into memory, so that memory does not grow with the number of videos.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actiondiff.backbones.frozen import fit_to
from actiondiff.backbones.student import StudentConfig
from actiondiff.distillation.recordings import TaughtVideo
from actiondiff.errors import StoreError, UsageError, VideoError
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import atomic_path
from actiondiff.types import Array, DoubleArray, FeatureKey, Features, Frames, Progress, Sampling, Window
from actiondiff.video.decode import iter_video
from actiondiff.video.windows import Padding, iter_windows

__all__ = ["FILES", "Lessons", "covered_frames", "windows_of", "write_lessons"]

FILES = ("windows.npy", "tokens.npy", "real.npy")
"""Names of the files, in the order in which they are written."""

_PART = 1024  # windows whose tokens are in memory at a time
Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Lessons:
    """N windows of L frames, and S tokens of each.

    Attributes:
        windows: (N, L, H, W, 3) uint8.
        tokens: (N, S, D) float32, the teacher's.
        real: (N, S) bool; whether there is such a token.
    """

    windows: Pixels
    tokens: Array
    real: NDArray[np.bool_]

    @classmethod
    def open(cls, folder: Path) -> "Lessons":
        """Map the files in a folder into memory."""
        return cls(*(np.load(folder / name, mmap_mode="r") for name in FILES))

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Whether all files are there; the last one is written last."""
        return all((folder / name).is_file() for name in FILES)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (B, L, 3, H, W) in [-1, 1], tokens (B, S, D) and which of these are real (B, S)."""
        pixels = torch.from_numpy(self.windows[list(rows)]).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        return pixels, torch.from_numpy(self.tokens[list(rows)]), torch.from_numpy(self.real[list(rows)])

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel over all tokens, each (D,); constant channels have 1."""
        count, width = int(self.real.sum()), self.tokens.shape[-1]
        total, size, square = (np.zeros(width) for _ in range(3))
        for part in self._real_tokens():
            total += part.sum(0)
            size += np.abs(part).sum(0)
        mean, scale = total / count, size / count
        for part in self._real_tokens():
            square += ((part - mean) ** 2).sum(0)
        deviation = np.sqrt(square / count)
        deviation = np.maximum(np.where(deviation > 1e-6 * scale, deviation, 1.0), 1e-12)
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()

    def _real_tokens(self) -> Iterator[DoubleArray]:
        """The real tokens in parts, each (n, D) float64."""
        for start in range(0, len(self.tokens), _PART):
            rows = slice(start, start + _PART)
            yield self.tokens[rows][self.real[rows]].astype(np.float64)


def windows_of(
    video: TaughtVideo, sampling: Sampling, *, length: int, padding: Padding
) -> Iterator[tuple[Window, Frames]]:
    """The windows of a video, cut as the teacher's were."""
    reader = iter_video(
        video.path,
        stride=sampling.stride,
        fps=sampling.fps,
        stream=sampling.stream,
        square=sampling.square,
    )
    if reader.identity != video.identity:
        raise VideoError(f"{video.path} changed while it was read; start again.")
    return iter_windows(reader, length=length, padding=padding)


def covered_frames(windows: Sequence[tuple[Window, Frames]], features: Features) -> int | None:
    """Number of sampled frames that one token covers; None if the video is too short to tell.

    Args:
        windows: The windows of a video.
        features: The teacher's features of it.
    """
    starts = set(features.frame_index.tolist())
    for window, frames in windows:
        raws = frames.frame_index[: window.num_real].tolist()
        steps = [slot for slot, raw in enumerate(raws) if raw in starts]
        if len(steps) > 1:
            return steps[1] - steps[0]
        if window.num_real == len(window.slots):
            return len(window.slots)
    return None


def write_lessons(
    folder: Path,
    store: FeatureStore,
    videos: Sequence[TaughtVideo],
    config: StudentConfig,
    progress: Progress | None,
) -> Lessons:
    """Decode the videos and write what there is to learn.

    Args:
        folder: Folder to write to.
        store: Store of the teacher's features.
        videos: Videos to learn from.
        config: Config of the student.
        progress: Called after each video.

    Raises:
        StoreError: If the stored features are not those of the videos' windows.
        VideoError: If a video cannot be read any more.
        UsageError: If the disk has no room.
    """
    key = config.feature_key
    count = sum(store.load(video.identity, [key]).num_windows for video in videos)
    steps = config.window // config.architecture.tubelet
    shape = (config.window, config.height, config.width, 3)
    width = config.architecture.token_width
    # A mapped file that finds no room while it is filled would end the process.
    num_bytes, free = count * (math.prod(shape) + 4 * steps * width), shutil.disk_usage(folder).free
    if num_bytes > free:
        raise UsageError(
            f"learning from {count} windows needs {num_bytes / 1e9:.1f} GB in {folder}, and "
            f"{free / 1e9:.1f} GB are free there. Give a folder on another disk (-o), fewer videos, or a "
            "smaller --size."
        )
    with (
        atomic_path(folder / FILES[0]) as aside,
        atomic_path(folder / FILES[1]) as tokens_aside,
        atomic_path(folder / FILES[2]) as real_aside,
    ):
        windows = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=(count, *shape))
        tokens = np.lib.format.open_memmap(
            tokens_aside, mode="w+", dtype=np.float32, shape=(count, steps, width)
        )
        real = np.zeros((count, steps), np.bool_)
        row = 0
        for done, video in enumerate(videos, start=1):
            features = store.load(video.identity, [key])
            for window, frames in windows_of(
                video, Sampling.from_settings(config.sampling), length=config.window, padding=config.padding
            ):
                if row == count:
                    raise _mismatch(store, video)
                values = _tokens_of(window, frames, features, key, config.architecture.tubelet)
                if values is None:
                    raise _mismatch(store, video)
                tokens[row, : len(values)], real[row, : len(values)] = values, True
                windows[row] = _small(frames.pixels, config)
                row += 1
            if progress:
                progress(done, len(videos), video.name)
        if row != count:
            raise _mismatch(store, videos[-1])
        windows.flush()
        tokens.flush()
        del windows, tokens
        with open(real_aside, "wb") as file:
            np.save(file, real)
    return Lessons.open(folder)


def _small(pixels: Pixels, config: StudentConfig) -> Pixels:
    """Frames as the student sees them, rounded to uint8: (L, H, W, 3) -> (L, H', W', 3)."""
    fitted = fit_to(torch.from_numpy(pixels), config.height, config.width, crop=config.fit == "crop")
    small: Pixels = ((fitted + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return small


def _tokens_of(
    window: Window, frames: Frames, features: Features, key: FeatureKey, tubelet: int
) -> Array | None:
    """The teacher's tokens of a window; None if one is missing."""
    rows = {raw: row for row, raw in enumerate(features.frame_index.tolist())}
    starts = frames.frame_index[: window.num_real : tubelet].tolist()
    if not set(starts) <= rows.keys():
        return None
    tokens: Array = features.tokens[key][[rows[raw] for raw in starts]]
    return tokens


def _mismatch(store: FeatureStore, video: TaughtVideo) -> StoreError:
    return StoreError(
        f"the features of {video.name} in {store.folder} are not those of its windows as they are cut now. "
        f"Run: actiondiff features verify {store.folder}; then extract."
    )
