"""Which stored features a head reads: one by default, or several layers, timesteps and backbones."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from actiondiff.backbones.base import find_spec
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.features.joined import further_stores, own_keys, store_name
from actiondiff.features.store import FeatureStore
from actiondiff.heads.options import HeadOptions
from actiondiff.types import FeatureKey

__all__ = ["FeatureChoice", "head_options"]

_STANDARDISED: dict[str, Literal["standardised", "centred-standardised"]] = {
    "plain": "standardised",
    "centred": "centred-standardised",
}


class FeatureChoice(BaseModel):
    """The stored features that a head reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timestep: int | None = Field(
        None, ge=0, description="Diffusion timestep; none takes the backbone's default."
    )
    layer: int | str | None = Field(
        None, description="Number or name of the layer; none takes the backbone's default."
    )
    keys: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Several features at once, such as [t20.layer9, t5.layer6, lite0]. The name of a "
        "backbone alone is its default feature, lite0:t0.layer5 another one; further backbones come from "
        "further stores (--with). In place of timestep and layer; none reads one feature per store.",
    )
    combine: Literal["concat", "tokens"] = Field(
        "concat",
        description="How several features are combined. concat: side by side in one token. tokens: one token "
        "each, projected on its own. Each channel is standardised in both cases, as if head.input had it "
        "(scaled and minus-background: each feature has one scale).",
    )

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> "dict[str, Any]":
        """Leave out what only several features need, so that other recipes are written as ever."""
        fields: dict[str, Any] = write(self)
        unused = {"keys"} if self.keys is None else {"timestep", "layer"}
        unused |= {"combine"} if self.combine == "concat" else set()
        return {name: value for name, value in fields.items() if name not in unused}

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for number, key in enumerate(keys or ()):
            if key in (keys or ())[:number]:
                raise ValueError(f"{key} is listed twice")
        return keys

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        if self.keys is not None and not (self.timestep is None and self.layer is None):
            raise ValueError("keys takes the place of timestep and layer; set either keys or these")
        return self

    def key(self, store: FeatureStore) -> FeatureKey:
        """Return the one feature to read of a store, whether or not the store has it.

        Where timestep or layer are left open, the backbone's defaults are taken. If the store lacks that
        feature and has exactly one that fits, this one is taken.
        """
        settings: Any = store.settings["backbone"]
        spec = find_spec(settings["name"])
        timestep = spec.timestep if self.timestep is None else self.timestep
        default = FeatureKey.of(timestep, spec.layer if self.layer is None else self.layer)
        stored = own_keys(store)
        fitting = [key for key in stored if self._allows(key)]
        return fitting[0] if default not in stored and len(fitting) == 1 else default

    def _allows(self, key: FeatureKey) -> bool:
        """Whether a feature has the timestep and the layer that are not left open."""
        asked = FeatureKey.of(
            key.timestep if self.timestep is None else self.timestep,
            key.layer if self.layer is None else self.layer,
        )
        return key == asked

    def all_keys(self, store: FeatureStore) -> list[FeatureKey]:
        """Return every feature to read, whether or not the store has it.

        Without `keys` these are the one feature of the first store, and the default ones of further stores.

        Raises:
            UnknownNameError: If a name is neither that of a feature nor that of a store.
            UsageError: If two names mean the same feature, or none is of the first store.
        """
        further = further_stores(store)
        if self.keys is None:
            return [
                self.key(store),
                *(FeatureChoice().key(other).named(name) for name, other in further.items()),
            ]
        keys = [_resolve(text, store) for text in self.keys]
        for text, key in zip(self.keys, keys, strict=True):
            if keys.count(key) > 1:
                raise UsageError(f"features.keys has the feature {key} twice (once as {text}); list it once.")
        if all(key.store for key in keys):
            first = store_name(store)
            raise UsageError(
                f"features.keys = {', '.join(self.keys)} has none of the first store, {store.folder} "
                f"({first}); add {first}, or give the store of {keys[0].store} in its place."
            )
        return keys

    def checked_keys(self, store: FeatureStore) -> list[FeatureKey]:
        """Return every feature to read, once it is certain that the store has them.

        Raises:
            UnknownNameError: If the store does not have a feature for every video; see `all_keys`, too.
            UsageError: See `all_keys`.
        """
        keys = self.all_keys(store)
        # Whether a further store has its features of each video is known once the videos are: see `pack`.
        stored = own_keys(store)
        for key in keys:
            if not key.store and key not in stored:
                hint = f"Choose with --timestep and --layer, or extract it into {store.folder} first."
                raise UnknownNameError(f"feature of {store.folder}", key, stored, hint)
        return keys

    def resolved(self, store: FeatureStore) -> Self:
        """The choice with every feature spelt out, where there are further stores.

        Raises:
            UsageError: If a further store is not read.
        """
        further = further_stores(store)
        if not further:
            return self
        keys = self.all_keys(store)
        idle = [name for name in further if name not in {key.store for key in keys}]
        if idle:
            raise UsageError(
                f"features.keys = {', '.join(map(str, keys))} reads nothing of {further[idle[0]].folder} "
                f"({idle[0]}); add {idle[0]} to the keys, or leave --with out."
            )
        return type(self)(keys=tuple(map(str, keys)), combine=self.combine)


def head_options(options: HeadOptions, features: FeatureChoice, widths: Sequence[int]) -> HeadOptions:
    """Options of the head for several features of these widths; as they are for one.

    Raises:
        UsageError: If `fusion` does not fit the features.
    """
    if options.split or options.widths:
        raise UsageError("head.split and head.widths are set by training; use features.combine.")
    if len(widths) < 2:
        return options
    if options.fusion not in (1, len(widths)):
        raise UsageError(
            f"fusion={options.fusion} mixes that many features, and features.keys has {len(widths)}; set it "
            f"to {len(widths)} or 1."
        )
    prepared = _STANDARDISED.get(options.input, options.input)
    sizes: dict[str, tuple[int, ...]] = {}
    if features.combine == "tokens":
        sizes["split"] = tuple(widths)
    elif prepared in ("scaled", "minus-background"):
        sizes["widths"] = tuple(widths)
    return options.model_copy(update={"input": prepared, **sizes})


def _resolve(text: str, store: FeatureStore) -> FeatureKey:
    """The key that a name in a recipe means."""
    stores = {store_name(store): store, **further_stores(store)}
    name, sign, rest = text.rpartition(":")
    if text in stores:
        key, name = FeatureChoice().key(stores[text]), text
    elif sign and name in stores:
        key = FeatureKey.parse(rest)
    elif not sign and _is_key(text):
        key, name = FeatureKey.parse(text), store_name(store)
    else:
        hint = "Give its store: --with STORE. Features are named like t20.layer9, lite0, or lite0:t0.layer5."
        raise UnknownNameError("backbone of features.keys", name or text, stores, hint)
    return key if name == store_name(store) else key.named(name)


def _is_key(text: str) -> bool:
    """Whether a text has the form of a feature's name."""
    try:
        FeatureKey.parse(text)
    except UsageError:
        return False
    return True
