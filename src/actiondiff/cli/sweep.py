"""`actiondiff sweep`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from actiondiff.backbones.base import Backbone
    from actiondiff.features.store import FeatureStore

__all__ = ["sweep"]


def sweep(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe or YAML file, with lists where it varies.")],
    store: Annotated[Path, typer.Argument(help="Features, from `actiondiff extract`.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the sweep.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="name=value, e.g. features.layer=[3,6,9].")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Trainings side by side.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads of a training; changes rounding.")] = 1,
    budget: Annotated[
        float | None,
        typer.Option(help="Successive halving: share of the full cost to spend, below 1, e.g. 0.3."),
    ] = None,
    touch_target_once: Annotated[
        bool, typer.Option("--touch-target-once", help="Choose on the source first; test only the choice.")
    ] = False,
    extract: Annotated[bool, typer.Option("--extract", help="Make features that the store lacks.")] = False,
    weights: Annotated[str | None, typer.Option(help="With --extract: the backbone's checkpoint.")] = None,
    device: Annotated[str, typer.Option(help="With --extract: where the backbone runs.")] = "auto",
    root: Annotated[
        Path | None, typer.Option(help="Folder the table's paths are relative to, if not its own.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the studies, and train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print sweep.json.")] = False,
) -> None:
    """Train every study of a recipe with lists and compare them."""
    from rich.console import Console

    from actiondiff.datasets.table import read_table
    from actiondiff.experiments import sweep as sweeps
    from actiondiff.experiments.grid import load_grid
    from actiondiff.features.store import FeatureStore

    clips, features = read_table(table), FeatureStore.open(store)
    grid = load_grid(recipe, overrides=overrides or (), table=clips)
    if dry_run:
        for point in grid.cells:
            typer.echo(f"{point.name} ({point.recipe.seeds} seeds)")
        return
    with Console(stderr=True, quiet=as_json).status("sweeping") as status:
        result = sweeps.sweep(
            grid, features, clips, out=out, root=root, jobs=jobs, threads=threads, budget=budget,
            touch_target_once=touch_target_once, progress=lambda done, total, line: status.update(line),
            backbone=_load_backbone(features, weights, device) if extract else None,
        )  # fmt: skip
    if as_json:
        typer.echo((out / "sweep.json").read_text("utf-8"), nl=False)
    else:
        _print(json.loads((out / "sweep.json").read_text("utf-8")), out)
    if result.failed:
        raise typer.Exit(3)


def _load_backbone(store: "FeatureStore", weights: str | None, device: str) -> "Backbone":
    from actiondiff.backbones.base import backbone_from_settings

    settings: Any = store.settings["backbone"]
    return backbone_from_settings(settings, weights=weights, device=device)


def _print(summary: Mapping[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import percent

    console = Console(markup=False, emoji=False)

    def scores(row: Mapping[str, Any]) -> list[str]:
        low, high = row.get("test_low"), row.get("test_high")
        span = "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        return [percent(row.get("test")), span, percent(row.get("test_floor"))]

    points = Table("study", "source", "target", "95 % interval", "prior floor", title="mean over seeds")
    for row in summary["points"]:
        points.add_row(row["point"], percent(row["validation"]), *scores(row))
    console.print(points)
    rules = Table("question", "rule", "chooses", "target", "95 % interval", "prior floor", "looks at target")
    for row in summary["choices"]:
        name = row["point"] or row["why"]
        rules.add_row(row["question"], row["rule"], name, *scores(row), str(row.get("target_looks", "–")))
    console.print(rules)
    if summary["halving"]:
        console.print(summary["halving"]["said"])
    for name, reason in summary["failed"].items():
        console.print(f"failed: {name}: {reason}")
    console.print(f"written to {out}")
