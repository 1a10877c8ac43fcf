"""The domain guard: how far a video lies outside what a model has learnt from, and why.

A guard knows the range of the training videos' frame interval, length, picture size, brightness and
saturation, and the distribution of their features: of the mean token of each training clip a robust centre
and a shrunken covariance. Distances are such that 1 is the bound. For the features the bound is such that a
stated share of the training clips lies beyond it, as judged by distributions of the other recordings.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from actiondiff.errors import RunError, explain_validation
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.frame_rate import frame_seconds, warn_of_rate
from actiondiff.inference.token_space import TokenSpace
from actiondiff.provenance import atomic_path, canonical_json
from actiondiff.types import Appearance, Array, DomainCheck, Features

__all__ = ["GUARD", "Guard", "GuardFacts", "ValueRange", "check_domain", "load_guard", "save_guard"]

GUARD = "guard.safetensors"
_ENTRY = "actiondiff"
_TENSORS = ("axes", "centre", "variances")
_TIMES = (
    2.0  # so many times the training videos' highest value, or as small a part of the lowest, is the bound
)
_EVEN = 0.02  # added to a saturation, so that gray pictures differ little from one another


_Bounded: TypeAlias = Annotated[float, Field(ge=0, le=1e12)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]


class ValueRange(NamedTuple):
    """The lowest and the highest value of the training videos; none is negative."""

    low: _Bounded
    high: _Bounded

    @classmethod
    def of(cls, values: Sequence[float]) -> "ValueRange | None":
        """The range of some values; None if there are none."""
        return cls(min(values), max(values)) if values else None


class GuardFacts(BaseModel):
    """What a guard knows beside the distribution of features; None is what the training's store does not say.

    Attributes:
        num_clips: Number of training clips.
        num_recordings: Number of recordings or individuals that these are from, as far as labels tell.
        frame_seconds: Seconds from one sampled frame to the next.
        num_tokens: Number of tokens of a clip.
        side_px: Side of a square as large as the picture, at most as large as the backbone takes it.
        pictures: Width and height of the smallest and of the largest picture.
        brightness: See `Appearance`.
        saturation: See `Appearance`.
        span_tokens: Number of tokens of the stretches whose features are compared: a clip's median length.
        most_side_px: Side of the picture that the backbone takes; None if it takes any.
        false_alarms: Share of the training clips whose features lie beyond the bound.
        rest: Variance of the features in each direction without an axis.
        bound: Distance of the features that is the bound.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    num_clips: _Count
    num_recordings: _Count
    frame_seconds: ValueRange | None = None
    num_tokens: ValueRange | None = None
    side_px: ValueRange | None = None
    pictures: tuple[tuple[_Count, _Count], tuple[_Count, _Count]] | None = None
    brightness: ValueRange | None = None
    saturation: ValueRange | None = None
    span_tokens: int = Field(1, ge=1, le=1_000_000)
    most_side_px: _Bounded | None = None
    false_alarms: float | None = Field(None, ge=0, le=1)
    rest: float | None = None
    bound: float | None = None

    def seen_side(self, look: Appearance) -> float:
        """Side of a square as large as a picture, at most as large as the backbone takes it."""
        side = math.sqrt(look.height_px * look.width_px)
        return side if self.most_side_px is None else min(side, self.most_side_px)


@dataclass(frozen=True, eq=False)
class Guard:
    """Tells how far a video lies outside what a model has learnt from.

    Attributes:
        facts: Ranges of the training videos.
        tokens: Distribution of the training clips' features; None if there were too few recordings.
    """

    facts: GuardFacts
    tokens: TokenSpace | None = None

    def check(self, features: Features, tokens: Array) -> DomainCheck:
        """Compare a video with the training videos.

        A long video is compared stretch by stretch, and its distance is the median of theirs.

        Args:
            features: Features of the video.
            tokens: (T, D) float32, the head's input, which is made of them.
        """
        return _domain_check(list(self._deviations(features, tokens)))

    def widened(self, videos: Sequence[tuple[Features, Array]]) -> "Guard":
        """A guard for a model that was trained on with further videos, none of which lies outside.

        Args:
            videos: For each further video its features, and the tokens made of them.
        """
        facts = self.facts
        looks = [features.appearance for features, _ in videos if features.appearance is not None]
        steps = [step for features, _ in videos if (step := frame_seconds(features)) is not None]
        values: dict[str, Sequence[float]] = {
            "frame_seconds": steps,
            "num_tokens": [len(tokens) for _, tokens in videos],
            "side_px": [facts.seen_side(look) for look in looks],
            "brightness": [look.brightness for look in looks],
            "saturation": [look.saturation for look in looks],
        }
        changed: dict[str, object] = {}
        for name, further in values.items():
            own = getattr(facts, name)
            if own is not None:
                changed[name] = ValueRange.of([*own, *further])
        if facts.pictures:
            sizes = [*facts.pictures, *((round(look.width_px), round(look.height_px)) for look in looks)]
            ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
            changed["pictures"] = (ordered[0], ordered[-1])
        tokens = self.tokens
        if tokens is not None:
            farthest = max((self._distance(tokens, own) for _, own in videos), default=0.0)
            tokens = replace(tokens, bound=tokens.bound * max(1.0, 1.001 * farthest))
            changed["bound"] = tokens.bound
        return Guard(facts.model_copy(update=changed), tokens)

    def _distance(self, space: TokenSpace, tokens: Array) -> float:
        """Distance of a video's features: the median over stretches as long as the training clips."""
        parts = np.array_split(tokens, max(1, round(len(tokens) / self.facts.span_tokens)))
        means = np.stack([part.mean(axis=0, dtype=np.float64) for part in parts])
        return float(np.median(space.distances(means)))

    def _deviations(self, features: Features, tokens: Array) -> Iterator["_Deviation"]:
        facts, step = self.facts, frame_seconds(features)
        if facts.frame_seconds and facts.frame_seconds.low and step:
            rates = _spread(1 / facts.frame_seconds.high, 1 / facts.frame_seconds.low)
            yield _Deviation(
                "frame rate",
                _times(step, facts.frame_seconds),
                f"{_plural(1 / step, 'frame')} a second; learnt at {rates}",
            )
        if facts.num_tokens:
            count, least = len(tokens), facts.num_tokens.low
            own, learnt = (
                f"{n * step:.2g} s of video" if step else _plural(n, "frame") for n in (count, least)
            )
            yield _Deviation(
                "length", max(0.0, _doublings(least / count)), f"{own}; learnt from {learnt} or more"
            )
        yield from self._of_pictures(features.appearance)
        yield from _of_student(features.appearance)
        if self.tokens is not None:
            distance = self._distance(self.tokens, tokens)
            rate = f"{100 * (facts.false_alarms or 0):.2g} %"
            yield _Deviation(
                "features",
                distance,
                f"features at {distance:.1f} times the distance that {rate} of the training videos exceed",
            )

    def _of_pictures(self, look: Appearance | None) -> Iterator["_Deviation"]:
        facts = self.facts
        if look is None:
            return
        if facts.side_px and facts.pictures:
            learnt = " to ".join(dict.fromkeys(f"{w}x{h}" for w, h in facts.pictures))
            yield _Deviation(
                "picture size",
                _times(facts.seen_side(look), facts.side_px),
                f"pictures of {look.width_px:.0f}x{look.height_px:.0f} pixels; learnt from {learnt}",
            )
        if facts.brightness:
            odds = ValueRange(_odds(facts.brightness.low), _odds(facts.brightness.high))
            yield _Deviation(
                "brightness",
                _times(_odds(look.brightness), odds),
                f"mean brightness {100 * look.brightness:.0f} %; learnt at {_percent(facts.brightness)}",
            )
        if facts.saturation:
            even = ValueRange(facts.saturation.low + _EVEN, facts.saturation.high + _EVEN)
            yield _Deviation(
                "saturation",
                _times(look.saturation + _EVEN, even),
                f"mean saturation {100 * look.saturation:.0f} %; learnt at {_percent(facts.saturation)}",
            )


def _of_student(look: Appearance | None) -> Iterator["_Deviation"]:
    """How far the pictures lie from those that a student learnt from, if a student made the features."""
    if look is not None and look.strangeness is not None:
        yield _Deviation(
            "student",
            look.strangeness,
            f"pictures at {look.strangeness:.1f} times the distance up to which the student is near its "
            "teacher",
        )


class _Deviation(NamedTuple):
    """How far a video lies from the training videos in one respect, and what to say if it is too far."""

    name: str
    distance: float
    reason: str


def _domain_check(deviations: Sequence[_Deviation]) -> DomainCheck:
    return DomainCheck(
        {deviation.name: deviation.distance for deviation in deviations},
        tuple(deviation.reason for deviation in deviations if deviation.distance > 1),
    )


def check_domain(
    guard: Guard | None, config: ModelConfig, features: Features, tokens: Array, video: str
) -> DomainCheck | None:
    """Compare a video with the training videos.

    A model of an older version has no guard; then there is a warning if the video's frame rate is another,
    and only a student, if one made the features, can tell that the video lies outside.

    Args:
        guard: The model's guard, if it has one.
        config: The model's config.
        features: Features of the video.
        tokens: (T, D) float32, the head's input, which is made of them.
        video: Name of the video, for the warning.
    """
    if guard is None:
        warn_of_rate(config, features, video)
        deviations = list(_of_student(features.appearance))
        return _domain_check(deviations) if deviations else None
    return guard.check(features, tokens)


def save_guard(folder: str | os.PathLike[str], guard: Guard) -> None:
    """Write a guard beside the model that it guards."""
    space = guard.tokens
    tensors: Mapping[str, Array] = {}
    if space is not None:
        tensors = {
            "axes": space.axes.astype(np.float32),
            "centre": space.centre.astype(np.float32),
            "variances": space.variances.astype(np.float32),
        }
    text = canonical_json(guard.facts.model_dump(mode="json", exclude_none=True))
    with atomic_path(Path(folder) / GUARD) as aside:
        save_file(dict(tensors), aside, metadata={_ENTRY: text})


def load_guard(folder: str | os.PathLike[str], *, token_width: int) -> Guard | None:
    """Read what `save_guard` wrote; None if the model has no guard, as those of older versions.

    Args:
        folder: Folder of the model.
        token_width: Width of the model's tokens.

    Raises:
        RunError: If the file is damaged, or is another model's.
    """
    path = Path(folder) / GUARD
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = GuardFacts.model_validate(json.loads((file.metadata() or {})[_ENTRY]))
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        space = None
        if tensors:
            centre, axes, variances = tensors["centre"], tensors["axes"], tensors["variances"]
            space = TokenSpace(centre, axes, variances, float(facts.rest or 0), float(facts.bound or 0))
            space.check(token_width)
    except ValidationError as error:
        raise RunError(
            f"{path} is damaged: {explain_validation(error)}. Restore it, or train again."
        ) from None
    except (ValueError, KeyError, TypeError, OSError, SafetensorError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}. Restore it, or train again.") from None
    return Guard(facts, space)


def _times(value: float, learnt: ValueRange) -> float:
    """Distance of a positive value from a range: 0 within it, 1 at half its low or twice its high end."""
    least = 1e-12  # in place of 0
    return max(0.0, _doublings(learnt.low / max(value, least)), _doublings(value / max(learnt.high, least)))


def _doublings(ratio: float) -> float:
    return math.log(ratio) / math.log(_TIMES) if ratio > 0 else 0.0


def _odds(share: float) -> float:
    bounded = min(max(share, 0.005), 0.995)
    return bounded / (1 - bounded)


def _plural(value: float, noun: str) -> str:
    return f"{value:.3g} {noun}{'' if f'{value:.3g}' == '1' else 's'}"


def _spread(low: float, high: float) -> str:
    return " to ".join(dict.fromkeys((f"{low:.3g}", f"{high:.3g}")))


def _percent(values: ValueRange) -> str:
    return f"{_spread(round(100 * values.low), round(100 * values.high))} %"
