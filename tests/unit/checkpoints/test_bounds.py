"""What a file of weights says of its network is bounded, and wrong numbers are one line."""

import json

import pytest
from tests.unit.checkpoints.conftest import HEAD_DIMS

from actiondiff.checkpoints.bounds import check_config
from actiondiff.checkpoints.convert import convert_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import WeightsError


@pytest.fixture(scope="module")
def converted(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds") / "w"
    convert_weights(original, folder, dtype="float32", **HEAD_DIMS)
    return folder


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"layers_per_block": 10**9}),
        ("unet", {"block_out_channels": [10**12] * 4}),
        ("unet", {"block_out_channels": [32] * 100_000}),
        ("unet", {"block_out_channels": "32"}),
        ("unet", {"block_out_channels": []}),
        ("unet", {"num_attention_heads": [0, 4, 4, 6]}),
        ("unet", {"num_attention_heads": [2, 4]}),
        ("unet", {"num_attention_heads": 10**400}),
        ("unet", {"in_channels": -1}),
        ("unet", {"transformer_layers_per_block": 10**6}),
        ("unet", {"down_block_types": ["x" * 10_000] * 4}),
        ("unet", {"cross_attention_dim": None}),
        ("image_encoder", {"num_hidden_layers": 10**9}),
        ("image_encoder", {"hidden_size": "wide"}),
        ("image_encoder", {"hidden_act": "no such function"}),
        ("image_encoder", {"patch_size": 0}),
        ("image_encoder", {"image_size": 10**30}),
        ("image_encoder", {"layer_norm_eps": 1e999}),
        ("vae_encoder", {"layers_per_block": 10**8}),
        ("vae_encoder", {"norm_num_groups": 0}),
        ("vae_encoder", {"latent_channels": 1.5}),
        ("vae_encoder", {"block_out_channels": {"a": 1}}),
    ],
)
def test_a_configuration_of_others_is_one_line(converted, part, changes):
    path = converted / part / "config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | changes))
    try:
        with pytest.raises(WeightsError) as caught:
            open_checkpoint(converted)
    finally:
        path.write_text(before)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert str(converted) in str(caught.value)
    open_checkpoint(converted)


def test_names_of_tensors_do_not_ask_for_a_billion_layers(original, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(original)
    key = next(name for name in tensors if "transformer.resblocks.0.ln_1.weight" in name)
    tensors[key.replace("resblocks.0.", "resblocks.999999999.")] = tensors[key].clone()
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="num_hidden_layers is 1000000000; allowed is at most 256"):
        open_checkpoint(tmp_path / "x.safetensors", **HEAD_DIMS)


def test_nested_fields_are_checked():
    check_config({"text_config": {"num_hidden_layers": 24, "vocab_size": 49_408, "eps": 1e-5}}, source="x")
    with pytest.raises(WeightsError, match=r"text_config\.num_hidden_layers is 100000"):
        check_config({"text_config": {"num_hidden_layers": 100_000}}, source="x")
    deep: dict[str, object] = {}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(WeightsError, match="fewer fields"):
        check_config(deep, source="x")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0] * 100, "data_offsets": [0, 0]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F" * 10_000, "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**40]},
        {"dtype": "F32", "shape": 7, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        [],
    ],
)
def test_entries_of_a_table_of_contents(tmp_path, entry):
    text = json.dumps({"a" * 50: entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(WeightsError) as caught:
        TensorFile(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
