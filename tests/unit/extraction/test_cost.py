"""What an extraction is said to take is what it takes."""

import pytest

from actiondiff import FeatureStore, extract_features, load_backbone
from actiondiff.backbones.base import find_spec, make_options, resolve
from actiondiff.backbones.engine.counting import count_window
from actiondiff.cli.output.extraction import Meter, span
from actiondiff.extraction.api import plan_extraction
from actiondiff.extraction.cost import estimate_cost
from actiondiff.types import FeatureKey

TINY = {"height": 32, "width": 32, "window": 4, "batch": 2, "threads": 1, "device": "cpu"}


def count(name, keys, **options):
    spec = find_spec(name)
    return count_window(spec, resolve(spec, make_options(spec, **options)), keys)


def test_full_size_counts_are_those_of_the_cost_model():
    """99.5 TFLOP a window of 25 frames: VAE 65.2, CLIP 8.4, U-Net 25.9; two 4 x 72 x 128 latents a frame."""
    layer9 = count("svd-xt", [FeatureKey.of(20, 9)])
    assert layer9.flop == pytest.approx(99.49e12, rel=1e-3)
    assert layer9.flop_of_latents == pytest.approx(25.9e12, rel=1e-2)
    assert layer9.widths == {FeatureKey.of(20, 9): 1280}
    assert layer9.latent_bytes == pytest.approx(25 * 4 * 72 * 128 * 4, rel=0.06)  # and the embeddings


def test_other_backbones_are_counted_too():
    tokens = 1 + 4 + (224 // 16) ** 2
    found = count("dinov3-l", [FeatureKey(0, "layer1")], height=224, width=224, window=2, device="cpu")
    block = 2 * tokens * 12 * 1024**2 + 4 * tokens**2 * 1024
    patches = 2 * (tokens - 5) * 3 * 16 * 16 * 1024
    assert found.flop == pytest.approx(2 * (block + patches), rel=1e-6)
    assert found.widths == {FeatureKey(0, "layer1"): 1024}
    assert count("pixels", [FeatureKey(0, "layer1")]).flop == 0


def test_bytes_and_windows_are_those_that_come(clips, tmp_path):
    options = {"backbone": load_backbone("tiny", **TINY), "timesteps": [10, 20], "layers": [3, 9]}
    planned = plan_extraction(clips, tmp_path / "store", keep_latents=True, **options)
    found = estimate_cost(planned, timed=False)
    extract_features(clips, tmp_path / "store", keep_latents=True, **options)
    store = FeatureStore.open(tmp_path / "store")
    features = [store.read(name) for name in store.videos()]
    assert found.workload.num_windows == sum(one.num_windows for one in features)
    assert found.workload.num_tokens == sum(map(len, features))
    assert found.workload.num_bytes == sum(
        tokens.nbytes for one in features for tokens in one.tokens.values()
    )
    assert found.workload.video_seconds == pytest.approx(0.1 * (12 + 17 + 22 + 27 + 32))
    kept = sum(path.stat().st_size for path in (tmp_path / "store/latents").rglob("*.safetensors"))
    assert 0.3 * kept < found.latent_bytes < 1.5 * kept  # headers weigh much in so small a picture

    later = estimate_cost(
        plan_extraction(clips, tmp_path / "store", **options | {"layers": [3, 6, 9]}), timed=False
    )
    direct = estimate_cost(plan_extraction(clips, tmp_path / "new", **options | {"layers": [6]}), timed=False)
    assert 0 < later.tflop < direct.tflop  # no VAE, no CLIP
    assert later.workload.num_windows == direct.workload.num_windows


def test_what_would_take_less(clips, tmp_path):
    backbone = load_backbone("tiny", **TINY)
    found = estimate_cost(
        plan_extraction(clips, tmp_path / "store", backbone=backbone, timesteps=[10, 20]),
        timed=True,
        workers=2,
    )
    others = {other.options: other for other in found.alternatives}
    assert list(others) == ["--timesteps 20", "--height 16 --width 16", "--stride 8"]
    assert all(0 < other.share < 1 for other in found.alternatives)
    assert [other.same_store for other in found.alternatives] == [True, False, False]
    assert found.seconds > 0
    assert found.timing.peak_memory_bytes > 1e7
    economy = count("svd-xt", [FeatureKey.of(20, 9)], preset="economy")
    assert economy.flop < 0.35 * 99.49e12
    assert not (tmp_path / "store").exists()


def test_a_backbone_of_ones_own_is_timed_but_not_counted(clips, tmp_path, backbone):
    found = estimate_cost(plan_extraction(clips, tmp_path / "store", backbone=backbone))
    assert (found.tflop, found.alternatives, found.workload.num_bytes) == (None, (), None)
    assert found.seconds > 0
    assert backbone.num_calls == 2


def test_nothing_to_do_costs_nothing(clips, tmp_path, backbone):
    (clips / "only").mkdir()
    (clips / "only/bad.mp4").write_text("no video")
    undecodable = estimate_cost(plan_extraction(clips / "only", tmp_path / "store", backbone=backbone))
    assert (undecodable.timing, undecodable.workload.num_unknown) == (None, 1)
    extract_features(clips / "a.mp4", tmp_path / "store", backbone=backbone)
    nothing = estimate_cost(plan_extraction(clips / "a.mp4", tmp_path / "store", backbone=backbone))
    assert (nothing.workload.num_windows, nothing.seconds, nothing.alternatives) == (0, None, ())


def test_the_meter_tells_rate_and_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("actiondiff.cli.output.extraction.time.monotonic", lambda: now[0])
    meter = Meter(100, "windows", None)
    now[0] = 30
    meter.on_windows(5)
    assert capsys.readouterr().err == ""
    now[0] = 100
    meter.on_windows(5)
    meter.on_video(1, 7, "a.mp4")
    told = "10 of about 100 windows, 360 per hour, 15 min 0 s left; "
    assert capsys.readouterr().err.strip() == told.strip()
    assert meter.line() == told + "1 of 7 videos, a.mp4"
    assert [span(s) for s in (0.25, 59, 75, 7300, 200_000)] == [
        "0.25 s", "59 s", "1 min 15 s", "2 h 1 min", "2 d 7 h",
    ]  # fmt: skip
