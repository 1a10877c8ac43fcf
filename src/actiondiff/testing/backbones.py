"""Checks that every backbone must pass."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from actiondiff.backbones.base import Backbone, WindowBatch
from actiondiff.backbones.engine.run import extract_in_order, feature_keys
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.errors import ActionDiffError, UnknownNameError, UsageError
from actiondiff.provenance import canonical_json
from actiondiff.testing.expecting import expect
from actiondiff.types import FeatureKey, Features, Frames

__all__ = [
    "BACKBONE_CHECKS",
    "check_backbone",
    "check_description",
    "check_inputs_matter",
    "check_maps",
    "check_names",
    "check_same_bits",
    "check_shapes",
    "check_times",
    "sample_video",
]

_RAW_STRIDE = 4  # raw frames per sampled frame of the sample videos
_RATE = 6.25  # sampled frames per second of the sample videos
_TOLERANCE = 1e-4  # difference between two ways of pooling, relative to the largest value


def sample_video(num_frames: int, *, seed: int = 0, height: int = 44, width: int = 60) -> Frames:
    """A video of coloured noise, with times and raw indices as if every fourth frame had been sampled."""
    pixels = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    index = np.arange(num_frames) * _RAW_STRIDE
    return Frames(pixels, seconds=np.arange(num_frames) / _RATE, frame_index=index)


def check_backbone(backbone: Backbone) -> None:
    """Run all checks of a backbone.

    Raises:
        AssertionError: If one fails; the message says how.
    """
    for check in BACKBONE_CHECKS:
        check(backbone)


def check_description(backbone: Backbone) -> None:
    """Check that the backbone's attributes are consistent, and that its settings can be stored."""
    expect(
        backbone.spec.layer in backbone.taps, f"its own layer {backbone.spec.layer} is not one of its taps"
    )
    expect(len(set(backbone.taps)) == len(backbone.taps), f"several taps have the same name: {backbone.taps}")
    expect(
        0 <= backbone.spec.timestep < backbone.num_timesteps,
        f"its own timestep {backbone.spec.timestep} is not below {backbone.num_timesteps}",
    )
    for key in feature_keys(backbone, None, backbone.taps):
        expect(FeatureKey.parse(str(key)) == key, f"{key} cannot be stored under its name")
    settings = backbone.settings
    stored = canonical_json(settings)
    expect(stored == canonical_json(backbone.settings), "its settings change from one reading to the next")
    expect(settings.get("name") == backbone.spec.name, "its settings lack its name")
    for name in ("window", "padding", "batch", "threads", "dtype"):
        expect(name in settings, f"its settings lack {name}, on which features depend")
    expect("device" not in settings, "its settings name the device, which may change")


def check_shapes(backbone: Backbone) -> None:
    """Check that `preprocess` and `maps` return B windows of L / tubelet steps each."""
    length = _length(backbone)
    expect(length % backbone.tubelet == 0, f"its window of {length} is no multiple of {backbone.tubelet}")
    video = sample_video(length)
    pixels = backbone.preprocess(torch.from_numpy(video.pixels))
    expect(
        pixels.dtype == torch.float32 and pixels.shape[:2] == (length, 3) and pixels.ndim == 4,
        f"preprocess returns {tuple(pixels.shape)} {pixels.dtype}",
    )
    windows = WindowBatch(torch.stack([pixels, pixels]), (length, 1), (video.identity,) * 2, (0, 0))
    keys = feature_keys(backbone, None, backbone.taps)
    outputs = backbone.maps(windows, keys)
    expect(set(outputs) == set(keys), f"maps returns {sorted(map(str, outputs))} where {keys} were requested")
    for key, values in outputs.items():
        expect(
            values.ndim == 5 and values.shape[:2] == (2, length // backbone.tubelet),
            f"{key} is {tuple(values.shape)} for 2 windows of {length} frames, {backbone.tubelet} per step",
        )


def check_times(backbone: Backbone) -> None:
    """Check that each step with a frame that is no padding gives one token, with its first frame's time."""
    length, tubelet = _length(backbone), backbone.tubelet
    widths = set()
    for count in sorted({1, tubelet + 1, length, length + 1, 2 * length + tubelet + 1}):
        video = sample_video(count)
        features = backbone.extract(video)
        expected = [p for p in range(count) if p % length % tubelet == 0]
        what = f"of {count} frames (window {length}, tubelet {tubelet})"
        expect(
            features.frame_index.tolist() == [p * _RAW_STRIDE for p in expected],
            f"frame_index {what} is {features.frame_index.tolist()}, not {_RAW_STRIDE} times {expected}",
        )
        expect(
            features.seconds is not None and np.array_equal(features.seconds, np.array(expected) / _RATE),
            f"seconds {what} are {features.seconds}",
        )
        tokens = _own(backbone, features)
        expect(tokens.ndim == 2 and len(tokens) == len(expected), f"tokens {what} are {tokens.shape}")
        expect(tokens.dtype == np.float32, f"tokens {what} are {tokens.dtype}")
        widths.add(tokens.shape[1])
    expect(len(widths) == 1, f"the tokens' width depends on the number of frames: {widths}")


def check_maps(backbone: Backbone) -> None:
    """Check that tokens are the spatial means of maps, and that further taps change no bit of them."""
    video = sample_video(_length(backbone) + 1)
    features = backbone.extract(video, layers=backbone.taps, maps=True)
    for key, tokens in features.tokens.items():
        maps = features.maps[key]
        expect(maps.ndim == 4 and maps.shape[:2] == tokens.shape, f"maps of {key} are {maps.shape}")
        expect(bool(np.isfinite(tokens).all()), f"{key} is not finite")
        error = float(np.abs(maps.mean((-2, -1)) - tokens).max() / max(float(np.abs(tokens).max()), 1e-6))
        expect(error < _TOLERANCE, f"the mean of {key}'s maps differs from its tokens by {error:.1e}")
    alone = _own(backbone, backbone.extract(video))
    expect(np.array_equal(alone, _own(backbone, features)), "tokens change if other taps are requested too")


def check_same_bits(backbone: Backbone) -> None:
    """Check that a video gives the same bits again, together with any other videos, in any order."""
    length = _length(backbone)
    videos = [sample_video(count, seed=count) for count in (length, 2 * length + 1, 1)]
    alone = {video.identity: _own(backbone, backbone.extract(video)) for video in videos}
    keys = feature_keys(backbone, None, None)
    orders: Sequence[list[Frames]] = (videos, videos[::-1])
    for order in orders:
        readers = [FrameSequence([video]) for video in order]
        for video, (_, features) in zip(order, extract_in_order(backbone, readers, keys), strict=True):
            tokens = None if features is None else _own(backbone, features)
            same = tokens is not None and np.array_equal(tokens, alone[video.identity])
            expect(same, f"the tokens of a video of {len(video)} frames depend on its neighbours")


def check_inputs_matter(backbone: Backbone) -> None:
    """Check that videos differ, that tokens of black frames are finite, and that no frames are an error."""
    count = _length(backbone)
    one, other = (_own(backbone, backbone.extract(sample_video(count, seed=seed))) for seed in (1, 2))
    expect(not np.array_equal(one, other), "two videos have the same tokens")
    black = Frames(np.zeros((count, 40, 40, 3), np.uint8))
    features = backbone.extract(black)
    expect(bool(np.isfinite(_own(backbone, features)).all()), "tokens of black frames are not finite")
    expect(features.seconds is None, "features have times although the video has none")
    _refuses(UsageError, lambda: backbone.extract(black[0:0]), "a video without frames")


def check_names(backbone: Backbone) -> None:
    """Check that layers and timesteps that do not exist are refused."""
    video = sample_video(1)
    beyond = backbone.num_timesteps
    _refuses(UnknownNameError, lambda: backbone.extract(video, layers=["no-such-layer"]), "an unknown layer")
    _refuses(UsageError, lambda: backbone.extract(video, timesteps=[beyond]), f"timestep {beyond}")
    _refuses(UsageError, lambda: backbone.extract(video, timesteps=[-1]), "timestep -1")


BACKBONE_CHECKS: tuple[Callable[[Backbone], None], ...] = (
    check_description,
    check_shapes,
    check_times,
    check_maps,
    check_same_bits,
    check_inputs_matter,
    check_names,
)
"""All checks of a backbone."""


def _length(backbone: Backbone) -> int:
    return int(backbone.options.window or 1)


def _own(backbone: Backbone, features: Features) -> NDArray[np.float32]:
    """Tokens of the backbone's own timestep and layer."""
    return features[backbone.spec.timestep, backbone.spec.layer]


def _refuses(error: type[ActionDiffError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} is not refused with {error.__name__}")
