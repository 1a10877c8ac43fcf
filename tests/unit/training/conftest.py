import numpy as np
import pytest

from actiondiff.datasets.packing import pack_arrays
from actiondiff.types import Example

LABELS = ("walk", "run", "eat", "hop")


@pytest.fixture
def make_clips():
    """Clips of 4 classes that a head can tell apart: `make_clips(number, seed)`."""

    def make(count, seed, *, labels_a_clip=1, longest=9):
        random = np.random.default_rng(seed)
        centres = np.random.default_rng(99).normal(size=(4, 8))
        arrays, examples = [], []
        for index in range(count):
            chosen = random.choice(4, labels_a_clip, replace=False)
            length = random.integers(2, longest + 1)
            tokens = 2 * centres[chosen].mean(0) + 0.5 * random.normal(size=(length, 8))
            arrays.append(tokens.astype(np.float32))
            examples.append(Example(f"{index}.mp4", tuple(LABELS[c] for c in sorted(chosen))))
        return pack_arrays(arrays, examples, LABELS)

    return make
