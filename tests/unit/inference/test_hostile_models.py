"""A downloaded model with any value in its config either predicts, or is refused in one line."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from actiondiff.backbones.base import load_backbone
from actiondiff.errors import ActionDiffError
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig, save_bundle
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.types import Frames

VALUES = [
    None, True, -1, 0, 1, 2, 1.5, 10**9, 10**30, 10**400, math.nan, math.inf, 1e-320, 1e300, "", "x", "O",
    "S9999999999", "x" * 100_000, "../../x", [], [1], ["x"] * 3, [[[[]]]], {}, {"a": {"b": {}}},
    {"dark": math.nan},
]  # fmt: skip
DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small model with every field set."""
    folder = tmp_path_factory.mktemp("sound")
    backbone = load_backbone("pixels", device="cpu", height=16, width=16, window=4)
    frames = Frames(np.zeros((8, 16, 16, 3), np.uint8), seconds=np.arange(8) / 8, frame_index=np.arange(8))
    width = next(iter(backbone.extract(frames).tokens.values())).shape[1]
    head = build_head(HeadOptions(name="mean-linear"), width, 2)
    config = ModelConfig.for_head(
        head, labels=["dark", "bright"], activation="softmax", keys=["t0.pixels"],
        backbone=backbone.settings, features={"sampling": {"stride": 4}, "store_dtype": "float32"},
        feature_fingerprint="0" * 64, train_label_counts=[3, 4], num_train_clips=7,
        scored_labels=["dark"], span_tokens=3, frame_seconds=0.5, thresholds={"dark": 0.5},
        timeline={"step_seconds": 0.5}, environment={"python": "3"},
    )  # fmt: skip
    save_bundle(folder, head, config)
    return folder, frames


def use(folder, frames) -> str:
    """Predict in every way; the message if the model is refused."""
    try:
        model = ActionDiff.from_pretrained(folder, device="cpu")
        prediction = model.predict(frames)
        assert all(0 <= p <= 1 for p in prediction.probabilities.values())
        model.timeline(frames)
    except ActionDiffError as error:
        return str(error)
    return ""


def places(fields, prefix=()):
    """The path of each value of a nested configuration."""
    for name, value in fields.items():
        yield (*prefix, name)
        if isinstance(value, dict):
            yield from places(value, (*prefix, name))


def test_any_value_predicts_or_is_refused_in_one_line(sound, tmp_path):
    folder, frames = sound
    assert use(folder, frames) == ""
    sound_fields = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    refused = 0
    for path in places(sound_fields):
        for value in [*VALUES, DEEP]:
            fields = json.loads(json.dumps(sound_fields))
            inner = fields
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = value
            (tmp_path / "config.json").write_text(json.dumps(fields))
            message = use(tmp_path, frames)
            assert "\n" not in message, (path, value)
            assert len(message) < 2000, (path, value)
            refused += bool(message)
    assert refused > 500


@pytest.mark.parametrize("name", ["transformer", "linear", "mean-linear", "mlp", "attentive"])
@pytest.mark.parametrize(
    "change",
    [
        {"layers": 256, "ff_mult": 64, "project": 65_536, "heads": 1},
        {"project": 65_536, "max_tokens": 1_000_000},
        {"max_tokens": 1_000_000, "fusion": 1024},
    ],
)
def test_no_memory_is_taken_for_sizes_that_the_weights_do_not_have(sound, tmp_path, name, change):
    """The largest sizes that the options allow would take a hundred gigabytes and more."""
    folder, frames = sound
    fields = json.loads((folder / "config.json").read_text())
    fields["head"] |= {**change, "name": name}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    save_file(load_file(folder / "model.safetensors"), tmp_path / "model.safetensors")
    message = use(tmp_path, frames)
    assert message
    assert "\n" not in message
