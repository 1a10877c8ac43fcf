"""What a backbone is, the options it is loaded with, and how one is found by name."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.errors import SettingsMismatchError, UnknownNameError, UsageError, explain_validation
from actiondiff.provenance import differences
from actiondiff.registry import Registry
from actiondiff.types import JSON, FeatureKey, Features, Frames

if TYPE_CHECKING:
    import torch

__all__ = [
    "RANDOM",
    "SPECS",
    "Backbone",
    "BackboneOptions",
    "BackboneSpec",
    "WindowBatch",
    "backbone_from_settings",
    "build_backbone",
    "check_options",
    "find_spec",
    "load_backbone",
    "resolve",
    "specs",
]

Device = str
RANDOM = "random-"  # before a backbone's name: the same network with random weights
Dtype = Literal["auto", "float32", "float16", "bfloat16"]

KINDS = Registry(
    "backbone",
    {
        "svd": "actiondiff.backbones.svd.backbone:load",
        "sd": "actiondiff.backbones.sd:load",
        "vjepa": "actiondiff.backbones.vjepa:load_vjepa",
        "vjepa2": "actiondiff.backbones.vjepa:load_vjepa2",
        "videomae": "actiondiff.backbones.videomae:load",
        "dinov3": "actiondiff.backbones.image:load",
        "pixels": "actiondiff.backbones.pixels:load_pixels",
        "motion": "actiondiff.backbones.pixels:load_motion",
    },
)
"""Kind of backbone -> `load(spec, options, weights) -> Backbone`."""
SPECS = Registry("backbone_spec", {})
"""Name -> `BackboneSpec` of a backbone that is not one of `specs.yaml`: others' plug-ins."""


class BackboneOptions(BaseModel):
    """Everything one may choose about a backbone; None takes the backbone's own value from `specs.yaml`.

    Source: the options and their defaults are those of the released code unless a field says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_advice: ClassVar[str] = (
        "smaller frames (--height, --width), a smaller --vae-chunk or half precision (--dtype)"
    )
    """What to use where memory does not suffice, for messages."""

    preset: str | None = Field(
        None, description="Other defaults under one name, for example economy: a smaller picture."
    )
    device: Device = Field("auto", description="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    dtype: Dtype = Field("auto", description="Arithmetic; auto: float16 on CUDA, float32 on CPU.")
    height: int | None = Field(None, ge=8, description="Height in pixels that frames are resized to.")
    width: int | None = Field(None, ge=8, description="Width in pixels that frames are resized to.")
    window: int | None = Field(None, ge=1, description="Frames that pass the backbone together.")
    padding: Literal["black", "repeat", "shift"] | None = Field(
        None, description="How the last window is filled: black frames, the last frame, or an earlier start."
    )
    batch: int | None = Field(None, ge=1, description="Windows a pass; part of the fingerprint (rounding).")
    threads: int | None = Field(None, ge=1, description="CPU threads; part of the fingerprint (rounding).")
    seed: int = Field(0, description="Seed of whatever is random in the backbone.")
    fit: Literal["crop", "squash"] | None = Field(
        None,
        description="How frames become the backbone's size: crop keeps the aspect ratio and the centre, "
        "squash keeps the whole frame.",
    )
    tokens: Literal["tubelet", "segment"] | None = Field(
        None,
        description="What one token of a video transformer covers: a tubelet of frames, or the whole window.",
    )
    num_steps: int | None = Field(
        None, ge=2, description="Length of the noise schedule that timesteps index."
    )
    embedding: Literal["own", "middle", "first", "none", "text"] | None = Field(
        None,
        description="What cross-attention sees: each frame's own CLIP vector, the middle or first "
        "frame's for all, zeros, or the names of the actions.",
    )
    latents: Literal["own", "middle", "zero"] | None = Field(
        None,
        description="What is concatenated to the latents: each frame's own latent, the middle frame's "
        "for all, or zeros.",
    )
    conditioning: Literal["per-frame", "middle-frame", "none", "text"] | None = Field(
        None, description="Shorthand that sets embedding and latents together."
    )
    text_weights: str | Path | None = Field(
        None, description="For text: folder or hub id of the CLIP model whose text tower embeds the actions."
    )
    actions: str | tuple[str, ...] | None = Field(
        None, description="For text: names of actions, separated by commas, or a file with one a line."
    )
    stochastic: bool = Field(False, description="Draw pixel and posterior noise as released, not their mean.")
    temporal: bool = Field(True, description="Run the temporal modules; off is the paper's SDv2 baseline.")
    noise: Literal["none", "forward"] = Field(
        "none", description="forward adds sigma * noise to the latents, as other diffusion features do."
    )
    sigma_scale: int | None = Field(None, ge=0, description="Timestep used for the input scaling only.")
    sigma_embed: int | None = Field(None, ge=0, description="Timestep used for the time embedding only.")
    vae_dtype: Literal["float32", "tf32", "float16", "bfloat16"] | None = Field(
        None,
        description="Arithmetic of the VAE, where most time goes; less than float32 only if `weights check` "
        "allows it.",
    )
    vae_chunk: int | None = Field(None, ge=1, description="Frames that pass the VAE together.")
    compile: bool = Field(False, description="Compile the networks first: minutes before hours.")
    unet_head_dim: int | None = Field(None, ge=1, description="Attention head width of the U-Net.")
    clip_head_dim: int | None = Field(None, ge=1, description="Attention head width of the image encoder.")


class BackboneSpec(BaseModel):
    """A named backbone of `specs.yaml`: what it is and what it uses where an option is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    title: str
    weights: Literal["required", "built-in", "random", "none"]
    num_timesteps: int
    timestep: int
    layer: str
    defaults: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    architecture: dict[str, Any] = Field(default_factory=dict)
    verified: str = ""
    licence: str = ""


@dataclass(frozen=True)
class WindowBatch:
    """Windows on their way into a backbone.

    Attributes:
        pixels: (B, L, 3, H, W) float32 in [-1, 1], resized.
        num_real: For each window, how many leading frames are real.
        identities: For each window, the identity of its video.
        first_frames: For each window, the raw frame index of its first frame; with the identity and the
            seed it fixes every random draw.
    """

    pixels: "torch.Tensor"
    num_real: tuple[int, ...]
    identities: tuple[str, ...]
    first_frames: tuple[int, ...]


class Backbone(Protocol):
    """A frozen network that turns windows of frames into maps.

    Attributes:
        spec: What it is.
        options: The options in force; nothing is None that the backbone uses.
        taps: Names of the outputs it can give, shallow to deep.
        num_timesteps: Timesteps are 0 .. num_timesteps - 1 (1 for networks without noise).
        tubelet: Frames that one step of its output covers.
        settings: Everything that makes a number, for the store's fingerprint. Timesteps and layers are
            not part of it.
    """

    spec: BackboneSpec
    options: BackboneOptions
    taps: tuple[str, ...]
    num_timesteps: int
    tubelet: int

    @property
    def settings(self) -> dict[str, JSON]: ...  # noqa: D102

    def preprocess(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Frames (L, H, W, 3) uint8 of any size -> (L, 3, H', W') float32 as `maps` wants them."""
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
        """Features of one video's frames; the backbone's own timestep and layer unless others are given."""
        ...


@functools.cache
def specs() -> dict[str, BackboneSpec]:
    """All backbones of `specs.yaml` by name."""
    text = resources.files("actiondiff.backbones").joinpath("specs.yaml").read_text("utf-8")
    return {name: BackboneSpec(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


def find_spec(name: str) -> BackboneSpec:
    """The spec of a name; `random-NAME` is NAME with seeded random weights.

    Raises:
        UnknownNameError: If there is no such backbone.
    """
    plain = name.removeprefix(RANDOM)
    if plain not in specs() and plain not in SPECS:
        known = [*specs(), *SPECS]
        raise UnknownNameError("backbone", name, known, "random-NAME gives NAME with random weights.")
    spec: BackboneSpec = specs()[plain] if plain in specs() else SPECS[plain]
    if plain == name:
        return spec
    if not spec.architecture:
        raise UsageError(f"{plain} has no weights that could be random; got {name!r}.")
    return spec.model_copy(update={"name": name, "weights": "random"})


def resolve(spec: BackboneSpec, options: BackboneOptions) -> BackboneOptions:
    """Options with every value filled in: given ones, the preset's, the spec's, what this machine suggests.

    Raises:
        UnknownNameError: If the backbone has no such preset.
    """
    import torch

    if options.preset is not None and options.preset not in spec.presets:
        raise UnknownNameError(f"preset of {spec.name}", options.preset, spec.presets)
    preset = spec.presets.get(options.preset or "", {})
    given = {name: value for name, value in options.model_dump().items() if value is not None}
    device = given["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = given["dtype"]
    if dtype == "auto":
        dtype = "float16" if device.startswith("cuda") else "float32"
    threads = {"threads": torch.get_num_threads()}
    chosen = {**threads, **spec.defaults, **preset, **given, "device": device, "dtype": dtype}
    return BackboneOptions(**{**chosen, "preset": None})


def load_backbone(
    name: str = "tiny",
    *,
    weights: str | Path | None = None,
    options: BackboneOptions | None = None,
    **fields: Any,
) -> Backbone:
    """A frozen backbone, ready to extract.

    Args:
        name: A name of `specs.yaml`, for example `"tiny"` or `"svd-xt"`; with `random-` before it, the same
            network with random weights (drawn from `seed`).
        weights: File, folder or hub id of the checkpoint; `tiny` needs none.
        options: The options as one value; else give them as keyword arguments, for example
            `height=320, width=576`.
        **fields: Fields of `BackboneOptions`; they win over `options`.

    Raises:
        UnknownNameError: If there is no backbone of that name, or no option of a given name.
        UsageError: If an option's value is not allowed.
        WeightsError: If the weights are missing or do not fit.
    """
    spec = find_spec(name)
    for field in fields:
        if field not in BackboneOptions.model_fields:
            raise UnknownNameError("option of load_backbone", field, BackboneOptions.model_fields)
    given = options.model_dump(exclude_unset=True) if options else {}
    try:
        chosen = BackboneOptions(**{**given, **fields})
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None
    return build_backbone(spec, chosen, weights)


def build_backbone(
    spec: BackboneSpec, options: BackboneOptions, weights: str | Path | None = None
) -> Backbone:
    """The backbone of a spec, which need not be one of `specs.yaml`.

    Raises:
        UsageError: If the backbone has no such option, or its windows cannot be cut as asked.
        WeightsError: If the weights are missing or do not fit.
    """
    backbone: Backbone = KINDS[spec.kind](spec, options, weights)
    chosen, tubelet = backbone.options, backbone.tubelet
    if (chosen.window or 1) % tubelet:
        raise UsageError(
            f"one token of {spec.name} covers {tubelet} frames, so window must be a multiple of {tubelet}; "
            f"got {chosen.window}."
        )
    if chosen.padding == "shift" and tubelet > 1:
        raise UsageError(
            f"padding shift lets windows overlap by any number of frames, but one token of {spec.name} "
            f"covers {tubelet}: overlapping tokens would be of other frames. Use repeat or black."
        )
    return backbone


def check_options(spec: BackboneSpec, options: BackboneOptions, used: Collection[str]) -> None:
    """Refuse options that would have no effect.

    Raises:
        UsageError: If an option is set that is not among the used ones.
    """
    for name in sorted(options.model_fields_set - set(used)):
        value = getattr(options, name)
        if value != BackboneOptions.model_fields[name].default:
            raise UsageError(
                f"{spec.name} has no option {name}; got {value!r}. It has {', '.join(sorted(used))}."
            )


def backbone_from_settings(
    settings: Mapping[str, Any],
    *,
    weights: str | Path | None = None,
    text_weights: str | Path | None = None,
    device: str = "auto",
    dtype: Dtype | None = None,
) -> Backbone:
    """The backbone whose `settings` these are, for example those a store or a trained model recorded.

    Args:
        settings: `Backbone.settings` as recorded.
        weights: File, folder or hub id of the checkpoint, where the backbone needs one.
        text_weights: Folder of the text tower, where it is conditioned on names of actions; settings record
            its identity, not its place.
        device: Where it is to run now.
        dtype: Arithmetic, if not the recorded one; numbers then differ in their last places.

    Raises:
        SettingsMismatchError: If the weights are others than the recorded ones, or anything else differs.
    """
    options = {name: value for name, value in settings.items() if name in BackboneOptions.model_fields}
    options |= {"text_weights": text_weights} | ({"dtype": dtype} if dtype else {})
    backbone = load_backbone(settings["name"], weights=weights, device=device, **options)
    found = differences(backbone.settings, settings)
    if dtype:
        found.pop("dtype", None)
    if found:
        lost = [name for name in ("weights", "text_weights") if name in found]
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in lost)
        advice = f"Give the weights that were used ({flags})." if lost else "Extract features anew."
        raise SettingsMismatchError(f"{settings['name']} as loaded is not as recorded", found, advice)
    return backbone
