import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from actiondiff.errors import RunError, UsageError
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle, save_bundle
from actiondiff.heads.options import HeadOptions

CONFIG = {
    "labels": ["walk", "run", "eat"],
    "activation": "softmax",
    "keys": ["t20.layer9"],
    "backbone": {"name": "tiny", "window": 8},
    "feature_fingerprint": "0" * 64,
}


@pytest.fixture
def head():
    return build_head(HeadOptions(name="mean-linear"), 8, 3)


@pytest.fixture
def bundle(head, tmp_path):
    save_bundle(tmp_path / "run", head, CONFIG)
    return tmp_path / "run"


def test_two_files_and_no_pickle(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((bundle / "config.json").read_text())
    assert config["head"]["name"] == "mean-linear"
    assert config["token_width"] == 8
    assert config["format"] == 1


@pytest.mark.parametrize("name", ["labels", "activation", "keys", "backbone", "feature_fingerprint"])
def test_nothing_may_be_missing_from_the_config(head, bundle, tmp_path, name):
    with pytest.raises(UsageError, match=name):
        save_bundle(tmp_path / "other", head, {k: v for k, v in CONFIG.items() if k != name})
    assert not (tmp_path / "other").exists()
    config = json.loads((bundle / "config.json").read_text())
    del config[name]
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=name):
        load_bundle(bundle)


def test_labels_and_values_must_fit_the_head(head, tmp_path):
    with pytest.raises(UsageError, match="3 classes needs as many labels; got 2"):
        save_bundle(tmp_path, head, {**CONFIG, "labels": ["walk", "run"]})
    unmeasured = build_head(HeadOptions(name="mean-linear", input="standardised"), 8, 3)
    with pytest.raises(UsageError, match="not trained: inputs"):
        save_bundle(tmp_path, unmeasured, CONFIG)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(RunError, match=f"no trained model: {name} missing"):
        load_bundle(bundle)
    with pytest.raises(RunError, match=r"config\.json and model\.safetensors missing"):
        load_bundle(bundle / "nowhere")


def test_damage_is_told(bundle):
    (bundle / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes()[:-5])
    with pytest.raises(RunError, match="damaged"):
        load_bundle(bundle)


def test_later_formats_are_refused(bundle):
    config = json.loads((bundle / "config.json").read_text())
    (bundle / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(RunError, match="format 1: format"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda tensors: tensors | {"classifier.weight": torch.zeros(3, 9)},
            r"weight is \(3, 9\), expected \(3, 8\)",
        ),
        (lambda tensors: tensors | {"extra": torch.zeros(1)}, r"extra is \(1,\), expected absent"),
        (lambda tensors: {"classifier.bias": tensors["classifier.bias"]}, "classifier.weight is absent"),
    ],
)
def test_weights_must_fit_the_config(bundle, change, told):
    path = bundle / "model.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(RunError, match=told):
        load_bundle(bundle)
