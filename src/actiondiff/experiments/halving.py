"""Choice before the test: studies are tried on clips of the source alone, in one round or by halving.

Successive halving tries all studies on few clips, the better half on twice as many, and so on.
Source: Jamieson and Talwalkar, 2016.
"""

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.errors import RunError, UsageError
from actiondiff.evaluation.protocols import Split, group_of
from actiondiff.experiments.data import split_table
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.runner import StudyRunner
from actiondiff.experiments.tables import headline
from actiondiff.types import JSON

__all__ = [
    "Cut",
    "HalvingResult",
    "Round",
    "Trial",
    "best_half",
    "choose",
    "cost_of",
    "plan_rounds",
    "round_table",
    "try_on_source",
]

_MAX_ROUNDS = 8


@dataclass(frozen=True)
class Round:
    """One round of halving.

    Attributes:
        share: Share of the source's groups that the round trains and chooses on; 1 for the last round.
        num_studies: Number of studies that are tried.
    """

    share: float
    num_studies: int


@dataclass(frozen=True)
class Cut:
    """What a round decided.

    Attributes:
        best: Names of the studies that go on, best first.
        dropped: Names of those that do not, best first.
        doubtful: Those of the dropped whose interval reaches the worst score among the best: that they were
            dropped may be chance.
    """

    best: tuple[str, ...]
    dropped: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """How studies do on held-out clips of the source.

    Attributes:
        scores: Study -> mean score over seeds.
        upper: Study -> upper bound of its interval; NaN where there is none.
        clips: The clips that were used.
    """

    scores: Mapping[str, float]
    upper: Mapping[str, float]
    clips: Table


@dataclass(frozen=True)
class HalvingResult:
    """The studies worth a full training run, and what it took to find them.

    Attributes:
        cells: The studies.
        summary: For sweep.json: the rounds, the cost (`training_share`, `extraction_share`), the risk
            (`num_doubtful`), and the same in a sentence (`said`).
    """

    cells: tuple[Cell, ...]
    summary: dict[str, JSON]


def choose(
    runner: StudyRunner, cells: Sequence[Cell], folder: Path, *, budget: float | None
) -> HalvingResult:
    """Find the best study for every question by clips of the source alone.

    Studies that differ only in features, head or training answer the same question.

    Args:
        runner: Runs the studies.
        cells: All studies.
        folder: Folder of the rounds.
        budget: See `plan_rounds`; None tries every study on all clips of the source.

    Raises:
        UsageError: If there are no clips to choose on, or the budget is too small.
        RunError: If no study can be trained.
    """
    chosen: list[Cell] = []
    rounds: list[JSON] = []
    used: set[tuple[str, str]] = set()
    spent, num_doubtful = 0.0, 0
    for number, question in enumerate(_questions(cells)):
        # Plan the rounds. A question with a single study needs none.
        remaining, plan = list(question), [Round(1.0, len(question)), Round(1.0, 1)]
        if len(question) == 1:
            plan = plan[1:]
        elif budget is not None:
            plan = plan_rounds(len(question), budget)

        # Each round tries the remaining studies on more clips, and drops the worse ones.
        for planned, following in itertools.pairwise(plan):
            round_folder = folder / f"{number}-{planned.share:g}-{planned.num_studies}"
            cut, part = _run_round(
                runner, remaining, planned, following.num_studies, round_folder, all_seeds=budget is None
            )
            used |= _passes(runner, part, remaining)
            rounds.append(_round_entry(number, planned, len(part), cut))
            num_doubtful += len(cut.doubtful)
            line = f"{len(remaining)} studies on {len(part)} clips: {len(cut.best)} go on"
            runner.progress(len(rounds), 0, line)
            by_name = {cell.name: cell for cell in remaining}
            remaining = [by_name[name] for name in cut.best]
        chosen += remaining
        spent += cost_of(plan) * len(question)

    # Those that are left are trained in full, which counts, too.
    used |= _passes(runner, runner.table, chosen)
    extraction_share = len(used) / len(_passes(runner, runner.table, cells))
    training_share = spent / len(cells)
    summary: dict[str, JSON] = {
        "budget": budget,
        "rounds": rounds,
        "num_tried": len(cells),
        "num_trained_in_full": len(chosen),
        "training_share": training_share,
        "extraction_share": extraction_share,
        "num_doubtful": num_doubtful,
        "said": f"Trained on {training_share:.0%} of the clips that all {len(cells)} studies in full would "
        f"take, with features of {extraction_share:.0%} of videos and timesteps. Risk: {num_doubtful} "
        "studies were dropped although their interval reaches the worst that went on; one of them may be "
        "the best.",
    }
    return HalvingResult(tuple(chosen), summary)


def _passes(runner: StudyRunner, table: Table, cells: Sequence[Cell]) -> set[tuple[str, str]]:
    """Each video with each timestep of a backbone at which some studies need its features."""
    passes = {f"{key.store}:{key.timestep}" for cell in cells for key in runner.keys(cell)}
    return {(clip.video, name) for clip in table.examples for name in passes}


def plan_rounds(num_studies: int, budget: float) -> list[Round]:
    """Plan rounds that together cost at most a share of what trying every study on all clips would cost.

    >>> plan_rounds(8, 0.5)
    [Round(share=0.125, num_studies=8), Round(share=0.25, num_studies=4), Round(share=0.5, num_studies=2), \
Round(share=1.0, num_studies=1)]

    Raises:
        UsageError: If the budget is not between 0 and 1, or too small for so many studies.
    """
    if not 0 < budget < 1:
        raise UsageError(f"a budget is a share of the full cost, above 0 and below 1; got {budget}.")
    for rounds in range(1, _MAX_ROUNDS + 1):
        plan = [
            Round(2.0 ** (number - rounds), math.ceil(num_studies / 2**number))
            for number in range(rounds + 1)
        ]
        if cost_of(plan) <= budget:
            return plan
    least = cost_of(plan)
    raise UsageError(
        f"{num_studies} studies cannot be halved within {budget:.0%} of the full cost; it takes {least:.0%}."
    )


def cost_of(plan: Sequence[Round]) -> float:
    """Clips times studies, as a share of every study on every clip."""
    return sum(planned.share * planned.num_studies for planned in plan) / plan[0].num_studies


def round_table(table: Table, split: Split, share: float, *, seed: int) -> Table:
    """Draw a share of the source's groups, class by class, and mark their clips `train` or `val`.

    The target's clips are left out. Groups of a smaller share are among those of a larger one, so that
    extracted features are used again.

    Args:
        table: All clips.
        split: Split of the whole study.
        share: Share of the groups of each side.
        seed: Seed of the draw.
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
        drawn = {
            group for groups in by_class.values() for group in groups[: max(1, round(share * len(groups)))]
        }
        examples += [
            replace(clip, split=mark, group=group_of(clip)) for clip in clips if group_of(clip) in drawn
        ]
    return replace(table, examples=tuple(examples))


def best_half(scores: Mapping[str, float], upper: Mapping[str, float], num_best: int) -> Cut:
    """Decide which studies go on.

    Args:
        scores: Study -> score on held-out clips of the source.
        upper: Study -> upper bound of its interval; NaN where there is none.
        num_best: How many go on.
    """
    order = sorted(scores, key=lambda name: -scores[name])  # of equal scores, the first listed is first
    best, dropped = order[:num_best], order[num_best:]
    worst_of_best = scores[best[-1]]
    doubtful = [name for name in dropped if not upper[name] < worst_of_best]
    return Cut(tuple(best), tuple(dropped), tuple(doubtful))


def _run_round(
    runner: StudyRunner,
    cells: Sequence[Cell],
    planned: Round,
    num_best: int,
    folder: Path,
    *,
    all_seeds: bool,
) -> tuple[Cut, Table]:
    """Try some studies on a share of the source, and decide which go on."""
    trial = try_on_source(runner, cells, planned.share, folder, all_seeds=all_seeds)
    return best_half(trial.scores, trial.upper, num_best), trial.clips


def try_on_source(
    runner: StudyRunner, cells: Sequence[Cell], share: float, folder: Path, *, all_seeds: bool
) -> Trial:
    """Train studies on clips of the source alone, and score them on held-out ones.

    Args:
        runner: Runs the studies.
        cells: Studies of one question.
        share: Share of the source's groups to take.
        folder: Folder of their runs.
        all_seeds: Whether every seed is trained, or the first alone.

    Raises:
        UsageError: If there are no clips to choose on.
        RunError: If no study can be trained.
    """
    # Draw the clips. The target's are not among them.
    recipe = cells[0].recipe
    if recipe.protocol.selection != "source-validation":
        raise UsageError(
            "choosing before the test works with selection=source-validation, which holds out clips of the "
            f"source; got {recipe.protocol.selection}."
        )
    table, split = split_table(runner.table, recipe)
    if not split.validation:
        raise UsageError("no clips of the source are held out to choose on; see protocol.validation_share.")
    part = round_table(table, split, share, seed=recipe.seed)

    # Train, and score each study on the held-out clips.
    tried = [replace(cell, recipe=_on_source(cell.recipe, all_seeds=all_seeds)) for cell in cells]
    failed = runner.run(tried, folder, table=part)
    scores, upper = {}, {}
    for cell in tried:
        runs = runner.finished(cell, folder)
        if not runs:
            continue
        metric = headline(cell, runs[0].metrics)
        sides = [run.metrics.validation for run in runs if run.metrics.validation is not None]
        bounds = [side.intervals.get(metric, (math.nan, math.nan))[1] for side in sides]
        scores[cell.name] = sum((side.scores.total(metric) or 0.0 for side in sides), 0.0) / len(sides)
        upper[cell.name] = sum(bounds) / len(bounds)
    if not scores:
        raise RunError(f"no study could be trained: {next(iter(failed.values()))}")
    return Trial(scores, upper, part)


def _round_entry(question: int, planned: Round, num_clips: int, cut: Cut) -> dict[str, JSON]:
    """A round in sweep.json."""
    return {
        "question": question,
        "share": planned.share,
        "num_points": planned.num_studies,
        "num_clips": num_clips,
        "kept": list(cut.best),
        "dropped": list(cut.dropped),
        "doubtful": list(cut.doubtful),
    }


def _questions(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group studies that differ only in features, head or training."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        protocol = cell.recipe.protocol.model_dump_json()
        groups.setdefault((cell.case, protocol, cell.data, cell.extraction), []).append(cell)
    return list(groups.values())


def _on_source(recipe: Recipe, *, all_seeds: bool) -> Recipe:
    """Change a recipe so that it takes marked clips of the source alone, with one seed or with all."""
    alone = {"domain": None, "source": (), "target": "rest", "group": None, "score_source": "no",
             "train_clips": None, "audit": ()}  # fmt: skip
    protocol = recipe.protocol.model_copy(update=alone)
    return recipe.model_copy(update={"protocol": protocol, "seeds": recipe.seeds if all_seeds else 1})
