"""`actiondiff weights prompt`: the embedding of the empty prompt, in a small file."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import OverwriteOption

__all__ = ["prompt"]


def prompt(
    backbone: Annotated[str, typer.Argument(help="Video diffusion transformer, such as wan21.")],
    folder: Annotated[
        str, typer.Argument(help="Folder that holds its text_encoder/, that folder itself, or a hub id.")
    ],
    file: Annotated[Path, typer.Argument(help="File to write, for --text-weights.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Compute the embedding of the empty prompt for another machine.

    A video diffusion transformer sees it beside the video. With this file, a machine needs no text encoder,
    which takes most of the download.
    """
    from actiondiff import outputs
    from actiondiff.backbones.base import find_spec
    from actiondiff.backbones.dit.prompt import empty_prompt_of, write_prompt
    from actiondiff.errors import UsageError

    spec = find_spec(backbone)
    if spec.kind != "dit" or spec.weights == "random":
        raise UsageError(f"{backbone} sees no prompt whose embedding is computed from weights.")
    if file.suffix != ".safetensors":
        raise UsageError(f"the file must end in .safetensors; got {file.name}.")
    with outputs.claim_file(file, "weights prompt", overwrite=overwrite):
        write_prompt(file, empty_prompt_of(spec, folder))
    typer.echo(f"Wrote {file}. Next: actiondiff extract ... --backbone {backbone} --text-weights {file}")
