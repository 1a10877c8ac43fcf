"""Options of the detection of animals."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DetectOptions"]


class DetectOptions(BaseModel):
    """How animals are detected.

    Attributes:
        fps: Frames to look at per second of video; all, if the video has fewer.
        min_score: Boxes with a lower score are not written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fps: float = Field(5.0, gt=0, le=1000, description="Frames to look at per second of video.")
    min_score: float = Field(
        0.1, ge=0.001, le=1, description="Boxes with a lower score are not written to the file."
    )
