"""How videos are read: which frames, and in which shape."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from actiondiff.errors import UsageError
from actiondiff.types.crops import CropOptions

__all__ = ["DEFAULT_STRIDE", "JSON", "Sampling"]

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

DEFAULT_STRIDE = 4
"""Every fourth frame of a video is sampled unless a call asks for something else."""


@dataclass(frozen=True)
class Sampling:
    """How a video is read: every stride-th frame, or frames at a fixed rate. One of the two is set.

    Attributes:
        stride: Every stride-th raw frame is sampled.
        fps: Frames are sampled at this rate, by presentation time.
        stream: Number of the stream in the file; None for the main one.
        square: Whether pictures are stretched to square pixels, as players show them.
        crops: How the crops were made, if the videos are crops around animals; None for whole videos.

    Raises:
        UsageError: If not exactly one of stride and fps is given, or a number is out of range.
    """

    stride: int | None = None
    fps: float | None = None
    stream: int | None = None
    square: bool = False
    crops: CropOptions | None = None

    def __post_init__(self) -> None:
        if (self.stride is None) == (self.fps is None):
            both = f"stride={self.stride}, fps={self.fps}"
            raise UsageError(f"give either stride or fps and set the other to None; got {both}.")
        if self.stride is not None and (self.stride != int(self.stride) or self.stride < 1):
            raise UsageError(f"stride is a whole number of raw frames from 1; got {self.stride}.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UsageError(f"fps is a number of frames per second above 0; got {self.fps}.")

    @classmethod
    def of(cls, stride: int | None, fps: float | None) -> "Sampling":
        """Sampling by rate if a rate is given, else by stride."""
        return cls(stride=stride) if fps is None else cls(fps=float(fps))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Sampling":
        """Inverse of `settings`; other fields are ignored."""
        fields = {name: settings.get(name) for name in ("stride", "fps", "stream")}
        crops = settings.get("crops")
        return cls(
            **fields,
            square=settings.get("pixels") == "square",
            crops=None if crops is None else CropOptions.from_settings(crops),
        )

    @property
    def settings(self) -> dict[str, JSON]:
        """As a feature store records it, for example `{"stride": 4}`; without defaults."""
        every = {"stride": self.stride, "fps": self.fps, "stream": self.stream}
        chosen: dict[str, JSON] = {name: value for name, value in every.items() if value is not None}
        chosen |= {"pixels": "square"} if self.square else {}
        return chosen | ({"crops": {**self.crops.settings}} if self.crops else {})
