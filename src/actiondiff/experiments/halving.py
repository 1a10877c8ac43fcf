"""Choosing before the test: studies tried on clips of the source alone, all of them or by successive halving.

Halving tries all studies on few clips, the better half on twice as many, and so on.
Source: Jamieson and Talwalkar, 2016.
"""

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actiondiff.datasets.base import Table
from actiondiff.errors import RunError, UsageError
from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.experiments.data import Material
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.runner import Fleet
from actiondiff.experiments.tables import headline

__all__ = ["Choice", "Cut", "Rung", "best_half", "choose", "cost_of", "plan_rungs", "rung_table"]

_MAX_ROUNDS = 8


@dataclass(frozen=True)
class Rung:
    """One round.

    Attributes:
        share: Of the source's groups that it trains and chooses on; 1 for the last.
        num_points: How many are tried.
    """

    share: float
    num_points: int


@dataclass(frozen=True)
class Cut:
    """What a round decided.

    Attributes:
        kept: Names that go on, best first.
        dropped: Names that do not, best first.
        doubtful: Those of the dropped whose interval reaches the worst score that was kept: it may have been
            chance.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Which studies are worth a training in full, and what finding them took.

    Attributes:
        points: The studies.
        said: For sweep.json: the rounds, what was saved (`training_share`, `extraction_share`), what was
            risked (`num_doubtful`), and a sentence (`said`).
    """

    points: tuple[Cell, ...]
    said: dict[str, Any]


def choose(fleet: Fleet, points: Sequence[Cell], folder: Path, *, budget: float | None) -> Choice:
    """Find the best study of every question by clips of the source alone.

    Args:
        fleet: Trains.
        points: All studies; those that differ in features, head or training only are rivals.
        folder: Of the rounds.
        budget: See `plan_rungs`; None tries every study on all clips of the source.

    Raises:
        UsageError: If there are no clips to choose on, or the budget is too small.
        RunError: If no study can be trained.
    """
    kept: list[Cell] = []
    rounds: list[dict[str, Any]] = []
    used: set[tuple[str, int]] = set()
    spent = 0.0
    for number, rivals in enumerate(_questions(points)):
        left, rungs = list(rivals), [Rung(1.0, len(rivals)), Rung(1.0, 1)]
        if len(rivals) == 1:
            rungs = rungs[1:]
        elif budget is not None:
            rungs = plan_rungs(len(rivals), budget)
        for rung, following in itertools.pairwise(rungs):
            place = folder / f"{number}-{rung.share:g}-{rung.num_points}"
            cut, part = _round(fleet, left, rung, following.num_points, place, full=budget is None)
            used |= {(clip.video, fleet.key(point).timestep) for clip in part.examples for point in left}
            rounds.append({"question": number, **asdict(rung), "num_clips": len(part), **asdict(cut)})
            fleet.progress(len(rounds), 0, f"{len(left)} studies on {len(part)} clips: {len(cut.kept)} go on")
            by_name = {point.name: point for point in left}
            left = [by_name[name] for name in cut.kept]
        kept += left
        spent += cost_of(rungs) * len(rivals)
    used |= {(clip.video, fleet.key(point).timestep) for clip in fleet.table.examples for point in kept}
    videos = {clip.video for clip in fleet.table.examples}
    share = len(used) / (len(videos) * len({fleet.key(point).timestep for point in points}))
    doubtful = sum(len(entry["doubtful"]) for entry in rounds)
    said = {
        "budget": budget,
        "rounds": rounds,
        "num_tried": len(points),
        "num_trained_in_full": len(kept),
        "training_share": spent / len(points),
        "extraction_share": share,
        "num_doubtful": doubtful,
        "said": f"Trained on {spent / len(points):.0%} of the clips that all {len(points)} studies in full "
        f"would take, with features of {share:.0%} of videos and timesteps. Risk: {doubtful} studies were "
        "dropped though their interval reaches the worst that was kept; one of them may be the best.",
    }
    return Choice(tuple(kept), said)


def plan_rungs(num_points: int, budget: float) -> list[Rung]:
    """Rounds whose clips, over all points, are at most a share of what trying every point on all would take.

    >>> plan_rungs(8, 0.5)
    [Rung(share=0.125, num_points=8), Rung(share=0.25, num_points=4), Rung(share=0.5, num_points=2), \
Rung(share=1.0, num_points=1)]

    Raises:
        UsageError: If the budget is not within (0, 1), or too small for so many points.
    """
    if not 0 < budget < 1:
        raise UsageError(f"a budget is a share of the full cost, above 0 and below 1; got {budget}.")
    for rounds in range(1, _MAX_ROUNDS + 1):
        rungs = [
            Rung(2.0 ** (number - rounds), math.ceil(num_points / 2**number)) for number in range(rounds + 1)
        ]
        if cost_of(rungs) <= budget:
            return rungs
    least = cost_of(rungs)
    raise UsageError(
        f"{num_points} points cannot be halved within {budget:.0%} of the full cost; it takes {least:.0%}."
    )


def cost_of(rungs: Sequence[Rung]) -> float:
    """Clips times points, as a share of every point on every clip."""
    return sum(rung.share * rung.num_points for rung in rungs) / rungs[0].num_points


def rung_table(table: Table, split: Split, share: float, *, seed: int) -> Table:
    """A share of the source's groups, class by class, marked `train` and `val`; nothing of the target.

    Groups of a smaller share are among those of a larger one, so that what is extracted is used again.

    Args:
        table: All clips.
        split: Of the whole study.
        share: Of the groups of each side.
        seed: Of what is drawn.
    """
    examples = []
    for name, mark in (("train", "train"), ("validation", "val")):
        clips = [table.examples[i] for i in getattr(split, name)]
        labels: defaultdict[str, set[str]] = defaultdict(set)
        for clip in clips:
            labels[group_of(clip)].update(clip.labels or ("",))
        by_class: defaultdict[str, list[str]] = defaultdict(list)
        for group in sorted(labels, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest()):
            for label in labels[group]:
                by_class[label].append(group)
        kept = {group for found in by_class.values() for group in found[: max(1, round(share * len(found)))]}
        examples += [
            replace(clip, split=mark, group=group_of(clip)) for clip in clips if group_of(clip) in kept
        ]
    return replace(table, examples=tuple(examples))


def best_half(scores: Mapping[str, float], upper: Mapping[str, float], num_kept: int) -> Cut:
    """Keep the best.

    Args:
        scores: Name -> score on clips of the source that were held out.
        upper: Name -> upper bound of its interval; NaN where there is none.
        num_kept: How many go on.
    """
    order = sorted(scores, key=lambda name: -scores[name])  # the first of equals, as listed
    kept, dropped = order[:num_kept], order[num_kept:]
    line = scores[kept[-1]]
    doubtful = [name for name in dropped if not upper[name] < line]
    return Cut(tuple(kept), tuple(dropped), tuple(doubtful))


def _round(
    fleet: Fleet, points: Sequence[Cell], rung: Rung, num_kept: int, folder: Path, *, full: bool
) -> tuple[Cut, Table]:
    """Try some studies on a share of the source, and keep the best."""
    recipe = points[0].recipe
    if recipe.protocol.selection != "source-validation":
        raise UsageError(
            "choosing before the test works with selection=source-validation, which holds out clips of the "
            f"source; got {recipe.protocol.selection}."
        )
    whole = Material(fleet.store, fleet.table, recipe, fleet.root, is_checked=True)
    if not whole.split.validation:
        raise UsageError("no clips of the source are held out to choose on; see protocol.validation_share.")
    part = rung_table(whole.grouped, whole.split, rung.share, seed=recipe.seed)
    tried = [replace(point, recipe=_on_source(point.recipe, full=full)) for point in points]
    failed = fleet.train(tried, folder, table=part)
    scores, upper = {}, {}
    for point in tried:
        runs = fleet.finished(point, folder)
        if not runs:
            continue
        metric = headline(point, runs[0].metrics)
        sides = [run.metrics.validation for run in runs if run.metrics.validation is not None]
        bounds = [side.intervals.get(metric, (math.nan, math.nan))[1] for side in sides]
        scores[point.name] = sum((side.scores.total(metric) or 0.0 for side in sides), 0.0) / len(sides)
        upper[point.name] = sum(bounds) / len(bounds)
    if not scores:
        raise RunError(f"no study could be trained: {next(iter(failed.values()))}")
    return best_half(scores, upper, num_kept), part


def _questions(points: Sequence[Cell]) -> list[list[Cell]]:
    """Studies that differ in features, head or training only, together."""
    apart: dict[tuple[Any, ...], list[Cell]] = {}
    for point in points:
        protocol = point.recipe.protocol.model_dump_json()
        apart.setdefault((point.case, protocol, point.data, point.extraction), []).append(point)
    return list(apart.values())


def _on_source(recipe: Recipe, *, full: bool) -> Recipe:
    """The recipe for marked clips of the source alone; with one seed unless all are wanted."""
    alone = {"domain": None, "source": (), "target": "rest", "group": None, "score_source": "no",
             "train_clips": None, "audit": ()}  # fmt: skip
    protocol = recipe.protocol.model_copy(update=alone)
    return recipe.model_copy(update={"protocol": protocol, "seeds": recipe.seeds if full else 1})
