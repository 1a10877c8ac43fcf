"""A trained head on disk: `model.safetensors` and `config.json`, what prediction needs beside the backbone.

No pickle: both files may be passed on and opened by strangers.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from actiondiff.errors import RunError, UsageError, explain_validation
from actiondiff.heads import build_head
from actiondiff.heads.inputs import Head
from actiondiff.heads.options import HeadOptions
from actiondiff.heads.predict import Activation
from actiondiff.provenance import atomic_path, write_text

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "load_bundle", "save_bundle"]

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class _Config(BaseModel):
    """What config.json must hold; anything further is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal[1] = Field(description="Of the bundle.")
    labels: list[str] = Field(min_length=1, description="The classes, in the order of the head's outputs.")
    activation: Activation = Field(description="From logits to probabilities.")
    keys: list[str] = Field(min_length=1, description="Features a token is made of, such as t20.layer9.")
    backbone: dict[str, Any] = Field(description="Settings of the backbone that made the features.")
    feature_fingerprint: str = Field(min_length=1, description="Of the feature store's settings.")
    head: HeadOptions = Field(description="Name and size of the head.")
    token_width: int = Field(ge=1, description="D.")
    temperature: float = Field(1.0, gt=0, description="Logits are divided by it in prediction.")


def save_bundle(folder: str | os.PathLike[str], head: Head, config: Mapping[str, Any]) -> None:
    """Write a head and its config; the config comes last, so a folder that has one is complete.

    Args:
        folder: Where to; made if need be.
        head: The trained head.
        config: JSON values: `labels`, `activation`, `keys`, `backbone`, `feature_fingerprint`, and anything
            further. The head's options, width and temperature are added here.

    Raises:
        UsageError: If the config lacks something, or the head has values that are not finite.
    """
    written = {
        **config,
        "format": FORMAT,
        "head": head.options.model_dump(mode="json"),
        "token_width": head.token_width,
        "temperature": head.temperature,
    }
    try:
        checked = _Config.model_validate(written)
    except ValidationError as error:
        raise UsageError(f"a bundle's config is incomplete: {explain_validation(error)}.") from None
    if len(checked.labels) != head.num_classes:
        raise UsageError(
            f"a head of {head.num_classes} classes needs as many labels; got {len(checked.labels)}."
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UsageError(
            f"the head is not trained: {broken[0]} has values that are not finite. Use fit first."
        )
    with atomic_path(Path(folder) / WEIGHTS) as aside:
        save_file(tensors, aside)
    write_text(Path(folder) / CONFIG, json.dumps(written, indent=2, allow_nan=False) + "\n")


def load_bundle(folder: str | os.PathLike[str]) -> tuple[Head, dict[str, Any]]:
    """Read what `save_bundle` wrote.

    Returns:
        The head, on the CPU and in evaluation mode, and the whole config.

    Raises:
        RunError: If a file is missing or damaged, the config lacks something, or the weights do not fit it.
    """
    folder = Path(folder)
    absent = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if absent:
        raise RunError(
            f"{folder} holds no trained model: {' and '.join(absent)} missing. Give the folder that "
            "`actiondiff train` wrote, or train again."
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        checked = _Config.model_validate(config)
        tensors = load_file(folder / WEIGHTS)
    except ValidationError as error:
        raise RunError(
            f"{folder / CONFIG} does not describe a model of format {FORMAT}: {explain_validation(error)}."
        ) from None
    except (ValueError, OSError, SafetensorError) as error:
        raise RunError(f"{folder} is damaged: {error}. Restore it, or train again.") from None
    head = build_head(checked.head, checked.token_width, len(checked.labels))
    _fill(head, tensors, folder)
    head.temperature = checked.temperature
    return head.eval(), config


def _fill(head: Head, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise RunError(
            f"{folder / WEIGHTS} does not fit {CONFIG} in {len(wrong)} tensors: {name} is "
            f"{found.get(name, 'absent')}, expected {expected.get(name, 'absent')}. Both must come from "
            "one training."
        )
    head.load_state_dict(dict(tensors))
