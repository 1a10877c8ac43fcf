"""The paper's tables and figures again: planned, extracted, trained, and set beside what was published."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from actiondiff.backbones.base import load_backbone
from actiondiff.datasets.base import Table
from actiondiff.errors import RunError, UsageError, WeightsError
from actiondiff.evaluation.results import read_training_metrics
from actiondiff.experiments.grid import Cell, DataChoice, Grid
from actiondiff.experiments.sweep import SweepResult, sweep
from actiondiff.experiments.tables import headline
from actiondiff.extraction.local import extract_features
from actiondiff.features.store import FeatureStore
from actiondiff.paper.costs import BackboneCost, measured_cost
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
from actiondiff.paper.stand_in import (
    Control,
    draw,
    judge_control,
    permute_labels,
    stand_in_grid,
    stand_in_tables,
)
from actiondiff.paper.summary import summarise
from actiondiff.paper.verdicts import SweptStudy
from actiondiff.provenance import environment, write_text
from actiondiff.report.html import write_page

__all__ = ["REPRODUCTION", "Reproduction", "plan_reproduction", "reproduce"]

REPRODUCTION = "reproduction.json"
_PERMUTATIONS = 3
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What came out.

    Attributes:
        folder: Where it is; `report.html` and `reproduction.json` are in it.
        summary: What `reproduction.json` holds.
        left_out: Study -> why there is no number.
    """

    folder: Path
    summary: Mapping[str, Any]
    left_out: Mapping[str, str]


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
    """What a table or figure takes; of a stand-in the annotations are written, else nothing.

    Args:
        target: One of `TARGETS` or `CONTROLS`.
        out: The reproduction's folder.
        data: Folder with the datasets' videos and annotation files, at any depth.
        annotations: Folder with the annotation files, if not there.
        stand_in: On drawn clips under the datasets' ids, with the built-in backbone: see `stand_in_grid`.
        rows: Only studies with any of these texts in their names.
        draws: Whether to run the released random draws beside their mean.
        overrides: Texts like `seeds=1`.

    Raises:
        UnknownNameError: If there is no such target.
        UsageError: If neither data nor a stand-in is asked for, or no study is left.
        TableError: If annotation files are missing.
    """
    if stand_in == (data is not None):
        raise UsageError(
            "give either the folder of the datasets (--data) or --stand-in, which runs it on drawn clips."
        )
    given = Path(annotations) if annotations else None
    place = Path(out) / "stand-in"

    def tables_of(grid: Grid) -> dict[DataChoice, Table]:
        if stand_in:
            return stand_in_tables(grid, place, annotations=given)
        return read_tables(grid, Path(data or ""), given)

    grid = choose_studies(load_studies(target, overrides=overrides), rows, draws=draws)
    tables = tables_of(grid)
    if any(point.recipe.protocol.source == ("(each source)",) for point in grid.cells):
        table = next(iter(tables.values()))
        grid = choose_studies(load_studies(target, overrides=overrides, table=table), rows, draws=draws)
    replaced: dict[str, str] = {}
    left_out: dict[str, str] = {}
    if stand_in:
        grid, replaced, left_out = stand_in_grid(grid)
    sweeps, stores = group_studies(target, grid, tables)
    plan = ReproductionPlan(target, grid, sweeps, stores, tables, replaced, left_out)
    return replace(plan, stand_in=_size(plan)) if stand_in else plan


def reproduce(
    plan: ReproductionPlan,
    *,
    out: str | os.PathLike[str],
    weights: Mapping[str, str] | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress = lambda line: None,
) -> Reproduction:
    """Do what was planned; what is there already is not done again.

    Args:
        plan: From `plan_reproduction`.
        out: Its folder.
        weights: Backbone -> checkpoint; those of this machine's folder otherwise.
        jobs: Trainings side by side.
        device: Where backbones run.
        progress: Called with a line now and then.

    Raises:
        RunError: If the folder holds something else.
        UsageError: If no study can be run.
    """
    folder = Path(out)
    _check_folder(folder)
    seconds: dict[str, float] = {}
    with _Lap(seconds, "draw"):
        if plan.stand_in:
            progress("drawing stand-in clips")
            draw(plan.tables)
    left_out, costs = dict(plan.left_out), {}
    with _Lap(seconds, "extract"):
        for work in plan.stores:
            progress(f"extracting {describe(work.extraction)} of {len(work.examples)} clips")
            try:
                costs[work] = _extract(work, folder, (weights or {}).get(work.extraction.backbone), device)
            except WeightsError as error:
                left_out |= {p.name: str(error) for u in plan.sweeps if _reads(u, work) for p in u.points}
    swept: list[SweptStudy] = []
    with _Lap(seconds, "train"):
        for unit in plan.sweeps:
            if unit.points[0].name in left_out:
                continue
            result = _sweep(plan, unit, folder, jobs, progress)
            swept += [SweptStudy(point, result) for point in unit.points]
            left_out |= result.failed
    if not swept:
        raise UsageError(f"no study of {plan.target} could be run: {next(iter(left_out.values()))}")
    with _Lap(seconds, "judge"):
        progress("judging")
        controls = _controls(plan, swept, folder) if plan.stand_in else []
        summary = summarise(plan, swept, costs, controls, left_out)
    _write(folder / REPRODUCTION, {**summary, "seconds": seconds, "environment": environment()})
    pd.DataFrame(summary["rows"]).to_csv(folder / "rows.csv", index=False)
    write_page(folder / "report.html", reproduction_page(folder))
    return Reproduction(folder, summary, left_out)


def _extract(work: StoreWork, folder: Path, weights: str | None, device: str) -> BackboneCost:
    place = folder / "features" / work.slug
    backbone = load_backbone(
        work.extraction.backbone, weights=weights, options=work.extraction.options, device=device
    )
    by_timestep: dict[int, list[str]] = {}
    for key in work.keys:
        by_timestep.setdefault(key.timestep, []).append(key.layer)
    alike: dict[tuple[str, ...], list[int]] = {}
    for timestep, layers in by_timestep.items():
        alike.setdefault(tuple(layers), []).append(timestep)
    for taps, timesteps in alike.items():
        extract_features(
            list(work.examples), place, backbone=backbone, timesteps=timesteps, layers=taps, root=work.root,
            stride=None if work.extraction.fps else work.extraction.stride, fps=work.extraction.fps,
        )  # fmt: skip
    known = work.cost
    return known if known.teraflop is not None else measured_cost(backbone, work.extraction, work.deepest)


def _sweep(
    plan: ReproductionPlan, unit: PlannedSweep, folder: Path, jobs: int, progress: Progress
) -> SweepResult:
    names = [point.name for point in unit.points]
    tree = {"recipe": plan.grid.name, "studies": names}
    grid = Grid(f"{plan.grid.name}: {unit.slug}", plan.grid.description, unit.points, tree=tree)
    store = FeatureStore.open(folder / "features" / f"{unit.data.dataset}-{describe(unit.extraction)}")
    place = folder / "sweeps" / unit.slug
    return sweep(grid, store, plan.tables[unit.data], out=place, jobs=jobs, progress=progress)


def _controls(plan: ReproductionPlan, swept: Sequence[SweptStudy], folder: Path) -> list[Control]:
    """Of every protocol one study, set beside guessing and beside itself with permuted labels.

    It is one that reads the backbone's own feature, if there is any. No epoch is chosen on the test clips,
    where the best of many guesses would be no guess.
    """
    first: dict[DataChoice, SweptStudy] = {}
    for entry in sorted(swept, key=_reads_own_feature, reverse=True):
        if entry.point.data is not None and entry.is_there:
            first.setdefault(entry.point.data, entry)
    found = []
    for choice, entry in first.items():
        point, table = _by_validation(entry.point), plan.tables[choice]
        unit = next(unit for unit in plan.sweeps if entry.point in unit.points)
        store = FeatureStore.open(folder / "features" / f"{choice.dataset}-{describe(unit.extraction)}")
        grid = Grid("control", "", (point,), tree={"recipe": plan.grid.name})
        tables = [table, *(permute_labels(table, seed=seed) for seed in range(_PERMUTATIONS))]
        runs = [
            SweptStudy(
                point, sweep(grid, store, clips, out=folder / "controls" / f"{choice.protocol}-{number}")
            )
            for number, clips in enumerate(tables)
        ]
        if all(run.is_there for run in runs):
            real, *permuted = [run.folder for run in runs]
            metric = headline(point, read_training_metrics(real))
            found.append(judge_control(point, metric, real, permuted))
    return found


def _by_validation(point: Cell) -> Cell:
    protocol = point.recipe.protocol.model_copy(update={"selection": "source-validation"})
    return replace(point, recipe=point.recipe.model_copy(update={"protocol": protocol}))


def _reads(unit: PlannedSweep, work: StoreWork) -> bool:
    return (unit.data.dataset, unit.extraction) == (work.dataset, work.extraction)


def _size(plan: ReproductionPlan) -> str:
    clips = {clip.video for table in plan.tables.values() for clip in table.examples}
    epochs = max(point.recipe.training.epochs for point in plan.grid.cells)
    return (
        f"{len(clips)} drawn clips in place of the datasets', {plan.num_studies} studies with small heads, "
        f"one seed, {epochs} epochs; a part of grids and, where clips have several labels, of classes. These "
        "numbers say that the road works, nothing else."
    )


def _check_folder(folder: Path) -> None:
    names = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (names and not names & {REPRODUCTION, "features", "stand-in"}):
        raise RunError(f"{folder} is neither empty nor a reproduction; give a new folder (--out).")


def _write(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def _reads_own_feature(entry: SweptStudy) -> bool:
    features = entry.point.recipe.features
    return features.timestep in (None, 20) and features.layer in (None, 9)


class _Lap:
    """Notes how long something took."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = round(time.perf_counter() - self.start, 1)
