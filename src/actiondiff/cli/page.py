"""`actiondiff app`."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.app.options import PageOptions
from actiondiff.cli.options import with_options

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("app")(with_options(PageOptions)(page))


def page(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's checkpoint, where it needs one.")
    ] = None,
    text_weights: Annotated[
        Path | None, typer.Option(help="Folder of the text tower, where the backbone is told actions.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    ] = "auto",
    *,
    options: PageOptions,
) -> None:
    """Serve a page on this machine: drop a video, see what, when and where, take the exports away."""
    from actiondiff.app.server import serve
    from actiondiff.pipeline import CARD, ActionDiff, find_run

    folder = find_run(run)
    model = ActionDiff.from_pretrained(folder, weights=weights, text_weights=text_weights, device=device)
    card = (folder / CARD).read_text("utf-8") if (folder / CARD).is_file() else ""
    serve(model, name=Path(run).resolve().name, card=card, options=options)
