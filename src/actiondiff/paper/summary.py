"""What a reproduction found, as plain values: for its page, and for `reproduction.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from actiondiff.evaluation.frequencies import class_distribution
from actiondiff.experiments.grid import Cell
from actiondiff.heads.bundle import read_config
from actiondiff.paper.costs import BackboneCost
from actiondiff.paper.plan import ReproductionPlan, StoreWork, describe
from actiondiff.paper.stand_in import Control
from actiondiff.paper.verdicts import JudgedClaim, SweptStudy, judge_claims, matrices
from actiondiff.provenance import json_values

__all__ = ["summarise"]

WATERMARK = "stand-in"


def summarise(
    plan: ReproductionPlan,
    swept: Sequence[SweptStudy],
    costs: Mapping[StoreWork, BackboneCost],
    controls: Sequence[Control],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """All of it.

    Args:
        plan: What was asked for.
        swept: The studies.
        costs: What each store's backbone takes.
        controls: Of a stand-in.
        left_out: Study -> why there is no number.
    """
    tables: dict[str, pd.DataFrame] = {}
    if plan.target == "fig4":
        tables = matrices(next(iter(plan.tables.values())), swept)
    judged, cells = judge_claims(plan.grid.name, swept, tables)
    tests = [entry.result.tests.to_dict("records") for entry in _one_each(swept)]
    return {
        "format": 1,
        "target": plan.target,
        "description": plan.grid.description,
        "watermark": WATERMARK if plan.stand_in else "",
        "stand_in": plan.stand_in,
        "rows": [row for entry in swept for row in _rows(plan, entry, costs)],
        "others": [entry.model_dump() for entry in plan.grid.others],
        "controls": [_control(control) for control in controls],
        "claims": [_claim(entry) for entry in judged],
        "tests": json_values([row for rows in tests for row in rows]),
        "cells": {name: json_values(frame.to_dict("records")) for name, frame in cells.items()},
        "matrices": {
            name: json_values(frame.rename_axis("source").reset_index().to_dict("records"))
            for name, frame in tables.items()
        },
        "distributions": _distributions(plan),
        "left_out": dict(left_out),
    }


def _rows(
    plan: ReproductionPlan, entry: SweptStudy, costs: Mapping[StoreWork, BackboneCost]
) -> list[dict[str, Any]]:
    """A study's line, if it was trained."""
    point, result = entry.point, entry.result
    found = [row for row in result.studies.to_dict("records") if row["point"] == point.name]
    if not found or point.data is None or point.extraction is None:
        return []
    row = found[0]
    paper = next((paper for paper in result.published if paper.study == point.name), None)
    work = next(w for w in costs if (w.dataset, w.extraction) == (point.data.dataset, point.extraction))
    seed = next(path for path in (entry.folder, entry.folder / "seed-0") if (path / "config.json").is_file())
    config = read_config(seed)
    why_not = "" if paper is None else "it is a stand-in" if plan.stand_in else paper.why_not
    return json_values(
        [
            {
                "study": point.name, "label": _label(point), "case": point.case,
                "protocol": point.data.protocol, "rule": row["rule"],
                "backbone": describe(point.extraction), "in_place_of": plan.replaced.get(point.name, ""),
                "varied": dict(point.varied), "feature": config.keys[0], "width": config.token_width,
                "metric": row["metric"], "score": row["test"], "low": row["test_low"],
                "high": row["test_high"], "sd": row["test_sd"], "floor": row["test_floor"],
                "validation": row["validation"], "num_seeds": row["num_seeds"],
                "num_train": row["num_train"], "num_test": row["num_test"],
                "published": paper.published.model_dump() if paper else None,
                "comparable": paper is not None and paper.comparable and not plan.stand_in,
                "why_not": why_not, **asdict(costs[work]),
                "folder": entry.folder.relative_to(result.folder.parents[1]).as_posix(),
            }
        ]
    )  # fmt: skip


def _label(point: Cell) -> str:
    """Its case and what varies in it, but for features and rule, which stand beside."""
    told = {
        name: value
        for name, value in point.varied.items()
        if not name.startswith("extraction.") and name != "protocol.selection"
    }
    words = [f"{name.rpartition('.')[2]} {value}" for name, value in told.items()]
    return ", ".join(filter(None, [point.case, *words])) or point.name


def _distributions(plan: ReproductionPlan) -> dict[str, list[dict[str, Any]]]:
    """Clips a class of every protocol: figures S6 to S10."""
    found = {}
    for choice, table in plan.tables.items():
        frame = class_distribution(table)
        frame = frame[frame["clips"] > 0].rename_axis("class").reset_index()
        found[choice.protocol] = json_values(frame.to_dict("records"))
    return found


def _control(control: Control) -> dict[str, Any]:
    values = asdict(control) | {"above": control.above, "permuted_at_prior": control.permuted_at_prior}
    clean: dict[str, Any] = json_values(values)
    return clean


def _claim(judged: JudgedClaim) -> dict[str, Any]:
    return {**judged.claim.model_dump(), "outcome": judged.outcome, "said": judged.said}


def _one_each(swept: Sequence[SweptStudy]) -> list[SweptStudy]:
    """One entry a sweep."""
    return list({entry.result.folder: entry for entry in swept}.values())
