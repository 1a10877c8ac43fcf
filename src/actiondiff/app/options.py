"""Options of the page."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LOCAL", "PageOptions"]

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""


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

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOCAL

    @property
    def max_upload_bytes(self) -> int:
        """Size of the largest video that is accepted, in bytes."""
        return self.max_upload_mb * 1_000_000
