"""The features and heads that `builtin.py` compares, and a 3-D network trained from scratch."""

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
from builtin_tables import COLUMNS, LAYERS
from torch import nn

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.experiments.recipe import load_recipe

STRIDE = 4  # of the sampled frames
TIMESTEP = 20


@dataclass(frozen=True)
class Condition:
    """A kind of feature.

    Attributes:
        name: Name in the table.
        backbone: Name of the backbone.
        layers: Layers, one of which is chosen.
        weights: One file per pre-training seed; empty for none.
        seeds: Seeds of random weights.
        options: Options of the backbone that differ from the defaults.
        timestep: Timestep of the features.
        heads: Values of the recipe that differ from the defaults.
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
        """Name of the store and arguments of `load_backbone`, for each seed."""
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
    """All features to compare; timestep, layers and options apply to the networks."""
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
        Condition("lite0", "lite0", ("layer17",), timestep=0),
        Condition("pixels", "pixels", ("layer1",), timestep=0),
        Condition("motion", "motion", ("layer1",), timestep=0),
        network(
            "single frame", layers=layers[:1], options=own,
            heads={"head.max_tokens": 1, "head.input": "plain"},
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """Scores of one trained head.

    Attributes:
        validation: Accuracy on held-out source clips.
        right: Column -> (N,) whether each test clip is classified correctly, in the table's order.
    """

    validation: float
    right: dict[str, np.ndarray]


class Study:
    """All heads on one set of clips.

    Args:
        folder: Folder of clips, features and runs.
        targets: Which unseen bodies, contexts and views are tested.
        num_train: Number of training clips.
        num_test: Number of test clips of each protocol.
        head_seeds: Number of heads for each feature.
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
        """Train and score heads on one feature, one for each seed."""
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
        predictions = pd.read_csv(folder / "predictions.csv.gz").set_index("video")
        right = {}
        for column in COLUMNS:
            clips = self.rows[self.rows.protocol == column]
            right[column] = predictions.loc[clips.video, "predicted"].to_numpy() == clips.label.to_numpy()
        return Scored(_validation(metrics), right)

    def groups(self, column: str) -> list[str]:
        """The individual of each clip of a test."""
        return [str(name) for name in self.rows[self.rows.protocol == column]["group"]]


def _validation(metrics: dict[str, Any]) -> float:
    return float(metrics["validation"]["scores"]["accuracy"])


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
    """Scores of a network trained from scratch on the frames that features are made of, per head seed."""
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
            predicted = torch.cat([model(part).argmax(1) for part in clips.split(64)])
        right = (predicted == labels).numpy()
        results.append(
            Scored(
                float(right[held.numpy()].mean()),
                {column: right[np.flatnonzero(rows.protocol == column)] for column in COLUMNS},
            )
        )
    return [results]
