"""`actiondiff extract`: videos to a filled feature store."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.options import BackboneOptions, every_option
from actiondiff.cli.extract_output import print_price, print_summary, show_progress
from actiondiff.cli.options import parse_list, parse_timesteps, with_options
from actiondiff.errors import UsageError

__all__ = ["extract"]


@with_options(every_option(), skip=("batch",))
def extract(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, folders that are searched for them, or one table.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The feature store, a folder: made, or added to.")],
    backbone: Annotated[str, typer.Option(help="The backbone's name; tiny needs no weights.")] = "tiny",
    weights: Annotated[str | None, typer.Option(help="Its checkpoint: a file, folder or hub id.")] = None,
    timesteps: Annotated[
        str | None, typer.Option(help="For example 20 or 10,20; the backbone's own by default.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="For example 9 or 3,6,9 or clip or all; the backbone's own by default.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Take every stride-th frame; 4 by default.")] = None,
    fps: Annotated[float | None, typer.Option(help="Take frames at this rate instead.")] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Windows a pass, part of the fingerprint; auto: what is fastest here, chosen once."
        ),
    ] = None,
    store_dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="In what features are stored.")
    ] = "float32",
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that videos' names are relative to; give it if they were moved."),
    ] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: do only the i-th, from 1, of n parts.")] = None,
    devices: Annotated[
        str | None, typer.Option(help="One worker process for each, for example 0,1 (GPUs) or cpu,cpu.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where workers run: this machine, or a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="The Ray cluster, for example auto; without it one starts here.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="How many on Ray; as many as it has room for.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be decoded before.")
    ] = False,
    keep_latents: Annotated[
        bool,
        typer.Option(
            "--keep-latents",
            help="Keep what the encoders make of every window: further timesteps and layers need no video.",
        ),
    ] = False,
    decode_threads: Annotated[
        int | None,
        typer.Option(help="Videos that a process reads at a time, ahead of the network; 0 for none ahead."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would take, and what would take less; write nothing."),
    ] = False,
    time: Annotated[
        bool, typer.Option(help="With --dry-run: time two windows, for the time and memory it would take.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    *,
    options: BackboneOptions,
) -> None:
    """Extract features of videos into a feature store.

    The exit code is 3 if any video failed or is partial.
    """
    from actiondiff.backbones.base import load_backbone
    from actiondiff.extraction.engines import choose_workers, on_first_device
    from actiondiff.extraction.local import as_recorded, plan_extraction
    from actiondiff.types import DEFAULT_STRIDE

    if stride is not None and fps is not None:
        raise UsageError(f"give either --stride or --fps; got {stride} and {fps}.")
    options = _with_batch(options, batch)
    named, names = parse_list(layers), parse_list(devices)
    do = choose_workers(engine, weights=weights, devices=names, ray_address=ray_address, workers=workers)
    if names:
        options = on_first_device(options, names)
    options = as_recorded(out, options)
    network = load_backbone(backbone, weights=weights, options=options)
    if batch == "auto" and options.batch is None:
        _choose_batch(network)
    extraction = plan_extraction(
        paths,
        out,
        backbone=network,
        timesteps=parse_timesteps(timesteps),
        layers="all" if named == ["all"] else named,
        root=root,
        stride=DEFAULT_STRIDE if stride is None else stride,
        fps=fps,
        store_dtype=store_dtype,
        shard=_parse_shard(shard),
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        decode_threads=decode_threads,
    )
    if dry_run:
        num_processes = len(names) if names else workers or 1
        print_price(extraction, timed=time, workers=num_processes, as_json=as_json)
        return
    with (
        show_progress(extraction, by_windows=do is None, quiet=as_json) as shown,
        redirect_stdout(sys.stderr),  # Ray, for one, prints there when a worker dies
    ):
        summary = extraction.run(shown.on_video, on_windows=shown.on_windows, do=do)
    print_summary(summary, as_json=as_json)
    if not summary.ok:
        raise typer.Exit(3)


def _with_batch(options: BackboneOptions, batch: str | None) -> BackboneOptions:
    """Options with the batch, if it is a number.

    Raises:
        UsageError: If it is neither that nor auto.
    """
    if batch is None or batch == "auto":
        return options
    if not batch.isdecimal() or not int(batch):
        raise UsageError(f"--batch is a number of windows, or auto; got {batch!r}.")
    return type(options)(**{**options.model_dump(exclude_unset=True), "batch": int(batch)})


def _choose_batch(network: Backbone) -> None:
    from actiondiff.backbones.engine import batching
    from actiondiff.backbones.engine.run import feature_keys

    batching.choose_batch(network, feature_keys(network, None, None))
    typer.echo(f"batches of {network.options.batch} windows are fastest here", err=True)


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    """`"1/4"` -> (1, 4).

    Raises:
        UsageError: If it is not of that form.
    """
    if text is None:
        return None
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise UsageError(f"--shard is i/n with i from 1 to n, for example 1/4; got {text!r}.")
    return int(first), int(second)
