"""Latents that were kept: further timesteps and layers of them, to the bit, without the video."""

import shutil

import pytest
from tests.conftest import store_contents

from actiondiff import FeatureStore, extract_features, load_backbone
from actiondiff.backbones.svd.inputs import InputEncoder
from actiondiff.cli.main import run
from actiondiff.errors import UsageError

TINY = {"height": 32, "width": 32, "window": 4, "batch": 2, "threads": 1, "device": "cpu"}
OTHERS = {
    "as by default": {},
    "one embedding": {"conditioning": "middle-frame"},
    "no conditioning": {"conditioning": "none"},
    "random draws, noised": {"stochastic": True, "noise": "forward"},
    "repeated frames, overlaps": {"padding": "shift"},
}


def features_of(store):
    """The bytes of every feature file."""
    return {path.name: path.read_bytes() for path in (store / "features").rglob("*.safetensors")}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_without_the_videos_the_bits_are_those_of_a_direct_extraction(clips, tmp_path, options, monkeypatch):
    backbone = load_backbone("tiny", **TINY | options)
    extract_features(clips, tmp_path / "direct", backbone=backbone, timesteps=[3, 20], layers=[2, 9])
    extract_features(clips, tmp_path / "kept", backbone=backbone, layers=[9], keep_latents=True)
    shutil.rmtree(clips)
    monkeypatch.delattr(InputEncoder, "encode")  # neither VAE nor CLIP runs again
    summary = extract_features(clips, tmp_path / "kept", backbone=backbone, timesteps=[3, 20], layers=[2, 9])
    assert (summary.num_done, summary.ok) == (5, True)
    assert features_of(tmp_path / "kept") == features_of(tmp_path / "direct")


def test_many_windows_a_video_are_kept_in_parts(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("actiondiff.features.latent_file._PART_WINDOWS", 2)
    backbone = load_backbone("tiny", **TINY)
    options = {"backbone": backbone, "stride": 1}
    extract_features(clips / "e.mp4", tmp_path / "direct", layers=[1], **options)
    extract_features(clips / "e.mp4", tmp_path / "kept", layers=[9], keep_latents=True, **options)
    assert len(list((tmp_path / "kept/latents").rglob("*.safetensors"))) == 4  # 32 frames, 8 windows
    (clips / "e.mp4").unlink()
    extract_features(clips / "e.mp4", tmp_path / "kept", layers=[1], **options)
    one, other = (FeatureStore.open(tmp_path / name).read("e.mp4", (20, 1)) for name in ("kept", "direct"))
    assert one[20, 1].tobytes() == other[20, 1].tobytes()
    assert one.report == other.report


def test_latents_are_added_to_a_store_that_has_the_features(clips, tmp_path):
    backbone = load_backbone("tiny", **TINY)
    extract_features(clips, tmp_path / "once", backbone=backbone, keep_latents=True)
    extract_features(clips, tmp_path / "later", backbone=backbone)
    summary = extract_features(clips, tmp_path / "later", backbone=backbone, keep_latents=True)
    assert summary.num_done == 5
    assert store_contents(tmp_path / "later") == store_contents(tmp_path / "once")
    assert extract_features(clips, tmp_path / "later", backbone=backbone, keep_latents=True).num_done == 0


def test_damaged_latents_are_told_and_the_video_is_used(clips, tmp_path):
    backbone, store = load_backbone("tiny", **TINY), tmp_path / "store"
    extract_features(clips, store, backbone=backbone, keep_latents=True)
    damaged = sorted((store / "latents").rglob("*.safetensors"))[0]
    whole, data = store_contents(store), bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    assert extract_features(clips, store, backbone=backbone, layers=[1]).ok
    problems = FeatureStore.open(store).verify()
    assert len(problems) == 1
    assert "does not fit its checksum; moved to quarantine/" in problems[0]
    extract_features(clips, store, backbone=backbone, keep_latents=True)
    assert damaged.read_bytes() == whole[damaged.relative_to(store).as_posix()]


def test_damaged_latents_without_a_video_are_a_reason_not_a_number(clips, tmp_path):
    backbone, store = load_backbone("tiny", **TINY), tmp_path / "store"
    extract_features(clips / "a.mp4", store, backbone=backbone, keep_latents=True)
    (clips / "a.mp4").unlink()
    damaged = next((store / "latents").rglob("*.safetensors"))
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    summary = extract_features(clips / "a.mp4", store, backbone=backbone, layers=[1])
    assert list(summary.failed) == ["a.mp4"]
    assert FeatureStore.open(store).read("a.mp4").tokens.keys() == {(20, "layer3")}


def test_a_backbone_without_latents_says_so(clips, tmp_path, backbone):
    with pytest.raises(UsageError, match="means has no latents to keep"):
        extract_features(clips, tmp_path / "store", backbone=backbone, keep_latents=True)


def test_the_command(clips, tmp_path, capsys):
    small = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    command = ["extract", str(clips), "-o", str(tmp_path / "store"), *small]
    assert run([*command, "--layers", "9", "--keep-latents"]) == 0
    shutil.rmtree(clips)
    assert run([*command, "--timesteps", "10", "--layers", "3,6"]) == 0
    assert "5 videos: 5 done" in capsys.readouterr().out
    assert run(["extract", str(clips / "no.mp4"), "-o", str(tmp_path / "store"), *small]) == 1
    assert "no.mp4 does not exist" in capsys.readouterr().err
