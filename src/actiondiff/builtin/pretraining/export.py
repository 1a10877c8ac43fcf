"""Writes the built-in backbone as a folder with the layout of converted weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from actiondiff.checkpoints.architecture import is_needed
from actiondiff.checkpoints.identity import DIGEST_FIELD, Digest
from actiondiff.provenance import atomic_path

__all__ = ["write_backbone"]

_FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "image_encoder": "image_encoder/model.safetensors",
    "vae": "vae_encoder/model.safetensors",
}
_HEADS: dict[str, dict[str, object]] = {
    "unet": {"_class_name": "UNetSpatioTemporalConditionModel"},
    "image_encoder": {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"},
    "vae": {},
}
_CONFIGS = {"unet": "unet", "image_encoder": "clip", "vae": "vae"}


def write_backbone(
    folder: Path,
    components: Mapping[str, Mapping[str, Tensor]],
    architecture: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> None:
    """Write a backbone that `load_backbone("tiny", weights=folder)` reads.

    Args:
        folder: Folder to write to; files of an earlier backbone are replaced.
        components: Tensors by name of `unet` (the part that features need), `image_encoder` and `vae`; they
            are stored as float16.
        architecture: Configurations of `unet`, `clip` and `vae`.
        origin: How the weights were made; stored as `origin.json`.
    """
    for component, tensors in components.items():
        halves = {
            name: tensor.detach().to(torch.float16).contiguous()
            for name, tensor in sorted(tensors.items())
            if is_needed(component, name)
        }
        digest = Digest()
        for name, tensor in halves.items():
            digest.add(name, tensor)
        config = {**_HEADS[component], **architecture[_CONFIGS[component]]}
        with atomic_path(folder / _FILES[component]) as path:
            save_file(halves, path, metadata={"format": "pt", DIGEST_FIELD: digest.hexdigest()})
        _write_json((folder / _FILES[component]).parent / "config.json", config)
    _write_json(folder / "origin.json", origin)


def _write_json(target: Path, fields: Mapping[str, Any]) -> None:
    with atomic_path(target) as path:
        path.write_text(json.dumps(fields, indent=2) + "\n", "utf-8")
