"""Tables of a page, and those of scores that several reports share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actiondiff.evaluation.scores import ClassScores, SideScores
from actiondiff.outputs.words import counted
from actiondiff.provenance import csv_text
from actiondiff.report.card import percent, score_rows

__all__ = [
    "ReportTable",
    "Score",
    "ablation_table",
    "class_table",
    "confusion_table",
    "metric_table",
    "score_table",
]

_MOST_PAIRS = 25  # of confused classes


class Score(NamedTuple):
    """A score in [0, 1] with the bounds of its interval; None where a number does not exist."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None or self.low != self.low:
            return percent(self.value)
        return f"{percent(self.value)} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class ReportTable:
    """A table of a page.

    Attributes:
        columns: Headings of the columns; the cells of the first column are the headings of the rows.
        rows: One text per column in each row.
        caption: Text above the table: what it shows.
        note: Text below the table: on which clips, and against what, the numbers are measured.
        left: Columns of words, which are aligned left like the first column; all others are aligned right.
        last_is_floor: Whether the last row is the floor, which is set apart from the others.
        colours: Heading of a row -> colour of a mark beside it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    note: str = ""
    left: frozenset[str] = frozenset()
    last_is_floor: bool = False
    colours: Mapping[str, str] = field(default_factory=dict)

    def csv(self) -> str:
        """The cells as CSV."""
        return csv_text(self.columns, self.rows)


def score_table(
    scores: Mapping[str, Mapping[str, Score]],
    *,
    caption: str,
    corner: str = "",
    floor: Mapping[str, float | None] | None = None,
    note: str = "",
) -> ReportTable:
    """Make a table of scores with intervals, for example one row per model and one column per test.

    Args:
        scores: Name of the row -> name of the column -> score. A missing score is shown as a dash.
        caption: What the table shows.
        corner: Heading of the first column.
        floor: Name of the column -> score of guessing by class frequencies, shown as last row; None for none.
        note: What the intervals are over, the number of clips per column, and so on.
    """
    columns = list(dict.fromkeys(name for row in scores.values() for name in row))
    rows = [
        (name, *[str(row.get(column, Score(None))) for column in columns]) for name, row in scores.items()
    ]
    if floor is not None:
        rows.append(("prior floor", *[percent(floor.get(column)) for column in columns]))
    return ReportTable((corner, *columns), tuple(rows), caption, note, last_is_floor=floor is not None)


def metric_table(side: SideScores, *, caption: str) -> ReportTable:
    """Make a table of each metric's score, interval and floor.

    Args:
        side: Scores of one side, such as the test clips.
        caption: What the table shows.
    """
    note = (
        f"{counted(side.num_clips, 'clip')}. Intervals are 95 % intervals over resampled groups. The prior "
        "floor is the score of guessing by the class frequencies of the training clips."
    )
    empty = side.scores.num_classes_without_clips
    if empty:
        note += f" {empty} classes have no clips here and are left out of averages over classes."
    return ReportTable(("metric", "score", "interval", "prior floor"), tuple(score_rows(side)), caption, note)


def class_table(
    per_class: Sequence[ClassScores], train_counts: Mapping[str, int] | None, *, caption: str
) -> ReportTable:
    """Make a table of each class: its training and test clips, precision, recall, F1 and average precision.

    Args:
        per_class: Scores of each class.
        train_counts: Class -> number of training clips; None if unknown.
        caption: What the table shows.
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
    return ReportTable(titles, tuple(rows), caption, "A dash means that the number does not exist.")


def confusion_table(counts: NDArray[np.integer], labels: Sequence[str]) -> ReportTable | None:
    """Make a table of the pairs of classes that are confused most often; None if no clip is.

    Args:
        counts: (K, K) number of clips by true class (row) and predicted class (column).
        labels: Names of the K classes.
    """
    wrong = counts - np.diag(counts.diagonal())
    true, predicted = np.nonzero(wrong)
    if not len(true):
        return None
    clips = wrong[true, predicted]
    order = np.argsort(-clips, kind="stable")[:_MOST_PAIRS]
    totals = counts.sum(1)
    rows = [
        (labels[i], labels[j], str(number), percent(number / int(totals[i])))
        for i, j, number in zip(*(side[order].tolist() for side in (true, predicted, clips)), strict=True)
    ]
    note = "The share is that of the true class's clips."
    if len(true) > len(rows):
        note += f" {len(true)} pairs of classes are confused; the {len(rows)} with the most clips are listed."
    titles = ("true class", "predicted as", "clips", "share")
    return ReportTable(
        titles, tuple(rows), "Classes confused most often", note, left=frozenset({"predicted as"})
    )


def ablation_table(
    rows: Sequence[tuple[Mapping[str, object], Score, float | None]],
    *,
    caption: str,
    metric: str,
    note: str = "",
) -> ReportTable:
    """Make a table of a study's variants: their settings, our scores, and the published numbers.

    Args:
        rows: Settings, our score, and the published score in [0, 1] or None. The first row is the reference.
        caption: What the table shows.
        metric: Name of the score.
        note: On which clips the scores are measured.
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
