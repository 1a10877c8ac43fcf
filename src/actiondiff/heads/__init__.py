"""Heads: the small trained networks that predict actions from the tokens of a clip."""

from typing import TYPE_CHECKING

from actiondiff.errors import UsageError
from actiondiff.registry import Registry

if TYPE_CHECKING:
    from actiondiff.heads.inputs import Head
    from actiondiff.heads.options import HeadOptions

__all__ = ["HEADS", "build_head"]

HEADS = Registry(
    "head",
    {
        "transformer": "actiondiff.heads.transformer:TransformerHead",
        "linear": "actiondiff.heads.linear:LinearHead",
        "mean-linear": "actiondiff.heads.linear:MeanLinearHead",
        "mlp": "actiondiff.heads.mlp:MLPHead",
        "attentive": "actiondiff.heads.attentive:AttentiveHead",
    },
)
"""Name of a head -> subclass of `Head`, called with (options, token_width, num_classes)."""


def build_head(options: "HeadOptions", token_width: int, num_classes: int, *, seed: int = 0) -> "Head":
    """Build a head with random weights; the global random state is left as it was.

    Args:
        options: Name and size of the head.
        token_width: D, the width of the tokens that the head will be given.
        num_classes: K, the number of classes.
        seed: Seed of the random weights.

    Raises:
        UsageError: If the options do not fit the token width, or there is no class.
    """
    import torch  # not at module level: recipes need the names above, but no torch

    if num_classes < 1:
        raise UsageError(f"a head needs at least one class; got {num_classes}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head: Head = HEADS[options.name](options, token_width, num_classes)
    return head
