"""`actiondiff datasets ls|check|write|stand-in`: your own tables, and published datasets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption

if TYPE_CHECKING:
    from actiondiff.datasets.base import Table

__all__ = ["check", "ls", "stand_in", "write"]

_MAX_VALUES = 30  # a column with more values holds names rather than domains, and is not counted

_DatasetName = Annotated[str, typer.Argument(help="Name of the dataset; see `actiondiff datasets ls`.")]
_Data = Annotated[
    Path | None, typer.Option("--data", help="Folder with the videos and annotation files of the dataset.")
]
_Annotations = Annotated[
    Path | None, typer.Option(help="Folder with the annotation files.  [default: that of --data]")
]
_Protocol = Annotated[
    str | None, typer.Option(help="Name of the protocol.  [default: the first of the dataset]")
]


def ls(as_json: JsonOption = False) -> None:
    """List the published datasets and their protocols."""
    from actiondiff.cli.output.datasets import describe_sizes
    from actiondiff.datasets import DATASETS

    datasets = {name: DATASETS[name] for name in sorted(DATASETS)}
    if as_json:
        values = {
            name: {
                "title": dataset.title,
                "home": dataset.home,
                "licence": dataset.licence,
                "protocols": {
                    key: {"description": item.description, "sizes": dict(item.sizes), "metric": item.metric}
                    for key, item in dataset.protocols.items()
                },
            }
            for name, dataset in datasets.items()
        }
        typer.echo(json.dumps(values, indent=2))
        return
    for name, dataset in datasets.items():
        typer.echo(f"{name}: {dataset.title}")
        for key, item in dataset.protocols.items():
            typer.echo(f"  {key}: {item.description} ({describe_sizes(item.sizes)})")


def check(
    table: Annotated[
        str, typer.Argument(help="A CSV with video and label, a folder per class, or the name of a dataset.")
    ],
    data: _Data = None,
    annotations: _Annotations = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that the paths in the table start at.  [default: the table's own folder]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a table of labels, or the files of a dataset.

    Lists the problems of a table, or what is missing of a dataset and how to get it. If nothing is wrong, the
    clips are counted.
    """
    from actiondiff.datasets import DATASETS
    from actiondiff.errors import UsageError

    if table in DATASETS and not Path(table).exists():
        _check_dataset(table, data, annotations, as_json)
    elif data or annotations:
        names = ", ".join(sorted(DATASETS))
        raise UsageError(f"--data and --annotations need the name of a dataset ({names}); got {table!r}.")
    else:
        _check_table(Path(table), root, as_json)


def write(
    name: _DatasetName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write, .csv.")],
    data: _Data = None,
    annotations: _Annotations = None,
    protocol: _Protocol = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a protocol of a published dataset as a table.

    The table can be used like one of your own.
    """
    from actiondiff import outputs
    from actiondiff.datasets.export import write_table
    from actiondiff.datasets.published import read_dataset

    table = read_dataset(name, data or Path(), protocol=protocol, annotations=annotations)
    with outputs.claim_file(out, "datasets write", overwrite=overwrite):
        write_table(table, out)
    typer.echo(f"Written: {out} ({len(table)} clips, {len(table.label_names)} classes)")


def stand_in(
    name: _DatasetName,
    folder: Annotated[Path, typer.Argument(help="Folder to write to; it should hold nothing else.")],
    protocol: _Protocol = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Annotation files of the dataset.  [default: built-in samples, which are made up]"),
    ] = None,
    per_class: Annotated[
        int, typer.Option(help="Number of clips per class and side, where the dataset has as many.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
) -> None:
    """Draw clips that take the place of a dataset's videos.

    The clips have names like those of the dataset's own videos, so that every step can be tried without the
    dataset.
    """
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.datasets.export import write_table
    from actiondiff.datasets.published import read_dataset
    from actiondiff.paper.datasets.drawn_clips import choose_clips, write_stand_in
    from actiondiff.paper.datasets.samples import write_sample

    source = write_sample(name, folder) if annotations is None else annotations
    table = read_dataset(name, folder, protocol=protocol, annotations=source)
    with progress_bar("Drawing") as progress:
        chosen = choose_clips(table, per_class=per_class, seed=seed)
        table = write_stand_in(chosen, folder, seed=seed, progress=progress)
    write_table(table, folder / "table.csv")
    typer.echo(f"Written: {folder / 'table.csv'} ({len(table)} stand-in clips; their numbers mean nothing)")


def _check_dataset(name: str, data: Path | None, annotations: Path | None, as_json: bool) -> None:
    from actiondiff.cli.output.datasets import check_values, describe_check
    from actiondiff.datasets.checking import check_dataset
    from actiondiff.errors import UsageError

    result = check_dataset(name, data or Path(), annotations=annotations)
    text = json.dumps(check_values(result), indent=2) if as_json else "\n".join(describe_check(result))
    typer.echo(text)
    if result.problem:
        raise UsageError(f"{name} cannot be read from {result.root}; see above for what is missing.")
    if not result.complete:
        raise typer.Exit(3)


def _check_table(path: Path, root: Path | None, as_json: bool) -> None:
    from actiondiff.datasets.table import read_table
    from actiondiff.errors import TableError

    try:
        table = read_table(path, root=root, check_files=True)
    except TableError as error:
        problems = error.problems
        typer.echo(json.dumps({"problems": problems}, indent=2) if as_json else "\n".join(problems))
        plural = "s; correct them" if len(problems) > 1 else "; correct it"
        raise TableError(path, [f"{len(problems)} problem{plural} and check again"]) from None
    counts = _count_values(table)
    num_unlabelled = sum(not example.labels for example in table.examples)
    if as_json:
        values = {
            "clips": len(table),
            "unlabelled": num_unlabelled,
            "multi_label": table.multi_label,
            "counts": counts,
        }
        typer.echo(json.dumps(values, indent=2))
        return
    kind = "several labels per clip" if table.multi_label else "one label per clip"
    unlabelled = f" ({num_unlabelled} without a label)" if num_unlabelled else ""
    typer.echo(
        f"{path}: {len(table)} clips{unlabelled}, {len(table.label_names)} classes, {kind}; nothing is wrong."
    )
    for column, values_of_column in counts.items():
        line = ", ".join(f"{value or '(empty)'} {count}" for value, count in values_of_column.items())
        typer.echo(f"{column}: {line}")


def _count_values(table: "Table") -> dict[str, dict[str, int]]:
    """How many clips have each label, and each value of the columns that may be domains."""
    counts = {"label": dict(sorted(table.counts().items()))}
    for column in ("split", *table.columns):
        values = table.counts(column)
        if 1 < len(values) <= _MAX_VALUES:
            counts[column] = dict(sorted(values.items()))
    return counts
