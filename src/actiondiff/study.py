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

import pandas as pd
import yaml

from actiondiff.datasets.base import Table
from actiondiff.datasets.loading import PackedFeatures, pack
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, StoreError, UsageError
from actiondiff.evaluation.judge import (
    check_classes,
    judge,
    judge_by_value,
    mean_and_sd,
    missing_clips,
    prediction_table,
)
from actiondiff.evaluation.leakage import audit
from actiondiff.evaluation.protocols import Split, split_examples
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle, save_bundle
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, predict_probabilities
from actiondiff.pipeline import BEST, CARD
from actiondiff.provenance import atomic_path, environment, fingerprint
from actiondiff.recipe import Recipe, load_recipe
from actiondiff.report.card import cautions, model_card, seeds_card
from actiondiff.runs import CLIPS, Evaluation, Run, evaluate, partial_videos, stored_rows
from actiondiff.training.fit import FitResult, fit
from actiondiff.training.losses import SINGLE_LABEL_LOSSES
from actiondiff.types import JSON, FeatureKey

__all__ = ["Evaluation", "Run", "evaluate", "train"]

Progress = Callable[[str], None]
_Sides = Mapping[str, PackedFeatures | None]
_SIDES = ("train", "validation", "test")
_GZIP: Any = {"method": "gzip", "mtime": 0}  # no time in it: the same numbers give the same bytes
_RECIPE, _METRICS = "recipe.yaml", "metrics.json"


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
        RunError: If the folder holds another run, or something else.
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    table = table if isinstance(table, Table) else read_table(table)
    chosen = _resolve(recipe, table)
    study = _Study(store, table, chosen, Path(root) if root else table.root)
    out, tell = Path(out), progress or (lambda line: None)
    _check_folder(out, several=chosen.seeds > 1)
    if chosen.seeds == 1:
        return study.run(out, chosen.seed, tell)
    runs = [study.run(out / f"seed-{n}", chosen.seed + n, tell) for n in range(chosen.seeds)]
    _write_text(out / _RECIPE, yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False))
    return _aggregate(out, runs)


@dataclass(frozen=True)
class _Study:
    """What all seeds of a study share."""

    store: FeatureStore
    table: Table
    recipe: Recipe
    root: Path

    def run(self, folder: Path, seed: int, progress: Progress) -> Run:
        """One training and its test, in one folder."""
        if (folder / _METRICS).exists():
            return self._finished(folder, seed)
        split = self._split()
        sides, key = self._pack(split)
        train = sides["train"]
        assert train is not None  # splitting raises where no clip is left to train on
        check_classes(train)
        activation: Activation = "sigmoid" if self.table.multi_label else "softmax"
        head = build_head(self.recipe.head, train.token_width, len(train.label_names), seed=seed)
        released = self.recipe.protocol.selection == "released"
        if released and sides["test"] is None:
            raise UsageError("selection=released chooses the epoch on test clips, and there are none.")
        folder.mkdir(parents=True, exist_ok=True)
        _write_text(folder / _RECIPE, self._recipe_text(seed))
        result = fit(
            head,
            train,
            sides["test" if released else "validation"],
            self.recipe.training,
            activation=activation,
            seed=seed,
            folder=folder,
            progress=lambda row: progress(_epoch_line(row, self.recipe.training.epochs)),
        )
        config = self._config(key, activation, train)
        metrics = {
            **self._metrics(split, sides, config, seed),
            "fit": _fit_summary(result, released=released),
        }
        self._score(folder, head, sides, activation, metrics)
        self._clips(sides).to_csv(folder / CLIPS, index=False, compression=_GZIP)
        save_bundle(folder, head, config)
        _write_text(folder / CARD, model_card(config, metrics))
        _write_text(folder / _METRICS, json.dumps(metrics, indent=2))
        return Run(folder, metrics)

    def _split(self) -> Split:
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

    def _pack(self, split: Split) -> tuple[_Sides, FeatureKey]:
        """Each side's clips with their features; None for a side without clips."""
        key = self.recipe.features.choose(self.store)
        examples = {side: [self.table.examples[i] for i in getattr(split, side)] for side in _SIDES}
        labels = sorted({label for side in examples.values() for clip in side for label in clip.labels})
        sides: dict[str, PackedFeatures | None] = dict.fromkeys(_SIDES)
        for side, clips in examples.items():
            try:
                sides[side] = pack(self.store, clips, key, labels, root=self.root) if clips else None
            except StoreError as error:
                raise StoreError(f"{side} clips: {error}") from None
        return sides, key

    def _config(self, key: FeatureKey, activation: Activation, train: PackedFeatures) -> dict[str, Any]:
        return {
            "labels": list(train.label_names),
            "activation": activation,
            "keys": [str(key)],
            "backbone": self.store.settings["backbone"],
            "features": self.store.settings,
            "feature_fingerprint": self.store.fingerprint,
            "clips_fingerprint": self._clips_fingerprint(),
            "train_label_counts": [int(n) for n in train.targets.sum(0).tolist()],
            "environment": environment(),
        }

    def _metrics(self, split: Split, sides: _Sides, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        packed = [side for side in sides.values() if side is not None]
        rows = stored_rows(self.store, [clip for side in packed for clip in side.examples], self.root)
        counts = dict(zip(config["labels"], config["train_label_counts"], strict=True))
        sizes = {name: 0 if (side := sides[name]) is None else len(side) for name in _SIDES}
        partial = partial_videos(rows)
        released = self.recipe.protocol.selection == "released"
        return {
            "seed": seed,
            "feature": config["keys"][0],
            "task": "multi-label" if config["activation"] == "sigmoid" else "single-label",
            "split": split.description,
            "counts": sizes,
            "train_clips_per_class": counts,
            "missing": [item for side in packed for item in missing_clips(side)],
            "partial": partial,
            "leaks": [
                asdict(leak)
                for leak in audit(
                    self.table.examples, split, {video: row.identity for video, row in rows.items()}
                )
            ],
            "cautions": cautions(sizes["test"], counts, partial=partial, released=released),
            "environment": environment(),
        }

    def _score(
        self, folder: Path, head: Head, sides: _Sides, activation: Activation, metrics: dict[str, Any]
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
                frame.to_csv(folder / "predictions.csv.gz", index=False, compression=_GZIP)

    def _clips(self, sides: _Sides) -> pd.DataFrame:
        """Which clip was on which side, and its content."""
        lines = []
        for name, side in sides.items():
            clips = side.examples if side else ()
            rows = stored_rows(self.store, clips, self.root)
            lines += [(e.video, e.start_seconds, e.end_seconds, rows[e.video].identity, name) for e in clips]
        return pd.DataFrame(lines, columns=["video", "start_seconds", "end_seconds", "identity", "side"])

    def _clips_fingerprint(self) -> str:
        """Of all that the table says, and of the contents in the store that it speaks of."""
        rows = stored_rows(self.store, self.table.examples, self.root)
        contents: list[JSON] = [row.identity for row in rows.values()]
        clips: list[JSON] = [json.dumps(asdict(example)) for example in self.table.examples]
        return fingerprint({"clips": clips, "contents": contents})

    def _recipe_text(self, seed: int) -> str:
        values = self.recipe.model_copy(update={"seed": seed, "seeds": 1}).model_dump(mode="json")
        values["split_seed"] = self.recipe.seed
        return yaml.safe_dump(values, sort_keys=False)

    def _finished(self, folder: Path, seed: int) -> Run:
        """A run that is there already, if it is the one asked for."""
        _, config = load_bundle(folder)
        asked_and_found = {
            "recipe": (self._recipe_text(seed), (folder / _RECIPE).read_text("utf-8")),
            "features": (self.store.fingerprint, config["feature_fingerprint"]),
            "table": (self._clips_fingerprint(), config.get("clips_fingerprint")),
        }
        other = [name for name, (asked, found) in asked_and_found.items() if asked != found]
        if other:
            raise RunError(
                f"{folder} holds a finished run with another {' and another '.join(other)}; give another "
                "folder (-o), or remove it."
            )
        return Run(folder, json.loads((folder / _METRICS).read_text("utf-8")))


def _check_folder(folder: Path, *, several: bool) -> None:
    """Make sure that a run's folder is new, or holds one like it: finished, or cut short.

    Raises:
        RunError: If not.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; a run is a folder. Give another path (-o).")
    names = {item.name for item in folder.iterdir()} if folder.exists() else set()
    is_several = any(name.startswith("seed-") for name in names)
    if names and _RECIPE not in names and not is_several:
        raise RunError(f"{folder} is neither empty nor a run (no {_RECIPE}); give a new folder (-o).")
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


def _fit_summary(result: FitResult, *, released: bool) -> dict[str, Any]:
    """What metrics.json says of a training."""
    chosen_on = "the test clips themselves, as released" if released else "held-out clips of the source"
    last = result.selected_on == "last"
    return {
        **{name: value for name, value in asdict(result).items() if name != "history"},
        "num_epochs": len(result.history),
        "selection": "the last" if last else f"the best by {result.selected_on} on {chosen_on}",
    }


def _epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    shown = ", ".join(
        f"{name} {value:.3f}" for name, value in row.items() if name != "epoch" and isinstance(value, float)
    )
    return f"epoch {row['epoch']}/{epochs}: {shown}"


def _aggregate(out: Path, runs: Sequence[Run]) -> Run:
    """Means over seeds, and which seed is best on held-out clips of the source."""
    tested = {run.folder.name: run.metrics["test"] and run.metrics["test"]["scores"] for run in runs}
    mean, sd = mean_and_sd([scores for scores in tested.values() if scores])
    best = max(runs, key=_validation_score)
    taken = best.metrics
    metrics = {
        **{
            name: taken[name]
            for name in ("feature", "task", "split", "counts", "missing", "partial", "leaks")
        },
        "seeds": tested,
        "mean": mean,
        "sd": sd,
        "best": best.folder.name,
        "why_best": "the first, as there are no clips to choose on"
        if taken["validation"] is None
        else "the best on held-out clips of the source",
        "cautions": taken["cautions"],
        "test": taken["test"],
        "environment": environment(),
    }
    _write_text(out / BEST, best.folder.name + "\n")
    _write_text(out / CARD, seeds_card(metrics))
    _write_text(out / _METRICS, json.dumps(metrics, indent=2))
    return Run(out, metrics)


def _validation_score(run: Run) -> float:
    """What seeds are compared by: always held-out clips of the source, whatever chose the epoch."""
    if run.metrics["validation"] is None:
        return 0.0
    name = run.metrics["fit"]["selected_on"]
    if name == "last":
        name = "accuracy" if run.metrics["task"] == "single-label" else "micro_map"
    return float(run.metrics["validation"]["scores"][name] or 0.0)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as aside:
        aside.write_text(text, "utf-8")
