"""What every registered head promises, in every form its input may take."""

import pytest
import torch

from actiondiff.errors import UsageError
from actiondiff.heads import HEADS, build_head
from actiondiff.heads.bundle import ModelConfig, load_bundle, save_bundle
from actiondiff.heads.options import HeadOptions

IGNORE_THE_MASK = {"linear", "mlp"}  # they see the padding's zeros instead
INPUTS = {
    "plain": {},
    "standardised": {"input": "standardised"},
    "centred": {"input": "centred"},
    "centred-standardised": {"input": "centred-standardised"},
    "projected": {"project": 8},
    "fused": {"input": "standardised", "project": 8, "fusion": 3},
    "centred-fused": {"input": "centred-standardised", "project": 8, "fusion": 3},
    "split": {"input": "standardised", "split": (3, 8, 1)},
    "scaled": {"input": "scaled", "widths": (3, 8, 1)},
    "centred-split": {"input": "centred-standardised", "project": 8, "split": (3, 8, 1)},
}
FORMS = [
    (name, form)
    for name in sorted(HEADS)
    for form in INPUTS
    if not (name == "mean-linear" and form.startswith("centred"))  # refused
]
CONFIG = {
    "labels": ["a", "b", "c", "d", "e"],
    "activation": "softmax",
    "keys": ["t20.layer9"],
    "backbone": {"name": "tiny"},
    "feature_fingerprint": "0" * 64,
}


@pytest.fixture(params=FORMS, ids="-".join)
def head(request):
    name, form = request.param
    options = HeadOptions(name=name, layers=2, heads=4, max_tokens=9, **INPUTS[form])
    head = build_head(options, 12, 5, seed=1)
    head.inputs.measure(
        3 * torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) + 1, torch.tensor([0, 20, 50])
    )
    return head.eval()


@pytest.fixture
def batch():
    tokens = torch.randn(4, 7, 12, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < torch.tensor([7, 1, 4, 6])[:, None]
    return tokens.masked_fill(~mask[..., None], 0), mask


def test_shape_and_gradient(head, batch):
    logits = head.train()(*batch)
    assert logits.shape == (4, 5)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_what_is_masked_has_no_influence(head, batch):
    tokens, mask = batch
    other = tokens.masked_fill(~mask[..., None], 7.0)
    with torch.no_grad():
        difference = (head(other, mask) - head(tokens, mask)).abs().max()
    if head.options.name in IGNORE_THE_MASK and head.inputs.width == 12 and head.options.input == "plain":
        assert difference > 1e-3
    else:
        assert difference < 1e-6


def test_more_padding_has_no_influence(head, batch):
    tokens, mask = batch
    with torch.no_grad():
        longer = head(torch.nn.functional.pad(tokens, (0, 0, 0, 2)), torch.nn.functional.pad(mask, (0, 2)))
        torch.testing.assert_close(longer, head(tokens, mask), rtol=0, atol=1e-6)


def test_every_real_token_has_influence(head, batch):
    tokens, mask = batch
    tokens = tokens.clone().requires_grad_()
    for logits in head(tokens, mask):
        logits.square().sum().backward(retain_graph=True)
    felt = tokens.grad.abs().sum(-1) > 0
    alone = mask.sum(1, keepdim=True) == 1  # a single token, less the mean of the clip, is nothing
    assert (felt | ~mask | (alone & head.options.input.startswith("centred"))).all()


def test_seed_decides_the_weights_and_leaves_the_global_state(head):
    before = torch.get_rng_state()
    again, other = (build_head(head.options, 12, 5, seed=seed) for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(head.parameters(), again.parameters(), other.parameters(), strict=True)
    same, differs = zip(*((torch.equal(a, b), not torch.equal(a, c)) for a, b, c in pairs), strict=True)
    assert all(same)
    assert any(differs)


def test_bundle_gives_the_same_head(head, batch, tmp_path):
    save_bundle(tmp_path, head, ModelConfig.for_head(head, **CONFIG, note={"seed": 1}))
    loaded, config = load_bundle(tmp_path)
    assert not loaded.training
    assert loaded.options == head.options
    assert config.labels == CONFIG["labels"]
    assert config.note == {"seed": 1}
    with torch.no_grad():
        assert torch.equal(loaded(*batch), head(*batch))


def test_too_many_tokens_or_another_width(head):
    with pytest.raises(UsageError, match="up to 9 tokens of width 12; got 10 of width 12"):
        head(torch.zeros(1, 10, 12), torch.ones(1, 10, dtype=torch.bool))
    with pytest.raises(UsageError, match="got 3 of width 11"):
        head(torch.zeros(1, 3, 11), torch.ones(1, 3, dtype=torch.bool))
