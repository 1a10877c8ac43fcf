"""The names of features: diffusion timestep and layer."""

import re
from typing import NamedTuple

from actiondiff.errors import UsageError

__all__ = ["FeatureKey", "layer_name"]


def layer_name(layer: int | str) -> str:
    """The name of a layer: 9 -> `layer9`; names stay as they are.

    Raises:
        UsageError: If a number is below 1, or a name has other characters than letters, digits, - and _.
    """
    if isinstance(layer, int) or layer.isdecimal():
        if int(layer) < 1:
            raise UsageError(f"layers are numbered from 1; got {layer}.")
        return f"layer{int(layer)}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", layer):
        raise UsageError(f"a layer's name has letters, digits, - and _ only; got {layer!r}.")
    return layer


class FeatureKey(NamedTuple):
    """A feature of a video: diffusion timestep and layer. Written `t20.layer9`."""

    timestep: int
    layer: str

    def __str__(self) -> str:
        return f"t{self.timestep}.{self.layer}"

    @classmethod
    def of(cls, timestep: int, layer: int | str) -> "FeatureKey":
        """The key of a timestep and of a layer's number or name."""
        return cls(int(timestep), layer_name(layer))

    @classmethod
    def parse(cls, text: str) -> "FeatureKey":
        """Inverse of `str(key)`.

        Raises:
            UsageError: If the text is not of the form `t20.layer9`.
        """
        match = re.fullmatch(r"t(\d+)\.(.+)", text)
        if not match:
            raise UsageError(f"a feature is named like t20.layer9; got {text!r}.")
        return cls.of(int(match[1]), match[2])
