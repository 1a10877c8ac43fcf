"""What ought not to be on both sides of a split: the same group, or the same content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.types import Example

__all__ = ["Leak", "audit"]


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
    """Groups and contents that two sides share.

    Args:
        examples: The table's clips.
        split: Positions.
        identities: Video -> hash of its content, as far as known.
    """
    leaks = []
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for kind in ("group", "content"):
            known = {_name(examples[i], kind, identities) for i in getattr(split, first)} - {""}
            shared: dict[str, list[int]] = {}
            for i in getattr(split, second):
                name = _name(examples[i], kind, identities)
                if name in known:
                    shared.setdefault(name, []).append(i)
            for name, clips in sorted(shared.items()):
                shown = name if kind == "group" else examples[clips[0]].video
                leaks.append(Leak(kind, shown, f"{first}/{second}", len(clips)))
    return leaks


def _name(example: Example, kind: str, identities: Mapping[str, str]) -> str:
    return group_of(example) if kind == "group" else identities.get(example.video, "")
