"""The folder in which diffusers publishes a video diffusion transformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actiondiff.backbones.base import BackboneSpec
from actiondiff.checkpoints.folders import read_json
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.locate import VARIABLE, find_weights
from actiondiff.errors import WeightsError

__all__ = ["TEXT_ENCODER", "check_scheduler", "folder_of"]

TEXT_ENCODER = "text_encoder"
"""Name of the folder of the text encoder."""
_PARTS = ("transformer", "vae")
_SCHEDULER = "scheduler/scheduler_config.json"


def folder_of(spec: BackboneSpec, weights: str | Path | None) -> Path:
    """The folder of the weights, downloaded if it is named by its hub id.

    Raises:
        WeightsError: If there is none.
    """
    hub = spec.source.hub if spec.source else ""
    source = weights or find_weights(spec.name)
    if source is None:
        raise WeightsError(
            f"{spec.name} needs weights: give weights= (--weights) the folder that diffusers loads, with "
            f"transformer/, vae/ and text_encoder/, or its hub id {hub}; or name in {VARIABLE} a folder that "
            f"holds it as {spec.name}/. `actiondiff weights get {spec.name}` downloads it. "
            f"random-{spec.name} needs none."
        )
    advice = f"Give the folder that diffusers loads, with transformer/ and vae/, or its hub id {hub}."
    folder = locate(source, parts=_PARTS, extra=(_SCHEDULER,), advice=advice)
    if not folder.is_dir():
        raise WeightsError(f"{folder} is a single file, which is not read. {advice}")
    return folder


def check_scheduler(folder: Path, scheduler: Mapping[str, Any]) -> None:
    """Check that the folder's schedule, if it has one, is the one that timesteps are counted in.

    Raises:
        WeightsError: If a field differs.
    """
    path = folder / _SCHEDULER
    if not path.exists():
        return
    stored = read_json(path)
    for name, value in scheduler.items():
        if name in stored and stored[name] != value:
            raise WeightsError(
                f"{path} has {name} {stored[name]!r}; this backbone's timesteps need {value!r}. It belongs "
                "to another model, or to another version of this one."
            )
