import numpy as np
import pytest
import torch

from actiondiff.datasets.packing import pack_arrays
from actiondiff.training.batches import by_identity, draw_batches
from actiondiff.types import Example


def drawn(lengths, *, seed=0, size=4, pool=8):
    return draw_batches(lengths, batch_size=size, pool=pool, generator=np.random.default_rng(seed))


def padded(lengths, batches):
    """Slots that a run through these batches computes."""
    return sum(int(lengths[batch].max()) * len(batch) for batch in batches)


@pytest.fixture
def lengths():
    return torch.from_numpy(np.random.default_rng(0).integers(1, 150, 403))


@pytest.mark.parametrize("pool", [1, 2, 8, 1000])
def test_every_clip_once_and_one_shorter_batch_at_most(lengths, pool):
    batches = drawn(lengths, pool=pool)
    assert sorted(torch.cat(batches).tolist()) == list(range(403))
    assert sorted(map(len, batches)) == [3, *[4] * 100]


def test_batches_by_length_pad_less(lengths):
    real, at_random, by_length = int(lengths.sum()), drawn(lengths, pool=1), drawn(lengths, pool=8)
    assert padded(lengths, at_random) > 1.4 * real
    assert padded(lengths, by_length) < 1.15 * real


def test_same_seed_same_batches_other_epoch_others(lengths):
    first, again, other = drawn(lengths), drawn(lengths), drawn(lengths, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    companions = [{frozenset(batch.tolist()) for batch in batches} for batches in (first, other)]
    assert len(companions[0] & companions[1]) < 5


def test_long_batches_come_at_any_time(lengths):
    longest = [int(lengths[batch].max()) for batch in drawn(lengths)]
    assert longest != sorted(longest)
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


def test_a_small_set_is_drawn_at_random():
    """A pool of all its clips would make the same batches in every epoch."""
    lengths = torch.arange(1, 29)
    assert [batch.tolist() for batch in drawn(lengths)] == [
        batch.tolist() for batch in drawn(lengths, pool=1)
    ]


def test_by_identity_sorts_by_video_span_and_labels():
    examples = [
        Example("b.mp4", ("x",)),
        Example("a.mp4", ("y",), start_seconds=2.0, end_seconds=3.0),
        Example("a.mp4", ("x",), start_seconds=2.0, end_seconds=3.0),
        Example("a.mp4", ("x",), start_seconds=1.0),
        Example("a.mp4", ("x",)),
    ]
    arrays = [np.full((number + 1, 2), number, np.float32) for number in range(5)]
    found = by_identity(pack_arrays(arrays, examples, ("x", "y")))
    assert found.tokens[found.offsets[:-1], 0].tolist() == [4, 3, 2, 1, 0]
    assert found.lengths.tolist() == [5, 4, 3, 2, 1]
    assert found.targets[:, 1].tolist() == [0, 0, 0, 1, 0]
    assert found.examples == tuple(examples[::-1])
    assert by_identity(found) is found
