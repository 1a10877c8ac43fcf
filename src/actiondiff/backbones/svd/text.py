"""Embeds names of actions with the text tower of a CLIP model, as tokens for cross-attention.

For SVD that is the tower of OpenCLIP's ViT-H/14, whose image half made the embeddings that SVD was trained
with. It is read in the layout of transformers, as in laion/CLIP-ViT-H-14-laion2B-s32B-b79K.

Source: the option `actions` of the released code: one token per action, its pooled and projected text
embedding, which like image embeddings is not normalised. Names are embedded without a prompt around them.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from actiondiff.checkpoints.bounds import check_config
from actiondiff.checkpoints.folders import read_json, weight_files
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.identity import Digest, recall, remember
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import UsageError, WeightsError
from actiondiff.provenance import fingerprint

__all__ = ["ActionTexts", "action_names"]

_COMPONENT = "text_encoder"
_PREFIXES = ("text_model.", "text_projection.")
_PROJECTION = "text_projection.weight"
_TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_DOWNLOADED = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_ADVICE = (
    "Give the folder of a CLIP model in transformers' layout: config.json, model.safetensors and the "
    "tokenizer's files, or its hub id; for SVD laion/CLIP-ViT-H-14-laion2B-s32B-b79K."
)


def action_names(actions: str | Sequence[str]) -> tuple[str, ...]:
    """Names of actions.

    Args:
        actions: The names; or one text that separates them by commas; or a file with one name per line.

    Raises:
        UsageError: If there is no name, one is blank or named twice, or the file does not exist.
    """
    names = _names_of_text(actions) if isinstance(actions, str) else [name.strip() for name in actions]
    if not names or not all(names):
        raise UsageError(
            f"actions= (--actions) needs names separated by commas, or a file with one name per line; "
            f"got {actions!r}."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"actions must differ; named more than once: {', '.join(twice)}.")
    return tuple(names)


def _names_of_text(text: str) -> list[str]:
    path = Path(text).expanduser()
    if "," not in text and (path.suffix == ".txt" or path.is_file()):
        try:
            return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"actions cannot be read from {text}: {error}.") from None
    return [name.strip() for name in text.split(",")] if text.strip() else []


class ActionTexts:
    """Names of actions and the text tower that embeds them when the embeddings are first used.

    Args:
        folder: A CLIP model in the layout of transformers, or its hub id: config.json (of the whole CLIP or
            of its text tower with projection), model.safetensors, tokenizer.json (or vocab.json and
            merges.txt). No code in the folder is run.
        names: Names from `action_names`.

    Attributes:
        names: Names of the actions.
        width: Width D of the tower's projection.

    Raises:
        WeightsError: If the folder holds no such model, or not all of it.
        UsageError: If a name is longer than the tower reads.
    """

    def __init__(self, folder: str | Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._folder = locate(folder, parts=("",), extra=_DOWNLOADED, advice=_ADVICE)
        if not self._folder.is_dir():
            raise WeightsError(f"{folder} is a file; text weights are a folder. {_ADVICE}")
        files = [TensorFile(path) for path in weight_files(self._folder)]
        self._files = {name: file for file in files for name in file.tensors if name.startswith(_PREFIXES)}
        if _PROJECTION not in self._files:
            raise WeightsError(f"{self._folder} holds no {_PROJECTION}, so it is another model. {_ADVICE}")
        self.width = self._files[_PROJECTION].tensors[_PROJECTION].shape[0]
        self._model = self._build()
        self._ids = self._tokenize()

    def _build(self) -> CLIPTextModelWithProjection:
        """Build the tower on the meta device, and check that the files hold all of its tensors."""
        fields = read_json(self._folder / "config.json")
        config = _text_config(self._folder, fields)
        config.projection_dim = self.width  # config.json of a whole CLIP wrongly says 512
        with torch.device("meta"):
            model = CLIPTextModelWithProjection(config)
        for name, tensor in model.state_dict().items():
            file = self._files.get(name)
            shape = None if file is None else file.tensors[name].shape
            if shape != tuple(tensor.shape):
                raise WeightsError(
                    f"{self._folder}: {name} should be {tuple(tensor.shape)} by config.json, but is "
                    f"{shape or 'absent'}. Download it again."
                )
        return model.requires_grad_(False).eval()

    def _tokenize(self) -> list[list[int]]:
        """Token numbers of each name, from the begin token to the end token; nothing is padded or cut."""
        if not any(all((self._folder / name).is_file() for name in names) for names in _TOKENIZER_FILES):
            raise WeightsError(
                f"{self._folder} lacks tokenizer.json, or vocab.json and merges.txt. {_ADVICE}"
            )
        tokenizer = CLIPTokenizer.from_pretrained(self._folder, local_files_only=True)
        config = self._model.config
        rows: list[list[int]] = [tokenizer(name)["input_ids"] for name in self.names]
        for name, ids in zip(self.names, rows, strict=True):
            if len(ids) > config.max_position_embeddings:
                raise UsageError(
                    f"the action {name[:40]!r} ... has {len(ids)} tokens; the text tower reads at most "
                    f"{config.max_position_embeddings}. Shorten it."
                )
            if ids[-1] != tokenizer.eos_token_id or max(ids) >= config.vocab_size:
                raise WeightsError(f"{self._folder}: its tokenizer does not belong to its model. {_ADVICE}")
        return rows

    @cached_property
    def identity(self) -> str:
        """sha256 (hex) over the tower's values and configuration, and the token numbers of the names."""
        config = self._model.config
        files = {file.path for file in self._files.values()}
        digests = recall(files)
        if _COMPONENT not in digests:
            digest = Digest()
            for name in self._model.state_dict():
                digest.add(name, self._files[name].read(name))
            digests = {_COMPONENT: digest.hexdigest()}
            remember(files, digests)
        return fingerprint(
            {
                "weights": digests[_COMPONENT],
                "heads": config.num_attention_heads,
                "hidden_act": config.hidden_act,
                "layer_norm_eps": config.layer_norm_eps,
                "tokens": [list(ids) for ids in self._ids],
            }
        )

    @cached_property
    def embeddings(self) -> Tensor:
        """(n, D) float32 on the CPU, in the order of the names.

        The pooled output is that of the end token, which is the last one here whatever the configuration
        says. Each name passes alone, so that its bits do not depend on the other names.
        """
        names = self._model.state_dict()
        weights = {name: self._files[name].read(name).float() for name in names}
        self._model.load_state_dict(weights, assign=True)
        tower = self._model.text_model
        tower.embeddings.position_ids = torch.arange(self._model.config.max_position_embeddings)[None]
        with torch.inference_mode():
            pooled = [tower(torch.tensor([ids])).last_hidden_state[:, -1] for ids in self._ids]
            embedded: Tensor = self._model.text_projection(torch.cat(pooled))
        self._model.to("meta")  # only the embeddings are needed from now on
        return embedded


def _text_config(folder: Path, fields: Mapping[str, Any]) -> CLIPTextConfig:
    check_config(fields, source=folder / "config.json")
    match fields.get("model_type"):
        case "clip":
            config: CLIPTextConfig = CLIPConfig.from_dict(dict(fields)).text_config
        case "clip_text_model":
            config = CLIPTextConfig.from_dict(dict(fields))
        case other:
            raise WeightsError(f"{folder}/config.json describes a model of type {other!r}. {_ADVICE}")
    return config
