"""Start of training from a trained model, with a corrected or larger table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from actiondiff.datasets.base import Table
from actiondiff.errors import RunError
from actiondiff.evaluation.protocols import group_of
from actiondiff.experiments.recipe import Recipe, load_recipe
from actiondiff.experiments.run import CLIPS, check_settings, stored_rows
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle
from actiondiff.heads.inputs import Head
from actiondiff.inference.folders import find_model_folder

__all__ = ["keep_sides", "load_recipe_of_run", "warm_start"]

_SPLIT_OF = {"train": "train", "validation": "val", "test": "test"}


def load_recipe_of_run(
    run: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """Load the recipe of a run, with other values of some options; see `load_recipe` for the arguments.

    Raises:
        RunError: If the run has no recipe.
        UsageError: If a value is not valid.
    """
    path = find_model_folder(run) / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"{path} is missing; give a folder that actiondiff train wrote.")
    # The sides of that run's clips are kept by name, so its seed of the split is not needed.
    return load_recipe(path, overrides=overrides, values={"split_seed": None, **(values or {})})


def warm_start(head: Head, labels: tuple[str, ...], run: str | os.PathLike[str]) -> Head:
    """Give a new head the weights of a run's head. Weights of a class go to the class of the same name.

    Classes that the run does not have keep the random weights of the new head.

    Args:
        head: The new head; it is changed in place and returned.
        labels: Its classes.
        run: Folder of the run.

    Raises:
        RunError: If the two heads differ in kind or size, or have no class in common.
    """
    old, config = load_bundle(find_model_folder(run))
    if old.options != head.options or old.token_width != head.token_width:
        raise RunError(
            f"cannot continue from {run}: its head is {old.options.name} on tokens of width "
            f"{old.token_width}, the new one {head.options.name} on width {head.token_width}, or other "
            "options of the two differ. Use the run's recipe."
        )
    here, there = head.state_dict(), old.state_dict()
    old_row = {label: row for row, label in enumerate(config.labels)}
    pairs = [(row, old_row[label]) for row, label in enumerate(labels) if label in old_row]
    if not pairs:
        raise RunError(
            f"cannot continue from {run}: it has none of the classes {', '.join(labels)}. Its classes are "
            f"{', '.join(config.labels)}."
        )
    new_rows, old_rows = (torch.tensor(rows, dtype=torch.int64) for rows in zip(*pairs, strict=True))
    for name in _class_tensors(head):
        there[name] = here[name].clone().index_copy_(0, new_rows, there[name][old_rows])
    head.load_state_dict(there)
    return head


def _class_tensors(head: Head) -> list[str]:
    """List the tensors with one row per class: those whose shape depends on the number of classes."""
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    other = build_head(head.options, head.token_width, head.num_classes + 1)
    return [name for name, tensor in other.state_dict().items() if tensor.shape != shapes[name]]


def keep_sides(table: Table, run: str | os.PathLike[str], store: FeatureStore, root: Path) -> Table:
    """Mark every clip of a table with the side that it had in a run, so that no test clip trains now.

    A clip that the run did not have goes to the side of other clips of its video or group; failing that, to
    the side in the table's own `split` column, or to training. If spans of one video were on several sides,
    one of which is the test, all of them test.

    Args:
        table: The clips.
        run: Folder of the run.
        store: Features of the clips.
        root: Folder that the table's paths are relative to.

    Raises:
        RunError: If the run does not say which clips it had.
        SettingsMismatchError: If the store's features have other settings than the run's.
    """
    folder = find_model_folder(run)
    _, config = load_bundle(folder)
    check_settings(store, config, folder)
    if not (folder / CLIPS).is_file():
        raise RunError(f"{folder} has no {CLIPS}, so its test clips are unknown; train a new model instead.")
    clips = pd.read_csv(folder / CLIPS, keep_default_na=False, dtype=str)
    clips = clips[clips["side"].isin(_SPLIT_OF)].sort_values("side")  # in the order test, train, validation
    sides: dict[str, str] = {}
    for identity, side in zip(clips["identity"], clips["side"], strict=True):
        sides.setdefault(identity, _SPLIT_OF[side])
    rows = stored_rows(store, table.examples, root)
    of_video = {video: sides[row.identity] for video, row in rows.items() if row.identity in sides}
    of_group = {group_of(e): of_video[e.video] for e in table.examples if e.video in of_video}
    examples = [
        replace(e, split=of_video.get(e.video) or of_group.get(group_of(e)) or e.split or "train")
        for e in table.examples
    ]
    return replace(table, examples=tuple(examples))
