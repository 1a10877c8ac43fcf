"""Files that other people wrote: what they name stays in its folder, and what they hold is checked."""

import json
import os

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tests.conftest import identity_of, table_of
from tests.unit.features.conftest import KEYS, create, features, fill

from actiondiff.backbones.base import backbone_from_settings, load_backbone
from actiondiff.checkpoints import convert
from actiondiff.checkpoints.folders import weight_files
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.datasets.packing import pack
from actiondiff.errors import RunError, StoreError, UsageError, WeightsError
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.feature_file import read_header
from actiondiff.features.merge import merge_stores
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig, load_bundle, save_bundle
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.folders import find_model_folder
from actiondiff.outputs.documents import parse_yaml
from actiondiff.types import Example

LEADING_OUT = "../../escaped"


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("place", ["index.csv", "journal.jsonl"])
@pytest.mark.parametrize("column", ["identity", "file"])
def test_no_column_of_an_index_leads_out_of_the_merged_store(tmp_path, place, column):
    store = fill(tmp_path / "deep/er/theirs", ["a.mp4"])
    row = store.row("a.mp4")._replace(**{column: LEADING_OUT})
    (tmp_path / "deep/escaped").write_text("mine")
    if place == "index.csv":
        text = (store.folder / place).read_text()
        (store.folder / place).write_text(text.replace(store.row("a.mp4")._asdict()[column], LEADING_OUT))
    else:
        (store.folder / place).write_text(json.dumps(["a.mp4", row, None]))
    before = files_below(tmp_path)
    merge_stores([store.folder], tmp_path / "deep/er/merged", link=False)
    new = set(files_below(tmp_path)) - set(before)
    assert all(name.startswith(("deep/er/merged/", "deep/er/theirs/")) for name in new)
    assert FeatureStore.open(tmp_path / "deep/er/merged").videos() == ["a.mp4"]  # from its sound file
    assert (tmp_path / "deep/escaped").read_text() == "mine"


@pytest.mark.parametrize("name", ["../other", "/etc", "seed-0/../../other", ""])
def test_the_best_seed_lies_in_the_run(tmp_path, name):
    (tmp_path / "other").mkdir()
    (tmp_path / "run/seed-0").mkdir(parents=True)
    (tmp_path / "run/best-seed.txt").write_text(name)
    with pytest.raises(RunError, match=r"best-seed\.txt names the file"):
        find_model_folder(tmp_path / "run")
    (tmp_path / "run/best-seed.txt").write_text("seed-0\n")
    assert find_model_folder(tmp_path / "run") == tmp_path / "run/seed-0"


@pytest.mark.parametrize("content", [{"weight_map": {"a": "../x.safetensors"}}, {"weight_map": [1]}, {}, [1]])
def test_an_index_of_weights_names_files_beside_it(tmp_path, content):
    (tmp_path / "x.safetensors").touch()
    (tmp_path / "unet").mkdir()
    index = tmp_path / "unet/model.safetensors.index.json"
    index.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"model\.safetensors\.index\.json") as caught:
        weight_files(tmp_path / "unet")
    assert "\n" not in str(caught.value)


def test_features_are_checked_when_they_are_packed(tmp_path):
    store = fill(tmp_path, ["a.mp4", "bb.mp4"])
    examples = [Example("a.mp4", ("x",)), Example("bb.mp4", ("y",))]
    first, second = (store.folder / store.row(name).file for name in ("a.mp4", "bb.mp4"))
    sound = first.read_bytes()

    # One bit of a token.
    changed = bytearray(sound)
    changed[-5] ^= 1
    first.write_bytes(changed)
    with pytest.raises(StoreError, match=f"{first.name}.*does not fit its checksum.*verify"):
        pack(FeatureStore.open(tmp_path), examples, list(KEYS), ["x", "y"])

    # The file of another video, in place of this one's.
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match=f"{first.name}.*of another video"):
        pack(FeatureStore.open(tmp_path), examples, KEYS[0], ["x", "y"])

    # No file: its name is in the message, not "Known: none".
    first.unlink()
    with pytest.raises(StoreError, match=f"{first.name} does not exist"):
        pack(FeatureStore.open(tmp_path), examples, KEYS[0], ["x", "y"])
    assert FeatureStore.open(tmp_path).keys() == list(KEYS)

    first.write_bytes(sound)
    assert len(pack(FeatureStore.open(tmp_path), examples, KEYS[0], ["x", "y"])) == 2


def test_a_header_with_another_identity_is_refused(tmp_path):
    store = create(tmp_path)
    with pytest.raises(UsageError, match="an identity is a hash"):
        store.write(
            "a.mp4", features("a.mp4").__class__(**{**vars(features("a.mp4")), "identity": "../../x"})
        )
    assert table_of(tmp_path, []).examples == ()
    assert identity_of("a.mp4").isalnum()


@pytest.mark.parametrize("damage", ["nan", "inf", "int"])
def test_a_head_without_finite_weights_does_not_predict(tmp_path, damage):
    head = build_head(HeadOptions(name="mean-linear"), 8, 2)
    config = ModelConfig.for_head(
        head, labels=["a", "b"], activation="softmax", keys=["t20.layer9"], backbone={"name": "tiny"},
        feature_fingerprint="0" * 64,
    )  # fmt: skip
    save_bundle(tmp_path, head, config)
    tensors = load_file(tmp_path / "model.safetensors")
    name = sorted(tensors)[0]
    if damage == "int":
        tensors[name] = torch.zeros(tensors[name].shape, dtype=torch.int64)
    else:
        tensors[name].view(-1)[0] = float(damage)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match=f"{name}.*not finite floating-point") as caught:
        load_bundle(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"layers": 10**9}, {"project": 10**12}, {"max_tokens": 10**15}])
def test_sizes_in_a_downloaded_model_are_bounded(tmp_path, change):
    head = build_head(HeadOptions(name="mean-linear"), 8, 2)
    config = ModelConfig.for_head(
        head, labels=["a", "b"], activation="softmax", keys=["t20.layer9"], backbone={"name": "tiny"},
        feature_fingerprint="0" * 64,
    )  # fmt: skip
    save_bundle(tmp_path, head, config)
    fields = json.loads((tmp_path / "config.json").read_text())
    fields["head"] |= change
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(RunError, match="less than or equal to") as caught:
        load_bundle(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"threads": 10**9}, {"batch": 10**9}, {"height": 10**6}, {"window": 10**9}]
)
def test_sizes_of_a_downloaded_backbone_are_bounded(change):
    settings = {**load_backbone("pixels", device="cpu").settings, **change}
    with pytest.raises(UsageError, match="less than or equal to") as caught:
        backbone_from_settings(settings, device="cpu")
    assert "\n" not in str(caught.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 5000,
        "a: " * 200 + "1",
        "seed: " + "9" * 5000,
        "? [a]\n: b",
        "x" * 1_000_001,
        "!!python/name:os.system",
    ],
)
def test_a_recipe_of_others_is_read_within_bounds(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_yaml_within_the_bounds_is_read_as_always():
    text = "a: {b: [1, 2.5, x, null, true, 2020-01-01]}\n"
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "table",
    [
        '{"a":' * 20_000,
        "[1]",
        '{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % ("9" * 400),
        '{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}',
        '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % ("9" * 5000),
    ],
)
def test_headers_of_weights_are_read_within_bounds(tmp_path, table):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(table).to_bytes(8, "little") + table.encode() + bytes(4))
    with pytest.raises(WeightsError) as caught:
        TensorFile(path)
    assert "\n" not in str(caught.value)


def test_headers_of_features_are_read_within_bounds(tmp_path):
    store = fill(tmp_path, ["a.mp4"])
    path = store.folder / store.row("a.mp4").file
    save_file({"a": torch.zeros(1)}, path, metadata={"actiondiff": "[" * 100_000})
    with pytest.raises(StoreError, match="damaged"):
        read_header(path)


@pytest.mark.parametrize("shape", ["(9223372036854775807, 2)", "(99999999999, 99999)", "(5, 5)", "(-1, 2)"])
def test_headers_of_arrays_are_read_within_bounds(tmp_path, shape):
    from actiondiff.features.importers import import_features

    source = tmp_path / "source"
    (source / "layer_1").mkdir(parents=True)
    np.save(source / "layer_1/sound_mean.npy", np.ones((3, 2), np.float32))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    bomb = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(16)
    (source / "layer_1/bomb_mean.npy").write_bytes(bomb)
    summary = import_features(
        source, tmp_path / "store", backbone="svd-xt", timestep=20, stride=4, root=tmp_path
    )
    assert (summary.num_videos, list(summary.failed)) == (1, ["bomb.mp4"])


def test_a_reused_process_id_does_not_block_a_conversion(tmp_path):
    (tmp_path / f".w.{os.getpid()}.part").mkdir()  # what a killed process of this number left
    with convert._whole_or_not(tmp_path / "w") as aside:
        (aside / "x").touch()
    assert files_below(tmp_path / "w") == ["x"]
