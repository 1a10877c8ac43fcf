"""Tables of a sweep: one row per training run, per study and per domain, and what each rule chooses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from actiondiff.evaluation.intervals import is_single_label
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import contrast
from actiondiff.evaluation.results import Metrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.experiments.compare import read_scored
from actiondiff.experiments.grid import Cell, Published
from actiondiff.experiments.run import SeedRun
from actiondiff.provenance import json_values

__all__ = [
    "PublishedComparison",
    "choices",
    "compare_with_published",
    "domain_rows",
    "headline",
    "run_rows",
    "study_rows",
]

_RESAMPLES = 1000
_TUNED = ("features.", "head.", "training.")
"""Options that a choice is made among; studies that differ in others belong to different questions."""


@dataclass(frozen=True)
class PublishedComparison:
    """A study beside the number that was published.

    Attributes:
        study: Name of the study.
        published: The published number, in per cent.
        metric: Metric of our score.
        score: Our score, mean over seeds, in [0, 1]; None if there are no test clips.
        low: Lower bound of its 95 % interval over groups and seeds; None if there is none.
        high: Upper bound of the interval.
        floor: Score of guessing by class frequencies.
        num_test: Number of our test clips.
        num_seeds: Number of our training runs.
        comparable: Whether metric and test clips are the same.
        why_not: Why they are not comparable, in words.
    """

    study: str
    published: Published
    metric: str
    score: float | None
    low: float | None
    high: float | None
    floor: float | None
    num_test: int
    num_seeds: int
    comparable: bool
    why_not: str = ""


def headline(cell: Cell, metrics: Metrics) -> Metric:
    """The metric that a study is judged by."""
    metric = cell.recipe.protocol.metric
    if metric != "auto":
        return metric
    return "accuracy" if metrics.task == "single-label" else "micro_map"


def run_rows(cell: Cell, runs: Sequence[SeedRun], root: Path) -> list[dict[str, Any]]:
    """Make one row per training run of a study.

    Args:
        cell: The study.
        runs: Its training runs, one per seed.
        root: Folder that paths are relative to.
    """
    rows = []
    for run in runs:
        metric, selection, counts = headline(cell, run.metrics), run.metrics.selection, run.metrics.counts
        rows.append(
            {
                "point": cell.name,
                "case": cell.case,
                **cell.varied,
                "seed": run.metrics.seed,
                "feature": run.metrics.feature,
                "rule": cell.recipe.protocol.selection,
                "epoch": selection.epoch,
                "choice_score": selection.score,
                "metric": metric,
                "validation": _score(run.metrics.validation, metric),
                **_side(run.metrics.test, metric, "test"),
                **(_side(run.metrics.in_domain, metric, "in_domain") if run.metrics.in_domain else {}),
                "num_train": counts["train"],
                "num_validation": counts["validation"],
                "num_test": counts["test"],
                "target_looks": selection.target_looks,
                "folder": run.folder.relative_to(root).as_posix(),
            }
        )
        if cell.recipe.protocol.selection == "oracle" and selection.oracle is not None:
            rows[-1]["test"] = selection.oracle.get(metric)
    return rows


def domain_rows(cell: Cell, runs: Sequence[SeedRun]) -> list[dict[str, Any]]:
    """Make one row per training run and value of the domain that it was scored on."""
    rows = []
    for run in runs:
        metric = headline(cell, run.metrics)
        sides = {"test": run.metrics.test}
        if run.metrics.in_domain is not None:
            sides[f"source ({run.metrics.in_domain.clips} clips)"] = run.metrics.in_domain
        for name, side in sides.items():
            by_domain = (side and side.by_domain) or {}
            for value, scores in by_domain.items():
                rows.append(
                    {
                        "point": cell.name,
                        "case": cell.case,
                        **cell.varied,
                        "source": _joined(cell.recipe.protocol.source),
                        "seed": run.metrics.seed,
                        "side": name,
                        "domain": value,
                        "metric": metric,
                        "num_clips": scores.num_clips,
                        "balanced_accuracy": scores.scores.balanced_accuracy,
                        **_side(scores, metric, "score"),
                    }
                )
    return rows


def study_rows(cells: Sequence[Cell], runs: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Make one row per study, with means over its seeds and the interval over groups and seeds.

    Args:
        cells: The studies.
        runs: Rows of `run_rows`.
        root: Folder that the runs' paths are relative to.
    """
    rows = []
    if runs.empty:
        return pd.DataFrame()
    for cell in cells:
        mine = runs[runs["point"] == cell.name]
        if mine.empty:
            continue
        first = mine.iloc[0]
        means = {
            name: _mean(mine[name])
            for name in ("choice_score", "validation", "test", "in_domain")
            if name in mine
        }
        low, high = _interval(root / first["folder"], len(mine), first["metric"])
        rows.append(
            {
                "point": cell.name,
                "case": cell.case,
                **cell.varied,
                "rule": first["rule"],
                "metric": first["metric"],
                "num_seeds": len(mine),
                **means,
                "test_sd": float(mine["test"].astype(float).std(ddof=1)) if len(mine) > 1 else None,
                "test_low": low,
                "test_high": high,
                "test_floor": first["test_floor"],
                "num_train": int(first["num_train"]),
                "num_test": int(first["num_test"]),
                "target_looks": int(mine["target_looks"].sum()),
            }
        )
    return pd.DataFrame(rows)


def choices(cells: Sequence[Cell], table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Show what each rule chooses among studies that differ only in features, head or training, and its test.

    `released` chooses the study with the best test score on average over seeds, and `oracle` takes the best
    study of every seed: both look at the target. The other rules choose by clips of the source, and look at
    the target once per seed.

    Args:
        cells: The studies.
        table: Rows of `study_rows`.
        runs: Rows of `run_rows`.
    """
    questions: dict[tuple[str, str], list[str]] = {}  # (question, rule) -> studies
    for cell in cells:
        others = {name: value for name, value in cell.varied.items() if not name.startswith(_TUNED)}
        others.pop("protocol.selection", None)
        parts = [cell.case, *(f"{name.rpartition('.')[2]}={value}" for name, value in others.items())]
        question = " ".join(filter(None, parts))
        questions.setdefault((question, cell.recipe.protocol.selection), []).append(cell.name)
    rows = []
    for (question, rule), names in questions.items():
        studies = table[table["point"].isin(names)] if len(table) else table
        if not studies.empty:
            rows.append({"question": question, "rule": rule, **_choice(rule, studies, runs)})
    return pd.DataFrame(rows)


def compare_with_published(cells: Iterable[Cell], table: pd.DataFrame) -> list[PublishedComparison]:
    """Set each study that has a published number beside it."""
    rows = {row["point"]: row for row in table.to_dict("records")}
    comparisons = []
    for cell in cells:
        if cell.published is None or cell.name not in rows:
            continue
        row, published = rows[cell.name], cell.published
        why = _why_not(published, str(row["metric"]), int(row["num_test"]))
        comparisons.append(
            PublishedComparison(
                study=cell.name,
                published=published,
                metric=row["metric"],
                score=json_values(row["test"]),
                low=json_values(row["test_low"]),
                high=json_values(row["test_high"]),
                floor=json_values(row["test_floor"]),
                num_test=int(row["num_test"]),
                num_seeds=int(row["num_seeds"]),
                comparable=not why,
                why_not=why,
            )
        )
    return comparisons


def _choice(rule: str, studies: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Choose one of some studies by a rule: a row of choices.csv without its question and rule."""
    mine = runs[runs["point"].isin(studies["point"])]
    by = "test" if rule in ("released", "oracle") else "choice_score"
    scored = studies[studies[by].notna()]
    if scored.empty and len(studies) > 1:
        return {"point": None, "num_candidates": len(studies), "why": "there are no clips to choose on"}
    best = (scored if len(scored) else studies).sort_values(by, ascending=False, kind="stable").iloc[0]
    row = {
        "point": best["point"],
        "num_candidates": len(studies),
        "chosen_by": json_values(best[by]),
        "test": json_values(best["test"]),
        "test_sd": json_values(best["test_sd"]),
        "test_low": json_values(best["test_low"]),
        "test_high": json_values(best["test_high"]),
        "test_floor": json_values(best["test_floor"]),
        "target_looks": int(mine["target_looks"].sum()) if by == "test" else int(best["num_seeds"]),
    }
    if rule == "oracle":  # each seed has its own best study, so that no one study's spread applies
        mean_of_best = json_values(mine.groupby("seed")["test"].max().mean())
        row |= {"test": mean_of_best, "test_sd": None, "test_low": None, "test_high": None}
    return row


def _side(side: SideScores | None, metric: Metric, name: str) -> dict[str, float | None]:
    """The score of one side with its interval and floor, in columns that begin with a name."""
    low, high = (None, None) if side is None else side.intervals.get(metric, (None, None))
    return {
        name: _score(side, metric),
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_floor": None if side is None else side.prior_floor.total(metric),
    }


def _score(side: SideScores | None, metric: Metric) -> float | None:
    return None if side is None else side.scores.total(metric)


def _interval(folder: Path, num_seeds: int, metric: Metric) -> tuple[float | None, float | None]:
    """Compute a study's interval over groups and seeds from its predictions."""
    try:
        run = read_scored(folder.parent if num_seeds > 1 else folder)
    except OSError:
        return None, None
    if is_single_label(metric) and run.multi_label:
        return None, None
    interval = contrast(metric, [(1, run.scored)], num_resamples=_RESAMPLES)
    return json_values(interval.low), json_values(interval.high)


def _why_not(published: Published, metric: str, num_test: int) -> str:
    """Explain why a published number is not comparable with ours; empty if it is."""
    if not published.comparable:
        return published.note or "as the recipe says"
    if published.metric is None:
        return "the paper does not name its metric"
    if published.metric != metric:
        return f"it is {published.metric}, ours {metric}"
    if published.num_test is not None and published.num_test != num_test:
        return f"it has {published.num_test} test clips, ours {num_test}"
    return ""


def _mean(values: pd.Series) -> float | None:
    """Mean over seeds; None if a seed lacks the number."""
    present = values.dropna()
    return float(present.mean()) if len(present) == len(values) else None


def _joined(source: str | tuple[str, ...]) -> str:
    """Write the domains of a side in one cell of a table; `rest` stays as it is."""
    return source if isinstance(source, str) else ", ".join(source)
