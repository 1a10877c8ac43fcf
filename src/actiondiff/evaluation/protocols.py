"""Splits of a table into training, validation and test clips: a pure function of the clips and the options.

Groups stay whole. Random choices follow from a hash of the seed and the group's own name, so that neither the
order of the table nor further clips move a group from one side to the other. Of a video without a group, the
name of the file counts and not its folder, so that the same clips at other paths are split in the same way.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.evaluation.options import ScoreSource
from actiondiff.outputs.words import counted
from actiondiff.types import Example

__all__ = ["Split", "group_of", "leave_one_out", "regroup", "split_examples"]

DomainValues: TypeAlias = Sequence[str] | str
_NO_LABEL = "\0"  # stands for a class where a clip has no label
_LAST_GROUPS = "every group is the last one of some class; with two or more a class, some can be kept"


@dataclass(frozen=True)
class Split:
    """Positions in the table of the clips on each side of a split.

    Attributes:
        train: Clips to train on.
        validation: Clips to choose the epoch on; may be empty.
        test: Clips to test on; may be empty.
        description: How the clips were split, in words.
        in_domain: Held-out clips of the source that are scored beside the test clips; may be empty.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    description: str
    in_domain: tuple[int, ...] = ()


def group_of(example: Example) -> str:
    """Group of a clip, which a split keeps whole: the table's group, or else the video."""
    return example.group or example.video


def regroup(table: Table, column: str) -> Table:
    """Copy of the table with the values of a column as groups.

    Raises:
        UnknownNameError: If there is no such column.
    """
    values = table.values(column)
    clips = zip(table.examples, values, strict=True)
    return replace(table, examples=tuple(replace(example, group=value) for example, value in clips))


def split_examples(
    table: Table,
    *,
    domain: str | None = None,
    source: DomainValues = (),
    target: DomainValues = "rest",
    validation: bool = True,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    score_source: ScoreSource = "no",
    train_clips: int | None = None,
    seed: int = 0,
) -> Split:
    """Split the labelled clips of a table.

    With a `domain`, clips of the `source` values are for training and clips of the `target` values for
    testing. Clips of the source that the table's `split` column marks `test` are left out, and those marked
    `val` are for validation. Without a domain, the `split` column decides if it marks any clip: clips without
    a mark are for training if no clip is marked `train`, and are left out otherwise. If it marks no clip,
    groups are drawn. Where the table marks no validation clips, groups of the training side are held out.

    Args:
        table: Clips; those without a label are left out, unless the table's labels are complete.
        domain: Column whose values are the domains; None for no domain shift.
        source: Values to train on; `rest` for all values that are not tested on.
        target: Values to test on; `rest` for all other values.
        validation: Whether to hold out validation clips where the table marks none.
        validation_share: Share of the training side's groups to hold out; at least one group per class, where
            the class keeps another one.
        test_share: Share of all groups to test on where nothing else decides it.
        score_source: With `held-out`, clips of the source are scored as well: those marked `test`, or else a
            `test_share` of its groups, which are then not trained on.
        train_clips: Maximum number of training clips, drawn from each class in turn, to compare sources of
            different sizes.
        seed: Seed of the random choices.

    Raises:
        UnknownNameError: If the column or a value does not exist.
        UsageError: If a side has no clips, or fewer than two classes are left to train on.
    """
    complete = table.labels_are_complete
    labelled = [i for i, example in enumerate(table.examples) if example.labels or complete]
    if not any(table.examples[i].labels for i in labelled):
        raise UsageError(f"{table.source} has no labels; training needs the column label.")
    splits = [example.split for example in table.examples]
    own: list[int] = []
    # The training side and the test clips: by domain, by the table's marks, or drawn.
    if domain is not None:
        side, test, text = _by_domain(table, labelled, domain, source, target)
        own = [i for i in side if splits[i] == "test"]
        if score_source == "held-out":
            own = own or _hold_out(table, side, test_share, f"{seed}/test")
            text += f"; {counted(len(own), 'clip')} of the source held out to be scored, too"
        side = _without(side, own)
    elif any(splits[i] for i in labelled):
        marks = ("train", "val") if "train" in splits else ("", "val")
        side = [i for i in labelled if splits[i] in marks]
        test = [i for i in labelled if splits[i] == "test"]
        unmarked = len(labelled) - len(side) - len(test)
        note = f" ({counted(unmarked, 'clip')} without a mark)" if unmarked else ""
        text = f"the table's split column{note}"
    else:
        test = _hold_out(table, labelled, test_share, f"{seed}/test")
        side = _without(labelled, test)
        text = f"{test_share:.0%} of the groups drawn for testing" if test else f"no test: {_LAST_GROUPS}"
    # Validation clips come from the training side.
    marked = [i for i in side if splits[i] == "val"]
    share = validation_share if validation else 0.0
    held = marked or _hold_out(table, side, share, f"{seed}/validation")
    train = _without(side, held)
    how = (
        "marked in the table" if marked
        else "none" if not share
        else f"{share:.0%} of the training side's groups" if held else f"none: {_LAST_GROUPS}"
    )  # fmt: skip
    if train_clips is not None and len(train) > train_clips:
        text += f"; {train_clips} of {len(train)} training clips drawn"
        train = _draw(table, train, train_clips, f"{seed}/train")
    _check(table, train)
    in_domain = tuple(own) if score_source == "held-out" else ()
    return Split(tuple(train), tuple(held), tuple(test), f"{text}; validation: {how}", in_domain)


def leave_one_out(table: Table, split: Split, domain: str) -> dict[str, Split]:
    """Make one split per domain of the source, in which this domain plays the target.

    Args:
        table: Clips.
        split: Split of the whole study; its test clips are not used.
        domain: Column whose values are the domains.

    Returns:
        Value of the domain -> split that trains on the other domains and validates on this one, without test
        clips.

    Raises:
        UsageError: If the source has only one domain.
    """
    values = table.values(domain)
    names = sorted({values[i] for i in split.train})
    if len(names) < 2:
        raise UsageError(
            f"selection=leave-one-source-domain-out needs a source with at least two values of {domain}; got "
            f"{', '.join(names)}. Name more values as source, or choose selection=source-validation."
        )
    splits = {}
    for value in names:
        train = tuple(i for i in split.train if values[i] != value)
        _check(table, train)
        held = tuple(i for i in split.train if values[i] == value)
        splits[value] = Split(train, held, (), f"{domain}: without {value}")
    return splits


def _by_domain(
    table: Table, labelled: Sequence[int], domain: str, source: DomainValues, target: DomainValues
) -> tuple[list[int], list[int], str]:
    values = table.values(domain)
    names = sorted({values[i] for i in labelled} - {""})
    sources, targets = _listed(source), _listed(target)
    for value in (*sources, *targets):
        if value not in names:
            raise UnknownNameError(f"value of {domain}", value, names)
    both = set(sources) & set(targets)
    if both:
        raise UsageError(f"{domain} {sorted(both)[0]!r} is both source and target; choose one side for it.")
    targets = targets or [value for value in names if value not in sources]
    sources = sources or [value for value in names if value not in targets]
    if not targets:
        raise UsageError(
            f"every value of {domain} is a source, so none is left to test on; name fewer sources."
        )
    if not sources:
        raise UsageError(
            f"every value of {domain} is a target, so none is left to train on; name fewer targets."
        )
    side = [i for i in labelled if values[i] in sources]
    test = [i for i in labelled if values[i] in targets]
    return side, test, f"{domain}: {', '.join(sources)} -> {', '.join(targets)}"


def _listed(values: DomainValues) -> list[str]:
    """The values that are named; an empty list for `rest`."""
    return [] if values == "rest" else [values] if isinstance(values, str) else list(values)


def _draw(table: Table, indices: Sequence[int], count: int, salt: str) -> list[int]:
    """Draw `count` clips, from each class in turn, in the order of a hash of each clip's name."""

    def chance(index: int) -> tuple[str, str]:
        example = table.examples[index]
        text = f"{salt}/{example.name}/{example.start_seconds}"
        return hashlib.sha256(text.encode()).hexdigest(), example.video

    ranks: Counter[str] = Counter()
    turns = []
    for index in sorted(indices, key=chance):
        label = min(table.examples[index].labels, default="")
        turns.append((ranks[label], label, index))
        ranks[label] += 1
    return sorted(index for _, _, index in sorted(turns)[:count])


def _hold_out(table: Table, indices: Sequence[int], share: float, salt: str) -> list[int]:
    """Clips of a share of the groups, drawn within each class so that classes stay in proportion.

    A group counts for the rarest class of its clips. The last group of a class is never held out.
    """
    if not share:
        return []
    # Classes from the rarest to the most frequent one.
    frequency = Counter(label for i in indices for label in table.examples[i].labels)
    rarity = {label: rank for rank, label in enumerate(sorted(frequency, key=lambda x: (frequency[x], x)))}
    rarity[_NO_LABEL] = len(rarity)
    labels: defaultdict[str, set[str]] = defaultdict(set)  # of each group
    for i in indices:
        labels[group_of(table.examples[i])].update(table.examples[i].labels or (_NO_LABEL,))
    left = Counter(label for names in labels.values() for label in names)  # groups of each class
    by_class = defaultdict(list)
    names = {example.video: example.name for example in table.examples if not example.group}

    def chance(group: str) -> tuple[str, str]:
        return hashlib.sha256(f"{salt}/{names.get(group, group)}".encode()).hexdigest(), group

    for group in sorted(labels, key=chance):
        by_class[min(labels[group], key=rarity.__getitem__)].append(group)
    # Hold out groups class by class, as long as every class of a group keeps another group.
    held: set[str] = set()
    for label in sorted(by_class, key=rarity.__getitem__):
        wanted = max(1, round(share * len(by_class[label])))
        for group in by_class[label]:
            if wanted and all(left[item] > 1 for item in labels[group]):
                held.add(group)
                left.subtract(labels[group])
                wanted -= 1
    return [i for i in indices if group_of(table.examples[i]) in held]


def _without(indices: Sequence[int], taken: Sequence[int]) -> list[int]:
    out = set(taken)
    return [i for i in indices if i not in out]


def _check(table: Table, train: Sequence[int]) -> None:
    counts = Counter(label for i in train for label in table.examples[i].labels)
    if len(counts) < 2:
        what = f"only the class {next(iter(counts))!r}" if counts else "no clip"
        raise UsageError(
            f"training needs clips of at least two classes; got {what}. The table has "
            f"{len(table.label_names)} classes: check split, domain and source, or label clips of another "
            "class as well, such as background (actiondiff table spans adds it between bouts)."
        )
