"""What a dataset is: clips with labels and whatever else is known of them."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from actiondiff.errors import UnknownNameError
from actiondiff.types import Example

__all__ = ["Table", "value_of"]

_OWN = ("split", "group", "video")
"""Columns that are fields of an example."""


def value_of(example: Example, column: str) -> str:
    """An example's value of a column: a further one, or `split`, `group`, `video`; empty if it has none."""
    return str(getattr(example, column)) if column in _OWN else example.columns.get(column, "")


@dataclass(frozen=True)
class Table:
    """Labelled clips.

    Attributes:
        source: What they were read from, for messages.
        root: Folder that the examples' paths are relative to.
        examples: The clips, in the order of the table.
        classes: All classes of the task in its own order, where it knows more than these clips show; empty:
            the clips' own.
        labels_are_complete: Whether every class a clip shows is known: a clip without labels then shows none
            of them (it is a clip to score, not one without an answer), and clips may have several.
    """

    source: Path
    root: Path
    examples: tuple[Example, ...]
    classes: tuple[str, ...] = ()
    labels_are_complete: bool = False

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """All classes: those of the task in its order, else those of the clips, sorted."""
        return self.classes or tuple(sorted({label for example in self.examples for label in example.labels}))

    @cached_property
    def multi_label(self) -> bool:
        """Whether clips may have several labels: any has, or the labels are complete."""
        return self.labels_are_complete or any(len(example.labels) > 1 for example in self.examples)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the further columns, each usable as a domain."""
        return tuple(dict.fromkeys(name for example in self.examples for name in example.columns))

    def values(self, column: str) -> list[str]:
        """One value a clip of a column: a further one, or `split`, `group`, `video`.

        Raises:
            UnknownNameError: If there is no such column.
        """
        if column not in (*_OWN, *self.columns):
            raise UnknownNameError(f"column of {self.source}", column, (*self.columns, *sorted(_OWN)))
        return [value_of(example, column) for example in self.examples]

    def counts(self, column: str | None = None) -> Counter[str]:
        """Clips a class (None), or a value of a column."""
        if column is None:
            return Counter(label for example in self.examples for label in example.labels)
        return Counter(self.values(column))
