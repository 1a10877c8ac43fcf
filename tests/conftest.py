"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips, golden files and annotations; tests that need it skip where it is not."""
    folder = Path(os.environ.get("ACTIONDIFF_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared test material, which is not at {folder} (set ACTIONDIFF_SHARED)")
    return folder
