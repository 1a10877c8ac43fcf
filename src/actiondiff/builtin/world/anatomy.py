"""Builds a moving body from capsules.

Lengths are in torso lengths until the whole creature is scaled to radius 1, so that a giraffe and a beetle
fill a picture equally. Axes: x forward, y left, z up; the ground is z = 0.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actiondiff.builtin.world.actions import CHANNELS, CreatureMotion
from actiondiff.builtin.world.arrays import Floats
from actiondiff.builtin.world.bodies import Body, Coat

__all__ = ["Capsules", "middle_height", "no_capsules", "pose"]

_EYE = (0.03, 0.03, 0.04)
_STRIPED = {"torso": 1.0, "neck": 0.7, "tail": 0.5}  # share of the body's stripes a part has


@dataclass(frozen=True, eq=False)
class Capsules:
    """Tapered capsules over time.

    Attributes:
        ends: (T, N, 2, 3) positions of both ends, creature radii, world axes.
        radii: (T, N, 2) radius at each end.
        colours: (N, 3) in [0, 1].
        accents: (N, 3) colour of the stripes.
        stripes: (N,) number of stripes along the capsule; 0 for none.
        casts: (N,) bool, whether the capsule casts a shadow on the ground.
    """

    ends: Floats
    radii: Floats
    colours: Floats
    accents: Floats
    stripes: Floats
    casts: NDArray[np.bool_]


def pose(body: Body, motion: CreatureMotion, coat: Coat) -> Capsules:
    """Capsules of a body in motion, scaled to radius 1 and placed in the world."""
    extent = _extent(body)
    scale = 1.0 / extent.radius
    skeleton = _Skeleton(body, motion)
    ends = scale * (skeleton.ends() - np.array([extent.middle[0], 0.0, 0.0]))
    cosine, sine = np.cos(motion.yaw)[:, None, None], np.sin(motion.yaw)[:, None, None]
    position = motion.position[:, None, None, :]
    world = np.stack(
        [
            ends[..., 0] * cosine - ends[..., 1] * sine + position[..., 0],
            ends[..., 0] * sine + ends[..., 1] * cosine + position[..., 1],
            ends[..., 2] + motion["lift"][:, None, None],
        ],
        axis=-1,
    )
    palette = {"leg": coat.limbs, "ear": coat.limbs, "wing": coat.accent, "fin": coat.accent,
               "snout": coat.horn if body.horny else coat.limbs, "eye": _EYE}  # fmt: skip
    base, accent = np.array(coat.base), np.array(coat.accent)
    return Capsules(
        ends=world,
        radii=scale * skeleton.radii(),
        colours=np.array([palette.get(part, coat.base) for part in skeleton.parts]),
        accents=np.tile(base + coat.contrast * (accent - base), (len(skeleton.parts), 1)),
        stripes=np.array([body.stripes * _STRIPED.get(part, 0.0) for part in skeleton.parts]),
        casts=np.array([part == "torso" for part in skeleton.parts]),
    )


def no_capsules(num_frames: int) -> Capsules:
    """The capsules of nothing, over a number of frames."""
    colours = np.zeros((0, 3))
    return Capsules(
        np.zeros((num_frames, 0, 2, 3)), np.zeros((num_frames, 0, 2)), colours, colours, np.zeros(0),
        np.zeros(0, bool),
    )  # fmt: skip


def middle_height(body: Body) -> float:
    """Height above the ground of the middle of a body at rest, creature radii."""
    extent = _extent(body)
    return extent.middle[2] / extent.radius


class _Extent(NamedTuple):
    radius: float
    middle: tuple[float, float, float]


@lru_cache(maxsize=4096)
def _extent(body: Body) -> _Extent:
    """Radius and middle (x, y, z) of a body at rest, in torso lengths."""
    zero = np.zeros(1)
    rest = CreatureMotion(zero, np.zeros((1, 2)), zero, zero, zero, dict.fromkeys(CHANNELS, zero))
    points = _Skeleton(body, rest).ends().reshape(-1, 3)
    low, high = points.min(axis=0), points.max(axis=0)
    x, y, z = (0.5 * (low + high)).tolist()
    return _Extent(float(0.5 * np.linalg.norm(high - low)) + 0.5 * max(body.girth), (x, y, z))


class _Skeleton:
    """A body in its pose, in its own frame and in torso lengths; parts are added as they are built.

    Points are (T, 3). Torso, head, tail and wings are built in the spine's frame, which pitches and rolls;
    feet stand on level ground.
    """

    def __init__(self, body: Body, motion: CreatureMotion) -> None:
        self.body = body
        self.motion = motion
        self.parts: list[str] = []
        self._ends: list[tuple[Floats, Floats]] = []
        self._radii: list[tuple[Floats | float, Floats | float]] = []
        self._shoulder = body.height + 0.5 * float(np.sin(body.tilt))
        self._to_mouth = body.neck + body.head + body.snout
        bow = float(np.clip(1.0 - self._to_mouth / max(self._shoulder, 1e-6), 0.0, 0.55))
        self._pitch = body.tilt + motion["pitch"] - motion["reach"] * bow
        self._turns = [(np.cos(angle), np.sin(angle)) for angle in (motion["roll"], self._pitch)]
        self._height = body.height * (1.0 + motion["bob"])
        self._spine_points: dict[float, Floats] = {}
        self._torso()
        self._head()
        if body.tail > 0:
            self._tail()
        if body.wings > 0:
            self._wings()
        for pair in range(len(body.legs)):
            self._leg(pair, 1.0)
            self._leg(pair, -1.0)

    def ends(self) -> Floats:
        """Both ends of each capsule: (T, N, 2, 3)."""
        flat = np.concatenate([point for pair in self._ends for point in pair], axis=1)
        return flat.reshape(len(flat), len(self._ends), 2, 3)

    def radii(self) -> Floats:
        """Radius at each end of each capsule: (T, N, 2)."""
        radii = np.empty((len(self.motion.seconds), len(self._radii), 2))
        for index, (first, last) in enumerate(self._radii):
            radii[:, index, 0], radii[:, index, 1] = first, last
        return radii

    def _add(
        self, part: str, start: Floats, end: Floats, radius: Floats | float, last: Floats | float
    ) -> None:
        self.parts.append(part)
        self._ends.append((start, end))
        self._radii.append((radius, last))

    def _place(self, points: Floats) -> Floats:
        """Transform points from the spine's frame to the creature's: roll, pitch, raise."""
        x, y, z = points.T
        (cos_roll, sin_roll), (cos_pitch, sin_pitch) = self._turns
        y, z = y * cos_roll - z * sin_roll, y * sin_roll + z * cos_roll
        x, z = x * cos_pitch - z * sin_pitch, x * sin_pitch + z * cos_pitch
        return _points(x, y, z + self._height)

    def _spine(self, share: float) -> Floats:
        """A point of the spine, 0 rear to 1 front, in the spine's frame."""
        if share not in self._spine_points:
            body, motion = self.body, self.motion
            wave = np.sin(2 * np.pi * (motion.stride + body.waves * (1.0 - share)))
            sideways = (body.curl + body.undulation * motion["swing"]) * (1.15 - 0.7 * share) * wave
            self._spine_points[share] = _points(share - 0.5, sideways, motion["flex"] * np.sin(np.pi * share))
        return self._spine_points[share]

    def _torso(self) -> None:
        body = self.body
        shares = np.linspace(0.0, 1.0, body.segments + 1)
        nodes = [self._place(self._spine(share)) for share in shares]
        swell = 1.0 + self.motion["breath"]
        girths = [girth * swell for girth in np.interp(shares, (0.0, 0.5, 1.0), body.girth)]
        for index in range(body.segments):
            self._add("torso", nodes[index], nodes[index + 1], girths[index], girths[index + 1])
        if body.crest > 0:
            foot = self._spine(0.5) + np.array([0.0, 0.0, 0.6 * max(body.girth)])
            for lean in (-0.9, -0.3):
                tip = foot + np.array([lean * body.crest, 0.0, 0.3 * max(body.girth) + 0.6 * body.crest])
                self._add("fin", self._place(foot), self._place(tip), 0.1, 0.04)

    def _head(self) -> None:
        body, motion = self.body, self.motion
        down = -float(np.arcsin(np.clip((self._shoulder - 0.05) / self._to_mouth, 0.3, 0.95)))
        elevation = body.neck_angle + motion["reach"] * (down - body.neck_angle)
        facing = (
            0.2 * body.neck_angle
            - body.tilt
            + motion["reach"] * (down - 0.2 * body.neck_angle)
            + motion["nod"]
        )
        root = self._spine(1.0)
        nape = root + body.neck * _direction(0.4 * motion["look"], elevation + 0.5 * motion["nod"])
        ahead = _direction(motion["look"], facing)
        left = _direction(motion["look"] + 0.5 * np.pi, np.zeros_like(facing))
        up = np.cross(ahead, left)
        brow = nape + body.head * ahead
        tip = brow + (body.snout + 0.8 * body.head_radius) * ahead
        radius = body.head_radius
        self._add("neck", self._place(root), self._place(nape), body.neck_radius, 0.85 * body.neck_radius)
        self._add("head", self._place(nape), self._place(brow), radius, 0.85 * radius)
        self._add("snout", self._place(brow), self._place(tip), 0.5 * radius, 0.2 * radius)
        for side in (1.0, -1.0):
            eye = self._place(brow + radius * (0.62 * side * left + 0.5 * up + 0.1 * ahead))
            self._add("eye", eye, eye, 0.3 * radius, 0.3 * radius)
            if body.ears > 0:
                ear = nape + radius * (0.5 * side * left + 0.6 * up)
                end = ear + body.ears * (0.6 * side * left + 0.8 * up)
                self._add("ear", self._place(ear), self._place(end), 0.3 * radius, 0.12 * radius)

    def _tail(self) -> None:
        body, motion = self.body, self.motion
        point = self._spine(0.0)
        pieces = 3
        for index in range(pieces):
            wave = np.sin(2 * np.pi * (motion.stride - 0.18 * (index + 1)) + np.pi)
            yaw = np.pi + (index + 1) / pieces * (
                1.5 * body.undulation * motion["swing"] * wave * 2 - motion["wag"]
            )
            onward = point + body.tail / pieces * _direction(yaw, body.tail_angle * np.ones_like(yaw))
            thick, thin = (body.tail_radius * (1.0 - 0.75 * (index + step) / pieces) for step in (0, 1))
            self._add("tail", self._place(point), self._place(onward), thick, thin)
            point = onward
        if body.tail_fin > 0:
            for elevation in (0.9, -0.9):
                tip = point + body.tail_fin * _direction(yaw, np.full_like(yaw, elevation))
                self._add("fin", self._place(point), self._place(tip), 0.07, 0.04)

    def _wings(self) -> None:
        """One wing on each side: folded along the flank, or spread sideways and beaten."""
        body, flap = self.body, np.clip(self.motion["flap"], 0.0, 1.0)
        beat = 0.5 * self.motion["swing"] * np.sin(2 * np.pi * self.motion.stride) * (len(body.legs) == 0)
        for side in (1.0, -1.0):
            shoulder = self._spine(0.72) + np.array(
                [0.0, 0.85 * side * max(body.girth), 0.25 * max(body.girth)]
            )
            yaw = side * (np.pi - 0.1 - 1.35 * flap - np.abs(beat))
            tip = shoulder + body.wings * _direction(yaw, 0.5 * flap - 0.15)
            self._add("wing", self._place(shoulder), self._place(tip), 0.12, 0.06)

    def _leg(self, pair: int, side: float) -> None:
        body, motion = self.body, self.motion
        share = body.legs[pair]
        girth = float(np.interp(share, (0.0, 0.5, 1.0), body.girth))
        root = self._spine(share)
        sprawls = body.knee == "out"
        hip = self._place(root + np.array([0.0, side * girth * (0.7 if sprawls else 0.45), -0.3 * girth]))
        length = body.slack * float(np.hypot(body.height, body.stance - 0.5 * girth if sprawls else 0.0))
        phase = 2 * np.pi * (motion.stride + (1.0 - motion["unison"]) * self._offset(pair, side))
        ahead = length * np.sin(motion["swing"]) * np.cos(phase)
        # Feet of many-legged creatures fan out from the body's middle.
        fan = (share - float(np.mean(body.legs))) * (
            2.2 * body.stance if sprawls and len(body.legs) > 1 else 0.0
        )
        foot = _points(
            share - 0.5 + fan + ahead,
            side * (body.stance + 0.1 * girth),
            0.6 * body.leg_radius + length * motion["step"] * np.maximum(0.0, -np.sin(phase)),
        )
        outward = np.array(
            [0.2 * (share - 0.5), 0.35 * side, 1.0] if sprawls else [0.5 - share or 0.3, 0.0, 0.15]
        )
        knee = _knee(hip, foot, length, outward / np.linalg.norm(outward))
        self._add("leg", hip, knee, body.leg_radius, 0.8 * body.leg_radius)
        self._add("leg", knee, foot, 0.8 * body.leg_radius, 0.55 * body.leg_radius)

    def _offset(self, pair: int, side: float) -> Floats:
        """Phase of a leg in cycles: diagonal legs move together, or front and hind pairs in turn."""
        alternating = 0.5 * ((pair + (side > 0)) % 2)
        pairs = len(self.body.legs)
        paired = 0.5 * pair / max(1, pairs - 1) + 0.08 * (side > 0) if pairs > 1 else alternating
        return alternating + self.motion["pairing"] * (paired - alternating)


def _knee(hip: Floats, foot: Floats, length: float, outward: Floats) -> Floats:
    """Position of the knee of a leg with two equal halves: (T, 3)."""
    half = 0.5 * (foot - hip)
    bend = np.sqrt(np.maximum(0.25 * length**2 - (half * half).sum(axis=1), (0.06 * length) ** 2))
    return hip + half + bend[:, None] * outward


def _direction(yaw: Floats, elevation: Floats) -> Floats:
    """Unit vectors of these angles: (T, 3)."""
    level = np.cos(elevation)
    return _points(level * np.cos(yaw), level * np.sin(yaw), np.sin(elevation))


def _points(x: Floats | float, y: Floats | float, z: Floats) -> Floats:
    """Points from their coordinates: (T, 3)."""
    points = np.empty((len(z), 3))
    points[:, 0], points[:, 1], points[:, 2] = x, y, z
    return points
