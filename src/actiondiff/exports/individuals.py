"""Results of several individuals of one video in the files of other programs and in tables."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from actiondiff.inference.timeline import Timeline

__all__ = ["INDIVIDUAL", "by_video", "has_individuals", "with_individual"]

INDIVIDUAL = "individual"
"""Name of the column; tables have it only if some of their rows are about a crop."""


class _Result(Protocol):
    @property
    def individual(self) -> str: ...


def has_individuals(results: Iterable[_Result]) -> bool:
    """Whether any result is about a crop."""
    return any(result.individual for result in results)


def with_individual(columns: Sequence[str], *, wanted: bool = True) -> tuple[str, ...]:
    """The columns with that of the individual after that of the video, if it is wanted."""
    after = list(columns).index("video") + 1
    return (*columns[:after], INDIVIDUAL, *columns[after:]) if wanted else tuple(columns)


def by_video(timelines: Sequence[Timeline]) -> list[list[Timeline]]:
    """The timelines of each video together: those of its individuals, or the one of the whole pictures."""
    groups: dict[str, list[Timeline]] = {}
    for timeline in timelines:
        groups.setdefault(timeline.video, []).append(timeline)
    return list(groups.values())
