"""A head that pools the tokens by attention from one learned query."""

import torch
from torch import nn

from actiondiff.heads.inputs import Head, check_divisible
from actiondiff.heads.options import HeadOptions

__all__ = ["AttentiveHead"]


class AttentiveHead(Head):
    """Cross-attention from a learned query to the tokens, a feed-forward layer, a linear layer.

    The head has no positional encoding: the order of tokens matters only through their differences
    (`input="centred"`). Un-pooled space-time tokens may therefore be passed as they are.

    Source: the attentive probe of V-JEPA (Bardes et al. 2024), with one block.
    Deviation: the hidden width is set by `ff_mult` (4 in V-JEPA), and attention has an output projection.
    """

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        check_divisible(self.width, options.heads)
        hidden = options.ff_mult * self.width
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, self.width), std=0.02))
        self.token_norm = nn.LayerNorm(self.width)
        self.attention = nn.MultiheadAttention(self.width, options.heads, batch_first=True)
        self.norm = nn.LayerNorm(self.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(self.width, hidden), nn.GELU(), nn.Linear(hidden, self.width)
        )
        self.classifier = nn.Linear(self.width, num_classes)

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        query = self.query.expand(len(tokens), -1, -1)
        context = self.token_norm(tokens)
        answer, _ = self.attention(query, context, context, key_padding_mask=~mask, need_weights=False)
        state = query + answer
        state = state + self.feed_forward(self.norm(state))
        return self.classifier(state[:, 0])
