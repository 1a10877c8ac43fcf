"""Which videos belong together, such as those of one camera or individual, so that no test is flattered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.folds import groups_per_class
from actiondiff.evaluation.leakage import alike_pairs
from actiondiff.types import Example

__all__ = ["GroupProposal", "join_alike", "propose_groups"]

_ENOUGH = 3  # groups of every class that a coarse grouping must leave


@dataclass(frozen=True)
class GroupProposal:
    """A group for every video.

    Attributes:
        names: Video -> its group.
        reason: What the groups were made from, in words.
    """

    names: Mapping[str, str]
    reason: str

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return len(set(self.names.values()))

    def apply(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """The examples with their groups."""
        return tuple(replace(example, group=self.names[example.video]) for example in examples)


def propose_groups(
    examples: Sequence[Example], *, labels_are_folders: bool = False, only: str | None = None
) -> GroupProposal:
    """Propose groups: the table's own, or else by folder, by file name, or by video.

    Of a file name, what comes up to its first number counts, or else what is left without its last number.

    The first of these is taken that joins any videos and leaves every class three groups.

    Args:
        examples: The labelled clips.
        labels_are_folders: Whether the first folder of a path is the label, which is then no group.
        only: `folders`, `names` or `videos`, to take this way of grouping whatever it leaves; None to choose.
    """
    videos = {example.video: PurePosixPath(example.video) for example in examples}
    if any(example.group for example in examples):
        return GroupProposal({e.video: e.group or e.video for e in examples}, "the table's column group")
    first = 1 if labels_are_folders else 0
    proposals = [
        GroupProposal(
            {video: "/".join(path.parts[first:-1]) or path.stem for video, path in videos.items()},
            "the folders of the videos",
        ),
        GroupProposal(
            {video: _up_to_number(path.stem) for video, path in videos.items()},
            "the names of the videos up to their first number",
        ),
        GroupProposal(
            {video: _without_last_number(path.stem) for video, path in videos.items()},
            "the names of the videos without their last number",
        ),
    ]
    each = GroupProposal({video: video for video in videos}, "each video on its own")
    if only is not None:
        return {"folders": proposals[0], "names": proposals[1], "videos": each}[only]
    for proposal in proposals:
        fewest = min(groups_per_class(proposal.apply(examples)).values(), default=0)
        if proposal.num_groups < len(videos) and fewest >= _ENOUGH:
            return proposal
    return each


def join_alike(proposal: GroupProposal, packed: PackedFeatures) -> GroupProposal:
    """Join groups of which two clips have nearly the same features, such as copies of one recording."""
    parent = {name: name for name in proposal.names.values()}

    def top(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    num_joined = 0
    for first, second in alike_pairs(packed):
        one, other = (top(proposal.names[packed.examples[i].video]) for i in (first, second))
        if one != other:
            parent[max(one, other)] = min(one, other)
            num_joined += 1
    if not num_joined:
        return proposal
    names = {video: top(name) for video, name in proposal.names.items()}
    reason = f"{proposal.reason}, of which {num_joined} were joined because their clips look the same"
    return GroupProposal(names, reason)


def _without_last_number(stem: str) -> str:
    """`bella_meadow_03` -> `bella_meadow`; a name that is a number is taken whole."""
    return re.sub(r"[\W_]*\d+$", "", stem) or stem


def _up_to_number(stem: str) -> str:
    """`cam3_0412` -> `cam3`; `person01_boxing_d2` -> `person01`; a name without a number is taken whole."""
    match = re.match(r"\D*\d+", stem)
    return match.group() if match else stem
