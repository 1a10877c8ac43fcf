"""Whether a model's test score is better than guessing, and the sentence that says so."""

import os
from dataclasses import dataclass

from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.results import METRICS_FILE, EvaluationMetrics, read_metrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.inference.folders import find_model_folder

__all__ = ["ChanceVerdict", "chance_verdict", "verdict_of_run"]

_TITLES: dict[Metric, str] = {"accuracy": "accuracy", "micro_map": "micro mAP"}


@dataclass(frozen=True)
class ChanceVerdict:
    """The test score of a model, compared with guessing.

    Attributes:
        beats_guessing: Whether the whole 95 % interval of the score lies above the score of guessing by class
            frequencies. False where nothing was tested, or where one group alone was, which has no interval.
        sentence: The comparison in words, to be put before any prediction of the model.
    """

    beats_guessing: bool
    sentence: str


def chance_verdict(test: SideScores | None) -> ChanceVerdict:
    """Compare the scores of the test clips with guessing.

    The score is the accuracy, or the micro mAP of multi-label tasks.
    """
    if test is None:
        return ChanceVerdict(False, "NOT TESTED: nothing is known about how good this model is.")
    name: Metric = "accuracy" if test.scores.accuracy is not None else "micro_map"
    score, floor, bounds = test.scores.total(name), test.prior_floor.total(name), test.intervals.get(name)
    clips = "1 test clip" if test.num_clips == 1 else f"{test.num_clips} test clips"
    if score is None or floor is None:
        return ChanceVerdict(False, f"NOT TESTED: {clips} of no class give no {_TITLES[name]}.")
    span = f"95 % interval {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %" if bounds else "no interval"
    numbers = (
        f"{_TITLES[name]} {100 * score:.1f} % on {clips} ({span}); guessing by class frequencies has "
        f"{100 * floor:.1f} %."
    )
    if bounds and bounds[0] > floor:
        return ChanceVerdict(True, f"Better than guessing: {numbers}")
    reason = "" if bounds else " All test clips are of one group, so the score has no interval."
    return ChanceVerdict(False, f"NOT SHOWN TO BE BETTER THAN GUESSING: {numbers}{reason}")


def verdict_of_run(run: str | os.PathLike[str]) -> ChanceVerdict:
    """Compare the test score of a trained model, from the `metrics.json` beside it, with guessing.

    Args:
        run: Folder of the run, or hub id.

    Raises:
        RunError: If the folder does not exist, or its `metrics.json` is damaged.
    """
    folder = find_model_folder(run)
    if not (folder / METRICS_FILE).is_file():
        return ChanceVerdict(False, f"NOT TESTED: the model comes without {METRICS_FILE}, its test scores.")
    metrics = read_metrics(folder)
    return chance_verdict(metrics if isinstance(metrics, EvaluationMetrics) else metrics.test)
