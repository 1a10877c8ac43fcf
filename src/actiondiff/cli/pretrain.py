"""`actiondiff dev pretrain-tiny`: the weights of the built-in backbone."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.builtin.pretraining.options import SMOKE, PretrainingOptions
from actiondiff.cli.options import OverwriteOption, with_options
from actiondiff.errors import UsageError

__all__ = ["pretrain_tiny"]


@with_options(PretrainingOptions, panel="How it is trained")
def pretrain_tiny(
    folder: Annotated[
        Path, typer.Argument(help="Folder for states, log and samples; a run in it is continued.")
    ],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Train for a minute only, to see that everything works.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after this time; the same command continues later."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on: cpu or cuda.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads.  [default: all cores]")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw clips ahead.")] = 0,
    overwrite: OverwriteOption = False,
    *,
    options: PretrainingOptions,
) -> None:
    """Pre-train the built-in backbone again.

    Trains on unlabelled clips, writes the weights to FOLDER/tiny, and draws samples.
    """
    import torch

    from actiondiff.builtin.pretraining.pretrain import pretrain

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device on this machine; leave out --device.")
    if threads:
        torch.set_num_threads(threads)
    if smoke:
        options = SMOKE.model_copy(update=options.model_dump(exclude_unset=True))
    is_finished = pretrain(
        folder,
        options,
        device=device,
        workers=workers,
        minutes=minutes,
        overwrite=overwrite,
        report=typer.echo,
    )
    if is_finished:
        weights = folder / "tiny"
        typer.echo(f'Written: {weights}; load_backbone("tiny", weights="{weights}") reads it.')
    else:
        typer.echo("The time is over; the same command continues.")
