"""The embedding of the empty prompt, which a video diffusion transformer sees beside the video.

The text encoder has 5 billion parameters, and is needed once: its result is kept in the user's cache, and
`actiondiff weights prompt` writes it to a small file, which replaces the text encoder on other machines.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
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
from actiondiff.checkpoints.identity import Digest, cache_folder
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import WeightsError
from actiondiff.provenance import atomic_path, canonical_json
from actiondiff.types import JSON

__all__ = [
    "EmptyPrompt",
    "build_text_encoder",
    "drawn_prompt",
    "embed_empty_prompt",
    "empty_prompt_of",
    "open_prompt",
    "write_prompt",
]

_NAME = "empty_prompt"  # of the tensor in its file
_ENCODER_FIELD = "actiondiff.text_encoder"  # of the file's metadata: identity of the text encoder
_PAD, _END = 0, 1  # tokens of T5 and UMT5: padding, and the end that every text has
_FORMAT = 1
_CLASSES = {"t5": (T5Config, T5EncoderModel), "umt5": (UMT5Config, UMT5EncoderModel)}


@dataclass(frozen=True, eq=False)
class EmptyPrompt:
    """The embedding of the empty prompt.

    Attributes:
        values: (n, D) float32.
        identity: sha256 (hex) of the text encoder, as far as the values depend on it. The values themselves
            are no identity, because their last digits depend on the machine.
    """

    values: Tensor
    identity: str

    def padded(self, length: int) -> "EmptyPrompt":
        """With zeros behind, up to this number of tokens."""
        missing = length - len(self.values)
        zeros = self.values.new_zeros(missing, self.values.shape[1])
        return EmptyPrompt(torch.cat([self.values, zeros]), self.identity)


def drawn_prompt(spec: BackboneSpec, options: DiTOptions) -> EmptyPrompt:
    """Normal draws from the seed in place of an embedding, for random weights."""
    shape = _shape(spec)
    if options.device == "meta":
        values = torch.empty(shape, device="meta")
    else:
        values = torch.randn(shape, generator=window_generator(options.seed, spec.name, 0, _NAME))
    return EmptyPrompt(values, "random").padded(_length(spec))


def open_prompt(spec: BackboneSpec, source: str | Path | None, weights: str | Path) -> EmptyPrompt:
    """The embedding of the empty prompt, with the zeros that the model pads it with.

    Args:
        spec: The backbone's spec.
        source: File of the embedding, folder of the text encoder (or the one that holds text_encoder/), or
            hub id; None: the text encoder is the one with the weights.
        weights: Folder of the backbone's weights, or hub id.

    Raises:
        WeightsError: If there is neither an embedding nor a text encoder, or it is of another model.
    """
    if source is not None and Path(source).is_file():
        return _read(Path(source), spec).padded(_length(spec))
    if source is None and isinstance(weights, Path) and not (weights / TEXT_ENCODER).is_dir():
        raise WeightsError(
            f"{spec.name} sees the embedding of an empty prompt, and {weights} has no {TEXT_ENCODER}/ to "
            f"compute it with. {_advice(spec)}"
        )
    return empty_prompt_of(spec, source or weights).padded(_length(spec))


def empty_prompt_of(spec: BackboneSpec, source: str | Path) -> EmptyPrompt:
    """The embedding of the empty prompt, without padding; from the cache if it is there.

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
    prompt = embed_empty_prompt(encoder, spec.architecture)
    if not prompt.values.isfinite().all():
        raise WeightsError(
            f"{encoder} gives numbers that are not finite: its weights are damaged. {_advice(spec)}"
        )
    if cache is not None:
        with suppress(OSError):  # the cache cannot be written, so the next start computes it again
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_prompt(cache, prompt)
    return prompt


def write_prompt(path: Path, prompt: EmptyPrompt) -> None:
    """Write an embedding to a file, whole or not at all."""
    with atomic_path(path) as aside:
        save_file({_NAME: prompt.values.contiguous()}, aside, {_ENCODER_FIELD: prompt.identity})


def _shape(spec: BackboneSpec) -> tuple[int, int]:
    """Shape (n, D) of the embedding before it is padded with zeros."""
    return int(spec.architecture["prompt"]["visible"]), int(spec.architecture["text_encoder"]["d_model"])


def _length(spec: BackboneSpec) -> int:
    """Number of tokens that the transformer was trained with."""
    return int(spec.architecture["prompt"]["padded"])


def _read(path: Path, spec: BackboneSpec) -> EmptyPrompt:
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
    identity = file.metadata.get(_ENCODER_FIELD)
    if identity is None:
        raise WeightsError(f"{path} does not say which text encoder it comes from. {_advice(spec)}")
    return EmptyPrompt(values, str(identity))


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
def embed_empty_prompt(folder: Path, architecture: Mapping[str, Mapping[str, Any]]) -> EmptyPrompt:
    """Compute the embedding of the empty prompt, in float32 on the CPU, block by block.

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
    digest = Digest()
    digest.add("rows", table[[_END, _PAD]])

    def read(name: str) -> None:
        for key, tensor in parts[name].state_dict().items():
            digest.add(f"{name}.{key}", tensor)

    read("final_layer_norm")
    # The model's own forward pass, with one block in memory at a time.
    for number, block in enumerate(parts.model.block):
        block.register_forward_pre_hook(lambda _block, _inputs, name=f"block.{number}": read(name))
        block.register_forward_hook(lambda block, _inputs, _output: _forget(block))
    values: Tensor = parts.model(inputs_embeds=inputs).last_hidden_state[0]
    return EmptyPrompt(values[: architecture["prompt"]["visible"]].clone(), digest.hexdigest())


def _forget(block: nn.Module) -> None:
    block.to("meta")
