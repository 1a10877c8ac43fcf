"""Going on from a trained model with a corrected or larger table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from actiondiff.datasets.base import Table
from actiondiff.errors import RunError
from actiondiff.evaluation.protocols import group_of
from actiondiff.experiments.recipe import Recipe, recipe_of, set_options
from actiondiff.experiments.run import CLIPS, check_settings, stored_rows
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle
from actiondiff.heads.inputs import Head
from actiondiff.inference.folders import find_run

__all__ = ["keep_sides", "recipe_of_run", "warm_start"]

_SPLIT_OF = {"train": "train", "validation": "val", "test": "test"}


def recipe_of_run(
    run: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe that a run was trained by, with what is set since; see `load_recipe`.

    Raises:
        RunError: If it is not with the run.
        UsageError: If a value is not in order.
    """
    path = find_run(run) / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"{path} is missing; give the folder that actiondiff train wrote.")
    tree = yaml.safe_load(path.read_text("utf-8"))
    for own in ("split_seed", "start"):  # facts of that run, no options
        tree.pop(own, None)
    set_options(tree, overrides=overrides, values=values)
    return recipe_of(tree, path)


def warm_start(head: Head, labels: tuple[str, ...], run: str | os.PathLike[str]) -> Head:
    """Give a new head the weights of a run's; what belongs to a class goes to the class of that name.

    Classes that the run does not know keep the new head's random weights.

    Raises:
        RunError: If the two heads are not of one kind, or have no class in common.
    """
    old, config = load_bundle(find_run(run))
    if old.options != head.options or old.token_width != head.token_width:
        raise RunError(
            f"{run} cannot be gone on from: its head is {old.options.name} on tokens of {old.token_width}, "
            f"the new one {head.options.name} on {head.token_width}, or their sizes differ. Use its recipe."
        )
    here, there = head.state_dict(), old.state_dict()
    known = {label: k for k, label in enumerate(config.labels)}
    pairs = [(k, known[label]) for k, label in enumerate(labels) if label in known]
    if not pairs:
        raise RunError(
            f"{run} cannot be gone on from: it knows none of {', '.join(labels)}. Its classes are "
            f"{', '.join(known)}."
        )
    new_rows, old_rows = (torch.tensor(rows, dtype=torch.int64) for rows in zip(*pairs, strict=True))
    for name in _class_tensors(head):
        there[name] = here[name].clone().index_copy_(0, new_rows, there[name][old_rows])
    head.load_state_dict(there)
    return head


def _class_tensors(head: Head) -> list[str]:
    """Tensors with a row a class: those that another number of classes would change."""
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    other = build_head(head.options, head.token_width, head.num_classes + 1)
    return [name for name, tensor in other.state_dict().items() if tensor.shape != shapes[name]]


def keep_sides(table: Table, run: str | os.PathLike[str], store: FeatureStore, root: Path) -> Table:
    """The table with every clip on the side where the run had it: what tested must not train now.

    A clip that the run did not have goes where other clips of its video or group are, else to training,
    unless the table's own `split` says otherwise. Where spans of one video were on several sides, all test.

    Raises:
        RunError: If it is not known which clips the run had.
        SettingsMismatchError: If the store's features are of other settings than the run's.
    """
    folder = find_run(run)
    _, config = load_bundle(folder)
    check_settings(store, config, folder)
    if not (folder / CLIPS).is_file():
        raise RunError(f"{folder} has no {CLIPS}, so its test clips are not known; train anew instead.")
    clips = pd.read_csv(folder / CLIPS, keep_default_na=False, dtype=str)
    clips = clips[clips["side"].isin(_SPLIT_OF)].sort_values("side")  # test before train before validation
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
