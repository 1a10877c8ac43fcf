"""Clips, a teacher's features of them, a model trained on these, and a student."""

import numpy as np
import pytest

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.cli.main import run
from actiondiff.distillation.distill import distill
from actiondiff.distillation.options import DistillOptions
from actiondiff.video.write import write_video

FEW = DistillOptions(steps=60, batch=8, size=32)


def write_clips(folder, *, count=16):
    """Clips of a bright square that moves, on grounds of several shades."""
    random = np.random.default_rng(0)
    rows = ["video,label,group"]
    for number in range(count):
        frames = np.full((20, 32, 32, 3), random.integers(0, 120), np.uint8)
        step, top = number % 2, int(random.integers(0, 24))
        for place in range(20):
            frames[place, top : top + 8, step * place : step * place + 8] = (250, 200, 120)
        write_video(folder / f"clip_{number:02}.mp4", frames, fps=25)
        rows.append(f"clip_{number:02}.mp4,{('rest', 'move')[step]},animal{number // 2}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n", "utf-8")


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """Clips, the features of a teacher, a model trained on them, and a student."""
    folder = tmp_path_factory.mktemp("taught")
    (folder / "clips").mkdir()
    write_clips(folder / "clips")
    teacher = load_backbone("pixels", device="cpu", window=4, threads=1)
    ad.extract_features(folder / "clips", folder / "store", backbone=teacher, stride=1)
    options = ["--set", "training.epochs=6", "--set", "head.name=linear"]
    table = folder / "clips" / "table.csv"
    assert run(["train", str(folder / "store"), str(table), "-o", str(folder / "run"), *options]) == 0
    distill(folder / "store", table, folder / "student", FEW, model=folder / "run", device="cpu")
    return folder
