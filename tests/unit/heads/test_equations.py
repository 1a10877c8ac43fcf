"""Heads and their inputs against equations written out by hand."""

import math

import pytest
import torch
from pydantic import ValidationError

from actiondiff.errors import UsageError
from actiondiff.heads import HEADS, build_head
from actiondiff.heads.inputs import TokenInput
from actiondiff.heads.options import HeadOptions


def tokens_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def full(tokens):
    return torch.ones(tokens.shape[:2], dtype=torch.bool)


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def attend(x, context, attention, heads):
    """Scaled dot-product attention of one clip: (T, D), (S, D) -> (T, D)."""
    width = x.shape[-1]
    weights, biases = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
    q, k, v = (
        (source @ w.T + b).unflatten(-1, (heads, -1)).transpose(0, 1)  # (heads, T, D / heads)
        for source, w, b in zip((x, context, context), weights, biases, strict=True)
    )
    shares = (q @ k.transpose(1, 2) / math.sqrt(width / heads)).softmax(-1)
    return attention.out_proj((shares @ v).transpose(0, 1).flatten(1))


def test_transformer():
    head = build_head(HeadOptions(layers=2, heads=4, ff_mult=2, max_tokens=6), 8, 3).eval()
    tokens = tokens_of(1, 5, 8)
    x = torch.cat([head.cls_token[0], tokens[0]])
    for position in range(6):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            x[position, 2 * i] = x[position, 2 * i] + math.sin(angle)
            x[position, 2 * i + 1] = x[position, 2 * i + 1] + math.cos(angle)
    for layer in head.encoder.layers:
        x = layer_norm(x + attend(x, x, layer.self_attn, 4), layer.norm1)
        x = layer_norm(x + layer.linear2(layer.linear1(x).clamp(min=0)), layer.norm2)
    expected = head.classifier(layer_norm(x, head.encoder.norm)[0])
    torch.testing.assert_close(head(tokens, full(tokens))[0], expected, rtol=0, atol=1e-5)


def test_transformer_has_the_papers_size():
    with torch.device("meta"):
        head = HEADS["transformer"](HeadOptions(), 1280, 140)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 1) == 98.6


def test_transformer_sees_the_order_and_drops_in_training():
    head = build_head(HeadOptions(layers=1, heads=2, max_tokens=6), 8, 3)
    tokens = tokens_of(1, 5, 8)
    assert not torch.equal(head(tokens, full(tokens)), head(tokens, full(tokens)))
    head.eval()
    assert (head(tokens, full(tokens)) - head(tokens.flip(1), full(tokens))).abs().max() > 1e-3


def test_attentive():
    head = build_head(HeadOptions(name="attentive", heads=2, ff_mult=3), 8, 3).eval()
    tokens = tokens_of(1, 5, 8)
    query = head.query[0]
    state = query + attend(query, layer_norm(tokens[0], head.token_norm), head.attention, 2)
    hidden = head.feed_forward[0](layer_norm(state, head.norm))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = head.classifier(state + head.feed_forward[2](hidden))
    torch.testing.assert_close(head(tokens, full(tokens)), expected, rtol=0, atol=1e-5)


def test_linear_sees_the_padded_sequence():
    head = build_head(HeadOptions(name="linear", max_tokens=4), 8, 3)
    tokens = tokens_of(2, 3, 8)
    row = torch.cat([tokens[1].flatten(), torch.zeros(8)])
    expected = head.classifier.weight @ row + head.classifier.bias
    torch.testing.assert_close(head(tokens, full(tokens))[1], expected, rtol=0, atol=1e-6)


def test_mlp_has_two_hidden_layers():
    head = build_head(HeadOptions(name="mlp", max_tokens=4), 8, 3)
    shapes = [tuple(parameter.shape) for name, parameter in head.named_parameters() if "weight" in name]
    assert shapes == [(512, 32), (256, 512), (3, 256)]


def test_mean_linear():
    head = build_head(HeadOptions(name="mean-linear"), 8, 3)
    tokens = tokens_of(1, 5, 8)
    mask = torch.tensor([[True, True, True, False, False]])
    expected = head.classifier(tokens[0, :3].mean(0))
    torch.testing.assert_close(head(tokens, mask)[0], expected, rtol=0, atol=1e-6)


def test_plain_input_changes_nothing_and_has_no_weights():
    prepare = TokenInput(HeadOptions(), 8)
    tokens = tokens_of(2, 5, 8)
    assert prepare(tokens, full(tokens)) is tokens
    assert not prepare.state_dict()


def test_standardised_input():
    prepare = TokenInput(HeadOptions(input="standardised"), 8)
    data = tokens_of(1000, 8) * torch.arange(1, 9) + 5
    data[:, 3] = 0.1  # constant: must not be divided by its deviation
    assert prepare(data[None], full(data[None])).isnan().all()  # not measured yet
    prepare.measure(data, torch.tensor([0, len(data)]))
    ready = prepare(data[None], full(data[None]))[0]
    others = [0, 1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(ready[:, others].mean(0), torch.zeros(7), rtol=0, atol=1e-5)
    torch.testing.assert_close(ready[:, others].std(0, correction=0), torch.ones(7), rtol=0, atol=1e-5)
    assert ready[:, 3].abs().max() < 1e-6
    assert set(prepare.state_dict()) == {"mean", "deviation"}


@pytest.mark.parametrize("kind", ["scaled", "minus-background"])
def test_one_scale_for_all_channels_of_a_feature(kind):
    prepare = TokenInput(HeadOptions(input=kind, widths=(3, 2)), 5)
    sizes = torch.tensor([1.0, 2.0, 10.0, 0.01, 0.03])
    data = tokens_of(1000, 5) * sizes + 5
    data[:, 1] = 0.1  # a constant channel
    prepare.measure(data, torch.tensor([0, len(data)]))
    ready = prepare(data[None], full(data[None]))[0]
    torch.testing.assert_close(ready.mean(0), torch.zeros(5), rtol=0, atol=1e-4)
    deviation = ready.std(0, correction=0)
    # The channels of a feature differ as before; together, the variance of each feature is 1 per channel.
    torch.testing.assert_close(
        deviation[2] / deviation[0], data[:, 2].std() / data[:, 0].std(), rtol=1e-3, atol=0
    )
    assert deviation[1] < 1e-6
    for part in (deviation[:3], deviation[3:]):
        torch.testing.assert_close(part.square().mean(), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_constant_features_are_not_scaled():
    prepare = TokenInput(HeadOptions(input="scaled"), 4)
    data = torch.full((10, 4), 7.0)
    prepare.measure(data, torch.tensor([0, 10]))
    assert prepare(data[None], full(data[None])).abs().max() == 0


def test_widths_must_add_up():
    with pytest.raises(UsageError, match=r"widths=\[3, 3\] adds up to 6; got tokens of width 5"):
        TokenInput(HeadOptions(input="scaled", widths=(3, 3)), 5)


def test_centred_input():
    prepare = TokenInput(HeadOptions(input="centred"), 2)
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 1.0], [8.0, 5.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, True, False]])
    expected = [[-3, -2, 0, 0], [-1, -1, 2, 1], [4, 3, 5, 4], [0, 0, 0, 0]]
    torch.testing.assert_close(prepare(tokens, mask)[0], torch.tensor(expected, dtype=torch.float32))
    assert prepare.width == 4


def test_centred_and_standardised_input():
    prepare = TokenInput(HeadOptions(input="centred-standardised"), 3)
    first, second = tokens_of(1, 6, 3), 5 * tokens_of(1, 4, 3) + 2
    first[..., 2] = second[..., 2] = 7.0  # a constant channel
    prepare.measure(torch.cat([first, second], dim=1)[0], torch.tensor([0, 6, 10]))
    ready = torch.cat([prepare(clip, full(clip)) for clip in (first, second)], dim=1)[0]
    varying = [0, 1, 3, 4]
    torch.testing.assert_close(ready[:, varying].mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(ready[:, varying].std(0, correction=0), torch.ones(4), rtol=0, atol=1e-5)
    assert ready[:, [2, 5]].abs().max() < 1e-5
    moved = second + torch.tensor([3.0, -1.0, 4.0])
    torch.testing.assert_close(prepare(moved, full(moved)), prepare(second, full(second)), rtol=0, atol=1e-4)


def test_fusion_weighs_features():
    prepare = TokenInput(HeadOptions(fusion=3), 6)
    tokens = tokens_of(1, 4, 6)
    with torch.no_grad():
        torch.testing.assert_close(
            prepare(tokens, full(tokens)), (tokens[..., :2] + tokens[..., 2:4] + tokens[..., 4:]) / 3
        )
        prepare.mixture.copy_(torch.tensor([0.0, 50.0, 0.0]))
        torch.testing.assert_close(prepare(tokens, full(tokens)), tokens[..., 2:4])
        centred = TokenInput(HeadOptions(fusion=3, input="centred"), 6)
        centred.mixture.copy_(prepare.mixture)
        alone = TokenInput(HeadOptions(input="centred"), 2)(tokens[..., 2:4], full(tokens))
        torch.testing.assert_close(centred(tokens, full(tokens)), alone)
    with pytest.raises(UsageError, match="fusion=4 needs tokens of that many features"):
        TokenInput(HeadOptions(fusion=4), 6)


@pytest.mark.parametrize("name", ["transformer", "attentive"])
def test_attention_heads_must_divide_the_width(name):
    with pytest.raises(UsageError, match=r"heads=8 does not divide the width 12.*1, 2, 3, 4, 6, 12, or"):
        build_head(HeadOptions(name=name), 12, 3)
    build_head(HeadOptions(name=name, project=16), 12, 3)
    build_head(HeadOptions(name=name, input="centred"), 12, 3)  # 24 wide


def test_mean_of_centred_tokens_is_refused():
    with pytest.raises(UsageError, match="mean of centred tokens is zero"):
        build_head(HeadOptions(name="mean-linear", input="centred"), 12, 3)


def test_options_are_checked():
    with pytest.raises(ValidationError, match="Did you mean 'transformer'"):
        HeadOptions(name="transfomer")
    with pytest.raises(ValidationError, match="layer"):
        HeadOptions(layer=3)
    assert all(field.description for field in HeadOptions.model_fields.values())
    with pytest.raises(UsageError, match="at least one class"):
        build_head(HeadOptions(), 8, 0)
