"""`actiondiff table import|spans|add`: tables of labels."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption

__all__ = ["add", "import_labels", "spans"]

_Out = Annotated[Path, typer.Option("--out", "-o", help="The table to write, .csv.")]


def import_labels(
    program: Annotated[
        str,
        typer.Argument(
            help="Program or format of the labels: boris, deepethogram, camtrap-dp, zamba, via or elan."
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The file or folder that holds the labels.")],
    out: _Out,
    videos: Annotated[
        Path | None,
        typer.Option(
            help="Folder that is searched for the videos by name.  [default: the paths in the source]"
        ),
    ] = None,
    observation: Annotated[
        list[str] | None,
        typer.Option(
            help="Observation to read; can be repeated, which puts several of one video together.  "
            "[default: all, if each video has one]"
        ),
    ] = None,
    point_seconds: Annotated[
        float | None,
        typer.Option(help="Duration to give to point events.  [default: they are left out]"),
    ] = None,
    label_from: Annotated[
        str | None,
        typer.Option(
            help="What the label is. For camtrap-dp: behavior or scientificName; for elan: value or tier; "
            "for via: the name of an attribute.  [default: behavior; value; the only attribute]"
        ),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="For elan: tier to read; can be repeated.  [default: all tiers]"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="For deepethogram: frames per second.  [default: the times in the video]"),
    ] = None,
    by_individual: Annotated[
        bool | None,
        typer.Option(
            "--by-individual/--together",
            help="Whether each row is about one individual, as crops need it, or about all of a video.  "
            "[default: by individual if the labels were exported from predictions of crops]",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a table of labels from those of another program.

    Whatever is left out is counted; a row that cannot be read is an error.
    """
    from actiondiff import outputs
    from actiondiff.datasets.bouts import tabulate, write_rows
    from actiondiff.datasets.files import MediaFinder
    from actiondiff.datasets.importing import read_labels
    from actiondiff.outputs.words import counted

    bouts = read_labels(program, source, fps=fps, label_from=label_from, tiers=tier or (), videos=videos)
    folder = source if source.is_dir() else source.parent
    labels = tabulate(
        bouts, MediaFinder(folder, videos), out=out, source=source, point_seconds=point_seconds,
        observations=observation or (), by_individual=by_individual,
    )  # fmt: skip
    with outputs.claim_file(out, "table import", overwrite=overwrite):
        write_rows(out, labels.rows)
    if as_json:
        values = {"out": str(out), "rows": len(labels.rows), "points_left_out": labels.num_points}
        typer.echo(json.dumps({**values, "videos_absent": list(labels.absent)}))
        return
    typer.echo(f"{counted(len(labels.rows), 'row')} written to {out}")
    if labels.num_points:
        points = counted(labels.num_points, "point event was", "point events were")
        typer.echo(f"{points} left out; --point-seconds gives such events a duration.")
    for video in labels.absent:
        typer.echo(f"{video} is not on disk; use --videos to name a folder to search for it.")


def spans(
    table: Annotated[Path, typer.Argument(help="CSV with video, label, start_seconds and end_seconds.")],
    out: _Out,
    seconds: Annotated[float, typer.Option(help="Duration of a span.")] = 2.0,
    step: Annotated[
        float | None,
        typer.Option(
            help="Seconds from the start of one span to the next.  [default: the duration of a span]"
        ),
    ] = None,
    min_share: Annotated[
        float, typer.Option(help="Share of a span that a label must cover to be given to the span.")
    ] = 0.5,
    background: Annotated[
        str, typer.Option(help="Label of spans without a label; if empty, they are left out.")
    ] = "background",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut timed labels into spans of one length.

    A timeline looks at spans of one length, so a head that makes timelines should be trained on such spans.
    """
    from actiondiff import outputs
    from actiondiff.datasets.joining import write_examples
    from actiondiff.datasets.spans import cut_spans
    from actiondiff.datasets.table import read_table
    from actiondiff.outputs.words import counted

    timed = read_table(table)
    examples = cut_spans(
        timed, span_seconds=seconds, step_seconds=step, background=background, min_share=min_share
    )
    with outputs.claim_file(out, "table spans", overwrite=overwrite):
        write_examples(out, examples, root=timed.root)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "rows": len(examples)}))
    else:
        typer.echo(f"{counted(len(examples), 'span')} written to {out}")


def add(
    table: Annotated[Path, typer.Argument(help="Your table.")],
    more: Annotated[
        list[Path], typer.Argument(help="Further tables, e.g. a queue.csv with labels filled in.")
    ],
    out: _Out,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Join tables of labels into one.

    Rows without a label are left out. Where several rows are about the same clip, the last one is used.
    """
    from actiondiff import outputs
    from actiondiff.datasets.joining import join_tables, write_examples
    from actiondiff.datasets.table import read_table
    from actiondiff.outputs.words import counted

    root = out.resolve().parent
    joined = join_tables([read_table(path) for path in (table, *more)], root=root)
    with outputs.claim_file(out, "table add", overwrite=overwrite):
        write_examples(out, joined.examples, root=root)
    num_rows, num_replaced, num_without = len(joined.examples), joined.num_replaced, joined.num_without_label
    if as_json:
        values = {"rows": num_rows, "replaced": num_replaced, "without_label": num_without}
        typer.echo(json.dumps({"out": str(out), **values}))
        return
    typer.echo(f"{counted(num_rows, 'row')} written to {out}")
    typer.echo(
        f"{num_replaced} took the place of earlier rows of the same clip, {num_without} without a label were "
        "left out"
    )
