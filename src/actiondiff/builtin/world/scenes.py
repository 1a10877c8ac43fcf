"""Scenes: five named contexts and random ones, with ground, sky, weather and things around the creature.

A context is a range, not a picture: every clip has its own light, shades of colour, patch of ground and
things around, some of them in front of the creature.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from actiondiff.builtin.world.arrays import Floats
from actiondiff.errors import UnknownNameError

__all__ = [
    "CONTEXTS",
    "Scene",
    "SceneContext",
    "Texture",
    "build_scene",
    "context_named",
    "random_context",
    "stand_about",
]

Colour: TypeAlias = tuple[float, float, float]
Texture: TypeAlias = Literal["grass", "drift", "checker", "ripples", "litter"]
Weather: TypeAlias = Literal["clear", "snow", "rain"]

_AROUND = 9.0  # side of the square in which things stand, creature radii


@dataclass(frozen=True)
class SceneContext:
    """A kind of place.

    Attributes:
        sky: Colours of the sky at the top and at the horizon.
        ground: Colours of the texture's low and high values.
        texture: Pattern of the ground.
        things: Colour of the things around.
        thing_size: Radius and height of things, creature radii.
        ambient: Light in shade, 0 to 1.
        direct: Light of the sun or lamp, 0 to 1.
        haze: Rate at which colours turn into the horizon's, per creature radius.
        weather: Snow, rain or neither.
        noise: Standard deviation of the sensor's noise, share of full white.
        vignette: Darkening towards the corners.
        flow: Speed of the ground's own movement, creature radii per second.
    """

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    texture: Texture
    things: Colour
    thing_size: tuple[float, float]
    ambient: float = 0.45
    direct: float = 0.65
    haze: float = 0.01
    weather: Weather = "clear"
    noise: float = 0.01
    vignette: float = 0.0
    flow: float = 0.0


CONTEXTS: dict[str, SceneContext] = {
    "meadow": SceneContext(
        sky=((0.40, 0.62, 0.92), (0.80, 0.88, 0.93)), ground=((0.16, 0.36, 0.10), (0.52, 0.66, 0.26)),
        texture="grass", things=(0.30, 0.24, 0.14), thing_size=(0.09, 1.3),
    ),
    "night": SceneContext(
        sky=((0.03, 0.05, 0.15), (0.13, 0.17, 0.32)), ground=((0.12, 0.17, 0.28), (0.44, 0.52, 0.66)),
        texture="litter", things=(0.14, 0.15, 0.2), thing_size=(0.1, 2.0), ambient=0.32, direct=0.5,
        noise=0.022, vignette=0.4,
    ),
    "snow": SceneContext(
        sky=((0.70, 0.74, 0.80), (0.86, 0.88, 0.91)), ground=((0.74, 0.79, 0.87), (0.97, 0.98, 1.0)),
        texture="drift", things=(0.10, 0.22, 0.16), thing_size=(0.14, 1.1), ambient=0.6, direct=0.35,
        haze=0.05, weather="snow", noise=0.015,
    ),
    "tiles": SceneContext(
        sky=((0.72, 0.62, 0.50), (0.62, 0.52, 0.42)), ground=((0.30, 0.22, 0.22), (0.88, 0.84, 0.78)),
        texture="checker", things=(0.62, 0.16, 0.14), thing_size=(0.12, 0.8), ambient=0.55, direct=0.5,
        haze=0.0,
    ),
    "water": SceneContext(
        sky=((0.30, 0.55, 0.66), (0.52, 0.74, 0.80)), ground=((0.02, 0.26, 0.42), (0.40, 0.72, 0.80)),
        texture="ripples", things=(0.34, 0.36, 0.34), thing_size=(0.24, 0.2), ambient=0.5, direct=0.5,
        haze=0.03, noise=0.012, weather="rain", flow=0.5,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scene:
    """The scene of one clip.

    Attributes:
        context: The kind of place, in the shades of this clip.
        light: (3,) unit vector towards the light, world axes.
        patch: (2,) position of the clip on the texture, creature radii.
        turn: Rotation of the texture, radians.
        things: (N, 2) positions of things, creature radii; the pattern repeats without end.
        sizes: (N, 2) radius and height of each thing, creature radii.
        flakes: (N, 4) column, row, speed and drift of each flake or drop, in [0, 1].
    """

    context: SceneContext
    light: Floats
    patch: Floats
    turn: float
    things: Floats
    sizes: Floats
    flakes: Floats


def context_named(name: str) -> SceneContext:
    """The context of this name.

    Raises:
        UnknownNameError: If there is no context of this name.
    """
    if name not in CONTEXTS:
        raise UnknownNameError("context", name, CONTEXTS)
    return CONTEXTS[name]


def random_context(random: np.random.Generator) -> SceneContext:
    """A random context: any colours, light and texture."""

    def colour(low: float, high: float) -> Colour:
        red, green, blue = random.uniform(low, high) * random.uniform(0.5, 1.0, 3)
        return float(red), float(green), float(blue)

    light = random.uniform(0.45, 1.1)
    return SceneContext(
        sky=(colour(0.1, 1.0), colour(0.1, 1.0)),
        ground=(colour(0.05, 0.6), colour(0.2, 1.0)),
        texture=random.choice(get_args(Texture)),
        things=colour(0.05, 0.9),
        thing_size=(random.uniform(0.06, 0.3), random.uniform(0.3, 1.8)),
        ambient=0.5 * light,
        direct=random.uniform(0.3, 0.8) * light,
        haze=random.choice((0.0, random.uniform(0.0, 0.06))),
        weather=random.choice(get_args(Weather), p=(0.7, 0.15, 0.15)),
        noise=random.uniform(0.0, 0.04),
        vignette=random.choice((0.0, random.uniform(0.0, 0.6))),
        flow=random.choice((0.0, random.uniform(0.0, 0.6))),
    )


def build_scene(
    context: SceneContext, azimuth: float, distance: float, *, random: np.random.Generator
) -> Scene:
    """Draw one scene of a context.

    Args:
        context: The kind of place.
        azimuth: Direction from the creature to the camera on the ground, radians.
        distance: Distance of the camera on the ground, creature radii.
        random: Random generator of the scene.
    """
    gain, tint = random.uniform(0.8, 1.15), random.uniform(0.92, 1.08, 3)

    def shade(colour: Colour) -> Colour:
        red, green, blue = np.clip(np.array(colour) * gain * tint, 0.0, 1.0)
        return float(red), float(green), float(blue)

    shaded = replace(
        context,
        sky=(shade(context.sky[0]), shade(context.sky[1])),
        ground=(shade(context.ground[0]), shade(context.ground[1])),
        things=shade(context.things),
        direct=context.direct * random.uniform(0.75, 1.25),
    )
    count = int(random.integers(2, 6))
    things = random.uniform(-0.5 * _AROUND, 0.5 * _AROUND, (count, 2))
    if random.uniform() < 0.35:  # one thing stands between the camera and the creature
        along, aside = random.uniform(0.3, 0.6) * distance, random.uniform(-0.5, 0.5)
        things[0] = (
            along * np.cos(azimuth) - aside * np.sin(azimuth),
            along * np.sin(azimuth) + aside * np.cos(azimuth),
        )
    bearing, rise = random.uniform(0.0, 2 * np.pi), random.uniform(0.7, 1.3)
    return Scene(
        context=shaded,
        light=np.array([np.cos(rise) * np.cos(bearing), np.cos(rise) * np.sin(bearing), np.sin(rise)]),
        patch=random.uniform(0.0, 10.0, 2),
        turn=random.uniform(0.0, 2 * np.pi),
        things=things,
        sizes=np.array(context.thing_size) * random.uniform(0.6, 1.3, (count, 2)),
        flakes=random.uniform(0.0, 1.0, (40, 4)),
    )


def stand_about(scene: Scene, around: Floats) -> tuple[Floats, Floats]:
    """Things near the creature: ends (T, N, 2, 3) and radii (T, N, 2) of upright capsules.

    The same few things repeat in every square of the ground, so that a walking creature never leaves them
    behind.

    Args:
        scene: The scene.
        around: (T, 2) position of the creature on the ground.
    """
    offset = scene.things - around[:, None, :]
    near = around[:, None, :] + (offset + 0.5 * _AROUND) % _AROUND - 0.5 * _AROUND  # (T, N, 2)
    radius, height = scene.sizes.T
    foot = np.concatenate([near, np.zeros_like(near[..., :1])], axis=-1)
    top = foot + height[:, None] * np.array([0.0, 0.0, 1.0])
    radii = np.stack([radius, 0.8 * radius], axis=-1)
    return np.stack([foot, top], axis=2), np.broadcast_to(radii, (len(around), *radii.shape))
