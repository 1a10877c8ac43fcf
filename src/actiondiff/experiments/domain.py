"""What a study's training videos look like, from which its model's guard is made."""

import math
from typing import Any

import numpy as np

from actiondiff.experiments.data import StudyData
from actiondiff.features.joined import further_stores
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.frame_rate import frame_seconds, frames_per_token
from actiondiff.inference.guard import Guard, GuardFacts, ValueRange
from actiondiff.inference.token_space import FALSE_ALARMS, fit_token_space
from actiondiff.training.batches import by_identity
from actiondiff.types import Features, Sampling

__all__ = ["fit_guard"]

_MOST_VIDEOS = 200  # training videos whose times and pictures are looked at


def fit_guard(config: ModelConfig, data: StudyData, store: FeatureStore) -> tuple[ModelConfig, Guard]:
    """Make the guard of a model.

    Args:
        config: The model's config.
        data: Clips of the study; only the training clips count.
        store: Store of their features, which also knows times and pictures of the videos. Stores of older
            versions know no pictures.

    Returns:
        The config with the time between frames, and the guard.
    """
    clips = by_identity(data.train)  # so that the order of the table's rows changes nothing
    videos = _some_videos(data, store)
    steps = [step for video in videos if (step := frame_seconds(video)) is not None]
    looks = [video.appearance for video in videos if video.appearance is not None]
    if len(looks) < len(videos):  # some of them would not speak for all
        looks = []
    recordings = [clip.group or clip.video for clip in clips.examples]
    parts = clips.tokens.cpu().tensor_split(clips.offsets[1:-1])
    space = fit_token_space(np.stack([part.double().mean(0).numpy() for part in parts]), recordings)

    median = float(np.median(steps)) if steps else None
    further = {}
    for name, other in further_stores(store).items():
        if name in config.further:  # each backbone is sampled as it was in training
            others = _some_videos(data, other)
            theirs = [step for video in others if (step := frame_seconds(video)) is not None]
            values = {
                "frames_per_token": frames_per_token(others, _sampling(other)),
                "frame_seconds": float(np.median(theirs)) if theirs else None,
                "frame_seconds_range": (min(theirs), max(theirs)) if theirs else None,
            }
            further[name] = config.further[name].model_copy(update=values)
    if further:
        config = config.replaced(further=further)
    config = config.replaced(
        frame_seconds=median,
        frame_seconds_range=(min(steps), max(steps)) if steps else None,
        frames_per_token=frames_per_token(videos, _sampling(store)),
    )
    facts = GuardFacts(
        num_clips=len(clips),
        num_recordings=len(set(recordings)),
        frame_seconds=ValueRange.of(steps),
        num_tokens=ValueRange.of(clips.lengths.tolist()),
        brightness=ValueRange.of([look.brightness for look in looks]),
        saturation=ValueRange.of([look.saturation for look in looks]),
        span_tokens=max(1, int(clips.lengths.median())),
        most_side_px=_most_side(config),
        false_alarms=FALSE_ALARMS if space else None,
        rest=space.rest if space else None,
        bound=space.bound if space else None,
    )
    if looks:
        ordered = sorted(looks, key=lambda look: (look.height_px * look.width_px, look.width_px))
        ends = [(round(look.width_px), round(look.height_px)) for look in (ordered[0], ordered[-1])]
        side = ValueRange.of([facts.seen_side(look) for look in looks])
        facts = facts.model_copy(update={"side_px": side, "pictures": tuple(ends)})
    return config, Guard(facts, space)


def _some_videos(data: StudyData, store: FeatureStore) -> list[Features]:
    """Times and appearance of training videos, without their tokens; if there are many, of some."""
    videos = {clip.video for clip in data.train.examples}
    identities = sorted({row.identity for video, row in data.rows.items() if video in videos})
    chosen = np.linspace(0, len(identities) - 1, min(len(identities), _MOST_VIDEOS)).round().astype(int)
    return [store.load(identities[i], []) for i in chosen]


def _sampling(store: FeatureStore) -> Sampling:
    """How the videos of a store were read."""
    settings: Any = store.settings["sampling"]
    return Sampling.from_settings(settings)


def _most_side(config: ModelConfig) -> float | None:
    """Side of a square as large as the picture that the backbone takes; None if it takes any."""
    height, width = config.backbone.get("height"), config.backbone.get("width")
    return math.sqrt(height * width) if height and width else None
