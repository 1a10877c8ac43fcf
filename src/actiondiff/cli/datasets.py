"""`actiondiff datasets`: tables of one's own, and published datasets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from actiondiff.datasets.checking import DatasetCheck

__all__ = ["check", "ls", "stand_in", "write"]

_SHOWN = 30  # values a column may have to be counted: more are names, not domains
_FEW = 5  # missing videos that are named

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder with the dataset's videos, and its annotation files.")
]
AnnotationsOption = Annotated[
    Path | None, typer.Option(help="Folder with the annotation files, if not that of --data.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def ls(as_json: JsonOption = False) -> None:
    """List the published datasets and their protocols."""
    from actiondiff.datasets import DATASETS

    found = {name: DATASETS[name] for name in sorted(DATASETS)}
    if as_json:
        listed = {
            name: {
                "title": dataset.title,
                "home": dataset.home,
                "licence": dataset.licence,
                "protocols": {
                    key: {"description": item.description, "sizes": dict(item.sizes), "metric": item.metric}
                    for key, item in dataset.protocols.items()
                },
            }
            for name, dataset in found.items()
        }
        typer.echo(json.dumps(listed, indent=2))
        return
    for name, dataset in found.items():
        typer.echo(f"{name}: {dataset.title}")
        for key, item in dataset.protocols.items():
            typer.echo(f"  {key}: {item.description} ({_counted(item.sizes)})")


def check(
    table: Annotated[
        str, typer.Argument(help="A CSV with video and label, a folder per class, or a dataset's name.")
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder the table's paths are relative to, if not its own.")
    ] = None,
    data: DataOption = None,
    annotations: AnnotationsOption = None,
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
        known = ", ".join(sorted(DATASETS))
        raise UsageError(f"--data and --annotations go with a dataset's name ({known}); got {table!r}.")
    else:
        _check_table(Path(table), root, as_json)


def write(
    name: Annotated[str, typer.Argument(help="The dataset: actiondiff datasets ls.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write, .csv.")],
    data: DataOption = None,
    annotations: AnnotationsOption = None,
    protocol: Annotated[str | None, typer.Option(help="Which; the dataset's first by default.")] = None,
) -> None:
    """Write a protocol of a published dataset as a table.

    The table can be used like one of your own.
    """
    from actiondiff.datasets.export import write_table
    from actiondiff.datasets.published import read_dataset

    table = read_dataset(name, data or Path(), protocol=protocol, annotations=annotations)
    write_table(table, out)
    typer.echo(f"Written: {out} ({len(table)} clips, {len(table.label_names)} classes)")


def stand_in(
    name: Annotated[str, typer.Argument(help="The dataset: actiondiff datasets ls.")],
    folder: Annotated[Path, typer.Argument(help="Where to: a folder of its own.")],
    protocol: Annotated[str | None, typer.Option(help="Which; the dataset's first by default.")] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="The dataset's annotation files; else an excerpt that comes with us.")
    ] = None,
    per_class: Annotated[int, typer.Option(help="Clips a class and side, where there are.")] = 4,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Draw clips that take the place of a dataset's videos.

    The clips have the names of the dataset's own videos, so that every step can be tried without the dataset.
    """
    from rich.console import Console
    from rich.progress import Progress

    from actiondiff.datasets.export import write_table
    from actiondiff.datasets.published import read_dataset
    from actiondiff.paper.datasets.drawn_clips import choose_clips, write_stand_in
    from actiondiff.paper.datasets.excerpts import write_excerpt

    source = write_excerpt(name, folder) if annotations is None else annotations
    table = read_dataset(name, folder, protocol=protocol, annotations=source)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Drawing", total=None)
        table = write_stand_in(
            choose_clips(table, per_class=per_class, seed=seed), folder, seed=seed,
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    write_table(table, folder / "table.csv")
    typer.echo(f"Written: {folder / 'table.csv'} ({len(table)} stand-in clips; their numbers mean nothing)")


def _check_dataset(name: str, data: Path | None, annotations: Path | None, as_json: bool) -> None:
    from actiondiff.datasets.checking import check_dataset
    from actiondiff.errors import UsageError

    found = check_dataset(name, data or Path(), annotations=annotations)
    typer.echo(json.dumps(_facts(found), indent=2) if as_json else "\n".join(_lines(found)))
    if found.problem:
        raise UsageError(f"{name} cannot be read from {found.root}; what is missing stands above.")
    if not found.complete:
        raise typer.Exit(3)


def _facts(found: "DatasetCheck") -> dict[str, Any]:
    return {
        "dataset": found.dataset.name,
        "root": str(found.root),
        "complete": found.complete,
        "problem": found.problem,
        "annotations": {item.file.example: [str(path) for path in item.paths] for item in found.files},
        "num_videos": found.num_videos,
        "stand_in": found.is_stand_in,
        "protocols": {
            name: {
                "counts": dict(item.counts),
                "expected": dict(item.sizes),
                "as_expected": item.as_published,
                "videos": item.num_videos,
                "videos_missing": list(item.missing),
            }
            for name, item in found.protocols.items()
        },
        "repeated": [list(names) for names in found.repeated],
        "licence": found.dataset.licence,
        "steps": list(found.dataset.steps),
        "home": found.dataset.home,
    }


def _lines(found: "DatasetCheck") -> list[str]:
    dataset = found.dataset
    drawn = " They are STAND-INS: drawn, not the dataset's." if found.is_stand_in else ""
    lines = [dataset.title, f"Below {found.root}: {found.num_videos} videos.{drawn}"]
    for file in found.files:
        state = "missing"
        if file.paths:
            some = f"{len(file.paths)} files" if file.complete else f"{len(file.paths)} of {file.file.count}"
            state = str(file.paths[0]) if file.file.count == 1 else f"{some}, in {file.paths[0].parent}"
        elif not file.file.needed:
            state = "none"
        lines.append(f"annotations, {file.file.example}: {state}")
    if found.problem:
        lines.append(f"Not readable: {found.problem}")
    for name, item in found.protocols.items():
        note = "" if item.as_published else f", NOT as it should be ({_counted(item.sizes)})"
        here = item.num_videos - len(item.missing)
        lines.append(f"{name}: {_counted(item.counts)}{note}; {here} of {item.num_videos} videos on disk")
    if found.repeated:
        first = found.repeated[0]
        lines.append(
            f"{len(found.repeated)} videos lie in several places; {first[0]} is used, not {first[1]}"
        )
    if found.missing:
        shown = ", ".join(found.missing[:_FEW]) + (" ..." if len(found.missing) > _FEW else "")
        lines.append(f"{len(found.missing)} videos are missing, under any folder or suffix: {shown}")
    if found.problem or found.missing:
        lines += [f"How to get it ({dataset.home}):", *(f"  {step}" for step in dataset.steps)]
        lines += [f"  videos are found by name; officially: {dataset.layout}", f"Licence: {dataset.licence}."]
    return lines


def _counted(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _check_table(table: Path, root: Path | None, as_json: bool) -> None:
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
