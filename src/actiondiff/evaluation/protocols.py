"""Which clips train, which select and which test: a pure function of the clips and the options.

Groups are kept whole. Chance enters through a hash of the seed and the group's own name, so the order of the
table, or further clips in it, move no group from one side to the other by themselves.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.evaluation.options import ScoreSource
from actiondiff.types import Example

__all__ = ["Split", "group_of", "leave_one_out", "regroup", "split_examples"]

DomainValues: TypeAlias = Sequence[str] | str
_NO_LABEL = "\0"
_LAST_GROUPS = "every group is the last one of some class; with two or more a class, some can be kept"
"""Stands for a class where a clip shows none of them."""


@dataclass(frozen=True)
class Split:
    """Positions of clips in the table, and how they were chosen.

    Attributes:
        train: Clips to learn from.
        validation: Clips to choose the epoch by; may be empty.
        test: Clips that give the numbers; may be empty.
        description: In words.
        in_domain: Clips of the source, held out, that are scored beside the target's.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    description: str
    in_domain: tuple[int, ...] = ()


def group_of(example: Example) -> str:
    """What a clip must not be separated from: its group; its video where the table names no group."""
    return example.group or example.video


def regroup(table: Table, column: str) -> Table:
    """The same clips with the values of a column as their groups.

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
    """Divide labelled clips.

    With a `domain`, its `source` values train and its `target` values test; the source's clips marked `test`
    in the table's `split` column are left out, and its `val` ones validate. Without one, the `split` column
    decides if it marks any clip: clips without a mark train if none is marked `train`, else they are left
    out. Where it marks none, groups are drawn. Validation clips are held-out groups of the training side
    where the table marks none.

    Args:
        table: The clips; those without a label are left out, unless the table's labels are complete.
        domain: Column whose values are the domains.
        source: DomainValues that train; `rest` for all that do not test.
        target: DomainValues that test; `rest` for all others.
        validation: Whether to hold out clips to choose by where the table marks none.
        validation_share: Share of the training side's groups to hold out, at least one a class where it has
            one to spare.
        test_share: Share of all groups that test, where nothing else says which.
        score_source: With `held-out`, clips of the source are scored, too: those marked `test`, or else a
            `test_share` of its groups, which then do not train.
        train_clips: Training clips at most, drawn class by class in turn, so that sources of unlike size can
            be compared.
        seed: Of what is drawn.

    Raises:
        UnknownNameError: If the column or a value does not exist.
        UsageError: If a side ends up without clips, or only one class is left to learn.
    """
    complete = table.labels_are_complete
    labelled = [i for i, example in enumerate(table.examples) if example.labels or complete]
    if not any(table.examples[i].labels for i in labelled):
        raise UsageError(f"{table.source} has no labels; training needs a column label.")
    splits = [example.split for example in table.examples]
    own: list[int] = []
    if domain is not None:
        side, test, text = _by_domain(table, labelled, domain, source, target)
        own = [i for i in side if splits[i] == "test"]
        if score_source == "held-out":
            own = own or _hold_out(table, side, test_share, f"{seed}/test")
            text += f"; {len(own)} clips of the source held out to be scored, too"
        side = _without(side, own)
    elif any(splits[i] for i in labelled):
        learnt = ("train", "val") if "train" in splits else ("", "val")
        side = [i for i in labelled if splits[i] in learnt]
        test = [i for i in labelled if splits[i] == "test"]
        unmarked = len(labelled) - len(side) - len(test)
        text = f"the table's split column{f' ({unmarked} clips have no mark)' if unmarked else ''}"
    else:
        test = _hold_out(table, labelled, test_share, f"{seed}/test")
        side = _without(labelled, test)
        text = f"{test_share:.0%} of the groups drawn for testing" if test else f"no test: {_LAST_GROUPS}"
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
    """A split for each of the source's domains, which plays the target while the others train.

    Args:
        table: The clips.
        split: Of the whole study; its test clips have no part in these.
        domain: Column whose values are the domains.

    Returns:
        Value of the domain -> split with its clips as validation, and without test clips.

    Raises:
        UsageError: If the source has one domain only.
    """
    values = table.values(domain)
    found = sorted({values[i] for i in split.train})
    if len(found) < 2:
        raise UsageError(
            f"selection=leave-one-source-domain-out needs a source of two values of {domain} at least; got "
            f"{', '.join(found)}. Name more in source, or choose source-validation."
        )
    splits = {}
    for value in found:
        train = tuple(i for i in split.train if values[i] != value)
        _check(table, train)
        held = tuple(i for i in split.train if values[i] == value)
        splits[value] = Split(train, held, (), f"{domain}: without {value}")
    return splits


def _by_domain(
    table: Table, labelled: Sequence[int], domain: str, source: DomainValues, target: DomainValues
) -> tuple[list[int], list[int], str]:
    values = table.values(domain)
    known = sorted({values[i] for i in labelled} - {""})
    learnt, tested = _listed(source), _listed(target)
    for value in (*learnt, *tested):
        if value not in known:
            raise UnknownNameError(f"value of {domain}", value, known)
    both = set(learnt) & set(tested)
    if both:
        raise UsageError(f"{domain} {sorted(both)[0]!r} is both source and target; choose one side for it.")
    tested = tested or [value for value in known if value not in learnt]
    learnt = learnt or [value for value in known if value not in tested]
    if not tested:
        raise UsageError(f"every value of {domain} trains, so none is left to test on; name fewer as source.")
    if not learnt:
        raise UsageError(f"every value of {domain} tests, so none is left to train on; name fewer as target.")
    side = [i for i in labelled if values[i] in learnt]
    test = [i for i in labelled if values[i] in tested]
    return side, test, f"{domain}: {', '.join(learnt)} -> {', '.join(tested)}"


def _listed(values: DomainValues) -> list[str]:
    """The values that are named; none for `rest`."""
    return [] if values == "rest" else [values] if isinstance(values, str) else list(values)


def _draw(table: Table, indices: Sequence[int], count: int, salt: str) -> list[int]:
    """So many clips, of each class in turn; which of a class follows from a hash of the clip's name."""

    def chance(index: int) -> str:
        example = table.examples[index]
        return hashlib.sha256(f"{salt}/{example.video}/{example.start_seconds}".encode()).hexdigest()

    ranks: Counter[str] = Counter()
    turns = []
    for index in sorted(indices, key=chance):
        label = min(table.examples[index].labels, default="")
        turns.append((ranks[label], label, index))
        ranks[label] += 1
    return sorted(index for _, _, index in sorted(turns)[:count])


def _hold_out(table: Table, indices: Sequence[int], share: float, salt: str) -> list[int]:
    """Clips of a share of the groups, drawn within each class so that classes stay in proportion.

    A group counts for the rarest class of its clips. The last group of any class stays.
    """
    if not share:
        return []
    frequency = Counter(label for i in indices for label in table.examples[i].labels)
    rarity = {label: rank for rank, label in enumerate(sorted(frequency, key=lambda x: (frequency[x], x)))}
    rarity[_NO_LABEL] = len(rarity)
    labels: defaultdict[str, set[str]] = defaultdict(set)  # of each group
    for i in indices:
        labels[group_of(table.examples[i])].update(table.examples[i].labels or (_NO_LABEL,))
    left = Counter(label for found in labels.values() for label in found)  # groups a class
    by_class = defaultdict(list)
    for group in sorted(labels, key=lambda group: hashlib.sha256(f"{salt}/{group}".encode()).hexdigest()):
        by_class[min(labels[group], key=rarity.__getitem__)].append(group)
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
    found = Counter(label for i in train for label in table.examples[i].labels)
    if len(found) < 2:
        what = f"only the class {next(iter(found))!r}" if found else "no clip"
        raise UsageError(
            f"training needs clips of at least two classes; got {what}. The table has "
            f"{len(table.label_names)}: look at split, domain and source, or label clips of something else, "
            "too, such as background (actiondiff table spans adds it between bouts)."
        )
