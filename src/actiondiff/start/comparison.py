"""The verdict: what heads on several features score on held-out groups, against guessing and controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import beta, t

from actiondiff.evaluation.intervals import percentiles, resample, statistic
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.priors import prior_floor
from actiondiff.outputs.words import counted
from actiondiff.start.backbones import CONTROLS
from actiondiff.types import Array, BoolArray, DoubleArray

__all__ = ["Candidate", "HeldOutScore", "StartVerdict", "compare_candidates", "pool_folds", "too_few"]

Outcome: TypeAlias = Literal["works", "not better than guessing", "not better than controls", "too few"]
_NUM_RESAMPLES = 2000
_FEW_GROUPS, _FEW_PER_CLASS = 10, 4
_MORE_GROUPS = 2  # than classes
_WORTH_HAVING = 1 / 3  # share of the errors of guessing that a useful model avoids, at least
_TITLES: Mapping[str, str] = {
    "balanced_accuracy": "Balanced accuracy",
    "micro_map": "Micro mAP",
}


@dataclass(frozen=True)
class Candidate:
    """The predictions of one feature's heads, each clip by the head that was trained without its group.

    Attributes:
        name: Name of the backbone.
        probabilities: (N, K) in [0, 1].
        truth: (N, K), whether a clip has a class.
        groups: Group of each clip.
        labels: The K classes.
        note: What qualifies its score, in words.
    """

    name: str
    probabilities: Array
    truth: BoolArray
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class HeldOutScore:
    """Score of a candidate on held-out groups.

    Attributes:
        name: Name of the backbone.
        score: The score.
        low: Lower end of its interval.
        high: Upper end of its interval.
        beats_guessing: Whether the interval lies above the score of guessing.
        note: What qualifies the score, in words.
    """

    name: str
    score: float
    low: float
    high: float
    beats_guessing: bool
    note: str = ""

    def describe(self) -> str:
        """The score with its interval, in words."""
        interval = f"{100 * self.low:.0f} to {100 * min(self.high, 1):.0f} %"
        return f"{self.name} {100 * self.score:.0f} % ({'; '.join(filter(None, (interval, self.note)))})"


@dataclass(frozen=True)
class StartVerdict:
    """What a comparison comes to.

    Attributes:
        outcome: The verdict.
        sentence: The verdict in plain words, with the numbers behind it.
        recommended: Backbone to use; None if none can be recommended.
        scores: The score of each candidate.
        floor: What guessing scores; None if nothing was compared.
        metric: Score that was compared; None if nothing was.
    """

    outcome: Outcome
    sentence: str
    recommended: str | None = None
    scores: tuple[HeldOutScore, ...] = ()
    floor: float | None = None
    metric: Metric | None = None


def pool_folds(name: str, folders: Sequence[Path]) -> Candidate:
    """Read the test predictions of the runs of all folds, in the order of videos and times."""
    frames = [
        pd.read_csv(
            folder / "predictions.csv.gz",
            keep_default_na=False,  # a class may be called NA
            na_values={"start_seconds": [""], "end_seconds": [""]},
            dtype={"video": str, "label": str, "group": str, "predicted": str},
        )
        for folder in folders
    ]
    pooled = pd.concat(frames).sort_values(["video", "start_seconds", "label"], kind="stable")
    columns = [column for column in pooled.columns if column.startswith("p(")]
    labels = tuple(column[2:-1] for column in columns)
    truth = np.array([[label in text.split(";") for label in labels] for text in pooled["label"]], dtype=bool)
    return Candidate(name, pooled[columns].to_numpy(dtype=np.float32), truth, tuple(pooled["group"]), labels)


def compare_candidates(candidates: Sequence[Candidate], *, multi_label: bool) -> StartVerdict:
    """Compare features with guessing and with each other, and recommend one.

    The score is the balanced accuracy, so that the most frequent class is worth no more than the others, or
    the micro mAP of multi-label tasks. Its interval comes from resampled groups, widened for few groups as
    Student's t is, and for the number of candidates (Bonferroni). The balanced accuracy must also be unlikely
    for guesses about each class of each group (Clopper and Pearson), since the interval has no width where a
    head gives all clips one class, or is right about the few that there are.

    Where no feature is better than guessing, it matters what would have shown. A model worth having makes at
    least a third fewer errors than guessing. If there are so many groups that its score would have been told
    from guessing, the features are not better than guessing; otherwise there are too few recordings to tell.

    Args:
        candidates: The features; controls are known by their names.
        multi_label: Whether clips may have several classes.
    """
    metric: Metric = "micro_map" if multi_label else "balanced_accuracy"
    first = candidates[0]
    targets = first.truth.astype(np.float32)
    floor = prior_floor(targets, targets, multi_label=multi_label).total(metric)
    assert floor is not None  # there are clips of at least two classes
    level = 1 - 0.05 / len(candidates)
    weights = resample(first.groups, _NUM_RESAMPLES, seed=0)
    num_groups = len(set(first.groups))
    scores = [_score(item, metric, weights, num_groups, floor, level) for item in candidates]
    listed = ", ".join(item.describe() for item in scores)
    numbers = (
        f"{_TITLES[metric]} on held-out groups: {listed}; guessing has {100 * floor:.0f} % "
        f"({counted(len(first.truth), 'clip')}, {counted(num_groups, 'group')})."
    )

    def verdict(outcome: Outcome, words: str, recommended: str | None) -> StartVerdict:
        sentence = f"VERDICT: {words} {numbers}"
        return StartVerdict(outcome, sentence, recommended, tuple(scores), floor, metric)

    if not any(item.beats_guessing for item in scores):
        needed = _groups_needed(first, scores, metric, floor, level)
        if needed > num_groups:
            return verdict("too few", f"too few recordings to tell: {_advice(first, needed)}.", None)
        words = (
            "not better than guessing: do not use this model. With so many recordings, one that makes a "
            "third fewer errors than guessing would have shown."
        )
        return verdict("not better than guessing", words, None)
    usable = [item for item in scores if item.beats_guessing]
    control = max((item for item in usable if item.name in CONTROLS), key=_by_score, default=None)
    others = [item for item in usable if item.name not in CONTROLS]
    if control is not None and all(item.name in CONTROLS for item in scores):
        return verdict("works", f"works with simple {_plain(control.name)} alone.", control.name)
    by_name = {item.name: item for item in candidates}
    for choice in sorted(others, key=_by_score, reverse=True):
        rival = max((item for item in scores if item.name in CONTROLS), key=_by_score)
        difference = statistic(metric, by_name[choice.name].probabilities, first.truth, weights) - statistic(
            metric, by_name[rival.name].probabilities, first.truth, weights
        )
        if percentiles(difference, 0.95)[0] > 0:
            words = f"works: {choice.name} is better than guessing and than simple {_plain(rival.name)}."
            return verdict("works", words, choice.name)
    if control is None:
        choice = max(others, key=_by_score)
        words = (
            f"not shown to be better than simple colours or motion: {choice.name} is better than guessing "
            "and recommended, but its lead over the controls may be chance."
        )
        return verdict("not better than controls", words, choice.name)
    words = (
        f"not better than simple {_plain(control.name)}: the control {control.name} does as well as the "
        f"pretrained network, or better, so it is recommended; it is better than guessing."
    )
    return verdict("not better than controls", words, control.name)


def too_few(groups: Mapping[str, int]) -> StartVerdict:
    """The verdict where fewer than two classes have two groups each, so that nothing can be held out."""
    listed = ", ".join(f"{label} {number}" for label, number in groups.items()) or "none"
    lacking = [label for label, number in groups.items() if number < _FEW_PER_CLASS]
    more = "; ".join(f"{_FEW_PER_CLASS - groups[label]} of {label}" for label in lacking)
    return StartVerdict(
        "too few",
        f"VERDICT: too few recordings to tell: two classes need at least two groups each (groups per class: "
        f"{listed}). Label at least {more or 'a second class'} more, from other recordings.",
    )


def _score(
    candidate: Candidate,
    metric: Metric,
    weights: DoubleArray,
    num_groups: int,
    floor: float,
    level: float,
) -> HeldOutScore:
    """Score a candidate; see `compare_candidates` for the interval."""
    ones = np.ones((1, len(candidate.truth)))
    score = float(statistic(metric, candidate.probabilities, candidate.truth, ones)[0])
    resampled = statistic(metric, candidate.probabilities, candidate.truth, weights)
    low, high = percentiles(resampled, level)
    normal = 1.959964
    wider = float(t.ppf(0.975, num_groups - 1)) / normal * math.sqrt(num_groups / (num_groups - 1))
    low, high = score - (score - low) * wider, score + (high - score) * wider
    if metric == "balanced_accuracy":
        low = min(low, _lowest_chance(score, _trials(_groups_per_class(candidate)), level))
    enough = num_groups >= len(candidate.labels) + _MORE_GROUPS
    return HeldOutScore(candidate.name, score, max(low, 0.0), high, enough and low > floor, candidate.note)


def _groups_needed(
    candidate: Candidate, scores: Sequence[HeldOutScore], metric: Metric, floor: float, level: float
) -> int:
    """Number of groups at which a model worth having is told from guessing.

    The interval narrows with the square root of the number of groups. Besides, there must be so many that
    guesses are unlikely to score as much.
    """
    per_class = _groups_per_class(candidate)
    num_groups = len(set(candidate.groups))
    gain = _WORTH_HAVING * (1 - floor)
    times = max(((item.score - item.low) / max(gain, item.score - floor)) ** 2 for item in scores)
    if metric == "balanced_accuracy":
        times = max(times, _trials_needed(floor, floor + gain, level) / _trials(per_class))
    lacking = max(_FEW_PER_CLASS - min(per_class.values()), 0) * len(per_class)
    return max(
        _FEW_GROUPS, len(per_class) + _MORE_GROUPS, num_groups + lacking, math.ceil(num_groups * times)
    )


def _trials(per_class: Mapping[str, int]) -> float:
    """How many guesses vary as much as a balanced accuracy does, which depends most on the rarest class."""
    return len(per_class) ** 2 / sum(1 / number for number in per_class.values())


def _trials_needed(floor: float, score: float, level: float) -> int:
    """Smallest number of trials at which a score is unlikely to be guessed."""
    return next(trials for trials in count(1) if _lowest_chance(score, trials, level) > floor)


def _lowest_chance(score: float, trials: float, level: float) -> float:
    """Lower end of the interval of a share of right guesses (Clopper and Pearson)."""
    right = score * trials
    return float(beta.ppf((1 - level) / 2, right, trials - right + 1)) if right else 0.0


def _advice(candidate: Candidate, needed: int) -> str:
    """How many recordings of which class to label, if so many groups are needed."""
    per_class = _groups_per_class(candidate)
    rarest = min(per_class, key=lambda label: (per_class[label], label))
    # A recording may show several classes: as many more of each as the groups grow.
    growth = needed / len(set(candidate.groups)) - 1
    average = sum(per_class.values()) / len(per_class)
    more = max(math.ceil(average * (1 + growth)) - per_class[rarest], 1)
    others = " and as many of the others" if len(set(per_class.values())) == 1 else ""
    return f"label about {more} more of {rarest}{others}, from other recordings"


def _groups_per_class(candidate: Candidate) -> dict[str, int]:
    return {
        label: len({g for g, has in zip(candidate.groups, candidate.truth[:, k], strict=True) if has})
        for k, label in enumerate(candidate.labels)
    }


def _by_score(score: HeldOutScore) -> float:
    return score.score


def _plain(control: str) -> str:
    return {"pixels": "colours"}.get(control, control)
