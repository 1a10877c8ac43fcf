"""`actiondiff weights`: bring the published weights into the form that everything here reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from actiondiff.checkpoints.convert import ConversionReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    weights = typer.Typer(help="Convert weights.", no_args_is_help=True)
    weights.callback()(_group)
    weights.command()(convert)
    app.add_typer(weights, name="weights")


def _group() -> None:
    """Convert weights."""  # a callback, so that `convert` stays a sub-command though it is the only one


def convert(
    src: Annotated[Path, typer.Argument(help="The original file, such as svd_xt.safetensors.")],
    dst: Annotated[Path, typer.Argument(help="The folder to make; must not exist, or be empty.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    unet_head_dim: Annotated[
        int | None, typer.Option(min=1, help="Attention head width of the U-Net. [default: 64]")
    ] = None,
    clip_head_dim: Annotated[
        int | None, typer.Option(min=1, help="Attention head width of the image encoder. [default: 80]")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if the file holds unknown tensors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Convert the original single file into a folder of U-Net, image encoder and VAE encoder."""
    from rich.console import Console
    from rich.progress import Progress

    from actiondiff.checkpoints.convert import convert_weights

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("Converting", total=None)
        report = convert_weights(
            src,
            dst,
            dtype=dtype,  # type: ignore[arg-type]  # convert_weights checks it
            unet_head_dim=unet_head_dim,
            clip_head_dim=clip_head_dim,
            strict=strict,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(json.dumps(_plain(report), indent=2) if as_json else _text(report))
    if report.unknown:
        listed = "\n  ".join(report.unknown)
        typer.secho(
            f"{len(report.unknown)} unknown tensors were left out:\n  {listed}", fg="yellow", err=True
        )


def _plain(report: "ConversionReport") -> dict[str, Any]:
    return {**asdict(report), "folder": report.folder.as_posix()}


def _text(report: "ConversionReport") -> str:
    vae = "are one, kept once" if report.one_vae else "differ, both kept"
    unet = "complete" if report.unet_complete else "its encoder half only, which is all that features need"
    return "\n".join(
        [
            f"{report.source} -> {report.folder} ({report.num_bytes / 1e9:.2f} GB, {report.dtype})",
            f"tensors: {report.num_used} used, {len(report.not_needed)} known and not needed, "
            f"{len(report.unknown)} unknown",
            f"U-Net: {unet}",
            f"VAE encoders: the file's two {vae}",
            f"identity: {report.identity}",
        ]
    )
