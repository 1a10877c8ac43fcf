"""Cost of a backbone's features: parameters, operations per second of video, and pre-training data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

from actiondiff.backbones.base import BackboneSpec, find_spec, make_options, resolve
from actiondiff.backbones.engine.counting import count_window
from actiondiff.backbones.options import BackboneOptions
from actiondiff.backbones.svd.options import SVDOptions
from actiondiff.experiments.grid import BackboneChoice
from actiondiff.types import FeatureKey

__all__ = ["BackboneCost", "backbone_cost", "teraflop_per_frame"]

_VIDEO_FPS = 25.0  # frame rate of the video for which operations per second are stated


@dataclass(frozen=True)
class BackboneCost:
    """Cost of one second of video at 25 frames per second.

    Attributes:
        parameters: Number of parameters that are loaded; None if not known.
        teraflop: 10^12 operations per second of video; None for backbones that are not in `specs.yaml`.
        pretraining: Data that the backbone was pre-trained on.
    """

    parameters: int | None
    teraflop: float | None
    pretraining: str


class _BackboneFacts(BaseModel):
    """Entry of `backbones.yaml`: what cannot be counted from a backbone's shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: int
    pretraining: str


def backbone_cost(choice: BackboneChoice, layer: str) -> BackboneCost:
    """Cost of the features of one layer at one timestep.

    Args:
        choice: The backbone and its options.
        layer: The deepest layer that is read, like `layer9`.
    """
    spec = find_spec(choice.backbone)
    per_frame = teraflop_per_frame(choice, [FeatureKey(spec.timestep, layer)])
    facts = _facts().get(choice.backbone)
    return BackboneCost(
        parameters=facts.parameters if facts else None,
        teraflop=None if per_frame is None else per_frame * _frames_per_second(choice),
        pretraining=facts.pretraining if facts else spec.title,
    )


def teraflop_per_frame(choice: BackboneChoice, keys: Sequence[FeatureKey]) -> float | None:
    """10^12 operations per sampled frame; None for backbones that are not in `specs.yaml`.

    Args:
        choice: The backbone and its options.
        keys: The features that are extracted in one pass.
    """
    # Neither the seed nor the frame rate changes the number of operations, so that draws share one count.
    return _counted(choice.model_copy(update={"seed": 0, "stride": 1, "fps": None}), tuple(keys))


@cache
def _counted(choice: BackboneChoice, keys: tuple[FeatureKey, ...]) -> float | None:
    spec = find_spec(choice.backbone)
    options = _resolved(spec, make_options(spec, choice.options))
    cost = count_window(spec, options, keys)
    return cost.flop / (options.window or 1) / 1e12 if cost else None


def _resolved(spec: BackboneSpec, options: BackboneOptions) -> BackboneOptions:
    """Options with every value filled in, where `conditioning` replaces the defaults that it stands for."""
    resolved = resolve(spec, options)
    if not isinstance(options, SVDOptions) or options.conditioning is None:
        return resolved
    if options.conditioning == "text":  # the text tower runs once per action name, not per window
        changes = {"conditioning": None, "embedding": "none", "latents": "own"}
    else:
        changes = {"embedding": None, "latents": None}
    return resolved.model_copy(update=changes)


def _frames_per_second(choice: BackboneChoice) -> float:
    """Sampled frames per second of video."""
    return choice.fps if choice.fps else _VIDEO_FPS / (choice.stride or 1)


@cache
def _facts() -> dict[str, _BackboneFacts]:
    text = resources.files("actiondiff.paper").joinpath("backbones.yaml").read_text("utf-8")
    return {name: _BackboneFacts.model_validate(entry) for name, entry in yaml.safe_load(text).items()}
