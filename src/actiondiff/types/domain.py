"""What videos look like, and how far one lies outside what a model has learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Appearance", "DomainCheck"]

_GRID = 32  # pixels of each side that are looked at, at least
_NUM_SEEN = 4  # values of an appearance that every video has


class Appearance(NamedTuple):
    """What the pictures of a video look like, on average.

    Attributes:
        height_px: Height of the pictures, as decoded.
        width_px: Width of the pictures, as decoded.
        brightness: Mean of all channels, in [0, 1].
        saturation: Mean difference between the highest and the lowest channel of a pixel, in [0, 1].
        strangeness: How unlike the pictures that a student learnt from they are: 1 is the bound, up to which
            the student was near its teacher. None where features are not those of a student.
    """

    height_px: float
    width_px: float
    brightness: float
    saturation: float
    strangeness: float | None = None

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Self:
        """Measure frames, (T, H, W, 3) uint8 with T at least 1, on a grid of at least 32 pixels a side."""
        height, width = pixels.shape[1:3]
        sample = pixels[:, :: max(1, height // _GRID), :: max(1, width // _GRID)]
        spread = sample.max(-1) - sample.min(-1)
        return cls(height, width, float(sample.mean()) / 255, float(spread.mean()) / 255)

    @classmethod
    def mean(cls, parts: Sequence["Appearance"], weights: Sequence[int]) -> Self:
        """Average the appearance of parts of a video, weighted by their numbers of frames."""
        seen = np.average(np.array([part[:_NUM_SEEN] for part in parts]), axis=0, weights=weights)
        strange = [part.strangeness for part in parts if part.strangeness is not None]
        mean = float(np.average(strange, weights=weights)) if len(strange) == len(parts) else None
        height, width, brightness, saturation = map(float, seen)
        return cls(height, width, brightness, saturation, mean)


@dataclass(frozen=True)
class DomainCheck:
    """How far a video lies outside what a model has learnt from.

    Attributes:
        distances: What was compared -> its distance from the training videos: 1 is the bound, and what lies
            above it lies outside.
        reasons: For each that lies outside, what the video has and what the model has learnt from, in words.
    """

    distances: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def distance(self) -> float:
        """The largest of the distances; 0 if nothing could be compared."""
        return max(self.distances.values(), default=0.0)

    @property
    def reason(self) -> str:
        """All reasons in one line; empty if the video does not lie outside."""
        return " | ".join(self.reasons)

    @property
    def is_outside(self) -> bool:
        """Whether the video lies outside what the model has learnt from."""
        return self.distance > 1
