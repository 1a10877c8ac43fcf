import numpy as np
import pytest
import torch

from actiondiff.datasets.packing import Batch
from actiondiff.training.augment import draw_mixup, mixup


def test_tokens_and_targets_are_mixed_but_the_mask_is_not():
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    targets = torch.eye(2)
    mixed = mixup(Batch(tokens, mask, targets), share=0.75, partner=torch.tensor([1, 0]))
    torch.testing.assert_close(mixed.tokens[0], 0.75 * tokens[0] + 0.25 * tokens[1])
    torch.testing.assert_close(mixed.tokens[1], 0.75 * tokens[1] + 0.25 * tokens[0])
    torch.testing.assert_close(mixed.targets, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    assert torch.equal(mixed.mask, mask)


def test_draws_follow_the_generator_alone():
    draws = [draw_mixup(0.2, 16, np.random.default_rng(3)) for _ in range(2)]
    assert draws[0][0] == draws[1][0]
    assert torch.equal(draws[0][1], draws[1][1])
    assert sorted(draws[0][1].tolist()) == list(range(16))


def test_shares_follow_the_beta_distribution():
    generator = np.random.default_rng(0)
    shares = np.array([draw_mixup(0.2, 1, generator)[0] for _ in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)
    assert draw_mixup(0, 4, generator)[0] == 1
