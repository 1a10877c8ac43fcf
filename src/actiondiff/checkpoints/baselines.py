"""Weights of the baseline backbones, under the names of the modules that run them.

A data file in `keymaps/` says for each kind how its names map, and in `layout` how its files are laid out.
Names with another prefix (decoders, optimisers, the other encoder) are ignored.
"""

import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from actiondiff.checkpoints.architecture import Config, Shape
from actiondiff.checkpoints.contents import StoredTensor
from actiondiff.checkpoints.folders import read_json, weight_files
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.identity import Digest, combined, recall, remember
from actiondiff.checkpoints.keymap import KeyMap
from actiondiff.checkpoints.tensorfile import TensorFile, TensorInfo
from actiondiff.errors import WeightsError

__all__ = ["BaselineCheckpoint", "open_baseline"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PICKLE_SUFFIXES = {".pth", ".pt", ".tar", ".bin", ".ckpt"}


class _Pickle(TensorFile):
    """A checkpoint that PyTorch pickled. Only tensors and plain containers are loaded, never code.

    Names in nested dictionaries are joined by dots.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
            raise WeightsError(_explain_pickle(path, error)) from None
        self._values = dict(_tensors_of(content))
        self.tensors = {
            name: TensorInfo(tensor.dtype, tuple(tensor.shape), 0) for name, tensor in self._values.items()
        }

    def read(self, name: str) -> Tensor:
        return self._values[name]


def _explain_pickle(path: Path, error: Exception) -> str:
    """Why a pickle is refused, and what to do; without the text of torch, which is long and coloured."""
    try:
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError):
        classes = []
    if not classes:
        first = _COLOUR.sub("", str(error)).splitlines()[0] if str(error) else type(error).__name__
        return f"{path} cannot be loaded as tensors alone ({first}). It may be cut short: download it again."
    return (
        f"{path} holds {', '.join(sorted(classes))} beside its tensors, and pickles that could run code are "
        "never loaded. If you trust the file, save its weights without the rest by two lines of Python: "
        f"`import torch; x = torch.load({path.name!r}, map_location='cpu', weights_only=False)` and "
        "`torch.save({k: v for k, v in x.items() if isinstance(v, (dict, torch.Tensor))}, "
        f"'{path.stem}-tensors.pth')`; then give {path.stem}-tensors.pth."
    )


def _tensors_of(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors_of(value, f"{name}.{key}" if name else str(key))


class BaselineCheckpoint:
    """Tensors of a baseline's components, each read when it is used.

    Args:
        source: The file or folder.
        entries: Component -> name -> where the tensor is stored.
        architecture: Component -> constructor arguments; their attention heads are part of the identity.
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
        tensors = {name: entries[name].read() for name in names}
        return {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in tensors.items()}


def open_baseline(
    path: str | Path,
    kind: str,
    expected: Mapping[str, Mapping[str, Shape]],
    architecture: Mapping[str, Mapping[str, Any]],
) -> BaselineCheckpoint:
    """Open weights of a baseline; of safetensors files only the tables of contents are read yet.

    Args:
        path: File (safetensors, or a pickle of tensors alone), folder or hub id.
        kind: Name of the key map in `keymaps/`.
        expected: Component -> name -> shape of all tensors of the modules, which must all be there.
        architecture: Component -> constructor arguments of those modules.

    Raises:
        WeightsError: If nothing is there, or it does not have this kind and architecture.
    """
    layout = _layout(kind)
    source = _alone(locate(path, parts=layout.parts or ("",), advice=layout.advice), layout)
    kind, layout = _form(source, kind)
    files, config = _files(source, layout)
    _compare(source, layout, config, architecture)
    mapped = _mapped(source, files, layout, KeyMap(kind))
    _check(source, layout, mapped, expected)
    return BaselineCheckpoint(source, mapped, architecture)


def _form(source: Path, kind: str) -> tuple[str, "_Layout"]:
    """The key map whose names a file has, and its layout: that of the kind, or one of its alternatives."""
    own = _layout(kind)
    if source.is_dir() or not own.alternatives:
        return kind, own
    names = _open(source).tensors
    for candidate in (kind, *own.alternatives):
        layout = _layout(candidate)
        if not layout.parts and any(prefix + layout.anchor in names for prefix in layout.prefixes):
            return candidate, layout
    return kind, own


def _open(path: Path) -> TensorFile:
    return _Pickle(path) if path.suffix in _PICKLE_SUFFIXES else TensorFile(path)


class _Layout(BaseModel):
    """Layout of a baseline's files, as `layout` in its data file describes it.

    Attributes:
        parts: Folders that hold components. If there are none, the weights are one file, a folder that holds
            one file, or a folder with config.json and weights.
        prefixes: Prefixes that all names may have, in the order in which they are tried.
        anchor: A name without prefix that identifies the right prefix.
        refused: First parts of names that only files of another model have -> the reason.
        config: Fields of config.json -> fields of the architecture that they must equal.
        alternatives: Further key maps, for single files with other names of the same network.
        advice: What to give instead of a file that does not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alternatives: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    prefixes: tuple[str, ...]
    anchor: str
    refused: Mapping[str, str] = Field(default_factory=dict)
    config: Mapping[str, str] = Field(default_factory=dict)
    advice: str


def _layout(kind: str) -> _Layout:
    text = resources.files("actiondiff.checkpoints").joinpath(f"keymaps/{kind}.yaml").read_text("utf-8")
    return _Layout(**yaml.safe_load(text)["layout"])


def _alone(source: Path, layout: _Layout) -> Path:
    """The file in a folder that holds nothing but one original file of weights; else the source itself."""
    if layout.parts or not source.is_dir() or (source / "config.json").exists():
        return source
    suffixes = _PICKLE_SUFFIXES | {".safetensors"}
    files = sorted(path for path in source.iterdir() if path.suffix in suffixes)
    if len(files) == 1:
        return files[0]
    here = ", ".join(path.name for path in files) or "none"
    raise WeightsError(
        f"{source} holds neither config.json nor one file of weights alone; files of weights there: {here}. "
        f"{layout.advice}"
    )


def _files(source: Path, layout: _Layout) -> tuple[list[tuple[str, TensorFile]], Config]:
    """Each file with the prefix of its names, and the content of config.json, by parts if there are parts."""
    if not layout.parts:
        if not source.is_dir():
            return [("", _open(source))], {}
        return [("", TensorFile(file)) for file in weight_files(source)], read_json(source / "config.json")
    files: list[tuple[str, TensorFile]] = []
    config: Config = {}
    for part in layout.parts:
        if not (source / part).is_dir():
            raise WeightsError(f"{source} has no {part}/. {layout.advice}")
        files += [(f"{part}.", TensorFile(file)) for file in weight_files(source / part)]
        config[part] = read_json(source / part / "config.json")
    return files, config


def _compare(
    source: Path, layout: _Layout, config: Mapping[str, Any], architecture: Mapping[str, Any]
) -> None:
    """Check the fields of config.json that shapes may not tell against the architecture."""
    ours_by_name = architecture if layout.parts else next(iter(architecture.values()))
    for theirs, ours in layout.config.items():
        stored, expected = _field(config, theirs), _field(ours_by_name, ours)
        if stored is not None and expected is not None and stored != expected:
            raise WeightsError(
                f"{source} is another model: its config.json has {theirs} {stored}; this backbone has "
                f"{expected}. {layout.advice}"
            )


def _field(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _mapped(
    source: Path, files: list[tuple[str, TensorFile]], layout: _Layout, keymap: KeyMap
) -> dict[str, dict[str, StoredTensor]]:
    """Component -> name -> where the tensor is stored, for all names with the right prefix."""
    names = {part + key: (file, key) for part, file in files for key in file.tensors}
    prefix = next((p for p in layout.prefixes if p + layout.anchor in names), None)
    if prefix is None:
        raise WeightsError(
            f"{source} holds no tensor {layout.anchor}; it has {', '.join(list(names)[:3]) or 'none'} ... "
            f"{layout.advice}"
        )
    # Map the names behind the prefix; those of another model, or of none, are errors.
    mapped: dict[str, dict[str, StoredTensor]] = {}
    unknown = []
    for name, (file, key) in names.items():
        if not name.startswith(prefix):
            continue
        inner = name.removeprefix(prefix)
        for start, why in layout.refused.items():
            if inner == start or inner.startswith(f"{start}."):
                raise WeightsError(f"{source} {why}. {layout.advice}")
        targets = keymap.match(inner)
        if targets is None:
            unknown.append(name)
        for target in targets or ():
            mapped.setdefault(target.component, {})[target.name] = StoredTensor(file, key, target)
    if unknown:
        raise WeightsError(
            f"{source} holds {len(unknown)} tensors that this network does not have: "
            f"{', '.join(unknown[:3])} ... {layout.advice}"
        )
    return mapped


def _check(
    source: Path,
    layout: _Layout,
    mapped: Mapping[str, Mapping[str, StoredTensor]],
    expected: Mapping[str, Mapping[str, Shape]],
) -> None:
    """Check that exactly the tensors of the modules are there, in their shapes."""
    for component, shapes in expected.items():
        entries = mapped.get(component, {})
        missing = sorted(shapes.keys() - entries.keys())
        if missing:
            raise WeightsError(
                f"{source} lacks {len(missing)} of the {len(shapes)} tensors of the {component}: "
                f"{', '.join(missing[:3])} ... {layout.advice}"
            )
        for name, entry in entries.items():
            if entry.shape != shapes.get(name):
                raise WeightsError(
                    f"{source}: {entry.key} has shape {entry.shape}; this backbone needs "
                    f"{shapes.get(name, 'no such tensor')}. {layout.advice}"
                )
