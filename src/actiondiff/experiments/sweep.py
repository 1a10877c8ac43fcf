"""A sweep: the studies of one recipe with lists, run side by side, resumed after a stop, and tabulated.

The folder of a sweep holds these files, in which a study is called `point`:

- `runs/NAME`: the run of each study; `rungs/`: the runs of the rounds before the test, if there are any
- `runs.csv`: one row per training run
- `points.csv`: one row per study, with means over seeds
- `domains.csv`: one row per training run and domain
- `choices.csv`: what each rule of selection chooses, and its test
- `tests.csv`: for grids of timesteps and layers, the best study against chance, and whether early timesteps
  help more out of domain
- `published.csv`: our numbers beside the paper's, where the recipe has any
- `recipe.yaml`: the options
- `sweep.json`: all of these tables but `runs.csv`
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actiondiff import outputs
from actiondiff.backbones.base import Backbone
from actiondiff.datasets.base import Table
from actiondiff.datasets.crop_tables import table_of_crops
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, UnknownNameError, UsageError
from actiondiff.experiments.data import split_table
from actiondiff.experiments.grid import Cell, Grid, check_store, load_grid
from actiondiff.experiments.grid_tests import grid_tests, scored_cells
from actiondiff.experiments.halving import choose
from actiondiff.experiments.runner import StudyRunner, twin
from actiondiff.experiments.stepwise import choose_keys
from actiondiff.experiments.tables import (
    PublishedComparison,
    choices,
    compare_with_published,
    domain_rows,
    run_rows,
    study_rows,
)
from actiondiff.features.joined import further_stores
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import check_own_folder, environment, safe_cells, write_text
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.types import JSON, Progress

__all__ = ["SweepResult", "sweep"]

_TABLES = ("runs", "points", "domains", "choices", "tests", "published")
_FILES = (*(f"{name}.csv" for name in _TABLES), "sweep.json", "recipe.yaml")


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The results of a sweep; scores are shares in [0, 1].

    Attributes:
        folder: Folder of the sweep.
        grid: The studies that were asked for.
        runs: One row per training run.
        studies: One row per study.
        domains: One row per training run and domain it was scored on.
        choices: One row per question and rule of selection.
        tests: Tests on grids of timesteps and layers, see `grid_tests.grid_tests`; empty for other grids.
        published: The studies that have a published number, beside it.
        failed: Study and seed -> why there is no run.
        halving: Cost and risk of a choice before the test; empty without one.
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
    halving: Mapping[str, JSON]

    @property
    def points(self) -> pd.DataFrame:
        """Older name of `studies`, after the file `points.csv`."""
        return self.studies

    def matrix(self, rows: str, columns: str, *, value: str = "test") -> pd.DataFrame:
        """Arrange scores as a matrix for a heatmap, for example `features.layer` by `features.timestep`.

        Args:
            rows: Dotted name of an option that varies.
            columns: Dotted name of another.
            value: Column of `studies`: `test` for the target, `validation` for the source.

        Raises:
            UnknownNameError: If there is no such column.
            UsageError: If several studies have the same place in the matrix.
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
    jobs: int | None = None,
    threads: int = 1,
    budget: float | None = None,
    touch_target_once: bool = False,
    stepwise: Sequence[str] = (),
    most_keys: int = 4,
    backbone: Backbone | Mapping[str, Backbone] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Train and test every study of a recipe with lists.

    If a sweep was stopped, a call with the same arguments continues it; values may be added to the recipe's
    lists. Results do not depend on `jobs`.

    Args:
        recipe: Name or file of a recipe, or a grid.
        store: Feature store to read from; for features of several backbones, see `join_stores`.
        table: Clips and their labels: a CSV, a folder per class, or a `Table`.
        out: Folder of the sweep; created if it does not exist.
        root: Folder that the table's paths are relative to, if not the table's own.
        jobs: Number of training runs side by side, each in a process; None for one per core, if each has
            several runs to do.
        threads: Number of CPU threads of a training run; rounding depends on it.
        budget: Share, below 1, of the full cost that may be spent to find the best study by successive
            halving. All studies are tried on few clips of the source, the better half on twice as many, and
            so on; only the last are trained in full and tested.
        touch_target_once: Choose on clips of the source first, and test only what is chosen.
        stepwise: Features to choose among one after the other, on clips of the source; only the chosen ones
            are tested together. `all` means every feature of the stores. The recipe describes one study.
        most_keys: Largest number of features that are chosen so.
        backbone: Extracts the features that the store lacks; with a budget only those that each round needs.
            Of joined stores: name of a further store, or an empty text for the first one -> its backbone.
            None extracts nothing.
        overwrite: Whether tables of others in the folder may be replaced.
        progress: Called with each step and a line about it.

    Raises:
        UsageError: If the recipe, the table and the options do not fit each other.
        UnknownNameError: If the store lacks features, or a column or value does not exist.
        SettingsMismatchError: If the store's features were made with other settings than the recipe's.
        RunError: If the folder holds something else, or a process dies.
    """
    # Open everything, and refuse what cannot work before any study is run.
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    table = table_of_crops(table, store, root or table.root)
    grid = recipe if isinstance(recipe, Grid) else load_grid(recipe, table=table)
    if (jobs is not None and jobs < 1) or threads < 1:
        raise UsageError(f"jobs and threads must be 1 or more; got {jobs} and {threads}.")
    folder = Path(out)
    check_own_folder(folder, "sweep", ["sweep.json", "runs", "rungs"], error=RunError, option="-o")
    check_store(store, grid.cells)
    _check_losses(table, grid.cells)
    if stepwise and (len(grid.cells) != 1 or budget is not None or backbone is not None):
        raise UsageError(
            f"stepwise takes a recipe of one study, without a budget and with features that are stored; got "
            f"{len(grid.cells)} studies{', a budget' if budget is not None else ''}"
            f"{', and a backbone to extract with' if backbone is not None else ''}."
        )
    different = {(cell.recipe.protocol, cell.recipe.seed): cell.recipe for cell in grid.cells}
    for study_recipe in different.values():
        split_table(table, study_recipe)

    runner = StudyRunner(
        store,
        table,
        Path(root) if root else table.root,
        jobs=jobs,
        threads=threads,
        backbones={} if backbone is None else backbone if isinstance(backbone, Mapping) else {"": backbone},
        progress=progress or (lambda done, total, what: None),
    )

    with outputs.claim(folder, "sweep", _FILES, overwrite=overwrite):
        # Choose on clips of the source, if only the chosen studies are to be tested.
        cells, halving = grid.cells, dict[str, JSON]()
        if stepwise:
            choice = choose_keys(runner, cells[0], stepwise, folder / "rungs", most=most_keys)
            cells, halving = choice.cells, choice.summary
        elif budget is not None or touch_target_once:
            choice = choose(runner, cells, folder / "rungs", budget=budget)
            cells, halving = choice.cells, choice.summary

        # Run the studies, and set their results beside each other.
        failed = runner.run(cells, folder / "runs")
        result = _tabulate(runner, grid, cells, folder, failed, halving)
        _write(result, runner)
    return result


def _tabulate(
    runner: StudyRunner,
    grid: Grid,
    cells: Sequence[Cell],
    folder: Path,
    failed: Mapping[str, str],
    halving: Mapping[str, JSON],
) -> SweepResult:
    """Gather the results of all studies in tables."""
    rows, domains = [], []
    for cell in cells:
        finished = runner.finished(twin(cell, cells) or cell, folder / "runs")
        rows += run_rows(cell, finished, folder)
        domains += domain_rows(cell, finished)
    runs = pd.DataFrame(rows)
    studies = study_rows(cells, runs, folder)
    return SweepResult(
        folder=folder,
        grid=grid,
        runs=runs,
        studies=studies,
        domains=pd.DataFrame(domains),
        choices=choices(cells, studies, runs),
        tests=_grid_tests(cells, studies, folder),
        published=tuple(compare_with_published(cells, studies)),
        failed=dict(failed),
        halving=dict(halving),
    )


def _grid_tests(cells: Sequence[Cell], studies: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Test studies that differ in timestep, layer and case alone; empty for other grids."""
    fields = {name for cell in cells for name in cell.varied}
    if studies.empty or not fields or not fields <= {"features.timestep", "features.layer"}:
        return pd.DataFrame()
    by_case: dict[str, list[Cell]] = {}
    for cell in cells:
        by_case.setdefault(cell.case, []).append(cell)
    scored = {case: scored_cells(group, studies, folder) for case, group in by_case.items()}
    are_tested = studies["test"].notna().all()
    return grid_tests(scored, studies["metric"].iloc[0]) if are_tested else pd.DataFrame()


def _write(result: SweepResult, runner: StudyRunner) -> None:
    """Write the tables, and sweep.json with all of them."""
    tables = {
        "runs": result.runs,
        "points": result.studies,
        "domains": result.domains,
        "choices": result.choices,
        "tests": result.tests,
    }
    if result.published:
        tables["published"] = pd.DataFrame([_published_row(entry) for entry in result.published])
    for name, frame in tables.items():
        if len(frame.columns):
            write_text(result.folder / f"{name}.csv", safe_cells(frame).to_csv(index=False))
    summary = {
        "format": 1,
        "recipe": result.grid.name,
        "description": result.grid.description,
        "fields": result.grid.fields(),
        "store": {"folder": str(runner.store.folder), "fingerprint": runner.store.fingerprint},
        "backbone": runner.store.settings["backbone"],
        "table": str(runner.table.source),
        **({"further": further} if (further := _further(runner.store)) else {}),
        "num_studies": len(result.grid.cells),
        **{name: _records(tables[name]) for name in tables if name != "runs"},
        "others": [entry.model_dump() for entry in result.grid.others],
        "failed": result.failed,
        "halving": result.halving,
        "target_looks": int(result.runs["target_looks"].sum()) if len(result.runs) else 0,
        "threads": runner.threads,
        "environment": environment(),
    }
    write_text(result.folder / "sweep.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_text(result.folder / "recipe.yaml", yaml.safe_dump(dict(result.grid.tree), sort_keys=False))


def _further(store: FeatureStore) -> dict[str, JSON]:
    """The stores that a store is joined with: name -> folder and fingerprint."""
    return {
        name: {"folder": str(other.folder), "fingerprint": other.fingerprint}
        for name, other in further_stores(store).items()
    }


def _published_row(entry: PublishedComparison) -> dict[str, Any]:
    """A row of published.csv: our side, then the paper's in columns of its own."""
    ours = {name: value for name, value in vars(entry).items() if name not in ("study", "published")}
    paper = {f"published_{name}": value for name, value in entry.published.model_dump().items()}
    return {"point": entry.study, **ours, **paper}


def _check_losses(table: Table, cells: Iterable[Cell]) -> None:
    """Make sure that no study has a loss for one class per clip, if clips of the table have several.

    Raises:
        UsageError: If a study has such a loss.
    """
    for cell in cells:
        loss = cell.recipe.training.loss
        if table.multi_label and loss in SINGLE_LABEL_LOSSES:
            raise UsageError(
                f"study {cell.name} has loss {loss}, which needs clips of one class each, and clips of "
                f"{table.source} have several; set training.loss=bce or training.loss=sigmoid-focal."
            )


def _records(frame: pd.DataFrame) -> list[JSON]:
    """Rows as JSON values; None where there is no number."""
    return json.loads(frame.to_json(orient="records", double_precision=15)) if len(frame) else []
