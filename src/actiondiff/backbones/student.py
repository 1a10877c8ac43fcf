"""A student: a small network that has learnt one feature of another backbone, its teacher.

Each frame passes a small image network, and convolutions along time then see all frames of the window. Its
tokens have the teacher's width, times and name, so that heads trained on the teacher's features take them.
A student is a folder that `actiondiff distill` writes: `model.safetensors` and `config.json`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors.torch import save_file
from torch import Tensor

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import Frozen, Parts, Weights, find_tensors
from actiondiff.backbones.options import FitOptions
from actiondiff.backbones.student_network import SIDE_MULTIPLE, StudentArchitecture, StudentNetwork
from actiondiff.checkpoints.identity import Digest
from actiondiff.checkpoints.locate import find_weights
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import UsageError, WeightsError, explain_validation
from actiondiff.provenance import atomic_path, canonical_json, write_text
from actiondiff.types import JSON, FeatureKey

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Student",
    "StudentConfig",
    "load",
    "read_student",
    "save_student",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_MOST_BYTES = 1_000_000_000  # of the weights; a student is small
_MOST_CONFIG = 100_000  # characters
_FIXED = ("height", "width", "window", "padding", "fit")

_Side: TypeAlias = Annotated[int, Field(ge=16, le=1024)]


class StudentConfig(BaseModel):
    """What `config.json` of a student holds.

    Attributes:
        format: Version of this file's format.
        architecture: Sizes of the network.
        teacher: Settings of the backbone whose tokens it learnt, as the teacher's feature store has them.
        sampling: How the videos were sampled that it learnt on.
        key: The feature that it learnt.
        num_timesteps: Number of timesteps of the teacher.
        height: Height in pixels of the frames that it sees.
        width: Width in pixels of the frames that it sees.
        window: Number of frames of a window; that of the teacher.
        padding: How the last window is filled; as for the teacher.
        fit: How frames are brought to its size; as for the teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    architecture: StudentArchitecture
    teacher: Mapping[str, Any]
    sampling: Mapping[str, Any]
    key: str = Field(max_length=200)
    num_timesteps: int = Field(ge=1, le=100_000)
    height: _Side
    width: _Side
    window: int = Field(ge=1, le=4096)
    padding: Literal["black", "repeat", "shift"]
    fit: Literal["crop", "squash"]

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: str) -> str:
        FeatureKey.parse(key)
        return key

    @field_validator("teacher")
    @classmethod
    def _check_teacher(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(settings.get("name"), str):
            raise ValueError("the teacher's settings name it")
        return settings

    @property
    def feature_key(self) -> FeatureKey:
        """The feature that it learnt, parsed."""
        return FeatureKey.parse(self.key)

    def spec(self, shipped: BackboneSpec) -> BackboneSpec:
        """The spec of this student, from that of students in general."""
        own = {name: getattr(self, name) for name in _FIXED}
        return shipped.model_copy(
            update={
                "timestep": self.feature_key.timestep,
                "layer": self.feature_key.layer,
                "num_timesteps": self.num_timesteps,
                "only_timestep": True,
                "defaults": {**shipped.defaults, **own},
                "architecture": {"student": self.architecture.model_dump(mode="json")},
            }
        )


class Student(Frozen):
    """A student as a frozen backbone. Its one tap is the layer of its teacher that it learnt.

    Args:
        spec: The spec of this student.
        options: Resolved options.
        weights: Source of its tensors.
        network: The network on the meta device.
        config: What its file says of it; None with random weights.

    Attributes:
        config: As given.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        options: FitOptions,
        weights: Weights,
        network: StudentNetwork,
        config: StudentConfig | None,
    ) -> None:
        super().__init__(spec, options, [spec.layer], weights, network.architecture.tubelet)
        self.config = config
        self.parts = Parts(network, "student", weights, self.device, self._dtype)

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that the features depend on, and which teacher they stand for."""
        own = super().settings
        if self.config is None:
            return own
        return {**own, "key": self.config.key, "teacher": dict(self.config.teacher)}

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Tokens as maps of one place, (B, S, D, 1, 1); see `Backbone.maps`."""
        tokens = self.parts[""](windows.pixels.to(self.device, self._dtype))
        return dict.fromkeys(keys, tokens[..., None, None])

    @torch.inference_mode()
    def strangeness(self, windows: WindowBatch) -> Tensor | None:
        """How unlike the pictures that it learnt from those of windows are, (B,); see `TellsStrangeness`."""
        network: StudentNetwork = self.parts[""]
        if network.pictures is None:
            return None
        num_real = torch.tensor(windows.num_real, device=self.device)
        distances: Tensor = network.pictures(windows.pixels.to(self.device), num_real)
        return distances


def load(spec: BackboneSpec, options: FitOptions, weights: str | Path | None) -> Student:
    """Load a student from the folder that `actiondiff distill` wrote, or one with random weights.

    Raises:
        UsageError: If an option differs from what it was taught with.
        WeightsError: If there is no student, or its files are damaged.
    """
    if spec.weights == "random":
        resolved = resolve(spec, options)
        network = _on_meta(StudentArchitecture(**spec.architecture["student"]))
        _check_size(spec, resolved, network.architecture)
        tensors = find_tensors(spec, resolved, weights, "", {"student": lambda: network})
        return Student(spec, resolved, tensors, network, None)
    source = weights or find_weights(spec.name)
    if source is None:
        raise WeightsError(
            "a student is made from features of your own videos: `actiondiff distill STORE VIDEOS -o "
            "STUDENT` writes one. Then give its folder: weights= (--weights STUDENT)."
        )
    config = read_student(source)
    for name in _FIXED:
        asked, taught = getattr(options, name), getattr(config, name)
        if asked not in (None, taught):
            raise UsageError(
                f"the student in {source} was taught with {name}={taught}; got {asked}. Leave it out, or "
                "distill another student."
            )
    spec = config.spec(spec)
    network = _on_meta(config.architecture)
    return Student(spec, resolve(spec, options), _StudentTensors(Path(source), network), network, config)


def read_student(folder: str | Path) -> StudentConfig:
    """Read the config of a student.

    Raises:
        WeightsError: If the folder holds no student, or the file is damaged.
    """
    path = Path(folder) / CONFIG
    advice = "Give the folder that `actiondiff distill` wrote."
    try:
        text = path.read_text("utf-8")
        if len(text) > _MOST_CONFIG:
            raise ValueError(f"it has {len(text):,} characters, at most {_MOST_CONFIG:,} are allowed")
        config = StudentConfig.model_validate(json.loads(text))
        if config.window % config.architecture.tubelet:
            raise ValueError("window is no multiple of tubelet")
        multiple = SIDE_MULTIPLE[config.architecture.encoder]
        if config.height % multiple or config.width % multiple:
            raise ValueError(f"height and width are multiples of {multiple}")
        return config
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{folder} holds no student (no {CONFIG}). {advice}") from None
    except ValidationError as error:
        raise WeightsError(f"{path} describes no student: {explain_validation(error)}. {advice}") from None
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise WeightsError(f"{path} describes no student: {error}. {advice}") from None


def save_student(folder: Path, network: StudentNetwork, config: StudentConfig) -> None:
    """Write a student; the config comes last, so that a folder that has one is complete."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as aside:
        save_file(tensors, aside)
    fields = config.model_dump(mode="json")
    write_text(folder / CONFIG, json.dumps(fields, indent=2, allow_nan=False) + "\n")


class _StudentTensors:
    """Tensors of a student's file; names, shapes and values are checked.

    Args:
        folder: Folder of the student.
        network: The network on the meta device, which says what is expected.

    Raises:
        WeightsError: If the file is absent, damaged, or another network's.
    """

    def __init__(self, folder: Path, network: StudentNetwork) -> None:
        path = folder / WEIGHTS
        advice = "Restore it, or distill again."
        if not path.is_file():
            raise WeightsError(f"{folder} lacks {WEIGHTS}. {advice}")
        if path.stat().st_size > _MOST_BYTES:
            raise WeightsError(
                f"{path} has {path.stat().st_size:,} bytes; a student has at most {_MOST_BYTES:,}. {advice}"
            )
        file = TensorFile(path)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        shapes = {name: info.shape for name, info in file.tensors.items()}
        wrong = sorted(name for name in {*expected, *shapes} if expected.get(name) != shapes.get(name))
        if wrong:
            raise WeightsError(
                f"{path} does not fit {CONFIG} in {len(wrong)} tensors: {wrong[0]} is "
                f"{shapes.get(wrong[0], 'absent')}, expected {expected.get(wrong[0], 'absent')}. {advice}"
            )
        self._tensors = {name: file.read(name) for name in expected}
        digest = Digest()
        for name, tensor in self._tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise WeightsError(f"{path} is damaged: {name} has values that are not finite. {advice}")
            digest.add(name, tensor)
        without = set() if network.architecture.pictures else {"pictures"}  # as in older versions
        sizes = canonical_json(network.architecture.model_dump(mode="json", exclude=without))
        self.identity = hashlib.sha256(f"{sizes} {digest.hexdigest()}".encode()).hexdigest()

    def tensors(
        self, component: str, names: Collection[str], *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """The named tensors; there is one component."""
        return {
            name: tensor.to(dtype) if tensor.is_floating_point() and "pictures." not in name else tensor
            for name, tensor in ((name, self._tensors[name]) for name in names)
        }


def _on_meta(architecture: StudentArchitecture) -> StudentNetwork:
    """The network without values, which takes no memory whatever its sizes."""
    with torch.device("meta"):
        return StudentNetwork(architecture)


def _check_size(spec: BackboneSpec, options: FitOptions, architecture: StudentArchitecture) -> None:
    multiple = SIDE_MULTIPLE[architecture.encoder]
    if (options.height or 0) % multiple or (options.width or 0) % multiple:
        raise UsageError(
            f"height and width of {spec.name} must be multiples of {multiple}; "
            f"got {options.height}x{options.width}."
        )
