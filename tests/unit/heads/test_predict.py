import numpy as np
import pytest
import torch

from actiondiff.heads import HEADS, build_head
from actiondiff.heads.options import HeadOptions
from actiondiff.heads.predict import predict_probabilities, split_spans


@pytest.fixture(params=sorted(HEADS))
def head(request):
    return build_head(HeadOptions(name=request.param, layers=2, heads=4, max_tokens=20), 12, 3).eval()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_each_clip_as_if_it_were_alone(head, clips, activation):
    together = predict_probabilities(head, clips, activation)
    assert together.shape == (7, 3)
    assert together.dtype == np.float32
    for index in range(len(clips)):
        tokens, mask, _ = clips.batch([index], max_tokens=20)
        with torch.no_grad():
            logits = head(tokens, mask)
        alone = logits.softmax(-1) if activation == "softmax" else logits.sigmoid()
        np.testing.assert_allclose(together[index], alone[0], rtol=0, atol=1e-6)
    assert np.allclose(together.sum(1), 1) == (activation == "softmax")


def test_batches_and_order_change_nothing(head, clips):
    expected = predict_probabilities(head, clips, "softmax")
    order = [6, 2, 0, 5, 1]
    got = predict_probabilities(head, clips.subset(order), "softmax", batch_spans=2)
    np.testing.assert_allclose(got, expected[order], rtol=0, atol=1e-6)


def test_long_clips_are_averaged_over_spans_or_cut(clips):
    head = build_head(HeadOptions(layers=1, heads=4, max_tokens=8), 12, 3).eval()
    got = predict_probabilities(head, clips, "softmax")
    tokens = clips.tokens[:20]  # the first clip
    with torch.no_grad():
        parts = [
            head(tokens[None, a:b], torch.ones(1, b - a, dtype=torch.bool))
            for a, b in [(0, 6), (6, 13), (13, 20)]
        ]
        first = head(tokens[None, :8], torch.ones(1, 8, dtype=torch.bool)).softmax(-1)
    expected = torch.cat(parts).softmax(-1).mean(0)
    np.testing.assert_allclose(got[0], expected, rtol=0, atol=1e-6)
    cut = predict_probabilities(head, clips, "softmax", long_clips="cut")
    np.testing.assert_allclose(cut[0], first[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cut[1], got[1], rtol=0, atol=1e-6)  # a short clip


@pytest.mark.parametrize("num_tokens", [1, 7, 8, 9, 16, 17, 100])
def test_spans_cover_a_clip_once(num_tokens):
    spans = split_spans(num_tokens, 8)
    lengths = [span.stop - span.start for span in spans]
    assert [t for span in spans for t in range(num_tokens)[span]] == list(range(num_tokens))
    assert max(lengths) <= 8
    assert max(lengths) - min(lengths) <= 1
    assert len(spans) == -(-num_tokens // 8)


def test_mode_is_left_as_it_was(head, clips):
    head.train()
    first = predict_probabilities(head, clips, "softmax")
    assert head.training
    np.testing.assert_array_equal(first, predict_probabilities(head, clips, "softmax"))  # no dropout
