"""`actiondiff app`: a page on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.app.options import PageOptions
from actiondiff.cli.options import EVERYDAY, with_options
from actiondiff.inference.options import LoadingOptions

__all__ = ["serve"]


@with_options(LoadingOptions, name="loading", panels={EVERYDAY: ("weights", "device")})
@with_options(PageOptions, panel=EVERYDAY)
def serve(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    *,
    options: PageOptions,
    loading: LoadingOptions,
) -> None:
    """Serve a page on this machine for trying a model on videos.

    Drop a video to see what it shows, when and where, and download the results.
    """
    from actiondiff.app.server import serve as serve_page
    from actiondiff.evaluation.verdict import verdict_of_run
    from actiondiff.inference.folders import CARD, find_model_folder
    from actiondiff.inference.model import ActionDiff

    folder = find_model_folder(run)
    model = ActionDiff.from_pretrained(folder, **loading.model_dump())
    card = (folder / CARD).read_text("utf-8") if (folder / CARD).is_file() else ""
    verdict = verdict_of_run(folder)
    serve_page(model, name=Path(run).resolve().name, card=card, verdict=verdict, options=options)
