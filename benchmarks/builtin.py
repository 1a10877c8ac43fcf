"""Accuracy of the built-in backbone's features, against random weights and other controls.

    python benchmarks/builtin.py WORK --pretrained RUN/tiny[,RUN/tiny ...] [--targets reserved] [--json FILE]
        [--timestep 20] [--layers layer3,...] [--option latents=middle] [--log RUN/log.jsonl]
        [--into FILE ...]
    python benchmarks/builtin.py WORK --pretrained RUN/tiny --grid [--json FILE] [--into FILE ...]

Heads of one recipe are trained on the same source clips and tested in domain and on unseen species, contexts
and views. The layer of each feature is chosen on held-out source clips, among `--layers`. Differences are
paired: the same test clips are resampled by individual, and the seeds of pre-training and heads are resampled
with them. Files that an earlier call left in WORK are used again. `--log` adds a table of the log of the
pre-training run.

`--grid` instead trains a head at each layer and timestep, and again with one thing changed at a time. This
shows what an early timestep's features owe to the latents, to the conditioning and to the timestep itself.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from builtin_study import TIMESTEP, Condition, Scored, Study, cnn_scores, conditions
from builtin_tables import (
    COLUMNS,
    CONTROL_LAYERS,
    CONTROL_TIMESTEPS,
    GRID_TIMESTEPS,
    LAYERS,
    SHIFTS,
    grid_markdown,
    markdown,
    put_into,
    training_table,
)

from actiondiff.backbones.base import load_backbone
from actiondiff.builtin.world.world import world_hash
from actiondiff.evaluation.intervals import resample
from actiondiff.provenance import environment

CONTROLS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "temporal modules off": {"temporal": False},
    "noised as in training": {"noise": "forward"},
    "timestep in the scaling only": {"sigma_embed": 20},
    "timestep in the embedding only": {"sigma_scale": 20},
    "hardly any latent": {"sigma_scale": 0},  # divided by 700 throughout
    "middle frame's latents": {"latents": "middle"},
    "no concatenated latents": {"latents": "zero"},
    "no image embedding": {"embedding": "none"},
}
"""One thing changed at a time. Source: the recipe `timestep-controls`."""
RESAMPLES = 2000
AGAINST = (
    "random weights",
    "temporal off",
    "VAE latents",
    "lite0",
    "pixels",
    "motion",
    "3-D CNN",
    "single frame",
)


def chosen(study: Study, condition: Condition) -> tuple[list[list[Scored]], list[str], dict[str, Any]]:
    """Scores by pre-training seed and head seed, at the layer that is best on source validation."""
    scores_by_seed, picked, every = [], [], {}
    for variant, _ in condition.variants():
        by_layer = {
            layer: study.score(condition, variant, condition.timestep, layer) for layer in condition.layers
        }
        best = max(by_layer, key=lambda layer: np.mean([score.validation for score in by_layer[layer]]))
        scores_by_seed.append(by_layer[best])
        picked.append(best)
        every[variant] = {
            layer: {column: _mean(scores, column) for column in COLUMNS}
            | {"validation": round(float(np.mean([score.validation for score in scores])), 4)}
            for layer, scores in by_layer.items()
        }
    return scores_by_seed, picked, every


def _mean(scores: list[Scored], column: str) -> float:
    return round(float(np.mean([score.right[column].mean() for score in scores])), 4)


def cube(scores_by_seed: list[list[Scored]], column: str) -> np.ndarray:
    """Whether each test clip is classified correctly: (pre-training seeds, head seeds, N)."""
    return np.array([[score.right[column] for score in scores] for scores in scores_by_seed], np.float64)


def resampled_means(
    cubes: dict[str, np.ndarray], groups: dict[str, list[str]], seed: int
) -> dict[str, np.ndarray]:
    """Mean score of resamples of clips (by individual) and of seeds: column -> (RESAMPLES,).

    Calls with the same seed draw the same clips, so that differences are paired; features with as many
    seeds draw the same seeds.
    """
    means = {}
    for number, (column, values) in enumerate(cubes.items()):
        weights = resample(groups[column], RESAMPLES, seed=seed + number)  # (R, N)
        random = np.random.default_rng(seed + 1000 + number)
        draws = random.integers(2**31, size=(RESAMPLES, 2, 8))
        outer, inner = values.shape[:2]
        rows = draws[:, 0, :outer] % outer
        heads = draws[:, 1, :inner] % inner
        share = (values @ weights.T) / weights.sum(1)  # (P, H, R)
        index = np.arange(RESAMPLES)[:, None, None]
        means[column] = share[rows[:, :, None], heads[:, None, :], index].mean((1, 2))
    return means


def summary(values: np.ndarray) -> list[float]:
    """95 % interval of resampled values."""
    return [round(float(bound), 4) for bound in np.quantile(values, (0.025, 0.975))]


def evaluate(study: Study, compared: Sequence[Condition], *, with_cnn: bool) -> dict[str, Any]:
    """Train, score and compare all features; the result holds plain numbers."""
    scores: dict[str, list[list[Scored]]] = {}
    rows: dict[str, Any] = {}
    for condition in compared:
        print(f"{condition.name} ...", flush=True)
        extra = ("vae", "clip") if condition.name == "trained" else ()
        if condition.name not in ("VAE latents", "image embeddings", "single frame"):  # in the trained store
            study.extract(condition, [condition.timestep], (*condition.layers, *extra))
        scores[condition.name], picked, every = chosen(study, condition)
        rows[condition.name] = {"layers": picked, "all": every}
    if with_cnn:
        print("3-D CNN ...", flush=True)
        scores["3-D CNN"] = cnn_scores(study)
        rows["3-D CNN"] = {"layers": [], "all": {}}
    groups = {column: study.groups(column) for column in COLUMNS}
    drawn = {
        name: resampled_means({column: cube(values, column) for column in COLUMNS}, groups, seed=0)
        for name, values in scores.items()
    }
    for name, means in drawn.items():
        means_by_column = {column: float(cube(scores[name], column).mean()) for column in COLUMNS}
        mean_of_shifts = float(np.mean([means_by_column[shift] for shift in SHIFTS]))
        rows[name]["scores"] = means_by_column | {"mean of shifts": mean_of_shifts}
        rows[name]["intervals"] = {column: summary(means[column]) for column in COLUMNS} | {
            "mean of shifts": summary(np.mean([means[shift] for shift in SHIFTS], axis=0))
        }
    return {"rows": rows, "differences": _differences(rows, drawn)}


def _differences(rows: dict[str, Any], drawn: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Difference of the trained network from each other feature, with intervals."""
    result = {}
    for other in AGAINST:
        if other not in drawn:
            continue
        spread = {column: drawn["trained"][column] - drawn[other][column] for column in COLUMNS}
        spread["mean of shifts"] = np.mean([spread[shift] for shift in SHIFTS], axis=0)
        result[other] = {
            column: {
                "difference": rows["trained"]["scores"][column] - rows[other]["scores"][column],
                "interval": summary(values),
            }
            for column, values in spread.items()
        }
    return result


Cells = dict[tuple[int, str], list[Scored]]


def grid(study: Study, pretrained: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Scores at every layer and timestep, of trained and random weights, and under the controls."""
    tables = {
        "trained": Condition("trained", "tiny", LAYERS, weights=(pretrained,), options=dict(options)),
        "random weights": Condition("random weights", "random-tiny", LAYERS, options=dict(options)),
    }
    result: dict[str, Any] = {"cells": {}, "controls": {}}
    for name, condition in tables.items():
        cells = _cells(study, condition, GRID_TIMESTEPS, LAYERS)
        result["cells"][name] = _plain(cells)
        if name == "trained":
            result["effect"] = timestep_effect(study, cells)
    for name, change in CONTROLS.items():
        both = {**options, **change}
        changed = Condition(name, "tiny", CONTROL_LAYERS, weights=(pretrained,), options=both)
        result["controls"][name] = _plain(_cells(study, changed, CONTROL_TIMESTEPS, CONTROL_LAYERS))
    return result


def _cells(study: Study, condition: Condition, timesteps: Sequence[int], layers: Sequence[str]) -> Cells:
    print(f"{condition.name} ...", flush=True)
    study.extract(condition, timesteps, layers)
    variant = condition.variants()[0][0]
    return {
        (timestep, layer): study.score(condition, variant, timestep, layer)
        for timestep in timesteps
        for layer in layers
    }


def _plain(cells: Cells) -> dict[str, dict[str, float]]:
    return {
        f"t{timestep} {layer}": {column: _mean(scores, column) for column in COLUMNS}
        | {"validation": round(float(np.mean([score.validation for score in scores])), 4)}
        for (timestep, layer), scores in cells.items()
    }


def timestep_effect(study: Study, cells: Cells) -> dict[str, Any]:
    """Gain of each timestep over the last one, in domain and on the shifts, and the difference of the gains.

    Scores are means over layers and heads; intervals are over individuals. The paper's claim is that the last
    value, the interaction, is above zero for early timesteps.
    """
    timesteps = sorted({timestep for timestep, _ in cells})
    means: dict[int, dict[str, np.ndarray]] = {timestep: {} for timestep in timesteps}
    for number, column in enumerate(COLUMNS):
        drawn = resample(study.groups(column), RESAMPLES, seed=number)  # (R, N)
        weights = np.vstack([np.ones((1, drawn.shape[1])), drawn])  # the clips themselves first
        for timestep in timesteps:
            right = [s.right[column] for (t, _), scores in cells.items() if t == timestep for s in scores]
            means[timestep][column] = weights @ np.mean(right, axis=0) / weights.sum(1)
    result = {}
    for timestep in timesteps[:-1]:
        gains = {column: means[timestep][column] - means[timesteps[-1]][column] for column in COLUMNS}
        outside = np.mean([gains[shift] for shift in SHIFTS], axis=0)
        values = {
            "in-domain": gains["in-domain"],
            "mean of shifts": outside,
            "interaction": outside - gains["in-domain"],
        }
        result[f"t{timestep}"] = {
            name: {"difference": round(float(value[0]), 4), "interval": summary(value[1:])}
            for name, value in values.items()
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features and runs")
    parser.add_argument("--pretrained", required=True, help="folders of weights, one per seed, with commas")
    parser.add_argument("--targets", choices=("development", "reserved"), default="development")
    parser.add_argument("--train", type=int, default=512, help="number of training clips")
    parser.add_argument("--test", type=int, default=512, help="number of test clips of each protocol")
    parser.add_argument("--head-seeds", type=int, default=3)
    parser.add_argument("--grid", action="store_true", help="evaluate layers x timesteps instead")
    parser.add_argument("--only", help="features to compare with the trained network, with commas")
    parser.add_argument("--no-cnn", action="store_true", help="skip the network trained from scratch")
    parser.add_argument("--timestep", type=int, default=TIMESTEP, help="timestep of the networks' features")
    parser.add_argument("--layers", default=",".join(LAYERS), help="layers of the networks to choose from")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="option of the networks (repeatable), such as latents=middle",
    )
    parser.add_argument("--log", type=Path, help="log.jsonl of a pre-training run, for a table")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    parser.add_argument("--into", type=Path, nargs="*", default=(), help="text files with tables to replace")
    arguments = parser.parse_args()

    pretrained = tuple(arguments.pretrained.split(","))
    options = {
        name: yaml.safe_load(value) for name, value in (text.split("=", 1) for text in arguments.option)
    }
    if arguments.grid:
        pretrained = pretrained[:1]
    study = Study(arguments.work, arguments.targets, arguments.train, arguments.test, arguments.head_seeds)
    if arguments.grid:
        result = grid(study, pretrained[0], options)
    else:
        compared = conditions(pretrained, arguments.timestep, tuple(arguments.layers.split(",")), options)
        if arguments.only:
            chosen_names = {"trained", *arguments.only.split(",")}
            compared = [condition for condition in compared if condition.name in chosen_names]
        result = evaluate(study, compared, with_cnn=not arguments.no_cnn)
    if arguments.log:
        result["training"] = training_table(arguments.log)
    result |= {
        "targets": arguments.targets, "options": options,
        "timestep": GRID_TIMESTEPS if arguments.grid else arguments.timestep,
        "train": arguments.train, "test": arguments.test,
        "head_seeds": arguments.head_seeds, "pretraining_seeds": len(pretrained),
        "weights": [load_backbone("tiny", weights=path).settings["weights"] for path in pretrained],
        "world": world_hash(), "environment": environment(),
    }  # fmt: skip
    print(grid_markdown(result) if arguments.grid else markdown(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for path in arguments.into:
        path.write_text(put_into(path.read_text("utf-8"), result), "utf-8")


if __name__ == "__main__":
    main()
