"""The table of labelled clips that every reader of a dataset returns."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from actiondiff.errors import UnknownNameError
from actiondiff.types import Example

__all__ = ["Table", "value_of"]

_FIELDS = ("split", "group", "video")
"""Columns that are fields of an example."""


def value_of(example: Example, column: str) -> str:
    """An example's value in a column (a further one, or `split`, `group`, `video`); empty if it has none."""
    return str(getattr(example, column)) if column in _FIELDS else example.columns.get(column, "")


@dataclass(frozen=True)
class Table:
    """Labelled clips.

    Attributes:
        source: File or folder that they were read from, for messages.
        root: Folder that the examples' paths are relative to.
        examples: The clips, in the order of the table.
        classes: All classes of the task in its own order; empty if the classes are those of the clips.
        labels_are_complete: Whether every class that a clip shows is labelled. A clip without labels then
            shows none of the classes and is scored, and clips may have several labels.
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
        """All classes: those of the task in its order, else those of the clips in alphabetical order."""
        return self.classes or tuple(sorted({label for example in self.examples for label in example.labels}))

    @cached_property
    def multi_label(self) -> bool:
        """Whether clips may have several labels: some clip has, or the labels are complete."""
        return self.labels_are_complete or any(len(example.labels) > 1 for example in self.examples)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the further columns; each can serve as the domain."""
        return tuple(dict.fromkeys(name for example in self.examples for name in example.columns))

    def values(self, column: str) -> list[str]:
        """The values of a column, one per clip.

        Args:
            column: Name of a further column, or `split`, `group` or `video`.

        Raises:
            UnknownNameError: If there is no such column.
        """
        if column not in (*_FIELDS, *self.columns):
            raise UnknownNameError(f"column of {self.source}", column, (*self.columns, *sorted(_FIELDS)))
        return [value_of(example, column) for example in self.examples]

    def counts(self, column: str | None = None) -> Counter[str]:
        """Number of clips per class (None), or per value of a column."""
        if column is None:
            return Counter(label for example in self.examples for label in example.labels)
        return Counter(self.values(column))
