"""Conditioning on names of actions: the tokens, where they go, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import random_frames
from transformers import CLIPTextModelWithProjection

from actiondiff import FeatureStore, Frames, load_backbone
from actiondiff.backbones.base import WindowBatch, backbone_from_settings
from actiondiff.backbones.svd.text import ActionTexts, action_names
from actiondiff.checkpoints import hub
from actiondiff.cli.main import run
from actiondiff.errors import SettingsMismatchError, UsageError, WeightsError
from actiondiff.testing import check_backbone
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video

NAMES = ("walk", "run", "eat")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LAYERS = range(1, 14)


def load(folder, actions=NAMES, **options):
    size = {"height": 32, "width": 48, "threads": 1, "device": "cpu"}
    return load_backbone(
        "random-tiny", conditioning="text", text_weights=folder, actions=actions, **size, **options
    )


def numbers_of(name):
    """Token numbers by hand: every letter is a token, the last of a word another one."""
    begin, end = 2 * len(LETTERS), 2 * len(LETTERS) + 1
    return [begin, *(LETTERS.index(c) for c in name[:-1]), len(LETTERS) + LETTERS.index(name[-1]), end]


def test_tokens_are_the_towers_projected_text_embeddings(text_folder):
    model = CLIPTextModelWithProjection.from_pretrained(text_folder).eval()
    ids = [numbers_of(name) for name in NAMES]
    longest = max(map(len, ids))
    padded = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in ids])
    with torch.no_grad():
        expected = model(padded).text_embeds
    found = ActionTexts(text_folder, NAMES).embeddings
    assert found.shape == (3, 32)
    assert (found - expected).norm() / expected.norm() < 1e-6
    assert torch.equal(ActionTexts(text_folder, NAMES[1:]).embeddings, found[1:])


def test_pooling_does_not_hang_on_the_configurations_end_token(text_folder, tmp_path):
    """Old configurations name 2 whatever the tokenizer has; and whole CLIPs misstate the tower's width."""
    whole = tmp_path / "whole"
    shutil.copytree(text_folder, whole)
    text = json.loads((whole / "config.json").read_text("utf-8"))
    text |= {"eos_token_id": 2, "projection_dim": 512}
    fields = {"model_type": "clip", "projection_dim": 32, "text_config": text, "vision_config": {}}
    (whole / "config.json").write_text(json.dumps(fields), "utf-8")
    tensors = load_file(whole / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    tensors["vision_model.embeddings.class_embedding"] = torch.zeros(4)
    save_file(tensors, whole / "model.safetensors")
    ours, theirs = ActionTexts(whole, NAMES), ActionTexts(text_folder, NAMES)
    assert torch.equal(ours.embeddings, theirs.embeddings)
    assert ours.identity == theirs.identity


@torch.no_grad()
def test_equals_diffusers_stock_forward_with_as_many_tokens_as_actions(text_folder, stock_layers):
    backbone = load(text_folder)
    pixels = backbone.preprocess(torch.from_numpy(random_frames().pixels))[None]
    batch = WindowBatch(pixels, (8,), ("x",), (0,))
    encoded = backbone.encode(batch)
    assert encoded.spatial.shape == (1, 8, 3, 32)
    assert encoded.temporal.shape == (1, 3, 32)
    tokens = ActionTexts(text_folder, NAMES).embeddings
    assert torch.equal(encoded.temporal[0], tokens)
    assert torch.equal(encoded.spatial[0, 5], tokens)
    maps = backbone.maps(batch, [FeatureKey.of(20, layer) for layer in LAYERS])
    stock, first_only = (stock_layers(encoded, 20, part) for part in (tokens[None], tokens[None, :1]))
    for layer in LAYERS:
        ours = maps[FeatureKey.of(20, layer)][0]
        assert (ours - stock[layer]).norm() / stock[layer].norm() < 1e-5, layer
        assert layer == 1 or (ours - first_only[layer]).norm() / stock[layer].norm() > 1e-3, layer


def test_passes_the_checks_of_every_backbone(text_folder):
    check_backbone(load(text_folder, window=4, batch=2))


def test_windows_of_one_batch_keep_apart(text_folder):
    both = load(text_folder, batch=2).extract(random_frames(16), layers=[9])[20, 9]
    other = load(text_folder, batch=2).extract(Frames(random_frames(16).pixels[:8]), layers=[9])[20, 9]
    assert np.array_equal(both[:8], other)
    assert not np.array_equal(both[8:], other)


@pytest.mark.parametrize(("actions", "reads"), [(NAMES, True), (("walk",), False)])
def test_query_and_key_weights_are_read_where_they_are_live(text_folder, actions, reads):
    backbone = load(text_folder, actions)
    names: list[str] = []
    read = backbone._checkpoint.tensors
    backbone._checkpoint.tensors = lambda component, wanted=None, *, dtype=None: (
        names.extend(wanted),
        read(component, wanted, dtype=dtype),
    )[1]
    backbone.extract(random_frames(), layers=[13])
    for part in (".attn2.to_q.weight", ".attn2.to_k.weight", ".transformer_blocks.0.norm2.weight"):
        assert any(part in name for name in names) is reads
    assert not any("image" in name or "vision" in name for name in names)  # CLIP sees no picture


def test_order_does_not_matter_but_names_do(text_folder):
    features = [
        load(text_folder, actions).extract(random_frames(), layers=[9])[20, 9]
        for actions in (NAMES, NAMES[::-1])
    ]
    np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-5)
    assert (
        np.abs(
            load(text_folder, ("walk", "fly")).extract(random_frames(), layers=[9])[20, 9] - features[0]
        ).max()
        > 1e-3
    )


def test_settings_name_actions_and_tower_and_rebuild_it(text_folder, make_text_folder, tmp_path):
    backbone = load(text_folder)
    settings = json.loads(json.dumps(backbone.settings))
    assert settings == backbone.settings
    assert settings["actions"] == list(NAMES)
    assert settings["embedding"] == "text"
    assert settings["latents"] == "own"
    assert str(text_folder) not in json.dumps(settings)
    again = backbone_from_settings(settings, text_weights=text_folder, device="cpu")
    assert np.array_equal(
        again.extract(random_frames(), layers=[9])[20, 9],
        backbone.extract(random_frames(), layers=[9])[20, 9],
    )
    other = make_text_folder(tmp_path / "other", intermediate_size=32)
    with pytest.raises(SettingsMismatchError, match=r"text_weights: .*--text-weights"):
        backbone_from_settings(settings, text_weights=other, device="cpu")
    assert load(text_folder, NAMES[:2]).settings["text_weights"] != settings["text_weights"]


def test_the_tower_is_found_in_the_machines_folder_of_weights(text_folder, tmp_path, monkeypatch):
    shutil.copytree(text_folder, tmp_path / "text")
    monkeypatch.setenv("ACTIONDIFF_WEIGHTS", str(tmp_path))
    settings = load(text_folder).settings
    assert backbone_from_settings(settings, device="cpu").settings == settings


def test_the_tower_may_be_a_hub_id(text_folder, monkeypatch):
    asked = []

    def snapshot_download(repo_id, *, allow_patterns):
        asked.append((repo_id, set(allow_patterns)))
        return str(text_folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert load("owner/clip").settings == load(text_folder).settings
    ((repo_id, patterns),) = asked
    assert repo_id == "owner/clip"
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt"} <= patterns


def test_names_from_a_text_a_sequence_or_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("holding a dish, a bowl\n\n run \n", "utf-8")
    assert action_names("walk, run") == action_names(["walk", "run "]) == ("walk", "run")
    assert action_names(str(tmp_path / "names.txt")) == ("holding a dish, a bowl", "run")


@pytest.mark.parametrize(
    ("given", "text"),
    [("", "needs names"), ([], "needs names"), ("walk,,run", "needs names"), ([" "], "needs names"),
     ("run,walk,run", "more than once: run"), ("missing.txt", "cannot be read from missing.txt")],
)  # fmt: skip
def test_names_that_cannot_be_used(given, text):
    with pytest.raises(UsageError, match=text):
        action_names(given)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"conditioning": "text", "text_weights": "T"}, UsageError, r"needs actions= \(--actions\)"),
        ({"conditioning": "text", "text_weights": "T", "actions": ()}, UsageError, "needs names"),
        ({"conditioning": "text", "actions": "walk"}, WeightsError, r"text_weights= \(--text-weights"),
        ({"text_weights": "T"}, UsageError, "text_weights go with conditioning text; got embedding own"),
        ({"actions": "walk", "text_weights": "T"}, UsageError, "actions and text_weights go with"),
        ({"conditioning": "text", "actions": "a", "text_weights": "./no"}, WeightsError, "no weights at"),
        ({"conditioning": "text", "actions": LETTERS, "text_weights": "T"}, UsageError, "reads at most 12"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(text_folder, options, error, text, monkeypatch):
    monkeypatch.delenv("ACTIONDIFF_WEIGHTS", raising=False)
    if options.get("text_weights") == "T":
        options = options | {"text_weights": text_folder}
    with pytest.raises(error, match=text) as caught:
        load_backbone("tiny", **options)
    assert "\n" not in str(caught.value)


def damage_tokenizer(folder):
    (folder / "vocab.json").unlink()


def damage_config(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}', "utf-8")


def damage_layers(folder):
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(fields | {"num_hidden_layers": 3}), "utf-8")


def damage_projection(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors")


def damage_vocabulary(folder):
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps({k: v + 9 for k, v in vocabulary.items()}), "utf-8")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_tokenizer, "lacks tokenizer.json"),
        (damage_config, "type 'bert'"),
        (damage_layers, "encoder.layers.2.* is absent"),
        (damage_projection, "no text_projection.weight"),
        (damage_vocabulary, "tokenizer does not belong to its model"),
    ],
)
def test_folders_that_are_not_whole_are_refused(text_folder, tmp_path, damage, text):
    shutil.copytree(text_folder, tmp_path / "text")
    damage(tmp_path / "text")
    with pytest.raises(WeightsError, match=text):
        load(tmp_path / "text")


def test_a_tower_of_another_width_is_refused(make_text_folder, tmp_path):
    with pytest.raises(WeightsError, match="in 24 numbers; the U-Net's cross-attention takes 32"):
        load(make_text_folder(tmp_path / "narrow", width=24))


def test_from_the_command_line(text_folder, tmp_path, capsys):
    write_video(tmp_path / "clips" / "one.mp4", random_frames(10).pixels, fps=10)
    (tmp_path / "names.txt").write_text("walk\nrun\n", "utf-8")
    common = ["--height", "32", "--width", "32", "--window", "4", "--device", "cpu", "--stride", "2"]
    text = ["--conditioning", "text", "--text-weights", str(text_folder), "--actions"]
    for actions in ("walk,run", str(tmp_path / "names.txt")):
        assert (
            run(["extract", str(tmp_path / "clips"), "-o", str(tmp_path / "s"), *common, *text, actions]) == 0
        )
    assert "0 done, 1 skipped" in capsys.readouterr().out
    store = FeatureStore.open(tmp_path / "s")
    assert store.settings["backbone"]["actions"] == ["walk", "run"]
    assert store.read("one.mp4")[20, 3].shape == (5, 32)
    arguments = ["extract", str(tmp_path / "clips"), "-o", str(tmp_path / "t"), *common]
    assert run([*arguments, "--conditioning", "text", "--actions", "walk"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
