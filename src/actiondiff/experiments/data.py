"""What a study works on: which clips are on which side, their features, and what leaks between sides."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from actiondiff.datasets.base import Table
from actiondiff.datasets.packing import PackedFeatures, pack
from actiondiff.errors import StoreError
from actiondiff.evaluation.judge import protocol_classes
from actiondiff.evaluation.leakage import audit, near_duplicates
from actiondiff.evaluation.protocols import Split, leave_one_out, regroup, split_examples
from actiondiff.evaluation.results import Leak
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.run import stored_rows
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey

__all__ = ["Material", "Sides"]

Sides: TypeAlias = Mapping[str, PackedFeatures | None]
"""`train`, `validation`, `test` and `in_domain` -> clips."""
_SIDES = ("train", "validation", "test", "in_domain")


@dataclass(frozen=True)
class Material:
    """A recipe's clips and features; each part is made when it is first asked for, and kept.

    Attributes:
        store: Features.
        table: Labels.
        recipe: All options.
        root: Folder that the table's paths are relative to.
        is_checked: Whether the feature is known to be there, which takes reading every file's header.
    """

    store: FeatureStore
    table: Table
    recipe: Recipe
    root: Path
    is_checked: bool = False

    @cached_property
    def grouped(self) -> Table:
        """The clips with the protocol's groups."""
        group = self.recipe.protocol.group
        return regroup(self.table, group) if group else self.table

    @cached_property
    def split(self) -> Split:
        """Positions of the clips of each side in the table."""
        options = self.recipe.protocol
        for column in options.audit:
            self.grouped.values(column)  # says which there are
        return split_examples(
            self.grouped,
            domain=options.domain,
            source=options.source,
            target=options.target,
            validation=options.selection == "source-validation",
            validation_share=options.validation_share,
            test_share=options.test_share,
            score_source=options.score_source,
            train_clips=options.train_clips,
            seed=self.recipe.seed,  # the same clips for every seed: seeds tell of training, not of the split
        )

    @cached_property
    def key(self) -> FeatureKey:
        """The feature that is read."""
        features = self.recipe.features
        return features.key(self.store) if self.is_checked else features.choose(self.store)

    @cached_property
    def sides(self) -> Sides:
        """Each side's clips with their features; None for a side without clips."""
        examples = {side: [self.grouped.examples[i] for i in getattr(self.split, side)] for side in _SIDES}
        shown = sorted({label for side in examples.values() for clip in side for label in clip.labels})
        labels, key = self.table.classes or shown, self.key
        sides: dict[str, PackedFeatures | None] = dict.fromkeys(_SIDES)
        for side, clips in examples.items():
            try:
                sides[side] = pack(self.store, clips, key, labels, root=self.root) if clips else None
            except StoreError as error:
                raise StoreError(f"{side} clips: {error}") from None
        return sides

    @cached_property
    def left_out(self) -> dict[str, tuple[PackedFeatures, PackedFeatures]]:
        """Domain of the source -> training clips without it, and its clips; where the rule asks for them."""
        options, train = self.recipe.protocol, self.sides["train"]
        if options.selection != "leave-one-source-domain-out":
            return {}
        assert options.domain is not None  # options are complete
        assert train is not None  # splitting raises where no clip is left to train on
        packed = replace(self.table, examples=train.examples)
        whole = Split(tuple(range(len(train))), (), (), "")
        splits = leave_one_out(packed, whole, options.domain)
        return {
            value: (train.subset(split.train), train.subset(split.validation))
            for value, split in splits.items()
        }

    @cached_property
    def leaks(self) -> list[Leak]:
        """What ought not to be on two sides and is."""
        clips = [clip for side in self.sides.values() if side is not None for clip in side.examples]
        rows = stored_rows(self.store, clips, self.root)
        identities = {video: row.identity for video, row in rows.items()}
        columns = self.recipe.protocol.audit
        found = audit(self.grouped.examples, self.split, identities, columns=columns)
        same = {leak.name for leak in found if leak.kind == "content"}
        return [*found, *(leak for leak in near_duplicates(self.sides) if leak.name not in same)]

    @cached_property
    def scored_labels(self) -> list[str]:
        """Classes that are scored."""
        train = self.sides["train"]
        assert train is not None  # splitting raises where no clip is left to train on
        if self.recipe.protocol.restrict_to_protocol_classes:
            return protocol_classes(list(self.sides.values()))
        return list(train.label_names)
