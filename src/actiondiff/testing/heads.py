"""The check that every head must pass."""

from collections.abc import Callable

import torch

from actiondiff.heads.inputs import Head
from actiondiff.heads.options import HeadOptions
from actiondiff.testing.expecting import expect

__all__ = ["check_head"]


def check_head(make: Callable[[HeadOptions, int, int], Head]) -> None:
    """Check that a head gives one logit per class, ignores padding, trains all weights and can be restored.

    Args:
        make: The head's class, or a function (options, token_width, num_classes) that builds a head.

    Raises:
        AssertionError: If a check fails; the message says how.
    """
    B, T, D, K = 3, 5, 16, 4
    options = HeadOptions(layers=2, heads=4, max_tokens=12)
    tokens = torch.randn(B, T, D, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(T) < torch.tensor([[T], [T - 2], [1]])
    tokens = tokens * mask[..., None]
    head = make(options, D, K).eval()
    logits = head(tokens, mask)
    expect(logits.shape == (B, K), f"logits are {tuple(logits.shape)}, not {(B, K)}")
    expect(bool(logits.isfinite().all()), "logits are not finite")
    more = torch.zeros(B, 3, D)
    longer = head(torch.cat([tokens, more], 1), torch.cat([mask, more[..., 0].bool()], 1))
    expect(torch.allclose(longer, logits, atol=1e-5), "more padding changes the logits")
    expect(not torch.allclose(head(tokens.flip(-1), mask), logits), "tokens do not matter")
    again = make(options, D, K).eval()
    again.load_state_dict(head.state_dict())
    expect(torch.equal(again(tokens, mask), logits), "a head with the same state gives other logits")
    head.train()(tokens, mask).square().sum().backward()
    untrained = [name for name, weight in head.named_parameters() if weight.grad is None]
    expect(not untrained, f"these weights get no gradient: {', '.join(untrained)}")
