"""The base class of all heads, and the preparation of tokens that all heads begin with."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from actiondiff.errors import UsageError
from actiondiff.heads.options import HeadOptions

__all__ = ["Head", "TokenInput", "check_divisible"]


class TokenInput(nn.Module):
    """Turns tokens as they are stored into tokens as the layers of a head see them.

    The steps, each of which the options can ask for, are in this order: subtract the clip's mean and add
    first differences; standardise the channels, or bring them to one scale; mix several features (a
    softmax-weighted sum); project to another width. With the default options there are no parameters and
    tokens do not change. With `split`,
    each feature of a token is projected by itself and becomes a token of its own, beside the others of its
    time.

    Args:
        options: Options of the head.
        token_width: D, the width of the stored tokens: `fusion` times the width of one feature.

    Raises:
        UsageError: If `token_width` is not a multiple of `fusion`, or `split` does not fit it.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, options: HeadOptions, token_width: int) -> None:
        super().__init__()
        if token_width % options.fusion:
            raise UsageError(
                f"fusion={options.fusion} needs tokens of that many features of equal width; got a token "
                f"width of {token_width}. Give that many feature keys whose layers have the same width."
            )
        self.num_features = options.fusion
        self.is_plain = options.input == "plain"
        self.is_centred = options.input in ("centred", "centred-standardised")
        # With minus-background, tokens arrive without their camera's background (see `Backgrounds`).
        self.has_one_scale = options.input in ("scaled", "minus-background")
        self.is_standardised = self.has_one_scale or options.input in ("standardised", "centred-standardised")
        self.feature_widths = (
            options.split or options.widths or (token_width // options.fusion,) * options.fusion
        )
        if sum(self.feature_widths) != token_width:
            name = "split" if options.split else "widths"
            raise UsageError(
                f"{name}={list(self.feature_widths)} adds up to {sum(self.feature_widths)}; got tokens of "
                f"width {token_width}. Leave head.{name} out: training sets it for several features."
            )
        parts = 2 if self.is_centred else 1
        if self.is_standardised:
            # NaN until measured, so that a head without statistics of training data cannot pass for trained.
            self.register_buffer("mean", torch.full((parts * token_width,), torch.nan))
            self.register_buffer("deviation", torch.full((parts * token_width,), torch.nan))
        if options.fusion > 1:
            self.mixture = nn.Parameter(torch.zeros(options.fusion))
        width = parts * token_width // options.fusion
        self.split = options.split
        self.tokens_per_time = max(1, len(options.split))
        if options.split:
            if options.fusion > 1:
                raise UsageError(
                    "features.combine=tokens gives each feature a token of its own, and "
                    f"fusion={options.fusion} mixes them into one; use features.combine=concat, or fusion=1."
                )
            self.width = options.project or max(options.split)
            self.projections = nn.ModuleList(nn.Linear(parts * own, self.width) for own in options.split)
            self.feature_marks = nn.Parameter(torch.randn(len(options.split), self.width) * 0.02)
            self.projection = None
            return
        self.projection = nn.Linear(width, options.project) if options.project else None
        self.width = options.project or width

    def expand(self, mask: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T * tokens per time), the mask of the tokens that `forward` returns."""
        return mask.repeat_interleave(self.tokens_per_time, dim=1) if self.split else mask

    def _split_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, parts * D) -> (B, T * features, width)."""
        halves = [half.split(list(self.split), dim=-1) for half in tokens.split(sum(self.split), dim=-1)]
        own = [torch.cat(part, dim=-1) for part in zip(*halves, strict=True)]  # (B, T, parts * own) each
        projected = [layer(part) for layer, part in zip(self.projections, own, strict=True)]
        return (torch.stack(projected, dim=2) + self.feature_marks).flatten(1, 2)

    def measure(self, tokens: torch.Tensor, offsets: torch.Tensor) -> None:
        """Measure mean and deviation of each channel on training data, if the input asks for them.

        With one scale, the deviation of every channel is the root mean square of those of its feature. The
        background of a camera is most of the variance of many channels. Without it, the channels that see
        hardly anything but the background vary little, and a deviation of 1 for each would make them as loud
        as those that see the animal.

        Args:
            tokens: (N, D), the tokens of all clips.
            offsets: (clips + 1,), the row at which each clip begins, then N.
        """
        if not self.is_standardised:
            return
        size = tokens.mean(0).abs()
        if self.is_centred:
            clips = tokens.tensor_split(offsets[1:-1].tolist())
            masks = [torch.ones(1, len(clip), dtype=torch.bool) for clip in clips]
            tokens = torch.cat(
                [_centred(clip[None], mask)[0] for clip, mask in zip(clips, masks, strict=True)]
            )
            size = size.repeat(2)
        deviation, mean = torch.std_mean(tokens, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(
            torch.where(deviation > 1e-6 * size, deviation, 1.0)
        )  # constant channels are not scaled
        if self.has_one_scale:
            shared = [
                part.square().mean().sqrt().expand(len(part)) for part in deviation.split(self.feature_widths)
            ]
            scale = torch.cat(shared)
            self.deviation.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, D) float32, (B, T) bool -> (B, T, width). Padding becomes zero unless nothing is changed.

        With `split`, the result is (B, T * features, width): the features of a time lie side by side.
        """
        if self.is_centred:
            tokens = _centred(tokens, mask)
        if self.is_standardised:
            tokens = (tokens - self.mean) / self.deviation
        if self.split:
            return self._split_tokens(tokens).masked_fill(~self.expand(mask)[..., None], 0)
        if self.num_features > 1:
            parts = tokens.unflatten(-1, (2 if self.is_centred else 1, self.num_features, -1))
            tokens = (parts * self.mixture.softmax(0)[:, None]).sum(-2).flatten(-2)
        if self.projection is not None:
            tokens = self.projection(tokens)
        changes_padding = not self.is_plain or self.projection is not None
        return tokens.masked_fill(~mask[..., None], 0) if changes_padding else tokens


def _centred(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens minus their clip's mean, and differences from the previous token: (B, T, D) -> (B, T, 2D)."""
    real = mask[..., None]
    total = tokens.masked_fill(~real, 0).sum(1, keepdim=True)
    mean = total / real.sum(1, keepdim=True).clamp(min=1)
    steps = tokens.diff(dim=1, prepend=tokens[:, :1])
    return torch.cat([tokens - mean, steps], dim=-1)


class Head(nn.Module, ABC):
    """A classifier of clips. Subclasses build layers for tokens of `self.width` and define `classify`.

    Args:
        options: Name and size of the head.
        token_width: D, the width of the tokens as they are stored.
        num_classes: K, the number of classes.

    Attributes:
        temperature: Prediction divides the logits by this number; it is 1 during training.
        max_positions: Most tokens that `classify` gets: `max_tokens`, times the number of features where each
            has a token of its own.
    """

    temperature: float = 1.0

    def __init__(self, options: HeadOptions, token_width: int, num_classes: int) -> None:
        super().__init__()
        self.options = options
        self.token_width = token_width
        self.num_classes = num_classes
        self.inputs = TokenInput(options, token_width)
        self.width = self.inputs.width
        self.max_positions = options.max_tokens * self.inputs.tokens_per_time

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the logits of clips.

        Args:
            tokens: (B, T, D) float32, with T at most `options.max_tokens`.
            mask: (B, T) bool, True where a token is not padding. Padding comes last; each clip has at least
                one token.

        Returns:
            (B, K) float32.

        Raises:
            UsageError: If there are more tokens than `max_tokens`, or they have another width.
        """
        if tokens.shape[1] > self.options.max_tokens or tokens.shape[2] != self.token_width:
            raise UsageError(
                f"this head takes up to {self.options.max_tokens} tokens of width {self.token_width}; got "
                f"{tokens.shape[1]} of width {tokens.shape[2]}. Cut longer clips (see predict_probabilities)."
            )
        return self.classify(self.inputs(tokens, mask), self.inputs.expand(mask))

    @abstractmethod
    def classify(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, width) and (B, T) bool -> logits (B, K); T is at most `max_positions`."""

    def pad(self, tokens: torch.Tensor) -> torch.Tensor:
        """Concatenate each clip's tokens and append zeros: (B, T, width) -> (B, max_positions * width)."""
        return nn.functional.pad(tokens, (0, 0, 0, self.max_positions - tokens.shape[1])).flatten(1)


def check_divisible(width: int, heads: int) -> None:
    """Raise a UsageError unless the width is a multiple of the number of attention heads."""
    if width % heads:
        allowed = ", ".join(str(n) for n in range(1, min(width, 64) + 1) if width % n == 0)
        raise UsageError(
            f"heads={heads} does not divide the width {width} that the attention layers see; use one of "
            f"{allowed}, or give `project` another width."
        )
