"""Where the published weights of a backbone are."""

from pydantic import BaseModel, ConfigDict

__all__ = ["WeightsSource"]


class WeightsSource(BaseModel):
    """Where the published weights of a backbone are.

    Attributes:
        hub: Id of a repository on the hub that is read as it is; empty if there is none.
        page: Page on which the weights are described, or linked.
        file: Name of the original file; empty if only the hub's form is known.
        gigabytes: Size of the hub's files that are needed in float32; None if not known.
        note: What else to know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str = ""
    page: str
    file: str = ""
    gigabytes: float | None = None
    note: str = ""
