"""Small videos, and a backbone whose features are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actiondiff.backbones.base import BackboneSpec
from actiondiff.backbones.engine.run import extract
from actiondiff.backbones.options import BackboneOptions
from actiondiff.video.write import write_video


class PixelMeans:
    """Layer n has n channels: the frame's mean brightness, times n, times the timestep."""

    tubelet = 1
    num_timesteps = 30
    taps = ("layer1", "layer2", "layer3")
    spec = BackboneSpec(
        name="means", kind="fake", title="", weights="none", num_timesteps=30, timestep=20, layer="layer2"
    )

    def __init__(self, **options: object) -> None:
        given = {"height": 8, "width": 8, "window": 4, "padding": "black", "batch": 3, "threads": 1} | options
        self.options = BackboneOptions(device="cpu", dtype="float32", **given)
        self.num_calls = 0
        self.factor = 1.0

    @property
    def settings(self):
        return {"name": "means", **self.options.model_dump(exclude={"device"}, exclude_none=True)}

    def preprocess(self, pixels):
        return pixels.permute(0, 3, 1, 2).float().mean((-2, -1), keepdim=True).expand(-1, -1, 8, 8)

    def maps(self, windows, keys):
        self.num_calls += 1
        means = windows.pixels.mean((2, 3, 4))[:, :, None, None, None]
        width = {key: int(key.layer.removeprefix("layer")) for key in keys}
        ones = {key: torch.ones(1, 1, width[key], 2, 2) for key in keys}
        return {key: self.factor * means * key.timestep * width[key] * ones[key] for key in keys}

    def extract(self, frames, *, timesteps=None, layers=None, maps=False):
        return extract(self, frames, timesteps=timesteps, layers=layers, maps=maps)


@pytest.fixture
def backbone() -> PixelMeans:
    return PixelMeans()


@pytest.fixture
def make_backbone() -> type[PixelMeans]:
    return PixelMeans


def save_clip(path: Path, brightness: int, num_frames: int = 20) -> None:
    """A clip of one colour that grows brighter by one a frame."""
    levels = brightness + np.arange(num_frames, dtype=np.uint8)
    write_video(path, np.broadcast_to(levels[:, None, None, None], (num_frames, 16, 16, 3)).copy(), fps=10)


@pytest.fixture(scope="session")
def originals(tmp_path_factory) -> Path:
    """Five sound videos."""
    folder = tmp_path_factory.mktemp("originals")
    names = ("a.mp4", "b.mp4", "sub folder/ünï чайка.mp4", "sub folder/d.mp4", "e.mp4")
    for number, name in enumerate(names):
        save_clip(folder / name, 30 * number + 10, num_frames=12 + 5 * number)
    return folder


@pytest.fixture
def clips(originals, tmp_path) -> Path:
    """The five videos, to do with as one likes."""
    folder = tmp_path / "clips"
    for path in originals.rglob("*.mp4"):
        target = folder / path.relative_to(originals)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder
