"""Videos as the engine reads them, and their windows on the way into a backbone."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.types import Appearance, DecodeReport, Frames, Window

__all__ = [
    "EncodedVideo",
    "FrameReader",
    "FrameSequence",
    "Source",
    "WindowInput",
    "WindowSource",
    "window_generator",
]


class FrameReader(Protocol):
    """Reads the sampled frames of one video, in chunks and in order."""

    @property
    def report(self) -> DecodeReport | None:
        """How decoding went; final once all chunks were read. None if no file was decoded."""
        ...

    def __iter__(self) -> Iterator[Frames]: ...


class FrameSequence:
    """A reader of frames that need no decoding, for example of frames in memory.

    Args:
        chunks: The frames of one video, in order.
        report: How decoding went, if the frames were decoded from a file.
    """

    def __init__(self, chunks: Iterable[Frames], report: DecodeReport | None = None) -> None:
        self.report = report
        self._chunks = chunks

    def __iter__(self) -> Iterator[Frames]:
        return iter(self._chunks)


@dataclass(frozen=True, eq=False)
class WindowInput:
    """One window on its way into a backbone. Exactly one of `pixels` and `encoded` is set.

    Attributes:
        window: Which frames fill the window's slots.
        identity: Identity of the video.
        frame_index: (L,) int64, raw index of each slot's frame.
        seconds: (L,) float64, time of each slot's frame, or None if unknown.
        pixels: (L, 3, H', W') float32 as the backbone takes them, or (L, H, W, 3) uint8 as decoded.
        encoded: The window after a two-stage backbone's first stage, with B = 1.
        batch: Number of windows it was encoded with, if that was less than the backbone's own batch.
        encoded_again: Whether half precision could not encode it, so that it was encoded in more precision.
        appearance: What the pictures of its frames look like; None if unknown.
        crop_places: (L, 4) float64, where the crop of each slot's frame lies; None for whole videos.
    """

    window: Window
    identity: str
    frame_index: NDArray[np.int64]
    seconds: NDArray[np.float64] | None
    pixels: Tensor | None = None
    encoded: EncodedWindows | None = None
    batch: int | None = None
    encoded_again: bool = False
    appearance: Appearance | None = None
    crop_places: NDArray[np.float64] | None = None


class EncodedVideo(ABC):
    """A video whose windows have passed the first stage already; takes the place of a reader of frames.

    Attributes:
        report: How decoding went when the windows were encoded.
    """

    report: DecodeReport | None

    @abstractmethod
    def windows(self) -> Iterator[WindowInput]:
        """The windows in order."""


WindowSource: TypeAlias = FrameReader | EncodedVideo
"""What a video's windows are made from."""
Source = TypeVar("Source", bound=WindowSource)
"""Type of the readers that are given to the engine, and that it returns with their features."""


def window_generator(seed: int, identity: str, first_frame: int, purpose: str) -> torch.Generator:
    """A CPU random generator that depends on nothing but its arguments.

    Args:
        seed: Seed of the backbone.
        identity: Identity of the video.
        first_frame: Raw index of the window's first frame.
        purpose: What is drawn, so that different draws for one window are independent.
    """
    digest = hashlib.sha256(f"{seed}/{identity}/{first_frame}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
