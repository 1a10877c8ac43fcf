"""What ought not to be on both sides of a split: the same group, or the same content."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example

__all__ = ["Leak", "audit", "identities_of"]


@dataclass(frozen=True)
class Leak:
    """Something that is on two sides.

    Attributes:
        kind: `group`, or `content` for the same file under any name.
        name: The group, or one of the videos.
        sides: For example `train/test`.
        num_clips: Clips of it on the second side.
    """

    kind: str
    name: str
    sides: str
    num_clips: int


def audit(examples: Sequence[Example], split: Split, identities: Mapping[str, str]) -> list[Leak]:
    """Groups and contents that training shares with validation or test.

    Args:
        examples: The table's clips.
        split: Positions.
        identities: Video -> hash of its content, as far as known.
    """
    leaks = []
    for side, indices in (("validation", split.validation), ("test", split.test)):
        for kind in ("group", "content"):
            trained = {name for i in split.train if (name := _name(examples[i], kind, identities))}
            shared: dict[str, list[int]] = {}
            for i in indices:
                name = _name(examples[i], kind, identities)
                if name in trained:
                    shared.setdefault(name, []).append(i)
            for name, clips in sorted(shared.items()):
                shown = name if kind == "group" else examples[clips[0]].video
                leaks.append(Leak(kind, shown, f"train/{side}", len(clips)))
    return leaks


def identities_of(store: FeatureStore, examples: Sequence[Example], root: Path) -> dict[str, str]:
    """Video -> hash of its content, for those that are in the store."""
    found = {}
    for example in examples:
        name = Path(os.path.relpath(root / example.video, store.root)).as_posix()
        row = store.row(name)
        if row is not None:
            found[example.video] = row.identity
    return found


def _name(example: Example, kind: str, identities: Mapping[str, str]) -> str:
    return group_of(example) if kind == "group" else identities.get(example.video, "")
