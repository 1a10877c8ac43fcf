"""Takes the background of each clip's camera away, in training and in evaluation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from actiondiff.datasets.crop_tables import table_of_crops
from actiondiff.datasets.packing import PackedFeatures, pack
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.features.store import FeatureStore
from actiondiff.heads.background import Backgrounds, camera_means, fit_backgrounds
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.backgrounds import takes_none_away
from actiondiff.types import Array, FeatureKey

__all__ = ["footage_of", "take_backgrounds_away", "without_backgrounds"]


def take_backgrounds_away(
    sides: Mapping[str, PackedFeatures],
    protocol: ProtocolOptions,
    store: FeatureStore,
    keys: Sequence[FeatureKey],
) -> tuple[dict[str, PackedFeatures], Backgrounds, tuple[str, ...]]:
    """Estimate the backgrounds of the training cameras, and subtract each clip's.

    A camera that has training clips has the same background on all sides. That of another camera is estimated
    from its clips on the side.

    Args:
        sides: Side -> its clips; `train` is one of them.
        protocol: Names the column of the camera, and clips without animals.
        store: Features of the clips without animals.
        keys: The features that make up one token.

    Returns:
        The sides, the backgrounds, and sentences that qualify the numbers.

    Raises:
        UsageError: If a clip has no camera.
    """
    footage = _footage(protocol.background, protocol.camera, store, keys)
    means = camera_means(sides["train"], protocol.camera)
    backgrounds = fit_backgrounds({name: footage.get(name, own) for name, own in means.items()},
                                  protocol.camera)  # fmt: skip
    subtracted: dict[str, PackedFeatures] = {}
    notes: tuple[str, ...] = ()
    for side, clips in sides.items():
        subtracted[side], new = backgrounds.subtract_each(clips, footage)
        if side == "test" and new:
            notes = (backgrounds.note(new, empty=footage),)
    return subtracted, backgrounds, notes


def without_backgrounds(
    packed: PackedFeatures,
    config: ModelConfig,
    store: FeatureStore,
    table: str | os.PathLike[str] | None,
) -> tuple[PackedFeatures, list[str]]:
    """Subtract the backgrounds that a model takes away, if it does.

    Args:
        packed: The clips.
        config: The model's config.
        store: Features of clips without animals.
        table: Table of clips without animals; None to estimate backgrounds of new cameras from the clips.

    Returns:
        The clips, and sentences that qualify the numbers.

    Raises:
        UsageError: If a clip has no camera, or there is a table and the model takes no background away.
    """
    footage = footage_of(config, store, table)
    backgrounds = config.backgrounds
    if backgrounds is None:
        return packed, []
    packed, new = backgrounds.subtract_each(packed, footage)
    return packed, [backgrounds.note(new, empty=footage)] if new else []


def footage_of(
    config: ModelConfig, store: FeatureStore, table: str | os.PathLike[str] | None
) -> dict[str, Array]:
    """Camera -> (n, D) mean tokens of its clips without animals, for a model that takes backgrounds away.

    Raises:
        UsageError: If there is a table and the model takes no background away, or a clip has no features.
    """
    backgrounds = config.backgrounds
    if backgrounds is not None:
        return _footage(table, backgrounds.column, store, config.feature_keys)
    if table is not None:
        raise takes_none_away(config, "--background-clips")
    return {}


def _footage(
    path: str | os.PathLike[str] | None, column: str, store: FeatureStore, keys: Sequence[FeatureKey]
) -> dict[str, Array]:
    """Camera -> (n, D) mean tokens of its clips without animals."""
    if path is None:
        return {}
    table = read_table(Path(path))
    table = table_of_crops(table, store, table.root)
    examples = [replace(example, labels=()) for example in table.examples]
    packed = pack(store, examples, keys, (), root=table.root)
    if packed.missing:
        clip = packed.missing[0]
        raise UsageError(
            f"{path}: {len(packed.missing)} of {len(examples)} clips have no features "
            f"({clip.example.video} is {clip.reason}). Extract them, or leave them out of the table."
        )
    return camera_means(packed, column)
