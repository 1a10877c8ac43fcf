"""The network of a student: frames of a window to tokens."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from actiondiff.backbones.efficientnet import build_efficientnet, frame_features
from actiondiff.backbones.strangeness import PictureSpace

__all__ = ["SIDE_MULTIPLE", "StudentArchitecture", "StudentNetwork"]

_GROUPS = 8  # of the group norms, which divide every number of channels
_LITE0_WIDTH = 1280  # channels of the final convolution of EfficientNet-Lite0
SIDE_MULTIPLE = {"small": 16, "lite0": 32}
"""Encoder -> number that height and width of frames are multiples of."""

_Channels: TypeAlias = Annotated[int, Field(ge=8, le=1024, multiple_of=_GROUPS)]


class StudentArchitecture(BaseModel):
    """Sizes of a student's network.

    Attributes:
        encoder: Network that sees each frame: `small`, four convolutions that also see the change from the
            frame before; or `lite0`, EfficientNet-Lite0.
        channels: Channels of the four convolutions of `small`.
        hidden: Channels of the convolutions along time.
        blocks: Number of residual blocks along time.
        reach: Number of frames before and after a frame that a convolution along time sees.
        token_width: Width of a token, D; that of the teacher.
        tubelet: Number of frames that one token covers; that of the teacher.
        pictures: Whether its file says which pictures it learnt from; not so of students of older versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: Literal["small", "lite0"] = "small"
    channels: tuple[_Channels, _Channels, _Channels, _Channels] = (32, 64, 128, 192)
    hidden: _Channels = 192
    blocks: int = Field(2, ge=0, le=16)
    reach: int = Field(2, ge=0, le=32)
    token_width: int = Field(ge=1, le=65_536)
    tubelet: int = Field(1, ge=1, le=1024)
    pictures: bool = False


class StudentNetwork(nn.Module):
    """The network: frames of a window to tokens.

    Args:
        architecture: Its sizes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, architecture: StudentArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        hidden = architecture.hidden
        if architecture.encoder == "small":
            self.encoder = _small_encoder(architecture.channels)
            self.project = nn.Linear(architecture.channels[-1], hidden)
        else:
            self.encoder = build_efficientnet("efficientnet-lite0", head=False)
            self.project = nn.Linear(_LITE0_WIDTH, hidden)
        self.blocks = nn.ModuleList(
            _TimeBlock(hidden, architecture.reach) for _ in range(architecture.blocks)
        )
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, architecture.token_width)
        self.register_buffer("mean", torch.zeros(architecture.token_width))
        self.register_buffer("deviation", torch.ones(architecture.token_width))
        self.pictures = PictureSpace() if architecture.pictures else None

    def train(self, mode: bool = True) -> "StudentNetwork":
        """Change the mode; the statistics of EfficientNet's batch norms stay those of its own training."""
        super().train(mode)
        if self.architecture.encoder == "lite0":
            self.encoder.eval()
        return self

    def standardised(self, pixels: Tensor) -> Tensor:
        """Tokens with mean 0 and deviation 1 over the training: (B, L, 3, H, W) in [-1, 1] -> (B, S, D)."""
        if self.architecture.encoder == "small":
            changes = pixels.diff(dim=1, prepend=pixels[:, :1])
            maps = self.encoder(torch.cat([pixels, changes], dim=2).flatten(0, 1))
        else:
            maps = frame_features(self.encoder, pixels.flatten(0, 1))
        frames = self.project(maps.mean((-2, -1))).unflatten(0, pixels.shape[:2])  # (B, L, hidden)
        for block in self.blocks:
            frames = block(frames)
        steps = frames.unflatten(1, (-1, self.architecture.tubelet)).mean(2)
        tokens: Tensor = self.output(self.norm(steps))
        return tokens

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens as the teacher's are: (B, L, 3, H, W) in [-1, 1] -> (B, S, D)."""
        return self.standardised(pixels) * self.deviation + self.mean


class _TimeBlock(nn.Module):
    """A residual block along time: each channel on its own, then all channels of each frame."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = nn.Conv1d(width, width, 2 * reach + 1, padding=reach, groups=width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        output: Tensor = frames + self.mix(self.along(self.norm(frames).transpose(1, 2)).transpose(1, 2))
        return output


def _small_encoder(channels: Sequence[int]) -> nn.Module:
    """Four convolutions, each of which halves the maps; input: three colours and their changes."""
    layers: list[nn.Module] = []
    before = 6
    for count in channels:
        layers += [nn.Conv2d(before, count, 3, 2, 1), nn.GroupNorm(_GROUPS, count), nn.GELU()]
        before = count
    return nn.Sequential(*layers)
