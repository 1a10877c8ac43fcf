"""Limits on what one video may take: pixels of a picture, pauses between pictures, pictures for its bytes.

They protect a run, or a page that takes videos from strangers, from files of a few kilobytes that ask for
gigabytes or for hours. A video beyond a limit fails alone.
"""

import os
from dataclasses import dataclass

from actiondiff.errors import UsageError, VideoLimitError

__all__ = ["VARIABLES", "Limits", "limits_in_force", "set_limits"]

_SPARE_FRAMES = 1000
_BYTES_PER_FRAME = 4  # a frame takes at least 8 bytes in any container that counts its frames


@dataclass(frozen=True)
class Limits:
    """Limits on one video.

    Attributes:
        max_megapixels: Pixels of a picture, in millions.
        max_pause_seconds: Seconds from one picture to the next.

    Raises:
        UsageError: If a limit is not above 0.
    """

    max_megapixels: float = 64.0
    max_pause_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("max_megapixels", "max_pause_seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0; got {getattr(self, name)}.")

    @property
    def max_pixels(self) -> int:
        """Largest number of pixels of a picture."""
        return min(round(self.max_megapixels * 1e6), 2**31 - 1)

    def check_picture(self, width: int, height: int) -> None:
        """Check the size of a video's pictures.

        Raises:
            VideoLimitError: If they are larger than allowed.
        """
        if width * height > self.max_pixels:
            raise VideoLimitError(
                f"its pictures have {width}x{height} px, {width * height / 1e6:.0f} megapixels; at most "
                f"{self.max_megapixels:g} are allowed. If that is right, raise --max-megapixels"
            )

    def check_pause(self, before: float, after: float) -> None:
        """Check the times of two consecutive frames.

        Raises:
            VideoLimitError: If they are further apart than allowed.
        """
        if after - before > self.max_pause_seconds:
            raise VideoLimitError(
                f"no frame is shown for {after - before:.0f} s after {before:.2f} s; at most "
                f"{self.max_pause_seconds:g} s are allowed. If that is right, raise --max-pause, or cut the "
                "video there"
            )

    def check_count(self, num_frames: int, num_bytes: int) -> None:
        """Check the number of frames that came out of a file.

        Raises:
            VideoLimitError: If there are more of them than so few bytes can hold.
        """
        if num_frames > _SPARE_FRAMES + num_bytes // _BYTES_PER_FRAME:
            raise VideoLimitError(
                f"{num_frames} frames come out of {num_bytes} bytes, which no camera writes"
            )


VARIABLES = {
    "max_megapixels": "ACTIONDIFF_MAX_MEGAPIXELS",
    "max_pause_seconds": "ACTIONDIFF_MAX_PAUSE",
}
"""Limit -> environment variable that sets it. Worker processes inherit it."""


def limits_in_force() -> Limits:
    """The limits that videos are opened with.

    Raises:
        UsageError: If an environment variable is not a number above 0.
    """
    values = {}
    for name, variable in VARIABLES.items():
        text = os.environ.get(variable)
        if text:
            try:
                values[name] = float(text)
            except ValueError:
                raise UsageError(f"{variable} must be a number above 0; got {text!r}.") from None
    return Limits(**values)


def set_limits(*, max_megapixels: float | None = None, max_pause_seconds: float | None = None) -> None:
    """Set limits for this process and those that it starts; None leaves a limit as it is.

    Raises:
        UsageError: If a limit is not above 0.
    """
    values = {"max_megapixels": max_megapixels, "max_pause_seconds": max_pause_seconds}
    chosen = {name: value for name, value in values.items() if value is not None}
    Limits(**chosen)
    os.environ.update({VARIABLES[name]: repr(value) for name, value in chosen.items()})
