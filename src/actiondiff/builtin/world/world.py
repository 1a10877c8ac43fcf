"""Renders videos of the procedural world.

A specification determines a clip: the same specification gives the same pixels, in any process and at any
time. Each random stream (body, coat, motion, camera, place, noise) is seeded by a seed of the specification
and the stream's own name. Two specifications that differ only in their context therefore show the same
creature, with the same motion, from the same camera.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from actiondiff.builtin.world.actions import ACTIONS, Action, Segment, act
from actiondiff.builtin.world.anatomy import Capsules, middle_height, no_capsules, pose
from actiondiff.builtin.world.backdrop import develop, let_fall, paint_backdrop
from actiondiff.builtin.world.bodies import BODIES, Body, body_named, random_body, random_coat, vary
from actiondiff.builtin.world.cameras import (
    VIEWS,
    CameraPath,
    View,
    film,
    random_view,
    stand_still,
    view_named,
    walk_about,
)
from actiondiff.builtin.world.render import bounding_boxes, paint_creature
from actiondiff.builtin.world.scenes import (
    CONTEXTS,
    Scene,
    SceneContext,
    build_scene,
    context_named,
    random_context,
)
from actiondiff.errors import UnknownNameError, UsageError

__all__ = [
    "CLIP_FRAMES",
    "FPS",
    "RANDOM",
    "ClipSpec",
    "EmptySpec",
    "RenderedClip",
    "VideoSpec",
    "actors",
    "generator",
    "render_clip",
    "render_empty",
    "render_video",
    "world_hash",
]

RANDOM = "random"
"""As the name of a body, context or view: one that is drawn at random by the specification's seeds."""
CLIP_FRAMES = 64
FPS = 25.0
_CHUNK_PIXELS = 1 << 16  # pixels painted together; more do not fit the processor's cache


@dataclass(frozen=True)
class ClipSpec:
    """One clip with one action.

    Attributes:
        body: Name of a body, or `random`.
        action: Name of an action.
        context: Name of a context, or `random`.
        view: Name of a view, or `random`.
        seed: Seed of motion, camera, scene and noise.
        individual: Seed of the creature's proportions and colours; clips that share it show the same
            creature.
        camera: Seed of a camera that stands still, and of its place; the creature is then small. None for a
            camera that follows the creature, at a place of the clip's own.
    """

    body: str
    action: Action
    context: str
    view: str
    seed: int
    individual: int = 0
    camera: int | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise UnknownNameError("action", self.action, ACTIONS)


@dataclass(frozen=True)
class VideoSpec:
    """A video of one creature that performs one action after the other.

    Attributes:
        body: Name of a body, or `random`.
        segments: Actions in time order without gaps, the first from 0.
        context: Name of a context, or `random`.
        view: Name of a view, or `random`.
        seed: Seed of motion, camera, scene and noise.
        individual: Seed of the creature's proportions and colours.
        camera: See `ClipSpec`.
    """

    body: str
    segments: tuple[Segment, ...]
    context: str
    view: str
    seed: int
    individual: int = 0
    camera: int | None = None

    @property
    def duration_seconds(self) -> float:
        """Time at which the last action ends."""
        return self.segments[-1].end_seconds


@dataclass(frozen=True)
class EmptySpec:
    """One clip without any creature, of a camera that stands still.

    Attributes:
        context: Name of the camera's context.
        view: Name of the camera's view.
        camera: Seed of the camera, and of its place; see `ClipSpec`.
        seed: Seed of the noise.
    """

    context: str
    view: str
    camera: int
    seed: int


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """A rendered video.

    Attributes:
        pixels: (T, H, W, 3) uint8, RGB.
        boxes: (T, 4) float32, x0, y0, x1, y1 around the creature in pixels, clipped to the picture; pixel i
            covers [i, i + 1). Divide by W, H, W, H for shares of the picture.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def generator(seed: int, *identity: str) -> np.random.Generator:
    """A random generator for a seed and a purpose; it is the same in every process."""
    digest = hashlib.sha256("/".join(identity).encode()).digest()
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(digest[:16], "big")]))
    )


def render_clip(
    spec: ClipSpec, *, num_frames: int = CLIP_FRAMES, fps: float = FPS, height: int = 64, width: int = 64
) -> RenderedClip:
    """Render a clip.

    The motion is a function of continuous time: with a quarter of the frames at a quarter of the rate, the
    creature is seen at the same moments.

    Args:
        spec: Specification of the clip.
        num_frames: T, number of frames.
        fps: Frames per second.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Raises:
        UsageError: If there are no frames or pixels, or the rate is not above 0.
        UnknownNameError: If a body, context or view is unknown.
    """
    _check(num_frames, fps, height, width)
    segments = (Segment(spec.action, 0.0, num_frames / fps),)
    whole = VideoSpec(spec.body, segments, spec.context, spec.view, spec.seed, spec.individual, spec.camera)
    return _render(whole, np.arange(num_frames) / fps, height, width)


def render_video(spec: VideoSpec, *, fps: float = FPS, height: int = 64, width: int = 64) -> RenderedClip:
    """Render a video of several actions to its end.

    Args:
        spec: Specification of the video.
        fps: Frames per second.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Raises:
        UsageError: If there are no frames or pixels, or the rate is not above 0.
        UnknownNameError: If a body, context or view is unknown.
    """
    num_frames = round(spec.duration_seconds * fps)
    _check(num_frames, fps, height, width)
    return _render(spec, np.arange(num_frames) / fps, height, width)


def render_empty(
    spec: EmptySpec,
    *,
    num_frames: int = CLIP_FRAMES,
    fps: float = FPS,
    height: int = 64,
    width: int = 64,
) -> NDArray[np.uint8]:
    """Render what a camera that stands still sees where there is no creature: (T, H, W, 3) uint8, RGB.

    Args:
        spec: Specification of the clip.
        num_frames: T, number of frames.
        fps: Frames per second.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Raises:
        UsageError: If there are no frames or pixels, or the rate is not above 0.
        UnknownNameError: If a context or view is unknown.
    """
    _check(num_frames, fps, height, width)
    scene, camera, _ = _place(spec.context, spec.view, spec.camera, num_frames)
    seconds = np.arange(num_frames) / fps
    return _paint(scene, camera, no_capsules(num_frames), np.zeros((num_frames, 2)), seconds, (height, width),
                  noise=generator(spec.seed, "noise"))  # fmt: skip


def actors(spec: ClipSpec | VideoSpec) -> tuple[Body, SceneContext, View]:
    """The body, context and view of a specification; random ones are drawn."""
    return _body(spec), _context(spec), _view(spec)


def world_hash(*, still: bool = False) -> str:
    """sha256 (hex) over small reference clips: every body with every action, all contexts and views in turn.

    It changes with anything that changes the look of a clip, and is recorded beside whatever is made with the
    world. It may differ between machines whose floating-point functions round differently.

    Args:
        still: Whether the cameras stand still, and the creatures are small.
    """
    digest = hashlib.sha256()
    settings = tuple(product(CONTEXTS, VIEWS))
    for index, (body, action) in enumerate(product(BODIES, ACTIONS)):
        context, view = settings[index % len(settings)]
        clip = render_clip(
            ClipSpec(body, action, context, view, index, index, index % 7 if still else None),
            num_frames=4,
            fps=5,
            height=32,
            width=32,
        )
        digest.update(clip.pixels.tobytes())
    return digest.hexdigest()


def _check(num_frames: int, fps: float, height: int, width: int) -> None:
    if num_frames < 1 or height < 1 or width < 1 or not fps > 0:
        raise UsageError(
            f"a clip needs frames, pixels and a rate above 0; got {num_frames} frames of {height} x {width} "
            f"pixels at {fps} fps."
        )


def _render(spec: VideoSpec, seconds: NDArray[np.float64], height: int, width: int) -> RenderedClip:
    # Everything but the pixels is known for the whole video at once.
    if spec.camera is not None:
        return _render_still(spec, spec.camera, seconds, height, width)
    body, view = _body(spec), _view(spec)
    azimuth = float(generator(spec.seed, "azimuth").uniform(0.0, 2 * np.pi))
    motion = act(spec.segments, seconds, azimuth, random=generator(spec.seed, "motion"))
    capsules = pose(body, motion, random_coat(generator(spec.individual, "coat")))
    camera = film(view, motion, azimuth, middle_height(body), random=generator(spec.seed, "camera"))
    scene = build_scene(_context(spec), azimuth, camera.distance, random=generator(spec.seed, "place"))
    pixels = _paint(scene, camera, capsules, motion.position, seconds, (height, width),
                    noise=generator(spec.seed, "noise"))  # fmt: skip
    return RenderedClip(pixels, bounding_boxes(capsules, camera, height, width))


def _render_still(
    spec: VideoSpec, number: int, seconds: NDArray[np.float64], height: int, width: int
) -> RenderedClip:
    """Render what a camera sees that stands still; its place is the same in all of its videos."""
    body = _body(spec)
    scene, camera, azimuth = _place(spec.context, spec.view, number, len(seconds))
    motion = act(spec.segments, seconds, azimuth, random=generator(spec.seed, "motion"))
    motion = walk_about(motion, camera, azimuth, random=generator(spec.seed, "position"))
    capsules = pose(body, motion, random_coat(generator(spec.individual, "coat")))
    pixels = _paint(scene, camera, capsules, np.zeros_like(motion.position), seconds, (height, width),
                    noise=generator(spec.seed, "noise"))  # fmt: skip
    return RenderedClip(pixels, bounding_boxes(capsules, camera, height, width))


def _place(context: str, view: str, number: int, num_frames: int) -> tuple[Scene, CameraPath, float]:
    """The place of a camera that stands still, the camera, and its direction from the middle in radians."""
    azimuth = float(generator(number, "azimuth").uniform(0.0, 2 * np.pi))
    camera = stand_still(view_named(view), num_frames, azimuth, random=generator(number, "still camera"))
    scene = build_scene(context_named(context), azimuth, camera.distance, random=generator(number, "place"))
    return scene, camera, azimuth


def _paint(
    scene: Scene,
    camera: CameraPath,
    capsules: Capsules,
    around: NDArray[np.float64],
    seconds: NDArray[np.float64],
    size: tuple[int, int],
    *,
    noise: np.random.Generator,
) -> NDArray[np.uint8]:
    """Paint the frames of a video: (T, H, W, 3). `around` (T, 2) is where things stand about."""
    height, width = size
    # Pixels are painted in chunks that fit the processor's cache.
    pixels = np.empty((len(seconds), height, width, 3), np.uint8)
    for span in _chunks(len(seconds), height * width):
        here = replace(camera, position=camera.position[span], axes=camera.axes[span])
        canvas = paint_backdrop(scene, here, seconds[span], height, width)
        creature = replace(capsules, ends=capsules.ends[span], radii=capsules.radii[span])
        paint_creature(canvas, creature, around[span], here, scene)
        let_fall(canvas, scene, seconds[span])
        pixels[span] = develop(canvas, scene, noise)
    return pixels


def _chunks(num_frames: int, pixels_per_frame: int) -> Iterator[slice]:
    size = max(1, _CHUNK_PIXELS // pixels_per_frame)
    return (slice(start, min(start + size, num_frames)) for start in range(0, num_frames, size))


def _body(spec: ClipSpec | VideoSpec) -> Body:
    random = generator(spec.individual, "body")
    return random_body(random) if spec.body == RANDOM else vary(body_named(spec.body), random)


def _context(spec: ClipSpec | VideoSpec) -> SceneContext:
    return (
        random_context(generator(spec.seed, "context"))
        if spec.context == RANDOM
        else context_named(spec.context)
    )


def _view(spec: ClipSpec | VideoSpec) -> View:
    return random_view(generator(spec.seed, "view")) if spec.view == RANDOM else view_named(spec.view)
