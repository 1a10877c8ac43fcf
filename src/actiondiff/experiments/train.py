"""A study: train a head on stored features, test it, and write down everything that belongs to the numbers.

A run's folder holds `model.safetensors` and `config.json` (the model), `recipe.yaml` (what was asked for),
`metrics.json`, `predictions.csv.gz` (each test clip's scores; `in_domain.csv.gz` those of the source's clips,
where asked for), `clips.csv.gz` (which clip was on which side), `README.md` (model card) and logs. With
several seeds these are in `seed-0`, `seed-1` ... and the top folder has the means.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, UsageError
from actiondiff.evaluation.calibration import calibrate, judge_calibration
from actiondiff.evaluation.judge import (
    check_classes,
    judge,
    judge_by_value,
    missing_clips,
    prediction_table,
    protocol_classes,
    restrict,
)
from actiondiff.evaluation.results import METRICS_FILE, TrainingMetrics, read_training_metrics
from actiondiff.evaluation.scores import Calibration, SideScores
from actiondiff.experiments.data import Material, Sides
from actiondiff.experiments.recipe import Recipe, load_recipe
from actiondiff.experiments.run import (
    CLIPS,
    PREDICTIONS,
    Evaluation,
    Run,
    SeedRun,
    evaluate,
    mean_of_seeds,
    partial_videos,
    stored_rows,
)
from actiondiff.experiments.selection import Chosen, Clips, train_and_select
from actiondiff.experiments.timelines import choose_timeline
from actiondiff.experiments.warm_start import keep_sides, recipe_of_run, warm_start
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig, load_bundle, save_bundle
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, predict_probabilities
from actiondiff.inference.folders import CARD, find_run
from actiondiff.provenance import check_own_folder, environment, fingerprint, write_text
from actiondiff.report.card import cautions, model_card
from actiondiff.training.batches import by_identity
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.types import JSON, FeatureKey, Progress

__all__ = ["Evaluation", "Run", "Study", "evaluate", "train"]

_GZIP: Any = {"method": "gzip", "mtime": 0}  # no time in it: the same numbers give the same bytes
_RECIPE = "recipe.yaml"


def train(
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a head (or one a seed) and test it.

    A training that was cut short goes on when it is called again with the same arguments; one that is
    finished is not repeated.

    Args:
        store: Features.
        table: Labels; a CSV, a folder per class, or a `Table`.
        out: The run's folder.
        recipe: All options; None for `default`, with the loss that fits the labels.
        root: Folder that the table's paths are relative to, if not the table's own.
        start: A run to go on from: the head begins with its weights, and every clip stays on the side that
            it had there. Without a recipe, the run's own is taken.
        progress: Called with each epoch and a line about it.

    Raises:
        TableError: If the table has problems.
        UnknownNameError: If the store lacks the feature, or a column or value does not exist.
        UsageError: If clips and options do not fit each other: one class only, an empty class ...
        StoreError: If the store cannot be read, or holds none of the clips.
        RunError: If the folder holds another run, or something else.
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    base = Path(root) if root else table.root
    if start is not None:
        table = keep_sides(table, start, store, base)
        recipe = recipe or recipe_of_run(start)
    chosen = _resolve(recipe, table)
    study = Study(store, table, chosen, base, start=find_run(start) if start is not None else None)
    out, tell = Path(out), progress or (lambda done, total, what: None)
    _check_folder(out, several=chosen.seeds > 1)
    runs = [study.train_seed(out, number, tell) for number in range(chosen.seeds)]
    return study.summarise(out, runs)


@dataclass(frozen=True)
class Study:
    """A recipe on a store and a table: what all its seeds share. `train` is the plain way to one.

    Attributes:
        store: Features.
        table: Labels.
        recipe: All options.
        root: Folder that the table's paths are relative to.
        is_checked: Whether the feature is known to be there, which takes reading every file's header.
        start: A run whose head's weights each training begins with; None for random ones.
    """

    store: FeatureStore
    table: Table
    recipe: Recipe
    root: Path
    is_checked: bool = False
    start: Path | None = None

    @cached_property
    def material(self) -> Material:
        """Its clips and their features, read once for all seeds."""
        return Material(self.store, self.table, self.recipe, self.root, self.is_checked)

    def train_seed(
        self, out: Path, number: int, progress: Progress = lambda done, total, what: None
    ) -> SeedRun:
        """The training of one seed, in the folder that it has within the study's."""
        folder = out / f"seed-{number}" if self.recipe.seeds > 1 else out
        return self._run(folder, self.recipe.seed + number, progress)

    def summarise(self, out: Path, runs: Sequence[SeedRun]) -> Run:
        """The study's own run, once every seed has one."""
        if self.recipe.seeds == 1:
            return runs[0]
        write_text(out / _RECIPE, yaml.safe_dump(self.recipe.model_dump(mode="json"), sort_keys=False))
        return mean_of_seeds(out, runs)

    def _run(self, folder: Path, seed: int, progress: Progress) -> SeedRun:
        """One training and its test, in one folder."""
        if (folder / METRICS_FILE).exists():
            return self._finished(folder, seed)
        sides, key = self.material.sides, self.material.key
        train = sides["train"]
        assert train is not None  # splitting raises where no clip is left to train on
        if not self.table.classes:
            check_classes(train)
        activation: Activation = "sigmoid" if self.table.multi_label else "softmax"
        protocol = self.recipe.protocol
        if protocol.looks_at_target and sides["test"] is None:
            raise UsageError(
                f"selection={protocol.selection} chooses the epoch on test clips, and there are none."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _RECIPE, self._recipe_text(seed))
        chosen = train_and_select(
            lambda: self._new_head(train, seed),
            Clips(train, sides["validation"], sides["test"], self.material.left_out),
            protocol,
            self.recipe.training,
            activation=activation,
            seed=seed,
            folder=folder,
            progress=lambda row: _report_epoch(progress, row, self.recipe.training.epochs),
        )
        config = self._config(chosen.head, key, activation, train)
        config, calibration = self._calibrated(chosen.head, config)
        metrics = self._metrics(config, seed, chosen, calibration, self._score(folder, chosen.head, config))
        self._clips(sides).to_csv(folder / CLIPS, index=False, compression=_GZIP)
        save_bundle(folder, chosen.head, config)
        write_text(folder / CARD, model_card(config, metrics))
        write_text(folder / METRICS_FILE, metrics.to_json())
        return SeedRun(folder, metrics)

    def _config(
        self, head: Head, key: FeatureKey, activation: Activation, train: PackedFeatures
    ) -> ModelConfig:
        return ModelConfig.for_head(
            head,
            labels=list(train.label_names),
            activation=activation,
            keys=[str(key)],
            backbone=self.store.settings["backbone"],
            features=self.store.settings,
            feature_fingerprint=self.store.fingerprint,
            clips_fingerprint=self._clips_fingerprint,
            train_label_counts=[int(n) for n in train.targets.sum(0).tolist()],
            num_train_clips=len(train),
            scored_labels=self.material.scored_labels,
            environment=environment(),
        )

    def _metrics(
        self,
        config: ModelConfig,
        seed: int,
        chosen: Chosen,
        calibration: Calibration | None,
        scores: Mapping[str, SideScores],
    ) -> TrainingMetrics:
        sides = self.material.sides
        packed = [side for side in sides.values() if side is not None]
        rows = stored_rows(self.store, [clip for side in packed for clip in side.examples], self.root)
        learnt = config.train_counts
        counts = {label: learnt[label] for label in protocol_classes(packed)}
        sizes = {name: 0 if side is None else len(side) for name, side in sides.items()}
        partial = partial_videos(rows)
        released = self.recipe.protocol.looks_at_target
        # The final test is one more look at the target.
        looks = chosen.selection.target_looks + (sides["test"] is not None)
        return TrainingMetrics(
            seed=seed,
            feature=config.keys[0],
            task="multi-label" if config.activation == "sigmoid" else "single-label",
            split=self.material.split.description,
            counts={name: size for name, size in sizes.items() if size or name != "in_domain"},
            train_clips_per_class=counts,
            num_classes_without_training_clips=sum(not count for count in learnt.values()),
            missing=tuple(item for side in packed for item in missing_clips(side)),
            partial=partial,
            leaks=tuple(self.material.leaks),
            cautions=tuple(cautions(sizes["test"], counts, partial=partial, released=released)),
            environment=environment(),
            fit=chosen.fit,
            selection=chosen.selection.model_copy(update={"target_looks": looks}),
            calibration=calibration,
            validation=scores.get("validation"),
            test=scores.get("test"),
            in_domain=scores.get("in_domain"),
        )

    def _new_head(self, train: PackedFeatures, seed: int) -> Head:
        head = build_head(self.recipe.head, train.token_width, len(train.label_names), seed=seed)
        return warm_start(head, train.label_names, self.start) if self.start else head

    def _calibrated(self, head: Head, config: ModelConfig) -> tuple[ModelConfig, Calibration | None]:
        """How sure the head may be, from validation clips: for its config and for metrics.json."""
        sides = self.material.sides
        train, validation, test = sides["train"], sides["validation"], sides["test"]
        if train is not None:
            config = config.replaced(span_tokens=int(train.lengths.median()))
        if validation is None:
            return config, None
        validation = by_identity(validation)
        found = calibrate(head, validation, config.activation)
        config = config.replaced(thresholds=found.thresholds)
        timeline = choose_timeline(head, config, self.store, validation.examples, self.root)
        config = config.replaced(**timeline or {})
        tested = None
        if test is not None:
            test, column = by_identity(test), self.recipe.protocol.domain
            domains = [value_of(clip, column) for clip in test.examples] if column else []
            tested = judge_calibration(head, test, config.activation, domains=domains)
        return config, found.model_copy(update={"test": tested})

    def _score(self, folder: Path, head: Head, config: ModelConfig) -> dict[str, SideScores]:
        """Scores of validation, test and, where asked for, the source; each test clip's are written."""
        sides = self.material.sides
        options, activation = self.recipe.protocol, config.activation
        train = sides["train"]
        assert train is not None
        labels = self.material.scored_labels
        source, _ = restrict(train, np.zeros(train.targets.shape, dtype=np.float32), activation, labels)
        asked = {"validation": sides["validation"], "test": sides["test"], "in_domain": sides["in_domain"]}
        if options.score_source == "training":
            asked["in_domain"] = train
        judged: dict[str, SideScores] = {}
        for name, side in asked.items():
            if side is None:
                continue
            clips, values = restrict(side, predict_probabilities(head, side, activation), activation, labels)
            scores = judge(clips, values, activation, source.targets.numpy())
            if options.domain and name != "validation":
                by_domain = judge_by_value(clips, values, activation, source, options.domain)
                scores = scores.model_copy(update={"by_domain": by_domain})
            if name == "in_domain":
                scores = scores.model_copy(update={"clips": options.score_source})
            judged[name] = scores
            if name != "validation":
                path = folder / (PREDICTIONS if name == "test" else f"{name}.csv.gz")
                prediction_table(clips, values).to_csv(path, index=False, compression=_GZIP)
        return judged

    def _clips(self, sides: Sides) -> pd.DataFrame:
        """Which clip was on which side, and its content."""
        lines = []
        for name, side in sides.items():
            clips = side.examples if side is not None else ()
            rows = stored_rows(self.store, clips, self.root)
            lines += [(e.video, e.start_seconds, e.end_seconds, rows[e.video].identity, name) for e in clips]
        return pd.DataFrame(lines, columns=["video", "start_seconds", "end_seconds", "identity", "side"])

    @cached_property
    def _clips_fingerprint(self) -> str:
        """Of all that the table says, and of the contents in the store that it speaks of."""
        rows = stored_rows(self.store, self.table.examples, self.root)
        contents: list[JSON] = [row.identity for row in rows.values()]
        clips: list[JSON] = [json.dumps(asdict(example)) for example in self.table.examples]
        return fingerprint({"clips": clips, "contents": contents})

    def _recipe_text(self, seed: int) -> str:
        values = self.recipe.model_copy(update={"seed": seed, "seeds": 1}).model_dump(mode="json")
        values["split_seed"] = self.recipe.seed
        if self.start:
            values["start"] = str(self.start)
        return yaml.safe_dump(values, sort_keys=False)

    def _finished(self, folder: Path, seed: int) -> SeedRun:
        """A run that is there already, if it is the one asked for."""
        _, config = load_bundle(folder)
        asked_and_found = {
            "recipe": (self._recipe_text(seed), (folder / _RECIPE).read_text("utf-8")),
            "features": (self.store.fingerprint, config.feature_fingerprint),
            "table": (self._clips_fingerprint, config.clips_fingerprint),
        }
        other = [name for name, (asked, found) in asked_and_found.items() if asked != found]
        if other:
            raise RunError(
                f"{folder} holds a finished run with another {' and another '.join(other)}; give another "
                "folder (-o), or remove it."
            )
        return SeedRun(folder, read_training_metrics(folder))


def _check_folder(folder: Path, *, several: bool) -> None:
    """Make sure that a run's folder is new, or holds one like it: finished, or cut short.

    Raises:
        RunError: If not.
    """
    names = check_own_folder(folder, "run", [_RECIPE, "seed-*"], error=RunError, option="-o")
    is_several = any(name.startswith("seed-") for name in names)
    if names - {_RECIPE} and several is not is_several:
        found = "trainings of several seeds" if is_several else "a single training"
        raise RunError(f"{folder} holds {found}; give another folder (-o), or remove it.")


def _resolve(recipe: Recipe | str | os.PathLike[str] | None, table: Table) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is not None:
        return load_recipe(recipe)
    chosen = load_recipe("default")
    if table.multi_label and chosen.training.loss in SINGLE_LABEL_LOSSES:
        return load_recipe("default", values={"training.loss": "bce"})
    return chosen


def _report_epoch(progress: Progress, row: Mapping[str, Any], epochs: int) -> None:
    scores = ", ".join(
        f"{name} {value:.3f}" for name, value in row.items() if name != "epoch" and isinstance(value, float)
    )
    progress(int(row["epoch"]), epochs, f"epoch {row['epoch']}/{epochs}: {scores}")
