"""What the built-in backbone's features are worth: trained against random weights, and against controls.

    python benchmarks/builtin.py WORK --pretrained RUN/tiny[,RUN/tiny ...] [--targets reserved] [--json FILE]
        [--timestep 20] [--layers layer3,...] [--option latents=middle] [--log RUN/log.jsonl]
        [--into FILE ...]
    python benchmarks/builtin.py WORK --pretrained RUN/tiny --grid [--json FILE] [--into FILE ...]

Heads of one recipe learn from the same source clips and are tested in domain and on unseen species, contexts
and views. The layer of each feature is chosen on held-out source clips, among `--layers`. Differences are
paired: the same test clips, resampled by individual, and seeds of pre-training and heads resampled with them.
What is in WORK from an earlier call is used again. `--log` adds a table of the pre-training's own log.

`--grid` trains a head at each layer and timestep instead, and again with one thing changed at a time, so that
one can tell what an early timestep's features owe to the latents, to the conditioning and to the timestep.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.world.world import world_hash
from actiondiff.datasets.table import read_table
from actiondiff.evaluation.intervals import resample
from actiondiff.experiments.recipe import load_recipe
from actiondiff.provenance import environment

SHIFTS = ("species", "context", "view")
COLUMNS = ("in-domain", *SHIFTS)
LAYERS = ("layer3", "layer6", "layer9", "layer12")
GRID_TIMESTEPS = (5, 10, 15, 20, 25, 29)
CONTROL_LAYERS = ("layer3", "layer12")
CONTROL_TIMESTEPS = (5, 25)
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
STRIDE = 4  # frames, of all features
TIMESTEP = 20
RESAMPLES = 2000
AGAINST = ("random weights", "temporal off", "VAE latents", "pixels", "motion", "3-D CNN", "single frame")


@dataclass(frozen=True)
class Condition:
    """A kind of feature.

    Attributes:
        name: As the table shows it.
        backbone: Its name.
        layers: From which one is chosen.
        weights: One file for each pre-training seed; empty for none.
        seeds: Seeds of random weights.
        options: What differs from the defaults.
        timestep: Of the features.
        heads: Values of the recipe that differ.
    """

    name: str
    backbone: str
    layers: tuple[str, ...]
    weights: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    timestep: int = TIMESTEP
    heads: dict[str, Any] = field(default_factory=dict)

    def variants(self) -> list[tuple[str, dict[str, Any]]]:
        """Name of a store -> arguments of `load_backbone`, one for each seed."""
        plain = self.backbone + "".join(f"-{key}-{value}" for key, value in self.options.items())
        if self.weights:
            return [
                (f"{plain}-{number}", {"weights": path, **self.options})
                for number, path in enumerate(self.weights)
            ]
        return [(f"{plain}-{seed}", {"seed": seed, **self.options}) for seed in self.seeds or (0,)]


def conditions(
    pretrained: tuple[str, ...],
    timestep: int = TIMESTEP,
    layers: tuple[str, ...] = LAYERS,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> list[Condition]:
    """All features that are compared; timestep, layers and options are those of the networks."""
    network = partial(Condition, backbone="tiny", weights=pretrained, timestep=timestep)
    own = dict(options)
    return [
        network("trained", layers=layers, options=own),
        network("temporal off", layers=layers, options={**own, "temporal": False}),
        Condition(
            "random weights", "random-tiny", layers, seeds=tuple(range(len(pretrained))), options=own,
            timestep=timestep,
        ),
        network("VAE latents", layers=("vae",), options=own),
        network("image embeddings", layers=("clip",), options=own),
        Condition("pixels", "pixels", ("layer1",), timestep=0),
        Condition("motion", "motion", ("layer1",), timestep=0),
        network(
            "single frame", layers=layers[:1], options=own,
            heads={"head.max_tokens": 1, "head.input": "plain"},
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What one trained head said of the test clips.

    Attributes:
        validation: Accuracy on held-out source clips.
        right: Column -> (N,) whether each test clip was named rightly, in the table's order.
    """

    validation: float
    right: dict[str, np.ndarray]


class Study:
    """All heads on one set of clips.

    Args:
        folder: Where clips, features and runs are.
        targets: Which unseen bodies, contexts and views.
        num_train: Clips to learn from.
        num_test: Clips of each test.
        head_seeds: Heads for each feature.
    """

    def __init__(self, folder: Path, targets: str, num_train: int, num_test: int, head_seeds: int) -> None:
        self.folder = folder / targets
        self.head_seeds = head_seeds
        path = self.folder / "clips" / "table.csv"
        if not path.exists():
            write_menagerie(
                self.folder / "clips", train=num_train, val=num_train // 4, test=num_test, seed=100,
                targets=targets,  # type: ignore[arg-type]  # checked there
            )  # fmt: skip
        self.path = path
        self.table = read_table(path)
        self.rows = pd.read_csv(path)

    def extract(self, condition: Condition, timesteps: Sequence[int], layers: Iterable[str]) -> None:
        """Fill the stores of a condition."""
        for name, arguments in condition.variants():
            store = self.folder / "features" / name
            backbone = load_backbone(condition.backbone, **arguments)
            ad.extract_features(self.path, store, backbone=backbone, timesteps=timesteps, layers=list(layers))

    def score(self, condition: Condition, variant: str, timestep: int, layer: str) -> list[Scored]:
        """Heads of one feature, one for each seed."""
        extra = "".join(f"-{value}" for value in condition.heads.values())
        out = self.folder / "runs" / f"{variant}-t{timestep}-{layer}{extra}"
        values = {
            "features.timestep": timestep, "features.layer": layer, "protocol.domain": "protocol",
            "protocol.source": ["source"], "seeds": self.head_seeds, **condition.heads,
        }  # fmt: skip
        ad.train(
            self.folder / "features" / variant, self.table, out=out, recipe=load_recipe("demo", values=values)
        )
        folders = [out / f"seed-{n}" for n in range(self.head_seeds)] if self.head_seeds > 1 else [out]
        return [self._read(folder) for folder in folders]

    def _read(self, folder: Path) -> Scored:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        said = pd.read_csv(folder / "predictions.csv.gz").set_index("video")
        right = {}
        for column in COLUMNS:
            clips = self.rows[self.rows.protocol == column]
            right[column] = said.loc[clips.video, "predicted"].to_numpy() == clips.label.to_numpy()
        return Scored(_validation(metrics), right)

    def groups(self, column: str) -> list[str]:
        """The individual of each clip of a test."""
        return [str(name) for name in self.rows[self.rows.protocol == column]["group"]]


def _validation(metrics: dict[str, Any]) -> float:
    return float(metrics["validation"]["scores"]["accuracy"])


def chosen(study: Study, condition: Condition) -> tuple[list[list[Scored]], list[str], dict[str, Any]]:
    """Scores of the layer that is best on source validation, by pre-training seed and head seed."""
    found, picked, every = [], [], {}
    for variant, _ in condition.variants():
        by_layer = {
            layer: study.score(condition, variant, condition.timestep, layer) for layer in condition.layers
        }
        best = max(by_layer, key=lambda layer: np.mean([score.validation for score in by_layer[layer]]))
        found.append(by_layer[best])
        picked.append(best)
        every[variant] = {
            layer: {column: _mean(scores, column) for column in COLUMNS}
            | {"validation": round(float(np.mean([score.validation for score in scores])), 4)}
            for layer, scores in by_layer.items()
        }
    return found, picked, every


def _mean(scores: list[Scored], column: str) -> float:
    return round(float(np.mean([score.right[column].mean() for score in scores])), 4)


def cube(found: list[list[Scored]], column: str) -> np.ndarray:
    """(pre-training seeds, head seeds, N) of right or wrong."""
    return np.array([[score.right[column] for score in scores] for scores in found], np.float64)


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
    """95 % interval."""
    return [round(float(bound), 4) for bound in np.quantile(values, (0.025, 0.975))]


class Cnn(nn.Module):
    """A small 3-D convolutional network on pixels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        steps = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], steps, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride, 1), nn.BatchNorm3d(after), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(128, num_classes)
        )

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, H, W, 3) uint8 -> (B, K)."""
        return self.layers(clips.movedim(-1, 1).float() / 127.5 - 1)


def cnn_scores(study: Study, epochs: int = 30) -> list[list[Scored]]:
    """A network trained from scratch on the frames that features are made of, one for each head seed."""
    root, rows = study.path.parent, study.rows
    clips = torch.stack(
        [torch.from_numpy(ad.read_video(root / video, stride=STRIDE).pixels) for video in rows.video]
    )
    names = sorted(rows.label.unique())
    labels = torch.tensor([names.index(label) for label in rows.label])
    train = torch.tensor(np.flatnonzero(rows.split == "train"))
    held = torch.tensor(np.flatnonzero(rows.split == "val"))
    results = []
    for seed in range(study.head_seeds):
        torch.manual_seed(seed)
        model = Cnn(len(names))
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
        steps = epochs * -(-len(train) // 32)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            model.train()
            for batch in train[torch.randperm(len(train))].split(32):
                loss = nn.functional.cross_entropy(model(clips[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        model.eval()
        with torch.no_grad():
            said = torch.cat([model(part).argmax(1) for part in clips.split(64)])
        right = (said == labels).numpy()
        results.append(
            Scored(
                float(right[held.numpy()].mean()),
                {column: right[np.flatnonzero(rows.protocol == column)] for column in COLUMNS},
            )
        )
    return [results]


def evaluate(study: Study, compared: Sequence[Condition], *, with_cnn: bool) -> dict[str, Any]:
    """Everything, as plain numbers."""
    found: dict[str, list[list[Scored]]] = {}
    rows: dict[str, Any] = {}
    for condition in compared:
        print(f"{condition.name} ...", flush=True)
        extra = ("vae", "clip") if condition.name == "trained" else ()
        if condition.name not in ("VAE latents", "image embeddings", "single frame"):  # in the trained store
            study.extract(condition, [condition.timestep], (*condition.layers, *extra))
        found[condition.name], picked, every = chosen(study, condition)
        rows[condition.name] = {"layers": picked, "all": every}
    if with_cnn:
        print("3-D CNN ...", flush=True)
        found["3-D CNN"] = cnn_scores(study)
        rows["3-D CNN"] = {"layers": [], "all": {}}
    groups = {column: study.groups(column) for column in COLUMNS}
    drawn = {
        name: resampled_means({column: cube(values, column) for column in COLUMNS}, groups, seed=0)
        for name, values in found.items()
    }
    for name, means in drawn.items():
        scores = {column: float(cube(found[name], column).mean()) for column in COLUMNS}
        rows[name]["scores"] = scores | {"mean of shifts": float(np.mean([scores[s] for s in SHIFTS]))}
        rows[name]["intervals"] = {column: summary(means[column]) for column in COLUMNS} | {
            "mean of shifts": summary(np.mean([means[shift] for shift in SHIFTS], axis=0))
        }
    return {"rows": rows, "differences": _differences(rows, drawn)}


def _differences(rows: dict[str, Any], drawn: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Trained minus each other feature, with intervals."""
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
    """Heads at every layer and timestep, of trained and random weights, and under the controls."""
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
    """What each timestep gains over the last, in domain and on the shifts, and the difference of the gains.

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


def grid_markdown(found: dict[str, Any]) -> str:
    """The grid's tables: in domain and the mean of the shifts of each cell, the effect, the controls."""
    lines = []
    for name, cells in found["cells"].items():
        head = " | ".join(f"t{timestep}" for timestep in GRID_TIMESTEPS)
        lines += [f"{name.capitalize()}, in domain / mean of shifts:", "", f"| layer | {head} |"]
        lines.append("|" + "--|" * (len(GRID_TIMESTEPS) + 1))
        for layer in LAYERS:
            row = " | ".join(_both(cells[f"t{timestep} {layer}"]) for timestep in GRID_TIMESTEPS)
            lines.append(f"| {layer.removeprefix('layer')} | {row} |")
        lines.append("")
    last = GRID_TIMESTEPS[-1]
    lines += [
        f"Trained, mean over layers, minus the same at t{last}, with 95 % intervals over individuals:",
        "",
        "| timestep | in domain | mean of shifts | shifts minus in domain |",
        "|--|--|--|--|",
    ]
    for timestep, values in found["effect"].items():
        cells = " | ".join(_difference(cell) for cell in values.values())
        lines.append(f"| {timestep.removeprefix('t')} | {cells} |")
    heads = [f"t{t} {layer}" for layer in CONTROL_LAYERS for t in CONTROL_TIMESTEPS]
    named = " | ".join(head.replace("layer", "layer ") for head in heads)
    lines += ["", "One thing changed at a time, in domain / mean of shifts:", "", f"| changed | {named} |"]
    lines.append("|" + "--|" * (len(heads) + 1))
    for name, cells in found["controls"].items():
        lines.append(f"| {name} | " + " | ".join(_both(cells[head]) for head in heads) + " |")
    return "\n".join(lines) + "\n"


def _both(cell: dict[str, float]) -> str:
    outside = float(np.mean([cell[shift] for shift in SHIFTS]))
    return f"{100 * cell['in-domain']:.0f} / {100 * outside:.0f}"


def _difference(cell: dict[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{100 * cell['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    head = "| features | layer | " + " | ".join((*COLUMNS, "mean of shifts")) + " |"
    lines = [head, "|" + "--|" * (len(COLUMNS) + 3)]
    for name, row in result["rows"].items():
        cells = [
            f"{100 * row['scores'][column]:.1f} ({100 * low:.0f} to {100 * high:.0f})"
            for column, (low, high) in row["intervals"].items()
        ]
        layers = ", ".join(sorted({layer.removeprefix("layer") for layer in row["layers"]})) or "-"
        lines.append(f"| {name} | {layers} | " + " | ".join(cells) + " |")
    lines += ["", "| trained minus | " + " | ".join((*COLUMNS, "mean of shifts")) + " |"]
    lines.append("|" + "--|" * (len(COLUMNS) + 2))
    for name, row in result["differences"].items():
        lines.append(f"| {name} | " + " | ".join(_difference(cell) for cell in row.values()) + " |")
    return "\n".join(lines) + "\n"


def training_table(log: Path) -> str:
    """How a pre-training went: means over fifths of each stage, errors by noise level."""
    rows = pd.DataFrame([json.loads(line) for line in log.read_text("utf-8").splitlines()])
    rows = rows.rename(columns={"psnr": "PSNR, dB", "chroma": "share of colour lost"})
    measures = [name for name in rows.columns if name not in ("stage", "step")]
    rows["fifth"] = rows.groupby("stage")["step"].transform(lambda steps: (steps - 1) * 5 // steps.max())
    lines = ["| stage | steps | " + " | ".join(measures) + " |", "|" + "--|" * (len(measures) + 2)]
    for (stage, _), part in rows.groupby(["stage", "fifth"], sort=False):
        cells = ["-" if np.isnan(value := part[name].mean()) else f"{value:.3f}" for name in measures]
        steps = f"{part['step'].min()} to {part['step'].max()}"
        lines.append(f"| {stage} | {steps} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def put_between(text: str, name: str, tables: str) -> str:
    """A text with tables between its two marks, `<!-- NAME -->` and `<!-- end -->`."""
    begin, end = f"<!-- {name} -->\n", "<!-- end -->"
    before, mark, rest = text.partition(begin)
    if not mark or end not in rest:
        raise SystemExit(f"the text has no {begin.strip()} ... {end}")
    return before + begin + "\n" + tables + "\n" + rest[rest.index(end) :]


def put_into(text: str, result: dict[str, Any]) -> str:
    """A text with the tables at their marks: `figures: TARGETS` or `grid`, and `training` with a log."""
    settings = (
        f"{result['train']} training clips, {result['test']} test clips a column, "
        f"{result['pretraining_seeds']} pre-training x {result['head_seeds']} head seeds; accuracy in %, "
        f"chance 12.5; {result['targets']} targets; world {result['world'][:12]}."
    )
    if "cells" in result:
        return put_between(text, "grid", f"{settings}\n\n{grid_markdown(result)}")
    chosen = "".join(f", {name} {value}" for name, value in result["options"].items())
    settings += f" Timestep {result['timestep']}{chosen}; 95 % intervals over individuals and seeds.\n"
    text = put_between(text, f"figures: {result['targets']}", settings + "\n" + markdown(result))
    return put_between(text, "training", result["training"]) if "training" in result else text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features and runs")
    parser.add_argument("--pretrained", required=True, help="folders of weights, one a seed, with commas")
    parser.add_argument("--targets", choices=("development", "reserved"), default="development")
    parser.add_argument("--train", type=int, default=512, help="clips to learn from")
    parser.add_argument("--test", type=int, default=512, help="clips of each test")
    parser.add_argument("--head-seeds", type=int, default=3)
    parser.add_argument("--grid", action="store_true", help="layers x timesteps of the first weights instead")
    parser.add_argument("--no-cnn", action="store_true", help="leave out the network trained from scratch")
    parser.add_argument("--timestep", type=int, default=TIMESTEP, help="of the networks' features")
    parser.add_argument("--layers", default=",".join(LAYERS), help="of the networks, to choose from")
    parser.add_argument(
        "--option", action="append", default=[], help="of the networks, such as latents=middle; repeatable"
    )
    parser.add_argument("--log", type=Path, help="log.jsonl of a pre-training run, to tabulate")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--into", type=Path, nargs="*", default=(), help="texts whose tables are replaced")
    given = parser.parse_args()

    pretrained = tuple(given.pretrained.split(","))
    options = {name: yaml.safe_load(value) for name, value in (text.split("=", 1) for text in given.option)}
    if given.grid:
        pretrained = pretrained[:1]
    study = Study(given.work, given.targets, given.train, given.test, given.head_seeds)
    if given.grid:
        result = grid(study, pretrained[0], options)
    else:
        compared = conditions(pretrained, given.timestep, tuple(given.layers.split(",")), options)
        result = evaluate(study, compared, with_cnn=not given.no_cnn)
    if given.log:
        result["training"] = training_table(given.log)
    result |= {
        "targets": given.targets, "options": options,
        "timestep": GRID_TIMESTEPS if given.grid else given.timestep,
        "train": given.train, "test": given.test,
        "head_seeds": given.head_seeds, "pretraining_seeds": len(pretrained),
        "weights": [load_backbone("tiny", weights=path).settings["weights"] for path in pretrained],
        "world": world_hash(), "environment": environment(),
    }  # fmt: skip
    print(grid_markdown(result) if given.grid else markdown(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for path in given.into:
        path.write_text(put_into(path.read_text("utf-8"), result), "utf-8")


if __name__ == "__main__":
    main()
