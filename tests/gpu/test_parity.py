"""The released code's features, which were computed on a CPU, against ours on CUDA."""

import importlib.util
from pathlib import Path

import pytest

MAPS, HALF = 1e-4, 6e-3


@pytest.fixture(scope="module")
def parity():
    path = Path(__file__).parents[2] / "benchmarks" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_float32(parity, shared_dir):
    """Also on black frames, where the released code is off by 2.5e-2, and ours on a CPU is not."""
    ours = parity.features(shared_dir / "goldens", device="cuda", dtype="float32", vae_dtype="float32")
    released = parity.errors(shared_dir / "goldens", device="cuda")["noisy/maps"]
    columns = parity.differences(ours, parity.features(shared_dir / "goldens", device="cpu"))
    assert sum(map(len, columns.values())) == 208
    for name, column in {**columns, "released": released}.items():
        assert {key: value for key, value in column.items() if not value < MAPS} == {}, name


def test_the_default_arithmetic(parity, shared_dir):
    columns = parity.errors(shared_dir / "goldens", device="cuda", dtype="float16", vae_dtype="auto-float16")
    assert {key: value for key, value in columns["noisy/maps"].items() if not value < HALF} == {}
