"""Registries of things that can be plugged in: backbones, datasets, heads.

A registry maps a name to a reference `"package.module:attribute"`, which is imported when it is looked up.
Listing names imports nothing. Third parties add names through entry points of the group `actiondiff.<kind>s`.
"""

import fnmatch
import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from actiondiff.errors import UnknownNameError, UsageError

__all__ = ["Registry"]


class Registry(Mapping[str, Any]):
    """A mapping from names to objects, which are imported when they are looked up.

    Args:
        kind: Kind of the objects, in the singular, for example `"head"`.
        references: Name -> `"package.module:attribute"`.
    """

    def __init__(self, kind: str, references: Mapping[str, str]) -> None:
        self.kind = kind
        self._references = dict(references)
        self._plugins_loaded = False

    def register(self, name: str, reference: str) -> None:
        """Register a name.

        Raises:
            UsageError: If the name is registered with another reference already.
        """
        if self._references.setdefault(name, reference) != reference:
            raise UsageError(
                f"{self.kind} {name!r} is registered twice: {self._references[name]} and {reference}."
            )

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a wildcard pattern, sorted."""
        return sorted(fnmatch.filter(self, pattern))

    def __getitem__(self, name: str) -> Any:
        references = self._all()
        if name not in references:
            raise UnknownNameError(self.kind, name, sorted(references))
        module, _, attribute = references[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for point in entry_points(group=f"actiondiff.{self.kind}s"):
                self.register(point.name, point.value)
        return self._references
