"""`actiondiff datasets check`."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

datasets = typer.Typer(help="Labelled clips.", no_args_is_help=True)
_SHOWN = 30  # values a column may have to be counted: more are names, not domains


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(datasets, name="datasets")


@datasets.command("check")
def check(
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the table's paths are relative to, if not its own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List what is wrong with a table, all at once; else count its clips a class, split and column."""
    from actiondiff.datasets.table import read_table
    from actiondiff.errors import TableError

    try:
        clips = read_table(table, root=root, check_files=True)
    except TableError as error:
        listed = json.dumps({"problems": error.problems}, indent=2) if as_json else "\n".join(error.problems)
        typer.echo(listed)
        count = len(error.problems)
        plural = "s; correct them" if count > 1 else "; correct it"
        raise TableError(table, [f"{count} problem{plural} and check again"]) from None
    counts = {"label": dict(sorted(clips.counts().items()))}
    for column in ("split", *clips.columns):
        found = clips.counts(column)
        if 1 < len(found) <= _SHOWN:
            counts[column] = dict(sorted(found.items()))
    unlabelled = sum(not example.labels for example in clips.examples)
    if as_json:
        facts = {
            "clips": len(clips),
            "unlabelled": unlabelled,
            "multi_label": clips.multi_label,
            "counts": counts,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    kind = "several labels a clip" if clips.multi_label else "one label a clip"
    some = f" ({unlabelled} without a label)" if unlabelled else ""
    typer.echo(
        f"{table}: {len(clips)} clips{some}, {len(clips.label_names)} classes, {kind}; nothing is wrong."
    )
    for column, values in counts.items():
        shown = ", ".join(f"{value or '(empty)'} {count}" for value, count in values.items())
        typer.echo(f"{column}: {shown}")
