"""`actiondiff app`."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.app.options import PageOptions
from actiondiff.cli.options import with_options
from actiondiff.inference.options import LoadingOptions

__all__ = ["page"]


@with_options(LoadingOptions, name="loading")
@with_options(PageOptions)
def page(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    *,
    options: PageOptions,
    loading: LoadingOptions,
) -> None:
    """Serve a page on this machine for trying a model on videos.

    Drop a video to see what it shows, when and where, and download the results.
    """
    from actiondiff.app.server import serve
    from actiondiff.inference.folders import CARD, find_run
    from actiondiff.inference.model import ActionDiff

    folder = find_run(run)
    model = ActionDiff.from_pretrained(folder, **loading.model_dump())
    card = (folder / CARD).read_text("utf-8") if (folder / CARD).is_file() else ""
    serve(model, name=Path(run).resolve().name, card=card, options=options)
