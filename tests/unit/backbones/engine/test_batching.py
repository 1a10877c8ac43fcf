"""The batch that `--batch auto` chooses, and that a store keeps it."""

import json

import numpy as np
import pytest
import torch

from actiondiff import FeatureStore, load_backbone
from actiondiff.backbones.engine import batching
from actiondiff.cli.main import run
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video

KEYS = [FeatureKey(0, "layer1")]


@pytest.fixture
def machine(monkeypatch):
    """A backbone on a machine where a batch takes `start + n * each` seconds, and so many windows fit."""

    def make(*, start: float, each: float, room: int):
        now, backbone = [0.0], load_backbone("pixels", device="cpu")
        real = backbone.maps

        def maps(windows, keys):
            count = len(windows.num_real)
            if count > room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            now[0] += start + count * each
            return real(windows, keys)

        monkeypatch.setattr(backbone, "maps", maps)
        monkeypatch.setattr(batching.time, "perf_counter", lambda: now[0])
        return backbone

    return make


@pytest.mark.parametrize(
    ("start", "each", "room", "wanted"),
    [
        (0, 1, 99, 1),  # nothing is gained
        (1, 1, 99, 16),  # a window takes 2, 1.5, 1.25, 1.125, 1.06, 1.03 s: the last saves 3 % only
        (9, 1, 5, 4),  # more does not fit
        (9, 0.01, 999, 32),  # the most there is
    ],
)
def test_the_fastest_batch_that_fits(machine, start, each, room, wanted):
    backbone = machine(start=start, each=each, room=room)
    assert batching.choose_batch(backbone, KEYS) == wanted
    assert backbone.options.batch == backbone.settings["batch"] == wanted


def test_no_room_for_one_window(machine):
    with pytest.raises(UsageError, match="does not suffice for one window"):
        batching.choose_batch(machine(start=1, each=1, room=0), KEYS)


def test_the_command_records_its_choice_and_keeps_to_it(tmp_path, monkeypatch, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "clips/a.mp4", pixels, fps=10)
    write_video(tmp_path / "clips/b.mp4", pixels[::-1].copy(), fps=10)
    chosen = iter([3, 7])

    def choose(backbone, keys):
        batching._set_batch(backbone, next(chosen))

    monkeypatch.setattr(batching, "choose_batch", choose)
    command = ["extract", "-o", str(tmp_path / "store"), "--backbone", "pixels", "--batch", "auto", "--json"]
    assert run([*command, str(tmp_path / "clips/a.mp4"), "--root", str(tmp_path / "clips")]) == 0
    capsys.readouterr()
    assert run([*command, str(tmp_path / "clips")]) == 0
    assert json.loads(capsys.readouterr().out)["num_done"] == 1
    assert FeatureStore.open(tmp_path / "store").settings["backbone"]["batch"] == 3
    assert run([*command, str(tmp_path / "clips"), "--batch", "many"]) == 1
    assert "--batch takes a number of windows, or auto; got 'many'" in capsys.readouterr().err
