"""How videos are cropped around animals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from actiondiff.errors import UsageError

__all__ = ["CropOptions"]


@dataclass(frozen=True)
class CropOptions:
    """How videos are cropped.

    Attributes:
        margin: Share of the box's longer side that is added on each side.
        smooth_seconds: Span over which the position of the crop is averaged.
        max_gap_seconds: Longest time without a box within a track. A frame that is further than this from
            any box shows the whole picture.
        min_overlap: Least overlap (intersection over union) of boxes that follow each other in a track.
    """

    margin: float = 0.25
    smooth_seconds: float = 1.0
    max_gap_seconds: float = 2.0
    min_overlap: float = 0.1

    @classmethod
    def of(cls, *, margin: float | None = None, smooth_seconds: float | None = None) -> "CropOptions":
        """The defaults, except for what is not None."""
        chosen = {"margin": margin, "smooth_seconds": smooth_seconds}
        return cls(**{name: value for name, value in chosen.items() if value is not None})

    @property
    def settings(self) -> dict[str, float]:
        """As crop files and feature stores record them."""
        return {name: float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_settings(cls, settings: object) -> "CropOptions":
        """Inverse of `settings`, for a value from somebody else's file.

        Raises:
            UsageError: If names are missing or unknown, or a value is not a number from 0 to 1,000,000.
        """
        values = settings if isinstance(settings, Mapping) else {}
        names = list(cls().settings)
        if set(values) != set(names) or any(not _is_amount(values[name]) for name in names):
            raise UsageError(
                f"options of crops are {', '.join(names)}, each a number from 0; got {str(settings)[:200]}."
            )
        return cls(**{name: float(values[name]) for name in names})

    def __str__(self) -> str:
        return f"margin {self.margin:g}, smoothed over {self.smooth_seconds:g} s"


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e6
