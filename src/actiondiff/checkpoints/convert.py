"""Converts the original single file into a folder that diffusers and transformers can load."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from actiondiff import outputs
from actiondiff.checkpoints.architecture import Config, is_needed
from actiondiff.checkpoints.contents import Contents, StoredTensor, check_unknown, contents_of_file
from actiondiff.checkpoints.identity import DIGEST_FIELD, Digest, combined
from actiondiff.checkpoints.reader import Checkpoint
from actiondiff.checkpoints.tensorfile import write_tensors
from actiondiff.errors import UsageError, WeightsError
from actiondiff.provenance import environment, fsync_folder, sha256_of_file
from actiondiff.types import Progress

__all__ = ["ConversionReport", "WeightsDtype", "convert_weights"]

WeightsDtype = Literal["float16", "bfloat16", "float32"]

_REQUIRED = ("unet", "image_encoder", "vae", "latent_encoder")
_FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "image_encoder": "image_encoder/model.safetensors",
    "vae": "vae_encoder/model.safetensors",
    "latent_encoder": "latent_encoder/model.safetensors",
}
_REPORT = "conversion.json"
_NAMES = (*(f"{file.split('/')[0]}/" for file in _FILES.values()), _REPORT)
_HEADS: dict[str, Config] = {
    "unet": {"_class_name": "UNetSpatioTemporalConditionModel"},
    "image_encoder": {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"},
    "vae": {},
    "latent_encoder": {},
}
"""Fields that diffusers and transformers need in config.json besides the constructor's arguments."""


@dataclass(frozen=True)
class ConversionReport:
    """Result of a conversion; stored as `conversion.json` in the folder.

    Attributes:
        folder: Folder that was written.
        dtype: Dtype of all tensors written.
        identity: Identity of the weights as written; rounding to another dtype changes it.
        source: Name of the original file.
        source_sha256: sha256 of the original file.
        num_used: Number of the source's tensors that were converted.
        not_needed: Tensors of the source that are known and were left out.
        unknown: Tensors of the source that are not known, which were left out too.
        one_vae: Whether the source's two VAE encoders are the same, so that one was written; else both were.
        unet_complete: Whether the U-Net's decoder half is there, without which diffusers cannot load `unet/`.
        num_bytes: Size of the written tensors on disk.
    """

    folder: Path
    dtype: WeightsDtype
    identity: str
    source: str
    source_sha256: str
    num_used: int
    not_needed: tuple[str, ...]
    unknown: tuple[str, ...]
    one_vae: bool
    unet_complete: bool
    num_bytes: int


def convert_weights(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    dtype: WeightsDtype = "float16",
    unet_head_dim: int | None = None,
    clip_head_dim: int | None = None,
    strict: bool = False,
    allow_unknown: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert the original single file of Stable Video Diffusion into a folder.

    The folder has `unet/` and `image_encoder/` as diffusers and transformers load them, and the VAE encoder
    in `vae_encoder/` (and `latent_encoder/`, if the file's two encoders differ). The architecture is read
    from the shapes of the tensors. One tensor at a time is held in memory. All files are written beside the
    folder and moved into it at the end; `unet/`, without which no folder is read, comes last.

    Args:
        src: The original file, for example svd_xt.safetensors.
        dst: The folder to write, which must not exist, be empty, or hold an earlier conversion.
        dtype: Dtype to write.
        unet_head_dim: Attention head width of the U-Net, which shapes do not tell; None: 64.
        clip_head_dim: Attention head width of the image encoder; None: 80.
        strict: Whether any tensor that is not known is an error. Otherwise those outside the networks are
            left out and reported.
        allow_unknown: Whether to leave out and report tensors within the networks that these do not have;
            else they are an error.
        overwrite: Whether files of a conversion may be replaced that were changed since.
        progress: Called after each tensor with the number of tensors written so far and in all.

    Raises:
        UsageError: If `src` is a folder, `dst` is in use, a file there was changed since it was converted, or
            the dtype is not offered.
        WeightsError: If the file is cut short, holds another model, is a pickle, lacks tensors, has unknown
            tensors that are not allowed, or has values that are not finite in `dtype`.
    """
    path, folder = Path(src), Path(dst)
    # Check everything that can be checked before the first byte is written.
    _check_arguments(path, folder, dtype)
    contents = contents_of_file(path, unet_head_dim=unet_head_dim, clip_head_dim=clip_head_dim)
    unet_complete = _check_complete(contents)
    if strict and contents.unknown:
        raise WeightsError(
            f"{path} has {len(contents.unknown)} tensors that are not known: "
            f"{', '.join(contents.unknown[:20])}. Leave out strict (--strict) to convert without them."
        )
    check_unknown(contents, allow_unknown=allow_unknown)
    checkpoint = Checkpoint(contents)
    entries = {
        component: contents.entries[component] for component in _REQUIRED[: 3 if checkpoint.one_vae else 4]
    }
    _check_space(folder, entries, dtype)
    # Write the tensors and the report beside the folder, and move them when all of it is there.
    with (
        outputs.claim(folder, "weights convert", _NAMES, overwrite=overwrite) as held,
        _whole_or_not(folder, held) as aside,
    ):
        digests, num_bytes = _write(aside, entries, contents.configs, getattr(torch, dtype), progress)
        report = ConversionReport(
            folder=folder,
            dtype=dtype,
            identity=combined(digests, contents.configs),
            source=path.name,
            source_sha256=sha256_of_file(path),
            num_used=len({entry.key for part in contents.entries.values() for entry in part.values()}),
            not_needed=contents.not_needed,
            unknown=contents.unknown,
            one_vae=checkpoint.one_vae,
            unet_complete=unet_complete,
            num_bytes=num_bytes,
        )
        record = {name: value for name, value in asdict(report).items() if name != "folder"}
        _write_json(aside / _REPORT, {**record, "made_with": environment()})
    return report


def _check_arguments(path: Path, folder: Path, dtype: str) -> None:
    if dtype not in get_args(WeightsDtype):
        raise UsageError(f"dtype is one of {', '.join(get_args(WeightsDtype))}; got {dtype!r}.")
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder; only the original single file is converted. Converted and diffusers "
            "folders are read as they are."
        )
    if not path.exists():
        raise WeightsError(f"no file at {path}. Give the original file, such as svd_xt.safetensors.")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    is_ours = names & {_REPORT, outputs.STATE_FOLDER}
    if (folder.exists() and not folder.is_dir()) or (names and not is_ours):
        raise UsageError(f"{folder} exists and is not an empty folder; nothing is overwritten. Name another.")


def _check_complete(contents: Contents) -> bool:
    """Whether the U-Net's decoder half is there.

    Raises:
        WeightsError: If anything that features need is missing, or a part of the decoder half is.
    """
    missing: list[str] = []
    for component in _REQUIRED:
        if component not in contents.entries:
            raise WeightsError(
                f"{contents.source} has no {component}; features need U-Net, image encoder and VAE. "
                "Give the complete svd.safetensors or svd_xt.safetensors."
            )
        absent = contents.expected[component].keys() - contents.entries[component].keys()
        missing += [f"{component}: {name}" for name in sorted(absent) if is_needed(component, name)]
    behind = {name for name in contents.expected["unet"] if not is_needed("unet", name)}
    absent = behind - contents.entries["unet"].keys()
    if absent != behind:
        missing += [f"unet: {name}" for name in sorted(absent)]
    if missing:
        listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise WeightsError(
            f"{contents.source} is incomplete: {len(missing)} needed tensors are missing (named as in "
            f"diffusers and transformers): {listed}. Download it again."
        )
    return not absent


def _check_space(folder: Path, entries: Mapping[str, Mapping[str, StoredTensor]], dtype: str) -> None:
    itemsize = getattr(torch, dtype).itemsize
    needed = sum(math.prod(entry.shape) * itemsize for part in entries.values() for entry in part.values())
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise WeightsError(
            f"{folder} needs {needed / 1e9:.1f} GB; {there} has {free / 1e9:.1f} GB left. Free some space or "
            "name a folder on another disk."
        )


@contextmanager
def _whole_or_not(folder: Path, held: outputs.OutputClaim | None = None) -> Iterator[Path]:
    """A temporary folder next to the final one, whose files are moved if the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield aside
        written = sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())
        # What is read first goes first and comes last, so that no kill leaves a mixture that can be read.
        written.sort(key=lambda name: (name == _REPORT, name.startswith("unet/")))
        if held:
            _remove_earlier(held, written)
        for name in written:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            outputs.permit(folder / name, aside / name)
            os.replace(aside / name, folder / name)
            fsync_folder((folder / name).parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_earlier(held: outputs.OutputClaim, written: list[str]) -> None:
    """Remove the files of an earlier conversion: first those that come last, then those that are not written.

    An earlier `latent_encoder/` would else be read with the new weights.
    """
    earlier = [path for name in _NAMES for path in sorted((held.folder / name.rstrip("/")).rglob("*"))]
    files = [path.relative_to(held.folder).as_posix() for path in earlier if path.is_file()]
    for name in (_REPORT, *(file for file in files if file.startswith("unet/") or file not in written)):
        if held.overwrite or held.owns(name):
            (held.folder / name).unlink(missing_ok=True)
    for name in _NAMES[:-1]:
        with suppress(OSError):  # it is not there, or not empty
            (held.folder / name).rmdir()


def _write(
    folder: Path,
    entries: Mapping[str, Mapping[str, StoredTensor]],
    configs: Mapping[str, Mapping[str, Any]],
    dtype: torch.dtype,
    progress: Progress | None,
) -> tuple[dict[str, str], int]:
    """Write all components; returns their digests and their size in bytes."""
    total = sum(map(len, entries.values()))
    written = count(1)

    def tick() -> None:
        if progress:
            progress(next(written), total, "tensors")

    digests, num_bytes = {}, 0
    for component, part in entries.items():
        file = folder / _FILES[component]
        file.parent.mkdir()
        _write_json(file.parent / "config.json", {**_HEADS[component], **configs[component]})
        digests[component], size = _write_component(file, component, part, dtype, tick)
        num_bytes += size
    return digests, num_bytes


def _write_component(
    file: Path,
    component: str,
    entries: Mapping[str, StoredTensor],
    dtype: torch.dtype,
    tick: Callable[[], None],
) -> tuple[str, int]:
    """Write one component's file; returns its digest and size in bytes."""
    digest = Digest()
    metadata = {"format": "pt", DIGEST_FIELD: "0" * 64}

    def converted() -> Iterator[Tensor]:
        for name in sorted(entries):
            yield _convert(component, name, entries[name], dtype, digest)
            tick()
        metadata[DIGEST_FIELD] = digest.hexdigest()

    shapes = {name: entries[name].shape for name in sorted(entries)}
    size = write_tensors(file, shapes, converted(), dtype=dtype, metadata=metadata)
    return metadata[DIGEST_FIELD], size


def _convert(component: str, name: str, entry: StoredTensor, dtype: torch.dtype, digest: Digest) -> Tensor:
    source = entry.read()
    tensor = source.to(dtype).contiguous()
    if not torch.isfinite(tensor).all():
        largest = source.float().abs().max().item()
        if math.isfinite(largest):
            reason = f"up to {largest:.3g}, beyond {dtype}: choose bfloat16 or float32 (--dtype)"
        else:
            reason = "that are not finite: the file is damaged"
        raise WeightsError(f"{entry.file.path}: {entry.key} has values {reason}.")
    if is_needed(component, name):
        digest.add(name, tensor)
    return tensor


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", "utf-8")
