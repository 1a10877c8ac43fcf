"""`actiondiff weights`: convert the published weights, and check what this machine makes of them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from actiondiff.backbones.check import Half, PrecisionCheck
    from actiondiff.checkpoints.convert import ConversionReport

__all__ = ["check", "convert"]


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
    """Convert an original checkpoint into a smaller folder.

    The single file becomes a folder of U-Net, image encoder and VAE encoder, which loads faster.
    """
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
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )
    typer.echo(json.dumps(_plain(report), indent=2) if as_json else _text(report))
    if report.unknown:
        listed = "\n  ".join(report.unknown)
        typer.secho(
            f"{len(report.unknown)} unknown tensors were left out:\n  {listed}", fg="yellow", err=True
        )


def check(
    weights: Annotated[
        str | None,
        typer.Argument(
            help="Your checkpoint: a file, folder or hub id; without it and --backbone only the golden is "
            "checked."
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The backbone that the checkpoint is of. [default: svd-xt]")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    unet_head_dim: Annotated[
        int | None, typer.Option(min=1, help="Attention head width of the U-Net.")
    ] = None,
    clip_head_dim: Annotated[
        int | None, typer.Option(min=1, help="Attention head width of the image encoder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check that this machine computes the right features.

    Computes built-in reference features again on this machine. With WEIGHTS or --backbone, also compares half
    precision with float32 on your own weights.
    """
    from actiondiff.backbones.base import find_spec
    from actiondiff.backbones.check import check_baseline
    from actiondiff.backbones.svd.check import check_device, check_weights, suggested_options

    half = _half_precision(device, dtype)
    own, advice = [], {}
    if weights or backbone:
        name = backbone or "svd-xt"
        is_svd = find_spec(name).kind == "svd"
        own = (check_weights if is_svd else check_baseline)(
            name,
            weights,
            dtype=half,
            device=device,
            unet_head_dim=unet_head_dim,
            clip_head_dim=clip_head_dim,
        )
        advice = suggested_options(own, half)
        if not is_svd:
            del advice["vae_dtype"]  # the others have no such option
    lines = check_device(device, dtype)  # type: ignore[arg-type]  # load_backbone checks it
    if as_json:
        found = {"golden": lines, "weights": own}
        values: dict[str, Any] = {
            kind: [{**asdict(c), "passed": c.passed} for c in checks] for kind, checks in found.items()
        }
        typer.echo(json.dumps({**values, "options": advice}, indent=2))
    else:
        _print_checks(lines, own, half, advice)
    if not all(line.passed for line in lines):
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
    golden: "list[PrecisionCheck]", own: "list[PrecisionCheck]", half: str, advice: dict[str, str]
) -> None:
    from rich.console import Console
    from rich.table import Table

    for title, lines in (
        ("built-in golden, recomputed here", golden),
        (f"your weights, {half} against float32", own),
    ):
        table = Table("what", "relative error", "in order up to", "", title=title)
        for line in lines:
            table.add_row(
                line.name, f"{line.error:.1e}", f"{line.expected:.0e}", "yes" if line.passed else "NO"
            )
        if lines:
            Console().print(table)
    passed = all(line.passed for line in golden)
    typer.echo(
        "Features are right on this device."
        if passed
        else "Features are WRONG on this device: do not use them."
    )
    if own:
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in advice.items())
        typer.echo(
            f"Near enough with these weights: {options}."
            + (
                " The VAE takes most of the time, and is float32 unless --vae-dtype says otherwise."
                if "vae_dtype" in advice
                else ""
            )
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
