"""The clock: from the presentation times that a file states to times that always rise.

The rules, which `docs/concepts.md` states for users:

- A time that the file states is kept, unless it cannot be right. Nothing is replaced because of other frames.
- A frame whose time is missing, is repeated, goes back or lies beyond the frames after it is placed between
  its neighbours. Of all ways to make times rise, the one that moves the fewest frames is taken.
- Where the clock goes on from another origin (joined streams, a counter that starts again), the two stretches
  are joined, one step apart.
- A pause is a pause, however long, unless the container is a broadcast stream whose counters break there.
- A clock that is too coarse for its frames, so that many share a time, is refined: frames with one time are
  spread about it.
- Only where a stream has no times at all, index / rate is used; only with a rate that the stream states.
"""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHUFFLED", "Schedule", "counted", "mend"]

SHUFFLED = "times in the order of storage, which is not that of presentation"
"""Why the times of an AVI with B-frames are mended."""

_REACH = 12  # frames in a row that may be placed; a longer stretch has an origin of its own
_JOIN_COST = 6.0  # in frames that are placed: fewer frames than this are never a stretch of their own
_UNEVEN_COST = 0.25  # below half a frame, so that evenness never outweighs the number of frames that move
_REPEAT_COST = 0.6  # makes the later of two frames with one time the one that moves
_REGULAR_SHARE = 0.9  # share of steps near the median from which on a stream counts as regular
_SHUFFLED_SHARE = 0.2  # share of steps back from which on the times are right, but in another order
_SHUFFLED_LEAST = 4  # steps back
_SHUFFLED_REACH = 4  # places by which codecs move frames
_COARSE_SHARE = (
    0.25  # share of frames that have the time of the one before, from which on the clock is coarse
)


@dataclass(frozen=True)
class Schedule:
    """The times of all frames of a video, in the order of presentation.

    Attributes:
        seconds: (N,) float64, rising from 0; None if unknown.
        moved: (N,) bool, whether a frame's own time was not used.
        joins: Number of each frame from which on the clock had gone on from another origin.
        reasons: Why times were mended, in words; empty if none was.
    """

    seconds: NDArray[np.float64] | None
    moved: NDArray[np.bool_]
    joins: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_mended(self) -> bool:
        """Whether any time is not the file's own."""
        return bool(self.reasons)


def counted(num_frames: int, rate: Fraction | None) -> Schedule:
    """Times of a stream that has none: index / rate, or unknown without a rate."""
    seconds = np.arange(num_frames) * rate.denominator / rate.numerator if rate else None
    origin = f"counted at the {float(rate):.4g} frames/s that the stream states" if rate else "unknown"
    return Schedule(seconds, np.ones(num_frames, bool), (), (f"the stream has no times: they are {origin}",))


def mend(
    times: Sequence[int | None],
    time_base: Fraction,
    *,
    breaks: Collection[int] = (),
    rate: Fraction | None = None,
    is_slotted: bool = False,
) -> Schedule:
    """Make the times of a video's frames rise, and move as few of them as possible.

    Args:
        times: Times of the frames in the order of presentation, in ticks; None where a frame has none.
        time_base: Seconds per tick.
        breaks: Numbers of the frames that follow a break which the container itself shows: a step forward
            there is another origin of the clock, not a pause.
        rate: Frames per second that the stream states, for a stream without times.
        is_slotted: Whether times are places in the order of storage, as in AVI: they are then sorted, since
            the frames are in the order of presentation already. So are times that are all there, but again
            and again in another order.
    """
    present = np.array([index for index, time in enumerate(times) if time is not None], dtype=np.int64)
    if not len(present):
        return counted(len(times), rate)
    ticks = np.array([time for time in times if time is not None], dtype=np.int64)
    reasons = [f"{len(times) - len(present)} frames without a time"] if len(present) < len(times) else []
    moved = np.ones(len(times), bool)
    joins: list[int] = []
    steps = np.diff(ticks)
    if (is_slotted and (steps <= 0).any()) or _is_shuffled(ticks):
        ordered = np.sort(ticks)
        moved[present] = ordered != ticks
        reasons.append(SHUFFLED)
        ticks, steps = ordered, np.diff(ordered)
    else:
        moved[present] = False
    if len(steps) >= 8 and (steps == 0).mean() >= _COARSE_SHARE and (steps >= 0).mean() > 0.9:
        places, values = _centres(present, ticks)
        moved[present[1:][steps == 0]] = True
        reasons.append(f"the container's clock of {float(time_base):.4g} s is too coarse for its frames")
    else:
        places, values = present.astype(np.float64), ticks.astype(np.float64)
    anchors, seams = _chain(places, values, {int(np.searchsorted(places, number)) for number in breaks})
    if len(anchors) < len(places):
        dropped = np.setdiff1d(np.arange(len(places)), anchors)
        moved[np.round(places[dropped]).astype(np.int64)] = True
        reasons.append(f"times that are repeated, go back or are out of line: {len(dropped)}")
    if seams:
        joins = [math.ceil(places[seam]) for seam in seams]
        reasons.append(f"the clock starts again at frame {', '.join(map(str, joins[:5]))}")
        values = _joined(places, values, anchors, seams)
    if len(anchors) < 2 and len(times) > 1:  # one time for all frames says nothing
        return counted(len(times), rate)
    points = places[anchors], values[anchors]
    rising = _between(
        np.arange(len(times)), *(points if len(places) == len(present) else _at_pauses(*points))
    )
    seconds = (rising - rising[0]) * time_base.numerator / time_base.denominator
    return Schedule(seconds, moved, tuple(joins), tuple(reasons))


def _is_shuffled(ticks: NDArray[np.int64]) -> bool:
    """Whether all times are there, but again and again in another order than the frames."""
    back = np.diff(ticks) <= 0
    if back.sum() < _SHUFFLED_LEAST or back.mean() < _SHUFFLED_SHARE:
        return False
    order = np.argsort(ticks, kind="stable")
    distance = abs(order - np.arange(len(ticks)))
    is_near = distance.max() <= _SHUFFLED_REACH and (distance > 0).mean() >= 0.5
    return bool(is_near and (np.diff(ticks[order]) > 0).all())


def _centres(
    places: NDArray[np.int64], ticks: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle frame of each run of frames with one time, and that time."""
    starts = np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1))
    ends = np.append(starts[1:], len(ticks)) - 1
    # The first and the last run may be cut off. Their middles lie where those of whole runs would.
    middles = (places[starts] + places[ends]) / 2
    if len(middles) > 2:
        length = float(np.median(np.diff(middles)[1:] if len(middles) > 3 else np.diff(middles)))
        if ticks[starts[1]] == ticks[0] + 1:
            middles[0] = middles[1] - length
        if ticks[starts[-1]] == ticks[starts[-2]] + 1:
            middles[-1] = middles[-2] + length
    return middles, ticks[starts].astype(np.float64)


def _at_pauses(
    places: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middles of runs, with two further points at each pause, so that no frame is drawn into it."""
    slopes = np.diff(values) / np.diff(places)
    usual = float(np.median(slopes))
    wide = np.flatnonzero(slopes > 3 * usual)
    lengths = (places[wide + 1] - places[wide]) / 2
    ends, starts = np.floor(places[wide] + lengths), np.floor(places[wide] + lengths) + 1
    at = np.concatenate([places, ends, starts])
    time = np.concatenate(
        [
            values,
            values[wide] + usual * (ends - places[wide]),
            values[wide + 1] - usual * (places[wide + 1] - starts),
        ]
    )
    at, first = np.unique(at, return_index=True)
    time = time[first]
    return (at, time) if (np.diff(time) > 0).all() else (places, values)


def _chain(
    places: NDArray[np.float64], values: NDArray[np.float64], breaks: Collection[int]
) -> tuple[NDArray[np.int64], list[int]]:
    """The times that are kept, and those of them from which on the clock has another origin."""
    steps = np.diff(values)
    suspects = np.flatnonzero(steps <= 0)
    if not len(suspects):
        return np.arange(len(values)), sorted(seam for seam in breaks if 0 < seam < len(values))
    near = np.zeros(len(values), bool)
    for suspect in suspects:
        near[max(0, suspect - _REACH - 1) : suspect + _REACH + 3] = True
    keep = ~near
    edges = np.flatnonzero(np.diff(near.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    rising = steps[steps > 0]
    near_usual = abs(rising - usual) <= max(0.3 * usual, 1)
    is_regular = bool(len(rising)) and float(near_usual.mean()) >= _REGULAR_SHARE
    for first, last in edges:
        longest = _longest(
            places[first:last],
            values[first:last],
            usual,
            is_regular=is_regular,
            is_begun=first > 0,
            goes_on=last < len(values),
        )
        keep[first + longest] = True
    anchors = np.flatnonzero(keep)
    seams = [int(after) for before, after in itertools.pairwise(anchors) if values[after] <= values[before]]
    anchors, seams = _without_excursions(places, values, anchors, seams, usual)
    return anchors, sorted({*seams, *(seam for seam in breaks if keep[seam : seam + 1].any() and seam)})


def _longest(
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    usual: float,
    *,
    is_regular: bool,
    is_begun: bool,
    goes_on: bool,
) -> NDArray[np.int64]:
    """Indices of the times to keep: as many as possible that rise, and of equally many the most even ones.

    Dynamic programming over the last time that is kept. A time that is not kept costs 1.

    Args:
        places: Numbers of the frames.
        values: Times of the frames.
        usual: The usual step.
        is_regular: Whether most steps are about as long.
        is_begun: Whether the first frame follows others, and is therefore kept.
        goes_on: Whether others follow the last frame, which is therefore kept.
    """
    count = len(values)
    steps = np.diff(values)
    rising = steps[steps > 0]
    local = float(np.median(rising)) if len(rising) >= 4 else usual
    best = [float(index) if index == 0 or not is_begun else math.inf for index in range(count)]
    before = [-1] * count
    times, numbers = values.tolist(), places.tolist()
    for j in range(count):
        for i in range(max(0, j - _REACH - 1), j):
            step = times[j] - times[i]
            if step > 0:
                ratio = step / ((numbers[j] - numbers[i]) * local)
                cost = _UNEVEN_COST * min(1.0, abs(math.log(ratio)) / math.log(4))
            else:
                cost = _JOIN_COST
            cost += j - i - 1
            if j - i > 1 and times[j] == times[j - 1] and not is_regular:
                cost += _REPEAT_COST
            if best[i] + cost < best[j]:
                best[j], before[j] = best[i] + cost, i
    ends = [best[j] + count - 1 - j if not goes_on or j == count - 1 else math.inf for j in range(count)]
    at = int(np.argmin(ends))
    chain = []
    while at >= 0:
        chain.append(at)
        at = before[at]
    return np.array(chain[::-1], dtype=np.int64)


def _without_excursions(
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    anchors: NDArray[np.int64],
    seams: list[int],
    usual: float,
) -> tuple[NDArray[np.int64], list[int]]:
    """Leave out stretches with another clock after which the first clock goes on as if nothing had been."""
    if not seams:
        return anchors, seams
    positions = {int(index): at for at, index in enumerate(anchors)}
    jumps = {
        int(anchors[at + 1])
        for at in np.flatnonzero(np.diff(values[anchors]) > 20 * usual * np.diff(places[anchors]))
    }
    turns = sorted({*seams, *jumps})
    dropped: set[int] = set()
    gone: set[int] = set()
    for first, second in itertools.pairwise(turns):
        if first in gone or not {first, second} & set(seams):
            continue
        last_before, after = int(anchors[positions[first] - 1]), second
        expected = usual * (places[after] - places[last_before])
        if 0 < values[after] - values[last_before] <= 4 * expected and last_before not in dropped:
            stretch = anchors[positions[first] : positions[second]]
            if values[after] - values[last_before] >= expected / 4:
                dropped.update(int(index) for index in stretch)
                gone.update((first, second))
    anchors = np.array([index for index in anchors if int(index) not in dropped], dtype=np.int64)
    return anchors, [seam for seam in seams if seam not in gone]


def _joined(
    places: NDArray[np.float64], values: NDArray[np.float64], anchors: NDArray[np.int64], seams: list[int]
) -> NDArray[np.float64]:
    """The times, with each stretch that has another origin moved to follow the one before."""
    joined = values.copy()
    at_seam = set(seams)
    steps = np.diff(values[anchors])
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    for before, after in itertools.pairwise(anchors):
        if int(after) in at_seam:
            wanted = joined[before] + usual * (places[after] - places[before])
            joined[after:] += wanted - joined[after]
    return joined


def _between(
    places: NDArray[np.int64], kept_places: NDArray[np.float64], kept_values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Times of all frames, those between and beyond the ones that are kept at even distances."""
    filled = np.interp(places, kept_places, kept_values)
    if len(kept_places) > 1:
        slopes = np.diff(kept_values) / np.diff(kept_places)
        step = float(np.median(slopes))
        early, late = places < kept_places[0], places > kept_places[-1]
        filled[early] = kept_values[0] - step * (kept_places[0] - places[early])
        filled[late] = kept_values[-1] + step * (places[late] - kept_places[-1])
    else:
        filled = kept_values[0] + (places - kept_places[0]).astype(np.float64)
    return filled
