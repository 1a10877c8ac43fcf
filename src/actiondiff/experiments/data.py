"""The examples of a study: which clips train, select and test, and their features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from actiondiff.datasets.base import Table
from actiondiff.datasets.packing import PackedFeatures, pack
from actiondiff.errors import StoreError, UsageError
from actiondiff.evaluation.judge import check_classes, protocol_classes
from actiondiff.evaluation.leakage import audit, near_duplicates
from actiondiff.evaluation.protocols import Split, leave_one_out, regroup, split_examples
from actiondiff.evaluation.results import Leak
from actiondiff.experiments.backgrounds import take_backgrounds_away
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.run import stored_rows
from actiondiff.features.manifest import Row
from actiondiff.features.store import FeatureStore
from actiondiff.heads.background import MINUS_BACKGROUND, Backgrounds
from actiondiff.types import FeatureKey

__all__ = ["DomainFold", "StudyData", "clip_table", "load_study_data", "split_table"]

_SIDES = ("train", "validation", "test", "in_domain")


class DomainFold(NamedTuple):
    """The training clips of a study, divided by one domain of the source.

    Attributes:
        train: Clips of all other domains.
        validation: Clips of the domain that is left out.
    """

    train: PackedFeatures
    validation: PackedFeatures


@dataclass(frozen=True, eq=False)
class StudyData:
    """The clips of a study with their features.

    Attributes:
        keys: The features that are read.
        widths: Width of each.
        split_description: How the clips were split, in words.
        train: Clips to learn from.
        validation: Clips to choose the epoch by; None if there are none.
        test: Clips that give the numbers; None if there are none.
        in_domain: Held-out clips of the source that are scored beside the test clips; None if there are none.
        domain_folds: Domain of the source -> the training clips divided by it. Empty unless the rule of
            selection leaves each domain out in turn.
        rows: Video -> its row in the store's index.
        leaks: What is on two sides of the split and should not be.
        scored_labels: Classes that are scored.
        backgrounds: Backgrounds of the training cameras, which the tokens are without; None if the head does
            not take them away.
        notes: Sentences that qualify the numbers.
    """

    keys: tuple[FeatureKey, ...]
    widths: tuple[int, ...]
    split_description: str
    train: PackedFeatures
    validation: PackedFeatures | None = None
    test: PackedFeatures | None = None
    in_domain: PackedFeatures | None = None
    domain_folds: Mapping[str, DomainFold] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)
    leaks: tuple[Leak, ...] = ()
    scored_labels: tuple[str, ...] = ()
    backgrounds: Backgrounds | None = None
    notes: tuple[str, ...] = ()

    @property
    def sides(self) -> dict[str, PackedFeatures]:
        """The sides that have clips, by name: `train`, `validation`, `test`, `in_domain`."""
        sides = {name: getattr(self, name) for name in _SIDES}
        return {name: clips for name, clips in sides.items() if clips is not None}


def split_table(table: Table, recipe: Recipe) -> tuple[Table, Split]:
    """Split the clips of a table as a recipe's protocol says.

    Returns:
        The table with the protocol's groups, and the positions of the clips of each side in it.

    Raises:
        UnknownNameError: If a column or value does not exist.
        UsageError: If a side ends up without clips, or only one class is left to learn.
    """
    options = recipe.protocol
    grouped = regroup(table, options.group) if options.group else table
    for column in options.audit:
        grouped.values(column)  # raises an error that lists the columns if there is no such column
    split = split_examples(
        grouped,
        domain=options.domain,
        source=options.source,
        target=options.target,
        validation=options.selection == "source-validation",
        validation_share=options.validation_share,
        test_share=options.test_share,
        score_source=options.score_source,
        train_clips=options.train_clips,
        # All seeds of a study have the same split, so that seeds measure the chance of training alone.
        seed=recipe.seed if recipe.split_seed is None else recipe.split_seed,
    )
    marked = any(grouped.examples[i].split == "val" for i in split.validation)
    least = recipe.training.min_validation_clips
    if 0 < len(split.validation) < least and not marked:
        few = f"{len(split.validation)} clips are fewer than {least}, so they train"
        split = replace(
            split,
            train=tuple(sorted((*split.train, *split.validation))),
            validation=(),
            description=f"{split.description.partition('; validation: ')[0]}; validation: none ({few})",
        )
    return grouped, split


def load_study_data(
    store: FeatureStore, table: Table, recipe: Recipe, root: Path, *, is_checked: bool = False
) -> StudyData:
    """Split the clips of a study and read their features.

    Args:
        store: Feature store to read from.
        table: Clips and their labels.
        recipe: All options of the study.
        root: Folder that the table's paths are relative to.
        is_checked: Whether the store is known to have the feature; to check takes reading the header of
            every file.

    Raises:
        UnknownNameError: If the store lacks the feature, or a column or value does not exist.
        UsageError: If clips and options do not fit each other.
        StoreError: If the store holds none of the clips of a side.
    """
    # Split first: it costs nothing, and most mistakes in a recipe show up here.
    grouped, split = split_table(table, recipe)
    choice = recipe.features
    keys = choice.all_keys(store) if is_checked else choice.checked_keys(store)
    examples = {side: [grouped.examples[i] for i in getattr(split, side)] for side in _SIDES}
    present = sorted({label for clips in examples.values() for clip in clips for label in clip.labels})
    labels = table.classes or present

    # Read the features of each side that has clips.
    sides: dict[str, PackedFeatures] = {}
    for side, clips in examples.items():
        try:
            if clips:
                sides[side] = pack(store, clips, keys, labels, root=root)
        except StoreError as error:
            raise StoreError(f"{side} clips: {error}") from None
    if not table.classes:
        check_classes(sides["train"])
    if recipe.protocol.looks_at_target and "test" not in sides:
        raise UsageError(
            f"selection={recipe.protocol.selection} chooses the epoch on test clips, and there are none."
        )

    # Audit what is on two sides: by name and content first, then by the features themselves.
    rows = stored_rows(store, [clip for clips in sides.values() for clip in clips.examples], root)
    identities = {video: row.identity for video, row in rows.items()}
    leaks = audit(grouped.examples, split, identities, columns=recipe.protocol.audit)
    same_content = {leak.name for leak in leaks if leak.kind == "content"}
    leaks += [leak for leak in near_duplicates(sides) if leak.name not in same_content]

    # The place is taken away last, since the audit looks at the features as they are stored.
    backgrounds: Backgrounds | None = None
    notes: tuple[str, ...] = ()
    if recipe.head.input == MINUS_BACKGROUND:
        sides, backgrounds, notes = take_backgrounds_away(sides, recipe.protocol, store, keys)
    elif recipe.protocol.background is not None:
        raise UsageError(
            f"clips without animals are used with head.input={MINUS_BACKGROUND} only; got head.input="
            f"{recipe.head.input}. Add --set head.input={MINUS_BACKGROUND}, or leave out --background-clips."
        )

    restricted = recipe.protocol.restrict_to_protocol_classes
    return StudyData(
        keys=tuple(keys),
        widths=_widths(store, keys, rows, sides["train"]),
        split_description=split.description,
        train=sides["train"],
        validation=sides.get("validation"),
        test=sides.get("test"),
        in_domain=sides.get("in_domain"),
        domain_folds=_domain_folds(sides["train"], table, recipe),
        rows=rows,
        leaks=tuple(leaks),
        scored_labels=tuple(protocol_classes(list(sides.values())) if restricted else labels),
        backgrounds=backgrounds,
        notes=notes,
    )


def clip_table(data: StudyData) -> pd.DataFrame:
    """One row per clip: its video, its span, its side and the identity of the video's content."""
    rows = [
        (clip.video, clip.start_seconds, clip.end_seconds, data.rows[clip.video].identity, side)
        for side, clips in data.sides.items()
        for clip in clips.examples
    ]
    return pd.DataFrame(rows, columns=["video", "start_seconds", "end_seconds", "identity", "side"])


def _widths(
    store: FeatureStore, keys: Sequence[FeatureKey], rows: Mapping[str, Row], packed: PackedFeatures
) -> tuple[int, ...]:
    """Width of each feature; of one alone, it is that of the packed tokens."""
    if len(keys) == 1:
        return (packed.token_width,)
    features = store.load(min(row.identity for row in rows.values() if row.file), keys)
    return tuple(features.tokens[key].shape[1] for key in keys)


def _domain_folds(train: PackedFeatures, table: Table, recipe: Recipe) -> dict[str, DomainFold]:
    """Divide the training clips by each domain of the source, where the rule of selection asks for it."""
    protocol = recipe.protocol
    if protocol.selection != "leave-one-source-domain-out" or protocol.domain is None:
        return {}
    clips = replace(table, examples=train.examples)
    whole = Split(tuple(range(len(train))), (), (), "")
    return {
        value: DomainFold(train.subset(fold.train), train.subset(fold.validation))
        for value, fold in leave_one_out(clips, whole, protocol.domain).items()
    }
