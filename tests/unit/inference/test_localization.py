"""Where: a picture whose halves differ, places that are counted by hand, and both ways to look."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from actiondiff import Frames, load_backbone, read_video
from actiondiff.backbones.base import build_backbone, find_spec, make_options
from actiondiff.errors import UnknownNameError, UsageError, VideoError
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.localization import Heatmap, LocalizationOptions, make_heatmap
from actiondiff.inference.places import cell_tokens, patch_pixels, patch_tokens
from actiondiff.types import FeatureKey, Sampling
from actiondiff.video.write import write_video

KEY = FeatureKey.of(20, "layer3")
SAMPLING = Sampling(stride=2)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny", height=32, width=32, window=4, batch=2, device="cpu")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A video of 22 frames, dark on the left and bright on the right, 48 x 80 pixels."""
    pixels = np.random.default_rng(0).integers(0, 40, (22, 48, 80, 3), dtype=np.uint8)
    pixels[:, :, 40:] += 200
    path = tmp_path_factory.mktemp("halves") / "halves.mp4"
    write_video(path, pixels, fps=10)
    return path


@pytest.fixture(scope="module")
def colours():
    """Mean colours in 8 x 8 parts, and a head whose logits are 6 and -6 times their mean."""
    backbone = load_backbone("pixels", height=8, width=8, window=4, batch=2, device="cpu")
    head = build_head(HeadOptions(name="mean-linear", max_tokens=50), 192, 2).eval()
    linear = next(module for module in head.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[6.0], [-6.0]]).expand(2, 192) / 192)
        linear.bias.zero_()
    config = ModelConfig.for_head(
        head,
        labels=["bright", "dark"],
        activation="softmax",
        keys=["t0.layer1"],
        backbone={},
        feature_fingerprint="0",
        features={"store_dtype": "float32", "sampling": SAMPLING.settings},
        train_label_counts=[3, 1],
        span_tokens=3,
    )
    return backbone, head, config


def test_cells_are_the_layers_map_sampled(backbone, halves):
    """Batch by batch as from the whole video's maps at once; eleven tokens in three windows of four."""
    found = cell_tokens(backbone, [KEY], halves, SAMPLING, (3, 5))
    whole = backbone.extract(read_video(halves, stride=2), layers=[3], maps=True)
    expected = F.interpolate(torch.from_numpy(whole.maps[KEY]), (3, 5), mode="bilinear", align_corners=True)
    assert found.tokens.shape == (11, 3, 5, 32)
    assert np.array_equal(found.tokens, expected.permute(0, 2, 3, 1).numpy())
    assert found.frame_index.tolist() == list(range(0, 22, 2))
    assert found.seconds == pytest.approx(np.arange(11) / 5)
    assert found.padding_share == pytest.approx(1 / 12)
    assert found.report.num_frames_decoded == 22
    size = whole.maps[KEY].shape[-1]  # places are the outermost pixels' centres, and evenly between
    assert found.columns[[0, 2, 4]] == pytest.approx([0.5 / size, 0.5, 1 - 0.5 / size])


def test_cells_of_a_backbone_that_crops_lie_within_what_it_sees(halves):
    """48 x 80 pixels brought to a square keep the middle 48 columns, 0.2 to 0.8 of the width."""
    spec = find_spec("random-dinov3-l")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = {**spec.architecture["encoder"], **small}
    spec = spec.model_copy(update={"architecture": {"encoder": encoder}})
    options = make_options(spec, height=32, width=32, fit="crop", device="cpu")
    backbone = build_backbone(spec, options)
    found = cell_tokens(backbone, [FeatureKey.of(0, "layer1")], halves, Sampling(stride=11), (2, 3))
    assert found.rows.tolist() == [0.25, 0.75]
    assert found.columns == pytest.approx([0.2 + 0.6 * 0.25, 0.5, 0.8 - 0.6 * 0.25])


def test_patches_are_videos_of_their_own(backbone, halves):
    found = patch_tokens(backbone, [KEY], halves, SAMPLING, (2, 4))
    frames = read_video(halves, stride=2)
    corner = Frames(frames.pixels[:, 24:, 60:], frames.seconds, frames.frame_index)
    expected = backbone.extract(corner, layers=[3]).tokens[KEY]
    assert np.array_equal(found.tokens[:, 1, 3], expected)
    assert found.rows.tolist() == [0.25, 0.75]
    assert found.columns.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert found.padding_share == pytest.approx(1 / 12)


def test_patches_cover_a_side():
    assert [patch_pixels(i, 5, 0.0, 64) for i in range(5)] == [
        slice(0, 13), slice(13, 26), slice(26, 38), slice(38, 51), slice(51, 64),
    ]  # fmt: skip
    overlapping = [patch_pixels(i, 3, 0.25, 100) for i in range(3)]
    assert [(s.start, s.stop) for s in overlapping] == [(0, 40), (30, 70), (60, 100)]
    assert [patch_pixels(i, 4, 0.0, 2).stop - patch_pixels(i, 4, 0.0, 2).start for i in range(4)] == [1] * 4


def test_the_bright_half_is_bright(colours, halves):
    found = make_heatmap(*colours, halves, "bright", options=LocalizationOptions(method="crops", columns=4))
    assert found.probabilities.shape == (11, 3, 4)
    assert (found.probabilities[:, :, 2:] > 0.95).all()
    assert (found.probabilities[:, :, :2] < 0.05).all()
    assert found.prior == 0.75
    assert found.above_prior == pytest.approx(found.probabilities - 0.75)
    dark = make_heatmap(*colours, halves, "dark", options=LocalizationOptions(method="crops", columns=4))
    assert dark.probabilities == pytest.approx(1 - found.probabilities, abs=1e-6)


def test_over_time_a_score_looks_at_its_span(colours):
    """Bright from the tenth frame on: a span of three tokens sees it one token before."""
    pixels = np.zeros((20, 16, 16, 3), np.uint8)
    pixels[10:] = 255
    video = Frames(pixels, np.arange(20) / 10)
    options = LocalizationOptions(method="crops", rows=2, columns=2)
    found = make_heatmap(*colours, video, "bright", options=options).probabilities[:, 0, 0]
    assert (found[:9] < 0.01).all()
    assert (found[11:] > 0.99).all()
    assert found[9] == pytest.approx(1 / (1 + np.exp(4)), abs=1e-3)  # two of three dark: mean -1/3 of 12
    single = LocalizationOptions(method="crops", rows=2, columns=2, span_seconds=0.1)
    alone = make_heatmap(*colours, video, "bright", options=single).probabilities[:, 0, 0]
    assert (alone > 0.5).tolist() == [False] * 10 + [True] * 10
    with pytest.raises(UsageError, match="times of the frames are unknown"):
        make_heatmap(*colours, Frames(pixels), "bright", options=single)


def test_pixels_lie_between_places():
    heatmap = Heatmap("v", "a", None, np.arange(1), np.array([[[0.0, 1.0], [0.0, 1.0]]], np.float32), 0.5,
                      np.array([0.25, 0.75]), np.array([0.25, 0.75]), LocalizationOptions())  # fmt: skip
    assert heatmap.at(2, 4)[0].tolist() == [[0, 0.25, 0.75, 1]] * 2
    assert heatmap.at(1, 16)[0, 0, [0, 3, 12, 15]] == pytest.approx([0, 0, 1, 1], abs=0.07)


def test_patches_in_their_own_size_ask_for_a_backbone_of_it(colours, halves):
    asked = []
    backbone, head, config = colours

    def resized(height, width):
        asked.append((height, width))
        return backbone

    options = LocalizationOptions(method="crops", patch="native", columns=2)
    make_heatmap(backbone, head, config, halves, "dark", options=options, resized=resized)
    assert asked == [(64, 64)]  # 16 x 40, rounded up
    with pytest.raises(UsageError, match="resized="):
        make_heatmap(backbone, head, config, halves, "dark", options=options)


@pytest.mark.parametrize("method", ["cells", "crops"])
def test_progress_rises_to_one_and_may_stop_the_work(backbone, colours, halves, method):
    _, _, config = colours
    head = build_head(HeadOptions(name="mean-linear", max_tokens=9), 32, 2).eval()
    config = config.replaced(keys=[str(KEY)])
    shares = []
    options = LocalizationOptions(method=method, rows=2, columns=2)
    make_heatmap(
        backbone,
        head,
        config,
        halves,
        "dark",
        options=options,
        progress=lambda done, total, what: shares.append(done / total),
    )
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] <= 1  # the last sampled frame is one before the last
    assert len(shares) > 1

    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_heatmap(backbone, head, config, halves, "dark", options=options, progress=stop)


def test_what_cannot_be_done_is_said(colours, tmp_path, halves):
    with pytest.raises(UnknownNameError, match=r"unknown action 'brigth'\. Did you mean 'bright'"):
        make_heatmap(*colours, halves, "brigth")
    with pytest.raises(UsageError, match="one vector per picture"):
        make_heatmap(*colours, halves, "bright")
    (tmp_path / "bad.mp4").write_text("no video")
    for method in ("cells", "crops"):
        with pytest.raises(VideoError, match=r"bad\.mp4"):
            make_heatmap(*colours, tmp_path / "bad.mp4", "dark", options=LocalizationOptions(method=method))
