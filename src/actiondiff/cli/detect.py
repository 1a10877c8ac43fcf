"""`actiondiff detect`: where the animals in videos are."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import (
    EVERYDAY,
    EXPERT,
    JsonOption,
    MaxMegapixelsOption,
    MaxPauseOption,
    OverwriteOption,
    with_options,
)
from actiondiff.detection.options import DetectOptions
from actiondiff.errors import UsageError

__all__ = ["detect"]


@with_options(DetectOptions, panels={EVERYDAY: ("fps", "min_score")}, panel=EVERYDAY)
def detect(
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File to write, such as boxes.json; continued if it is there."),
    ],
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights of the detector.  [default: those of actiondiff weights get megadetector-lite]",
            dir_okay=False,
            rich_help_panel=EXPERT,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    as_json: JsonOption = False,
    *,
    options: DetectOptions,
) -> None:
    """Find the animals in videos, for crops around them.

    MegaDetector-lite looks at 5 frames per second. The file is one of MegaDetector's format, which --boxes
    takes. The exit code is 3 if any video failed or is partial; the same command tries those that failed
    again, and reads no others twice.
    """
    from actiondiff.backbones.base import check_device
    from actiondiff.cli.output.progress import video_bars
    from actiondiff.detection.run import detect_videos
    from actiondiff.outputs.words import counted
    from actiondiff.video.crop_file import is_crop
    from actiondiff.video.search import search_videos

    check_device(device)
    search = search_videos(paths)
    videos = [video for video in search.videos if not is_crop(video)]  # a crop's boxes are known
    if not videos:
        raise UsageError(f"no videos in {', '.join(map(str, paths))}; give files, or folders that hold some.")
    if left_out := search.describe():
        typer.echo(f"Left out: {left_out}.", err=True)
    with video_bars("Detecting", len(videos), quiet=as_json) as bars:
        result = detect_videos(
            out,
            videos,
            options,
            weights=weights,
            device=device,
            overwrite=overwrite,
            progress=bars.read,
            finished=lambda done, total, what, /: bars.finish(done),
        )
    if as_json:
        typer.echo(json.dumps({**asdict(result), "out": os.fspath(out)}))
    else:
        for video, reason in {**result.failed, **result.partial}.items():
            typer.echo(f"{video}: {reason}")
        there = f"; {result.earlier} there already" if result.earlier else ""
        typer.echo(
            f"{counted(result.num_boxes, 'box', 'boxes')} in {result.with_boxes} of "
            f"{counted(len(videos), 'video')}, {counted(result.num_frames, 'frame')} looked at{there}"
            f"; {len(result.partial)} partial, {len(result.failed)} failed. Written: {out}. Look at the "
            f"boxes before you use them: actiondiff videos crop VIDEOS --boxes {out} -o crops/"
        )
    if result.failed or result.partial:
        raise typer.Exit(3)
