"""How videos are cropped around animals."""

from dataclasses import asdict, dataclass

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

    @property
    def settings(self) -> dict[str, float]:
        """As crop files and feature stores record them."""
        return {name: float(value) for name, value in asdict(self).items()}
