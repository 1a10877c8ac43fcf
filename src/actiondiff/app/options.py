"""Options of the page."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ABSTAIN", "ABSTAIN_WORDS", "CUTTING", "LOCAL", "PageOptions", "Quotas"]

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""
CUTTING = ("smooth_seconds", "min_seconds", "max_gap_seconds", "threshold")
"""Options of timelines that the pages have sliders for, in the order of the sliders."""
ABSTAIN = "abstain_outside"
"""Option of timelines that the pages have a switch for."""
ABSTAIN_WORDS = "no bouts in videos unlike those of training"

_OF_VISITOR, _IN_ALL = 4, 20  # videos of the largest size


@dataclass(frozen=True)
class Quotas:
    """Most bytes that uploads may have.

    Attributes:
        of_video: Of one video.
        of_visitor: Of all videos that one visitor has on the page.
        in_all: Of all videos on the page.
    """

    of_video: int
    of_visitor: int
    in_all: int

    @property
    def most_of_video(self) -> int:
        """Size of the largest video that can be accepted."""
        return min(self.of_video, self.of_visitor, self.in_all)


class PageOptions(BaseModel):
    """Where the page is served, and which uploads it accepts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Only this machine can reach 127.0.0.1; 0.0.0.0 admits everyone "
        "who can reach this machine, and there is no password.",
    )
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    max_upload_mb: int = Field(500, ge=1, description="Size of the largest accepted video, in megabytes.")
    max_visitor_mb: int | None = Field(
        None,
        ge=1,
        description="Size of all videos of one visitor (a browser) on the page, in megabytes; four times "
        "--max-upload-mb if not given.",
    )
    max_total_mb: int | None = Field(
        None,
        ge=1,
        description="Size of all videos on the page, in megabytes; twenty times --max-upload-mb if not "
        "given.",
    )
    max_waiting: int = Field(
        20, ge=1, description="Number of requests that may wait for the model; further ones are refused."
    )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOCAL

    @property
    def quotas(self) -> Quotas:
        """Most bytes that uploads may have."""
        visitor = self.max_visitor_mb or _OF_VISITOR * self.max_upload_mb
        in_all = self.max_total_mb or _IN_ALL * self.max_upload_mb
        return Quotas(*(1_000_000 * megabytes for megabytes in (self.max_upload_mb, visitor, in_all)))

    @property
    def largest_video_mb(self) -> int:
        """Size of the largest video that all limits allow, in megabytes."""
        return self.quotas.most_of_video // 1_000_000
