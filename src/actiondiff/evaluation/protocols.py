"""Which clips train, which select and which test: a pure function of the clips and the options.

Groups are kept whole. Chance enters through a hash of the seed and the group's own name, so the order of the
table, or further clips in it, move no group from one side to the other by themselves.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import Example

__all__ = ["Split", "group_of", "split_examples"]


@dataclass(frozen=True)
class Split:
    """Positions of clips in the table, and how they were chosen.

    Attributes:
        train: Clips to learn from.
        validation: Clips to choose the epoch by; may be empty.
        test: Clips that give the numbers; may be empty.
        description: In words.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    description: str


def group_of(example: Example) -> str:
    """What a clip must not be separated from: its group; its video where the table names no group."""
    return example.group or example.video


def split_examples(
    table: Table,
    *,
    domain: str | None = None,
    source: Sequence[str] = (),
    target: Sequence[str] | str = "rest",
    validation_share: float = 0.2,
    test_share: float = 0.2,
    seed: int = 0,
) -> Split:
    """Divide labelled clips.

    With a `domain`, its `source` values train and its `target` values test; the source's clips marked `test`
    in the table's `split` column are left out, and its `val` ones validate. Without one, the `split` column
    decides if it marks any clip: clips without a mark train if none is marked `train`, else they are left
    out. Where it marks none, groups are drawn. Validation clips are held-out groups of the training side
    where the table marks none.

    Args:
        table: The clips; those without a label are left out.
        domain: Column whose values are the domains.
        source: Values that train.
        target: Values that test; `rest` for all others.
        validation_share: Share of the training side's groups to hold out, at least one a class where it has
            one to spare.
        test_share: Share of all groups that test, where nothing else says which.
        seed: Of what is drawn.

    Raises:
        UnknownNameError: If the column or a value does not exist.
        UsageError: If a side ends up without clips, or only one class is left to learn.
    """
    labelled = [i for i, example in enumerate(table.examples) if example.labels]
    if not labelled:
        raise UsageError(f"{table.source} has no labels; training needs a column label.")
    splits = [example.split for example in table.examples]
    if domain is not None:
        side, test, text = _by_domain(table, labelled, domain, source, target)
        side = [i for i in side if splits[i] != "test"]
    elif any(splits[i] for i in labelled):
        learnt = ("train", "val") if "train" in splits else ("", "val")
        side = [i for i in labelled if splits[i] in learnt]
        test = [i for i in labelled if splits[i] == "test"]
        unmarked = len(labelled) - len(side) - len(test)
        text = f"the table's split column{f' ({unmarked} clips have no mark)' if unmarked else ''}"
    else:
        test = _hold_out(table, labelled, test_share, f"{seed}/test")
        side = _without(labelled, test)
        text = f"{test_share:.0%} of the groups drawn for testing"
    marked = [i for i in side if splits[i] == "val"]
    validation = marked or _hold_out(table, side, validation_share, f"{seed}/validation")
    train = _without(side, validation)
    how = "marked in the table" if marked else f"{validation_share:.0%} of the training side's groups"
    _check(table, train)
    return Split(tuple(train), tuple(validation), tuple(test), f"{text}; validation: {how}")


def _by_domain(
    table: Table, labelled: Sequence[int], domain: str, source: Sequence[str], target: Sequence[str] | str
) -> tuple[list[int], list[int], str]:
    values = table.values(domain)
    known = sorted({values[i] for i in labelled} - {""})
    wanted = [] if target == "rest" else [target] if isinstance(target, str) else list(target)
    for value in (*source, *wanted):
        if value not in known:
            raise UnknownNameError(f"value of {domain}", value, known)
    both = set(source) & set(wanted)
    if both:
        raise UsageError(f"{domain} {sorted(both)[0]!r} is both source and target; choose one side for it.")
    wanted = wanted or [value for value in known if value not in source]
    if not wanted:
        raise UsageError(f"every value of {domain} trains, so none is left to test on; name fewer as source.")
    side = [i for i in labelled if values[i] in source]
    test = [i for i in labelled if values[i] in wanted]
    return side, test, f"{domain}: {', '.join(source)} -> {', '.join(wanted)}"


def _hold_out(table: Table, indices: Sequence[int], share: float, salt: str) -> list[int]:
    """Clips of a share of the groups, drawn within each class so that classes stay in proportion.

    A group counts for the rarest class of its clips. The last group of any class stays.
    """
    if not share:
        return []
    frequency = Counter(label for i in indices for label in table.examples[i].labels)
    rarity = {label: rank for rank, label in enumerate(sorted(frequency, key=lambda x: (frequency[x], x)))}
    labels: defaultdict[str, set[str]] = defaultdict(set)  # of each group
    for i in indices:
        labels[group_of(table.examples[i])].update(table.examples[i].labels)
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
            f"{len(table.label_names)} classes; look at split, domain and source."
        )
