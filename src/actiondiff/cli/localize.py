"""`actiondiff localize`: where in a video an action is seen."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from actiondiff.errors import UsageError
from actiondiff.inference.options import LoadingOptions, LocalizationOptions

if TYPE_CHECKING:
    from actiondiff.inference.localization import Heatmap

__all__ = ["localize"]


@with_options(LoadingOptions, name="loading", panels={EVERYDAY: ("weights", "device")})
@with_options(LocalizationOptions, panels={EVERYDAY: ("method", "rows", "columns")})
def localize(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    video: Annotated[Path, typer.Argument(help="The video.")],
    action: Annotated[str, typer.Option(help="The label to search for, one of the model's.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The overlay, .mp4; .png, .npz and .csv are written beside it."),
    ],
    camera: Annotated[
        str | None,
        typer.Option(
            help="Camera that took the video, for models that take the background of cameras away: "
            "one of the training, or of --background-clips.  [default: the video is its own only footage]",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            "--background-clips",
            "--background",
            help="CSV of clips without animals of the camera (video, camera), from which its background is "
            "estimated.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    height_px: Annotated[
        int | None,
        typer.Option(
            "--height-px",
            help="Height of the overlay.  [default: that of the video, within 240 to 720]",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    *,
    options: LocalizationOptions,
    loading: LoadingOptions,
) -> None:
    """Show where in a video an action is seen.

    The exit code is 3 if the video could be decoded only in part.
    """
    from actiondiff import outputs
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.exports.heatmaps import write_heatmap_csv, write_heatmap_npz
    from actiondiff.inference.backgrounds import footage_to_subtract, set_to_camera
    from actiondiff.inference.model import ActionDiff
    from actiondiff.report.overlay import overlay_strip, write_overlay, write_strip

    if out.suffix.lower() != ".mp4":
        raise UsageError(f"the overlay is written as .mp4; got -o {out}.")
    if out.exists() and video.exists() and out.samefile(video):
        raise UsageError(f"-o {out} is the video itself; give another path for the overlay.")
    beside = [out.with_suffix(suffix).name for suffix in (".png", ".npz", ".csv")]
    with outputs.claim_file(out, "localize", others=beside, overwrite=overwrite):
        model = ActionDiff.from_pretrained(run, **loading.model_dump())
        footage = footage_to_subtract(model.config, background)
        model.config = set_to_camera(model.config, camera, footage, model.extract_many)
        with progress_bar("Searching", quiet=as_json) as progress:
            heatmap = model.localize(video, action, options=options, progress=progress)
        with progress_bar("Drawing", quiet=as_json) as progress:
            write_overlay(out, video, heatmap, height_px=height_px, progress=progress)
        write_strip(out.with_suffix(".png"), overlay_strip(video, heatmap))
        write_heatmap_npz(out.with_suffix(".npz"), heatmap)
        write_heatmap_csv(out.with_suffix(".csv"), heatmap)
    _print(heatmap, out, as_json=as_json)
    if heatmap.report and heatmap.report.status != "ok":
        typer.echo(f"{heatmap.report.status}: {heatmap.report.reason}", err=True)
        raise typer.Exit(3)


def _print(heatmap: "Heatmap", out: Path, *, as_json: bool) -> None:
    """Print the highest probability of the action, and where and when it is reached."""
    from actiondiff.types.display import titled

    step, row, column = heatmap.highest()
    top = float(heatmap.probabilities[step, row, column])
    y, x = float(heatmap.rows[row]), float(heatmap.columns[column])
    seconds = None if heatmap.seconds is None else round(float(heatmap.seconds[step]), 3)
    if as_json:
        highest = {"probability": round(top, 4), "seconds": seconds, "y": round(y, 4), "x": round(x, 4)}
        names = {"video": heatmap.video, "individual": heatmap.individual} if heatmap.individual else {}
        typer.echo(
            json.dumps({"out": str(out), **names, "prior": round(heatmap.prior, 4), "highest": highest})
        )
        return
    about = f"{titled(heatmap.video, heatmap.individual)}, within its crop: " if heatmap.individual else ""
    typer.echo(
        f"{about}{heatmap.action}: up to {top:.2f}, at {seconds} s, {y:.0%} from the top and {x:.0%} from "
        f"the left; {heatmap.prior:.2f} of the training clips show it. Written to {out}."
    )
