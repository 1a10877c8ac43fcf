"""From finished sweeps to the results of a reproduction."""

from collections.abc import Mapping, Sequence

import pandas as pd

from actiondiff.evaluation.frequencies import class_distribution
from actiondiff.experiments.grid import Cell
from actiondiff.heads.bundle import read_config
from actiondiff.paper.costs import BackboneCost
from actiondiff.paper.plan import ReproductionPlan, StoreWork, describe
from actiondiff.paper.results import ControlResult, FrameRow, Reproduction, StudyResult
from actiondiff.paper.verdicts import SweptStudy, judge_claims, matrices
from actiondiff.provenance import json_values

__all__ = ["WATERMARK", "summarise"]

WATERMARK = "stand-in"
"""Mark on every part of a stand-in's page."""


def summarise(
    plan: ReproductionPlan,
    swept: Sequence[SweptStudy],
    costs: Mapping[StoreWork, BackboneCost],
    controls: Sequence[ControlResult],
    left_out: Mapping[str, str],
) -> Reproduction:
    """Collect the results: scores beside published ones, verdicts on claims, controls and costs.

    Args:
        plan: The reproduction that was planned.
        swept: The studies that were run.
        costs: Cost of the backbone of each store.
        controls: Controls of a stand-in; empty for the real thing.
        left_out: Study -> why it has no number.
    """
    tables: dict[str, pd.DataFrame] = {}
    if plan.target == "fig4":
        tables = matrices(next(iter(plan.tables.values())), swept)
    claims, cells = judge_claims(plan.grid.name, swept, tables)
    sweeps = {entry.result.folder: entry.result for entry in swept}.values()
    results = [_study(plan, entry, costs) for entry in swept]
    return Reproduction(
        target=plan.target,
        description=plan.grid.description,
        watermark=WATERMARK if plan.stand_in else "",
        stand_in=plan.stand_in,
        studies=[result for result in results if result],
        others=list(plan.grid.others),
        controls=list(controls),
        claims=claims,
        tests=[row for result in sweeps for row in _rows(result.tests)],
        cells={name: _rows(frame) for name, frame in cells.items()},
        matrices={name: _rows(frame.rename_axis("source").reset_index()) for name, frame in tables.items()},
        distributions=_distributions(plan),
        left_out=dict(left_out),
    )


def _study(
    plan: ReproductionPlan, entry: SweptStudy, costs: Mapping[StoreWork, BackboneCost]
) -> StudyResult | None:
    """Result of a study; None if it was not trained."""
    cell, result = entry.cell, entry.result
    if not entry.is_trained or cell.data is None or cell.extraction is None:
        return None
    row = next(row for row in result.studies.to_dict("records") if row["point"] == cell.name)
    paper = next((paper for paper in result.published if paper.study == cell.name), None)
    work = next(
        work for work in costs if (work.dataset, work.extraction) == (cell.data.dataset, cell.extraction)
    )
    # A study with several seeds has a run per seed; they read the same features.
    run = next(path for path in (entry.folder, entry.folder / "seed-0") if (path / "config.json").is_file())
    config = read_config(run)
    why_not = "" if paper is None else "it is a stand-in" if plan.stand_in else paper.why_not
    values = {
        "study": cell.name, "label": _label(cell), "case": cell.case,
        "protocol": cell.data.protocol, "rule": row["rule"],
        "backbone": describe(cell.extraction), "in_place_of": plan.replaced.get(cell.name, ""),
        "varied": dict(cell.varied), "feature": config.keys[0], "width": config.token_width,
        "metric": row["metric"], "score": row["test"], "low": row["test_low"],
        "high": row["test_high"], "sd": row["test_sd"], "floor": row["test_floor"],
        "validation": row["validation"], "num_seeds": row["num_seeds"],
        "num_train": row["num_train"], "num_test": row["num_test"],
        "published": paper.published.model_dump() if paper else None,
        "comparable": paper is not None and paper.comparable and not plan.stand_in,
        "why_not": why_not, **vars(costs[work]),
        "folder": entry.folder.relative_to(result.folder.parents[1]).as_posix(),
    }  # fmt: skip
    return StudyResult.model_validate(json_values(values))


def _label(cell: Cell) -> str:
    """The case and what varies in it, without features and rule, which have columns of their own."""
    varied = {
        name: value
        for name, value in cell.varied.items()
        if not name.startswith("extraction.") and name != "protocol.selection"
    }
    words = [f"{name.rpartition('.')[2]} {value}" for name, value in varied.items()]
    return ", ".join(filter(None, [cell.case, *words])) or cell.name


def _distributions(plan: ReproductionPlan) -> dict[str, list[FrameRow]]:
    """Number of clips per class of every protocol, as in figures S6 to S10."""
    distributions = {}
    for choice, table in plan.tables.items():
        frame = class_distribution(table)
        frame = frame[frame["clips"] > 0].rename_axis("class").reset_index()
        distributions[choice.protocol] = _rows(frame)
    return distributions


def _rows(frame: pd.DataFrame) -> list[FrameRow]:
    """Rows of a data frame as JSON holds them."""
    rows: list[FrameRow] = json_values(frame.to_dict("records"))
    return rows
