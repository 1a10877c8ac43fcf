"""Heads that consist of one linear layer."""

import torch
from torch import nn

from actiondiff.errors import UsageError
from actiondiff.heads.inputs import Head
from actiondiff.heads.options import HeadOptions

__all__ = ["LinearHead", "MeanLinearHead"]


class LinearHead(Head):
    """One linear layer on the concatenated tokens, padded with zeros to `max_tokens`; the mask is not used.

    Source: paper, Table 4; the released code calls it MLP.
    """

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        self.classifier = nn.Linear(self.max_positions * self.width, num_classes)

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        return self.classifier(self.pad(tokens))


class MeanLinearHead(Head):
    """One linear layer on the mean of the tokens: the simplest probe, which ignores the order of tokens.

    Raises:
        UsageError: If the options ask for centred input, since the mean of centred tokens is zero.
    """

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        if options.input.startswith("centred"):
            raise UsageError(
                "mean-linear averages tokens, and the mean of centred tokens is zero. Use input=plain or "
                "standardised, or another head."
            )
        self.classifier = nn.Linear(self.width, num_classes)

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        total = tokens.masked_fill(~mask[..., None], 0).sum(1)  # (B, width)
        return self.classifier(total / mask.sum(1, keepdim=True).clamp(min=1))
