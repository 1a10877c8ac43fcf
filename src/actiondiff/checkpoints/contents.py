"""What a file or folder of weights holds, under our names: where each tensor is, and what was left over."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actiondiff.checkpoints.architecture import (
    COMPONENTS,
    config_from_json,
    config_from_shapes,
    expected_shapes,
)
from actiondiff.checkpoints.keymap import KeyMap, Target
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import WeightsError

__all__ = ["Contents", "Entry", "contents_of_file", "contents_of_folder"]

_FOLDERS = {
    "unet": ("unet",),
    "image_encoder": ("image_encoder",),
    "vae": ("vae_encoder", "vae"),  # ours first: it holds no decoder
    "latent_encoder": ("latent_encoder",),
}
_STEMS = ("diffusion_pytorch_model", "model")
_VARIANTS = ("", ".fp16")  # full precision where there is both


@dataclass(frozen=True)
class Entry:
    """Where one tensor under our names comes from."""

    file: TensorFile
    key: str
    target: Target

    def read(self) -> Tensor:
        """Its values, in the dtype they are stored in."""
        return self.target.apply(self.file.read(self.key))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype it is stored in."""
        return self.file.tensors[self.key].dtype

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Its shape under our names."""
        shape = self.file.tensors[self.key].shape
        try:
            return tuple(self.target.apply(torch.empty(shape, device="meta")).shape)
        except (RuntimeError, IndexError):
            raise WeightsError(
                f"{self.file.path}: {self.key} has shape {shape}, which cannot become {self.target.name}. "
                "The file is damaged or of another model."
            ) from None


@dataclass(frozen=True)
class Contents:
    """What a source of weights holds.

    Attributes:
        source: The file or folder.
        entries: Component -> name -> where it is.
        configs: Component -> constructor arguments; `latent_encoder` has those of `vae`.
        expected: Component -> name -> shape: what the architecture has, present or not.
        not_needed: The source's names that are known and on which no feature depends.
        unknown: The source's names that nothing is known of.
    """

    source: Path
    entries: Mapping[str, Mapping[str, Entry]]
    configs: Mapping[str, dict[str, Any]]
    expected: Mapping[str, Mapping[str, tuple[int, ...]]]
    not_needed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default=())


def contents_of_file(path: Path, *, unet_head_dim: int | None, clip_head_dim: int | None) -> Contents:
    """Contents of an original single file; it may lack components, and the U-Net's deeper blocks.

    Raises:
        WeightsError: If the file is not of SVD's kind, damaged, or has one VAE encoder without the other.
    """
    file = TensorFile(path)
    mapped: dict[str, dict[str, Entry]] = {}
    not_needed, unknown = [], []
    key_map = KeyMap.svd()
    for key in file.tensors:
        targets = key_map.match(key)
        if targets is None:
            unknown.append(key)
        elif not targets:
            not_needed.append(key)
        for target in targets or ():
            mapped.setdefault(target.component, {})[target.name] = Entry(file, key, target)
    if "unet" not in mapped:
        raise WeightsError(_not_svd(path, list(file.tensors)))
    if ("vae" in mapped) != ("latent_encoder" in mapped):
        raise WeightsError(f"{path} holds one of its two VAE encoders only. Give the complete file.")
    configs = {}
    head_dims = {"unet": unet_head_dim, "image_encoder": clip_head_dim}
    for component, entries in mapped.items():
        shapes = {name: entry.shape for name, entry in entries.items()}
        configs[component] = config_from_shapes(
            "vae" if component == "latent_encoder" else component, shapes, head_dim=head_dims.get(component)
        )
    entries, expected, left_over = _checked(path, mapped, configs)
    return Contents(path, entries, configs, expected, tuple(not_needed), (*unknown, *left_over), (path,))


def contents_of_folder(folder: Path, *, unet_head_dim: int | None, clip_head_dim: int | None) -> Contents:
    """Contents of a converted or diffusers folder.

    Raises:
        WeightsError: If it is no such folder, incomplete or of another model, or its head widths are others
            than the given ones.
    """
    if not (folder / "unet").is_dir():
        here = sorted(path.name for path in folder.glob("*.safetensors"))
        advice = f"Give the file itself: {folder / here[0]}." if here else "Give a file, or a hub id."
        raise WeightsError(
            f"{folder} is no folder of weights: it has no unet/ (as converted and diffusers folders have). "
            f"{advice}"
        )
    mapped: dict[str, dict[str, Entry]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for component in COMPONENTS:
        part = next((folder / name for name in _FOLDERS[component] if (folder / name).is_dir()), None)
        if part is None:
            continue
        kind = "vae" if component == "latent_encoder" else component
        configs[component] = config_from_json(kind, _read_json(part / "config.json"), source=part)
        mapped[component] = {
            name: Entry(file, name, Target(component, name))
            for file in map(TensorFile, _weight_files(part))
            for name in file.tensors
        }
    _compare_heads("unet", configs, "unet_head_dim", unet_head_dim)
    _compare_heads("image_encoder", configs, "clip_head_dim", clip_head_dim)
    entries, expected, left_over = _checked(folder, mapped, configs)
    files = {entry.file.path for part in entries.values() for entry in part.values()}
    return Contents(folder, entries, configs, expected, (), tuple(left_over), tuple(sorted(files)))


def _checked(
    source: Path, mapped: Mapping[str, Mapping[str, Entry]], configs: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Entry]], dict[str, dict[str, tuple[int, ...]]], list[str]]:
    """Entries that the architecture has, what it has, and the source's names that it has not."""
    expected = {component: expected_shapes(component, configs[component]) for component in mapped}
    kept: dict[str, dict[str, Entry]] = {}
    left_over: dict[str, None] = {}
    for component, entries in mapped.items():
        kept[component] = {}
        for name, entry in entries.items():
            shape = expected[component].get(name)
            if shape is None:
                left_over[entry.key] = None
                continue
            if entry.shape != shape:
                raise WeightsError(
                    f"{source}: {entry.key} has shape {entry.shape}; a model of this architecture has {shape}. "
                    "The weights are damaged or of another model."
                )
            kept[component][name] = entry
    return kept, expected, list(left_over)


def _weight_files(part: Path) -> list[Path]:
    """The safetensors files of one component: one, or the shards that an index names."""
    for variant in _VARIANTS:
        for stem in _STEMS:
            single = part / f"{stem}{variant}.safetensors"
            if single.exists():
                return [single]
            index = part / f"{stem}.safetensors.index{variant}.json"
            if index.exists():
                shards = sorted({part / name for name in _read_json(index)["weight_map"].values()})
                missing = [shard.name for shard in shards if not shard.exists()]
                if missing:
                    raise WeightsError(f"{part} lacks {', '.join(missing)}. Download it again.")
                return shards
    raise WeightsError(
        f"{part} holds no weights that are read here; allowed: {_STEMS[0]}.safetensors or {_STEMS[1]}.safetensors, "
        "also .fp16 or in shards with an index. Pickles (.bin) are not read."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} lacks {path.name}. Download or convert it again.") from None
    except ValueError:
        raise WeightsError(f"{path} is no JSON. Download or convert it again.") from None
    return dict(fields)


def _compare_heads(
    component: str, configs: Mapping[str, dict[str, Any]], option: str, given: int | None
) -> None:
    """A folder says its head widths; a given one must not contradict it."""
    if given is None or component not in configs:
        return
    config = configs[component]
    widths = config["block_out_channels"] if component == "unet" else [config["hidden_size"]]
    heads = config["num_attention_heads"]
    for width, count in zip(widths, heads if isinstance(heads, list) else [heads] * len(widths), strict=True):
        if width != given * count:
            raise WeightsError(
                f"{option} is {given}, but the folder's {component}/config.json says {width // count}. "
                "Leave the option out."
            )


def _not_svd(path: Path, names: list[str]) -> str:
    return (
        f"{path} holds none of the tensors of Stable Video Diffusion's original file; it has "
        f"{', '.join(names[:3]) or 'no tensors'} ... Give svd.safetensors or svd_xt.safetensors, or a folder "
        "with unet/, image_encoder/ and vae/."
    )
