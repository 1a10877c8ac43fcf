"""The clock: a table of cases, and random sequences with random faults."""

from fractions import Fraction

import numpy as np
import pytest

from actiondiff.video.clock import mend

MILLISECOND = Fraction(1, 1000)
LONG = list(range(0, 2000, 40))  # 50 frames at 25 a second


def times_of(ticks, **arguments):
    return mend(ticks, MILLISECOND, **arguments)


@pytest.mark.parametrize(
    ("ticks", "mended", "moved"),
    [
        pytest.param([0, 40, 80, 120], [0, 40, 80, 120], [], id="sound"),
        pytest.param([7, 47, 87], [0, 40, 80], [], id="begins later"),
        pytest.param([0, 40, 90, 600, 610], [0, 40, 90, 600, 610], [], id="varies"),
        pytest.param([0, 40, 80, 10080, 10120], [0, 40, 80, 10080, 10120], [], id="pause"),
        pytest.param([0, 40, 80, 80, 160, 200], [0, 40, 80, 120, 160, 200], [3], id="repeats the one before"),
        pytest.param([*LONG[:20], *LONG[21:22], *LONG[21:]], LONG, [20], id="repeats the next one"),
        pytest.param([0, 40, 80, 5, 160, 200], [0, 40, 80, 120, 160, 200], [3], id="goes back"),
        pytest.param([0, 40, 80, 99999, 160, 200], [0, 40, 80, 120, 160, 200], [3], id="far ahead"),
        pytest.param([0, 40, 80, 140, 130, 200], [0, 40, 80, 140, 170, 200], [4], id="one step back"),
        pytest.param([99999, 40, 80, 120, 160], [0, 40, 80, 120, 160], [0], id="first far ahead"),
        pytest.param([0, 40, 80, 120, 40], [0, 40, 80, 120, 160], [4], id="last goes back"),
        pytest.param([0, 40, 80, 120, 120], [0, 40, 80, 120, 160], [4], id="last repeats"),
        pytest.param([0, None, 80, None, None, 200], [0, 40, 80, 120, 160, 200], [1, 3, 4], id="missing"),
        pytest.param([None, None, 80, 120], [0, 40, 80, 120], [0, 1], id="missing at the start"),
        pytest.param([0, 40, 80, None], [0, 40, 80, 120], [3], id="missing at the end"),
        pytest.param([*LONG[:20], 3, 7, 9, *LONG[23:]], LONG, [20, 21, 22], id="three in a row"),
        pytest.param(
            [*LONG[:20], *range(10**6, 10**6 + 600, 40), *LONG[35:]], LONG, [*range(20, 35)], id="stretch off"
        ),
    ],
)  # fmt: skip
def test_only_wrong_times_move(ticks, mended, moved):
    schedule = times_of(ticks)
    assert schedule.seconds == pytest.approx(np.array(mended) / 1000, abs=1e-12)
    assert np.flatnonzero(schedule.moved).tolist() == moved
    assert schedule.is_mended == bool(moved)


@pytest.mark.parametrize("origin", [0, 5, 10**7], ids=["the same", "goes back", "goes on"])
def test_joined_streams_follow_each_other(origin):
    first, second = [tick + 1000 for tick in LONG], [tick + origin for tick in LONG]
    schedule = times_of(first + second, breaks=[50] if origin > 1000 else [])
    assert schedule.seconds == pytest.approx(np.arange(100) * 0.04)
    assert schedule.joins == (50,)
    assert not schedule.moved.any()


def test_a_step_forward_that_nothing_shows_to_be_a_seam_is_a_pause():
    schedule = times_of([*LONG, *(tick + 10**7 for tick in LONG)])
    assert schedule.seconds[50] == 10**4
    assert not schedule.is_mended


@pytest.mark.parametrize("rate", [1500, 2000, 3000, 4000, 7000])
def test_a_clock_that_is_too_coarse_is_refined(rate):
    ticks = [int(np.floor(1000 * index / rate + 0.5)) for index in range(300)]
    schedule = times_of(ticks)
    assert schedule.seconds == pytest.approx(np.arange(300) / rate, abs=0.0004)
    assert "too coarse" in schedule.reasons[0]


def test_a_pause_survives_a_coarse_clock():
    ticks = [int(index / 4 + 0.5) + (500 if index >= 100 else 0) for index in range(200)]
    seconds = times_of(ticks).seconds
    assert np.diff(seconds)[99] == pytest.approx(0.5, abs=0.001)
    assert np.delete(np.diff(seconds), 99).max() < 0.001


def test_times_in_the_order_of_storage_are_sorted():
    ticks = [0, 40, 120, 80, 200, 160, 280, 240, 360, 320]
    for is_slotted in (False, True):
        assert times_of(ticks, is_slotted=is_slotted).seconds == pytest.approx(np.arange(10) * 0.04)


@pytest.mark.parametrize("ticks", [[None] * 5, [3] * 5], ids=["none", "all the same"])
def test_a_stream_without_times_is_counted_only_at_a_stated_rate(ticks):
    assert times_of(ticks).seconds is None
    assert times_of(ticks, rate=Fraction(50)).seconds == pytest.approx(np.arange(5) / 50)


def test_at_most_the_faulty_frames_move():
    """10,800 sequences at even, jittery and varying rates, and with pauses; faults of each kind and mixed."""
    random = np.random.default_rng(0)
    for trial in range(10_800):
        true = random_times(random, ("even", "jitter", "varying", "pauses")[trial % 4])
        times, faulty = with_faults(random, true, trial // 4 % 5)
        schedule = mend(times, Fraction(1))
        assert set(np.flatnonzero(schedule.moved)) <= faulty, (trial, times)
        assert (np.diff(schedule.seconds) > 0).all()
        sound = np.array([index for index in range(len(times)) if index not in faulty])
        assert np.array_equal(schedule.seconds[sound], (true - true[0])[sound]), (trial, times)
        assert schedule.joins == ()


def random_times(random, rate):
    count, step = int(random.integers(12, 120)), int(random.choice([1, 3, 33, 40, 512, 3003, 3600]))
    steps = np.full(count - 1, step)
    if rate == "jitter":
        steps = np.maximum(1, steps + random.integers(-(step // 8), step // 8 + 1, count - 1))
    elif rate == "varying":
        steps = steps * random.integers(1, 8, count - 1)
    elif rate == "pauses":
        steps[random.integers(0, count - 1, 3)] *= random.integers(10, 5000, 3)
    return np.concatenate([[random.integers(0, 10**6)], steps]).cumsum()


def with_faults(random, true, kind):
    """Up to three faults: repeated, back, ahead, missing (0 to 3), or any of them (4)."""
    times, faulty = [int(time) for time in true], set()
    for at in random.integers(2, len(true) - 3, int(random.integers(1, 4))).tolist():
        if any(abs(at - other) < 4 for other in faulty):
            continue
        faulty.add(at)
        wrong = (
            int(true[at - 1]),
            int(true[at - 2] - random.integers(1, 10**5)),
            int(true[at + 2] + random.integers(1, 10**5)),
            None,
        )
        times[at] = wrong[kind if kind < 4 else int(random.integers(0, 4))]
    return times, faulty


def test_at_most_the_faulty_frames_move_about_a_seam():
    """Two clocks one after the other: distances within each are kept, and they are joined."""
    random = np.random.default_rng(1)
    for trial in range(500):
        true = random_times(random, ("even", "jitter")[trial % 2])
        seam = len(true) // 2
        if seam < 8:
            continue
        times = [
            *true[:seam].tolist(),
            *(true[seam:] - true[seam] + int(random.integers(0, true[0] + 1))).tolist(),
        ]
        schedule = mend(times, Fraction(1))
        assert schedule.joins == (seam,)
        assert not schedule.moved.any()
        assert np.diff(schedule.seconds[:seam]) == pytest.approx(np.diff(true[:seam]))
        assert np.diff(schedule.seconds[seam:]) == pytest.approx(np.diff(true[seam:]))
