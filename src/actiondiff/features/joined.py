"""Several feature stores as one: features of the same videos, joined by content and aligned in time.

The first store decides which videos there are and at which times their tokens lie. To each of its tokens
belongs the token of every further store that is nearest in time. Features of a further store have its name
before their own: `lite0:t0.layer17`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiondiff.errors import StoreError, UnknownNameError, UsageError
from actiondiff.features.description import Description
from actiondiff.features.store import FeatureStore
from actiondiff.outputs.words import counted
from actiondiff.types import Appearance, DecodeReport, FeatureKey, Features
from actiondiff.types.keys import check_store_name

__all__ = [
    "JoinedStore",
    "further_stores",
    "join_features",
    "join_stores",
    "open_joined",
    "own_keys",
    "store_name",
]

_MOST_TIMES = 4.0  # so many times farther apart may the tokens of one store be than those of the other
_ROUNDING = 1.05


class JoinedStore(FeatureStore):
    """A feature store with further features of its videos, which other stores hold.

    What is written is written to the first store.

    Args:
        first: The store that decides which videos there are, and the times of the tokens.
        further: Name -> further store.

    Attributes:
        further: Name -> further store.

    Raises:
        UsageError: If a name has characters that are not allowed, or is that of the first store's backbone.
    """

    def __init__(self, first: FeatureStore, further: Mapping[str, FeatureStore]) -> None:
        super().__init__(first.folder, Description(first.settings, first.fingerprint, first.root))
        self.further = {check_store_name(name): store for name, store in further.items()}
        if store_name(first) in further:
            raise UsageError(
                f"{store_name(first)} is the name of the backbone of {first.folder}, so "
                f"{further[store_name(first)].folder} needs another name. Give it as NAME=STORE."
            )
        for name, store in self.further.items():
            _check_stream(name, first, store)

    def keys(self) -> list[FeatureKey]:
        """The features that all videos except failed ones have, those of further stores last."""
        theirs = {name: store.keys() for name, store in self.further.items()}
        return super().keys() + [key.named(name) for name, keys in theirs.items() for key in keys]

    def has(self, identity: str, keys: Iterable[FeatureKey]) -> bool:
        """Whether every store has its own of these features of a content."""
        by_store = _by_store(keys)
        return super().has(identity, by_store.pop("", [])) and all(
            self._store(name).has(identity, own) for name, own in by_store.items()
        )

    def missing(self, identity: str, keys: Iterable[FeatureKey]) -> list[FeatureKey]:
        """Which of these features are missing or damaged."""
        by_store = _by_store(keys)
        lacking = super().missing(identity, by_store.pop("", []))
        for name, own in by_store.items():
            lacking += [key.named(name) for key in self._store(name).missing(identity, own)]
        return lacking

    def load(self, identity: str, keys: Sequence[tuple[int, int | str]] | None = None) -> Features:
        """Read the features of a content, with the tokens of all stores at the times of the first.

        Raises:
            UnknownNameError: If a feature, or the store that it is from, is not there.
            StoreError: If a file is missing or damaged, or tokens cannot be aligned in time.
        """
        chosen = self.keys() if keys is None else [FeatureKey.of(*key) for key in keys]
        by_store = _by_store(chosen)
        own = super().load(identity, by_store.pop("", []))
        parts = {name: self._store(name).load(identity, theirs) for name, theirs in by_store.items()}
        return join_features(own, parts, video=(self.names_of(identity) or [identity])[0])

    def names_of(self, identity: str) -> list[str]:
        """The names that a content has in the first store, sorted."""
        return sorted(self._manifest.names(identity))

    def check_contents(self, identities: Iterable[str], keys: Iterable[FeatureKey]) -> None:
        """Make sure that every further store has its features of all contents.

        Raises:
            StoreError: If one lacks features of a video; it counts them and names the first.
            UnknownNameError: If a feature is of a store that is not there.
        """
        wanted = sorted(set(identities))
        for name, own in _by_store(keys).items():
            store = self._store(name) if name else self
            lacking = [identity for identity in wanted if name and not store.has(identity, own)]
            if not lacking:
                continue
            videos = sorted((self.names_of(identity) or [identity])[0] for identity in lacking)
            raise StoreError(
                f"{store.folder} lacks {', '.join(map(str, own))} of {len(lacking)} of "
                f"{counted(len(wanted), 'video')} of {self.folder}, for example of {videos[0]}"
                f"{_reason(store, videos[0])}. Videos are joined by content: extract the same files into "
                "both, or leave these clips out of the table."
            )

    def _store(self, name: str) -> FeatureStore:
        if name not in self.further:
            raise UnknownNameError("store of features", name, self.further, "Give it with --with STORE.")
        return self.further[name]


def join_stores(
    first: FeatureStore | str | os.PathLike[str],
    *others: FeatureStore | str | os.PathLike[str],
) -> FeatureStore:
    """Open feature stores of the same videos as one store; the first alone if there is no other.

    Args:
        first: The store that decides which videos there are, and the times of the tokens.
        others: Further stores. A text `NAME=FOLDER` names a store; else it has the name of its backbone.

    Raises:
        UsageError: If two stores have the same name.
        StoreError: If a store cannot be read.
    """
    store = first if isinstance(first, FeatureStore) else FeatureStore.open(first)
    further: dict[str, FeatureStore] = {}
    for other in others:
        name, folder = "", other
        if isinstance(other, str) and "=" in other and not Path(other).exists():
            name, _, folder = other.partition("=")
        opened = folder if isinstance(folder, FeatureStore) else FeatureStore.open(folder)
        name = name or store_name(opened)
        if name in further:
            raise UsageError(
                f"{further[name].folder} and {opened.folder} are both named {name}. Name one of them: "
                "NAME=STORE."
            )
        further[name] = opened
    return JoinedStore(store, further) if further else store


def open_joined(folder: Path, further: Mapping[str, FeatureStore] | Mapping[str, Path]) -> FeatureStore:
    """Open a store, joined with further ones by name if there are any."""
    store = FeatureStore.open(folder)
    opened = {
        name: other if isinstance(other, FeatureStore) else FeatureStore.open(other)
        for name, other in further.items()
    }
    return JoinedStore(store, opened) if opened else store


def further_stores(store: FeatureStore) -> Mapping[str, FeatureStore]:
    """The further stores that a store is joined with, by name; none for a single store."""
    return store.further if isinstance(store, JoinedStore) else {}


def own_keys(store: FeatureStore) -> list[FeatureKey]:
    """The features of a store itself, without those of stores that it is joined with."""
    return FeatureStore.keys(store)


def store_name(store: FeatureStore) -> str:
    """Name of the backbone that made a store's features."""
    settings: Any = store.settings["backbone"]
    return str(settings["name"])


def join_features(own: Features, parts: Mapping[str, Features], *, video: str) -> Features:
    """Join features of one video that several backbones made.

    Args:
        own: Those of the first backbone.
        parts: Name of a further store -> features.
        video: Name of the video, for errors.

    Returns:
        The first's, with the tokens of the others that are nearest in time to its own.

    Raises:
        StoreError: If the tokens cannot be aligned.
    """
    tokens, report, look = dict(own.tokens), own.report, own.appearance
    for name, part in parts.items():
        rows = _nearest(own, part, f"{video}: tokens of {name} cannot be aligned with those beside them")
        tokens |= {key.named(name): values[rows] for key, values in part.tokens.items()}
        report = _worse(report, part.report)
        look = _stranger(look, part.appearance)
    return replace(own, tokens=tokens, report=report, appearance=look) if parts else own


def _nearest(own: Features, part: Features, problem: str) -> NDArray[np.int64]:
    """(T,) for each token of the first store, the row of the token that is nearest in time."""
    if np.array_equal(own.frame_index, part.frame_index):
        return np.arange(len(own))
    if own.seconds is None or part.seconds is None:
        raise StoreError(
            f"{problem}: they are of other frames, whose times are unknown. Extract both with "
            "the same --stride."
        )
    steps = (_step(own.seconds), _step(part.seconds))
    slower, faster = max(steps), min(steps)
    if faster and slower > _MOST_TIMES * _ROUNDING * faster:
        raise StoreError(
            f"{problem}: one token every {steps[1]:.3g} s against every {steps[0]:.3g} s; at most "
            f"{_MOST_TIMES:.0f} times as far apart is allowed. Extract one with another --stride or --fps."
        )
    after = np.searchsorted(part.seconds, own.seconds).clip(1, max(1, len(part) - 1))
    before = after - 1
    after = after.clip(max=len(part) - 1)
    # Of equally near tokens the earlier one; rounding of times does not decide.
    is_before = own.seconds - part.seconds[before] <= part.seconds[after] - own.seconds + 1e-6
    rows = np.where(is_before, before, after).astype(np.int64)
    gap = np.abs(part.seconds[rows] - own.seconds)
    if (gap > _ROUNDING * max(slower, 1e-3)).any():
        worst = int(gap.argmax())
        raise StoreError(
            f"{problem}: the token at {own.seconds[worst]:.3g} s has its nearest {gap[worst]:.3g} s away, "
            f"and tokens are {slower:.3g} s apart. Extract both with the same --stride or --fps."
        )
    return rows


def _step(seconds: NDArray[np.float64]) -> float:
    """Median time from one token to the next; 0 for a single token."""
    steps = np.diff(seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0


def _stranger(look: Appearance | None, other: Appearance | None) -> Appearance | None:
    """An appearance with the larger strangeness of two, where students made some of the features."""
    values = [each.strangeness for each in (look, other) if each is not None and each.strangeness is not None]
    return look._replace(strangeness=max(values)) if look is not None and values else look


def _worse(report: DecodeReport | None, other: DecodeReport | None) -> DecodeReport | None:
    """The report of the lower coverage."""
    if report is None or other is None:
        return report or other
    return other if other.coverage < report.coverage else report


def _by_store(keys: Iterable[FeatureKey]) -> dict[str, list[FeatureKey]]:
    """Name of a store -> its own keys; the first store has no name, and always an entry."""
    parts: dict[str, list[FeatureKey]] = {"": []}
    for key in keys:
        parts.setdefault(key.store, []).append(key.within())
    return parts


def _reason(store: FeatureStore, video: str) -> str:
    """Why a video has no features in a store, where that is recorded."""
    failure = store.failures.get(video)
    return f" (failed: {failure.reason})" if failure else ""


def _check_stream(name: str, first: FeatureStore, store: FeatureStore) -> None:
    """Refuse a store whose features are of another stream of the files."""
    ours, theirs = ((each.settings["sampling"] or {}) for each in (first, store))
    streams = [each.get("stream") if isinstance(each, dict) else None for each in (ours, theirs)]
    if streams[0] != streams[1]:
        raise UsageError(
            f"{store.folder} ({name}) was made from stream {streams[1]} of the files and {first.folder} from "
            f"stream {streams[0]} (None is the main one), so that their tokens are of other pictures. "
            "Extract the same stream."
        )
