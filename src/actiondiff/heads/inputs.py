"""What every head begins with: the tokens made ready, and the frame that subclasses fill."""

import torch
from torch import nn

from actiondiff.errors import UsageError
from actiondiff.heads.options import HeadOptions

__all__ = ["Head", "TokenInput", "check_divisible"]


class TokenInput(nn.Module):
    """Tokens as stored -> tokens as a head sees them.

    In this order, each where asked for: the clip's mean subtracted and first differences added, channels
    standardised, several features mixed (softmax-weighted sum), projection to another width. Has no
    parameters, and changes nothing, with the default options.

    Args:
        options: Of the head.
        token_width: D of the stored tokens: `fusion` times the width of one feature.

    Raises:
        UsageError: If `token_width` is no multiple of `fusion`.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, options: HeadOptions, token_width: int) -> None:
        super().__init__()
        if token_width % options.fusion:
            raise UsageError(
                f"fusion={options.fusion} needs tokens of that many features of equal width; got width "
                f"{token_width}. Pass that many keys of layers of one width."
            )
        self.num_features = options.fusion
        self.is_plain = options.input == "plain"
        self.is_centred = options.input in ("centred", "centred-standardised")
        self.is_standardised = options.input in ("standardised", "centred-standardised")
        parts = 2 if self.is_centred else 1
        if self.is_standardised:
            # Not a number until measured: a head that was never shown its training data cannot look trained.
            self.register_buffer("mean", torch.full((parts * token_width,), torch.nan))
            self.register_buffer("deviation", torch.full((parts * token_width,), torch.nan))
        if options.fusion > 1:
            self.mixture = nn.Parameter(torch.zeros(options.fusion))
        width = parts * token_width // options.fusion
        self.projection = nn.Linear(width, options.project) if options.project else None
        self.width = options.project or width

    def measure(self, tokens: torch.Tensor, offsets: torch.Tensor) -> None:
        """Take the channels' statistics from training data; does nothing unless standardised.

        Args:
            tokens: (N, D), of all clips.
            offsets: (clips + 1,), where each clip's begin and the last one's end.
        """
        if not self.is_standardised:
            return
        size = tokens.mean(0).abs()
        if self.is_centred:
            clips = tokens.tensor_split(offsets[1:-1].tolist())
            every = [torch.ones(1, len(clip), dtype=torch.bool) for clip in clips]
            tokens = torch.cat(
                [_centred(clip[None], real)[0] for clip, real in zip(clips, every, strict=True)]
            )
            size = size.repeat(2)
        deviation, mean = torch.std_mean(tokens, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6 * size, deviation, 1.0))  # constant channels stay

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, D) float32 and (B, T) bool -> (B, T, width), zero where masked unless input is plain."""
        if self.is_centred:
            tokens = _centred(tokens, mask)
        if self.is_standardised:
            tokens = (tokens - self.mean) / self.deviation
        if self.num_features > 1:
            parts = tokens.unflatten(-1, (2 if self.is_centred else 1, self.num_features, -1))
            tokens = (parts * self.mixture.softmax(0)[:, None]).sum(-2).flatten(-2)
        if self.projection is not None:
            tokens = self.projection(tokens)
        changes_padding = not self.is_plain or self.projection is not None
        return tokens.masked_fill(~mask[..., None], 0) if changes_padding else tokens


def _centred(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens minus their clip's mean, and differences to the token before: (B, T, D) -> (B, T, 2D)."""
    real = mask[..., None]
    total = tokens.masked_fill(~real, 0).sum(1, keepdim=True)
    mean = total / real.sum(1, keepdim=True).clamp(min=1)
    steps = tokens.diff(dim=1, prepend=tokens[:, :1])
    return torch.cat([tokens - mean, steps], dim=-1)


class Head(nn.Module):
    """A classifier of clips. Subclasses build their layers for `self.width` and define `classify`.

    Args:
        options: Name and size.
        token_width: D of the tokens as stored.
        num_classes: K.

    Attributes:
        temperature: Logits are divided by it wherever the head predicts; 1 while it is trained.
    """

    temperature: float = 1.0

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__()
        self.options = options
        self.token_width = token_width
        self.num_classes = num_classes
        self.inputs = TokenInput(options, token_width)
        self.width = self.inputs.width

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits of clips.

        Args:
            tokens: (B, T, D) float32, T at most `options.max_tokens`.
            mask: (B, T) bool, True where a token is real. Real tokens come first, at least one a clip.

        Returns:
            (B, K) float32.

        Raises:
            UsageError: If there are more tokens than `max_tokens`, or of another width.
        """
        if tokens.shape[1] > self.options.max_tokens or tokens.shape[2] != self.token_width:
            raise UsageError(
                f"this head takes up to {self.options.max_tokens} tokens of width {self.token_width}; got "
                f"{tokens.shape[1]} of width {tokens.shape[2]}. Cut longer clips (see predict_probabilities)."
            )
        return self.classify(self.inputs(tokens, mask), mask)

    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, width) and (B, T) bool -> logits (B, K)."""
        raise NotImplementedError

    def pad(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, width) -> (B, max_tokens * width), filled up with zeros."""
        return nn.functional.pad(tokens, (0, 0, 0, self.options.max_tokens - tokens.shape[1])).flatten(1)


def check_divisible(width: int, heads: int) -> None:
    """Raise a UsageError unless tokens of this width can be shared out among attention heads."""
    if width % heads:
        allowed = ", ".join(str(n) for n in range(1, min(width, 64) + 1) if width % n == 0)
        raise UsageError(
            f"heads={heads} does not divide the width {width} that the attention layers see; use one of "
            f"{allowed}, or give `project` another width."
        )
