"""Clips of two kinds and their features, for the commands that come after extraction."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_rows

from actiondiff.cli.main import run
from actiondiff.video.write import write_video

SMALL = ["--height", "32", "--width", "32", "--window", "4", "--batch", "2", "--device", "cpu"]
QUICK = ["head.name=mean-linear", "head.input=plain", "head.project=null", "training.epochs=3",
         "training.warmup_epochs=1", "training.learning_rate=0.1"]  # fmt: skip


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory) -> Path:
    """`clips/`, `table.csv`, and `features` at timestep 20 of layers 3 and 9; not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        kind = ("dark", "bright")[number % 2]
        pixels = rng.integers(0, 90, (12, 32, 32, 3), dtype=np.uint8) + np.uint8(150 * (kind == "bright"))
        write_video(folder / "clips" / f"{number}.mp4", pixels, fps=10)
        rows.append({"video": f"clips/{number}.mp4", "label": kind, "site": ("north", "south")[number // 8]})
    write_rows(folder / "table.csv", rows)
    arguments = [str(folder / "table.csv"), "-o", str(folder / "features"), *SMALL, "--stride", "2"]
    assert run(["extract", *arguments, "--layers", "3,9"]) == 0
    return folder


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Options of `train` that make it quick."""
    return [part for option in QUICK for part in ("--set", option)]


@pytest.fixture(scope="session")
def trained(study_folder, quick) -> Path:
    """A run; not to be changed."""
    arguments = [str(study_folder / "features"), str(study_folder / "table.csv"), *quick]
    assert run(["train", *arguments, "-o", str(study_folder / "run")]) == 0
    return study_folder / "run"
