"""`actiondiff videos crop`: videos cropped around animals."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption
from actiondiff.errors import UsageError

__all__ = ["crop"]


def crop(
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    boxes: Annotated[
        Path,
        typer.Option(
            help="Boxes of animals: JSON of MegaDetector for videos, or a CSV with video, frame or seconds, "
            "x0, y0, x1, y1 and perhaps score and individual.",
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; created if it is absent.")],
    table: Annotated[
        Path | None,
        typer.Option(help="Labels of the videos; table.csv then has the same for the crops.", dir_okay=False),
    ] = None,
    individuals: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most individuals of a video, the best; each gets a video of its own.  [default: all that "
            "the boxes name, or else the best one]",
        ),
    ] = None,
    margin: Annotated[float, typer.Option(min=0, max=5, help="Share of the box to add on each side.")] = 0.25,
    smooth_seconds: Annotated[
        float, typer.Option(min=0, max=60, help="Span over which the position of the crop is averaged.")
    ] = 1.0,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Boxes with a lower score are left out.")
    ] = 0.2,
    boxes_root: Annotated[
        Path | None,
        typer.Option(help="Folder that the paths in the boxes start from.  [default: that of the boxes]"),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Crop videos around animals, whose boxes a detector has written.

    The crop is a square of constant size that moves smoothly with the animal. A video without boxes is
    written whole. The exit code is 3 if any video failed or is partial.
    """
    from actiondiff import outputs
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.datasets.boxes import read_boxes
    from actiondiff.datasets.crop_folder import crop_videos
    from actiondiff.datasets.cropping import CropOptions
    from actiondiff.datasets.table import read_table
    from actiondiff.outputs.words import counted
    from actiondiff.video.search import find_videos

    videos = find_videos(paths)
    if not videos:
        raise UsageError(f"no videos in {', '.join(map(str, paths))}; give files, or folders that hold some.")
    read = read_boxes(boxes, root=boxes_root, min_score=min_score)
    labels = read_table(table) if table else None
    options = CropOptions(margin=margin, smooth_seconds=smooth_seconds)
    with (
        outputs.claim(out, "videos crop", ("crops.csv", "table.csv", "clips/"), overwrite=overwrite),
        progress_bar("Cropping", quiet=as_json) as progress,
    ):
        result = crop_videos(
            out, videos, read, options, individuals=individuals, labels=labels, progress=progress
        )
    whole = sum(not row["side_px"] for row in result.rows)
    counts = {"written": len(result.rows), "whole": whole}
    counts |= {"partial": len(result.partial), "failed": len(result.failed)}
    if as_json:
        typer.echo(json.dumps({**counts, "out": str(out)}))
    else:
        for video, reason in {**result.failed, **result.partial}.items():
            typer.echo(f"{video}: {reason}")
        typer.echo(
            f"{counted(len(result.rows), 'video')} written to {out}, {whole} of them whole (no box); "
            f"{result.count('num_without_box')} of {result.count('num_frames')} frames have no box of their "
            f"own, {result.count('num_whole')} of them show the whole picture; "
            f"{len(result.partial)} partial, {len(result.failed)} failed."
        )
    if result.failed or result.partial:
        raise typer.Exit(3)
