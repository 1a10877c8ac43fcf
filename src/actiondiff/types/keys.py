"""The names of features: diffusion timestep and layer."""

import re
from typing import NamedTuple

from actiondiff.errors import UsageError

__all__ = ["TRACK", "FeatureKey", "check_store_name", "layer_name"]

TRACK = "track"
"""Name of the layer that no backbone has: how a crop moves, and how large the animal is in it."""


def check_store_name(name: str) -> str:
    """Return the name of a store whose features are joined with those of another.

    Raises:
        UsageError: If it has other characters than letters, digits, `.`, `-` and `_`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError(
            f"the name of a store has letters, digits, ., - and _ only, and begins with a letter or digit; "
            f"got {name!r}. Name it as in NAME=STORE."
        )
    return name


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
    """A feature of a video: diffusion timestep and layer. Written `t20.layer9`.

    Where features of several backbones are joined, the layer of a further one begins with the name of its
    store: `FeatureKey(0, "lite0:layer17")`, written `lite0:t0.layer17`.
    """

    timestep: int
    layer: str

    def __str__(self) -> str:
        own = self.within()
        return f"{f'{self.store}:' if self.store else ''}t{own.timestep}.{own.layer}"

    @property
    def store(self) -> str:
        """Name of the further store that the feature is from; empty for the first or only one."""
        return self.layer.rpartition(":")[0]

    def within(self) -> "FeatureKey":
        """The key of this feature in its own store."""
        return FeatureKey(self.timestep, self.layer.rpartition(":")[2])

    def named(self, store: str) -> "FeatureKey":
        """The key of this feature of a store, where the features of several are joined."""
        return FeatureKey(self.timestep, f"{check_store_name(store)}:{self.within().layer}")

    @classmethod
    def of(cls, timestep: int, layer: int | str) -> "FeatureKey":
        """The key of a timestep and of a layer's number or name."""
        if isinstance(layer, str) and ":" in layer:
            store, _, own = layer.rpartition(":")
            return cls(int(timestep), layer_name(own)).named(store)
        return cls(int(timestep), layer_name(layer))

    @classmethod
    def parse(cls, text: str) -> "FeatureKey":
        """Inverse of `str(key)`.

        Raises:
            UsageError: If the text is not of the form `t20.layer9` or `lite0:t0.layer17`.
        """
        match = re.fullmatch(r"(?:(.+):)?t(\d+)\.(.+)", text)
        if not match:
            raise UsageError(f"a feature is named like t20.layer9; got {text!r}.")
        key = cls(int(match[2]), layer_name(match[3]))
        return key if match[1] is None else key.named(match[1])
