"""Reproduction of a table or figure: planned, extracted, trained, and set beside what was published."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from actiondiff import outputs
from actiondiff.backbones.base import load_backbone
from actiondiff.datasets.base import Table
from actiondiff.errors import RunError, UsageError, WeightsError
from actiondiff.experiments.grid import DataChoice, Grid
from actiondiff.experiments.sweep import SweepResult, sweep
from actiondiff.extraction.api import extract_features
from actiondiff.features.store import FeatureStore
from actiondiff.paper.controls import run_controls
from actiondiff.paper.costs import BackboneCost
from actiondiff.paper.plan import (
    PlannedSweep,
    ReproductionPlan,
    StoreWork,
    choose_studies,
    describe,
    group_studies,
    load_studies,
    read_tables,
)
from actiondiff.paper.report import reproduction_page
from actiondiff.paper.results import REPRODUCTION, Reproduction, write_reproduction
from actiondiff.paper.stand_in import draw_clips, stand_in_grid, stand_in_tables
from actiondiff.paper.summary import summarise
from actiondiff.paper.verdicts import SweptStudy
from actiondiff.processes import num_cores
from actiondiff.provenance import check_own_folder, environment, safe_cells, write_text
from actiondiff.report.html import write_page
from actiondiff.types import Progress

__all__ = ["plan_reproduction", "reproduce"]

_FILES = (REPRODUCTION, "rows.csv", "report.html", "report-figures/")


def plan_reproduction(
    target: str,
    *,
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    annotations: str | os.PathLike[str] | None = None,
    stand_in: bool = False,
    rows: Sequence[str] = (),
    draws: bool = True,
    overrides: Sequence[str] = (),
) -> ReproductionPlan:
    """Plan the reproduction of a table or figure; only a stand-in writes something, its annotation files.

    Args:
        target: One of `TARGETS` or `CONTROLS`.
        out: Folder of the reproduction.
        data: Folder with the datasets' videos and annotation files, at any depth.
        annotations: Folder with the annotation files, if they are not in `data`.
        stand_in: Whether to use drawn clips under the datasets' ids and the built-in backbone; see
            `stand_in_grid`.
        rows: Keep only studies with any of these texts in their names; empty for all.
        draws: Whether to run the random draws of the released code beside their mean.
        overrides: Changes to the recipe, like `seeds=1`.

    Raises:
        UnknownNameError: If there is no such target.
        UsageError: If neither data nor a stand-in is asked for, or no study is left.
        TableError: If annotation files are missing.
    """
    if stand_in == (data is not None):
        raise UsageError(
            "give either the folder of the datasets (--data) or --stand-in, which runs it on drawn clips."
        )
    annotation_folder = Path(annotations) if annotations else None
    clips_folder = Path(out) / "stand-in"

    def tables_of(grid: Grid) -> dict[DataChoice, Table]:
        if stand_in:
            return stand_in_tables(grid, clips_folder, annotations=annotation_folder)
        return read_tables(grid, Path(data or ""), annotation_folder)

    grid = choose_studies(load_studies(target, overrides=overrides), rows, draws=draws)
    tables = tables_of(grid)
    # A recipe with one study per source domain can only be resolved once the clips are known.
    if any(cell.recipe.protocol.source == ("(each source)",) for cell in grid.cells):
        table = next(iter(tables.values()))
        grid = choose_studies(load_studies(target, overrides=overrides, table=table), rows, draws=draws)
    replaced: dict[str, str] = {}
    left_out: dict[str, str] = {}
    if stand_in:
        grid, replaced, left_out = stand_in_grid(grid)
    sweeps, stores = group_studies(target, grid, tables)
    plan = ReproductionPlan(target, grid, sweeps, stores, tables, replaced, left_out)
    return replace(plan, stand_in=_stand_in_size(plan)) if stand_in else plan


def reproduce(
    plan: ReproductionPlan,
    *,
    out: str | os.PathLike[str],
    weights: Mapping[str, str] | None = None,
    jobs: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = lambda done, total, what: None,
) -> Reproduction:
    """Run a planned reproduction; features and runs that exist already are used again.

    Args:
        plan: The plan, from `plan_reproduction`.
        out: Folder of the reproduction; gets `reproduction.json`, `rows.csv` and `report.html`.
        weights: Backbone -> checkpoint; by default those in this machine's weights folder.
        jobs: Number of training runs at the same time; None for one per core.
        device: Device that the backbones run on.
        overwrite: Whether tables and pages of others in the folder may be replaced.
        progress: Called before each step with its name, and the numbers of finished and of all steps.

    Raises:
        RunError: If the folder holds something else.
        UsageError: If no study can be run.
    """
    folder = Path(out)
    check_own_folder(
        folder, "reproduction", [REPRODUCTION, "features", "stand-in"], error=RunError, option="--out"
    )
    with outputs.claim(folder, "reproduce", _FILES, overwrite=overwrite):
        return _reproduce(plan, folder, weights or {}, jobs, device, progress)


def _reproduce(
    plan: ReproductionPlan,
    folder: Path,
    weights: Mapping[str, str],
    jobs: int | None,
    device: str,
    progress: Progress,
) -> Reproduction:
    """Run a planned reproduction in a folder that is claimed; see `reproduce`."""
    seconds: dict[str, float] = {}
    # A stand-in's clips do not exist yet.
    with _timed(seconds, "draw"):
        if plan.stand_in:
            progress(0, 0, "drawing stand-in clips")
            draw_clips(plan.tables)
    # A backbone without weights leaves out its studies; the others are run.
    with _timed(seconds, "extract"):
        costs, without_weights = _extract_all(plan, folder, weights, device, jobs, progress)
    left_out = {**plan.left_out, **without_weights}
    swept: list[SweptStudy] = []
    with _timed(seconds, "train"):
        for planned in plan.sweeps:
            if planned.cells[0].name in left_out:
                continue
            result = _sweep(plan, planned, folder, jobs, progress)
            swept += [SweptStudy(cell, result) for cell in planned.cells]
            left_out |= result.failed
    if not swept:
        raise UsageError(f"no study of {plan.target} could be run: {next(iter(left_out.values()))}")
    # Controls belong to stand-ins: they show that the small studies learn from their labels.
    with _timed(seconds, "judge"):
        progress(0, 0, "judging the claims")
        controls = run_controls(plan, swept, folder) if plan.stand_in else []
        results = summarise(plan, swept, costs, controls, left_out)
    results = results.model_copy(update={"seconds": seconds, "environment": environment()})
    write_reproduction(folder, results)
    rows = pd.DataFrame([study.model_dump() for study in results.studies])
    write_text(folder / "rows.csv", safe_cells(rows).to_csv(index=False))
    write_page(folder / "report.html", reproduction_page(results))
    return results


def _extract_all(
    plan: ReproductionPlan,
    folder: Path,
    weights: Mapping[str, str],
    device: str,
    jobs: int | None,
    progress: Progress,
) -> tuple[dict[StoreWork, BackboneCost], dict[str, str]]:
    """Fill the stores; return the cost of each backbone, and study -> why its backbone has no weights."""
    costs: dict[StoreWork, BackboneCost] = {}
    left_out: dict[str, str] = {}
    for number, work in enumerate(plan.stores):
        line = f"extracting {describe(work.extraction)} of {len(work.examples)} clips"
        progress(number, len(plan.stores), line)
        try:
            costs[work] = _extract(work, folder, weights.get(work.extraction.backbone), device, jobs)
        except WeightsError as error:
            for planned in plan.sweeps:
                if (planned.data.dataset, planned.extraction) == (work.dataset, work.extraction):
                    left_out |= {cell.name: str(error) for cell in planned.cells}
    return costs, left_out


def _extract(
    work: StoreWork, folder: Path, weights: str | None, device: str, jobs: int | None
) -> BackboneCost:
    """Fill a store, and return the cost of its backbone."""
    backbone = load_backbone(
        work.extraction.backbone, weights=weights, options=work.extraction.options, device=device
    )
    # Timesteps that are read at the same layers are extracted together, in one pass of the encoders.
    layers_of: dict[int, list[str]] = {}
    for key in work.keys:
        layers_of.setdefault(key.timestep, []).append(key.layer)
    timesteps_of: dict[tuple[str, ...], list[int]] = {}
    for timestep, layers in layers_of.items():
        timesteps_of.setdefault(tuple(layers), []).append(timestep)
    for taps, timesteps in timesteps_of.items():
        extract_features(
            list(work.examples), folder / "features" / work.slug, backbone=backbone, timesteps=timesteps,
            layers=taps, root=work.root, stride=work.extraction.stride,
            fps=work.extraction.fps, workers=jobs or num_cores(),
        )  # fmt: skip
    return work.cost


def _sweep(
    plan: ReproductionPlan, planned: PlannedSweep, folder: Path, jobs: int | None, progress: Progress
) -> SweepResult:
    """Train the studies of one sweep."""
    tree = {"recipe": plan.grid.name, "studies": [cell.name for cell in planned.cells]}
    grid = Grid(f"{plan.grid.name}: {planned.slug}", plan.grid.description, planned.cells, tree=tree)
    store = FeatureStore.open(folder / "features" / planned.store_slug)
    out = folder / "sweeps" / planned.slug
    return sweep(grid, store, plan.tables[planned.data], out=out, jobs=jobs, progress=progress)


def _stand_in_size(plan: ReproductionPlan) -> str:
    clips = {clip.video for table in plan.tables.values() for clip in table.examples}
    epochs = max(cell.recipe.training.epochs for cell in plan.grid.cells)
    return (
        f"{len(clips)} drawn clips in place of the datasets', {plan.num_studies} studies with small heads, "
        f"one seed and {epochs} epochs; only a part of each grid and, where clips have several labels, of "
        "the classes. These numbers show that every step runs, and nothing else."
    )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how many seconds a block took."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = round(time.perf_counter() - start, 1)
