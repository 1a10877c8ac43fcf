"""Whether a model's test score is better than guessing, and the sentence that says so."""

import os
from dataclasses import dataclass

from scipy.special import betainc  # scipy.stats takes a second to import

from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.results import METRICS_FILE, EvaluationMetrics, read_metrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.inference.folders import find_model_folder
from actiondiff.outputs.words import counted

__all__ = ["ChanceVerdict", "chance_verdict", "verdict_of_run"]

_LEVEL = 0.025  # of the one-sided test, as that of the lower end of a 95 % interval
_FEW = 10
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
    clips = counted(test.num_clips, "test clip")
    if score is None or floor is None:
        return ChanceVerdict(False, f"NOT TESTED: {clips} of no class give no {_TITLES[name]}.")
    span = f"95 % interval {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %" if bounds else "no interval"
    numbers = (
        f"{_TITLES[name]} {100 * score:.1f} % on {clips} ({span}); guessing by class frequencies has "
        f"{100 * floor:.1f} %."
    )
    is_enough = _is_enough(name, score, floor, test.num_clips)
    if bounds and bounds[0] > floor and is_enough:
        return ChanceVerdict(True, f"Better than guessing: {numbers}")
    reason = ""
    if not bounds:
        reason = " All test clips are of one group, so the score has no interval."
    elif bounds[0] > floor:
        reason = " So few clips may be right by luck."
    return ChanceVerdict(False, f"NOT SHOWN TO BE BETTER THAN GUESSING: {numbers}{reason}")


def _is_enough(name: Metric, score: float, floor: float, num_clips: int) -> bool:
    """Whether there are so many clips that luck does not explain the score, however narrow its interval.

    Resampling a few clips that are all right gives an interval of no width. So an accuracy must be unlikely
    for guesses as well (exact binomial test), and other scores need a few clips.
    """
    if name == "accuracy":
        right = round(score * num_clips)
        return right > 0 and bool(betainc(right, num_clips - right + 1, floor) < _LEVEL)
    return num_clips >= _FEW


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
