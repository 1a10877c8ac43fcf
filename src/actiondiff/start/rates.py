"""The rate at which frames are taken, where the videos of a study have very different ones."""

from statistics import median

from actiondiff.datasets.base import Table
from actiondiff.errors import ActionDiffError
from actiondiff.types import DEFAULT_STRIDE
from actiondiff.video.probe import probe

__all__ = ["common_rate"]

_MOST_DIFFERENCE = 1.5  # of the fastest video's rate to the slowest one's


def common_rate(table: Table) -> float | None:
    """Frames per second to take of every labelled video; None if every `DEFAULT_STRIDE`th frame will do.

    With a stride, frames of a slow camera lie further apart in time than those of a fast one, and a short
    span may hold none. Where rates differ much, all videos give frames at the rate that the stride gives of
    the middle one; a slower camera gives all of its frames.

    Args:
        table: The labelled clips. Videos that cannot be opened, or state no rate, have no say.
    """
    rates = []
    for video in dict.fromkeys(example.video for example in table.examples):
        try:
            rate = probe(table.root / video).average_rate
        except (ActionDiffError, OSError):  # `videos check` has told of it
            continue
        if rate:
            rates.append(rate)
    if not rates or max(rates) <= _MOST_DIFFERENCE * min(rates):
        return None
    return round(median(rates) / DEFAULT_STRIDE, 3)
