"""Folds for cross-validation: every group is held out once, and classes are spread evenly over the folds."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from actiondiff.errors import UsageError
from actiondiff.evaluation.protocols import group_of
from actiondiff.types import Example

__all__ = ["group_folds", "groups_per_class"]


def groups_per_class(examples: Sequence[Example]) -> dict[str, int]:
    """Number of groups in which each class occurs."""
    groups: dict[str, set[str]] = {}
    for example in examples:
        for label in example.labels:
            groups.setdefault(label, set()).add(group_of(example))
    return {label: len(names) for label, names in sorted(groups.items())}


def group_folds(examples: Sequence[Example], count: int, *, salt: str) -> list[int]:
    """Divide clips into folds by whole groups.

    Groups are dealt out one by one, those with the rarest class first, each to the fold that has the smallest
    share of the group's classes so far. The result does not depend on the order of the clips.

    Args:
        examples: The clips.
        count: Number of folds.
        salt: Text that the order of equal groups follows from, such as a seed.

    Returns:
        Number of the fold of each clip, from 0.

    Raises:
        UsageError: If there are fewer groups than folds.
    """
    labels: dict[str, Counter[str]] = {}
    for example in examples:
        labels.setdefault(group_of(example), Counter()).update(example.labels)
    if not 2 <= count <= len(labels):
        raise UsageError(f"{len(labels)} groups can be divided into 2 to {len(labels)} folds; got {count}.")
    totals: Counter[str] = sum(labels.values(), Counter())
    names = {example.video: example.name for example in examples if not example.group}

    def order(group: str) -> tuple[int, str, str]:
        rarest = min((totals[label] for label in labels[group]), default=len(examples))
        return rarest, hashlib.sha256(f"{salt}/{names.get(group, group)}".encode()).hexdigest(), group

    held: list[Counter[str]] = [Counter() for _ in range(count)]
    fold_of: dict[str, int] = {}
    for group in sorted(labels, key=order):

        def load(fold: int, group: str = group) -> tuple[float, int, int]:
            shares = sum(held[fold][label] / totals[label] for label in labels[group])
            return round(shares, 9), held[fold].total(), fold

        fold_of[group] = min(range(count), key=load)
        held[fold_of[group]] += labels[group]
    return [fold_of[group_of(example)] for example in examples]
