"""Events that were coded in BORIS, and the bouts that pairs of them make.

BORIS counts time from the beginning of the first file of a player, plus the observation's offset. It does not
store which event is a start: starts and stops alternate within subject, behaviour and modifiers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actiondiff.datasets.bouts import CodedBout, locate_in_files

__all__ = [
    "APART",
    "POINT",
    "START",
    "STOP",
    "BorisEvent",
    "BorisObservation",
    "coded_bouts",
    "first_player",
    "number",
    "pair_events",
]

APART = ("individuals", "apart")
"""Variable and value by which our own exports say that each individual was coded by itself."""
START, STOP, POINT = "START", "STOP", "POINT"
_NOBODY = ("", "No focal subject")


@dataclass(frozen=True)
class BorisEvent:
    """An event.

    Attributes:
        position: Position in the file, for messages: `row 7`.
        time: Seconds, with the observation's offset.
        label: The behaviour.
        subject: The individual.
        modifiers: All modifiers, in one text.
        kind: `START`, `STOP` or `POINT`; empty where only the order tells starts from stops.
    """

    position: str
    time: float
    label: str
    subject: str
    modifiers: str
    kind: str


@dataclass(frozen=True)
class BorisObservation:
    """An observation.

    Attributes:
        name: Its id.
        media: Path and length in seconds (None if unknown) of each file, one after the other.
        offset: Seconds that are added to the time in the media.
        events: The events, in the order of the file.
        columns: The user's own variables.
    """

    name: str
    media: tuple[tuple[str, float | None], ...]
    offset: float
    events: tuple[BorisEvent, ...]
    columns: Mapping[str, str]


def pair_events(observation: BorisObservation, problems: list[str]) -> list[CodedBout]:
    """Pair starts and stops, and locate each bout in its video file; problems are added to the list."""
    spans: list[tuple[BorisEvent, float]] = []
    open_: dict[tuple[str, str, str], BorisEvent] = {}
    for event in sorted(observation.events, key=lambda event: event.time):
        key = (event.subject, event.label, event.modifiers)
        begun = open_.pop(key, None) if event.kind != POINT else None
        if event.kind == POINT:
            spans.append((event, event.time))
        elif begun and event.kind != START:
            spans.append((begun, event.time))
        elif event.kind == STOP or begun:
            problems.append(
                f"{event.position}: {event.label} {event.kind.lower()}s without the opposite event before it"
            )
        else:
            open_[key] = event
    problems += [f"{event.position}: {event.label} starts and never stops" for event in open_.values()]
    return [
        bout
        for event, end in spans
        for bout in coded_bouts(observation, event.position, event.time, end, event, problems)
    ]


def coded_bouts(
    observation: BorisObservation,
    position: str,
    start: float,
    end: float,
    event: BorisEvent,
    problems: list[str],
) -> list[CodedBout]:
    """A bout in each of the files that it covers; a problem is added to the list."""
    if not event.label:
        problems.append(f"{position}: the behaviour is empty")
        return []
    try:
        parts = locate_in_files(observation.media, start - observation.offset, end - observation.offset)
    except ValueError as error:
        problems.append(f"{position}: {error}")
        return []
    who = "" if event.subject in _NOBODY else event.subject
    is_apart = observation.columns.get(APART[0]) == APART[1]
    columns = {name: value for name, value in observation.columns.items() if name != APART[0] or not is_apart}
    return [
        CodedBout(media, event.label, first, last, observation.name, who, columns, is_apart=is_apart)
        for media, first, last in parts
    ]


def number(text: str) -> float | None:
    """A finite number, with a point or a comma; None if the text is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def first_player(players: Mapping[str, Sequence[str]]) -> str | None:
    """The player whose files the times are counted in: the first that has files."""
    return next((name for name in sorted(players, key=lambda name: (len(name), name)) if players[name]), None)
