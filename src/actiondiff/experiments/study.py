"""A study: one training run of a head for each seed, and its evaluation. `train` does all of it.

The folder of a run holds `model.safetensors` and `config.json` (the model), `recipe.yaml` (its options),
`metrics.json`, `predictions.csv.gz` (scores of each test clip), `in_domain.csv.gz` (the same of the source's
clips, where they are scored), `clips.csv.gz` (the side of each clip), `README.md` (the model card) and logs.
With several seeds these files are in `seed-0`, `seed-1` ..., and the top folder holds the means.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from actiondiff.datasets.base import Table
from actiondiff.datasets.crop_tables import table_of_crops
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError
from actiondiff.evaluation.judge import missing_clips, protocol_classes
from actiondiff.evaluation.results import METRICS_FILE, TrainingMetrics, read_training_metrics
from actiondiff.evaluation.scores import Calibration, SideScores
from actiondiff.experiments.cross_fit import held_out_heads
from actiondiff.experiments.data import StudyData, clip_table, load_study_data
from actiondiff.experiments.domain import fit_guard
from actiondiff.experiments.feature_choice import head_options
from actiondiff.experiments.grid import check_store, load_grid
from actiondiff.experiments.recipe import Recipe, checked_recipe, load_recipe
from actiondiff.experiments.run import (
    CLIPS,
    Evaluation,
    Run,
    SeedRun,
    evaluate,
    further_features,
    partial_videos,
    same_features,
    stored_rows,
    write_seeds_run,
)
from actiondiff.experiments.run_folder import RECIPE, check_run_folder, claim_run, claim_summary, scores_file
from actiondiff.experiments.scoring import calibrate_head, score_sides
from actiondiff.experiments.selection import SelectedHead, train_and_select
from actiondiff.experiments.warm_start import keep_sides, load_recipe_of_run, warm_start
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig, load_bundle, save_bundle
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation
from actiondiff.inference.folders import CARD, find_model_folder
from actiondiff.inference.guard import save_guard
from actiondiff.outputs.documents import parse_yaml
from actiondiff.provenance import (
    environment,
    fingerprint,
    safe_cells,
    write_gzip,
    write_text,
)
from actiondiff.report.card import cautions, model_card
from actiondiff.training.loop import EpochRow
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.types import JSON, Progress

__all__ = ["OWN_VIDEOS", "Evaluation", "Run", "Study", "choose_recipe", "evaluate", "train"]

OWN_VIDEOS = "own-videos"
"""Recipe of a study for which none is named."""


def _ignore(done: int, total: int, what: str, /) -> None:
    """Report nothing."""


def train(
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a head, or one for each seed, and test it.

    If training was cut short, a call with the same arguments continues it. Finished runs are not repeated.

    Args:
        store: Feature store to read from; for features of several backbones, see `join_stores`.
        table: Clips and their labels: a CSV, a folder per class, or a `Table`.
        out: Folder of the run; created if it does not exist.
        recipe: All options; None for `own-videos`, with a loss that fits the labels.
        root: Folder that the table's paths are relative to, if not the table's own.
        start: Run to start from: the head begins with its weights, and every clip stays on the side that it
            had there. Without a recipe, that run's recipe is used.
        overwrite: Whether files of others in the folder may be replaced.
        progress: Called with each epoch and a line about it.

    Raises:
        TableError: If the table has problems.
        UnknownNameError: If the store lacks the feature, or a column or value does not exist.
        UsageError: If clips and options do not fit each other, or files in the folder may not be replaced.
        StoreError: If the store cannot be read, or holds none of the clips.
        RunError: If the folder holds another run, or something else.
    """
    # Open the features and the labels.
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    root = Path(root) if root else table.root
    table = table_of_crops(table, store, root)

    # A run to start from fixes the side of every clip, so that no clip that it tested on trains now.
    if start is not None:
        table = keep_sides(table, start, store, root)
        start = find_model_folder(start)

    # Refuse a folder that holds something else before anything is computed.
    resolved = recipe if isinstance(recipe, Recipe) else choose_recipe(store, table, recipe, start=start)
    resolved = resolved.model_copy(update={"features": resolved.features.resolved(store)})
    folder = Path(out)
    check_run_folder(folder, num_seeds=resolved.seeds)

    # Train and test the head of each seed, then summarise them.
    study = Study(store, table, resolved, root, start=start, overwrite=overwrite)
    with claim_summary(folder, num_seeds=resolved.seeds, overwrite=overwrite):
        runs = [study.train_seed(folder, number, progress or _ignore) for number in range(resolved.seeds)]
        return study.write_summary(folder, runs)


@dataclass(frozen=True)
class Study:
    """A recipe on a store and a table: what the training runs of all seeds share.

    Attributes:
        store: Feature store to read from.
        table: Clips and their labels.
        recipe: All options.
        root: Folder that the table's paths are relative to.
        is_checked: Whether the store is known to have the feature; to check takes reading the header of every
            file.
        start: Run whose weights each head begins with; None for random weights.
        overwrite: Whether files of others in a run's folder may be replaced.
    """

    store: FeatureStore
    table: Table
    recipe: Recipe
    root: Path
    is_checked: bool = False
    start: Path | None = None
    overwrite: bool = False

    @cached_property
    def data(self) -> StudyData:
        """Clips and features, read once for all seeds."""
        return load_study_data(self.store, self.table, self.recipe, self.root, is_checked=self.is_checked)

    def train_seed(self, out: Path, number: int, progress: Progress = _ignore) -> SeedRun:
        """Train, calibrate, score and write the head of one seed.

        Args:
            out: Folder of the study; with several seeds the run gets a folder in it.
            number: Which of the seeds, from 0.
            progress: Called with each epoch and a line about it.
        """
        folder = out / f"seed-{number}" if self.recipe.seeds > 1 else out
        seed = self.recipe.seed + number

        # A finished run is not repeated.
        if (folder / METRICS_FILE).exists():
            return self._finished_run(folder, seed)
        with claim_run(folder, overwrite=self.overwrite):
            return self._train_seed(folder, seed, progress)

    def _train_seed(self, folder: Path, seed: int, progress: Progress) -> SeedRun:
        """Train, calibrate, score and write a head into a folder that is claimed; see `train_seed`."""
        # Data: the clips of each side with their features.
        data, protocol = self.data, self.recipe.protocol

        # Fit: train the head and choose its epoch. The recipe comes first: it marks a run that is cut short.
        write_text(folder / RECIPE, self._recipe_text(seed))
        activation: Activation = "sigmoid" if self.table.multi_label else "softmax"
        options, num_validation = self.recipe.training, len(data.validation or ())
        by_validation = protocol.selection == "source-validation"
        resolved = options.for_clips(len(data.train), num_validation if by_validation else None)
        selected = train_and_select(
            lambda: self._new_head(seed),
            data,
            protocol,
            resolved,
            activation=activation,
            seed=seed,
            folder=folder,
            progress=lambda row: _report_epoch(progress, row, resolved.epochs),
        )
        head = selected.head

        # Calibrate: temperature, thresholds and timeline options, from the validation clips, or, where these
        # are too few, from training clips that other heads were trained without.
        held_out = None
        if num_validation < options.min_validation_clips:
            held_out = held_out_heads(  # a run to start from may have seen these clips, so it is left aside
                lambda: replace(self, start=None)._new_head(seed),
                data.train,
                options,
                activation=activation,
                seed=seed,
                folder=folder,
            )
        config, guard = fit_guard(self._config(head, activation), data, self.store)
        config, calibration = calibrate_head(
            head, config, data, protocol,
            store=self.store, root=self.root, held_out=held_out,
        )  # fmt: skip

        # Score: validation clips, test clips and, where asked for, clips of the source.
        scores, predictions = score_sides(head, config, data, protocol, guard=guard, store=self.store)
        metrics = self._metrics(config, seed, selected, calibration, scores)

        # Write: metrics.json comes last, because it marks the run as finished.
        for side, frame in predictions.items():
            write_gzip(folder / scores_file(side), safe_cells(frame).to_csv(index=False))
        write_gzip(folder / CLIPS, safe_cells(clip_table(data)).to_csv(index=False))
        save_guard(folder, guard)
        save_bundle(folder, head, config)
        write_text(folder / CARD, model_card(config, metrics))
        write_text(folder / METRICS_FILE, metrics.to_json())
        return SeedRun(folder, metrics)

    def write_summary(self, out: Path, runs: Sequence[SeedRun]) -> Run:
        """Summarise the runs of all seeds in the study's folder; with one seed its run is the study's."""
        if self.recipe.seeds == 1:
            return runs[0]
        unset = {"split_seed"} if self.recipe.split_seed is None else set()
        options = self.recipe.model_dump(mode="json", exclude=unset)
        with claim_summary(out, num_seeds=self.recipe.seeds, overwrite=self.overwrite):
            write_text(out / RECIPE, yaml.safe_dump(options, sort_keys=False))
            return write_seeds_run(out, runs)

    def _new_head(self, seed: int) -> Head:
        """Build a head with random weights, or with those of the run to start from."""
        train = self.data.train
        options = head_options(self.recipe.head, self.recipe.features, self.data.widths)
        head = build_head(options, train.token_width, len(train.label_names), seed=seed)
        return warm_start(head, train.label_names, self.start) if self.start else head

    def _config(self, head: Head, activation: Activation) -> ModelConfig:
        """The config of a trained head, before calibration."""
        train = self.data.train
        further = further_features(self.store, self.data.keys)
        return ModelConfig.for_head(
            head,
            **({"further": further} if further else {}),
            labels=list(train.label_names),
            activation=activation,
            keys=[str(key) for key in self.data.keys],
            backbone=self.store.settings["backbone"],
            features=self.store.settings,
            feature_fingerprint=self.store.fingerprint,
            clips_fingerprint=self._clips_fingerprint,
            train_label_counts=[int(count) for count in train.targets.sum(0).tolist()],
            num_train_clips=len(train),
            scored_labels=list(self.data.scored_labels),
            environment=environment(),
        ).with_backgrounds(self.data.backgrounds)

    def _metrics(
        self,
        config: ModelConfig,
        seed: int,
        selected: SelectedHead,
        calibration: Calibration | None,
        scores: Mapping[str, SideScores],
    ) -> TrainingMetrics:
        """Gather the metrics of a run."""
        data, sides = self.data, self.data.sides
        train_counts = {label: config.train_counts[label] for label in protocol_classes(list(sides.values()))}
        counts = {name: len(sides.get(name, ())) for name in ("train", "validation", "test")}
        if data.in_domain is not None:
            counts["in_domain"] = len(data.in_domain)
        partial, released = partial_videos(data.rows), self.recipe.protocol.looks_at_target
        qualified = cautions(counts["test"], train_counts, partial=partial, released=released)
        # The final test is one more look at the target.
        looks = selected.selection.target_looks + (data.test is not None)
        return TrainingMetrics(
            seed=seed,
            feature=" + ".join(config.keys),
            task="multi-label" if config.activation == "sigmoid" else "single-label",
            split=data.split_description,
            counts=counts,
            train_clips_per_class=train_counts,
            num_classes_without_training_clips=sum(not count for count in config.train_counts.values()),
            missing=tuple(clip for clips in sides.values() for clip in missing_clips(clips)),
            partial=partial,
            leaks=data.leaks,
            cautions=(*qualified, *data.notes),
            environment=environment(),
            fit=selected.fit,
            selection=selected.selection.model_copy(update={"target_looks": looks}),
            calibration=calibration,
            validation=scores.get("validation"),
            test=scores.get("test"),
            in_domain=scores.get("in_domain"),
        )

    @cached_property
    def _clips_fingerprint(self) -> str:
        """Fingerprint of all that the table says, and of its videos' contents in the store."""
        rows = stored_rows(self.store, self.table.examples, self.root)
        contents: list[JSON] = [row.identity for row in rows.values()]
        clips: list[JSON] = [json.dumps(asdict(example)) for example in self.table.examples]
        return fingerprint({"clips": clips, "contents": contents})

    def _recipe_text(self, seed: int) -> str:
        """The text of a run's `recipe.yaml`: the recipe for this seed alone, with the seed of its split."""
        values = self.recipe.model_copy(update={"seed": seed, "seeds": 1}).model_dump(mode="json")
        values["split_seed"] = self.recipe.seed if self.recipe.split_seed is None else self.recipe.split_seed
        if self.start:
            values["start"] = str(self.start)
        return yaml.safe_dump(values, sort_keys=False)

    def _finished_run(self, folder: Path, seed: int) -> SeedRun:
        """Return the finished run in a folder.

        Raises:
            RunError: If it has other options, features or clips.
        """
        _, config = load_bundle(folder)
        recipes = (self._recipe_text(seed), (folder / RECIPE).read_text("utf-8"))
        differs = {
            "recipe": _options(recipes[0]) != _options(recipes[1]),
            "features": not same_features(self.store, config),
            "table": self._clips_fingerprint != config.clips_fingerprint,
        }
        others = [name for name, is_other in differs.items() if is_other]
        if others:
            raise RunError(
                f"{folder} holds a finished run with another {' and another '.join(others)}; give another "
                "folder (-o), or remove it."
            )
        return SeedRun(folder, read_training_metrics(folder))


def _options(recipe_text: str) -> tuple[Recipe, JSON]:
    """The options in a `recipe.yaml`, and the run it starts from; its description changes nothing.

    Options that did not exist when the file was written have their defaults.
    """
    tree = parse_yaml(recipe_text)
    start: JSON = tree.pop("start", None)
    return checked_recipe({**tree, "description": ""}, RECIPE), start


def choose_recipe(
    store: FeatureStore,
    table: Table,
    recipe: str | os.PathLike[str] | None = None,
    *,
    start: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """Load the recipe of a study: the named one, that of the run to start from, or `own-videos`.

    `own-videos` gets a loss that fits the labels. A number of epochs that is set is kept, however few steps
    it gives. See `load_recipe` for `overrides` and `values`.

    Raises:
        UnknownNameError: If the recipe or an option does not exist.
        UsageError: If a value is not valid, or the recipe describes several studies.
        SettingsMismatchError: If the recipe names features that the store does not hold.
        RunError: If the run to start from has no recipe.
    """
    sets = {text.partition("=")[0].strip() for text in overrides} | set(values or {})
    if "training.epochs" in sets and "training.min_steps" not in sets:
        values = {"training.min_steps": 0, **(values or {})}
    if recipe is not None:
        chosen = load_recipe(recipe, overrides=overrides, values=values)
        check_store(store, load_grid(recipe, overrides=overrides, values=values).cells)
        return chosen
    if start is not None:
        return load_recipe_of_run(start, overrides=overrides, values=values)
    if table.multi_label and load_recipe(OWN_VIDEOS).training.loss in SINGLE_LABEL_LOSSES:
        values = {"training.loss": "bce", **(values or {})}
    return load_recipe(OWN_VIDEOS, overrides=overrides, values=values)


def _report_epoch(progress: Progress, row: EpochRow, epochs: int) -> None:
    """Report an epoch with its scores in words."""
    scores = ", ".join(
        f"{name} {value:.3f}" for name, value in row.items() if name != "epoch" and isinstance(value, float)
    )
    progress(int(row["epoch"]), epochs, f"epoch {row['epoch']}/{epochs}: {scores}")
