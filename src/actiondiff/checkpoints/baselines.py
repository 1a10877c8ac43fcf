"""Weights of the baseline backbones, under the names of the modules that run them.

A data file in `keymaps/` says for each kind how its names map, and in `layout` where they are:

    parts      folders that hold components; none: one file, a folder with that file alone, or a folder with
               config.json and weights
    prefixes   what may stand before every name, in the order in which they are tried
    anchor     the name, behind its prefix, by which the right prefix is known
    refused    beginnings of names that show that the file is not what the backbone stands for -> why
    config     fields of config.json -> fields of the architecture that they must equal
    advice     what to give instead of a file that does not fit

Names before which another prefix stands (decoders, optimisers, the other encoder) are left alone.
"""

import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from actiondiff.checkpoints.architecture import Shape
from actiondiff.checkpoints.contents import StoredTensor
from actiondiff.checkpoints.folders import read_json, weight_files
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.identity import Digest, combined, recall, remember
from actiondiff.checkpoints.keymap import KeyMap
from actiondiff.checkpoints.tensorfile import TensorFile, TensorInfo
from actiondiff.errors import WeightsError

__all__ = ["BaselineCheckpoint", "open_baseline"]

_PICKLE_SUFFIXES = {".pth", ".pt", ".tar", ".bin", ".ckpt"}


class _Pickle(TensorFile):
    """A checkpoint pickled by torch: only tensors and plain containers are loaded, never code.

    Names of nested dictionaries are joined by dots.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
            raise WeightsError(
                f"{path} cannot be loaded as tensors alone ({str(error).splitlines()[0]}); pickles that "
                "could run code are never loaded. If it is whole, save its state dictionary as .safetensors."
            ) from None
        self._values = dict(_tensors_of(content))
        self.tensors = {
            name: TensorInfo(tensor.dtype, tuple(tensor.shape), 0) for name, tensor in self._values.items()
        }

    def read(self, name: str) -> Tensor:
        return self._values[name]


def _tensors_of(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors_of(value, f"{name}.{key}" if name else str(key))


class BaselineCheckpoint:
    """Tensors of a baseline's components, read when they are asked for.

    Args:
        source: The file or folder.
        entries: Component -> name -> where it is.
        architecture: Component -> constructor arguments, whose attention heads are part of the identity.
    """

    def __init__(
        self,
        source: Path,
        entries: Mapping[str, Mapping[str, StoredTensor]],
        architecture: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._source = source
        self._entries = entries
        self._architecture = architecture

    @cached_property
    def identity(self) -> str:
        """sha256 (hex) over names, shapes and values (as float32) of all mapped tensors, and the heads."""
        files = {entry.file.path for part in self._entries.values() for entry in part.values()}
        digests = recall(files)
        if digests.keys() != self._entries.keys():
            digests = {component: self._digest(component) for component in self._entries}
            remember(files, digests)
        return combined(digests, self._architecture)

    def _digest(self, component: str) -> str:
        digest = Digest()
        for name, entry in self._entries[component].items():
            digest.add(name, entry.read())
        return digest.hexdigest()

    def tensors(
        self, component: str, names: Iterable[str], *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """The named tensors of a component, cast to `dtype`; None: as stored."""
        entries = self._entries[component]
        found = {name: entries[name].read() for name in names}
        return {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in found.items()}


def open_baseline(
    path: str | Path,
    kind: str,
    expected: Mapping[str, Mapping[str, Shape]],
    architecture: Mapping[str, Mapping[str, Any]],
) -> BaselineCheckpoint:
    """Open weights of a baseline; of safetensors files nothing but tables of contents is read.

    Args:
        path: File (safetensors, or a pickle of tensors alone), folder or hub id.
        kind: Name of the key map in `keymaps/`.
        expected: Component -> name -> shape: what the modules have. Everything must be there.
        architecture: Component -> constructor arguments of those modules.

    Raises:
        WeightsError: If there is nothing there, or it is not of this kind and architecture.
    """
    layout = _layout(kind)
    source = _alone(locate(path, parts=layout["parts"] or ("",), advice=layout["advice"]), layout)
    files, config = _files(source, layout)
    _compare(source, layout, config, architecture)
    mapped = _mapped(source, files, layout, KeyMap(kind))
    _check(source, layout, mapped, expected)
    return BaselineCheckpoint(source, mapped, architecture)


def _layout(kind: str) -> dict[str, Any]:
    text = resources.files("actiondiff.checkpoints").joinpath(f"keymaps/{kind}.yaml").read_text("utf-8")
    return {"parts": (), "refused": {}, "config": {}, **yaml.safe_load(text)["layout"]}


def _alone(source: Path, layout: Mapping[str, Any]) -> Path:
    """The one file of weights of a folder that is no repository: where an original file was put as it is."""
    if layout["parts"] or not source.is_dir() or (source / "config.json").exists():
        return source
    suffixes = _PICKLE_SUFFIXES | {".safetensors"}
    found = sorted(path for path in source.iterdir() if path.suffix in suffixes)
    if len(found) == 1:
        return found[0]
    here = ", ".join(path.name for path in found) or "none"
    raise WeightsError(
        f"{source} holds neither config.json nor one file of weights alone; files of weights there: {here}. "
        f"{layout['advice']}"
    )


def _files(source: Path, layout: Mapping[str, Any]) -> tuple[list[tuple[str, TensorFile]], dict[str, Any]]:
    """Each file with what its names stand behind, and the content of config.json, by parts if there are."""
    if not layout["parts"]:
        if not source.is_dir():
            pickled = source.suffix in _PICKLE_SUFFIXES
            return [("", _Pickle(source) if pickled else TensorFile(source))], {}
        return [("", TensorFile(file)) for file in weight_files(source)], read_json(source / "config.json")
    files: list[tuple[str, TensorFile]] = []
    config: dict[str, Any] = {}
    for part in layout["parts"]:
        if not (source / part).is_dir():
            raise WeightsError(f"{source} has no {part}/. {layout['advice']}")
        files += [(f"{part}.", TensorFile(file)) for file in weight_files(source / part)]
        config[part] = read_json(source / part / "config.json")
    return files, config


def _compare(
    source: Path, layout: Mapping[str, Any], config: Mapping[str, Any], architecture: Mapping[str, Any]
) -> None:
    """Fields of config.json that shapes may not tell must be as the architecture has them."""
    known = architecture if layout["parts"] else next(iter(architecture.values()))
    for theirs, ours in layout["config"].items():
        found, wanted = _field(config, theirs), _field(known, ours)
        if found is not None and wanted is not None and found != wanted:
            raise WeightsError(
                f"{source} is of another model: its config.json has {theirs} {found}; this backbone has "
                f"{wanted}. {layout['advice']}"
            )


def _field(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _mapped(
    source: Path, files: list[tuple[str, TensorFile]], layout: Mapping[str, Any], keymap: KeyMap
) -> dict[str, dict[str, StoredTensor]]:
    """Component -> name -> where it is, of all names that stand behind the right prefix."""
    names = {behind + key: (file, key) for behind, file in files for key in file.tensors}
    prefix = next((p for p in layout["prefixes"] if p + layout["anchor"] in names), None)
    if prefix is None:
        raise WeightsError(
            f"{source} holds no tensor {layout['anchor']}; it has {', '.join(list(names)[:3]) or 'none'} ... "
            f"{layout['advice']}"
        )
    mapped: dict[str, dict[str, StoredTensor]] = {}
    unknown = []
    for name, (file, key) in names.items():
        if not name.startswith(prefix):
            continue
        inner = name.removeprefix(prefix)
        for start, why in layout["refused"].items():
            if inner == start or inner.startswith(f"{start}."):
                raise WeightsError(f"{source} {why}. {layout['advice']}")
        targets = keymap.match(inner)
        if targets is None:
            unknown.append(name)
        for target in targets or ():
            mapped.setdefault(target.component, {})[target.name] = StoredTensor(file, key, target)
    if unknown:
        raise WeightsError(
            f"{source} holds {len(unknown)} tensors that this network does not have: "
            f"{', '.join(unknown[:3])} ... {layout['advice']}"
        )
    return mapped


def _check(
    source: Path,
    layout: Mapping[str, Any],
    mapped: Mapping[str, Mapping[str, StoredTensor]],
    expected: Mapping[str, Mapping[str, Shape]],
) -> None:
    """Every tensor of the modules is there, in its shape, and no other."""
    for component, shapes in expected.items():
        entries = mapped.get(component, {})
        missing = sorted(shapes.keys() - entries.keys())
        if missing:
            raise WeightsError(
                f"{source} lacks {len(missing)} of the {len(shapes)} tensors of the {component}: "
                f"{', '.join(missing[:3])} ... {layout['advice']}"
            )
        for name, entry in entries.items():
            if entry.shape != shapes.get(name):
                raise WeightsError(
                    f"{source}: {entry.key} has shape {entry.shape}; this backbone needs "
                    f"{shapes.get(name, 'no such tensor')}. {layout['advice']}"
                )
