"""`actiondiff sweep`: many studies on one store."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actiondiff.cli.options import (
    EXPERT,
    SEVERAL,
    JsonOption,
    OverridesOption,
    OverwriteOption,
    RootOption,
    WithOption,
    parse_list,
)

if TYPE_CHECKING:
    from actiondiff.backbones.base import Backbone
    from actiondiff.features.store import FeatureStore

__all__ = ["sweep"]

_SEARCH = "Search strategy"
_EXTRACTION = "Features that the store lacks"


def sweep(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe or YAML file, with lists where it varies.")],
    store: Annotated[Path, typer.Argument(help="Feature store, made by `actiondiff extract`.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the sweep; one that exists is continued.")
    ],
    overrides: OverridesOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Number of training runs at the same time.  [default: one per core]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the studies, and train nothing.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Successive halving: share of the full cost to spend, below 1, e.g. 0.3.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    touch_target_once: Annotated[
        bool,
        typer.Option(
            "--touch-target-once",
            help="Choose on the source first, and test only the chosen study.",
            rich_help_panel=_SEARCH,
        ),
    ] = False,
    stepwise: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Choose features one after the other on the source, among these (with commas) or all.",
            rich_help_panel=SEVERAL,
        ),
    ] = None,
    most_keys: Annotated[
        int, typer.Option(min=1, help="Most features that --stepwise chooses.", rich_help_panel=SEVERAL)
    ] = 4,
    further: WithOption = None,
    extract: Annotated[
        bool,
        typer.Option("--extract", help="Extract features that the store lacks.", rich_help_panel=_EXTRACTION),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint of the backbone, for --extract; with --with as NAME=FILE, separated by commas.",
            rich_help_panel=_EXTRACTION,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Device that runs the backbone, for --extract.", rich_help_panel=_EXTRACTION),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(help="CPU threads of each training run; changes rounding.", rich_help_panel=EXPERT),
    ] = 1,
    root: RootOption = None,
) -> None:
    """Train every study of a recipe with lists and compare them."""
    from actiondiff.cli.output.progress import status_line
    from actiondiff.cli.output.sweeps import print_sweep
    from actiondiff.datasets.table import read_table
    from actiondiff.experiments import sweep as sweeps
    from actiondiff.experiments.grid import load_grid
    from actiondiff.features.joined import join_stores

    clips, features = read_table(table), join_stores(store, *(further or ()))
    grid = load_grid(recipe, overrides=overrides or (), table=clips)
    if dry_run:
        for cell in grid.cells:
            typer.echo(f"{cell.name} ({cell.recipe.seeds} seeds)")
        return
    with status_line("sweeping", quiet=as_json) as progress:
        result = sweeps.sweep(
            grid, features, clips, out=out, root=root, jobs=jobs, threads=threads, budget=budget,
            touch_target_once=touch_target_once, stepwise=parse_list(stepwise) or (), most_keys=most_keys,
            overwrite=overwrite, progress=progress,
            backbone=_load_backbones(features, weights, device) if extract else None,
        )  # fmt: skip
    text = (out / "sweep.json").read_text("utf-8")
    if as_json:
        typer.echo(text, nl=False)
    else:
        print_sweep(json.loads(text), out)
    if result.failed:
        raise typer.Exit(3)


def _load_backbones(store: "FeatureStore", weights: str | None, device: str) -> "dict[str, Backbone]":
    """Load the backbone of every store: name of a further store, empty for the first one -> backbone."""
    from actiondiff.backbones.base import backbone_from_settings
    from actiondiff.features.joined import further_stores, store_name
    from actiondiff.inference.reading import split_checkpoints

    further = further_stores(store)
    checkpoints = split_checkpoints(
        weights, store_name(store), tuple(further), f"these stores are of {store_name(store)}"
        f"{''.join(f' and {name}' for name in further)}",
    )  # fmt: skip
    backbones = {}
    for name, own in {"": store, **further}.items():
        settings: Any = own.settings["backbone"]
        backbones[name] = backbone_from_settings(settings, weights=checkpoints[name], device=device)
    return backbones
