"""Fixtures that every test may use, and helpers that several test files share.

A test file imports helpers by name: `from tests.conftest import read_rows`.
"""

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actiondiff.datasets.base import Table
from actiondiff.outputs.claims import STATE_FOLDER
from actiondiff.types import Example, Frames

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips, golden files and annotations; tests that need it skip where it is not."""
    folder = Path(os.environ.get("ACTIONDIFF_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared test material, which is not at {folder} (set ACTIONDIFF_SHARED)")
    return folder


def random_frames(count: int = 8, seed: int = 0, *, height: int = 20, width: int = 24) -> Frames:
    """A video of noise, every fourth frame of one at 20 frames per second."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Frames(pixels, seconds=np.arange(count) / 5, frame_index=np.arange(count) * 4)


def table_of(root: Path, examples: Iterable[Example]) -> Table:
    """A table of these examples that lies in a folder."""
    return Table(root / "t.csv", root, tuple(examples))


def store_settings(**backbone: Any) -> dict[str, Any]:
    """Settings of a feature store: of a backbone with these settings, at stride 4."""
    return {"format": 1, "backbone": backbone, "sampling": {"stride": 4}, "store_dtype": "float32"}


def identity_of(name: str) -> str:
    """An identity for features of a video that does not exist: sha256 of its name."""
    return hashlib.sha256(name.encode()).hexdigest()


def store_contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store except those that describe the machine or the process."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name not in ("store.json", ".lock")}


def written_files(folder: Path) -> list[str]:
    """Every file that a command wrote to a folder, sorted, without its record of them."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if STATE_FOLDER not in path.parts)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figure_texts(figure: Any) -> list[str]:
    """Every text of a figure, in order."""
    return re.findall(r"<text[^>]*>(.*?)</text>", figure.svg(), re.DOTALL)


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows as a CSV file with the first row's columns."""
    rows = list(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
