"""From the finished runs of a grid to tables: a row a run, a study, a domain, and what was chosen."""

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
"""What is chosen among; studies that differ in anything else are other questions, with a choice each."""


@dataclass(frozen=True)
class PublishedComparison:
    """A study beside the number that was published.

    Attributes:
        study: The study's name.
        published: The number, in per cent.
        metric: What ours is.
        score: Ours, mean over seeds, in [0, 1]; None if it has no test.
        low: Lower bound of its 95 % interval over groups and seeds; None if unknown.
        high: Upper bound.
        floor: What guessing by class frequencies scores.
        num_test: Clips of ours.
        num_seeds: Trainings of ours.
        comparable: Whether metric and test clips are the same.
        why_not: If not, in words.
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


def headline(point: Cell, metrics: Metrics) -> Metric:
    """The score that a study is judged by."""
    wanted = point.recipe.protocol.metric
    if wanted != "auto":
        return wanted
    return "accuracy" if metrics.task == "single-label" else "micro_map"


def run_rows(point: Cell, runs: Sequence[SeedRun], root: Path) -> list[dict[str, Any]]:
    """A row for each training of a study.

    Args:
        point: The study.
        runs: Its trainings, one a seed.
        root: Folder that paths are told relative to.
    """
    rows = []
    for run in runs:
        metric, chosen, counts = headline(point, run.metrics), run.metrics.selection, run.metrics.counts
        rows.append(
            {
                "point": point.name,
                "case": point.case,
                **point.varied,
                "seed": run.metrics.seed,
                "feature": run.metrics.feature,
                "rule": point.recipe.protocol.selection,
                "epoch": chosen.epoch,
                "choice_score": chosen.score,
                "metric": metric,
                "validation": _score(run.metrics.validation, metric),
                **_side(run.metrics.test, metric, "test"),
                **(_side(run.metrics.in_domain, metric, "in_domain") if run.metrics.in_domain else {}),
                "num_train": counts["train"],
                "num_validation": counts["validation"],
                "num_test": counts["test"],
                "target_looks": chosen.target_looks,
                "folder": run.folder.relative_to(root).as_posix(),
            }
        )
        if point.recipe.protocol.selection == "oracle" and chosen.oracle is not None:
            rows[-1]["test"] = chosen.oracle.get(metric)
    return rows


def domain_rows(point: Cell, runs: Sequence[SeedRun]) -> list[dict[str, Any]]:
    """A row for each training and value of the domain it was scored on."""
    rows = []
    for run in runs:
        metric = headline(point, run.metrics)
        sides = {"test": run.metrics.test}
        if run.metrics.in_domain is not None:
            sides[f"source ({run.metrics.in_domain.clips} clips)"] = run.metrics.in_domain
        for name, side in sides.items():
            by_domain = (side and side.by_domain) or {}
            for value, scores in by_domain.items():
                rows.append(
                    {
                        "point": point.name,
                        "case": point.case,
                        **point.varied,
                        "source": ", ".join(point.recipe.protocol.source),
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


def study_rows(points: Sequence[Cell], runs: pd.DataFrame, root: Path) -> pd.DataFrame:
    """A row a study: means over its seeds, and the interval over groups and seeds.

    Args:
        points: The studies.
        runs: As `run_rows` gives them.
        root: Folder that the runs' paths are relative to.
    """
    rows = []
    if runs.empty:
        return pd.DataFrame()
    for point in points:
        mine = runs[runs["point"] == point.name]
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
                "point": point.name,
                "case": point.case,
                **point.varied,
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


def choices(points: Sequence[Cell], table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What each rule chooses among studies that differ in features, head or training only, and its test.

    `released` chooses the study that tests best on average over seeds, `oracle` takes every seed's own best:
    both look at the target. The other rules choose by clips of the source; their test is one look a seed.

    Args:
        points: The studies.
        table: As `study_rows` gives it.
        runs: As `run_rows` gives them.
    """
    asked: dict[tuple[Any, ...], list[str]] = {}
    for point in points:
        apart = {name: value for name, value in point.varied.items() if not name.startswith(_TUNED)}
        apart.pop("protocol.selection", None)
        question = (point.case, *(f"{name.rpartition('.')[2]}={value}" for name, value in apart.items()))
        asked.setdefault((" ".join(filter(None, question)), point.recipe.protocol.selection), []).append(
            point.name
        )
    rows = []
    for (question, rule), names in asked.items():
        candidates = table[table["point"].isin(names)] if len(table) else table
        if candidates.empty:
            continue
        rows.append({"question": question, "rule": rule, **_choice(rule, candidates, runs)})
    return pd.DataFrame(rows)


def compare_with_published(points: Iterable[Cell], table: pd.DataFrame) -> list[PublishedComparison]:
    """Each study that has a published number, beside it."""
    rows = {row["point"]: row for row in table.to_dict("records")}
    found = []
    for point in points:
        if point.published is None or point.name not in rows:
            continue
        row, published = rows[point.name], point.published
        why = _why_not(published, str(row["metric"]), int(row["num_test"]))
        found.append(
            PublishedComparison(
                study=point.name,
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
    return found


def _choice(rule: str, candidates: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    mine = runs[runs["point"].isin(candidates["point"])]
    by = "test" if rule in ("released", "oracle") else "choice_score"
    known = candidates[candidates[by].notna()]
    if known.empty and len(candidates) > 1:
        return {"point": None, "num_candidates": len(candidates), "why": "there are no clips to choose on"}
    best = (known if len(known) else candidates).sort_values(by, ascending=False, kind="stable").iloc[0]
    told = {
        "point": best["point"],
        "num_candidates": len(candidates),
        "chosen_by": json_values(best[by]),
        "test": json_values(best["test"]),
        "test_sd": json_values(best["test_sd"]),
        "test_low": json_values(best["test_low"]),
        "test_high": json_values(best["test_high"]),
        "test_floor": json_values(best["test_floor"]),
        "target_looks": int(mine["target_looks"].sum()) if by == "test" else int(best["num_seeds"]),
    }
    if rule == "oracle":
        told |= {
            "test": json_values(mine.groupby("seed")["test"].max().mean()),
            "test_low": None,
            "test_high": None,
        }
        told["test_sd"] = None
    return told


def _side(side: SideScores | None, metric: Metric, name: str) -> dict[str, float | None]:
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
    """Over groups and seeds, from the predictions."""
    place = folder.parent if num_seeds > 1 else folder
    try:
        run = read_scored(place)
    except OSError:
        return None, None
    if is_single_label(metric) and run.multi_label:
        return None, None
    found = contrast(metric, [(1, run.scored)], num_resamples=_RESAMPLES)
    return json_values(found.low), json_values(found.high)


def _why_not(published: Published, metric: str, num_test: int) -> str:
    if not published.comparable:
        return published.note or "as the recipe says"
    if published.metric is None:
        return "its metric is not known"
    if published.metric != metric:
        return f"it is {published.metric}, ours {metric}"
    if published.num_test is not None and published.num_test != num_test:
        return f"it has {published.num_test} test clips, ours {num_test}"
    return ""


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.mean()) if len(known) == len(values) else None
