"""Heads: the small networks that name the action from a clip's tokens."""

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
"""Name -> subclass of `Head`, called with (options, token_width, num_classes)."""


def build_head(options: "HeadOptions", token_width: int, num_classes: int, *, seed: int = 0) -> "Head":
    """A new head with random weights; the global random state is left as it was.

    Args:
        options: Which head and how large.
        token_width: D of the tokens it will see.
        num_classes: K.
        seed: Of the weights.

    Raises:
        UsageError: If the options do not fit the width, or there is no class.
    """
    import torch  # not at module level: recipes read the names above, and need no torch

    if num_classes < 1:
        raise UsageError(f"a head needs at least one class; got {num_classes}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head: Head = HEADS[options.name](options, token_width, num_classes)
    return head
