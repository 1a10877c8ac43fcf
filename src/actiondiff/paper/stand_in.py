"""A small version of the paper's studies on drawn clips: it shows in minutes that every step runs."""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

from actiondiff.backbones.base import RANDOM
from actiondiff.datasets.base import Table
from actiondiff.datasets.published import read_dataset
from actiondiff.experiments.grid import BackboneChoice, Cell, DataChoice, Grid
from actiondiff.experiments.recipe import Recipe
from actiondiff.paper.datasets.drawn_clips import choose_clips, write_stand_in
from actiondiff.paper.datasets.samples import write_sample

__all__ = ["draw_clips", "stand_in_grid", "stand_in_tables"]

_SMALL_GRID = {"features.timestep": {0, 10, 20, 29}, "features.layer": {3, 6, 9, 12}}
"""The timesteps and layers of a grid that a stand-in runs."""
_REPLACEMENTS = {
    "vjepa-h": "pixels",
    "vjepa-l": "pixels",
    "videomaev2-g": "motion",
    "pixels": "pixels",
    "motion": "motion",
}
"""Backbone of the paper -> built-in backbone that stands in for it, apart from SVD."""
_PER_CLASS = {"animal-kingdom": 4, "charades-ego": 5, "ucf-hmdb": 3}  # clips per class and side
_NUM_CLASSES = 8  # of tasks with several labels per clip; the other classes have too few clips to learn
_WHOLE = {"animal-kingdom": "full", "charades-ego": "all"}
"""Dataset with several labels per clip -> protocol whose class frequencies decide which classes are used."""
_EPOCHS = {"animal-types": 60, **dict.fromkeys(("first-to-first", "third-to-first", "first-to-third"), 50)}
"""Protocols for which 20 epochs are too few: a type has only a dozen clips, and clips of Charades-Ego have
several labels each."""
_TRAIN_CLIPS = 10  # per source, where sources are matched in size


def stand_in_grid(grid: Grid) -> tuple[Grid, dict[str, str], dict[str, str]]:
    """Reduce a grid: one kind of features per case, the built-in backbone, small heads and one seed.

    Args:
        grid: The paper's studies.

    Returns:
        The small grid; study -> the paper's backbone that is replaced; study -> why it is left out.
    """
    first: dict[str, BackboneChoice | None] = {}
    cells, replaced, left_out = [], {}, {}
    for cell in grid.cells:
        if first.setdefault(cell.case, cell.extraction) != cell.extraction:
            continue  # random draws, and other sizes of the same backbone
        if any(
            cell.varied[name] not in values for name, values in _SMALL_GRID.items() if name in cell.varied
        ):
            continue  # other timesteps and layers
        assert cell.extraction is not None  # every recipe of the paper names its features
        backbone, extraction = cell.extraction.backbone, _extraction(cell.extraction)
        if extraction is None:
            what = "text tower" if cell.extraction.conditioning == "text" else "counterpart built in"
            left_out[cell.name] = f"{backbone} has no {what} that could stand in for it"
            continue
        cells.append(replace(cell, recipe=_small(cell, backbone), extraction=extraction))
        replaced[cell.name] = backbone
    return replace(grid, cells=tuple(cells)), replaced, left_out


def stand_in_tables(
    grid: Grid, folder: Path, *, annotations: Path | None, seed: int = 0
) -> dict[DataChoice, Table]:
    """Choose a few clips of every protocol that the studies name; nothing is drawn yet.

    Args:
        grid: The studies.
        folder: Folder to write to; gets one folder per dataset, with sample annotations.
        annotations: Folder with the real annotation files, to use instead of the samples.
        seed: Seed of the random choice.
    """
    tables = {}
    for choice in dict.fromkeys(cell.data for cell in grid.cells if cell.data is not None):
        dataset_folder = folder / choice.dataset
        source = annotations or write_sample(choice.dataset, dataset_folder)
        table = read_dataset(choice.dataset, dataset_folder, protocol=choice.protocol, annotations=source)
        if choice.dataset in _WHOLE:
            whole = read_dataset(
                choice.dataset, dataset_folder, protocol=_WHOLE[choice.dataset], annotations=source
            )
            table = _with_labels(table, {name for name, _ in whole.counts().most_common(_NUM_CLASSES)})
        chosen = choose_clips(table, per_class=_PER_CLASS[choice.dataset], seed=seed)
        if not any(clip.split for clip in chosen.examples):
            chosen = _uneven(chosen)
        names = [Path(clip.video).with_suffix(".mp4").as_posix() for clip in chosen.examples]
        clips = [replace(clip, video=name) for clip, name in zip(chosen.examples, names, strict=True)]
        tables[choice] = replace(chosen, root=dataset_folder, examples=tuple(clips))
    return tables


def draw_clips(tables: Mapping[DataChoice, Table], *, seed: int = 0) -> None:
    """Draw the clips that do not exist yet."""
    for table in tables.values():
        write_stand_in(table, table.root, seed=seed)


def _with_labels(table: Table, labels: Set[str]) -> Table:
    """The clips with any of the labels, without their other labels."""
    clips = (
        replace(clip, labels=tuple(label for label in clip.labels if label in labels))
        for clip in table.examples
    )
    return replace(table, examples=tuple(clip for clip in clips if clip.labels))


def _uneven(table: Table) -> Table:
    """Three quarters of the clips, so that classes are not equally frequent in every domain."""
    clips = [
        clip for clip in table.examples if hashlib.sha256(Path(clip.video).stem.encode()).digest()[0] % 4
    ]
    return replace(table, examples=tuple(clips))


def _small(cell: Cell, backbone: str) -> Recipe:
    """Recipe of the study for a few dozen clips: a small head, a high learning rate, one seed."""
    recipe = cell.recipe
    head = recipe.head.model_copy(
        update={"layers": 1, "heads": 4, "project": 64, "input": "standardised", "max_tokens": 40}
    )
    epochs = _EPOCHS[cell.data.protocol] if cell.data and cell.data.protocol in _EPOCHS else 20
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


def _extraction(choice: BackboneChoice) -> BackboneChoice | None:
    """The built-in backbone with the same options; None if no built-in backbone is a counterpart."""
    if choice.backbone in _REPLACEMENTS:
        return BackboneChoice(backbone=_REPLACEMENTS[choice.backbone])
    if not choice.backbone.removeprefix(RANDOM).startswith("svd") or choice.conditioning == "text":
        return None
    options = choice.model_dump(exclude_unset=True, exclude={"stochastic", "seed"})
    if choice.backbone.startswith(RANDOM):
        return BackboneChoice(**{**options, "backbone": f"{RANDOM}tiny", "seed": 1})
    return BackboneChoice(**{**options, "backbone": "tiny"})
