"""Many studies of one recipe with lists: trained side by side, gone on with after a stop, and tabulated.

A sweep's folder holds `runs/NAME` (a run each), `runs.csv` (a row a training),
`points.csv` (a row a study: means over seeds), `domains.csv` (a row a training and domain), `choices.csv`
(what each rule of selection chooses, and its test), `tests.csv` (for grids of timesteps and layers: the best
cell against chance, and whether early helps more out of domain), `published.csv` (beside the paper's numbers,
where the recipe has any), `recipe.yaml`, and `sweep.json`, which has all of it but single trainings. Where
the choice comes before the test, `rungs/` holds its trainings.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actiondiff.backbones.base import Backbone
from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, SettingsMismatchError, StoreError, UnknownNameError, UsageError
from actiondiff.experiments.data import Material
from actiondiff.experiments.grid import Cell, Grid, load_grid
from actiondiff.experiments.grid_tests import grid_tests, scored_cells
from actiondiff.experiments.halving import choose
from actiondiff.experiments.runner import Fleet, twin
from actiondiff.experiments.tables import (
    PublishedComparison,
    choices,
    compare_with_published,
    domain_rows,
    run_rows,
    study_rows,
)
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import check_own_folder, environment, write_text
from actiondiff.types import Progress

__all__ = ["SweepResult", "sweep"]


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep found; scores are shares in [0, 1].

    Attributes:
        folder: Where it is.
        grid: What was asked for.
        runs: A row a training.
        studies: A row a study.
        domains: A row a training and domain it was scored on.
        choices: A row a question and rule of selection.
        tests: On grids of timesteps and layers, see `grid_tests.grid_tests`; else empty.
        published: The studies that have a published number, beside it.
        failed: Study and seed -> why there is no run.
        halving: What a budget saved and risked; empty without one.
    """

    folder: Path
    grid: Grid
    runs: pd.DataFrame
    studies: pd.DataFrame
    domains: pd.DataFrame
    choices: pd.DataFrame
    tests: pd.DataFrame
    published: tuple[PublishedComparison, ...]
    failed: Mapping[str, str]
    halving: Mapping[str, Any]

    @property
    def points(self) -> pd.DataFrame:
        """Older name of `studies`, after the file `points.csv`."""
        return self.studies

    def matrix(self, rows: str, columns: str, *, value: str = "test") -> pd.DataFrame:
        """A grid of scores for a heatmap, for example of `features.layer` by `features.timestep`.

        Args:
            rows: A field that varies, by its dotted name.
            columns: Another.
            value: A column of `studies`: `test` for the target, `validation` for the source.

        Raises:
            UnknownNameError: If there is no such column.
            UsageError: If several studies fall into one cell.
        """
        for name in (rows, columns, value):
            if name not in self.studies:
                raise UnknownNameError("column of the sweep", name, self.studies.columns)
        if self.studies.duplicated([rows, columns]).any():
            raise UsageError(f"several studies share a cell of {rows} by {columns}; take some of `studies`.")
        return self.studies.pivot(index=rows, columns=columns, values=value)


def sweep(
    recipe: Grid | str | os.PathLike[str],
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    threads: int = 1,
    budget: float | None = None,
    touch_target_once: bool = False,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Train and test every study of a recipe with lists.

    One that was stopped goes on when it is called again with the same arguments; further values may be added
    to a recipe's lists. Results do not depend on `jobs`. With more than one, a script needs
    `if __name__ == "__main__":` around the call, since processes start by reading it.

    Args:
        recipe: A recipe's name or file, or a grid.
        store: Features.
        table: Labels; a CSV, a folder per class, or a `Table`.
        out: The sweep's folder.
        root: Folder that the table's paths are relative to, if not the table's own.
        jobs: Trainings side by side, each in a process.
        threads: CPU threads of a training; part of the result's rounding.
        budget: Successive halving: the share, below 1, of the full cost that may be spent to find the best
            study. All are tried on few clips of the source, the better half on twice as many, and so on; only
            the last are trained in full and tested.
        touch_target_once: Choose on clips of the source first; only what is chosen is tested.
        backbone: Extracts what the store lacks, with a budget only as far as each round needs; None: nothing
            is extracted.
        progress: Called with a line now and then.

    Raises:
        UsageError: If the recipe, the table and the options do not fit each other.
        UnknownNameError: If the store lacks features, or a column or value does not exist.
        SettingsMismatchError: If the recipe names features that were made otherwise than the store's.
        RunError: If the folder holds something else, or a process dies.
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    grid = recipe if isinstance(recipe, Grid) else load_grid(recipe, table=table)
    if jobs < 1 or threads < 1:
        raise UsageError(f"jobs and threads are 1 or more; got {jobs} and {threads}.")
    folder = Path(out)
    check_own_folder(folder, "sweep", ["sweep.json", "runs", "rungs"], error=RunError, option="-o")
    _check_store(store, grid.cells)
    fleet = Fleet(
        store,
        table,
        Path(root) if root else table.root,
        jobs=jobs,
        threads=threads,
        backbone=backbone,
        progress=progress or (lambda done, total, what: None),
    )
    _check_clips(fleet, grid.cells)
    points, halving = grid.cells, {}
    if budget is not None or touch_target_once:
        choice = choose(fleet, points, folder / "rungs", budget=budget)
        points, halving = choice.points, choice.said
    failed = fleet.train(points, folder / "runs")
    result = _gather(fleet, grid, points, folder, failed, halving)
    _write(result, fleet)
    return result


def _gather(
    fleet: Fleet,
    grid: Grid,
    points: Sequence[Cell],
    folder: Path,
    failed: Mapping[str, str],
    halving: Mapping[str, Any],
) -> SweepResult:
    """Set the runs beside each other."""
    rows, domains = [], []
    for point in points:
        finished = fleet.finished(twin(point, points) or point, folder / "runs")
        rows += run_rows(point, finished, folder)
        domains += domain_rows(point, finished)
    runs = pd.DataFrame(rows)
    table = study_rows(points, runs, folder)
    return SweepResult(
        folder=folder,
        grid=grid,
        runs=runs,
        studies=table,
        domains=pd.DataFrame(domains),
        choices=choices(points, table, runs),
        tests=_tests(points, table, folder),
        published=tuple(compare_with_published(points, table)),
        failed=dict(failed),
        halving=dict(halving),
    )


def _tests(points: Sequence[Cell], table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Of studies that vary in timestep or layer and in nothing else but their case."""
    fields = {name for point in points for name in point.varied}
    if table.empty or not fields or not fields <= {"features.timestep", "features.layer"}:
        return pd.DataFrame()
    cases: dict[str, list[Cell]] = {}
    for point in points:
        cases.setdefault(point.case, []).append(point)
    cells = {case: scored_cells(found, table, folder) for case, found in cases.items()}
    tested = table["test"].notna().all()
    return grid_tests(cells, table["metric"].iloc[0]) if tested else pd.DataFrame()


def _write(result: SweepResult, fleet: Fleet) -> None:
    tables = {
        "runs": result.runs,
        "points": result.studies,
        "domains": result.domains,
        "choices": result.choices,
        "tests": result.tests,
    }
    if result.published:
        tables["published"] = pd.DataFrame([_paper_row(paper) for paper in result.published])
    for name, frame in tables.items():
        if len(frame.columns):
            write_text(result.folder / f"{name}.csv", frame.to_csv(index=False))
    summary = {
        "format": 1,
        "recipe": result.grid.name,
        "description": result.grid.description,
        "fields": result.grid.fields(),
        "store": {"folder": str(fleet.store.folder), "fingerprint": fleet.store.fingerprint},
        "backbone": fleet.store.settings["backbone"],
        "table": str(fleet.table.source),
        "num_studies": len(result.grid.cells),
        **{name: _records(tables[name]) for name in tables if name != "runs"},
        "others": [entry.model_dump() for entry in result.grid.others],
        "failed": result.failed,
        "halving": result.halving,
        "target_looks": int(result.runs["target_looks"].sum()) if len(result.runs) else 0,
        "threads": fleet.threads,
        "environment": environment(),
    }
    write_text(result.folder / "sweep.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_text(result.folder / "recipe.yaml", yaml.safe_dump(dict(result.grid.tree), sort_keys=False))


def _paper_row(paper: PublishedComparison) -> dict[str, Any]:
    """The paper's side in columns of its own."""
    row = {name: value for name, value in vars(paper).items() if name not in ("study", "published")}
    return (
        {"point": paper.study}
        | row
        | {f"published_{name}": value for name, value in paper.published.model_dump().items()}
    )


def _check_clips(fleet: Fleet, points: Iterable[Cell]) -> None:
    """Make sure that every study's clips can be divided as it asks, before any is trained."""
    for recipe in {(point.recipe.protocol, point.recipe.seed): point.recipe for point in points}.values():
        _ = Material(fleet.store, fleet.table, recipe, fleet.root).split


def _check_store(store: FeatureStore, points: Iterable[Cell]) -> None:
    """Make sure that the features are those that the recipe speaks of, where it does.

    Raises:
        SettingsMismatchError: If not.
        StoreError: If the recipe speaks of several kinds of features, which no one store holds.
    """
    settings: Any = store.settings
    spoken = list(dict.fromkeys(point.extraction for point in points if point.extraction is not None))
    if len(spoken) > 1:
        raise StoreError(
            f"the recipe speaks of {len(spoken)} kinds of features, for example of {spoken[0].backbone} and "
            f"{spoken[1].backbone}, which no one store holds; choose one with --set extraction=..., or run "
            "the whole with actiondiff reproduce."
        )
    for extraction in spoken:
        asked = extraction.options.model_dump(mode="json", exclude_unset=True)
        asked = {"name": extraction.backbone, **{k: v for k, v in asked.items() if k in settings["backbone"]}}
        differ = {
            name: (settings["backbone"][name], value)
            for name, value in asked.items()
            if settings["backbone"][name] != value
        }
        if differ:
            raise SettingsMismatchError(
                f"{store.folder} does not hold the features that the recipe speaks of",
                differ,
                "Extract those into a store of their own, or set extraction=null to use these.",
            )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; None where there is no number."""
    return json.loads(frame.to_json(orient="records", double_precision=15)) if len(frame) else []
