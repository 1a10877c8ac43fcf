"""`actiondiff app`: a page on this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.app.options import PageOptions
from actiondiff.cli.crop_options import (
    BoxesOption,
    BoxesRootOption,
    IndividualsOption,
    MinScoreOption,
    boxes_from_options,
)
from actiondiff.cli.options import (
    EVERYDAY,
    MaxMegapixelsOption,
    MaxPauseOption,
    OverwriteOption,
    with_options,
)
from actiondiff.errors import MissingExtraError, UsageError
from actiondiff.inference.options import LoadingOptions

if TYPE_CHECKING:
    from actiondiff.datasets.boxes import VideoBoxes

__all__ = ["serve"]


@with_options(LoadingOptions, name="loading", panels={EVERYDAY: ("weights", "device")})
@with_options(PageOptions, panel=EVERYDAY)
def serve(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of videos whose bouts are to be corrected.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for corrections, features and models that are trained on, if a folder of videos is "
            "opened.  [default: actiondiff-labels in the folder]",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Camera that took the videos, for models that take the background of cameras away: "
            "one of the training, or of --background-clips.  [default: each video is its own only footage]",
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
    boxes: BoxesOption = None,
    boxes_root: BoxesRootOption = None,
    individuals: IndividualsOption = None,
    min_score: MinScoreOption = None,
    overwrite: OverwriteOption = False,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    *,
    options: PageOptions,
    loading: LoadingOptions,
) -> None:
    """Serve a page on this machine for trying a model on videos.

    Drop a video to see what it shows, when and where, and download the results. With a folder of videos, the
    page lists them, asks about the stretches of which the model is least certain, and lets you correct bouts.
    A model that has learnt from crops around animals needs their boxes (--boxes), or a folder of crop files,
    as predict writes it; the page then lists each individual, and plays the whole video.
    """
    from actiondiff.app.server import serve as serve_page
    from actiondiff.evaluation.verdict import verdict_of_run
    from actiondiff.inference.backgrounds import footage_to_subtract, set_to_camera
    from actiondiff.inference.folders import CARD, find_model_folder
    from actiondiff.inference.model import ActionDiff

    model_folder, name = find_model_folder(run), Path(run).resolve().name
    animals = boxes_from_options(boxes, boxes_root, min_score, individuals=individuals)
    if folder is not None:
        if camera is not None or background is not None:
            raise UsageError(
                "--camera and --background-clips are for the page that videos are dropped on; leave them "
                "out, or leave out the folder."
            )
        _serve_folder(
            model_folder, folder, out, animals, individuals,
            name=name, options=options, loading=loading, overwrite=overwrite,
        )  # fmt: skip
        return
    if animals is not None:
        raise UsageError(f"--boxes is used with a folder of videos only; got {boxes}. Name the folder, too.")
    if out is not None:
        raise UsageError(f"--out is used with a folder of videos only; got {out}. Name the folder, too.")
    model = ActionDiff.from_pretrained(model_folder, **loading.model_dump())
    if model.config.sampling.crops is not None:
        raise UsageError(
            f"{run} has learnt from crops around animals, and this page takes whole videos only; name a "
            "folder of videos and --boxes, the boxes of the animals in them."
        )
    footage = footage_to_subtract(model.config, background)
    model.config = set_to_camera(model.config, camera, footage, model.extract_many)
    card = (model_folder / CARD).read_text("utf-8") if (model_folder / CARD).is_file() else ""
    serve_page(model, name=name, card=card, verdict=verdict_of_run(model_folder), options=options)


def _serve_folder(
    run: Path,
    folder: Path,
    out: Path | None,
    animals: "VideoBoxes | None",
    individuals: int | None,
    *,
    name: str,
    options: PageOptions,
    loading: LoadingOptions,
    overwrite: bool,
) -> None:
    from importlib.util import find_spec

    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        raise MissingExtraError("actiondiff app", "app")
    from actiondiff.app.folder_server import open_folder_page
    from actiondiff.app.opened_folder import check_opened, videos_beside
    from actiondiff.app.server import run_page
    from actiondiff.cli.output.crops import crop_for_model
    from actiondiff.inference.individuals import CROPS
    from actiondiff.inference.model import ActionDiff

    model = ActionDiff.from_pretrained(run, **loading.model_dump())
    out = out or folder / "actiondiff-labels"
    crops: Sequence[Path] = ()
    if animals is not None:
        check_opened(folder)
        crops = crop_for_model(
            model.config, videos_beside(folder, out, want_crops=False), animals, out / CROPS,
            run=name, command="app", individuals=individuals, overwrite=overwrite, quiet=False,
        ).files  # fmt: skip
    page = open_folder_page(
        model, folder, out, run=run, name=name, options=options, crops=crops, overwrite=overwrite
    )
    run_page(page)
