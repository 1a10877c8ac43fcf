"""What creatures do: eight actions as channels of motion over time, for any body.

An action is recognised by how things move. The poses that one action passes through occur in others too (a
creature may stand still in mid-stride or with its head down), so that a single frame reveals little.
Everything is a function of continuous seconds: the same seed gives the same motion at any frame rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from actiondiff.builtin.world.arrays import Floats

__all__ = ["ACTIONS", "CHANNELS", "Action", "CreatureMotion", "Segment", "act"]

Action: TypeAlias = Literal["still", "walk", "run", "hop", "spin", "eat", "shake", "approach"]
ACTIONS: tuple[Action, ...] = get_args(Action)

CHANNELS = (
    "bob",  # vertical shift of the body over planted feet, share of its height
    "lift",  # height above the ground of everything, feet included, creature radii
    "pitch",  # nose up, radians
    "roll",  # left side up, radians
    "flex",  # arching of the spine, share of its length
    "swing",  # how far legs (or the body's waves) swing, radians
    "step",  # how high a foot is lifted in its swing, share of leg length
    "pairing",  # 0: legs alternate, 1: front and hind pairs move together
    "unison",  # 1: all legs together
    "reach",  # 0: head at rest, 1: mouth at the ground
    "nod",  # head up, radians
    "look",  # head to the left, radians
    "wag",  # tail to the left, radians
    "flap",  # wings spread, 0 to 1
    "breath",  # girth added, share
)
_RATE_HERTZ = 50.0  # time grid on which rates are integrated; a multiple of common frame rates
_BLEND_SECONDS = 0.3  # how long one action takes to pass into the next
_NEAR_END = -0.2  # share by which the camera is nearer than usual where an approach ends
_RETURN_SECONDS = 4.0  # how long the camera takes to fall back before and after one


@dataclass(frozen=True)
class Segment:
    """One action for some time.

    Attributes:
        action: Name of the action.
        start_seconds: Time at which it begins.
        end_seconds: Time at which it ends.
    """

    action: Action
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, eq=False)
class CreatureMotion:
    """How a creature moves, whatever its body.

    Attributes:
        seconds: (T,) times of the frames.
        position: (T, 2) position on the ground, creature radii.
        yaw: (T,) heading, radians.
        stride: (T,) phase of the gait, cycles.
        retreat: (T,) extra distance of the camera, as a share of its usual distance.
        channels: Name of a channel (see `CHANNELS`) -> (T,) values.
    """

    seconds: Floats
    position: Floats
    yaw: Floats
    stride: Floats
    retreat: Floats
    channels: dict[str, Floats]

    def __getitem__(self, channel: str) -> Floats:
        return self.channels[channel]


@dataclass(frozen=True)
class _Manner:
    """How the action of one segment is performed: drawn at random once, then constant."""

    action: Action
    cadence: float  # gait cycles per second
    speed: float  # creature radii per second
    turn: float  # radians per second
    heading: float  # radians relative to the direction towards the camera
    rhythm: float  # hertz of hops, pecks or shakes
    phase: float  # cycles
    vigour: float  # scales amplitudes
    pose: tuple[float, float, float]  # swing, reach and look of an idle body


_RANGES: dict[Action, dict[str, tuple[float, float]]] = {
    "still": {},
    "walk": {"cadence": (0.8, 1.2), "speed": (0.5, 0.9), "turn": (-0.2, 0.2)},
    "run": {"cadence": (1.9, 2.5), "speed": (1.6, 2.8), "turn": (-0.2, 0.2)},
    "hop": {"speed": (0.0, 0.7), "rhythm": (0.9, 1.4)},
    "spin": {"cadence": (0.7, 1.2), "turn": (2.4, 4.6)},
    "eat": {"rhythm": (1.0, 1.7)},
    "shake": {"rhythm": (2.0, 2.7)},
    "approach": {"cadence": (1.1, 1.6), "speed": (1.0, 1.4)},
}


def act(
    segments: Sequence[Segment], seconds: Floats, camera_azimuth: float, *, random: np.random.Generator
) -> CreatureMotion:
    """Perform actions one after the other.

    Args:
        segments: Actions in order of time, without gaps.
        seconds: (T,) times of the frames, rising.
        camera_azimuth: Direction from the creature to the camera on the ground, radians.
        random: Random generator of everything that the actions leave open.
    """
    # Rates are integrated on a fine grid of their own, so that the motion does not depend on the frame rate.
    manners = [_manner(segment.action, random) for segment in segments]
    grid = np.arange(0.0, max(seconds[-1], segments[-1].end_seconds) + 2 / _RATE_HERTZ, 1 / _RATE_HERTZ)
    coarse = _weights(segments, grid)
    retreat = _retreat(segments, manners, grid)
    cadence = coarse.T @ [manner.cadence for manner in manners]
    stride = random.uniform() + _integral(cadence)
    turned = _integral(coarse.T @ [manner.turn for manner in manners])
    yaw = turned + coarse.T @ _headings(segments, manners, turned, camera_azimuth)
    speed = coarse.T @ [manner.speed for manner in manners]
    position = np.stack([_integral(speed * np.cos(yaw)), _integral(speed * np.sin(yaw))])

    def at_frames(values: Floats) -> Floats:
        return np.interp(seconds, grid, values)

    phases = at_frames(stride)
    channels = {name: np.zeros(len(seconds)) for name in CHANNELS}
    for weight, manner in zip(_weights(segments, seconds), manners, strict=True):
        for name, values in _channels(manner, seconds, phases).items():
            channels[name] += weight * values
    return CreatureMotion(
        seconds=seconds,
        position=np.stack([at_frames(axis) for axis in position], axis=1),
        yaw=at_frames(yaw),
        stride=phases,
        retreat=at_frames(retreat),
        channels=channels,
    )


def _manner(action: Action, random: np.random.Generator) -> _Manner:
    rates = {name: random.uniform(low, high) for name, (low, high) in _RANGES[action].items()}
    sign = random.choice((-1.0, 1.0))
    if action == "spin":
        rates["turn"] *= random.choice((-1.0, 1.0))
    heading = random.uniform(0.0, 0.7) if action == "approach" else random.uniform(0.5, 2.6)
    holds_stride, holds_low = random.uniform() < 0.5, random.uniform() < 0.4
    return _Manner(
        action=action,
        cadence=rates.get("cadence", 0.0),
        speed=rates.get("speed", 0.0),
        turn=rates.get("turn", 0.0),
        heading=sign * heading,
        rhythm=rates.get("rhythm", 0.0),
        phase=random.uniform(),
        vigour=random.uniform(0.8, 1.25),
        pose=(
            random.uniform(0.2, 0.5) * holds_stride,
            random.uniform(0.3, 1.0) * holds_low,
            random.uniform(-0.7, 0.7),
        ),
    )


def _channels(manner: _Manner, seconds: Floats, stride: Floats) -> dict[str, Floats | float]:
    """Channels of one action, (T,) or constant; the other channels are at rest."""
    beat = 2 * np.pi * (manner.rhythm * seconds + manner.phase)
    gait = 2 * np.pi * stride
    idle = np.sin(2 * np.pi * (0.23 * seconds + manner.phase))
    swing, reach, look = manner.pose
    breath = 0.05 * np.sin(2 * np.pi * (0.5 * seconds + manner.phase))
    much = manner.vigour
    match manner.action:
        case "still":
            return {"swing": swing, "reach": reach, "look": look + 0.1 * idle, "breath": breath}
        case "walk":
            return {
                "swing": 0.38 * much, "step": 0.22, "bob": 0.04 * np.cos(2 * gait), "reach": 0.6 * reach,
                "nod": 0.08 * np.cos(2 * gait), "look": 0.5 * look, "wag": 0.25 * np.sin(gait),
            }  # fmt: skip
        case "run":
            return {
                "swing": 0.62 * much, "step": 0.4, "pairing": 1.0, "flex": 0.1 * np.sin(gait),
                "bob": 0.16 * np.cos(gait), "pitch": 0.2 * much * np.sin(gait), "nod": 0.15 * np.sin(gait),
                "wag": 0.15 * np.sin(gait), "flap": 0.15 + 0.15 * np.sin(gait), "reach": 0.2 * reach,
            }  # fmt: skip
        case "hop":
            return _hop(np.mod(manner.rhythm * seconds + manner.phase, 1.0), much) | {"swing": swing}
        case "spin":
            return {
                "swing": 0.22 * much, "step": 0.25, "bob": 0.03 * np.cos(2 * gait), "reach": 0.5 * reach,
                "look": 0.5 * np.sign(manner.turn),
            }  # fmt: skip
        case "eat":
            peck = 0.5 - 0.5 * np.cos(beat)
            return {"reach": 1.0 - 0.5 * much * peck, "nod": 0.3 * much * np.sin(beat), "swing": swing,
                    "look": 0.3 * look * np.sin(0.5 * beat), "breath": breath}  # fmt: skip
        case "shake":
            return {
                "roll": 0.42 * much * np.sin(beat), "look": 0.65 * much * np.sin(beat - 1.0), "swing": swing,
                "wag": 0.7 * much * np.sin(beat - 2.0), "flap": 0.3 + 0.3 * np.sin(beat),
                "reach": 0.5 * reach,
            }  # fmt: skip
        case "approach":
            return {
                "swing": 0.42 * much, "step": 0.22, "bob": -0.12 + 0.04 * np.cos(2 * gait),
                "reach": 0.2 + 0.4 * reach, "wag": 0.15 * np.sin(gait), "look": 0.15 * look,
            }  # fmt: skip


def _hop(phase: Floats, much: float) -> dict[str, Floats | float]:
    """A hop: crouch in the first third of the cycle, then a ballistic leap."""
    crouch = np.where(phase < 0.35, np.sin(np.pi * phase / 0.35), 0.0)
    flight = np.clip((phase - 0.35) / 0.6, 0.0, 1.0)
    return {
        "lift": 0.45 * much * 4 * flight * (1 - flight),
        "bob": -0.5 * crouch + 0.1 * np.sin(np.pi * flight),
        "pitch": 0.3 * np.sin(2 * np.pi * flight),
        "unison": 1.0,
        "flap": np.sin(np.pi * flight) ** 2,
        "nod": -0.3 * crouch,
        "wag": 0.0,
    }


def _weights(segments: Sequence[Segment], seconds: Floats) -> Floats:
    """Weight of each segment over time: (segments, T); columns sum to 1, and the borders are smooth."""
    borders = np.array([segment.start_seconds for segment in segments[1:]])
    ramp = np.clip((seconds - borders[:, None]) / _BLEND_SECONDS + 0.5, 0.0, 1.0)
    begun = np.concatenate([np.ones((1, len(seconds))), ramp * ramp * (3 - 2 * ramp)])
    ended = np.concatenate([begun[1:], np.zeros((1, len(seconds)))])
    return begun - ended


def _integral(rate: Floats) -> Floats:
    """Running integral over the rate grid, from 0."""
    steps = 0.5 * (rate[1:] + rate[:-1]) / _RATE_HERTZ
    return np.concatenate([[0.0], np.cumsum(steps)])


def _headings(
    segments: Sequence[Segment], manners: Sequence[_Manner], turned: Floats, camera_azimuth: float
) -> list[float]:
    """Base heading of each segment, reached from the previous one by the shortest turn."""
    headings: list[float] = []
    for segment, manner in zip(segments, manners, strict=True):
        so_far = turned[min(len(turned) - 1, int(segment.start_seconds * _RATE_HERTZ))]
        target = camera_azimuth + manner.heading - so_far
        before = headings[-1] if headings else target
        headings.append(before + (target - before + np.pi) % (2 * np.pi) - np.pi)
    return headings


def _retreat(segments: Sequence[Segment], manners: Sequence[_Manner], grid: Floats) -> Floats:
    """Extra distance of the camera: it grows before an approach, shrinks during it, and recovers after it."""
    retreat = np.zeros_like(grid)
    for segment, manner in zip(segments, manners, strict=True):
        if manner.action == "approach":
            start, end = segment.start_seconds, segment.end_seconds
            knots = [start - _RETURN_SECONDS, start, end, end + _RETURN_SECONDS]
            retreat += np.interp(grid, knots, [0.0, 0.7 * manner.vigour, _NEAR_END, 0.0])
    return retreat
