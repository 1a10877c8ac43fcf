"""A finished run of one seed or several, and its evaluation on further clips."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.datasets.base import Table
from actiondiff.datasets.crop_tables import table_of_crops
from actiondiff.datasets.packing import pack
from actiondiff.datasets.table import read_table
from actiondiff.errors import SettingsMismatchError, UnknownNameError, UsageError
from actiondiff.evaluation.judge import (
    judge,
    mean_and_sd,
    missing_clips,
    prediction_table,
    restrict,
    targets_of_counts,
)
from actiondiff.evaluation.results import (
    METRICS_FILE,
    EvaluationMetrics,
    Metrics,
    SeedsMetrics,
    TrainingMetrics,
)
from actiondiff.experiments.backgrounds import without_backgrounds
from actiondiff.experiments.outside import count_outside
from actiondiff.features.joined import further_stores
from actiondiff.features.manifest import Row
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import ModelConfig, load_bundle
from actiondiff.heads.further import FurtherFeatures
from actiondiff.heads.predict import predict_probabilities
from actiondiff.inference.folders import BEST, CARD, find_model_folder
from actiondiff.inference.guard import load_guard
from actiondiff.inference.student import check_taught_by, student_differences
from actiondiff.provenance import differences, environment, write_text
from actiondiff.report.card import cautions, seeds_card
from actiondiff.types import Example, FeatureKey

__all__ = [
    "CLIPS",
    "PREDICTIONS",
    "Evaluation",
    "Run",
    "SeedRun",
    "check_settings",
    "evaluate",
    "further_features",
    "partial_videos",
    "same_features",
    "seen_in_training",
    "stored_rows",
    "write_seeds_run",
]

CLIPS, PREDICTIONS = "clips.csv.gz", "predictions.csv.gz"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Folder of the run.
        metrics: What `metrics.json` holds.
    """

    folder: Path
    metrics: Metrics


@dataclass(frozen=True)
class SeedRun(Run):
    """A finished run of one seed."""

    metrics: TrainingMetrics


@dataclass(frozen=True)
class Evaluation:
    """The scores of a trained model on further clips.

    Attributes:
        metrics: What `metrics.json` of an evaluation holds.
        predictions: One row per clip: video and labels, the prediction, and the probability of each label.
    """

    metrics: EvaluationMetrics
    predictions: pd.DataFrame


def write_seeds_run(out: Path, runs: Sequence[SeedRun]) -> Run:
    """Summarise the runs of several seeds as one run: their means, and the best on clips of the source."""
    tested = {run.folder.name: run.metrics.test and run.metrics.test.scores for run in runs}
    mean, sd = mean_and_sd([scores for scores in tested.values() if scores])
    best = max(runs, key=_validation_score)
    metrics = SeedsMetrics(
        feature=best.metrics.feature,
        task=best.metrics.task,
        split=best.metrics.split,
        counts=best.metrics.counts,
        missing=best.metrics.missing,
        partial=best.metrics.partial,
        leaks=best.metrics.leaks,
        seeds=tested,
        mean=mean,
        sd=sd,
        best=best.folder.name,
        why_best=_why_best(best.metrics),
        cautions=best.metrics.cautions,
        test=best.metrics.test,
        environment=environment(),
    )
    write_text(out / BEST, best.folder.name + "\n")
    write_text(out / CARD, seeds_card(metrics))
    write_text(out / METRICS_FILE, metrics.to_json())
    return Run(out, metrics)


def _why_best(metrics: TrainingMetrics) -> str:
    """Say what the best seed was chosen by."""
    if metrics.validation is not None:
        return "the best on held-out clips of the source"
    if metrics.selection.by_domain is not None:
        return "the best on domains of the source that were left out"
    return "the first, as there are no clips to choose on"


def _validation_score(run: SeedRun) -> float:
    """The score that seeds are compared by: on held-out clips of the source, whatever chose the epoch."""
    metrics = run.metrics
    if metrics.validation is None:
        by_domain = metrics.selection.by_domain is not None
        return (metrics.selection.score or 0.0) if by_domain else 0.0
    name = metrics.fit.selected_on
    if name == "last":
        name = "accuracy" if metrics.task == "single-label" else "micro_map"
    return metrics.validation.scores.total(name) or 0.0


def evaluate(
    run: Run | str | os.PathLike[str],
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Test a trained model on labelled clips, leaving out those that it was trained or selected on.

    Args:
        run: Run that made the model, or its folder.
        store: Features of the clips, made with the same settings as the features of training; several stores
            in one, see `join_stores`, where the model reads features of several backbones.
        table: The clips and their labels. If its `split` column marks test clips, only those are taken.
        root: Folder that the table's paths are relative to, if not the table's own.
        background: Table of stored clips without animals, from which backgrounds of new cameras are estimated
            where the head takes them away; None for the clips themselves.

    Raises:
        SettingsMismatchError: If the features were made with other settings; it lists them.
        UnknownNameError: If a clip has a label that the model was not trained on.
        UsageError: If no clip is left to test, or a clip has several labels and the model predicts one.
    """
    # Open the model, the features and the labels, and check that they fit each other.
    folder = find_model_folder(run.folder if isinstance(run, Run) else run)
    head, config = load_bundle(folder)
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    check_settings(store, config, folder)
    table = table_of_crops(table, store, root or table.root)

    # Take the labelled clips, of these the test clips if some are marked.
    examples = [example for example in table.examples if example.labels or table.labels_are_complete]
    if any(example.split == "test" for example in examples):
        examples = [example for example in examples if example.split == "test"]
    _check_labels(examples, config)
    if not examples:
        raise UsageError(f"{table.source} has no labelled clips to test on.")

    # Leave out what the model was trained or selected on, by content, whatever its name is.
    packed = pack(store, examples, config.feature_keys, config.labels, root=root or table.root)
    seen, notes = seen_in_training(folder)
    packed, places = without_backgrounds(packed, config, store, background)
    rows = stored_rows(store, packed.examples, Path(root) if root else table.root)
    fresh = [i for i, example in enumerate(packed.examples) if rows[example.video].identity not in seen]
    if not fresh:
        raise UsageError(
            f"all {len(packed)} clips with features were used in training, so none is left to test on."
        )
    test = packed.subset(fresh)

    # Score the classes that the model was scored on, and any other that occurs.
    probabilities = predict_probabilities(head, test, config.activation)
    counts = config.train_counts
    occurring = {label for example in test.examples for label in example.labels}
    occurring.update(counts if config.scored_labels is None else config.scored_labels)
    scored = [label for label in counts if label in occurring]
    test, probabilities = restrict(test, probabilities, config.activation, scored)
    source = np.array([counts[label] for label in scored], dtype=np.float32)
    partial = partial_videos({example.video: rows[example.video] for example in test.examples})
    judged = judge(test, probabilities, config.activation, targets_of_counts(source))
    metrics = EvaluationMetrics(
        num_clips=judged.num_clips,
        scores=judged.scores,
        prior_floor=judged.prior_floor,
        intervals=judged.intervals,
        num_left_out_as_trained_on=len(packed) - len(fresh),
        missing=tuple(missing_clips(packed)),
        outside=count_outside(load_guard(folder, token_width=config.token_width), test, rows, store),
        partial=partial,
        cautions=(*cautions(len(test), {}, partial=partial), *notes, *places),
        run=str(folder),
        table=str(table.source),
        environment=environment(),
    )
    return Evaluation(metrics, prediction_table(test, probabilities))


def check_settings(store: FeatureStore, config: ModelConfig, folder: Path) -> None:
    """Make sure that a store's features have the settings of those that a model was trained on.

    Features of a student of the model's backbone are accepted, with a warning that says so.

    Raises:
        SettingsMismatchError: If they do not; it lists what differs.
    """
    stores = {"": store, **further_stores(store)}
    lacking = [name for name in config.further if name not in stores]
    if lacking:
        raise UsageError(
            f"{folder} reads {config.sources}, and features of {', '.join(lacking)} are missing; give "
            f"their store, made with the model's settings: --with {lacking[0]}=STORE."
        )
    for name in ("", *config.further):
        own, part = stores[name], config.part(name)
        if own.fingerprint != part.feature_fingerprint:
            if student_differences(part, own.settings) is not None:
                check_taught_by(part, own.settings, own.folder)
                continue
            raise SettingsMismatchError(
                f"{own.folder} does not fit {folder} (the store's settings against the model's)",
                differences(own.settings, part.features),
                "Extract the clips with the model's settings into a new folder.",
            )


def same_features(store: FeatureStore, config: ModelConfig) -> bool:
    """Whether a store, with the further ones that it is joined with, holds the features of a model."""
    prints = {name: other.fingerprint for name, other in further_stores(store).items()}
    recorded = {name: other.feature_fingerprint for name, other in config.further.items()}
    return store.fingerprint == config.feature_fingerprint and prints == recorded


def further_features(store: FeatureStore, keys: Sequence[FeatureKey]) -> dict[str, FurtherFeatures]:
    """What a model records about the further stores that some keys are from."""
    read = {key.store for key in keys}
    return {
        name: FurtherFeatures(features=other.settings, feature_fingerprint=other.fingerprint)
        for name, other in further_stores(store).items()
        if name in read
    }


def _check_labels(examples: Sequence[Example], config: ModelConfig) -> None:
    """Make sure that the model can predict the labels of all clips."""
    for example in examples:
        for label in example.labels:
            if label not in config.labels:
                hint = f"The model was not trained on it ({example.video} has it): leave such clips out."
                raise UnknownNameError("label", label, config.labels, hint)
        if config.activation == "softmax" and len(example.labels) > 1:
            raise UsageError(
                f"the model predicts one class per clip; {example.video} has {len(example.labels)}: "
                f"{', '.join(example.labels)}. Leave such clips out, or train on clips with several."
            )


def stored_rows(store: FeatureStore, examples: Sequence[Example], root: Path) -> dict[str, Row]:
    """Look up videos in the store's index: video -> its row, for those that are there."""
    names = {e.video: Path(os.path.relpath(root / e.video, store.root)).as_posix() for e in examples}
    return {video: row for video, name in names.items() if (row := store.row(name)) is not None}


def partial_videos(rows: Mapping[str, Row]) -> dict[str, float]:
    """Find the videos that decoded only in part: video -> share of its frames."""
    return {video: row.coverage for video, row in rows.items() if row.status == "partial"}


def seen_in_training(folder: Path) -> tuple[set[str], list[str]]:
    """Find what a model was trained or selected on.

    Returns:
        Identities of the contents, and sentences for the reader, such as that this is unknown.
    """
    path = folder / CLIPS
    if not path.is_file():
        note = f"There is no {CLIPS} with the model: clips that it was trained on may be among these."
        return set(), [note]
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    return set(frame.loc[frame["side"].isin(("train", "validation")), "identity"]), []
