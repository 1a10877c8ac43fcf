"""What a student learns from, in files that are larger than the memory may be."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.distillation import lessons
from actiondiff.distillation.distill import distill
from actiondiff.distillation.options import DistillOptions
from actiondiff.errors import UsageError
from actiondiff.video.write import write_video


@pytest.mark.parametrize("part", [3, 1024])
def test_statistics_of_parts_are_those_of_all_real_tokens(monkeypatch, part):
    monkeypatch.setattr(lessons, "_PART", part)
    random = np.random.default_rng(0)
    tokens = (random.normal(size=(10, 4, 5)) * [1, 100, 1e-3, 0, 2] + [0, 5, -3, 7, 1e4]).astype(np.float32)
    real = random.random((10, 4)) < 0.7
    mean, deviation = lessons.Lessons(np.empty(0, np.uint8), tokens, real).statistics()
    chosen = torch.from_numpy(tokens[real]).double()
    expected = chosen.std(0, correction=0)
    expected[3] = 1  # of a constant channel
    assert torch.allclose(mean.double(), chosen.mean(0), rtol=1e-6)
    assert torch.allclose(deviation.double(), expected, rtol=1e-5)


def test_a_full_disk_is_one_line_before_anything_is_decoded(monkeypatch, tmp_path):
    for number in range(2):
        pixels = np.full((8, 32, 32, 3), 100 * number, np.uint8)
        write_video(tmp_path / "clips" / f"{number}.mp4", pixels, fps=25)
    teacher = load_backbone("pixels", device="cpu", window=4, threads=1)
    ad.extract_features(tmp_path / "clips", tmp_path / "store", backbone=teacher, stride=1)
    monkeypatch.setattr(lessons.shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(UsageError, match=r"learning from 2 windows needs 0\.0 GB .* a smaller --size"):
        distill(
            tmp_path / "store", tmp_path / "clips", tmp_path / "out", DistillOptions(size=32), device="cpu"
        )
