"""`actiondiff extract`: features of videos."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actiondiff.backbones.options import BackboneOptions, every_option
from actiondiff.cli.crop_options import (
    BoxesOption,
    BoxesRootOption,
    IndividualsOption,
    MarginOption,
    MinScoreOption,
    SmoothSecondsOption,
    boxes_from_options,
    print_crops,
)
from actiondiff.cli.options import (
    EVERYDAY,
    JsonOption,
    MaxMegapixelsOption,
    MaxPauseOption,
    StreamOption,
    parse_list,
    parse_timesteps,
    with_options,
)
from actiondiff.errors import UsageError

if TYPE_CHECKING:
    from actiondiff.backbones.base import Backbone
    from actiondiff.datasets.boxes import VideoBoxes
    from actiondiff.types.crops import CropOptions

__all__ = ["extract"]


_MACHINES = "Processes and machines"
_STORE = "The feature store"
_PANELS = {
    EVERYDAY: ("device", "preset"),
    "Frames and windows": ("height", "width", "fit", "window", "padding", "tokens", "frame_rate"),
    "Precision and speed": ("dtype", "vae_dtype", "vae_chunk", "exact_norm", "compile", "threads"),
    "Conditioning and noise of diffusion backbones": (
        "conditioning", "embedding", "latents", "text_weights", "actions", "temporal", "noise", "stochastic",
        "seed", "num_steps", "sigma_scale", "sigma_embed",
    ),
}  # fmt: skip


@with_options(every_option(), skip=("batch",), panels=_PANELS)
def extract(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, folders that are searched for videos, or one table.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the feature store: created, or added to.")
    ],
    backbone: Annotated[str, typer.Option(help="Name of the backbone; tiny needs no weights.")] = "tiny",
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint of the backbone: a file, folder or hub id.")
    ] = None,
    timesteps: Annotated[
        str | None,
        typer.Option(help="Diffusion timesteps, e.g. 20 or 10,20.  [default: the backbone's own]"),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers, e.g. 9 or 3,6,9 or clip or all.  [default: the backbone's own]"),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Take every stride-th frame of a video.  [default: 4]")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Take frames at this rate instead, in frames per second.")
    ] = None,
    stream: StreamOption = None,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what it would take and what would take less; write nothing."),
    ] = False,
    time: Annotated[
        bool, typer.Option(help="With --dry-run: run two windows to estimate time and memory.")
    ] = True,
    as_json: JsonOption = False,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Windows per batch; part of the fingerprint, because it changes rounding. auto: the fastest "
            "on this machine, chosen once.",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help="Start one worker process for each, e.g. 0,1 (GPUs) or cpu,cpu.", rich_help_panel=_MACHINES
        ),
    ] = None,
    decode_threads: Annotated[
        int | None,
        typer.Option(
            help="Number of videos that a process decodes at a time, ahead of the network; 0 decodes none "
            "ahead.",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="i/n: do only the i-th of n parts, from 1.", rich_help_panel=_MACHINES),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="Where workers run: on this machine, or on a Ray cluster.", rich_help_panel=_MACHINES
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Address of the Ray cluster, e.g. auto.  [default: one is started here]",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Largest number of worker processes.  [default: one per core for a backbone of one CPU "
            "thread; on Ray, as many as there is room for]",
            rich_help_panel=_MACHINES,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the names of videos start at; give it if the videos were moved.",
            rich_help_panel=_STORE,
        ),
    ] = None,
    store_dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Data type that features are stored in.", rich_help_panel=_STORE),
    ] = "float32",
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Try videos again that could not be decoded before.",
            rich_help_panel=_STORE,
        ),
    ] = False,
    keep_latents: Annotated[
        bool,
        typer.Option(
            "--keep-latents",
            help="Also store what the encoders make of every window, so that further timesteps and layers "
            "need no video.",
            rich_help_panel=_STORE,
        ),
    ] = False,
    boxes: BoxesOption = None,
    boxes_root: BoxesRootOption = None,
    individuals: IndividualsOption = None,
    margin: MarginOption = None,
    smooth_seconds: SmoothSecondsOption = None,
    min_score: MinScoreOption = None,
    *,
    options: BackboneOptions,
) -> None:
    """Extract features of videos into a feature store.

    With --boxes, each animal is cut out and extracted by itself. The crops lie in the folder crops of the
    store: small files that only say where the animal is, and that every command takes in place of videos.
    The exit code is 3 if any video failed or is partial.
    """
    from actiondiff.backbones.base import load_backbone
    from actiondiff.cli.output.extraction import print_price, print_summary, show_progress
    from actiondiff.extraction.api import as_recorded, plan_extraction
    from actiondiff.extraction.devices import on_devices
    from actiondiff.extraction.runners import choose_runner, num_default_workers, on_first_device
    from actiondiff.types import DEFAULT_STRIDE
    from actiondiff.types.crops import CropOptions

    if stride is not None and fps is not None:
        raise UsageError(f"give either --stride or --fps; got {stride} and {fps}.")
    animals = boxes_from_options(
        boxes, boxes_root, min_score, individuals=individuals, margin=margin, smooth_seconds=smooth_seconds
    )
    if animals and root:
        raise UsageError("--root does not go with --boxes: names are those of the crops in the store.")
    options = _with_batch(options, batch)
    layer_names, device_names = parse_list(layers), parse_list(devices)
    runner = choose_runner(
        engine, weights=weights, devices=device_names, ray_address=ray_address, workers=workers
    )
    if device_names:
        options = on_first_device(options, device_names)
    options = as_recorded(out, options)
    network = load_backbone(backbone, weights=weights, options=options)
    if network.options.device.startswith("cuda"):  # where the default depends on the machine
        typer.echo(f"on {network.options.device}: {network.options.arithmetic_in_words()}", err=True)
    if batch == "auto" and options.batch is None:
        _choose_batch(network)
    crop_options = CropOptions.of(margin=margin, smooth_seconds=smooth_seconds)
    with _cropped(paths, out, animals, crop_options, individuals, root, dry_run=dry_run, quiet=as_json) as (
        inputs,
        base,
        failed,
    ):
        extraction = plan_extraction(
            inputs,
            out,
            backbone=network,
            timesteps=parse_timesteps(timesteps),
            layers="all" if layer_names == ["all"] else layer_names,
            root=base,
            stride=DEFAULT_STRIDE if stride is None else stride,
            fps=fps,
            stream=stream,
            store_dtype=store_dtype,
            shard=_parse_shard(shard),
            retry_failed=retry_failed,
            keep_latents=keep_latents,
            decode_threads=decode_threads,
        )
        num_processes = len(device_names) if device_names else workers or 1
        if runner is None:
            num_processes = num_default_workers(extraction, weights=weights, limit=workers)
            if num_processes > 1:
                runner = on_devices(["cpu"] * num_processes, weights=weights)
        if dry_run:
            print_price(extraction, timed=time, workers=num_processes, as_json=as_json)
            return
        with (
            show_progress(extraction, by_windows=runner is None, quiet=as_json) as meter,
            redirect_stdout(sys.stderr),  # Ray, for one, prints to standard output when a worker dies
        ):
            summary = extraction.run(meter.on_video, on_windows=meter.on_windows, runner=runner)
        print_summary(summary, as_json=as_json)
        if not summary.ok or failed:
            raise typer.Exit(3)


@contextmanager
def _cropped(
    paths: list[Path],
    out: Path,
    animals: "VideoBoxes | None",
    options: "CropOptions",
    individuals: int | None,
    root: Path | None,
    *,
    dry_run: bool,
    quiet: bool,
) -> "Iterator[tuple[Sequence[Path], Path | None, bool]]":
    """Write the crops, if there are boxes; for a dry run, into a folder that is removed afterwards.

    Yields:
        What to extract, the folder that its names are relative to, and whether some videos failed.
    """
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.extraction.crops import write_crops_for_store

    if animals is None:
        yield paths, root, False
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) if dry_run else None
        with progress_bar("Cropping", quiet=quiet) as progress:
            crops = write_crops_for_store(
                paths, out, animals, options, individuals=individuals, folder=folder, progress=progress
            )
        print_crops(crops.result, crops.root)
        yield crops.videos, crops.root, bool(crops.result.failed)


def _with_batch(options: BackboneOptions, batch: str | None) -> BackboneOptions:
    """The options with the batch, if it is a number.

    Raises:
        UsageError: If it is neither a number nor auto.
    """
    if batch is None or batch == "auto":
        return options
    if not batch.isdecimal() or not int(batch):
        raise UsageError(f"--batch takes a number of windows, or auto; got {batch!r}.")
    return type(options)(**{**options.model_dump(exclude_unset=True), "batch": int(batch)})


def _choose_batch(network: "Backbone") -> None:
    """Time batches of several sizes, and set the fastest in the options of the network."""
    from actiondiff.backbones.engine import batching
    from actiondiff.backbones.engine.run import feature_keys

    batching.choose_batch(network, feature_keys(network, None, None))
    typer.echo(f"batches of {network.options.batch} windows are fastest on this machine", err=True)


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    """`"1/4"` -> (1, 4).

    Raises:
        UsageError: If the text is not of that form.
    """
    if text is None:
        return None
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise UsageError(f"--shard takes i/n with i from 1 to n, for example 1/4; got {text!r}.")
    return int(first), int(second)
