"""Windows: which frames they take, and that streaming equals planning."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import Frames
from actiondiff.video.windows import iter_windows, plan_windows

PADDINGS = ("black", "repeat", "shift")


def frames(count: int, *, timed: bool = True) -> Frames:
    """Frame i holds i + 1 everywhere; raw index 4 i; a tenth of a second apart."""
    pixels = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 3))
    seconds = np.arange(count) / 10 if timed else None
    return Frames(pixels.copy(), seconds, 4 * np.arange(count), identity="clip")


def slots(count, length, padding):
    return [window.slots for window in plan_windows(count, length=length, padding=padding)]


@pytest.mark.parametrize(
    ("padding", "expected", "num_real"),
    [
        ("black", [(0, 1, 2, 3), (4, 5, -1, -1)], [4, 2]),
        ("repeat", [(0, 1, 2, 3), (4, 5, 5, 5)], [4, 2]),
        ("shift", [(0, 1, 2, 3), (2, 3, 4, 5)], [4, 4]),
    ],
)
def test_the_last_window_is_filled_as_asked(padding, expected, num_real):
    windows = plan_windows(6, length=4, padding=padding)
    assert [window.slots for window in windows] == expected
    assert [window.num_real for window in windows] == num_real
    assert windows[-1].start == expected[-1][0]


@pytest.mark.parametrize(
    ("padding", "expected"), [("black", (0, 1, -1, -1)), ("repeat", (0, 1, 1, 1)), ("shift", (0, 1, 1, 1))]
)
def test_fewer_frames_than_a_window(padding, expected):
    (window,) = plan_windows(2, length=4, padding=padding)
    assert (window.slots, window.num_real) == (expected, 2)


@pytest.mark.parametrize("padding", PADDINGS)
def test_frames_that_fit_need_no_padding(padding):
    assert slots(8, 4, padding) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert slots(0, 4, padding) == []
    assert slots(3, 1, padding) == [(0,), (1,), (2,)]


@given(st.integers(0, 120), st.integers(1, 30), st.sampled_from(PADDINGS))
def test_every_frame_is_covered_and_kept(count, length, padding):
    windows = plan_windows(count, length=length, padding=padding)
    kept = [slot for window in windows for slot in window.slots[: window.num_real]]
    assert sorted(set(kept)) == list(range(count))
    assert all(len(window.slots) == length for window in windows)
    assert len(windows) == -(-count // length)
    if padding != "shift":
        assert kept == list(range(count))


@given(
    st.lists(st.integers(0, 20), max_size=12), st.integers(1, 12), st.sampled_from(PADDINGS), st.booleans()
)
def test_streaming_equals_planning_whatever_the_chunks(sizes, length, padding, timed):
    whole = frames(sum(sizes), timed=timed)
    ends = np.cumsum([0, *sizes])
    chunks = (whole[start:end] for start, end in pairwise(ends))
    found = list(iter_windows(chunks, length=length, padding=padding))
    planned = plan_windows(len(whole), length=length, padding=padding)
    assert [window for window, _ in found] == planned
    for window, part in found:
        assert part.pixels.shape == (length, 2, 3, 3)
        assert part.identity == "clip"
        last = window.slots[window.num_real - 1]
        shown = [slot + 1 if slot >= 0 else 0 for slot in window.slots]
        real = [slot if slot >= 0 else last for slot in window.slots]
        assert part.pixels[:, 0, 0, 0].tolist() == shown
        assert (part.pixels == part.pixels[:, :1, :1, :1]).all()
        assert part.frame_index.tolist() == [4 * slot for slot in real]
        if timed:
            assert part.seconds == pytest.approx(np.array(real) / 10)
        else:
            assert part.seconds is None


@pytest.mark.parametrize("padding", PADDINGS)
def test_windows_come_as_soon_as_their_frames_are_there(padding):
    asked = []

    def chunks():
        for start in range(0, 100, 5):
            asked.append(start)
            yield frames(100)[start : start + 5]

    windows = iter_windows(chunks(), length=10, padding=padding)
    assert asked == []
    next(windows)
    assert asked == [0, 5]
    next(windows)
    assert asked == [0, 5, 10, 15]


def test_padding_does_not_write_into_the_callers_frames():
    given_frames = frames(5)
    list(iter_windows([given_frames], length=4, padding="black"))
    assert given_frames.pixels.min() == 1


def test_wrong_arguments_are_said_at_once():
    with pytest.raises(UsageError, match="length is at least 1"):
        iter_windows([], length=0, padding="black")
    with pytest.raises(UnknownNameError, match="Did you mean 'repeat'"):
        iter_windows([], length=4, padding="repeats")
    with pytest.raises(UsageError, match="cannot be negative"):
        plan_windows(-1, length=4, padding="black")
