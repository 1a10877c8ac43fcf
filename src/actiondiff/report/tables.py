"""Tables of numbers for a page: what stands in them, how it is aligned, what it is measured against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from actiondiff.evaluation.scores import ClassScores, SideScores
from actiondiff.provenance import csv_text
from actiondiff.report.card import percent, score_rows

__all__ = ["ReportTable", "Score", "ablation_table", "class_table", "metric_table", "score_table"]


class Score(NamedTuple):
    """A share in [0, 1] with the bounds of its interval, where they are known."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None or self.low != self.low:
            return percent(self.value)
        return f"{percent(self.value)} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class ReportTable:
    """A table.

    Attributes:
        columns: Headings; the first one's cells are the rows' headings.
        rows: As many texts each as there are columns.
        caption: What it shows, above it.
        note: What the numbers are measured on and against, below it.
        left: Columns that hold words, set to the left (the first always is); numbers are set to the right.
        last_is_floor: Whether the last row is the floor, which is set apart.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    note: str = ""
    left: frozenset[str] = frozenset()
    last_is_floor: bool = False

    def csv(self) -> str:
        """The same cells as CSV."""
        return csv_text(self.columns, self.rows)


def score_table(
    scores: Mapping[str, Mapping[str, Score]],
    *,
    caption: str,
    corner: str = "",
    floor: Mapping[str, float | None] | None = None,
    note: str = "",
) -> ReportTable:
    """A row a name, a column a test; means with intervals, and the prior floor as the last row.

    Args:
        scores: Row's name -> column's name -> score. A missing one shows as a dash.
        caption: What it shows.
        corner: Heading of the rows' names.
        floor: Column's name -> what guessing by class frequencies scores.
        note: What the intervals are over, how many clips a column ...
    """
    columns = list(dict.fromkeys(name for row in scores.values() for name in row))
    rows = [
        (name, *[str(row.get(column, Score(None))) for column in columns]) for name, row in scores.items()
    ]
    if floor is not None:
        rows.append(("prior floor", *[percent(floor.get(column)) for column in columns]))
    return ReportTable((corner, *columns), tuple(rows), caption, note, last_is_floor=floor is not None)


def metric_table(side: SideScores, *, caption: str) -> ReportTable:
    """Each metric's score, interval and floor.

    Args:
        side: Scores of one side, such as the test clips.
        caption: What it shows.
    """
    note = (
        f"{side.num_clips} clips. Intervals are 95 %, over resampled groups. The prior floor is what "
        "guessing by the training clips' class frequencies scores."
    )
    empty = side.scores.num_classes_without_clips
    if empty:
        note += f" {empty} classes have no clip here and are left out of averages over classes."
    return ReportTable(("metric", "score", "interval", "prior floor"), tuple(score_rows(side)), caption, note)


def class_table(
    per_class: Sequence[ClassScores], train_counts: Mapping[str, int] | None, *, caption: str
) -> ReportTable:
    """Each class: clips to train and test on, precision, recall, F1, average precision.

    Args:
        per_class: Scores of each class.
        train_counts: Class -> training clips, if known.
        caption: What it shows.
    """
    rows = [
        (
            entry.label,
            "–" if train_counts is None else str(train_counts.get(entry.label, 0)),
            str(entry.support),
            str(entry.predicted),
            *map(percent, (entry.precision, entry.recall, entry.f1, entry.average_precision)),
        )
        for entry in per_class
    ]
    titles = (
        "class",
        "training clips",
        "clips",
        "predicted",
        "precision",
        "recall",
        "F1",
        "average precision",
    )
    return ReportTable(
        titles, tuple(rows), caption, "A dash: there is no such number, as no clip has the class."
    )


def ablation_table(
    rows: Sequence[tuple[Mapping[str, object], Score, float | None]],
    *,
    caption: str,
    metric: str,
    note: str = "",
) -> ReportTable:
    """Variants of a study against its first: what each sets, ours, and the published number.

    Args:
        rows: Settings, our score, the published one in [0, 1] if there is one; the first is the reference.
        caption: What it shows.
        metric: What the scores are.
        note: What they are measured on.
    """
    fields = tuple(dict.fromkeys(name for settings, _, _ in rows for name in settings))
    reference = rows[0][1].value
    cells = [
        (
            *[_worded(settings.get(name)) for name in fields],
            str(score),
            "–" if score.value is None or reference is None else f"{100 * (score.value - reference):+.1f}",
            percent(published),
        )
        for settings, score, published in rows
    ]
    titles = (*fields, f"{metric}, ours", "against the first", "published")
    return ReportTable(titles, tuple(cells), caption, note, left=frozenset(fields))


def _worded(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)
