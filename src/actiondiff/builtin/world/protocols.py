"""Protocols: which part of the world a study learns from, and which parts it is tested on.

A head learns from the source and is tested in four ways: on clips of the same kind as the source, and with
one thing changed (species, viewpoint or context). The change is drawn from the development targets while
choices are being made, and from the reserved targets once, at the end.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from actiondiff.builtin.world.actions import ACTIONS, Action, Segment
from actiondiff.builtin.world.bodies import Body
from actiondiff.builtin.world.cameras import View, view_named
from actiondiff.builtin.world.scenes import SceneContext, context_named
from actiondiff.builtin.world.world import RANDOM, ClipSpec, VideoSpec, actors, generator
from actiondiff.errors import UnknownNameError, UsageError

__all__ = [
    "DEVELOPMENT",
    "PROTOCOLS",
    "RESERVED",
    "SOURCE",
    "UNLABELLED",
    "Domain",
    "Protocol",
    "Split",
    "Targets",
    "domain_of",
    "is_held_out",
    "sample_specs",
    "sample_videos",
]

Protocol: TypeAlias = Literal["in-domain", "species", "context", "view"]
Split: TypeAlias = Literal["unlabelled", "train", "val", "in-domain", "species", "context", "view"]
Targets: TypeAlias = Literal["development", "reserved"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

_CLIPS_PER_INDIVIDUAL = 4  # in labelled splits; unlabelled clips show a new individual each
_SOURCE_CAMERAS, _NEW_CAMERAS = 8, 4  # cameras that stand still
_SEGMENT_SECONDS = (3.0, 8.0)
_AXES = ("bodies", "contexts", "views")
_LONG_NECK = 0.9  # torso lengths
_NEAR_COLOUR = 0.25


@dataclass(frozen=True)
class Domain:
    """Names of the bodies, contexts and views that clips are drawn from, all equally often."""

    bodies: tuple[str, ...]
    contexts: tuple[str, ...]
    views: tuple[str, ...]


SOURCE = Domain(bodies=("dog", "lizard", "bird", "beetle"), contexts=("meadow",), views=("side",))
DEVELOPMENT = Domain(bodies=("giraffe", "spider"), contexts=("night", "tiles"), views=("top",))
RESERVED = Domain(bodies=("snake", "fish"), contexts=("snow", "water"), views=("ego",))
UNLABELLED = Domain(
    bodies=(*SOURCE.bodies, *[RANDOM] * 12),
    contexts=(*SOURCE.contexts, *[RANDOM] * 3),
    views=("side", RANDOM),
)
"""Domain of pre-training without labels: mostly random bodies, contexts and views, and no named target."""


def domain_of(split: Split, *, targets: Targets = "development") -> Domain:
    """The domain of a split; for `species`, `context` and `view` it is the source with that one changed.

    Raises:
        UnknownNameError: If the split or the targets are unknown.
    """
    if split not in get_args(Split):
        raise UnknownNameError("split", split, get_args(Split))
    if targets not in get_args(Targets):
        raise UnknownNameError("targets", targets, get_args(Targets))
    target = DEVELOPMENT if targets == "development" else RESERVED
    match split:
        case "unlabelled":
            return UNLABELLED
        case "species":
            return replace(SOURCE, bodies=target.bodies)
        case "context":
            return replace(SOURCE, contexts=target.contexts)
        case "view":
            return replace(SOURCE, views=target.views)
        case _:
            return SOURCE


def sample_specs(
    split: Split, count: int, *, seed: int = 0, targets: Targets = "development", still: bool = False
) -> list[ClipSpec]:
    """Sample clips of a split: all actions equally often, and four clips per individual.

    Splits share no clip and no individual. A longer list begins with the clips of a shorter one. Actions are
    exactly equal in number where `count` is a multiple of eight.

    Args:
        split: `train` and `val` of the source; the name of a protocol for its test clips; `unlabelled` for
            pre-training.
        count: Number of clips.
        seed: Seed of the whole sample.
        targets: Which unseen bodies, contexts and views make the shift.
        still: Whether cameras stand still. Then eight cameras film the source, also where the species change;
            four others each film new contexts and new views.

    Raises:
        UsageError: If `count` is negative.
        UnknownNameError: If the split or the targets are unknown.
    """
    domain = domain_of(split, targets=targets)
    if count < 0:
        raise UsageError(f"the number of clips must not be negative; got {count}.")
    name = split if split in ("unlabelled", "train", "val", "in-domain") else f"{split}/{targets}"
    random = generator(seed, "split", name)
    clips_each = 1 if split == "unlabelled" else _CLIPS_PER_INDIVIDUAL
    specs: list[ClipSpec] = []
    actions: list[Action] = []
    for number in range(count):
        if number % clips_each == 0:
            individual = int(random.integers(2**48))
            body = domain.bodies[number // clips_each % len(domain.bodies)]
        if not actions:
            actions = [ACTIONS[index] for index in random.permutation(len(ACTIONS))]
        context, view = (str(random.choice(names)) for names in (domain.contexts, domain.views))
        spec = ClipSpec(body, actions.pop(), context, view, int(random.integers(2**48)), individual)
        specs.append(_before_camera(spec, split, number, domain, seed, targets) if still else spec)
    return specs


def _before_camera(
    spec: ClipSpec, split: Split, number: int, domain: Domain, seed: int, targets: Targets
) -> ClipSpec:
    """The same clip, filmed by one of the still cameras of its split, which has a context and a view."""
    is_new = split in ("context", "view")
    index = number // _CLIPS_PER_INDIVIDUAL % (_NEW_CAMERAS if is_new else _SOURCE_CAMERAS)
    name = f"{split}/{targets}" if is_new else "source"
    camera = int(generator(seed, "cameras", name, str(index)).integers(2**48))
    context, view = domain.contexts[index % len(domain.contexts)], domain.views[index % len(domain.views)]
    return replace(spec, context=context, view=view, camera=camera)


def is_held_out(spec: ClipSpec) -> bool:
    """Whether a clip shows a target of the protocols, by name or by resemblance.

    Random bodies, contexts and views may resemble named ones. A random body counts as held out if it
    has no legs (snake, fish), four pairs of them (spider) or a neck of over 0.9 (giraffe); a random view if
    its elevation is within a target's range; a random context if it has a target's texture, and both ground
    colours within 0.25 of the target's in every channel.
    """
    targets = [{name for part in (DEVELOPMENT, RESERVED) for name in getattr(part, axis)} for axis in _AXES]
    if any(name in names for name, names in zip((spec.body, spec.context, spec.view), targets, strict=True)):
        return True
    body, context, view = actors(spec)
    return (
        (spec.body == RANDOM and _has_marks_of_targets(body))
        or (spec.view == RANDOM and any(_is_within(view, view_named(name)) for name in targets[2]))
        or (spec.context == RANDOM and any(_is_like(context, context_named(name)) for name in targets[1]))
    )


def _has_marks_of_targets(body: Body) -> bool:
    return len(body.legs) in (0, 4) or body.neck > _LONG_NECK


def _is_within(view: View, target: View) -> bool:
    return view.elevation[0] <= target.elevation[1] and view.elevation[1] >= target.elevation[0]


def _is_like(context: SceneContext, target: SceneContext) -> bool:
    far = np.abs(np.array(context.ground) - np.array(target.ground)).max()
    return context.texture == target.texture and bool(far < _NEAR_COLOUR)


def sample_videos(count: int, minutes: float, *, seed: int = 0) -> list[VideoSpec]:
    """Sample long videos of source creatures that perform one action after another for 3 to 8 seconds each.

    Args:
        count: Number of videos.
        minutes: Duration of each video.
        seed: Seed of the whole sample.

    Raises:
        UsageError: If `count` is negative or `minutes` not above 0.
    """
    if count < 0 or not minutes > 0:
        raise UsageError(
            f"long videos need a number of at least 0 and minutes above 0; got {count} and {minutes}."
        )
    random = generator(seed, "videos", f"{minutes:g}")
    videos = []
    for index in range(count):
        body = SOURCE.bodies[index % len(SOURCE.bodies)]
        context, view = (str(random.choice(names)) for names in (SOURCE.contexts, SOURCE.views))
        own, individual = (int(number) for number in random.integers(2**48, size=2))
        videos.append(VideoSpec(body, _script(60.0 * minutes, random), context, view, own, individual))
    return videos


def _script(seconds: float, random: np.random.Generator) -> tuple[Segment, ...]:
    """Actions one after the other until the time is over: all in turn, and none twice in a row."""
    segments: list[Segment] = []
    actions: list[Action] = []
    start = 0.0
    while start < seconds:
        if not actions:
            actions = [ACTIONS[index] for index in random.permutation(len(ACTIONS))]
            if segments and actions[-1] == segments[-1].action:
                actions.reverse()
        end = round(start + float(random.uniform(*_SEGMENT_SECONDS)), 2)
        if seconds - end < _SEGMENT_SECONDS[0]:  # the rest would be too short to show an action
            end = seconds
        segments.append(Segment(actions.pop(), start, end))
        start = end
    return tuple(segments)
