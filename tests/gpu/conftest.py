"""Tests on a CUDA device: `make gpu`. Without a device they are skipped."""

import functools
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder; third parties' warnings about a machine are no errors here."""
    missing = pytest.mark.skip(reason="needs a CUDA device, and torch finds none")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.filterwarnings("default"))
            if not torch.cuda.is_available():
                item.add_marker(missing)


@pytest.fixture
def memory(monkeypatch):
    """Limits the device's memory to what a number of windows needs, for a backbone."""

    def limit(backbone, windows: int) -> list[int]:
        sizes: list[int] = []
        real = backbone.encode

        @functools.wraps(real)
        def encode(batch, *arguments, **options):
            sizes.append(len(batch.num_real))
            if len(batch.num_real) > windows:
                torch.empty(2**50, dtype=torch.uint8, device="cuda")  # raises PyTorch's own error
            return real(batch, *arguments, **options)

        monkeypatch.setattr(backbone, "encode", encode)
        return sizes

    return limit
