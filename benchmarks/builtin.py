"""What the built-in backbone's features are worth: trained against random weights, and against controls.

    python benchmarks/builtin.py WORK --pretrained RUN/tiny[,RUN/tiny ...] [--targets reserved] [--json FILE]
        [--log RUN/log.jsonl] [--into FILE ...]

Heads of one recipe learn from the same source clips and are tested in domain and on unseen species, contexts
and views. The layer of each feature is chosen on held-out source clips. Differences are paired: the same test
clips, resampled by individual, and seeds of pre-training and heads resampled with them. What is in WORK from
an earlier call is used again. `--log` adds a table of the pre-training's own log.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.datasets.menagerie import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.evaluation.intervals import resample
from actiondiff.menagerie.world import world_hash
from actiondiff.provenance import environment
from actiondiff.recipe import load_recipe

SHIFTS = ("species", "context", "view")
COLUMNS = ("in-domain", *SHIFTS)
LAYERS = ("layer3", "layer6", "layer9", "layer12")
GRID_TIMESTEPS = (5, 15, 20, 25, 29)
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


def conditions(pretrained: tuple[str, ...], timestep: int = TIMESTEP) -> list[Condition]:
    """All features that are compared."""
    seeds = tuple(range(len(pretrained)))
    return [
        Condition("trained", "tiny", LAYERS, weights=pretrained, timestep=timestep),
        Condition(
            "temporal off", "tiny", LAYERS, weights=pretrained, timestep=timestep,
            options={"temporal": False},
        ),
        Condition("random weights", "random-tiny", LAYERS, seeds=seeds, timestep=timestep),
        Condition("VAE latents", "tiny", ("vae",), weights=pretrained, timestep=timestep),
        Condition("image embeddings", "tiny", ("clip",), weights=pretrained, timestep=timestep),
        Condition("pixels", "pixels", ("layer1",), timestep=0),
        Condition("motion", "motion", ("layer1",), timestep=0),
        Condition(
            "single frame", "tiny", LAYERS[:1], weights=pretrained, timestep=timestep,
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
    """A network trained from scratch on the training clips, one for each head seed."""
    root, rows = study.path.parent, study.rows
    clips = torch.stack([torch.from_numpy(ad.read_video(root / video).pixels) for video in rows.video])
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


def evaluate(
    study: Study, pretrained: tuple[str, ...], *, timestep: int, with_cnn: bool, with_grid: bool
) -> dict[str, Any]:
    """Everything, as plain numbers."""
    found: dict[str, list[list[Scored]]] = {}
    rows: dict[str, Any] = {}
    for condition in conditions(pretrained, timestep):
        print(f"{condition.name} ...", flush=True)
        extra = ("vae", "clip") if condition.name == "trained" else ()
        if condition.name not in ("VAE latents", "image embeddings", "single frame"):  # in the trained store
            study.extract(condition, [condition.timestep], (*condition.layers, *extra))
        found[condition.name], layers, every = chosen(study, condition)
        rows[condition.name] = {"layers": layers, "all": every}
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
    result = {"rows": rows, "differences": _differences(rows, drawn)}
    if with_grid:
        result["grid"] = grid(study, conditions(pretrained, timestep)[0])
    return result


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


def grid(study: Study, condition: Condition) -> dict[str, Any]:
    """Layer x timestep of the first pre-training seed, one head each."""
    only = Condition(condition.name, condition.backbone, condition.layers, weights=condition.weights[:1])
    study.extract(only, GRID_TIMESTEPS, LAYERS)
    variant = only.variants()[0][0]
    return {
        f"t{timestep}": {
            layer: {column: _mean(study.score(only, variant, timestep, layer), column) for column in COLUMNS}
            for layer in LAYERS
        }
        for timestep in sorted({*GRID_TIMESTEPS, condition.timestep})
    }


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
        cells = [
            f"{100 * cell['difference']:+.1f} ({100 * cell['interval'][0]:+.1f} to "
            f"{100 * cell['interval'][1]:+.1f})"
            for cell in row.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for column in COLUMNS if "grid" in result else ():
        lines += ["", f"Layer by timestep, {column}:", "", "| layer | " + " | ".join(result["grid"]) + " |"]
        lines.append("|" + "--|" * (len(result["grid"]) + 1))
        for layer in LAYERS:
            cells = [f"{100 * cells[layer][column]:.1f}" for cells in result["grid"].values()]
            lines.append(f"| {layer.removeprefix('layer')} | " + " | ".join(cells) + " |")
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
    """A text with the tables at their marks: `figures: TARGETS`, and `training` where there is a log."""
    settings = (
        f"{result['train']} training clips, {result['test']} test clips a column, "
        f"{result['pretraining_seeds']} pre-training x {result['head_seeds']} head seeds, timestep "
        f"{result['timestep']}; accuracy in %, 95 % intervals over individuals and seeds; chance 12.5. World "
        f"{result['world'][:12]}.\n"
    )
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
    parser.add_argument("--no-grid", action="store_true", help="leave out the layer x timestep grid")
    parser.add_argument("--no-cnn", action="store_true", help="leave out the network trained from scratch")
    parser.add_argument("--timestep", type=int, default=TIMESTEP, help="of the networks' features")
    parser.add_argument("--log", type=Path, help="log.jsonl of a pre-training run, to tabulate")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--into", type=Path, nargs="*", default=(), help="texts whose tables are replaced")
    arguments = parser.parse_args()

    pretrained = tuple(arguments.pretrained.split(","))
    study = Study(arguments.work, arguments.targets, arguments.train, arguments.test, arguments.head_seeds)
    result = evaluate(
        study, pretrained, timestep=arguments.timestep,
        with_cnn=not arguments.no_cnn, with_grid=not arguments.no_grid,
    )  # fmt: skip
    if arguments.log:
        result["training"] = training_table(arguments.log)
    result |= {
        "targets": arguments.targets, "timestep": arguments.timestep,
        "train": arguments.train, "test": arguments.test,
        "head_seeds": arguments.head_seeds, "pretraining_seeds": len(pretrained),
        "weights": [load_backbone("tiny", weights=path).settings["weights"] for path in pretrained],
        "world": world_hash(), "environment": environment(),
    }  # fmt: skip
    print(markdown(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for path in arguments.into:
        path.write_text(put_into(path.read_text("utf-8"), result), "utf-8")


if __name__ == "__main__":
    main()
