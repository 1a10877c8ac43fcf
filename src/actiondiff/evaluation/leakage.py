"""What ought not to be on both sides of a split: a group, a script, a file, or clips as good as the same."""

from collections.abc import Mapping, Sequence

import torch

from actiondiff.datasets.base import value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.evaluation.results import Leak
from actiondiff.types import Example

__all__ = ["audit", "near_duplicates"]

_PAIRS = (
    ("train", "validation"),
    ("train", "test"),
    ("validation", "test"),
    ("train", "in_domain"),
    ("validation", "in_domain"),
)
_ALIKE = 0.999
_MIN_WIDTH = 16  # channels; of fewer, two clips are alike by chance
_BLOCK = 1024


def audit(
    examples: Sequence[Example],
    split: Split,
    identities: Mapping[str, str],
    *,
    columns: Sequence[str] = (),
) -> list[Leak]:
    """Groups, contents and values of columns that two sides share.

    Args:
        examples: The table's clips.
        split: Positions.
        identities: Video -> hash of its content, as far as known.
        columns: Further columns whose values ought to be on one side only, for example a film or a script.
    """
    leaks = []
    for first, second in _PAIRS:
        for kind in ("group", "content", *columns):
            known = {_name(examples[i], kind, identities) for i in getattr(split, first)} - {""}
            shared: dict[str, list[int]] = {}
            for i in getattr(split, second):
                name = _name(examples[i], kind, identities)
                if name in known:
                    shared.setdefault(name, []).append(i)
            for name, clips in sorted(shared.items()):
                shown = examples[clips[0]].video if kind == "content" else name
                sides = f"{first}/{second}"
                leaks.append(Leak(kind=kind, name=shown, sides=sides, num_clips=len(clips)))
    return leaks


def near_duplicates(sides: Mapping[str, PackedFeatures | None]) -> list[Leak]:
    """Clips whose features are nearly those of a clip on another side: copies, cuts that overlap.

    Two clips are alike if the cosine between their mean tokens exceeds 0.999, once channels are brought to
    mean 0 and deviation 1 over the first side. Features of fewer than 16 channels are not compared.

    Args:
        sides: `train`, `validation`, `test`, `in_domain` -> clips.
    """
    leaks = []
    for first, second in _PAIRS:
        ours, theirs = sides.get(first), sides.get(second)
        if ours is None or theirs is None or ours.token_width < _MIN_WIDTH or len(ours) < 2:
            continue
        means = _means(ours)
        deviation, centre = torch.std_mean(means, dim=0, correction=0)
        scale = torch.where(
            deviation > 1e-6 * centre.abs(), deviation, torch.inf
        )  # constant channels tell nothing
        known = torch.nn.functional.normalize((means - centre) / scale, dim=1)
        asked = torch.nn.functional.normalize((_means(theirs) - centre) / scale, dim=1)
        alike = [(block @ known.T).amax(1) > _ALIKE for block in asked.split(_BLOCK)]
        found = torch.cat(alike).nonzero().flatten().tolist()
        leaks += [
            Leak(kind="features", name=theirs.examples[i].video, sides=f"{first}/{second}", num_clips=1)
            for i in found
        ]
    return leaks


def _means(clips: PackedFeatures) -> torch.Tensor:
    """(N, D) float32, each clip's mean token."""
    owner = torch.arange(len(clips)).repeat_interleave(clips.lengths)
    total = torch.zeros(len(clips), clips.token_width).index_add_(0, owner, clips.tokens)
    return total / clips.lengths[:, None]


def _name(example: Example, kind: str, identities: Mapping[str, str]) -> str:
    if kind == "group":
        return group_of(example)
    return identities.get(example.video, "") if kind == "content" else value_of(example, kind)
