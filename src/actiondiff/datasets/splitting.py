"""Splitting clips so that no group is on both sides, with class counts near the wanted ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from actiondiff.types import Example

__all__ = ["choose_groups"]

_SCALE = 1_000_000  # weights are whole numbers, so that every machine makes the same choice
_MOST_MOVES = 100_000


def choose_groups(
    examples: Sequence[Example], *, wanted: Mapping[str, int], num_clips: int, classes: Sequence[str]
) -> frozenset[str]:
    """Choose groups whose clips together have nearly the wanted number of each class.

    The search starts with no group and repeatedly moves the group (in or out) that lowers the error most,
    until no move lowers it. The error is the sum over classes of (clips - wanted)^2 / max(wanted, 1), where
    all clips together count as one more class. A group stays out if some class would have no clip left
    outside. Of equally good moves, the one of the first group by name is made.

    Args:
        examples: The clips, with labels and groups.
        wanted: Class -> wanted number of clips; 0 for classes that are not named.
        num_clips: Wanted number of clips in all.
        classes: All classes.
    """
    groups = sorted({example.group for example in examples})
    counts = _counts(examples, groups, classes)  # (G, K + 1); the last column counts all clips
    goal = np.array([*(wanted.get(name, 0) for name in classes), num_clips], dtype=np.int64)
    weights = _SCALE // np.maximum(goal, 1)
    totals = counts.sum(0)
    chosen = np.zeros(len(groups), dtype=bool)
    square = counts**2 @ weights  # (G,) the part of a move's change that does not depend on the state
    for _ in range(_MOST_MOVES):
        here = counts[chosen].sum(0)
        sign = np.where(chosen, -1, 1)
        change = square + 2 * sign * (counts @ (weights * (here - goal)))
        empties = (counts >= totals - here) & (counts > 0)  # classes that would have no clip left outside
        change[~chosen & empties[:, :-1].any(1)] = np.iinfo(np.int64).max
        best = int(change.argmin())
        if change[best] >= 0:
            break
        chosen[best] ^= True
    return frozenset(name for name, inside in zip(groups, chosen, strict=True) if inside)


def _counts(examples: Sequence[Example], groups: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    row = {name: index for index, name in enumerate(groups)}
    column = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(groups), len(classes) + 1), dtype=np.int64)
    for example in examples:
        counts[row[example.group], -1] += 1
        for label in example.labels:
            counts[row[example.group], column[label]] += 1
    return counts
