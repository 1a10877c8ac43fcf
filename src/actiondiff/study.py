"""A study: train a head on stored features, test it, and write down everything that belongs to the numbers.

A run's folder holds `model.safetensors` and `config.json` (the model), `recipe.yaml` (what was asked for),
`metrics.json`, `predictions.csv.gz` (each test clip's scores), `clips.csv.gz` (which clip was on which side),
`README.md` (model card) and logs. With several seeds these are in `seed-0`, `seed-1` ... and the top folder
has the means.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from actiondiff.datasets.base import Table
from actiondiff.datasets.loading import PackedFeatures, pack
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, SettingsMismatchError, UnknownNameError, UsageError
from actiondiff.evaluation.judge import (
    METRICS,
    check_classes,
    judge,
    judge_by_value,
    missing_clips,
    prediction_table,
    targets_of_counts,
)
from actiondiff.evaluation.leakage import audit, identities_of
from actiondiff.evaluation.protocols import Split, split_examples
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle, save_bundle
from actiondiff.heads.predict import Activation, predict_probabilities
from actiondiff.pipeline import BEST, CARD, find_run
from actiondiff.provenance import atomic_path, differences, environment
from actiondiff.recipe import Recipe, load_recipe
from actiondiff.report.card import cautions, model_card
from actiondiff.training.fit import fit
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.types import JSON, Example, FeatureKey

__all__ = ["Evaluation", "Run", "evaluate", "train"]

Progress = Callable[[str], None]
_SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: Where it is.
        metrics: What `metrics.json` holds; with several seeds `seeds`, `mean` and `sd` of the test scores.
    """

    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """A trained model's scores on clips.

    Attributes:
        metrics: `scores`, `prior_floor`, `intervals`, `num_clips`, and what was left out.
        predictions: A row a clip: video, its labels, the prediction and each label's probability.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame


def train(
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
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
        progress: Called with a line now and then.

    Raises:
        TableError: If the table has problems.
        UnknownNameError: If the store lacks the feature, or a column or value does not exist.
        UsageError: If clips and options do not fit each other: one class only, an empty class ...
        StoreError: If the store cannot be read, or holds none of the clips.
        RunError: If the folder holds another run.
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    chosen = _resolve(recipe, table)
    study = _Study(store, table, chosen, Path(root) if root else table.root)
    out = Path(out)
    folders = [out] if chosen.seeds == 1 else [out / f"seed-{n}" for n in range(chosen.seeds)]
    runs = []
    for number, folder in enumerate(folders):
        runs.append(study.run(folder, chosen.seed + number, progress or (lambda line: None)))
    return runs[0] if chosen.seeds == 1 else _aggregate(out, runs, chosen)


def evaluate(
    run: Run | str | os.PathLike[str],
    store: FeatureStore | str | os.PathLike[str],
    table: Table | str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Test a trained model on labelled clips; those it was trained or selected on are left out, and counted.

    Args:
        run: The model.
        store: Features of the clips, made with the settings of the training's features.
        table: Their labels. Where its `split` column marks test clips, those alone are taken.
        root: Folder that the table's paths are relative to, if not the table's own.

    Raises:
        SettingsMismatchError: If the features were made with other settings; it lists them.
        UnknownNameError: If a clip has a label that the model does not know.
        UsageError: If no clip is left to test.
    """
    folder = find_run(run.folder if isinstance(run, Run) else run)
    head, config = load_bundle(folder)
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    if store.fingerprint != config["feature_fingerprint"]:
        raise SettingsMismatchError(
            f"{store.folder} does not fit {folder} (the store's settings against the model's)",
            differences(store.settings, config["features"]),
            "Extract the clips with the model's settings into a new folder.",
        )
    examples = [example for example in table.examples if example.labels]
    if any(example.split == "test" for example in examples):
        examples = [example for example in examples if example.split == "test"]
    _check_labels(examples, config["labels"])
    if not examples:
        raise UsageError(f"{table.source} has no labelled clips to test on.")
    packed = pack(store, examples, _keys(config), config["labels"], root=root or table.root)
    seen = _seen(folder)
    identities = identities_of(store, packed.examples, Path(root) if root else table.root)
    fresh = [i for i, example in enumerate(packed.examples) if identities.get(example.video) not in seen]
    if not fresh:
        raise UsageError(
            f"all {len(packed)} clips with features were used in training; there is none to test on."
        )
    test = packed.subset(fresh)
    probabilities = predict_probabilities(head, test, config["activation"])
    source = np.array(config["train_label_counts"], dtype=np.float32)
    metrics = {
        **judge(test, probabilities, config["activation"], targets_of_counts(source)),
        "num_left_out_as_trained_on": len(packed) - len(fresh),
        "missing": missing_clips(packed),
        "cautions": cautions(len(test), {}),
        "run": str(folder),
        "table": str(table.source),
        "environment": environment(),
    }
    return Evaluation(metrics, prediction_table(test, probabilities))


@dataclass(frozen=True)
class _Study:
    """What all seeds of a study share."""

    store: FeatureStore
    table: Table
    recipe: Recipe
    root: Path

    def run(self, folder: Path, seed: int, progress: Progress) -> Run:
        """One training and its test, in one folder."""
        if (folder / "metrics.json").exists():
            return self._finished(folder, seed)
        key = self.recipe.features.choose(self.store)
        split = self._split(seed)
        labels = sorted(
            {label for i in (*split.train, *split.validation, *split.test) for label in self._of(i).labels}
        )
        sides = self._pack(split, key, labels)
        check_classes(sides, labels)
        activation: Activation = "sigmoid" if self.table.multi_label else "softmax"
        head = build_head(self.recipe.head, sides["train"].token_width, len(labels), seed=seed)
        released = self.recipe.protocol.selection == "released"
        selecting = sides["test"] if released else sides["validation"]
        folder.mkdir(parents=True, exist_ok=True)
        _write_text(folder / "recipe.yaml", self._recipe_text(seed))
        result = fit(
            head,
            sides["train"],
            selecting,
            self.recipe.training,
            activation=activation,
            seed=seed,
            folder=folder,
            progress=lambda row: progress(_epoch_line(row, self.recipe.training.epochs)),
        )
        config = self._config(key, labels, activation, sides["train"])
        metrics = self._metrics(split, sides, config, seed)
        metrics["fit"] = {
            **{name: value for name, value in asdict(result).items() if name != "history"},
            "num_epochs": len(result.history),
            "selected_by": "the test clips (as released)" if released else "held-out clips of the source",
        }
        metrics["fit"]["validation_score"] = _best_score(result.history, result.selected_on)
        self._score(folder, head, sides, activation, metrics)
        self._clips(sides).to_csv(
            folder / "clips.csv.gz", index=False, compression={"method": "gzip", "mtime": 0}
        )
        save_bundle(folder, head, config)
        _write_text(folder / CARD, model_card(config, metrics))
        _write_text(folder / "metrics.json", json.dumps(metrics, indent=2))
        return Run(folder, metrics)

    def _of(self, index: int) -> Example:
        return self.table.examples[index]

    def _split(self, seed: int) -> Split:
        options = self.recipe.protocol
        return split_examples(
            self.table,
            domain=options.domain,
            source=options.source,
            target=options.target,
            validation_share=options.validation_share,
            test_share=options.test_share,
            seed=self.recipe.seed,  # the same clips for every seed: seeds tell of training, not of the split
        )

    def _pack(self, split: Split, key: FeatureKey, labels: Sequence[str]) -> dict[str, PackedFeatures]:
        sides = {}
        for side, indices in zip(_SIDES, (split.train, split.validation, split.test), strict=True):
            if indices:
                examples = [self._of(i) for i in indices]
                sides[side] = pack(self.store, examples, key, labels, root=self.root)
        return {side: sides.get(side) for side in _SIDES}  # type: ignore[misc]

    def _config(
        self, key: FeatureKey, labels: Sequence[str], activation: Activation, packed: PackedFeatures
    ) -> dict[str, Any]:
        return {
            "labels": list(labels),
            "activation": activation,
            "keys": [str(key)],
            "backbone": self.store.settings["backbone"],
            "features": self.store.settings,
            "feature_fingerprint": self.store.fingerprint,
            "train_label_counts": [int(n) for n in packed.targets.sum(0).tolist()],
            "environment": environment(),
        }

    def _metrics(
        self, split: Split, sides: Mapping[str, PackedFeatures | None], config: Mapping[str, Any], seed: int
    ) -> dict[str, Any]:
        packed = [side for side in sides.values() if side is not None]
        clips = [example for side in packed for example in side.examples]
        counts = dict(zip(config["labels"], config["train_label_counts"], strict=True))
        test = sides["test"]
        return {
            "seed": seed,
            "feature": config["keys"][0],
            "task": "multi-label" if config["activation"] == "sigmoid" else "single-label",
            "split": split.description,
            "counts": {name: 0 if (side := sides[name]) is None else len(side) for name in _SIDES},
            "train_clips_per_class": counts,
            "missing": [item for side in packed for item in missing_clips(side)],
            "leaks": [
                asdict(leak)
                for leak in audit(self.table.examples, split, identities_of(self.store, clips, self.root))
            ],
            "cautions": cautions(len(test) if test is not None else 0, counts),
            "environment": environment(),
        }

    def _score(
        self,
        folder: Path,
        head: Any,
        sides: Mapping[str, PackedFeatures | None],
        activation: Activation,
        metrics: dict[str, Any],
    ) -> None:
        """Add the scores of validation and test to the metrics, and write each test clip's."""
        source = sides["train"]
        assert source is not None
        for name in ("validation", "test"):
            side = sides[name]
            metrics[name] = None
            if side is None:
                continue
            probabilities = predict_probabilities(head, side, activation)
            metrics[name] = judge(side, probabilities, activation, source.targets.numpy())
            if name == "test":
                domain = self.recipe.protocol.domain
                if domain:
                    metrics["test"]["by_domain"] = judge_by_value(
                        side, probabilities, activation, source, domain
                    )
                frame = prediction_table(side, probabilities)
                frame.to_csv(
                    folder / "predictions.csv.gz", index=False, compression={"method": "gzip", "mtime": 0}
                )

    def _clips(self, sides: Mapping[str, PackedFeatures | None]) -> pd.DataFrame:
        rows = []
        for name, side in sides.items():
            if side is None:
                continue
            identities = identities_of(self.store, side.examples, self.root)
            rows += [
                (e.video, e.start_seconds, e.end_seconds, identities.get(e.video, ""), name)
                for e in side.examples
            ]
        return pd.DataFrame(rows, columns=["video", "start_seconds", "end_seconds", "identity", "side"])

    def _recipe_text(self, seed: int) -> str:
        values = self.recipe.model_copy(update={"seed": seed, "seeds": 1}).model_dump(mode="json")
        values["split_seed"] = self.recipe.seed
        return yaml.safe_dump(values, sort_keys=False)

    def _finished(self, folder: Path, seed: int) -> Run:
        """A run that is there already, if it is the one asked for."""
        same = (folder / "recipe.yaml").is_file() and (folder / "recipe.yaml").read_text(
            "utf-8"
        ) == self._recipe_text(seed)
        _, config = load_bundle(folder)
        if not same or config["feature_fingerprint"] != self.store.fingerprint:
            raise RunError(
                f"{folder} holds a finished run of another recipe or other features; give another folder "
                "(-o), or remove it."
            )
        return Run(folder, json.loads((folder / "metrics.json").read_text("utf-8")))


def _resolve(recipe: Recipe | str | os.PathLike[str] | None, table: Table) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is not None:
        return load_recipe(recipe)
    chosen = load_recipe("default")
    if table.multi_label and chosen.training.loss in SINGLE_LABEL_LOSSES:
        return load_recipe("default", values={"training.loss": "bce"})
    return chosen


def _check_labels(examples: Sequence[Example], labels: Sequence[str]) -> None:
    for example in examples:
        for label in example.labels:
            if label not in labels:
                hint = f"The model was not trained on it ({example.video} has it): leave such clips out."
                raise UnknownNameError("label", label, labels, hint)


def _keys(config: Mapping[str, Any]) -> list[FeatureKey]:
    return [FeatureKey.parse(text) for text in config["keys"]]


def _seen(folder: Path) -> set[str]:
    """Contents that a model was trained or selected on."""
    path = folder / "clips.csv.gz"
    if not path.is_file():
        return set()
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    return set(frame.loc[frame["side"] != "test", "identity"])


def _best_score(history: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    values = [row[metric] for row in history if row.get(metric) is not None]
    return max(values) if values else None


def _epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    shown = ", ".join(
        f"{name} {value:.3f}" for name, value in row.items() if name != "epoch" and isinstance(value, float)
    )
    return f"epoch {row['epoch']}/{epochs}: {shown}"


def _aggregate(out: Path, runs: Sequence[Run], recipe: Recipe) -> Run:
    """Means over seeds, and which seed is best on validation clips."""
    tested = [run.metrics["test"]["scores"] for run in runs if run.metrics["test"]]
    means: dict[str, JSON] = {}
    deviations: dict[str, JSON] = {}
    for name in METRICS:
        values = [side[name] for side in tested if side[name] is not None]
        if values:
            means[name] = float(np.mean(values))
            deviations[name] = float(np.std(values, ddof=1))
    best = max(runs, key=lambda run: run.metrics["fit"]["validation_score"] or 0.0)
    metrics = {
        "seeds": {run.folder.name: run.metrics["test"] and run.metrics["test"]["scores"] for run in runs},
        "mean": means,
        "sd": deviations,
        "best_on_validation": best.folder.name,
        "split": runs[0].metrics["split"],
        "counts": runs[0].metrics["counts"],
        "feature": runs[0].metrics["feature"],
        "cautions": runs[0].metrics["cautions"],
        "test": best.metrics["test"],
        "environment": environment(),
    }
    _write_text(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    _write_text(out / BEST, best.folder.name + "\n")
    _write_text(out / "metrics.json", json.dumps(metrics, indent=2))
    return Run(out, metrics)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as aside:
        aside.write_text(text, "utf-8")
