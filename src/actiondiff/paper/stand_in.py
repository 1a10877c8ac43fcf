"""The same studies on stand-in clips: small, in minutes, to show that the road works and nothing else."""

import hashlib
import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from actiondiff.backbones.base import RANDOM
from actiondiff.datasets.base import Table
from actiondiff.datasets.published import read_dataset
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast, Scored, contrast
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.grid import BackboneChoice, Cell, DataChoice, Grid
from actiondiff.experiments.recipe import Recipe
from actiondiff.heads.bundle import read_config
from actiondiff.paper.datasets.drawn_clips import choose_clips, write_stand_in
from actiondiff.paper.datasets.excerpts import write_excerpt

__all__ = ["Control", "judge_control", "permute_labels", "stand_in_grid", "stand_in_tables"]

_KEPT = {"features.timestep": {0, 10, 20, 29}, "features.layer": {3, 6, 9, 12}}
"""Of a grid's many timesteps and layers."""
_INSTEAD = {
    "vjepa-h": "pixels",
    "vjepa-l": "pixels",
    "videomaev2-g": "motion",
    "pixels": "pixels",
    "motion": "motion",
}
_PER_CLASS = {"animal-kingdom": 4, "charades-ego": 5, "ucf-hmdb": 3}
_NUM_CLASSES = 8  # of a task with several labels a clip: the others have too few clips to learn
_WHOLE = {"animal-kingdom": "full", "charades-ego": "all"}
"""Tasks with several labels a clip -> the protocol by which classes are frequent."""
_EPOCHS = {"animal-types": 60, **dict.fromkeys(("first-to-first", "third-to-first", "first-to-third"), 50)}
"""Where 20 are too few: a type has but a dozen clips, Charades-Ego's several labels each."""
_TRAIN_CLIPS = 10  # where sources are matched in size
_RESAMPLES = 1000


@dataclass(frozen=True)
class Control:
    """A study against guessing, and the same study with labels permuted in training.

    Attributes:
        study: Its name.
        protocol: On which clips.
        metric: Which score.
        score: Of the study, with its interval over groups.
        prior: Of guessing by class frequencies, likewise.
        permuted: Of the study trained on permuted labels, mean over permutations, likewise.
        excess: The permuted study's over the prior's on the same clips.
        num_test: Clips.
    """

    study: str
    protocol: str
    metric: Metric
    score: Contrast
    prior: Contrast
    permuted: Contrast
    excess: Contrast
    num_test: int

    @property
    def above(self) -> bool:
        """Whether the study's score lies above the prior's interval."""
        return self.score.value > self.prior.high

    @property
    def permuted_at_prior(self) -> bool:
        """Whether the permuted study is no better than the prior, as far as clips and permutations tell."""
        return self.excess.low <= 0


def stand_in_grid(grid: Grid) -> tuple[Grid, dict[str, str], dict[str, str]]:
    """A grid with one kind of features a case, the built-in backbone, small heads and one seed.

    Returns:
        The grid; study -> the paper's backbone that is stood in for; study -> why it is left out.
    """
    first: dict[str, BackboneChoice | None] = {}
    points, replaced, left_out = [], {}, {}
    for point in grid.cells:
        if first.setdefault(point.case, point.extraction) != point.extraction:
            continue  # random draws, and other sizes of the same backbone
        if any(point.varied.get(name) not in kept for name, kept in _KEPT.items() if name in point.varied):
            continue
        assert point.extraction is not None  # every recipe of the paper's names its features
        backbone, extraction = point.extraction.backbone, _extraction(point.extraction)
        if extraction is None:
            what = "text tower" if point.extraction.conditioning == "text" else "counterpart built in"
            left_out[point.name] = f"{backbone} has no {what} that could stand in for it"
            continue
        points.append(replace(point, recipe=_small(point, backbone), extraction=extraction))
        replaced[point.name] = backbone
    return replace(grid, cells=tuple(points)), replaced, left_out


def stand_in_tables(
    grid: Grid, folder: Path, *, annotations: Path | None, seed: int = 0
) -> dict[DataChoice, Table]:
    """A few clips of every protocol that the studies name; nothing is drawn yet.

    Args:
        grid: The studies.
        folder: Gets a folder a dataset, with an excerpt of the annotations.
        annotations: The real annotation files instead of the excerpt.
        seed: Of the choice.
    """
    tables = {}
    for choice in dict.fromkeys(point.data for point in grid.cells if point.data is not None):
        place = folder / choice.dataset
        source = annotations or write_excerpt(choice.dataset, place)
        table = read_dataset(choice.dataset, place, protocol=choice.protocol, annotations=source)
        if choice.dataset in _WHOLE:
            whole = read_dataset(choice.dataset, place, protocol=_WHOLE[choice.dataset], annotations=source)
            table = _with_labels(table, {name for name, _ in whole.counts().most_common(_NUM_CLASSES)})
        chosen = choose_clips(table, per_class=_PER_CLASS[choice.dataset], seed=seed)
        if not any(clip.split for clip in chosen.examples):
            chosen = _uneven(chosen)
        names = [Path(clip.video).with_suffix(".mp4").as_posix() for clip in chosen.examples]
        clips = [replace(clip, video=name) for clip, name in zip(chosen.examples, names, strict=True)]
        tables[choice] = replace(chosen, root=place, examples=tuple(clips))
    return tables


def draw(tables: Mapping[DataChoice, Table], *, seed: int = 0) -> None:
    """Write the clips that are not there yet."""
    for table in tables.values():
        write_stand_in(table, table.root, seed=seed)


def permute_labels(table: Table, *, seed: int = 0) -> Table:
    """The same clips with their labels exchanged; where sides are marked, on all sides but the test."""
    marked = any(clip.split for clip in table.examples)
    moved = [i for i, clip in enumerate(table.examples) if not marked or clip.split != "test"]
    order = list(moved)
    random.Random(seed).shuffle(order)
    labels = {i: table.examples[j].labels for i, j in zip(moved, order, strict=True)}
    clips = (replace(clip, labels=labels.get(i, clip.labels)) for i, clip in enumerate(table.examples))
    return replace(table, examples=tuple(clips))


def judge_control(point: Cell, metric: Metric, real: Path, permuted: Sequence[Path]) -> Control:
    """Set a study beside the prior, and beside itself with permuted labels.

    Args:
        point: The study.
        metric: What it is judged by.
        real: Its run's folder.
        permuted: The runs' trained on permuted labels, one a permutation.
    """
    run, others = read_scored(real), [read_scored(folder).scored for folder in permuted]
    other = replace(others[0], probabilities=np.concatenate([found.probabilities for found in others]))
    counts = read_config(real).train_counts
    assert point.data is not None  # every recipe of the paper's names its clips
    prior = _prior(run, [counts[label] for label in run.labels])
    return Control(
        study=point.name,
        protocol=point.data.protocol,
        metric=metric,
        score=_interval(metric, run.scored),
        prior=_interval(metric, prior),
        permuted=_interval(metric, other),
        excess=contrast(metric, [(1, other), (-1, prior)], num_resamples=_RESAMPLES),
        num_test=len(run.clips),
    )


def _with_labels(table: Table, labels: Set[str]) -> Table:
    """Clips with any of some labels, and only those."""
    clips = (
        replace(clip, labels=tuple(label for label in clip.labels if label in labels))
        for clip in table.examples
    )
    return replace(table, examples=tuple(clip for clip in clips if clip.labels))


def _uneven(table: Table) -> Table:
    """Three quarters of the clips, so that classes are not equally frequent in every domain."""
    kept = [clip for clip in table.examples if hashlib.sha256(Path(clip.video).stem.encode()).digest()[0] % 4]
    return replace(table, examples=tuple(kept))


def _interval(metric: Metric, scored: Scored) -> Contrast:
    return contrast(metric, [(1, scored)], num_resamples=_RESAMPLES)


def _prior(run: ScoredRun, counts: Sequence[int]) -> Scored:
    """Every clip scored by the frequencies; of classes that are tied at the top, each is one guess."""
    shares = np.asarray(counts, dtype=np.float32) / max(1, max(counts))
    guesses = [shares]
    if not run.multi_label:
        tied = np.flatnonzero(shares == shares.max())
        guesses = [np.where(np.arange(len(shares)) == guess, np.float32(1), shares / 2) for guess in tied]
    probabilities = np.stack([np.tile(guess, (len(run.clips), 1)) for guess in guesses])
    return Scored(probabilities.astype(np.float32), run.scored.targets, run.scored.groups)


def _small(point: Cell, backbone: str) -> Recipe:
    """Its recipe for a few dozen clips: a small head at a high rate, one seed."""
    recipe = point.recipe
    head = recipe.head.model_copy(
        update={"layers": 1, "heads": 4, "project": 64, "input": "standardised", "max_tokens": 40}
    )
    epochs = _EPOCHS[point.data.protocol] if point.data and point.data.protocol in _EPOCHS else 20
    training = recipe.training.model_copy(
        update={"epochs": epochs, "warmup_epochs": 2, "learning_rate": 2e-3, "batch_size": 8}
    )
    features = recipe.features
    if "svd" not in backbone:
        features = features.model_copy(update={"timestep": None, "layer": None})
    protocol = recipe.protocol
    if protocol.train_clips is not None:
        protocol = protocol.model_copy(update={"train_clips": _TRAIN_CLIPS})
    update = {"protocol": protocol, "head": head, "training": training, "features": features, "seeds": 1}
    return recipe.model_copy(update=update)


def _extraction(asked: BackboneChoice) -> BackboneChoice | None:
    """The built-in backbone with the same options; for other networks none at all, or nothing."""
    if asked.backbone in _INSTEAD:
        return BackboneChoice(backbone=_INSTEAD[asked.backbone])
    if not asked.backbone.removeprefix(RANDOM).startswith("svd") or asked.conditioning == "text":
        return None
    given = asked.model_dump(exclude_unset=True, exclude={"stochastic", "seed"})
    if asked.backbone.startswith(RANDOM):
        return BackboneChoice(**{**given, "backbone": f"{RANDOM}tiny", "seed": 1})
    return BackboneChoice(**{**given, "backbone": "tiny"})
