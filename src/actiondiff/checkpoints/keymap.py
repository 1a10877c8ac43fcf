"""Maps the names of an original file to ours, by the rules of a data file."""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml
from torch import Tensor

__all__ = ["KeyMap", "Target"]


@dataclass(frozen=True)
class Target:
    """Tensor that one tensor of the original file, or a part of it, becomes.

    Attributes:
        component: `unet`, `image_encoder`, `vae` or `latent_encoder`.
        name: Its name in diffusers or transformers.
        how: Change of the values: `same`, `transpose`, `squeeze` (a 1x1 kernel becomes a matrix), `row` (of
            shape (1, 1, D)) or `split` (one of equal parts along the first axis).
        part: Index of the part, for `split`.
        parts: Number of parts, for `split`.
    """

    component: str
    name: str
    how: str = "same"
    part: int = 0
    parts: int = 1

    def apply(self, tensor: Tensor) -> Tensor:
        """The target's values from the original tensor's; a view, on the meta device too."""
        match self.how:
            case "transpose":
                return tensor.transpose(0, 1)
            case "squeeze":
                return tensor.flatten(1)
            case "row":
                return tensor.reshape(1, 1, -1)
            case "split":
                return tensor.unflatten(0, (self.parts, -1))[self.part]
        return tensor


@dataclass(frozen=True)
class _Rule:
    start: str  # first characters of all names that match; compared first, because that is fast
    pattern: re.Pattern[str]
    component: str
    how: str
    targets: tuple[str | None, ...]  # None for a part that is not needed

    def apply(self, key: str) -> tuple[Target, ...] | None:
        match = self.pattern.fullmatch(key) if key.startswith(self.start) else None
        if not match:
            return None
        rest = match["rest"]
        return tuple(
            Target(self.component, name.format(**match.groupdict()) + rest, self.how, part, len(self.targets))
            for part, name in enumerate(self.targets)
            if name is not None
        )


class KeyMap:
    """The rules of one data file.

    Args:
        name: Name of the file in `keymaps/` without suffix; the top of svd.yaml explains the rules.
    """

    def __init__(self, name: str) -> None:
        text = resources.files("actiondiff.checkpoints").joinpath(f"keymaps/{name}.yaml").read_text("utf-8")
        data = yaml.safe_load(text)
        rules_by_name: dict[str, _Rule] = {}
        for component, rules in data["components"].items():
            for source, to in _expanded(rules, data["blocks"]):
                rules_by_name[source] = _rule(component, source, to)
        # The longest beginning of a name wins.
        longest_first = sorted(rules_by_name, key=len, reverse=True)
        self._rules = [rules_by_name[source] for source in longest_first]
        self._not_needed = tuple(data["not_needed"])
        self._used = tuple(data.get("used", ()))

    def match(self, key: str) -> tuple[Target, ...] | None:
        """Tensors that an original tensor becomes; empty if it is not needed, None if it is unknown."""
        if _begins(key, self._not_needed):
            return ()
        return next((targets for rule in self._rules if (targets := rule.apply(key)) is not None), None)

    def is_used(self, key: str) -> bool:
        """Whether a name belongs to a network that features depend on, known or not."""
        return _begins(key, self._used)

    @classmethod
    @functools.cache
    def svd(cls) -> "KeyMap":
        """The map of Stable Video Diffusion's file."""
        return cls("svd")


def _begins(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _expanded(rules: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Rules without blocks: the rules of each block are written out with the names where it is used."""
    for source, to in rules.items():
        how = next(iter(to)) if isinstance(to, Mapping) else "same"
        if how not in blocks:
            yield source, to
            continue
        for inner, inner_to in blocks[how].items():
            yield f"{source}.{inner}", _prefixed(to[how], inner_to)


def _prefixed(prefix: str, to: Any) -> Any:
    if isinstance(to, Mapping):
        return {how: _prefixed(prefix, names) for how, names in to.items()}
    return f"{prefix}.{to}"


def _rule(component: str, source: str, to: Any) -> _Rule:
    how, targets = next(iter(to.items())) if isinstance(to, Mapping) else ("same", to)
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    pattern = re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(source))
    start = source.partition("{")[0]
    return _Rule(start, re.compile(rf"{pattern}(?P<rest>(\..+)?)"), component, how, names)
