"""`actiondiff table`: tables of labels from other programs, cut into spans, and put together."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.errors import UnknownNameError

__all__ = ["add", "import_labels", "spans"]

_FROM = ("boris", "deepethogram")
_Out = Annotated[Path, typer.Option("--out", "-o", help="The table to write, .csv.")]
_Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def import_labels(
    program: Annotated[str, typer.Argument(help="boris or deepethogram.")],
    source: Annotated[
        Path,
        typer.Argument(help="A .boris project or exported events; *_labels.csv or their folder."),
    ],
    out: _Out,
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder to search for the videos by name; else their paths start at the source."),
    ] = None,
    point_seconds: Annotated[
        float | None, typer.Option(help="Duration to give to point events; they are left out without it.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="For deepethogram: frames a second, if not the video's own times.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Make a table of labels from BORIS or DeepEthogram."""
    from actiondiff.datasets.boris import read_boris
    from actiondiff.datasets.bouts import tabulate, write_rows
    from actiondiff.datasets.deepethogram import read_deepethogram
    from actiondiff.datasets.files import MediaFinder

    if program not in _FROM:
        raise UnknownNameError("program", program, _FROM)
    bouts = read_boris(source) if program == "boris" else read_deepethogram(source, fps=fps)
    found = tabulate(
        bouts, MediaFinder(source.parent, videos), out=out, source=source, point_seconds=point_seconds
    )
    write_rows(out, found.rows)
    if as_json:
        facts = {"out": str(out), "rows": len(found.rows), "points_left_out": found.num_points}
        typer.echo(json.dumps({**facts, "videos_absent": list(found.absent)}))
        return
    typer.echo(f"{len(found.rows)} rows written to {out}")
    if found.num_points:
        typer.echo(f"{found.num_points} point events were left out; --point-seconds gives them a duration.")
    for video in found.absent:
        typer.echo(f"{video} is not on disk; --videos names a folder to search for it.")


def spans(
    table: Annotated[Path, typer.Argument(help="CSV with video, label, start_seconds and end_seconds.")],
    out: _Out,
    seconds: Annotated[float, typer.Option(help="Length of a span.")] = 2.0,
    step: Annotated[float | None, typer.Option(help="From one to the next; by default a span.")] = None,
    min_share: Annotated[float, typer.Option(help="Of a span that a label must cover to be there.")] = 0.5,
    background: Annotated[
        str, typer.Option(help="Label of spans without any; empty leaves them out.")
    ] = "background",
    as_json: _Json = False,
) -> None:
    """Cut timed labels into spans of one length.

    A timeline looks at spans of one length, so a head that makes timelines should be trained on such spans.
    """
    from actiondiff.datasets.joining import write_examples
    from actiondiff.datasets.spans import cut_spans
    from actiondiff.datasets.table import read_table

    known = read_table(table)
    found = cut_spans(
        known, span_seconds=seconds, step_seconds=step, background=background, min_share=min_share
    )
    write_examples(out, found, root=known.root)
    typer.echo(
        json.dumps({"out": str(out), "rows": len(found)})
        if as_json
        else f"{len(found)} spans written to {out}"
    )


def add(
    table: Annotated[Path, typer.Argument(help="Your table.")],
    more: Annotated[list[Path], typer.Argument(help="Further ones: a queue.csv with labels filled in.")],
    out: _Out,
    as_json: _Json = False,
) -> None:
    """Join tables of labels into one.

    Rows without a label are left out. Where several rows are about the same clip, the last one is used.
    """
    from actiondiff.datasets.joining import join_tables, write_examples
    from actiondiff.datasets.table import read_table

    joined = join_tables([read_table(path) for path in (table, *more)], root=out.resolve().parent)
    write_examples(out, joined.examples, root=out.resolve().parent)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "rows": len(joined.examples), "replaced": joined.num_replaced,
                               "without_label": joined.num_without_label}))  # fmt: skip
        return
    typer.echo(f"{len(joined.examples)} rows written to {out}")
    typer.echo(
        f"{joined.num_replaced} took the place of earlier rows of the same clip, "
        f"{joined.num_without_label} without a label were left out"
    )
