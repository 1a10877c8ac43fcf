"""Extraction by workers that a Ray of this machine places, with one of them killed."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import store_contents

from actiondiff import extract_features, load_backbone
from actiondiff.errors import UsageError
from actiondiff.video.write import write_video

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

TINY = {"height": 32, "width": 32, "window": 4, "batch": 2, "threads": 1, "device": "cpu"}


@pytest.fixture
def clips(tmp_path) -> Path:
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (12 + 4 * number, 32, 32, 3), dtype=np.uint8)
        write_video(tmp_path / "clips" / f"{number}.mp4", pixels, fps=10)
    (tmp_path / "clips" / "bad.avi").write_text("no video")
    return tmp_path / "clips"


@pytest.fixture(autouse=True)
def _no_ray_left():
    yield
    ray.shutdown()


def busy_workers(token: str) -> list[int]:
    """Processes that do parts for the Ray of this test."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"_do_part" in title and token.encode() in environment:
            found.append(int(path.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds workers by /proc")
def test_a_killed_workers_part_is_redone_to_the_same_bits(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIONDIFF_TEST", str(tmp_path))
    backbone = load_backbone("tiny", **TINY)
    whole = extract_features(clips, tmp_path / "whole", backbone=backbone)
    killed, seen = [], []

    def kill(done: int, total: int, video: str) -> None:
        seen.append((done, total))
        if not killed:
            killed.extend(busy_workers(str(tmp_path))[:1])
            for process in killed:
                os.kill(process, signal.SIGKILL)

    summary = extract_features(
        clips, tmp_path / "store", backbone=backbone, engine="ray", workers=2, progress=kill
    )
    assert len(killed) == 1
    assert seen == [(n, 7) for n in range(1, 8)]
    assert summary.failed == whole.failed
    assert store_contents(tmp_path / "store") == store_contents(tmp_path / "whole")


def test_a_cluster_that_is_not_there(clips, tmp_path):
    with pytest.raises(UsageError, match="no Ray cluster can be reached at auto"):
        extract_features(
            clips, tmp_path / "s", backbone=load_backbone("tiny", **TINY), engine="ray", ray_address="auto"
        )


def test_a_cluster_that_was_there_before_goes_on(clips, tmp_path):
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    backbone = load_backbone("tiny", **TINY)
    summary = extract_features(clips / "0.mp4", tmp_path / "store", backbone=backbone, engine="ray")
    assert summary.num_done == 1
    assert ray.is_initialized()
    other = load_backbone("tiny", **{**TINY, "threads": 2})
    with pytest.raises(UsageError, match="no machine of this Ray cluster has 2 CPUs"):
        extract_features(clips, tmp_path / "other", backbone=other, engine="ray")
