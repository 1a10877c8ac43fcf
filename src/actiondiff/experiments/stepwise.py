"""Forward-stepwise choice of the features that a head reads, on held-out clips of the source alone.

The best single feature comes first. Then each feature that is left is tried beside those that are chosen, and
the best of them is added, until none of them raises the score. The target is never looked at.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actiondiff.errors import UsageError
from actiondiff.experiments.feature_choice import FeatureChoice
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.halving import HalvingResult, try_on_source
from actiondiff.experiments.runner import StudyRunner
from actiondiff.types import JSON, FeatureKey

__all__ = ["ALL_KEYS", "choose_keys"]

ALL_KEYS = "all"
"""In place of a list of features: every feature of every store."""


def choose_keys(
    runner: StudyRunner, cell: Cell, candidates: Sequence[str], folder: Path, *, most: int
) -> HalvingResult:
    """Choose features one after the other.

    Args:
        runner: Runs the studies, on one store or on several that are joined.
        cell: The study. Its features are replaced, but how they are combined is not.
        candidates: Names of features, as in `FeatureChoice.keys`; `all` alone means every feature.
        folder: Folder of the runs that are tried.
        most: Largest number of features.

    Returns:
        The study with the chosen features, and how they were chosen.

    Raises:
        UsageError: If there are fewer than two candidates, or none is of the first store.
        UnknownNameError: If a store lacks one of them.
    """
    stored = list(candidates) == [ALL_KEYS]
    wanted = tuple(map(str, runner.store.keys())) if stored else tuple(candidates)
    keys = FeatureChoice(keys=wanted).checked_keys(runner.store)
    if len(keys) < 2 or most < 1:
        raise UsageError(
            f"features are chosen among two or more, and at least one is taken; got {', '.join(wanted)} and "
            f"a largest number of {most}. Extract more layers or timesteps, or join stores (--with)."
        )
    chosen: list[FeatureKey] = []
    score, steps = -1.0, list[JSON]()
    trained = 0
    while len(chosen) < min(most, len(keys)):
        # The first feature is of the first store, which gives the tokens their times.
        tried = [key for key in keys if key not in chosen and (chosen or not key.store)]
        cells = {key: _with_keys(cell, [*chosen, key]) for key in tried}
        step = len(chosen) + 1
        runner.progress(step, 0, f"feature {step}: trying {len(tried)}")
        trial = try_on_source(runner, list(cells.values()), 1.0, folder / f"keys-{step}", all_seeds=True)
        trained += len(cells) * cell.recipe.seeds
        scores = {key: trial.scores[one.name] for key, one in cells.items() if one.name in trial.scores}
        best = max(scores, key=lambda key: scores[key])  # of equal ones, the first listed
        is_better = scores[best] > score
        names = sorted(scores, key=lambda key: -scores[key])
        dropped = [f"{key} ({scores[key]:.3f})" for key in names if key != best or not is_better]
        taken = [*map(str, chosen), f"{best} ({scores[best]:.3f})"] if is_better else [*map(str, chosen)]
        steps.append(
            {"question": 0, "share": 1.0, "num_points": len(cells), "num_clips": len(trial.clips),
             "kept": list[JSON](taken), "dropped": list[JSON](dropped), "doubtful": []}
        )  # fmt: skip
        if not is_better:
            break
        chosen, score = [*chosen, best], scores[best]
    summary: dict[str, JSON] = {
        "budget": None,
        "rounds": steps,
        "num_tried": trained,
        "num_trained_in_full": 1,
        "num_doubtful": 0,
        "keys": [str(key) for key in chosen],
        "score": score,
        "said": f"Chose {' + '.join(map(str, chosen))} among {len(keys)} features in {len(steps)} steps, by "
        f"{trained} training runs on clips of the source, where it scores {score:.3f}. That score is the "
        "best of many and therefore too high; only the test says what the choice is worth.",
    }
    return HalvingResult((_with_keys(cell, chosen),), summary)


def _with_keys(cell: Cell, keys: Sequence[FeatureKey]) -> Cell:
    """A study with other features, which give it its name."""
    features = FeatureChoice(keys=tuple(map(str, keys)), combine=cell.recipe.features.combine)
    recipe = cell.recipe.model_copy(update={"features": features})
    return replace(cell, name=" + ".join(map(str, keys)), recipe=recipe)
