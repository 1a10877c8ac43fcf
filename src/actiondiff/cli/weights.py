"""`actiondiff weights convert|check`: checkpoints, and what this machine makes of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import EXPERT, JsonOption, OverwriteOption

if TYPE_CHECKING:
    from actiondiff.backbones.check import Half, PrecisionCheck
    from actiondiff.checkpoints.convert import ConversionReport

__all__ = ["check", "convert"]

_UnetHeadDim = Annotated[
    int | None,
    typer.Option(min=1, help="Attention head width of the U-Net.  [default: 64]", rich_help_panel=EXPERT),
]
_ClipHeadDim = Annotated[
    int | None,
    typer.Option(
        min=1, help="Attention head width of the image encoder.  [default: 80]", rich_help_panel=EXPERT
    ),
]


def convert(
    src: Annotated[
        Path, typer.Argument(help="The original file, such as svd_xt.safetensors or svd_xt_1_1.safetensors.")
    ],
    dst: Annotated[
        Path,
        typer.Argument(help="Folder to write to: a new or empty one, or that of an earlier conversion."),
    ],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if the file holds any tensor that is not known.")
    ] = False,
    allow_unknown: Annotated[
        bool,
        typer.Option(
            "--allow-unknown", help="List tensors of the file that SVD's networks do not have, and go on."
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    unet_head_dim: _UnetHeadDim = None,
    clip_head_dim: _ClipHeadDim = None,
) -> None:
    """Convert an original checkpoint into a smaller folder.

    The single file becomes a folder of U-Net, image encoder and VAE encoder, which loads faster.
    """
    from actiondiff.checkpoints.convert import convert_weights
    from actiondiff.cli.output.progress import progress_bar

    with progress_bar("Converting", quiet=as_json) as progress:
        report = convert_weights(
            src,
            dst,
            dtype=dtype,  # type: ignore[arg-type]  # convert_weights checks it
            unet_head_dim=unet_head_dim,
            clip_head_dim=clip_head_dim,
            strict=strict,
            allow_unknown=allow_unknown,
            overwrite=overwrite,
            progress=progress,
        )
    values = {**asdict(report), "folder": report.folder.as_posix()}
    typer.echo(json.dumps(values, indent=2) if as_json else _describe(report))
    if report.unknown:
        names = "\n  ".join(report.unknown)
        typer.secho(f"{len(report.unknown)} unknown tensors were left out:\n  {names}", fg="yellow", err=True)


def check(
    weights: Annotated[
        str | None,
        typer.Argument(
            help="Your checkpoint: a file, folder or hub id. Without it and --backbone, only the built-in "
            "reference is computed."
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Backbone that the checkpoint belongs to.  [default: svd-xt]")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    as_json: JsonOption = False,
    unet_head_dim: _UnetHeadDim = None,
    clip_head_dim: _ClipHeadDim = None,
) -> None:
    """Check that this machine computes the right features.

    Computes built-in reference features again on this machine. With WEIGHTS or --backbone, also compares half
    precision with float32 on your own weights.
    """
    from actiondiff.backbones.base import find_spec
    from actiondiff.backbones.check import check_baseline
    from actiondiff.backbones.svd.check import check_device, check_weights, suggested_options

    half = _half_precision(device, dtype)
    own: list[PrecisionCheck] = []
    advice: dict[str, str] = {}
    if weights or backbone:
        name = backbone or "svd-xt"
        kind = find_spec(name).kind
        own = (check_weights if kind == "svd" else check_baseline)(
            name,
            weights,
            dtype=half,
            device=device,
            unet_head_dim=unet_head_dim,
            clip_head_dim=clip_head_dim,
        )
        advice = suggested_options(own, half)
        if kind not in ("svd", "dit"):
            del advice["vae_dtype"]  # there is no such option
    reference = check_device(device, dtype)  # type: ignore[arg-type]  # load_backbone checks it
    if as_json:
        values = {
            kind: [{**asdict(item), "passed": item.passed} for item in checks]
            for kind, checks in (("golden", reference), ("weights", own))
        }
        typer.echo(json.dumps({**values, "options": advice}, indent=2))
    else:
        _print_checks(reference, own, half, advice)
    if not all(item.passed for item in reference):
        raise typer.Exit(1)


def _half_precision(device: str, dtype: str) -> "Half":
    """The half precision to try: the one asked for, else what the device computes at speed."""
    import torch

    match dtype:
        case "float16" | "bfloat16":
            return dtype
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return "bfloat16" if on_cpu else "float16"


def _print_checks(
    reference: "Sequence[PrecisionCheck]",
    own: "Sequence[PrecisionCheck]",
    half: str,
    advice: Mapping[str, str],
) -> None:
    """Print one table per kind of check, and what follows from them."""
    from rich.console import Console
    from rich.table import Table

    for title, checks in (
        ("built-in golden, recomputed here", reference),
        (f"your weights, {half} against float32", own),
    ):
        table = Table("what", "relative error", "in order up to", "", title=title)
        for item in checks:
            passed = "yes" if item.passed else "NO"
            table.add_row(item.name, f"{item.error:.1e}", f"{item.expected:.0e}", passed)
        if checks:
            Console().print(table)
    if all(item.passed for item in reference):
        typer.echo("Features are right on this device.")
    else:
        typer.echo("Features are WRONG on this device: do not use them.")
    if own:
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in advice.items())
        vae = (
            " The VAE takes most of the time. For SVD in half precision on CUDA its default is auto-float16, "
            "which repeats in tf32 what float16 cannot hold; else it is float32 unless --vae-dtype says "
            "otherwise."
            if "vae_dtype" in advice
            else ""
        )
        typer.echo(f"Accurate enough with these weights: {options}.{vae}")


def _describe(report: "ConversionReport") -> str:
    """What was converted, in a few lines."""
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
