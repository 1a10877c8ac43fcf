"""Lists what a file or folder of weights holds: where each tensor is stored, and what was left over."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actiondiff.checkpoints.architecture import (
    COMPONENTS,
    Config,
    Shape,
    attention_heads,
    attention_widths,
    config_from_json,
    config_from_shapes,
    expected_shapes,
)
from actiondiff.checkpoints.bounds import check_config
from actiondiff.checkpoints.folders import read_json, weight_files
from actiondiff.checkpoints.keymap import KeyMap, Target
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import WeightsError, warn_once

__all__ = ["Contents", "StoredTensor", "check_unknown", "contents_of_file", "contents_of_folder"]

_FOLDERS = {
    "unet": ("unet",),
    "image_encoder": ("image_encoder",),
    "vae": ("vae_encoder", "vae"),  # ours first: it holds no decoder
    "latent_encoder": ("latent_encoder",),
}


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor is stored, and how it becomes the tensor under our names."""

    file: TensorFile
    key: str
    target: Target

    def read(self) -> Tensor:
        """Its values, in the dtype that they are stored in."""
        return self.target.apply(self.file.read(self.key))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that it is stored in."""
        return self.file.tensors[self.key].dtype

    @cached_property
    def shape(self) -> Shape:
        """Its shape under our names."""
        shape = self.file.tensors[self.key].shape
        try:
            return tuple(self.target.apply(torch.empty(shape, device="meta")).shape)
        except (RuntimeError, IndexError):
            raise WeightsError(
                f"{self.file.path}: {self.key} has shape {shape}, which cannot become {self.target.name}. "
                "The file is damaged or holds another model."
            ) from None


@dataclass(frozen=True)
class Contents:
    """Contents of a file or folder of weights.

    Attributes:
        source: The file or folder.
        entries: Component -> name -> where the tensor is stored.
        configs: Component -> constructor arguments.
        expected: Component -> name -> shape of all tensors that the architecture has, present or not.
        files: All files that are read.
        not_needed: Tensors of a single file that are known, but on which no feature depends.
        unknown: Tensors that neither the key map nor the architecture knows.
        unexpected: Those of `unknown` that belong to networks which features depend on.
    """

    source: Path
    entries: Mapping[str, Mapping[str, StoredTensor]]
    configs: Mapping[str, Config]
    expected: Mapping[str, Mapping[str, Shape]]
    files: tuple[Path, ...]
    not_needed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def contents_of_file(path: Path, *, unet_head_dim: int | None, clip_head_dim: int | None) -> Contents:
    """Contents of an original single file, which may lack components and the U-Net's deeper blocks.

    Args:
        path: The file.
        unet_head_dim: Attention head width of the U-Net; None: that of SVD.
        clip_head_dim: Attention head width of the image encoder; None: that of SVD.

    Raises:
        WeightsError: If the file holds another model, is damaged, or has only one of its two VAE encoders.
    """
    # Sort the tensors: needed ones under our names, those known to be needless, and unknown ones.
    file = TensorFile(path)
    mapped: dict[str, dict[str, StoredTensor]] = {}
    not_needed, unknown = [], []
    for key in file.tensors:
        targets = KeyMap.svd().match(key)
        if targets is None:
            unknown.append(key)
        elif not targets:
            not_needed.append(key)
        for target in targets or ():
            mapped.setdefault(target.component, {})[target.name] = StoredTensor(file, key, target)
    if "unet" not in mapped:
        raise WeightsError(
            f"{path} holds none of the tensors of Stable Video Diffusion's original file; it has "
            f"{', '.join(list(file.tensors)[:3]) or 'no tensors'} ... Give svd.safetensors, "
            "svd_xt.safetensors or svd_xt_1_1.safetensors, or a folder with unet/, image_encoder/ and vae/."
        )
    if ("vae" in mapped) != ("latent_encoder" in mapped):
        raise WeightsError(f"{path} holds one of its two VAE encoders only. Give the complete file.")
    # A single file has no configuration: it follows from the shapes, except for the attention heads.
    head_dims = {"unet": unet_head_dim, "image_encoder": clip_head_dim}
    configs = {
        component: config_from_shapes(
            component,
            {name: entry.shape for name, entry in entries.items()},
            head_dim=head_dims.get(component),
            source=path,
        )
        for component, entries in mapped.items()
    }
    entries, expected, left_over = _checked(path, mapped, configs)
    unknown += left_over
    unexpected = tuple(key for key in unknown if KeyMap.svd().is_used(key))
    needless = tuple(not_needed)
    return Contents(path, entries, configs, expected, (path,), needless, tuple(unknown), unexpected)


def contents_of_folder(folder: Path, *, unet_head_dim: int | None, clip_head_dim: int | None) -> Contents:
    """Contents of a converted or diffusers folder.

    Args:
        folder: The folder.
        unet_head_dim: Attention head width that the U-Net should have; None: any.
        clip_head_dim: Attention head width that the image encoder should have; None: any.

    Raises:
        WeightsError: If it is no such folder, is incomplete, holds another model, or has other head widths.
    """
    if not (folder / "unet").is_dir():
        here = sorted(path.name for path in folder.glob("*.safetensors"))
        advice = f"give the file itself: {folder / here[0]}" if here else "give the original file instead"
        raise WeightsError(
            f"{folder} is no folder of weights: it lacks unet/, which converted and diffusers folders have; "
            f"{advice}."
        )
    mapped: dict[str, dict[str, StoredTensor]] = {}
    configs: dict[str, Config] = {}
    for component in COMPONENTS:
        part = next((folder / name for name in _FOLDERS[component] if (folder / name).is_dir()), None)
        if part is None:
            continue
        configs[component] = config_from_json(component, read_json(part / "config.json"), source=part)
        check_config(configs[component], source=part / "config.json")
        mapped[component] = {
            name: StoredTensor(file, name, Target(component, name))
            for file in map(TensorFile, weight_files(part))
            for name in file.tensors
        }
    entries, expected, left_over = _checked(folder, mapped, configs)
    _compare_heads(folder, configs, {"unet": unet_head_dim, "image_encoder": clip_head_dim})
    files = {entry.file.path for part in entries.values() for entry in part.values()}
    unknown = tuple(name for name in left_over if not _is_needless(name))
    return Contents(
        folder, entries, configs, expected, tuple(sorted(files)), unknown=unknown, unexpected=unknown
    )


def _is_needless(name: str) -> bool:
    """Whether a tensor of a folder is known to be needless: the decoder of vae/, and a table of numbers."""
    return name.startswith(("decoder.", "post_quant_conv.")) or name.endswith("embeddings.position_ids")


def check_unknown(contents: Contents, *, allow_unknown: bool) -> None:
    """Refuse tensors that belong to the networks but that these do not have, or list them in a warning.

    A tensor without a place may mean that the checkpoint is of another model, whose features would be wrong.

    Args:
        contents: Contents of the file or folder.
        allow_unknown: Whether to go on without those tensors.

    Raises:
        WeightsError: If there are any and they are not allowed.
    """
    names = contents.unexpected
    if not names:
        return
    listed = ", ".join(names if allow_unknown else names[:5])
    what = f"{contents.source} holds {len(names)} tensors that these networks do not have: {listed}"
    if not allow_unknown:
        raise WeightsError(
            f"{what}{' ...' if len(names) > 5 else ''}. It may be another model, whose features would be "
            "wrong. If these tensors do not matter, leave them out with allow_unknown (--allow-unknown)."
        )
    warn_once(f"{what}. They are left out.")


def _checked(
    source: Path, mapped: Mapping[str, Mapping[str, StoredTensor]], configs: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, Mapping[str, Shape]], list[str]]:
    """Tensors that the architecture has, the shapes it expects, and names in the source that it lacks."""
    expected = {component: _expected(source, component, configs[component]) for component in mapped}
    entries_of: dict[str, dict[str, StoredTensor]] = {component: {} for component in mapped}
    left_over: dict[str, None] = {}
    for component, entries in mapped.items():
        for name, entry in entries.items():
            shape = expected[component].get(name)
            if shape is None:
                left_over[entry.key] = None
                continue
            if entry.shape != shape or not entry.dtype.is_floating_point:
                raise WeightsError(
                    f"{source}: {entry.key} is {entry.shape} {entry.dtype}; the rest of the model requires "
                    f"floating-point numbers of shape {shape}. It is damaged or another model."
                )
            entries_of[component][name] = entry
    return entries_of, expected, list(left_over)


def _expected(source: Path, component: str, config: Mapping[str, Any]) -> Mapping[str, Shape]:
    """The shapes of a network that is built from these numbers, which somebody else wrote."""
    check_config(config, source=f"{source} ({component})")
    try:
        return expected_shapes(component, config)
    except Exception as error:  # libraries fail in many ways at numbers that do not fit each other
        reason = (str(error).splitlines() or [""])[0][:200]
        raise WeightsError(
            f"{source}: the configuration of its {component} describes no network ({type(error).__name__}: "
            f"{reason}). It is damaged, or of another kind of model."
        ) from None


def _compare_heads(folder: Path, configs: Mapping[str, Config], head_dims: Mapping[str, int | None]) -> None:
    """Check that the head widths asked for are those of the folder's config.json files."""
    for component, head_dim in head_dims.items():
        if head_dim is None or component not in configs:
            continue
        config = configs[component]
        pairs = zip(attention_widths(config), attention_heads(config), strict=True)
        widths = [width // count for width, count in pairs]
        if any(width != head_dim for width in widths):
            raise WeightsError(
                f"a head width of {head_dim} was given for the {component}, but its config.json in {folder} "
                f"says {sorted(set(widths))}. Leave the option out: a folder states its own."
            )
