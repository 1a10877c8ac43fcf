"""Small stores and features for them."""

from pathlib import Path

import numpy as np
from tests.conftest import identity_of, store_settings

from actiondiff.features.store import FeatureStore
from actiondiff.types import DecodeReport, FeatureKey, Features

SETTINGS = store_settings(name="fake", window=4)
KEYS = (FeatureKey(20, "layer3"), FeatureKey(20, "layer9"))


def features(
    name: str, keys=KEYS, *, count: int = 5, status="ok", times: bool = True, change: float = 0
) -> Features:
    """Features of a video of that name; `change` is added to every token."""
    rng = np.random.default_rng(len(name))
    tokens = {key: rng.normal(size=(count, 6)).astype(np.float32) + np.float32(change) for key in KEYS}
    return Features(
        tokens={key: tokens[key] for key in keys},
        seconds=np.arange(count) / 7.5 if times else None,
        frame_index=np.arange(count) * 4,
        identity=identity_of(name),
        num_windows=2,
        num_padded=3,
        window_length=4,
        report=DecodeReport(status, "" if status == "ok" else "cut short", 4 * count, 30, False),
    )


def create(folder: Path, root="/data/clips", **changes: object) -> FeatureStore:
    """An empty store."""
    settings = SETTINGS | changes
    return FeatureStore.create(folder, settings=settings, root=root)


def fill(folder: Path, names, keys=KEYS, **changes) -> FeatureStore:
    """A store with features of these videos."""
    store = create(folder)
    for name in names:
        store.write(name, features(name, keys, **changes))
    store.tidy()
    return store
