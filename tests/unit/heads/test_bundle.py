import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from actiondiff.errors import RunError, UsageError
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig, load_bundle, read_config, save_bundle
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
    save_bundle(tmp_path / "run", head, ModelConfig.for_head(head, **CONFIG))
    return tmp_path / "run"


def test_two_files_and_no_pickle(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((bundle / "config.json").read_text())
    assert config["head"]["name"] == "mean-linear"
    assert config["token_width"] == 8
    assert config["format"] == 1


def test_the_config_is_written_as_it_always_was(head, tmp_path):
    """Byte for byte: in the order of training's fields, the head's own last; what is not set is left out."""
    facts = {
        **CONFIG,
        "features": {"backbone": CONFIG["backbone"], "sampling": {"stride": 2}, "store_dtype": "float16"},
        "feature_fingerprint": CONFIG["feature_fingerprint"],
        "clips_fingerprint": "1" * 64,
        "train_label_counts": [3, 2, 1],
        "num_train_clips": 6,
        "scored_labels": ["walk", "run"],
        "environment": {"versions": {"torch": None}, "python": "3.12", "commit": None},
    }
    later = {
        "span_tokens": 10,
        "thresholds": {"walk": 0.5, "run": 0.25, "eat": 1.0},
        "timeline": {"smooth_seconds": 0.5, "min_seconds": 0.0},
        "chosen_on": {"num_videos": 2, "frame_f1": 1.0, "segment_f1": 0.1 + 0.2},
    }
    own = {
        "format": 1,
        "head": head.options.model_dump(mode="json"),
        "token_width": 8,
        "temperature": 1.5,
    }
    order = ["labels", "activation", "keys", "backbone", "features", "feature_fingerprint"]
    facts = {name: facts[name] for name in [*order, *(name for name in facts if name not in order)]}
    config = ModelConfig.for_head(head, **facts)
    for name in ("thresholds", "span_tokens", "timeline", "chosen_on"):  # in any order
        config = config.replaced(**{name: later[name]})
    head.temperature = 1.5
    save_bundle(tmp_path, head, config)
    text = json.dumps({**facts, **later, **own}, indent=2) + "\n"
    assert (tmp_path / "config.json").read_text() == text
    assert read_config(tmp_path) == config.replaced(temperature=1.5)
    save_bundle(tmp_path, head, read_config(tmp_path))
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("name", ["labels", "activation", "keys", "backbone", "feature_fingerprint"])
def test_nothing_may_be_missing_from_the_config(head, bundle, name):
    with pytest.raises(UsageError, match=name):
        ModelConfig.for_head(head, **{k: v for k, v in CONFIG.items() if k != name})
    config = json.loads((bundle / "config.json").read_text())
    del config[name]
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=name):
        load_bundle(bundle)


def test_labels_and_values_must_fit_the_head(head, tmp_path):
    with pytest.raises(UsageError, match="3 classes needs as many labels; got 2"):
        save_bundle(tmp_path, head, ModelConfig.for_head(head, **CONFIG | {"labels": ["walk", "run"]}))
    unmeasured = build_head(HeadOptions(name="mean-linear", input="standardised"), 8, 3)
    with pytest.raises(UsageError, match="not trained: inputs"):
        save_bundle(tmp_path, unmeasured, ModelConfig.for_head(head, **CONFIG))


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
