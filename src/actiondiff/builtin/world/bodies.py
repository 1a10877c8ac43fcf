"""Who is there: eight named bodies, a random morphospace, and the colours of an individual."""

import colorsys
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from actiondiff.errors import UnknownNameError

__all__ = ["BODIES", "Body", "Coat", "body_named", "random_body", "random_coat", "vary"]


@dataclass(frozen=True)
class Body:
    """Proportions of a creature. Lengths are in torso lengths, angles in radians.

    Attributes:
        height: Height of the spine above the ground.
        girth: Radius of the torso at the rear, the middle and the front.
        segments: Number of capsules of the torso.
        tilt: Nose-up angle of the torso at rest.
        undulation: How far the spine bends sideways in motion.
        curl: How far the spine is bent at rest.
        waves: Number of waves along the spine.
        neck, neck_angle, neck_radius: Length, angle above the horizontal and radius of the neck.
        head, head_radius, snout, ears: Length and radius of the head, and lengths of the snout (a beak,
            muzzle or proboscis) and of the ears.
        tail, tail_radius, tail_angle, tail_fin: Length, radius and angle of the tail, and length of the fin
            at its end.
        legs: Position of each pair of legs along the torso, from 0 (rear) to 1 (front).
        stance: Lateral distance of the feet from the middle.
        leg_radius: Radius of the legs at the hip.
        slack: Leg length over the distance from hip to foot; large values make high knees.
        knee: Direction in which the knees point.
        wings, crest: Lengths of the wings (or pectoral fins) and of a dorsal fin.
        horny: Whether the snout is a beak, with a colour of its own.
        stripes: Number of bands along each part.
    """

    height: float
    girth: tuple[float, float, float]
    segments: int = 3
    tilt: float = 0.0
    undulation: float = 0.0
    curl: float = 0.0
    waves: float = 0.6
    neck: float = 0.2
    neck_angle: float = 0.6
    neck_radius: float = 0.12
    head: float = 0.2
    head_radius: float = 0.15
    snout: float = 0.1
    ears: float = 0.0
    tail: float = 0.4
    tail_radius: float = 0.06
    tail_angle: float = 0.3
    tail_fin: float = 0.0
    legs: tuple[float, ...] = (0.08, 0.92)
    stance: float = 0.16
    leg_radius: float = 0.07
    slack: float = 1.06
    knee: Literal["along", "out"] = "along"
    wings: float = 0.0
    crest: float = 0.0
    horny: bool = False
    stripes: float = 1.0


BODIES: dict[str, Body] = {
    "dog": Body(
        height=0.72, girth=(0.19, 0.2, 0.24), neck=0.22, neck_angle=0.75, neck_radius=0.14, head=0.16,
        head_radius=0.19, snout=0.24, ears=0.2, tail=0.5, tail_angle=0.7, leg_radius=0.085,
    ),
    "lizard": Body(
        height=0.28, girth=(0.16, 0.22, 0.17), segments=4, undulation=0.32, neck=0.12, neck_angle=0.25,
        head=0.2, head_radius=0.17, snout=0.14, tail=0.8, tail_radius=0.14, tail_angle=-0.05,
        legs=(0.1, 0.85), stance=0.5, leg_radius=0.075, slack=1.2, knee="out", stripes=3.0,
    ),
    "bird": Body(
        height=0.8, girth=(0.14, 0.36, 0.22), tilt=0.4, neck=0.3, neck_angle=1.0, neck_radius=0.13,
        head=0.1, head_radius=0.19, snout=0.34, tail=0.5, tail_radius=0.12, tail_angle=0.1, legs=(0.5,),
        stance=0.18, leg_radius=0.055, slack=1.1, wings=0.75, horny=True, stripes=0.0,
    ),
    "beetle": Body(
        height=0.36, girth=(0.3, 0.42, 0.3), segments=2, neck=0.04, neck_angle=0.0, neck_radius=0.2,
        head=0.08, head_radius=0.19, snout=0.02, ears=0.42, tail=0.0, legs=(0.15, 0.5, 0.9), stance=0.72,
        leg_radius=0.055, slack=1.3, knee="out", wings=0.4, stripes=1.5,
    ),
    "giraffe": Body(
        height=1.35, girth=(0.24, 0.26, 0.3), neck=1.25, neck_angle=1.1, neck_radius=0.15, head=0.18,
        head_radius=0.14, snout=0.22, ears=0.16, tail=0.5, tail_radius=0.04, tail_angle=-0.9, stance=0.2,
        leg_radius=0.085, stripes=4.0,
    ),
    "snake": Body(
        height=0.07, girth=(0.03, 0.065, 0.06), segments=12, undulation=0.2, curl=0.075, waves=1.4,
        neck=0.12, neck_angle=0.9, neck_radius=0.055, head=0.05, head_radius=0.075, snout=0.05, tail=0.0,
        legs=(), stripes=1.0,
    ),
    "spider": Body(
        height=0.5, girth=(0.36, 0.2, 0.2), segments=2, neck=0.02, neck_angle=0.0, neck_radius=0.18,
        head=0.06, head_radius=0.18, snout=0.1, tail=0.0, legs=(0.5, 0.65, 0.8, 0.95), stance=1.0,
        leg_radius=0.06, slack=1.5, knee="out", stripes=2.0,
    ),
    "fish": Body(
        height=0.6, girth=(0.07, 0.3, 0.2), segments=5, undulation=0.3, waves=0.7, neck=0.02,
        neck_angle=0.0, neck_radius=0.18, head=0.1, head_radius=0.19, snout=0.06, tail=0.22,
        tail_radius=0.06, tail_angle=0.0, tail_fin=0.34, legs=(), wings=0.34, crest=0.3, stripes=2.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Coat:
    """Colours of one individual, each (r, g, b) in [0, 1], and the contrast of its stripes."""

    base: tuple[float, float, float]
    accent: tuple[float, float, float]
    limbs: tuple[float, float, float]
    horn: tuple[float, float, float]
    contrast: float


def body_named(name: str) -> Body:
    """The body of this name.

    Raises:
        UnknownNameError: If there is no body of this name.
    """
    if name not in BODIES:
        raise UnknownNameError("body", name, BODIES)
    return BODIES[name]


def vary(body: Body, random: np.random.Generator, spread: float = 0.08) -> Body:
    """An individual of a species: every length, radius and angle differs from the body by a few per cent."""
    numbers = {
        field.name: value * float(np.exp(spread * random.standard_normal()))
        for field in fields(body)
        if isinstance(value := getattr(body, field.name), float)
    }
    girth = tuple(radius * float(np.exp(spread * random.standard_normal())) for radius in body.girth)
    return replace(body, girth=girth, **numbers)  # type: ignore[arg-type]


def random_body(random: np.random.Generator) -> Body:
    """A random body: from no legs to four pairs of them, and every part long or short."""

    def draw(low: float, high: float, chance: float = 1.0) -> float:
        return float(random.uniform(low, high)) if random.uniform() < chance else 0.0

    pairs = int(random.choice(5, p=(0.2, 0.15, 0.35, 0.15, 0.15)))
    sprawling = pairs > 2 or random.uniform() < 0.4
    slender = pairs == 0 and random.uniform() < 0.5
    thick = draw(0.05, 0.1) if slender else draw(0.15, 0.4)
    tall = draw(0.2, 0.5) if sprawling else draw(0.45, 1.4)
    return Body(
        height=thick if slender else max(tall, 1.1 * thick),
        girth=(thick * draw(0.3, 1.1), thick, thick * draw(0.6, 1.1)),
        segments=10 if slender else int(random.integers(2, 5)),
        tilt=draw(0.0, 0.5, 0.3),
        undulation=draw(0.1, 0.3) if sprawling or pairs == 0 else 0.0,
        curl=draw(0.0, 0.08) if slender else 0.0,
        waves=draw(0.9, 1.5) if slender else draw(0.4, 0.8),
        neck=draw(0.05, 0.5) if random.uniform() < 0.7 else draw(0.5, 1.2),
        neck_angle=draw(0.0, 1.2),
        neck_radius=thick * draw(0.4, 0.8),
        head=draw(0.05, 0.25),
        head_radius=thick * draw(0.6, 1.1),
        snout=draw(0.02, 0.35),
        ears=draw(0.1, 0.4, 0.4),
        tail=draw(0.2, 1.2, 0.7),
        tail_radius=thick * draw(0.2, 0.6),
        tail_angle=draw(-0.8, 0.8),
        tail_fin=draw(0.15, 0.4, 0.2),
        legs=tuple(np.linspace(draw(0.05, 0.4), 0.92, pairs).tolist()) if pairs != 1 else (0.5,),
        stance=draw(0.4, 1.1) if sprawling else draw(0.8, 1.3) * thick,
        leg_radius=draw(0.045, 0.1),
        slack=draw(1.1, 1.5) if sprawling else draw(1.03, 1.2),
        knee="out" if sprawling else "along",
        wings=draw(0.2, 0.8, 0.3),
        crest=draw(0.1, 0.3, 0.2),
        horny=bool(random.uniform() < 0.4),
        stripes=draw(1.0, 4.0, 0.6),
    )


def random_coat(random: np.random.Generator) -> Coat:
    """Random colours of an individual."""
    hue, saturation, value = random.uniform(), random.uniform(0.25, 0.85), random.uniform(0.35, 0.95)

    def shade(shift: float, more: float, light: float) -> tuple[float, float, float]:
        return colorsys.hsv_to_rgb((hue + shift) % 1.0, min(1.0, saturation * more), min(1.0, value * light))

    return Coat(
        base=shade(0.0, 1.0, 1.0),
        accent=shade(random.uniform(-0.2, 0.2), 0.8, random.choice((0.45, 1.6))),
        limbs=shade(random.uniform(-0.05, 0.05), 1.0, random.uniform(0.55, 0.9)),
        horn=colorsys.hsv_to_rgb(
            random.uniform(0.05, 0.14), random.uniform(0.4, 0.9), random.uniform(0.5, 0.95)
        ),
        contrast=random.uniform(0.3, 1.0),
    )
