"""Loss functions of logits (B, K) and targets (B, K); targets are in [0, 1], soft where clips are mixed."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from actiondiff.training.options import LossName, TrainingOptions

__all__ = ["SINGLE_LABEL_LOSSES", "LossFunction", "loss_function", "sigmoid_focal", "softmax_focal"]

LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]

SINGLE_LABEL_LOSSES: frozenset[LossName] = frozenset({"cross-entropy", "softmax-focal"})
"""Losses that treat the target as a distribution over classes, so that every clip needs exactly one label."""


def loss_function(options: TrainingOptions) -> LossFunction:
    """Return the loss function that the options name; it maps (logits, targets) to a scalar."""
    alpha, gamma = options.focal_alpha, options.focal_gamma
    losses: dict[LossName, LossFunction] = {
        "sigmoid-focal": partial(sigmoid_focal, alpha=alpha, gamma=gamma),
        "softmax-focal": partial(softmax_focal, alpha=alpha, gamma=gamma),
        "cross-entropy": F.cross_entropy,
        "bce": F.binary_cross_entropy_with_logits,
        "mse": F.mse_loss,  # of the logits, without an activation, as in the released code
    }
    return losses[options.loss]


def sigmoid_focal(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Mean over clips and classes of alpha (1 - exp(-l))^gamma l, where l is the binary cross entropy.

    Source: the released code, which also has soft targets; there `alpha` is a constant factor.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (alpha * (1 - torch.exp(-entropy)) ** gamma * entropy).mean()


def softmax_focal(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Mean over clips of the sum over classes of -alpha t (1 - p)^gamma log p, where p is the softmax.

    With gamma 0 and alpha 1 it equals cross entropy.

    Source: the paper's text (3.3 and A.1.3 together); the released code has no such loss.
    """
    log_p = logits.log_softmax(-1)
    return -(alpha * targets * (1 - log_p.exp()) ** gamma * log_p).sum(-1).mean()
