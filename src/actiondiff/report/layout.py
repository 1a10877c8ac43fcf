"""Where the parts of a page stand on a wide screen, which has two columns; others have one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from actiondiff.report.drawing import Figure
from actiondiff.report.items import Item, Notes, Provenance, Text
from actiondiff.report.tables import ReportTable

__all__ = ["Place", "SectionPlace", "arrange"]

Place: TypeAlias = Literal["full", "half", "alone"]
"""Both columns; one column; or both, with the drawing or table in one and its caption in the other."""

_HALF_INCHES = 7.6  # widest figure that fits into one column
_HALF_CHARACTERS = 72  # widest table that does
_BETWEEN_COLUMNS = 3  # of a table, in characters


@dataclass(frozen=True)
class SectionPlace:
    """Where a section stands, and where each of its items stands within it."""

    section: Place
    items: tuple[Place, ...]


def arrange(sections: Sequence[Sequence[Item]]) -> list[SectionPlace]:
    """Find a place for each section, given its items; their order stays as it is.

    Two short sections in a row share the width. Within a section that has all of it, two narrow items in a
    row do, and so do a narrow item and the text that follows it.
    """
    places: list[SectionPlace] = []
    at = 0
    while at < len(sections):
        pair = sections[at : at + 2]
        if len(pair) == 2 and all(map(_is_short, pair)):
            for items in pair:
                inside: list[Place] = ["full"] * len(items)
                places.append(SectionPlace("half", tuple(inside)))
            at += 2
        else:
            places.append(SectionPlace("full", _places_of(sections[at])))
            at += 1
    return places


def _is_short(items: Sequence[Item]) -> bool:
    return sum(not isinstance(item, Text | Notes) for item in items) <= 1 and all(
        isinstance(item, Text | Notes) or _fits_half(item) for item in items
    )


def _places_of(items: Sequence[Item]) -> tuple[Place, ...]:
    places: list[Place] = []
    while len(places) < len(items):
        rest = items[len(places) :]
        if not _fits_half(rest[0]):
            places.append("full")
        elif len(rest) > 1 and (_fits_half(rest[1]) or isinstance(rest[1], Text | Notes)):
            places += ["half", "half"]
        else:
            places.append("alone")
    return tuple(places)


def _fits_half(item: Item) -> bool:
    if isinstance(item, Figure):
        return bool(item.drawing.get_figwidth() <= _HALF_INCHES)
    if isinstance(item, ReportTable):
        # Headings are broken between words, and cells are not.
        headings = [max(map(len, title.split()), default=0) for title in item.columns]
        cells = [max(map(len, column)) for column in zip(*item.rows, strict=True)] or headings
        widths = [max(pair) + _BETWEEN_COLUMNS for pair in zip(headings, cells, strict=True)]
        return sum(widths) <= _HALF_CHARACTERS
    return isinstance(item, Provenance)
