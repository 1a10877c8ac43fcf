"""`actiondiff extract`: videos to a filled feature store."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from actiondiff.backbones.base import BackboneOptions
from actiondiff.cli.options import parse_list, parse_timesteps, with_options
from actiondiff.errors import UsageError

if TYPE_CHECKING:
    from actiondiff.extraction.local import Do, Extraction, ExtractionSummary

__all__ = ["register"]

_SHOWN = 20  # failures; the rest is in failures.csv


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(extract)


@with_options(BackboneOptions)
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
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    *,
    options: BackboneOptions,
) -> None:
    """Extract features of videos into a store. Exits with 3 if any video failed or is partial."""
    from actiondiff.backbones.base import load_backbone
    from actiondiff.extraction.engines import choose_workers, on_first_device
    from actiondiff.extraction.local import as_recorded, plan_extraction

    if stride is not None and fps is not None:
        raise UsageError(f"give either --stride or --fps; got {stride} and {fps}.")
    named, names = parse_list(layers), parse_list(devices)
    do = choose_workers(engine, weights=weights, devices=names, ray_address=ray_address, workers=workers)
    if names:
        options = on_first_device(options, names)
    extraction = plan_extraction(
        paths,
        out,
        backbone=load_backbone(backbone, weights=weights, options=as_recorded(out, options)),
        timesteps=parse_timesteps(timesteps),
        layers="all" if named == ["all"] else named,
        root=root,
        stride=4 if stride is None else stride,
        fps=fps,
        store_dtype=store_dtype,
        shard=_parse_shard(shard),
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        decode_threads=decode_threads,
    )
    if dry_run:
        _print_plan(extraction, as_json=as_json)
        return
    summary = _run(extraction, do, quiet=as_json)
    _print_summary(summary, as_json=as_json)
    if not summary.ok:
        raise typer.Exit(3)


def _run(extraction: "Extraction", do: "Do | None", *, quiet: bool) -> "ExtractionSummary":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        *(TextColumn("Extracting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        TextColumn("{task.description}", markup=False),
    )
    total = len(extraction.plan.todo)
    quiet = quiet or not total
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=total)
        return extraction.run(
            lambda done, _, video: bar.update(task, completed=done, description=video), do=do
        )


def _print_plan(extraction: "Extraction", *, as_json: bool) -> None:
    plan, cost = extraction.plan, extraction.cost()
    counts = {
        "videos": len(plan.videos),
        "contents_to_do": len(plan.todo),
        "contents_stored": len(plan.stored),
        "contents_failed_before": len(plan.failed),
        "videos_not_readable": len(plan.absent),
        "videos_of_other_shards": plan.num_elsewhere,
    }
    if as_json:
        typer.echo(json.dumps({**counts, **asdict(cost)}, indent=2))
        return
    for name, count in counts.items():
        typer.echo(f"{count:8d} {name.replace('_', ' ')}")
    unknown = f", and {cost.num_unknown} videos of unknown length" if cost.num_unknown else ""
    disk = "" if cost.num_bytes is None else f", about {cost.num_bytes / 1e6:.1f} MB"
    typer.echo(f"about {cost.num_windows} windows, {cost.num_tokens} tokens a feature{disk}{unknown}")


def _print_summary(summary: "ExtractionSummary", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "store": summary.store.as_posix()}, indent=2))
        return
    bad = [("failed", *item) for item in summary.failed.items()]
    bad += [("partial", *item) for item in summary.partial.items()]
    for status, video, reason in bad[:_SHOWN]:
        typer.echo(f"{status}: {video}: {reason}")
    if len(bad) > _SHOWN:
        typer.echo(f"... and {len(bad) - _SHOWN} more, all in {summary.store / 'failures.csv'}")
    typer.echo(
        f"{summary.num_videos} videos: {summary.num_done} done, {summary.num_skipped} skipped, "
        f"{len(summary.partial)} partial, {len(summary.failed)} failed; features in {summary.store}"
    )


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
