"""A trained head on disk: `model.safetensors` and `config.json`, what prediction needs beside the backbone.

There is no pickle: both files can be shared, and opened by people who do not trust their author.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from actiondiff.errors import ActionDiffError, RunError, UsageError, explain_validation
from actiondiff.heads import build_head
from actiondiff.heads.background import MINUS_BACKGROUND, Backgrounds, load_backgrounds, save_backgrounds
from actiondiff.heads.further import FurtherFeatures, Seconds, checked_settings
from actiondiff.heads.inputs import Head
from actiondiff.heads.options import HeadOptions
from actiondiff.heads.predict import Activation
from actiondiff.provenance import atomic_path, write_text
from actiondiff.types import Array, FeatureKey, Features, Sampling

__all__ = [
    "CONFIG",
    "FORMAT",
    "WEIGHTS",
    "FurtherFeatures",
    "ModelConfig",
    "load_bundle",
    "read_config",
    "save_bundle",
]

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_Name: TypeAlias = Annotated[str, Field(max_length=1000)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]


class ModelConfig(BaseModel):
    """What `config.json` holds: everything about a trained model but its weights.

    Fields are written in the order below, and those that were never set are left out of the file. Unknown
    fields are kept as they are.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    labels: list[_Name] = Field(
        min_length=1, max_length=100_000, description="The K classes, in the order of the head's outputs."
    )
    activation: Activation = Field(description="How logits become probabilities.")
    keys: list[_Name] = Field(
        min_length=1,
        max_length=1024,
        description="Features that make up one token, such as t20.layer9, side by side. Those of a further "
        "backbone have its name in `further` before them, as in lite0:t0.layer17.",
    )
    backbone: Mapping[str, Any] = Field(description="Settings of the backbone that made the features.")
    features: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Settings of the training's feature store, among them `sampling` and `store_dtype`.",
    )
    feature_fingerprint: str = Field(min_length=1, description="Fingerprint of the feature store's settings.")
    further: Mapping[_Name, FurtherFeatures] = Field(
        default_factory=dict, max_length=100, description="Name -> features of a further backbone."
    )
    clips_fingerprint: str | None = Field(None, description="Fingerprint of the table of clips.")
    train_label_counts: list[_Count] = Field(
        default_factory=list, description="Number of training clips of each class, in the order of labels."
    )
    num_train_clips: _Count | None = Field(None, description="Number of training clips.")
    scored_labels: list[_Name] | None = Field(None, description="Classes that were scored; all if not set.")
    environment: Mapping[str, Any] = Field(
        default_factory=dict, description="Versions and machine of the training run."
    )
    span_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Median length of the training clips, in tokens."
    )
    frame_seconds: Seconds | None = Field(
        None, description="Median time from one token to the next in the training videos."
    )
    frame_seconds_range: tuple[Seconds, Seconds] | None = Field(
        None, description="Lowest and highest of these times, one per training video."
    )
    frames_per_token: int = Field(
        1, ge=1, le=4096, description="Number of sampled frames from one token to the next."
    )
    thresholds: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="Label -> probability from which its action counts as present."
    )
    timeline: Mapping[str, Any] = Field(
        default_factory=dict, description="The model's own values of `TimelineOptions`."
    )
    chosen_on: Mapping[str, Any] | None = Field(
        None,
        description="The validation videos that `timeline` was chosen on, and its scores there; not set if"
        " it follows from the length of the training clips.",
    )
    format: Literal[1] = Field(description="Version of this file's format.")
    head: HeadOptions = Field(description="Name and size of the head.")
    token_width: int = Field(ge=1, le=1_000_000, description="D, the width of one token.")
    temperature: float = Field(
        1.0, ge=1e-3, le=1e3, description="Prediction divides the logits by this number."
    )

    _backgrounds: Backgrounds | None = PrivateAttr(None)

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: list[str]) -> list[str]:
        for key in keys:
            FeatureKey.parse(key)
        return keys

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(settings.get("name", ""), str):
            raise ValueError("the backbone's name is a text")
        return settings

    @field_validator("features")
    @classmethod
    def _check_features(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return checked_settings(settings)

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if len(self.train_label_counts) not in (0, len(self.labels)):
            raise ValueError(
                f"train_label_counts has {len(self.train_label_counts)} numbers for {len(self.labels)} labels"
            )
        lacking = {key.store for key in self.feature_keys} - {"", *self.further}
        if lacking:
            raise ValueError(f"keys name {', '.join(sorted(lacking))}, which further lacks")
        if not any(key.store == "" for key in self.feature_keys):
            raise ValueError("none of the keys is of the first backbone")
        return self

    @classmethod
    def for_head(cls, head: Head, **values: Any) -> Self:
        """The config of a head: what is known of the head itself, and the given values of other fields.

        Raises:
            UsageError: If a field is missing or has a value of the wrong kind.
        """
        own = {
            "format": FORMAT,
            "head": head.options,
            "token_width": head.token_width,
            "temperature": head.temperature,
        }
        try:
            return cls.model_validate({**values, **own})
        except ValidationError as error:
            raise UsageError(f"a model's config is incomplete: {explain_validation(error)}.") from None

    @property
    def feature_keys(self) -> list[FeatureKey]:
        """The features that make up one token, parsed."""
        return [FeatureKey.parse(key) for key in self.keys]

    @property
    def sources(self) -> str:
        """The features in words, by backbone: `t20.layer9 of tiny, t0.layer17 of lite0`."""
        by_backbone: dict[str, list[str]] = {}
        for key in self.feature_keys:
            settings = self.further[key.store].features["backbone"] if key.store else self.backbone
            by_backbone.setdefault(settings["name"], []).append(str(key.within()))
        return ", ".join(f"{' and '.join(keys)} of {name}" for name, keys in by_backbone.items())

    def part(self, name: str = "") -> Self:
        """The config as far as one backbone is concerned: the first, or a further one by its name."""
        if not self.further:
            return self
        keys = [str(key.within()) for key in self.feature_keys if key.store == name]
        if not name:
            return self.replaced(keys=keys, further={})
        other = self.further[name]
        return self.replaced(
            keys=keys,
            further={},
            backbone=other.features["backbone"],
            features=other.features,
            feature_fingerprint=other.feature_fingerprint,
            frame_seconds=other.frame_seconds,
            frame_seconds_range=other.frame_seconds_range,
            frames_per_token=other.frames_per_token,
        )

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video the features were made from."""
        return Sampling.from_settings(self.features["sampling"])

    @property
    def store_dtype(self) -> str:
        """Type that stored features are rounded to; prediction rounds in the same way."""
        return str(self.features["store_dtype"])

    @property
    def train_counts(self) -> dict[str, int]:
        """Label -> number of training clips."""
        return dict(zip(self.labels, self.train_label_counts, strict=True))

    def tokens_of(self, features: Features) -> Array:
        """The head's input: (T, D) float32 tokens, without the background where the head takes it away."""
        return self.less_background(self.stored_tokens_of(features))

    def stored_tokens_of(self, features: Features) -> Array:
        """The model's features side by side and rounded, as a store gives them: (T, D) float32."""
        if not self.further:
            return self.rounded(np.concatenate([features.tokens[key] for key in self.feature_keys], axis=1))
        parts = {name: self.part(name) for name in ("", *self.further)}  # stores may round differently
        own = [parts[key.store].rounded(features.tokens[key]) for key in self.feature_keys]
        return np.concatenate(own, axis=1)

    def rounded(self, tokens: Array) -> Array:
        """Tokens of any shape as float32, rounded as the store rounded those that the head was trained on."""
        return tokens.astype(self.store_dtype).astype(np.float32)

    def less_background(self, tokens: Array) -> Array:
        """Tokens (..., D) of one video without the background of its camera, if the head takes it away."""
        return tokens if self._backgrounds is None else self._backgrounds.subtract(tokens)

    @property
    def backgrounds(self) -> Backgrounds | None:
        """The backgrounds of cameras, which lie in a file of their own; None if the head takes none away."""
        return self._backgrounds

    def with_backgrounds(self, backgrounds: Backgrounds | None) -> Self:
        """A copy with these backgrounds."""
        copy = self.model_copy()
        copy._backgrounds = backgrounds
        return copy

    def replaced(self, **values: Any) -> Self:
        """A copy with other values of some fields."""
        return self.model_copy(update=values)


def save_bundle(folder: str | os.PathLike[str], head: Head, config: ModelConfig) -> None:
    """Write a head and its config; the config comes last, so a folder that has one is complete.

    Args:
        folder: Folder to write to; created if it does not exist.
        head: The trained head. Its options, width and temperature are written as they are now.
        config: Everything else about the model.

    Raises:
        UsageError: If the config does not fit the head, or the head has values that are not finite.
    """
    if len(config.labels) != head.num_classes:
        raise UsageError(
            f"a head of {head.num_classes} classes needs as many labels; got {len(config.labels)}."
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UsageError(
            f"the head is not trained: {broken[0]} has values that are not finite. Use fit first."
        )
    if (head.options.input == MINUS_BACKGROUND) is not (config.backgrounds is not None):
        raise UsageError(
            f"a head with input={head.options.input} needs {'no ' if config.backgrounds else ''}backgrounds; "
            "train it with actiondiff.train."
        )
    with atomic_path(Path(folder) / WEIGHTS) as aside:
        save_file(tensors, aside)
    if config.backgrounds is not None:
        save_backgrounds(folder, config.backgrounds)
    fields = {
        **config.model_dump(mode="json", exclude_unset=True),
        "format": FORMAT,
        "head": head.options.model_dump(mode="json"),
        "token_width": head.token_width,
        "temperature": head.temperature,
    }
    write_text(Path(folder) / CONFIG, json.dumps(fields, indent=2, allow_nan=False) + "\n")


def load_bundle(folder: str | os.PathLike[str]) -> tuple[Head, ModelConfig]:
    """Read what `save_bundle` wrote.

    Returns:
        The head, on the CPU and in evaluation mode, and its config.

    Raises:
        RunError: If a file is missing or damaged, the config lacks a field, or the weights do not fit it.
    """
    folder = Path(folder)
    absent = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if absent:
        raise RunError(
            f"{folder} holds no trained model: {' and '.join(absent)} missing. Give the folder that "
            "`actiondiff train` wrote, or train again."
        )
    config = read_config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
        # On the meta device first: no memory is taken for sizes that the weights do not have.
        with torch.device("meta"):
            blank = build_head(config.head, config.token_width, len(config.labels))
        _check(blank, tensors, folder)
        head = build_head(config.head, config.token_width, len(config.labels))
    except (ValueError, OSError, OverflowError, MemoryError, SafetensorError) as error:
        if isinstance(error, ActionDiffError):
            raise
        raise RunError(f"{folder} is damaged: {error}. Restore it, or train again.") from None
    head.load_state_dict(dict(tensors))
    head.temperature = config.temperature
    if config.head.input == MINUS_BACKGROUND:
        config = config.with_backgrounds(load_backgrounds(folder, token_width=config.token_width))
    return head.eval(), config


def read_config(folder: str | os.PathLike[str]) -> ModelConfig:
    """Read the config that `save_bundle` wrote, without the weights.

    Raises:
        RunError: If it is missing or damaged, or lacks a field.
    """
    path = Path(folder) / CONFIG
    try:
        config = ModelConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RunError(
            f"{path} does not describe a model of format {FORMAT}: {explain_validation(error)}."
        ) from None
    except FileNotFoundError:
        raise RunError(f"{path} is missing. Give the folder that `actiondiff train` wrote.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{folder} is damaged: {error}. Restore it, or train again.") from None
    if "name" not in config.backbone:
        raise RunError(f"{path} does not name the backbone. Give the folder that `actiondiff train` wrote.")
    return config


def _check(head: Head, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Check every name, shape and value of the tensors that a head is to be filled with."""
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in {*expected, *shapes} if expected.get(name) != shapes.get(name))
    if wrong:
        name = wrong[0]
        raise RunError(
            f"{folder / WEIGHTS} does not fit {CONFIG} in {len(wrong)} tensors: {name} is "
            f"{shapes.get(name, 'absent')}, expected {expected.get(name, 'absent')}. Both files must come "
            "from the same training run."
        )
    unusable = sorted(
        name
        for name, tensor in tensors.items()
        if not tensor.is_floating_point() or not tensor.isfinite().all()
    )
    if unusable:
        raise RunError(
            f"{folder / WEIGHTS} is damaged: {unusable[0]} and {len(unusable) - 1} others are not finite "
            "floating-point numbers. Restore it, or train again."
        )
