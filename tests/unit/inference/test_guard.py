"""A guard tells which videos lie outside what its model has learnt from, and seldom of those that do not."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from actiondiff.errors import RunError
from actiondiff.inference.guard import GUARD, Guard, GuardFacts, load_guard, save_guard
from actiondiff.inference.token_space import FALSE_ALARMS, _fit, fit_token_space
from actiondiff.types import Appearance, FeatureKey, Features

LOOK = Appearance(240, 320, 0.5, 0.2)
FACTS = GuardFacts(
    num_clips=40,
    num_recordings=40,
    frame_seconds=(0.16, 0.16),
    num_tokens=(16, 16),
    side_px=(64, 64),
    most_side_px=64,
    pictures=((320, 240), (1920, 1080)),
    brightness=(0.3, 0.6),
    saturation=(0.15, 0.3),
    span_tokens=16,
)


def features(step=0.16, count=16, look=LOOK, shift=0.0, seed=0) -> Features:
    tokens = np.random.default_rng(seed).normal(shift, 1, (count, 6)).astype(np.float32)
    return Features(
        {FeatureKey(0, "layer1"): tokens},
        np.arange(count) * step,
        np.arange(count),
        "0" * 64,
        appearance=look,
    )


def check(guard: Guard, video: Features):
    return guard.check(video, video.tokens[FeatureKey(0, "layer1")])


def drawn(count: int, width: int, seed: int) -> np.ndarray:
    """Mean tokens of recordings, of uneven variances and heavier tails than normal ones."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(width, width)) * np.geomspace(1, 0.01, width)
    return random.standard_t(8, (count, width)) @ mixing.T


@pytest.mark.parametrize(("count", "width"), [(300, 20), (12, 8), (20, 300)])
def test_the_covariance_is_that_of_ledoit_and_wolf(count, width):
    """As far as there are axes for it; the total variance is the same in any case."""
    values = drawn(count, width, seed=1)
    expected = LedoitWolf().fit(values).covariance_
    space = _fit(values)
    beside = np.eye(width) - space.axes.T @ space.axes
    covariance = (space.axes.T * space.variances) @ space.axes + space.rest * beside
    assert np.trace(covariance) == pytest.approx(np.trace(expected))
    if width <= 32:
        assert covariance == pytest.approx(expected, abs=1e-9 * np.trace(expected))


@pytest.mark.parametrize(("count", "width"), [(15, 40), (60, 200), (250, 30)])
def test_the_stated_share_of_videos_like_those_of_training_is_outside(count, width):
    """On average over trainings; between a quarter of the rate and three times it."""
    rates = []
    for seed in range(30):
        means = drawn(count + 400, width, seed)
        space = fit_token_space(means[:count], [str(n) for n in range(count)])
        rates.append((space.distances(means[count:]) > 1).mean())
    assert 0.25 * FALSE_ALARMS < np.mean(rates) < 3 * FALSE_ALARMS


def test_clips_of_one_recording_do_not_speak_for_each_other():
    """Twenty clips each of eight recordings: a ninth is no alarm, though no other clip is like its clips."""
    random = np.random.default_rng(3)
    alarms = 0
    for _ in range(40):
        places = random.normal(size=(9, 10))
        means = np.repeat(places, 20, axis=0) + 0.05 * random.normal(size=(180, 10))
        names = np.repeat(np.arange(9), 20).astype(str)
        space = fit_token_space(means[:160], list(names[:160]))
        alarms += np.median(space.distances(means[160:])) > 1
    assert alarms <= 3


def test_too_few_recordings_give_no_distribution():
    means = drawn(50, 4, seed=0)
    assert fit_token_space(means, ["a"] * 25 + ["b"] * 25) is None
    assert fit_token_space(means[:9], [str(n) for n in range(9)]) is None


def test_videos_that_are_all_alike_have_a_distribution():
    space = fit_token_space(np.ones((20, 5)), [str(n) for n in range(20)])
    assert space.distances(np.ones((1, 5)))[0] == 0
    assert space.distances(np.full((1, 5), 2.0))[0] > 1


@pytest.mark.parametrize(
    ("video", "name", "reason"),
    [
        (features(step=1.0), "frame rate", "1 frame a second; learnt at 6.25"),
        (features(step=0.05), "frame rate", "20 frames a second; learnt at 6.25"),
        (features(count=5), "length", "0.8 s of video; learnt from 2.6 s of video or more"),
        (
            features(look=LOOK._replace(height_px=24, width_px=32)),
            "picture size",
            "pictures of 32x24 pixels; learnt from 320x240 to 1920x1080",
        ),
        (
            features(look=LOOK._replace(brightness=0.08)),
            "brightness",
            "mean brightness 8 %; learnt at 30 to 60 %",
        ),
        (
            features(look=LOOK._replace(brightness=0.95)),
            "brightness",
            "mean brightness 95 %; learnt at 30 to 60 %",
        ),
        (
            features(look=LOOK._replace(saturation=0.0)),
            "saturation",
            "mean saturation 0 %; learnt at 15 to 30 %",
        ),
        (
            features(look=LOOK._replace(strangeness=2.5)),
            "student",
            "pictures at 2.5 times the distance up to which the student is near its teacher",
        ),
    ],
)
def test_each_kind_of_shift(video, name, reason):
    result = check(Guard(FACTS), video)
    assert result.is_outside
    assert result.reasons == (reason,)
    assert result.distances[name] == result.distance > 1


def test_what_is_like_the_training_videos_is_inside():
    for video in (
        features(),
        features(step=0.2),
        features(count=3000),
        features(look=LOOK._replace(brightness=0.25)),
        features(look=LOOK._replace(strangeness=0.9)),
        features(look=LOOK._replace(height_px=2160, width_px=3840)),  # the backbone scales it down anyway
    ):
        result = check(Guard(FACTS), video)
        assert not result.is_outside
        assert result.reasons == ()


def test_features_of_another_kind_lie_outside():
    means = np.stack([features(seed=n).tokens[FeatureKey(0, "layer1")].mean(0) for n in range(40)])
    space = fit_token_space(means.astype(float), [str(n) for n in range(40)])
    guard = Guard(FACTS.model_copy(update={"false_alarms": FALSE_ALARMS}), space)
    near, far = (check(guard, features(count=160, shift=shift, seed=99)) for shift in (0.0, 3.0))
    assert near.distances["features"] < 1 < far.distances["features"]
    (reason,) = far.reasons
    assert "times the distance that 1 % of the training videos exceed" in reason


def test_what_is_unknown_is_not_compared():
    """A store of an older version says nothing of pictures, and one frame has no interval."""
    assert set(check(Guard(FACTS), features(look=None)).distances) == {"frame rate", "length"}
    assert set(check(Guard(FACTS), features(count=1)).distances) >= {"length", "brightness"}
    assert check(Guard(GuardFacts(num_clips=9, num_recordings=1)), features()).distances == {}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    assert load_guard(tmp_path, token_width=50) is None
    save_guard(tmp_path, Guard(FACTS))
    assert load_guard(tmp_path, token_width=50).facts == FACTS
    means = drawn(60, 50, seed=0)
    space = fit_token_space(means, [str(n) for n in range(60)])
    facts = FACTS.model_copy(update={"rest": space.rest, "bound": space.bound, "false_alarms": FALSE_ALARMS})
    save_guard(tmp_path, Guard(facts, space))
    loaded = load_guard(tmp_path, token_width=50)
    assert loaded.facts == facts
    assert loaded.tokens.distances(means) == pytest.approx(space.distances(means), rel=1e-4)
    assert (tmp_path / GUARD).stat().st_size < 32 * 50 * 4 + 2000


def test_a_damaged_guard_is_one_line(tmp_path):
    save_guard(tmp_path, Guard(FACTS))
    whole = (tmp_path / GUARD).read_bytes()
    for content in (b"", whole[:40], whole.replace(b"num_clips", b"num_slips")):
        (tmp_path / GUARD).write_bytes(content)
        with pytest.raises(
            RunError, match=r"guard\.safetensors is damaged: .*\. Restore it, or train again\."
        ):
            load_guard(tmp_path, token_width=50)
    means = drawn(60, 50, seed=0)
    space = fit_token_space(means, [str(n) for n in range(60)])
    facts = FACTS.model_copy(update={"rest": space.rest, "bound": space.bound})
    save_guard(tmp_path, Guard(facts, replace(space, variances=-space.variances)))
    with pytest.raises(RunError, match="other shapes or values"):
        load_guard(tmp_path, token_width=50)
    save_guard(tmp_path, Guard(facts, space))
    with pytest.raises(RunError, match="other shapes or values"):
        load_guard(tmp_path, token_width=49)


def test_a_guard_is_widened_by_what_the_model_was_trained_on_with():
    means = np.stack([features(seed=n).tokens[FeatureKey(0, "layer1")].mean(0) for n in range(40)])
    space = fit_token_space(means.astype(float), [str(n) for n in range(40)])
    guard = Guard(FACTS.model_copy(update={"bound": space.bound}), space)
    further = features(step=1.0, count=8, shift=3.0, look=Appearance(24, 32, 0.05, 0.0))
    assert len(check(guard, further).reasons) == 5
    wide = guard.widened([(further, further.tokens[FeatureKey(0, "layer1")])])
    assert check(wide, further).distance == pytest.approx(1.0, abs=0.01)
    assert check(wide, further).reasons == ()
    assert not check(wide, features()).is_outside
    assert check(wide, features(step=5.0)).reasons[0] == "0.2 frames a second; learnt at 1 to 6.25"
    assert check(wide, features(shift=9.0)).is_outside
