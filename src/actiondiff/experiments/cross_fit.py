"""Heads that are trained without a part of the training groups, so that this part can be predicted fairly."""

from collections.abc import Callable
from pathlib import Path

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.evaluation.folds import group_folds, groups_per_class
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation
from actiondiff.training.batches import by_identity
from actiondiff.training.fit import fit
from actiondiff.training.options import TrainingOptions

__all__ = ["held_out_heads"]


def held_out_heads(
    build: Callable[[], Head],
    train: PackedFeatures,
    options: TrainingOptions,
    *,
    activation: Activation,
    seed: int,
    folder: Path,
) -> list[tuple[Head, PackedFeatures]]:
    """Train one head per fold of the training groups, on the other folds.

    Args:
        build: Returns a new head with its initial weights.
        train: Training clips.
        options: Options of training, as for the head that is trained on all clips.
        activation: `sigmoid` for multi-label tasks.
        seed: Seed of the folds and of training.
        folder: Folder of the run; each head has its log in a folder of `logs`.

    Returns:
        Each head with the clips that it was not trained on. Empty where there are fewer clips than
        `min_validation_clips`, or a class has fewer groups than there are folds.
    """
    train = by_identity(train)
    rarest = min(groups_per_class(train.examples).values(), default=0)
    count = options.calibration_folds
    if count < 2 or len(train) < options.min_validation_clips or rarest < count:
        return []
    folds = group_folds(train.examples, count, salt=f"{seed}/calibration")
    parts = []
    for fold in range(count):
        others = train.subset([i for i, number in enumerate(folds) if number != fold])
        held = train.subset([i for i, number in enumerate(folds) if number == fold])
        head = build()
        fit(
            head,
            others,
            None,
            options.for_clips(len(others), None),
            activation=activation,
            seed=seed,
            folder=folder / "logs" / f"calibration-{fold}",
        )
        parts.append((head, held))
    return parts
