"""Tests on a grid of timesteps and layers: whether early helps more out of domain, the best of many cells.

Which layer speaks for a timestep, and which of the early timesteps for early, is chosen on held-out clips of
the source; the clips that are tested have no say in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actiondiff.errors import UsageError
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast, interaction, max_statistic, per_clip
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.run import PREDICTIONS
from actiondiff.provenance import json_values

__all__ = [
    "IN_DOMAIN",
    "Interaction",
    "ScoredCell",
    "best_of_many",
    "early_and_last",
    "early_gain",
    "grid_tests",
    "scored_cells",
]

IN_DOMAIN = "in_domain.csv.gz"
_RESAMPLES = 1000


@dataclass(frozen=True)
class ScoredCell:
    """A study of a grid.

    Attributes:
        name: Of the study.
        timestep: Which it reads; None if the grid does not vary it.
        layer: Which it reads; None if the grid does not vary it.
        validation: Its score on held-out clips of the source; None without them.
        folder: Its run.
    """

    name: str
    timestep: int | None
    layer: int | None
    validation: float | None
    folder: Path


@dataclass(frozen=True)
class Interaction:
    """(early minus last) out of domain minus the same in it.

    Attributes:
        contrast: With its interval over groups and seeds.
        early: Names of the studies that speak for early, out of domain and in it.
        last: The same for the last timestep.
        num_clips: Tested out of domain.
        num_seeds: Trainings out of domain and in it.
    """

    contrast: Contrast
    early: tuple[str, str]
    last: tuple[str, str]
    num_clips: int
    num_seeds: tuple[int, int]


def scored_cells(points: Sequence[Cell], table: pd.DataFrame, folder: Path) -> list[ScoredCell]:
    """The studies that have a run, with what held-out clips of the source say of them.

    Args:
        points: Studies that differ in timestep and layer only.
        table: `SweepResult.studies`.
        folder: Of the sweep.
    """
    known = {row["point"]: row for row in table.to_dict("records")}
    return [
        ScoredCell(
            point.name,
            _number(point.varied.get("features.timestep")),
            _number(point.varied.get("features.layer")),
            json_values(known[point.name]["validation"]),
            folder / "runs" / point.slug,
        )
        for point in points
        if point.name in known
    ]


def early_and_last(cells: Sequence[ScoredCell]) -> tuple[ScoredCell, ScoredCell]:
    """What speaks for early timesteps, and what for the last: the best on held-out clips of the source.

    Early are the timesteps of the first half. A larger timestep is later, and cleaner.

    Raises:
        UsageError: If there are fewer than two timesteps, or no held-out clips.
    """
    timesteps = sorted({cell.timestep for cell in cells if cell.timestep is not None})
    if len(timesteps) < 2 or any(cell.validation is None for cell in cells):
        raise UsageError(
            "early against last needs two timesteps at least, and held-out clips of the source to choose by "
            "(protocol.selection=source-validation)."
        )
    early = timesteps[: len(timesteps) // 2]
    return (
        _best(cell for cell in cells if cell.timestep in early),
        _best(cell for cell in cells if cell.timestep == timesteps[-1]),
    )


def early_gain(
    outside: Sequence[ScoredCell],
    inside: Sequence[ScoredCell],
    metric: Metric,
    *,
    inside_file: str = PREDICTIONS,
) -> Interaction:
    """Whether early timesteps help more out of domain than in it.

    Args:
        outside: Cells whose test clips are out of domain.
        inside: Cells whose test clips are in domain; the same ones, if the source is scored beside.
        metric: Which score.
        inside_file: Of predictions of the clips in domain.

    Raises:
        UsageError: See `early_and_last`.
        RunError: If predictions are missing.
    """
    early_out, last_out = early_and_last(outside)
    early_in, last_in = early_and_last(inside)
    out = [read_scored(cell.folder) for cell in (early_out, last_out)]
    within = [read_scored(cell.folder, file=inside_file) for cell in (early_in, last_in)]
    found = interaction(
        metric, early_out=out[0].scored, last_out=out[1].scored, early_in=within[0].scored,
        last_in=within[1].scored, num_resamples=_RESAMPLES,
    )  # fmt: skip
    seeds = (len(out[0].scored.probabilities), len(within[0].scored.probabilities))
    names = (early_out.name, early_in.name), (last_out.name, last_in.name)
    return Interaction(found, *names, num_clips=len(out[0].clips), num_seeds=seeds)


def best_of_many(cells: Sequence[ScoredCell], *, num_flips: int = 10000) -> pd.DataFrame:
    """Each cell against the reference, corrected for how many there are.

    The reference is the last timestep's cell that is best on held-out clips of the source; in a grid of
    layers alone, the first layer.

    Args:
        cells: A grid's.
        num_flips: Of the permutation.

    Returns:
        A row a cell but the reference: `cell`, `reference`, `timestep`, `layer`, `gain` (mean over clips) and
        `p`, one-sided.

    Raises:
        RunError: If predictions are missing.
    """
    reference = _reference(cells)
    others = [cell for cell in cells if cell != reference]
    runs = {cell.name: read_scored(cell.folder) for cell in cells}
    values = {name: _values(run) for name, run in runs.items()}
    base, groups = values[reference.name], runs[reference.name].scored.groups
    stacked = np.stack([values[cell.name] for cell in others])
    p = max_statistic(stacked, base, groups, num_flips=num_flips)
    return pd.DataFrame(
        {
            "cell": [cell.name for cell in others],
            "reference": reference.name,
            "timestep": [cell.timestep for cell in others],
            "layer": [cell.layer for cell in others],
            "gain": (stacked - base).mean(1),
            "p": p,
        }
    )


def _reference(cells: Sequence[ScoredCell]) -> ScoredCell:
    timesteps = [cell.timestep for cell in cells if cell.timestep is not None]
    if len(set(timesteps)) > 1:
        return _best(cell for cell in cells if cell.timestep == max(timesteps))
    return min(cells, key=lambda cell: cell.layer or 0)


def _best(cells: Any) -> ScoredCell:
    found: ScoredCell = max(cells, key=lambda cell: -1.0 if cell.validation is None else cell.validation)
    return found


def _values(run: ScoredRun) -> Any:
    return per_clip(run.scored, multi_label=run.multi_label)


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def grid_tests(cases: Mapping[str, Sequence[ScoredCell]], metric: Metric) -> pd.DataFrame:
    """For each case of a sweep: the interaction, where the source was scored beside, and the best cell.

    Args:
        cases: Name -> its cells; those of a single cell are left out.
        metric: Which score.
    """
    rows: list[dict[str, Any]] = []
    for case, cells in cases.items():
        if len(cells) < 2:
            continue
        many = best_of_many(cells)
        best = many.sort_values("p", kind="stable").iloc[0]
        rows.append(
            {
                "case": case, "test": "best of many", "first": best["cell"], "second": best["reference"],
                "value": best["gain"], "low": None, "high": None, "p": best["p"], "num_cells": len(many),
            }
        )  # fmt: skip
        scored_inside = all(next(cell.folder.rglob(IN_DOMAIN), None) for cell in cells)
        if scored_inside and len({cell.timestep for cell in cells}) > 1:
            found = early_gain(cells, cells, metric, inside_file=IN_DOMAIN)
            rows.append(
                {
                    "case": case, "test": "interaction", "first": found.early[0], "second": found.last[0],
                    "value": found.contrast.value, "low": found.contrast.low, "high": found.contrast.high,
                    "p": found.contrast.p, "num_cells": len(cells),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
