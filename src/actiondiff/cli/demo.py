"""`actiondiff demo`: every step on what is built in."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption

if TYPE_CHECKING:
    from actiondiff.builtin.demo import DemoResult

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for clips, features and runs.")] = Path(
        "demo"
    ),
    train: Annotated[int, typer.Option(min=32, help="Number of training clips.")] = 256,
    test: Annotated[int, typer.Option(min=8, help="Number of clips of each test.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the clips and of the training.")] = 0,
    overwrite: OverwriteOption = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes; changes no number.  [default: one per core]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run every step on the built-in backbone and drawn clips.

    Draws clips, extracts features, trains heads, tests them in and out of domain, and prints a table.
    """
    from actiondiff.builtin.demo import run_demo

    result = run_demo(
        out, train=train, test=test, seed=seed, overwrite=overwrite, workers=workers,
        progress=lambda done, total, line: typer.echo(f"... {line}", err=True),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({**asdict(result), "folder": str(out)}, indent=2))
    else:
        _print(result)


def _print(result: "DemoResult") -> None:
    """Print the accuracy of the chosen features and of the controls on every test, and what to do next."""
    from rich.console import Console
    from rich.table import Table

    from actiondiff.builtin.demo import CONTROLS
    from actiondiff.builtin.world.protocols import PROTOCOLS

    protocols = list(PROTOCOLS)
    table = Table("features", *[name if name == "in-domain" else f"unseen {name}" for name in protocols])
    for row in [result.chosen, *(row for row in result.rows if row.features in CONTROLS)]:
        spans = {name: "–".join(f"{100 * bound:.0f}" for bound in row.interval[name]) for name in protocols}
        cells = [f"{100 * row.accuracy[name]:.0f} % ({spans[name]})" for name in protocols]
        table.add_row(row.features, *cells)
    table.add_row("prior floor", *[f"{100 * result.prior[name]:.0f} %" for name in protocols])
    Console().print(table)
    typer.echo(
        f"Accuracy with 95 % interval over individuals; {result.num_train} training clips of 4 species, "
        f"{result.num_test} test clips per column. {result.chosen.features} scored best on held-out source "
        "clips; all others are in the report. pixels and motion are 8x8 cells, without a network."
    )
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in result.seconds.items())
    folder = result.folder
    typer.echo(f"{seconds}. Clips, features, runs and demo.json are in {folder}/; try next:")
    typer.echo(
        f"  actiondiff predict {folder}/{result.chosen.run} {folder}/clips/clips -o {folder}/predictions"
    )
    typer.echo(f"The report, with pictures: {folder}/report.html")
