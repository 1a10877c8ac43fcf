"""What a backbone is, how it is found by name, and how it is loaded."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.backbones.options import BackboneOptions, Dtype, every_option, options_class
from actiondiff.backbones.published import WeightsSource
from actiondiff.errors import SettingsMismatchError, UnknownNameError, UsageError, explain_validation
from actiondiff.provenance import differences
from actiondiff.registry import Registry
from actiondiff.types import JSON, FeatureKey, Features, Frames

if TYPE_CHECKING:
    import torch

__all__ = [
    "KINDS",
    "PLUGIN_SPECS",
    "RANDOM",
    "Backbone",
    "BackboneSpec",
    "WindowBatch",
    "backbone_from_settings",
    "build_backbone",
    "check_device",
    "find_spec",
    "load_backbone",
    "make_options",
    "resolve",
    "shipped_specs",
]

Options = TypeVar("Options", bound=BackboneOptions)

_MOST_PIXELS = 2**31  # of all frames of a window; more fit into no memory
RANDOM = "random-"  # before a backbone's name: the same network with random weights

KINDS = Registry(
    "backbone",
    {
        "svd": "actiondiff.backbones.svd.backbone:load",
        "sd": "actiondiff.backbones.sd:load",
        "vjepa": "actiondiff.backbones.vjepa:load_vjepa",
        "vjepa2": "actiondiff.backbones.vjepa:load_vjepa2",
        "videomae": "actiondiff.backbones.videomae:load",
        "videoprism": "actiondiff.backbones.videoprism:load",
        "dit": "actiondiff.backbones.dit.backbone:load",
        "dinov3": "actiondiff.backbones.image:load",
        "efficientnet": "actiondiff.backbones.efficientnet:load",
        "pixels": "actiondiff.backbones.pixels:load_pixels",
        "motion": "actiondiff.backbones.pixels:load_motion",
        "student": "actiondiff.backbones.student:load",
    },
)
"""Kind of backbone -> `load(spec, options, weights) -> Backbone`."""
PLUGIN_SPECS = Registry("backbone_spec", {})
"""Name -> `BackboneSpec` of a backbone that is not one of `specs.yaml` but of a plug-in."""


class BackboneSpec(BaseModel):
    """A named backbone, and the values that it uses for options that are not set.

    Attributes:
        name: Name to load it by.
        kind: Family of backbones that it belongs to; names its loader and the class of its options.
        title: What it is, for people.
        weights: `required`: a checkpoint has to be given; `built-in`: weights come with the package; `extra`:
            they come with another package, which an extra installs; `own`: users make them from their own
            videos; `random`: weights are drawn from the seed; `none`: it has no weights.
        num_timesteps: Number of timesteps; 1 for networks without noise.
        timestep: Timestep that is used if none is asked for.
        layer: Layer that is used if none is asked for.
        only_timestep: Whether it has no timestep but that one.
        defaults: Options in force where none are set.
        presets: Name of a preset -> options in force where none are set.
        architecture: Component -> arguments that its network is built from.
        verified: How the names of its weights were checked against published files.
        licence: Licence of its weights.
        source: Where its weights are published; None if none have to be given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    title: str
    weights: Literal["required", "built-in", "extra", "own", "random", "none"]
    num_timesteps: int
    timestep: int
    layer: str
    only_timestep: bool = False
    defaults: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    architecture: dict[str, Any] = Field(default_factory=dict)
    verified: str = ""
    licence: str = ""
    source: WeightsSource | None = None


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows as a backbone takes them.

    Attributes:
        pixels: (B, L, 3, H, W) float32 in [-1, 1], resized.
        num_real: Number of leading frames of each window that are no padding.
        identities: Identity of each window's video.
        first_frames: Raw frame index of each window's first frame. Together with the identity and the seed it
            determines every random draw.
    """

    pixels: "torch.Tensor"
    num_real: tuple[int, ...]
    identities: tuple[str, ...]
    first_frames: tuple[int, ...]


class Backbone(Protocol):
    """A frozen network that turns windows of frames into maps.

    Attributes:
        spec: The backbone's spec.
        options: The options in force; no option that the backbone uses is None.
        taps: Names of the outputs that it can give, from shallow to deep.
        num_timesteps: Timesteps are 0 .. num_timesteps - 1 (1 for networks without noise).
        tubelet: Number of frames that one step of its output covers.
        settings: Everything that the features depend on, for the store's fingerprint; without timesteps and
            layers.
    """

    spec: BackboneSpec
    taps: tuple[str, ...]
    num_timesteps: int
    tubelet: int

    @property
    def options(self) -> BackboneOptions: ...  # noqa: D102  # read-only, so that a family may narrow its type

    @property
    def settings(self) -> dict[str, JSON]: ...  # noqa: D102

    def preprocess(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Frames (L, H, W, 3) uint8 of any size -> (L, 3, H', W') float32 as `maps` takes them."""
        ...

    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, "torch.Tensor"]:
        """Un-pooled outputs, each (B, S, C, h, w) on the backbone's device; S = L / tubelet steps."""
        ...

    def extract(
        self,
        frames: Frames,
        *,
        timesteps: Sequence[int] | None = None,
        layers: Sequence[int | str] | None = None,
        maps: bool = False,
    ) -> Features:
        """Features of one video's frames; None takes the backbone's own timestep and layer."""
        ...


@functools.cache
def shipped_specs() -> dict[str, BackboneSpec]:
    """All backbones of `specs.yaml` by name."""
    text = resources.files("actiondiff.backbones").joinpath("specs.yaml").read_text("utf-8")
    return {name: BackboneSpec(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


def find_spec(name: str) -> BackboneSpec:
    """The spec of a name; `random-NAME` is NAME with seeded random weights.

    Raises:
        UnknownNameError: If there is no such backbone.
        UsageError: If the backbone has no weights that could be random.
    """
    plain = name.removeprefix(RANDOM)
    if plain not in shipped_specs() and plain not in PLUGIN_SPECS:
        names = [*shipped_specs(), *PLUGIN_SPECS]
        raise UnknownNameError("backbone", name, names, "random-NAME gives NAME with random weights.")
    spec: BackboneSpec = shipped_specs()[plain] if plain in shipped_specs() else PLUGIN_SPECS[plain]
    if plain == name:
        return spec
    if not spec.architecture:
        raise UsageError(f"{plain} has no weights that could be random; got {name!r}.")
    return spec.model_copy(update={"name": name, "weights": "random"})


def make_options(
    spec: BackboneSpec, options: BackboneOptions | None = None, **fields: Any
) -> BackboneOptions:
    """Options of the class that the backbone's family has, before defaults are filled in.

    Args:
        spec: The backbone's spec.
        options: Options of any class; only those that were set count.
        **fields: Further options, which take precedence over `options`.

    Raises:
        UnknownNameError: If no family has an option of a name.
        UsageError: If this backbone does not have an option that is set, or its value is not allowed.
    """
    family = options_class(spec.kind)
    classes = [every_option(), family] if options is None else [every_option(), type(options), family]
    available = {name: field for one in classes for name, field in one.model_fields.items()}
    for name in fields:
        if name not in available:
            raise UnknownNameError("option of load_backbone", name, available)
    values = {**(options.model_dump(exclude_unset=True) if options else {}), **fields}
    # An option without an effect is refused, because it would only seem to change something.
    without_effect = family.without_effect - ({"preset"} if spec.presets else set())
    usable = family.model_fields.keys() - without_effect
    for name in sorted(values.keys() - usable):
        if values[name] != available[name].default:
            raise UsageError(
                f"{spec.name} has no option {name}; got {values[name]!r}. It has {', '.join(sorted(usable))}."
            )
    try:
        return family(**{name: value for name, value in values.items() if name in family.model_fields})
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None


def resolve(spec: BackboneSpec, options: Options) -> Options:
    """Options with every value filled in.

    A value that was set takes precedence over the preset's, that over the spec's, and that over what this
    machine suggests.

    Args:
        spec: The backbone's spec.
        options: Options from `make_options`.

    Raises:
        UnknownNameError: If the backbone has no such preset.
        UsageError: If there is no such device, or a window has too many pixels.
    """
    import torch

    if options.preset is not None and options.preset not in spec.presets:
        raise UnknownNameError(f"preset of {spec.name}", options.preset, spec.presets)
    preset = spec.presets.get(options.preset or "", {})
    chosen = {name: value for name, value in options.model_dump().items() if value is not None}
    device = chosen["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    dtype = chosen["dtype"]
    if dtype == "auto":
        dtype = "float16" if device.startswith("cuda") else "float32"
    values = {"threads": torch.get_num_threads(), **spec.defaults, **preset, **chosen}
    resolved = type(options)(**{**values, "device": device, "dtype": dtype, "preset": None})
    frames, height, width = (getattr(resolved, name) or 1 for name in ("window", "height", "width"))
    pixels = frames * height * width
    if pixels > _MOST_PIXELS:
        raise UsageError(
            f"a window of {frames} frames of {height}x{width} px has {pixels:.2g} pixels; at most "
            f"{_MOST_PIXELS:.2g} are allowed. Use {options.memory_advice} or a shorter window (--window)."
        )
    return resolved


def check_device(device: str) -> None:
    """Make sure that this machine has a device.

    Raises:
        UsageError: If the name is not that of a device, or there is no such GPU.
    """
    import torch

    if device == "auto":
        return
    try:
        kind, number = torch.device(device).type, torch.device(device).index or 0
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda, cuda:1 and so on.") from None
    count = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if kind == "cuda" and number >= count:
        there = f"it has {count} CUDA GPUs, numbered from 0" if count else "torch finds no CUDA GPU"
        raise UsageError(
            f"there is no device {device} on this machine: {there}. Use --device cpu or "
            "auto; actiondiff doctor shows what there is."
        )


def load_backbone(
    name: str = "tiny",
    *,
    weights: str | Path | None = None,
    options: BackboneOptions | None = None,
    **fields: Any,
) -> Backbone:
    """Load a frozen backbone, ready to extract features.

    Args:
        name: Name of a backbone in `specs.yaml` or of a plug-in, for example `"tiny"` or `"svd-xt"`. With
            `random-` before it: the same network with random weights, drawn from `seed`.
        weights: File, folder or hub id of the checkpoint; `tiny` needs none.
        options: The options as one value. Options may also be given as keyword arguments, for example
            `height=320, width=576`.
        **fields: Options that the backbone's family has; they take precedence over `options`.

    Raises:
        UnknownNameError: If there is no backbone of that name, or no option of a given name.
        UsageError: If the backbone does not have an option, or its value is not allowed.
        WeightsError: If the weights are missing or do not fit.
    """
    spec = find_spec(name)
    return build_backbone(spec, make_options(spec, options, **fields), weights)


def build_backbone(
    spec: BackboneSpec, options: BackboneOptions | None = None, weights: str | Path | None = None
) -> Backbone:
    """Build the backbone of a spec, which need not be one of `specs.yaml`.

    Args:
        spec: The backbone's spec.
        options: Options; those that are not set take the spec's defaults.
        weights: File, folder or hub id of the checkpoint.

    Raises:
        UsageError: If the backbone has no such option, or its windows cannot be cut as asked.
        WeightsError: If the weights are missing or do not fit.
    """
    backbone: Backbone = KINDS[spec.kind](spec, make_options(spec, options), weights)
    chosen, tubelet = backbone.options, backbone.tubelet
    if (chosen.window or 1) % tubelet:
        raise UsageError(
            f"one token of {spec.name} covers {tubelet} frames, so window must be a multiple of {tubelet}; "
            f"got {chosen.window}."
        )
    if chosen.padding == "shift" and tubelet > 1:
        raise UsageError(
            f"padding shift lets windows overlap by any number of frames, but one token of {spec.name} "
            f"covers {tubelet}: overlapping tokens would cover different frames. Use repeat or black."
        )
    return backbone


def backbone_from_settings(
    settings: Mapping[str, Any],
    *,
    weights: str | Path | None = None,
    text_weights: str | Path | None = None,
    device: str = "auto",
    dtype: Dtype | None = None,
) -> Backbone:
    """Load the backbone that has these `settings`, which a store or a trained model recorded.

    Args:
        settings: `Backbone.settings` as recorded.
        weights: File, folder or hub id of the checkpoint, where the backbone needs one.
        text_weights: Folder of the text tower, where the backbone is conditioned on names of actions;
            settings record its identity, not its path.
        device: Device that it runs on now.
        dtype: Arithmetic, if it is not to be the recorded one; results then differ in their last digits.

    Raises:
        SettingsMismatchError: If the weights or anything else differ from what was recorded.
    """
    family = options_class(find_spec(settings["name"]).kind)
    fields = family.model_fields.keys() - {"device"}
    complete = {**family.arithmetic, **family.older, **settings}
    options = {name: value for name, value in complete.items() if name in fields}
    if isinstance(options.get("actions"), str):  # which would be the path of a file
        raise UsageError(f"the recorded actions are a list of names; got {options['actions'][:80]!r}.")
    if text_weights is not None or "text_weights" in fields:
        options["text_weights"] = text_weights
    if dtype:  # and with it what else depends on it
        options |= {**dict.fromkeys(family.arithmetic), "dtype": dtype}
    backbone = load_backbone(settings["name"], weights=weights, device=device, **options)
    mismatches = differences(backbone.settings, settings)
    for name in ("dtype", *family.arithmetic, *family.older) if dtype else ():
        mismatches.pop(name, None)
    if mismatches:
        lost = [name for name in ("weights", "text_weights") if name in mismatches]
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in lost)
        advice = f"Give the weights that were used ({flags})." if lost else "Extract the features again."
        raise SettingsMismatchError(f"{settings['name']} as loaded is not as recorded", mismatches, advice)
    return backbone
