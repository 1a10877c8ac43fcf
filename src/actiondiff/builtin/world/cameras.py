"""The camera: three named viewpoints and random ones; it pans, drifts and shakes.

The camera keeps the creature in the picture, but its own motion does not reveal the action: it follows
walking creatures only in part, drifts over standing ones, and is never still.
"""

from dataclasses import dataclass, replace

import numpy as np

from actiondiff.builtin.world.actions import CreatureMotion
from actiondiff.builtin.world.arrays import Floats
from actiondiff.errors import UnknownNameError

__all__ = ["VIEWS", "CameraPath", "View", "film", "random_view", "stand_still", "view_named", "walk_about"]

_PAN_LIMIT = 0.45  # how far the creature may run ahead of the camera's aim, creature radii
_SMALL = 0.44  # share of the picture of the diameter of a creature, which is then a fifth high
_MIDDLE = 0.5  # height that a still camera aims at, creature radii
_ASIDE = 0.8  # how far from the aim of a still camera a creature moves at most, creature radii
_NEAREST = 0.2  # smallest depth, creature radii


@dataclass(frozen=True)
class View:
    """A viewpoint, as ranges from which each clip draws its camera.

    Attributes:
        elevation: Elevation of the camera above the creature's horizon, radians.
        field: Field of view of the picture's shorter side, radians.
        fill: Share of the picture's shorter side that the creature's diameter takes up.
        shake: Size of the shake of a hand-held camera, share of the picture.
        sway: Size of the slow drift of the aim, creature radii.
    """

    elevation: tuple[float, float]
    field: tuple[float, float]
    fill: tuple[float, float]
    shake: float
    sway: float


VIEWS: dict[str, View] = {
    "side": View(elevation=(0.12, 0.38), field=(0.6, 0.9), fill=(0.8, 1.3), shake=0.012, sway=0.16),
    "top": View(elevation=(1.05, 1.4), field=(0.6, 0.9), fill=(0.8, 1.3), shake=0.012, sway=0.16),
    # A camera worn by a companion that stays close: at eye height, with a wide angle, never steady.
    "ego": View(elevation=(0.02, 0.12), field=(1.0, 1.3), fill=(0.7, 0.95), shake=0.03, sway=0.22),
}


def view_named(name: str) -> View:
    """The view of this name.

    Raises:
        UnknownNameError: If there is no view of this name.
    """
    if name not in VIEWS:
        raise UnknownNameError("view", name, VIEWS)
    return VIEWS[name]


def random_view(random: np.random.Generator) -> View:
    """A random view from anywhere above the ground, with any lens."""
    elevation, field = random.uniform(0.05, 1.35), random.uniform(0.5, 1.5)
    return View(
        (elevation, elevation),
        (field, field),
        (0.7, 1.15),
        random.uniform(0.0, 0.03),
        random.uniform(0.0, 0.25),
    )


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A camera over time. The axes of the picture are right, down and ahead.

    Attributes:
        position: (T, 3) position in the world, creature radii.
        axes: (T, 3, 3) world directions of right, down and ahead, in rows.
        focal: Focal length over the picture's shorter side.
        distance: Usual distance from the creature on the ground, creature radii.
    """

    position: Floats
    axes: Floats
    focal: float
    distance: float

    def project(self, points: Floats, height: int, width: int) -> tuple[Floats, Floats, Floats]:
        """Project world points: columns and rows (pixels; 0 is the picture's edge), and depths.

        Args:
            points: (T, N, ..., 3) positions in the world.
            height: Height of the picture, pixels.
            width: Width of the picture, pixels.
        """
        spread = (len(points),) + (1,) * (points.ndim - 2)
        offset = points - self.position.reshape(*spread, 3)
        right, down, depth = (
            sum(offset[..., axis] * self.axes[:, row, axis].reshape(spread) for axis in range(3))
            for row in range(3)
        )
        depth = np.maximum(depth, _NEAREST)
        scale = self.focal * min(height, width) / depth
        return 0.5 * width + scale * right, 0.5 * height + scale * down, depth


def film(
    view: View, motion: CreatureMotion, azimuth: float, aim_height: float, *, random: np.random.Generator
) -> CameraPath:
    """Film a creature.

    Args:
        view: Viewpoint of the camera.
        motion: Motion of the creature.
        azimuth: Direction from the creature to the camera on the ground, radians.
        aim_height: Height that the camera aims at, creature radii.
        random: Random generator of the camera.
    """
    seconds = motion.seconds
    elevation, field, fill = (random.uniform(*limits) for limits in (view.elevation, view.field, view.fill))
    distance = 1.0 / (fill * np.tan(0.5 * field))
    # The camera's own position: it follows the creature in part, and wavers around it.
    aim = _pan(motion, share=random.uniform(0.35, 1.0))
    around = azimuth + 0.12 * _waver(seconds, 0.07, random)
    level = distance * (np.cos(elevation) * (1.0 + 0.05 * _waver(seconds, 0.25, random)) + motion.retreat)
    towards = np.stack([np.cos(around), np.sin(around)], axis=1)
    height = np.full_like(seconds, aim_height + distance * np.sin(elevation))
    position = np.concatenate([aim + level[:, None] * towards, height[:, None]], axis=1)
    # The point that the camera looks at, which sways and shakes.
    target = np.concatenate([aim, aim_height + 0.4 * motion["lift"][:, None]], axis=1)
    sideways = np.stack([-np.sin(around), np.cos(around)], axis=1)
    target[:, :2] += view.sway * _waver(seconds, 0.3, random)[:, None] * sideways
    target[:, 2] += 0.6 * view.sway * _waver(seconds, 0.3, random)
    shake = view.shake / fill * distance
    target += shake * np.stack([_waver(seconds, 2.2, random) for _ in range(3)], axis=1)
    axes = _look(position, target, 2.0 * view.shake * _waver(seconds, 1.1, random))
    return CameraPath(position, axes, float(0.5 / np.tan(0.5 * field)), float(distance * np.cos(elevation)))


def stand_still(view: View, num_frames: int, azimuth: float, *, random: np.random.Generator) -> CameraPath:
    """A camera that stands still, so far off that creatures are small; it aims at the middle of the world.

    Args:
        view: Viewpoint of the camera; its own `fill`, `shake` and `sway` do not count.
        num_frames: T, number of frames.
        azimuth: Direction from the middle to the camera on the ground, radians.
        random: Random generator of the camera.
    """
    elevation, field = (random.uniform(*limits) for limits in (view.elevation, view.field))
    distance = 1.0 / (_SMALL * np.tan(0.5 * field))
    level = distance * np.cos(elevation)
    height = _MIDDLE + distance * np.sin(elevation)
    position = np.array([[level * np.cos(azimuth), level * np.sin(azimuth), height]])
    axes = _look(position, np.array([[0.0, 0.0, _MIDDLE]]), np.zeros(1))
    return CameraPath(
        np.repeat(position, num_frames, axis=0),
        np.repeat(axes, num_frames, axis=0),
        float(0.5 / np.tan(0.5 * field)),
        float(level),
    )


def walk_about(
    motion: CreatureMotion, camera: CameraPath, azimuth: float, *, random: np.random.Generator
) -> CreatureMotion:
    """Move a creature in front of a camera that stands still: somewhere else in each clip, always in view.

    A creature that approaches a camera which retreats, approaches this one by itself.
    """
    away = -camera.distance * motion.retreat[:, None] * np.array([np.cos(azimuth), np.sin(azimuth)])
    offset = motion.position - motion.position[len(motion.seconds) // 2]
    size = np.linalg.norm(offset, axis=1, keepdims=True) + 1e-9
    place = random.uniform(-_ASIDE, _ASIDE, 2)
    return replace(motion, position=place + offset / size * _ASIDE * np.tanh(size / _ASIDE) + away)


def _pan(motion: CreatureMotion, share: float) -> Floats:
    """The aim on the ground: it follows the creature by a share, and never lets it leave the picture."""
    lead = (1.0 - share) * (motion.position - motion.position[len(motion.seconds) // 2])
    size = np.linalg.norm(lead, axis=1, keepdims=True) + 1e-9
    return motion.position - lead / size * _PAN_LIMIT * np.tanh(size / _PAN_LIMIT)


def _waver(seconds: Floats, hertz: float, random: np.random.Generator) -> Floats:
    """Smooth random motion of about unit size: the sum of three sines of unrelated frequencies."""
    rates = hertz * random.uniform(0.5, 1.5, 3)
    phases = random.uniform(0.0, 1.0, 3)
    return np.sin(2 * np.pi * (rates * seconds[:, None] + phases)).sum(axis=1) / 1.5


def _look(position: Floats, target: Floats, tilt: Floats) -> Floats:
    """Axes (right, down, ahead) of a camera that looks at a target: (T, 3, 3)."""
    ahead = target - position
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(ahead, right)
    cosine, sine = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
    return np.stack([cosine * right + sine * down, cosine * down - sine * right, ahead], axis=1)
