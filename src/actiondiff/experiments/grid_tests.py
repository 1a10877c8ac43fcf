"""Tests on grids of timesteps and layers: the best of many cells, and early timesteps out of domain.

The layer that represents a timestep, and the timestep that represents the early ones, are chosen on held-out
clips of the source; the test clips play no part in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.errors import UsageError
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast, interaction, max_statistic, per_clip
from actiondiff.experiments.compare import read_scored
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.run import PREDICTIONS
from actiondiff.provenance import json_values
from actiondiff.types import JSON

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
    """A study of a grid with its score on the source.

    Attributes:
        name: Name of the study.
        timestep: Timestep that it reads; None if the grid does not vary it.
        layer: Layer that it reads; None if the grid does not vary it.
        validation: Its score on held-out clips of the source; None without them.
        folder: Folder of its run.
    """

    name: str
    timestep: int | None
    layer: int | None
    validation: float | None
    folder: Path


@dataclass(frozen=True)
class Interaction:
    """The gain of early timesteps over the last one, out of domain minus in domain.

    Attributes:
        contrast: The difference of the gains, with its interval over groups and seeds.
        early: Names of the studies that represent early timesteps, out of domain and in domain.
        last: Names of those that represent the last timestep.
        num_clips: Number of test clips out of domain.
        num_seeds: Number of training runs out of domain and in domain.
    """

    contrast: Contrast
    early: tuple[str, str]
    last: tuple[str, str]
    num_clips: int
    num_seeds: tuple[int, int]


def scored_cells(cells: Sequence[Cell], studies: pd.DataFrame, folder: Path) -> list[ScoredCell]:
    """Look up the scores of the cells whose studies have a run.

    Args:
        cells: Cells that differ only in timestep and layer.
        studies: The table `SweepResult.studies`.
        folder: Folder of the sweep.
    """
    rows = {row["point"]: row for row in studies.to_dict("records")}
    return [
        ScoredCell(
            cell.name,
            _number(cell.varied.get("features.timestep")),
            _number(cell.varied.get("features.layer")),
            json_values(rows[cell.name]["validation"]),
            folder / "runs" / cell.slug,
        )
        for cell in cells
        if cell.name in rows
    ]


def early_and_last(cells: Sequence[ScoredCell]) -> tuple[ScoredCell, ScoredCell]:
    """Choose the cells that represent early timesteps and the last one: the best on clips of the source.

    The first half of the timesteps is early. A larger timestep is later, and has less noise.

    Raises:
        UsageError: If there are fewer than two timesteps, or no held-out clips.
    """
    timesteps = sorted({cell.timestep for cell in cells if cell.timestep is not None})
    if len(timesteps) < 2 or any(cell.validation is None for cell in cells):
        raise UsageError(
            "early against last needs at least two timesteps, and held-out clips of the source to choose by "
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
    """Test whether early timesteps help more out of domain than in domain.

    Args:
        outside: Cells whose test clips are out of domain.
        inside: Cells whose test clips are in domain; the same cells if clips of the source were scored, too.
        metric: The score to compare.
        inside_file: File with the predictions of the clips in domain.

    Raises:
        UsageError: See `early_and_last`.
        RunError: If predictions are missing.
    """
    early_out, last_out = early_and_last(outside)
    early_in, last_in = early_and_last(inside)
    out = [read_scored(cell.folder) for cell in (early_out, last_out)]
    within = [read_scored(cell.folder, file=inside_file) for cell in (early_in, last_in)]
    contrast = interaction(
        metric, early_out=out[0].scored, last_out=out[1].scored, early_in=within[0].scored,
        last_in=within[1].scored, num_resamples=_RESAMPLES,
    )  # fmt: skip
    seeds = (len(out[0].scored.probabilities), len(within[0].scored.probabilities))
    names = (early_out.name, early_in.name), (last_out.name, last_in.name)
    return Interaction(contrast, *names, num_clips=len(out[0].clips), num_seeds=seeds)


def best_of_many(cells: Sequence[ScoredCell], *, num_flips: int = 10000) -> pd.DataFrame:
    """Compare each cell with the reference, corrected for the number of cells.

    The reference is the cell of the last timestep that is best on held-out clips of the source; in a grid of
    layers alone, it is the first layer.

    Args:
        cells: Cells of one grid.
        num_flips: Number of permutations.

    Returns:
        One row per cell but the reference: `cell`, `reference`, `timestep`, `layer`, `gain` (mean over clips)
        and `p`, one-sided.

    Raises:
        RunError: If predictions are missing.
    """
    reference = _reference(cells)
    others = [cell for cell in cells if cell != reference]
    runs = {cell.name: read_scored(cell.folder) for cell in cells}
    values = {name: per_clip(run.scored, multi_label=run.multi_label) for name, run in runs.items()}
    base, groups = values[reference.name], runs[reference.name].scored.groups
    stacked = np.stack([values[cell.name] for cell in others])  # (cells, clips)
    return pd.DataFrame(
        {
            "cell": [cell.name for cell in others],
            "reference": reference.name,
            "timestep": [cell.timestep for cell in others],
            "layer": [cell.layer for cell in others],
            "gain": (stacked - base).mean(1),
            "p": max_statistic(stacked, base, groups, num_flips=num_flips),
        }
    )


def grid_tests(cases: Mapping[str, Sequence[ScoredCell]], metric: Metric) -> pd.DataFrame:
    """Test the grid of each case of a sweep: the best cell and, where the source was scored, the interaction.

    Args:
        cases: Name -> its cells. Cases of a single cell are left out.
        metric: The score to compare.

    Returns:
        One row per case and test.
    """
    rows: list[dict[str, object]] = []
    for case, cells in cases.items():
        if len(cells) < 2:
            continue
        table = best_of_many(cells)
        best = table.sort_values("p", kind="stable").iloc[0]
        rows.append(
            {
                "case": case, "test": "best of many", "first": best["cell"], "second": best["reference"],
                "value": best["gain"], "low": None, "high": None, "p": best["p"], "num_cells": len(table),
            }
        )  # fmt: skip
        scored_inside = all(next(cell.folder.rglob(IN_DOMAIN), None) for cell in cells)
        if scored_inside and len({cell.timestep for cell in cells}) > 1:
            gain = early_gain(cells, cells, metric, inside_file=IN_DOMAIN)
            rows.append(
                {
                    "case": case, "test": "interaction", "first": gain.early[0], "second": gain.last[0],
                    "value": gain.contrast.value, "low": gain.contrast.low, "high": gain.contrast.high,
                    "p": gain.contrast.p, "num_cells": len(cells),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _reference(cells: Sequence[ScoredCell]) -> ScoredCell:
    """Choose the cell that others are compared with; see `best_of_many`."""
    timesteps = [cell.timestep for cell in cells if cell.timestep is not None]
    if len(set(timesteps)) > 1:
        return _best(cell for cell in cells if cell.timestep == max(timesteps))
    return min(cells, key=lambda cell: cell.layer or 0)


def _best(cells: Iterable[ScoredCell]) -> ScoredCell:
    """The cell with the highest score on held-out clips of the source."""
    return max(cells, key=lambda cell: -1.0 if cell.validation is None else cell.validation)


def _number(value: JSON) -> int | None:
    """A timestep or layer as a number; None if it is not one."""
    return int(value) if isinstance(value, int | float) else None
