"""`actiondiff extract` and `actiondiff features`: what they print and how they exit."""

import json
from pathlib import Path

import numpy as np
import pytest

from actiondiff import FeatureStore, load_backbone, read_video
from actiondiff.cli.main import run
from actiondiff.video.write import write_video

SMALL = ["--height", "32", "--width", "32", "--window", "4", "--batch", "2", "--device", "cpu"]


@pytest.fixture
def clips(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("one.mp4", "two words/zwei ü.mp4"):
        pixels = rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
        write_video(tmp_path / "clips" / name, pixels, fps=10)
    return tmp_path / "clips"


def extract(clips: Path, store: Path, *arguments: str) -> int:
    return run(["extract", str(clips), "-o", str(store), *SMALL, *arguments])


def test_extract_then_look_then_again(clips, tmp_path, capsys):
    store = tmp_path / "store"
    assert extract(clips, store, "--timesteps", "10,20", "--layers", "3,9,clip", "--stride", "2") == 0
    assert "2 videos: 2 done, 0 skipped, 0 partial, 0 failed" in capsys.readouterr().out
    backbone = load_backbone("tiny", height=32, width=32, window=4, batch=2, device="cpu")
    alone = backbone.extract(read_video(clips / "one.mp4", stride=2), timesteps=[10], layers=[9])
    assert np.array_equal(FeatureStore.open(store).read("one.mp4")[10, 9], alone[10, 9])

    assert run(["features", "ls", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["features"] == [f"t{t}.{layer}" for t in (10, 20) for layer in ("clip", "layer3", "layer9")]
    assert facts["videos"] == {"ok": 2, "partial": 0, "failed": 0}
    assert facts["tokens"] == 10
    assert facts["settings"]["backbone"]["window"] == 4
    assert facts["bytes"] == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert run(["features", "ls", str(store)]) == 0
    assert "settings.sampling.stride" in capsys.readouterr().out

    assert extract(clips, store, "--layers", "9", "--stride", "2", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["num_done"], summary["num_skipped"], summary["failed"]) == (0, 2, {})


def test_a_failed_video_gives_exit_3_every_time(clips, tmp_path, capsys):
    (clips / "bad.avi").write_text("no video")
    for skipped in (0, 3):
        assert extract(clips, tmp_path / "store") == 3
        output = capsys.readouterr().out
        assert "failed: bad.avi: " in output
        assert f"{skipped} skipped, 0 partial, 1 failed" in output
    assert (
        (tmp_path / "store" / "failures.csv").read_text().startswith("video,status,reason\nbad.avi,failed,")
    )
    (clips / "bad.avi").unlink()
    assert extract(clips, tmp_path / "store") == 0


def test_verify_exits_with_3_if_anything_was_wrong(clips, tmp_path, capsys):
    store = tmp_path / "store"
    extract(clips, store)
    assert run(["features", "verify", str(store)]) == 0
    damaged = next(store.rglob("*.safetensors"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    assert run(["features", "verify", str(store)]) == 3
    assert damaged.name in capsys.readouterr().out
    assert run(["features", "verify", str(store)]) == 0
    assert extract(clips, store) == 0
    assert damaged.read_bytes() == whole


@pytest.mark.parametrize("fused", [True, False])
def test_the_arithmetic_on_cuda_is_printed_once(clips, tmp_path, capsys, monkeypatch, fused):
    """With the options of a GPU, on a machine that may have none: nothing is computed."""
    network = load_backbone("tiny", device="cpu", height=32, width=32, window=4)
    on_cuda = {"device": "cuda:0", "dtype": "float16", "vae_dtype": "auto-float16", "fused": fused}
    options = network.options.model_copy(update=on_cuda)
    dry_run = ["extract", str(clips), "-o", str(tmp_path / "store"), "--dry-run", "--no-time", "--json"]
    assert run(dry_run) == 0
    assert "float" not in capsys.readouterr().err  # on a CPU there is no choice
    network.options = options
    monkeypatch.setattr("actiondiff.backbones.base.load_backbone", lambda *_, **__: network)
    assert run(dry_run) == 0
    output = capsys.readouterr()
    line = f"on cuda:0: U-Net float16, VAE auto-float16, {'fused' if fused else 'not fused'}\n"
    assert output.err.count("on cuda:0") == 1
    assert line in output.err
    assert json.loads(output.out)["videos"] == 2


def test_dry_run_prices_and_writes_nothing(clips, tmp_path, capsys):
    asked = ["--timesteps", "10,20", "--layers", "3,9", "--keep-latents", "--dry-run"]
    assert extract(clips, tmp_path / "store", *asked, "--no-time", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["videos"], plan["contents_to_do"], plan["num_tokens"], plan["num_windows"]) == (2, 2, 6, 2)
    assert (plan["timing"], plan["seconds"]) == (None, None)
    assert plan["video_seconds"] == pytest.approx(2)
    assert 0 < plan["tflop"] < 1
    assert extract(clips, tmp_path / "store", *asked, "--shard", "1/1") == 0
    lines = capsys.readouterr().out
    for text in (
        "about 2 s of video: 2 windows, 6 tokens per feature, ",
        "MB of features, and at most",
        " s per window, ",
        "it will take about ",
        "cheaper: --timesteps 20 ",
        "cheaper: --height 16 --width 16 ",
        "cheaper: --stride 8 ",
    ):
        assert text in lines
    assert not (tmp_path / "store").exists()


def test_shards_fill_one_store(clips, tmp_path, capsys):
    for shard in ("1/2", "2/2"):
        assert extract(clips, tmp_path / "store", "--shard", shard) == 0
    assert len(FeatureStore.open(tmp_path / "store").videos()) == 2


def test_neighbours_in_a_batch_change_no_bit(tmp_path):
    rng = np.random.default_rng(1)
    for name, height, width in (("a", 32, 32), ("b", 24, 40), ("c", 32, 32)):  # a and c need no resizing
        pixels = rng.integers(0, 256, (12, height, width, 3), dtype=np.uint8)
        write_video(tmp_path / "clips" / f"{name}.mp4", pixels, fps=10)
    assert extract(tmp_path / "clips", tmp_path / "together") == 0
    for name in "bca":
        path = tmp_path / "clips" / f"{name}.mp4"
        assert extract(path, tmp_path / "apart", "--root", str(tmp_path / "clips")) == 0
    stores = [FeatureStore.open(tmp_path / name) for name in ("together", "apart")]
    for video in stores[0].videos():
        files = [(store.folder / store.row(video).file).read_bytes() for store in stores]
        assert files[0] == files[1], video


def test_a_table_names_the_videos(clips, tmp_path, capsys):
    table = clips / "labels.csv"
    table.write_text("video,label\none.mp4,run\ntwo words/zwei ü.mp4,jump\n", "utf-8")
    assert run(["extract", str(table), "-o", str(tmp_path / "store"), *SMALL]) == 0
    assert FeatureStore.open(tmp_path / "store").videos() == ["one.mp4", "two words/zwei ü.mp4"]
    moved = clips.rename(tmp_path / "elsewhere")
    (moved / "labels.csv").rename(tmp_path / "labels.csv")
    arguments = ["extract", str(tmp_path / "labels.csv"), "-o", str(tmp_path / "store"), "--root", str(moved)]
    capsys.readouterr()
    assert run([*arguments, *SMALL]) == 0
    assert "2 videos: 0 done, 2 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--window", "5"], 1, "backbone.window: 5 against 4"),
        (["--layers", "14"], 1, "Did you mean"),
        (["--stride", "2", "--fps", "3"], 1, "either --stride or --fps"),
        (["--shard", "one"], 1, "i/n"),
        (["--shard", "3/2"], 1, "from 1 to n"),
        (["--backbone", "tyny"], 1, "Did you mean 'tiny'"),
        (["--store-dtype", "int8"], 2, "int8"),
        (["--no-such-option"], 2, "no-such-option"),
    ],
)
def test_mistakes_are_one_line(clips, tmp_path, capsys, arguments, code, text):
    extract(clips, tmp_path / "store")
    capsys.readouterr()
    assert extract(clips, tmp_path / "store", *arguments) == code
    captured = capsys.readouterr()
    assert text in captured.err
    if code == 1:
        assert len(captured.err.strip().splitlines()) == 1
        assert captured.out == ""


def test_what_libraries_print_is_not_the_result(clips, tmp_path, capsys, monkeypatch):
    import actiondiff.extraction.planned as extraction

    real = extraction.work
    monkeypatch.setattr(
        extraction, "work", lambda *given, **options: (print("(raylet) died"), real(*given, **options))
    )
    assert extract(clips, tmp_path / "store", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["num_done"] == 2
    assert "(raylet) died" in captured.err
