"""A head with three linear layers."""

import torch
from torch import nn

from actiondiff.heads.inputs import Head
from actiondiff.heads.options import HeadOptions

__all__ = ["MLPHead"]

_HIDDEN = (512, 256)


class MLPHead(Head):
    """Concatenated tokens, padded with zeros to `max_tokens`, -> 512 -> 256 -> K; the mask is not used.

    Source: our reading of a network that the released code mentions but never runs; the paper names an MLP
    but not its size.
    """

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        first, second = _HIDDEN
        self.layers = nn.Sequential(
            nn.Linear(self.max_positions * self.width, first),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(second, num_classes),
        )

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        return self.layers(self.pad(tokens))
