"""Leakage audit: groups, files, scripts or nearly identical clips that are on two sides of a split."""

from collections.abc import Mapping, Sequence

import torch

from actiondiff.datasets.base import value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.evaluation.results import Leak
from actiondiff.types import Example

__all__ = ["alike_pairs", "audit", "near_duplicates"]

_PAIRS = (
    ("train", "validation"),
    ("train", "test"),
    ("validation", "test"),
    ("train", "in_domain"),
    ("validation", "in_domain"),
)
_ALIKE = 0.999
_MIN_WIDTH = 16  # channels; with fewer, two clips can be alike by chance
_BLOCK = 1024


def audit(
    examples: Sequence[Example],
    split: Split,
    identities: Mapping[str, str],
    *,
    columns: Sequence[str] = (),
) -> list[Leak]:
    """List groups, file contents and values of columns that are on two sides of a split.

    Args:
        examples: Clips of the table.
        split: Positions of the clips on each side.
        identities: Video -> hash of its content; videos may be missing.
        columns: Further columns whose values should be on one side only, for example a film or a script.
    """
    leaks = []
    for first, second in _PAIRS:
        for kind in ("group", "content", *columns):
            names = {_name(examples[i], kind, identities) for i in getattr(split, first)} - {""}
            shared: dict[str, list[int]] = {}
            for i in getattr(split, second):
                name = _name(examples[i], kind, identities)
                if name in names:
                    shared.setdefault(name, []).append(i)
            for name, clips in sorted(shared.items()):
                leak = examples[clips[0]].video if kind == "content" else name
                sides = f"{first}/{second}"
                leaks.append(Leak(kind=kind, name=leak, sides=sides, num_clips=len(clips)))
    return leaks


def near_duplicates(sides: Mapping[str, PackedFeatures | None]) -> list[Leak]:
    """List clips with nearly the features of a clip on another side, such as copies or overlapping cuts.

    Two clips are near duplicates if the cosine between their mean tokens exceeds 0.999, after each channel
    was standardised over the first side. Features of fewer than 16 channels are not compared.

    Args:
        sides: `train`, `validation`, `test` and `in_domain` -> clips of that side; None for none.
    """
    leaks = []
    for first, second in _PAIRS:
        ours, theirs = sides.get(first), sides.get(second)
        if ours is None or theirs is None or ours.token_width < _MIN_WIDTH or len(ours) < 2:
            continue
        centre, scale = _centre_and_scale(_means(ours))
        own = torch.nn.functional.normalize((_means(ours) - centre) / scale, dim=1)
        others = torch.nn.functional.normalize((_means(theirs) - centre) / scale, dim=1)
        alike = [(block @ own.T).amax(1) > _ALIKE for block in others.split(_BLOCK)]
        positions = torch.cat(alike).nonzero().flatten().tolist()
        leaks += [
            Leak(kind="features", name=theirs.examples[i].video, sides=f"{first}/{second}", num_clips=1)
            for i in positions
        ]
    return leaks


def alike_pairs(clips: PackedFeatures) -> list[tuple[int, int]]:
    """List the pairs of clips (first, second) that are near duplicates; see `near_duplicates`."""
    if clips.token_width < _MIN_WIDTH or len(clips) < 2:
        return []
    means = _means(clips)
    centre, scale = _centre_and_scale(means)
    own = torch.nn.functional.normalize((means - centre) / scale, dim=1)
    pairs = []
    for start in range(0, len(own), _BLOCK):
        alike = (own[start : start + _BLOCK] @ own.T > _ALIKE).nonzero() + torch.tensor([start, 0])
        pairs += [(first, second) for first, second in alike.tolist() if first < second]
    return pairs


def _centre_and_scale(means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(D,) each: centre and scale of the channels of mean tokens."""
    deviation, centre = torch.std_mean(means, dim=0, correction=0)
    # A constant channel says nothing about a clip, so it is scaled to 0.
    return centre, torch.where(deviation > 1e-6 * centre.abs(), deviation, torch.inf)


def _means(clips: PackedFeatures) -> torch.Tensor:
    """(N, D) float32, the mean token of each clip."""
    owner = torch.arange(len(clips)).repeat_interleave(clips.lengths)
    total = torch.zeros(len(clips), clips.token_width).index_add_(0, owner, clips.tokens)
    return total / clips.lengths[:, None]


def _name(example: Example, kind: str, identities: Mapping[str, str]) -> str:
    if kind == "group":
        return group_of(example)
    return identities.get(example.video, "") if kind == "content" else value_of(example, kind)
