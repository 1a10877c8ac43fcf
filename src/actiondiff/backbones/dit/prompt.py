"""The embedding of the empty prompt, which a video diffusion transformer sees beside the video.

The text encoder has 5 billion parameters, and is needed once: its result is kept in the user's cache, and
`actiondiff weights prompt` writes it to a small file, which replaces the text encoder on other machines.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from actiondiff.backbones.base import BackboneSpec
from actiondiff.backbones.dit.published import TEXT_ENCODER
from actiondiff.backbones.engine.windows import window_generator
from actiondiff.backbones.frozen import Parts
from actiondiff.backbones.options import DiTOptions
from actiondiff.checkpoints.baselines import BaselineCheckpoint, open_baseline
from actiondiff.checkpoints.folders import weight_files
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.identity import cache_folder
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import WeightsError
from actiondiff.provenance import atomic_path, canonical_json
from actiondiff.types import JSON

__all__ = [
    "build_text_encoder",
    "drawn_prompt",
    "embed_empty_prompt",
    "empty_prompt_of",
    "open_prompt",
    "write_prompt",
]

_NAME = "empty_prompt"  # of the tensor in its file
_PAD, _END = 0, 1  # tokens of T5 and UMT5: padding, and the end that every text has
_FORMAT = 1
_CLASSES = {"t5": (T5Config, T5EncoderModel), "umt5": (UMT5Config, UMT5EncoderModel)}


def drawn_prompt(spec: BackboneSpec, options: DiTOptions) -> Tensor:
    """Normal draws from the seed in place of an embedding, for random weights: (1, n, D)."""
    shape = _shape(spec)
    if options.device == "meta":
        return torch.empty((1, *shape), device="meta")
    draws = torch.randn(shape, generator=window_generator(options.seed, spec.name, 0, _NAME))
    return _padded(draws, spec)[None]


def open_prompt(spec: BackboneSpec, source: str | Path | None, weights: str | Path) -> Tensor:
    """The embedding of the empty prompt: (1, n, D) float32, with the zeros that the model pads it with.

    Args:
        spec: The backbone's spec.
        source: File of the embedding, folder of the text encoder (or the one that holds text_encoder/), or
            hub id; None: the text encoder is the one with the weights.
        weights: Folder of the backbone's weights, or hub id.

    Raises:
        WeightsError: If there is neither an embedding nor a text encoder, or it is of another model.
    """
    if source is not None and Path(source).is_file():
        return _padded(_read(Path(source), spec), spec)[None]
    if source is None and isinstance(weights, Path) and not (weights / TEXT_ENCODER).is_dir():
        raise WeightsError(
            f"{spec.name} sees the embedding of an empty prompt, and {weights} has no {TEXT_ENCODER}/ to "
            f"compute it with. {_advice(spec)}"
        )
    return _padded(empty_prompt_of(spec, source or weights), spec)[None]


def empty_prompt_of(spec: BackboneSpec, source: str | Path) -> Tensor:
    """The embedding of the empty prompt, without padding: (n, D) float32; from the cache if it is there.

    Args:
        spec: The backbone's spec.
        source: Folder of the text encoder, or the one that holds text_encoder/, or hub id.

    Raises:
        WeightsError: If there is no text encoder, or it is of another model.
    """
    place = locate(source, parts=(TEXT_ENCODER,), advice=_advice(spec))
    encoder = place / TEXT_ENCODER if (place / TEXT_ENCODER).is_dir() else place
    if not (encoder / "config.json").is_file():
        raise WeightsError(
            f"{encoder} is no folder of a text encoder: it has no config.json. {_advice(spec)}"
        )
    cache = _cache_file(encoder, spec)
    if cache is not None and cache.is_file():
        with suppress(WeightsError):  # damaged: it is written again
            return _read(cache, spec)
    values = embed_empty_prompt(encoder, spec.architecture)
    if cache is not None:
        with suppress(OSError):  # the cache cannot be written, so the next start computes it again
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_prompt(cache, values)
    return values


def write_prompt(path: Path, values: Tensor) -> None:
    """Write an embedding (n, D) to a file, whole or not at all."""
    with atomic_path(path) as aside:
        save_file({_NAME: values.contiguous().cpu()}, aside)


def _shape(spec: BackboneSpec) -> tuple[int, int]:
    """Shape (n, D) of the embedding before it is padded with zeros."""
    return int(spec.architecture["prompt"]["visible"]), int(spec.architecture["text_encoder"]["d_model"])


def _padded(values: Tensor, spec: BackboneSpec) -> Tensor:
    """(n, D) -> (N, D), with zeros behind, as the model was trained."""
    missing = int(spec.architecture["prompt"]["padded"]) - len(values)
    return torch.cat([values, values.new_zeros(missing, values.shape[1])])


def _read(path: Path, spec: BackboneSpec) -> Tensor:
    file = TensorFile(path)
    shape = file.tensors[_NAME].shape if _NAME in file.tensors else None
    if shape != _shape(spec):
        raise WeightsError(
            f"{path} is no embedding of the empty prompt for {spec.name}: it has "
            f"{shape or 'no tensor ' + _NAME}, not {_shape(spec)}. {_advice(spec)}"
        )
    values = file.read(_NAME).float()
    if not values.isfinite().all():
        raise WeightsError(f"{path} holds numbers that are not finite. {_advice(spec)}")
    return values


def _advice(spec: BackboneSpec) -> str:
    return (
        "Give text_weights= (--text-weights) the model's folder text_encoder/, a hub id that has one, or the "
        f"small file that `actiondiff weights prompt {spec.name} FOLDER FILE` writes where that folder is."
    )


def _cache_file(encoder: Path, spec: BackboneSpec) -> Path | None:
    """Cache file of an embedding; None if the user has no home folder.

    Its name changes with the files of the text encoder, by path, size and time, which costs no reading.
    """
    state: list[JSON] = [_FORMAT, dict(spec.architecture["prompt"])]
    for path in [encoder / "config.json", *weight_files(encoder)]:
        facts = path.stat()
        state.append([str(path.resolve()), facts.st_size, facts.st_mtime_ns])
    name = hashlib.sha256(canonical_json(state).encode()).hexdigest()
    try:
        return cache_folder() / "prompts" / f"{name}.safetensors"
    except RuntimeError:
        return None


def build_text_encoder(config: Mapping[str, Any]) -> nn.Module:
    """Build the stack of a T5 or UMT5 encoder on the meta device.

    Args:
        config: `model_type` (`t5` or `umt5`) and arguments of the class of its configuration.
    """
    config_class, model_class = _CLASSES[config["model_type"]]
    arguments = {name: value for name, value in config.items() if name != "model_type"}
    with torch.device("meta"):
        return model_class(config_class(**arguments)).encoder


@torch.inference_mode()
def embed_empty_prompt(folder: Path, architecture: Mapping[str, Mapping[str, Any]]) -> Tensor:
    """Compute the embedding of the empty prompt: (n, D) float32, in float32 on the CPU, block by block.

    The tokens are the end of the text, and padding as far as the model's pipeline does not mask it.

    Args:
        folder: Folder of the text encoder, as transformers saves it.
        architecture: `text_encoder` with its configuration, and `prompt` with the number of its tokens and of
            those that the transformer sees.

    Raises:
        WeightsError: If it is another text encoder.
    """
    config = architecture["text_encoder"]
    model = build_text_encoder(config)
    expected = {TEXT_ENCODER: {name: tuple(t.shape) for name, t in model.state_dict().items()}}
    weights: BaselineCheckpoint = open_baseline(folder, "t5", expected, {TEXT_ENCODER: config})
    ids = torch.tensor([_END] + [_PAD] * (architecture["prompt"]["tokens"] - 1))
    # Rows of the two tokens only: the table of all tokens would take gigabytes.
    table = weights.tensors(TEXT_ENCODER, ["embed_tokens.weight"])["embed_tokens.weight"]
    inputs = table[ids].float()[None]
    parts = Parts(model, TEXT_ENCODER, weights, torch.device("cpu"), torch.float32)
    _ = parts["final_layer_norm"]
    # The model's own forward pass, with one block in memory at a time.
    for number, block in enumerate(parts.model.block):
        block.register_forward_pre_hook(
            lambda _block, _inputs, name=f"block.{number}": _read_part(parts, name)
        )
        block.register_forward_hook(lambda block, _inputs, _output: _forget(block))
    values: Tensor = parts.model(inputs_embeds=inputs).last_hidden_state[0]
    return values[: architecture["prompt"]["visible"]].clone()


def _read_part(parts: Parts, name: str) -> None:
    _ = parts[name]


def _forget(block: nn.Module) -> None:
    block.to("meta")
