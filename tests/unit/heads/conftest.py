import numpy as np
import pytest

from actiondiff.datasets.packing import pack_arrays
from actiondiff.types import Example


@pytest.fixture
def clips():
    """Seven random clips of 1 to 20 tokens of width 12, with three classes."""
    random = np.random.default_rng(0)
    lengths = [20, 3, 1, 8, 8, 15, 5]
    arrays = [random.normal(size=(length, 12)).astype(np.float32) for length in lengths]
    examples = [Example(f"{i}.mp4", (f"class{i % 3}",)) for i in range(len(lengths))]
    return pack_arrays(arrays, examples, ["class0", "class1", "class2"])
