"""The paper's head: a transformer encoder with a class token."""

import torch
from torch import nn

from actiondiff.errors import UsageError
from actiondiff.heads.inputs import Head, check_divisible
from actiondiff.heads.options import HeadOptions

__all__ = ["TransformerHead", "sinusoids"]

_MOST_POSITIONS = 2**27  # half a gigabyte


class TransformerHead(Head):
    """A transformer encoder (post-norm, sinusoidal positions) whose class token a linear layer classifies.

    Source: paper, section 3.3; layer sizes, the order of norms and the positions are as in the released code.
    Parameters have the released names, so that released weights load here.
    """

    positions: torch.Tensor

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__(options, token_width, num_classes)
        check_divisible(self.width, options.heads)
        if options.max_tokens * self.width > _MOST_POSITIONS:
            raise UsageError(
                f"max_tokens={options.max_tokens} needs {options.max_tokens * self.width:.2g} numbers for "
                f"the positions of tokens of width {self.width}; at most {_MOST_POSITIONS:.2g} are allowed. "
                "Give fewer max_tokens: longer clips are predicted in spans."
            )
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
        """Put the class token first and add positions: (B, T, width) -> (B, 1 + T, width)."""
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        times = -(-(tokens.shape[1] - 1) // self.inputs.tokens_per_time)
        positions = self.positions[: 1 + times]
        if self.inputs.tokens_per_time > 1:  # tokens of one time share its position
            positions = torch.cat(
                [positions[:1], positions[1:].repeat_interleave(self.inputs.tokens_per_time, 0)]
            )
        return self.dropout(tokens + positions)

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `Head.classify`."""
        hidden = nn.functional.pad(~mask, (1, 0), value=False)  # the class token is never masked
        encoded = self.encoder(self.embed(tokens), src_key_padding_mask=hidden)
        return self.classifier(encoded[:, 0])


def sinusoids(num_positions: int, width: int) -> torch.Tensor:
    """(num_positions, width) float32; column 2i is sin(p / 10000^(2i / width)), column 2i + 1 the cosine."""
    # On the CPU also where a head without memory is made: PyTorch would import its compiler for that.
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    angles = torch.arange(num_positions, dtype=torch.float64, device="cpu")[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].float()
