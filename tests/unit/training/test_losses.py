import math

import pytest
import torch

from actiondiff.training.losses import loss_function, sigmoid_focal, softmax_focal
from actiondiff.training.options import TrainingOptions

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
HARD = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
SOFT = 0.3 * HARD + 0.7 * HARD.flip(0)


@pytest.mark.parametrize("targets", [HARD, SOFT])
def test_sigmoid_focal(targets):
    total = 0.0
    for x, t in zip(LOGITS.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        entropy = -t * math.log(p) - (1 - t) * math.log(1 - p)
        total += 0.25 * (1 - math.exp(-entropy)) ** 2 * entropy
    assert float(sigmoid_focal(LOGITS, targets, alpha=0.25, gamma=2)) == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize("targets", [HARD, SOFT])
def test_softmax_focal(targets):
    total = 0.0
    for row, wanted in zip(LOGITS.tolist(), targets.tolist(), strict=True):
        normaliser = sum(map(math.exp, row))
        for x, t in zip(row, wanted, strict=True):
            p = math.exp(x) / normaliser
            total -= 0.25 * t * (1 - p) ** 2 * math.log(p)
    assert float(softmax_focal(LOGITS, targets, alpha=0.25, gamma=2)) == pytest.approx(total / 2, rel=1e-5)


def test_focal_losses_without_focus_are_the_plain_ones():
    plain = TrainingOptions(loss="softmax-focal", focal_alpha=1, focal_gamma=0)
    cross_entropy = TrainingOptions(loss="cross-entropy")
    torch.testing.assert_close(loss_function(plain)(LOGITS, SOFT), loss_function(cross_entropy)(LOGITS, SOFT))
    plain, bce = plain.model_copy(update={"loss": "sigmoid-focal"}), TrainingOptions(loss="bce")
    torch.testing.assert_close(loss_function(plain)(LOGITS, SOFT), loss_function(bce)(LOGITS, SOFT))


def test_certain_logits_have_finite_gradients():
    logits = torch.tensor([[60.0, -60.0, -200.0]], requires_grad=True)
    for loss in ("sigmoid-focal", "softmax-focal"):
        loss_function(TrainingOptions(loss=loss))(logits, torch.tensor([[1.0, 0.0, 0.0]])).backward()
        assert logits.grad.isfinite().all()


def test_mse_is_of_the_logits():
    value = loss_function(TrainingOptions(loss="mse"))(LOGITS, HARD)
    assert float(value) == pytest.approx(float((LOGITS - HARD).square().mean()))
