"""`actiondiff pretrain-tiny`: train the built-in backbone anew."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.builtin.pretraining.options import SMOKE, PretrainingOptions
from actiondiff.cli.options import with_options
from actiondiff.errors import UsageError

__all__ = ["pretrain_tiny"]


@with_options(PretrainingOptions)
def pretrain_tiny(
    folder: Annotated[Path, typer.Argument(help="Where states, log and samples are; a run goes on.")],
    smoke: Annotated[bool, typer.Option("--smoke", help="A minute only: the loss falls, no more.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop for now after so long; the same command goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="What to compute on: cpu, cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw clips ahead.")] = 0,
    *,
    options: PretrainingOptions,
) -> None:
    """Pre-train the built-in backbone again.

    Trains on unlabelled clips, writes the weights to FOLDER/tiny, and draws samples.
    """
    import torch

    from actiondiff.builtin.pretraining.pretrain import pretrain

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here; leave out --device.")
    if threads:
        torch.set_num_threads(threads)
    if smoke:
        options = SMOKE.model_copy(update=options.model_dump(exclude_unset=True))
    finished = pretrain(
        folder, options, device=device, workers=workers, minutes=minutes, report=lambda line: typer.echo(line)
    )
    if finished:
        typer.echo(
            f'Written: {folder / "tiny"}; load_backbone("tiny", weights="{folder / "tiny"}") reads it.'
        )
    else:
        typer.echo("The time is over; the same command goes on.")
