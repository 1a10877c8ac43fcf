"""How often each action is shown, from labels alone: numbers behind figures S6 to S10, S12, S14 and S15."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.packing import encode_labels
from actiondiff.errors import UnknownNameError
from actiondiff.evaluation.priors import prior_floor
from actiondiff.types import Array, Example

__all__ = [
    "class_distribution",
    "domain_names",
    "frequencies",
    "frequency_correlation",
    "prior_matrix",
    "value_distribution",
]


def class_distribution(table: Table, *, by: Sequence[str] = ("split",)) -> pd.DataFrame:
    """Clips a class, most frequent first: the bars of figures S6 to S10.

    Args:
        table: The clips.
        by: Columns to count apart, for example `split`, or `dataset` and `split`; none: all together.

    Returns:
        A row a class of the task, those without clips included: `clips` in all, `share` of all clips, and a
        column a combination of values that occurs, named like `train` or `ucf101 train`.

    Raises:
        UnknownNameError: If there is no such column.
    """
    return _distribution(table, [example.labels for example in table.examples], table.label_names, by)


def value_distribution(table: Table, column: str, *, by: Sequence[str] = ("split",)) -> pd.DataFrame:
    """Clips a value of a column, most frequent first, for example a species: as `class_distribution`.

    Clips without a value are left out of the rows, and counted in the shares.

    Raises:
        UnknownNameError: If there is no such column.
    """
    values = [(value,) if value else () for value in table.values(column)]
    return _distribution(table, values, sorted({value for found in values for value in found}), by)


def domain_names(table: Table, domain: str) -> list[str]:
    """Values of a column in the order in which the table has them, the empty one left out.

    Raises:
        UnknownNameError: If there is no such column.
    """
    return list(dict.fromkeys(value for value in table.values(domain) if value))


def frequencies(
    table: Table, domain: str, *, domains: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Share of each domain's clips that show each class: figure S14.

    Args:
        table: The clips.
        domain: Column.
        domains: Its values, in the order of the rows; as in the table if not given.
        classes: In the order of the columns; those that any clip shows if not given.

    Raises:
        UnknownNameError: If the column or a value does not exist.
    """
    parts = _parts(table, domain, domains)
    shown = {label for examples in parts.values() for example in examples for label in example.labels}
    names = [name for name in table.label_names if name in shown] if classes is None else list(classes)
    rows = {
        name: [sum(label in example.labels for example in examples) / len(examples) for label in names]
        for name, examples in parts.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def frequency_correlation(
    table: Table, domain: str, *, domains: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Pearson correlation of the classes' frequencies between domains: figure S12. NaN where all are equal.

    Args:
        table: The clips.
        domain: Column.
        domains: Its values, in order; as in the table if not given.
        classes: Over which to correlate; those that any clip shows if not given.

    Raises:
        UnknownNameError: If the column or a value does not exist.
    """
    return frequencies(table, domain, domains=domains, classes=classes).T.corr()


def prior_matrix(table: Table, domain: str, *, domains: Sequence[str] | None = None) -> pd.DataFrame:
    """Accuracy on each domain (columns) of guessing the most frequent class of another (rows): figure S15.

    The diagonal is scored on the clips it was learnt from, as the paper's is. Where classes are tied, it is
    the expectation over them.

    Args:
        table: Clips with one label each.
        domain: Column.
        domains: Its values, in order; as in the table if not given.

    Raises:
        UnknownNameError: If the column or a value does not exist.
    """
    parts = {
        name: encode_labels(examples, table.label_names)
        for name, examples in _parts(table, domain, domains).items()
    }
    rows = {source: [_accuracy(one, other) for other in parts.values()] for source, one in parts.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(parts))


def _accuracy(source: Array, target: Array) -> float | None:
    return prior_floor(source, target, multi_label=False).accuracy


def _parts(table: Table, domain: str, domains: Sequence[str] | None) -> dict[str, list[Example]]:
    known = domain_names(table, domain)
    parts: dict[str, list[Example]] = {name: [] for name in (known if domains is None else domains)}
    for name in parts:
        if name not in known:
            raise UnknownNameError(f"value of {domain}", name, known)
    for example in table.examples:
        if value_of(example, domain) in parts:
            parts[value_of(example, domain)].append(example)
    return parts


def _distribution(
    table: Table, values: Sequence[tuple[str, ...]], names: Sequence[str], by: Sequence[str]
) -> pd.DataFrame:
    columns = [table.values(column) for column in by]
    sides = [" ".join(filter(None, key)) for key in zip(*columns, strict=True)] if by else [""] * len(table)
    order = list(dict.fromkeys(side for side in sides if side))
    row = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), 1 + len(order)), dtype=np.int64)
    for found, side in zip(values, sides, strict=True):
        for value in found:
            counts[row[value], 0] += 1
            if side:
                counts[row[value], 1 + order.index(side)] += 1
    frame = pd.DataFrame(counts, index=list(names), columns=["clips", *order])
    frame.insert(1, "share", frame["clips"] / max(1, len(table)))
    return frame.sort_values("clips", ascending=False, kind="stable")
