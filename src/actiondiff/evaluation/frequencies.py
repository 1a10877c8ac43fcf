"""How often each class occurs, from labels alone: the numbers of figures S6 to S10, S12, S14 and S15."""

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
    """Count the clips of each class, most frequent first: the bars of figures S6 to S10.

    Args:
        table: Labelled clips.
        by: Columns whose values are counted separately, for example `split`, or `dataset` and `split`; empty
            to count all clips together.

    Returns:
        One row per class of the task, including classes without clips: the number of `clips`, their `share`
        of all clips, and one column per combination of values that occurs, named like `train` or `ucf101
        train`.

    Raises:
        UnknownNameError: If there is no such column.
    """
    return _distribution(table, [example.labels for example in table.examples], table.label_names, by)


def value_distribution(table: Table, column: str, *, by: Sequence[str] = ("split",)) -> pd.DataFrame:
    """Count the clips of each value of a column, for example of each species; see `class_distribution`.

    Clips without a value have no row, but they count in the shares.

    Raises:
        UnknownNameError: If there is no such column.
    """
    values = [(value,) if value else () for value in table.values(column)]
    return _distribution(table, values, sorted({name for names in values for name in names}), by)


def domain_names(table: Table, domain: str) -> list[str]:
    """Values of a column, without the empty one, in the order of the table.

    Raises:
        UnknownNameError: If there is no such column.
    """
    return list(dict.fromkeys(value for value in table.values(domain) if value))


def frequencies(
    table: Table, domain: str, *, domains: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Share of each domain's clips that show each class: figure S14.

    Args:
        table: Labelled clips.
        domain: Column whose values are the domains.
        domains: Domains in the order of the rows; None for the order of the table.
        classes: Classes in the order of the columns; None for all classes that occur.

    Raises:
        UnknownNameError: If the column or a value does not exist.
    """
    parts = _parts(table, domain, domains)
    occurring = {label for examples in parts.values() for example in examples for label in example.labels}
    names = [name for name in table.label_names if name in occurring] if classes is None else list(classes)
    rows = {
        name: [sum(label in example.labels for example in examples) / len(examples) for label in names]
        for name, examples in parts.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def frequency_correlation(
    table: Table, domain: str, *, domains: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Pearson correlation of the classes' frequencies between domains: figure S12.

    A correlation is NaN where all frequencies of a domain are equal.

    Args:
        table: Labelled clips.
        domain: Column whose values are the domains.
        domains: Domains in order; None for the order of the table.
        classes: Classes whose frequencies are correlated; None for all classes that occur.

    Raises:
        UnknownNameError: If the column or a value does not exist.
    """
    return frequencies(table, domain, domains=domains, classes=classes).T.corr()


def prior_matrix(table: Table, domain: str, *, domains: Sequence[str] | None = None) -> pd.DataFrame:
    """Accuracy on each domain (columns) of guessing the most frequent class of another (rows): figure S15.

    As in the paper, the diagonal is scored on the clips that the frequencies were counted on. Where several
    classes are the most frequent, the accuracy is the expectation over them.

    Args:
        table: Clips with one label each.
        domain: Column whose values are the domains.
        domains: Domains in order; None for the order of the table.

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
    names = domain_names(table, domain)
    parts: dict[str, list[Example]] = {name: [] for name in (names if domains is None else domains)}
    for name in parts:
        if name not in names:
            raise UnknownNameError(f"value of {domain}", name, names)
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
    for own, side in zip(values, sides, strict=True):
        for value in own:
            counts[row[value], 0] += 1
            if side:
                counts[row[value], 1 + order.index(side)] += 1
    frame = pd.DataFrame(counts, index=list(names), columns=["clips", *order])
    frame.insert(1, "share", frame["clips"] / max(1, len(table)))
    return frame.sort_values("clips", ascending=False, kind="stable")
