"""`actiondiff datasets check`."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

datasets = typer.Typer(help="Labelled clips.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(datasets, name="datasets")


@datasets.command("check")
def check(
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List what is wrong with a table, all at once; else count its clips a class, split and column."""
    from actiondiff.datasets.table import read_table

    clips = read_table(table, check_files=True)
    counts = {"label": dict(sorted(clips.counts().items()))}
    for column in ("split", *clips.columns):
        values = clips.counts(column)
        if len(values) > 1 and len(values) <= 30:
            counts[column] = dict(sorted(values.items()))
    found = {"clips": len(clips), "multi_label": clips.multi_label, "counts": counts}
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    kind = "several labels a clip" if clips.multi_label else "one label a clip"
    typer.echo(f"{table}: {len(clips)} clips, {len(clips.label_names)} classes, {kind}; nothing is wrong.")
    for column, values in counts.items():
        shown = ", ".join(f"{value or '(empty)'} {count}" for value, count in values.items())
        typer.echo(f"{column}: {shown}")
