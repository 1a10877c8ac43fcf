"""The paper's head: a transformer encoder with a class token."""

import torch
from torch import nn

from actiondiff.heads.inputs import Head, check_divisible
from actiondiff.heads.options import HeadOptions

__all__ = ["TransformerHead", "sinusoids"]


class TransformerHead(Head):
    """Class token and tokens, sinusoidal positions, post-norm encoder layers; the class token is classified.

    Source: paper, section 3.3; layer sizes, order of norms and positions as in the released code. The names
    of its parameters are the released ones, so that its weights load here.
    """

    positions: torch.Tensor

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        check_divisible(self.width, options.heads)
        layer = nn.TransformerEncoderLayer(
            self.width,
            options.heads,
            dim_feedforward=options.ff_mult * self.width,
            dropout=options.dropout,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, options.layers, norm=nn.LayerNorm(self.width), enable_nested_tensor=False
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, self.width))
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(self.width, num_classes)
        self.register_buffer("positions", sinusoids(options.max_tokens + 1, self.width), persistent=False)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, width) -> (B, 1 + T, width): class token first, positions added."""
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.dropout(tokens + self.positions[: tokens.shape[1]])

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        hidden = nn.functional.pad(~mask, (1, 0), value=False)  # the class token is never hidden
        encoded = self.encoder(self.embed(tokens), src_key_padding_mask=hidden)
        return self.classifier(encoded[:, 0])


def sinusoids(num_positions: int, width: int) -> torch.Tensor:
    """Positions as (num_positions, width) float32: column 2i holds sin(p / 10000^(2i / width)), 2i+1 cos."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(num_positions, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].float()
