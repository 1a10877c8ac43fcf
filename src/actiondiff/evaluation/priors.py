"""Prior floor: the scores of guessing by the class frequencies of the training clips, without any video."""

import numpy as np

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import check_scored, summary
from actiondiff.evaluation.scores import PriorFloor
from actiondiff.types import Array

__all__ = ["prior_floor"]


def prior_floor(source_targets: Array, targets: Array, *, multi_label: bool) -> PriorFloor:
    """Score a guess that gives every clip the class frequencies of the training clips.

    Where several classes are the most frequent, one of them is guessed for all clips, and the accuracies are
    the expectation over these guesses.

    Args:
        source_targets: (M, K) targets of the training clips, 0 or 1.
        targets: (N, K) targets of the clips to score, 0 or 1.
        multi_label: Whether clips may have several classes, or none.

    Raises:
        UsageError: If shapes or values do not fit, or there is no training clip.
    """
    if source_targets.ndim != 2 or not len(source_targets) or source_targets.shape[1:] != targets.shape[1:]:
        raise UsageError(
            f"the prior floor needs targets of at least one training clip with the same classes; got "
            f"{source_targets.shape} and {targets.shape}."
        )
    counts = source_targets.sum(0, dtype=np.float64)
    frequencies = np.tile((counts / len(source_targets)).astype(np.float32), (len(targets), 1))
    totals = summary(frequencies, targets, multi_label=multi_label)
    accuracy = balanced = None
    if not multi_label:
        _, truth = check_scored(frequencies, targets, multi_label=False)
        guessed, support = counts == counts.max(), truth.sum(axis=0)  # (K,)
        accuracy = float(support[guessed].mean() / len(truth))
        balanced = float((support[guessed] > 0).mean() / (support > 0).sum())
    return PriorFloor.model_validate({**totals, "accuracy": accuracy, "balanced_accuracy": balanced})
