"""Which videos belong together, such as those of one camera or individual, so that no test is flattered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from actiondiff.datasets.base import Table
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import warn_once
from actiondiff.evaluation.folds import groups_per_class
from actiondiff.evaluation.leakage import alike_pairs
from actiondiff.outputs.words import counted
from actiondiff.types import Example

__all__ = ["GroupProposal", "join_alike", "propose_groups", "warn_of_unknown_recordings"]

_EACH = "each video on its own"
_ENOUGH = 3  # groups of every class that a coarse grouping must leave, if it has so many videos


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

    The first of these is taken that joins any videos and leaves every class three groups. Classes of fewer
    than three videos do not count, since no grouping leaves them three.

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
            {video: "/".join(path.parts[first:-1]) or video for video, path in videos.items()},
            "the folders of the videos",
        ),
        GroupProposal(
            {video: _up_to_number(path.stem) or video for video, path in videos.items()},
            "the names of the videos up to their first number",
        ),
        GroupProposal(
            {video: _without_last_number(path.stem) or video for video, path in videos.items()},
            "the names of the videos without their last number",
        ),
    ]
    each = GroupProposal({video: video for video in videos}, _EACH)
    if only is not None:
        return {"folders": proposals[0], "names": proposals[1], "videos": each}[only]
    common = {label for label, count in groups_per_class(each.apply(examples)).items() if count >= _ENOUGH}
    for proposal in proposals:
        counts = groups_per_class(proposal.apply(examples))
        lacking = sorted(label for label in common if counts[label] < _ENOUGH)
        if proposal.num_groups == len(videos) or not common:
            continue
        if not lacking:
            return proposal
        if len(common) - len(lacking) > 1 and each.reason == _EACH:  # it would do for others
            few = counted(counts[lacking[0]], "group")
            each = replace(each, reason=f"{_EACH}, as {proposal.reason} would leave {lacking[0]} {few}")
    return each


def warn_of_unknown_recordings(table: Table) -> None:
    """Warn where nothing says which videos are of one recording, and propose what their names suggest.

    A table without groups is only warned of if its names suggest some; a folder per class always is.
    """
    if any(example.group or example.split for example in table.examples) or not table.label_names:
        return
    is_folder = table.source.is_dir()
    proposal = propose_groups(table.examples, labels_are_folders=is_folder)
    num_videos = len(proposal.names)
    if proposal.num_groups == num_videos and not is_folder:
        return
    suggestion = ""
    if proposal.num_groups < num_videos:
        example = next(iter(proposal.names.values()))
        suggestion = (
            f" Their names suggest {proposal.num_groups} groups, such as {example} ({proposal.reason})."
        )
    warn_once(
        f"{table.source}: nothing says which of {num_videos} videos are of one recording, animal or camera, "
        f"so some may be trained on and others of the same one tested, and the score too good.{suggestion} "
        "actiondiff start proposes groups and tests by them; or give a table with the column group."
    )


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
    """`bella_meadow_03` -> `bella_meadow`; of a number alone, nothing is left."""
    return re.sub(r"[\W_]*\d+$", "", stem)


def _up_to_number(stem: str) -> str:
    """`cam3_0412` -> `cam3`; a name without a number is taken whole; of a number alone, nothing is."""
    match = re.match(r"\D*\d+", stem)
    return "" if stem.isdigit() else match.group() if match else stem
