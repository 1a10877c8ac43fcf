"""Accuracy of heatmaps in locating the creature, against maps that do not depend on the action.

    python benchmarks/localization.py [--train 128] [--test 16] [--method cells|crops] [--rows 3]
                                      [--columns 5] [--backbone tiny] [--weights FILE] [--layer NAME]
                                      [--timestep N] [--latents own|middle|zero]
                                      [--frames FOLDER] [--json FILE]

The clips come from the procedural world, where the creature's box is known in every frame. One head is
trained on the backbone's features and one on those of the same network with random weights; both locate in
each test clip the action that it shows. Three maps are compared with them: a constant map (chance), a
Gaussian over the middle of the picture, and the blurred difference between frames. The scores are the
pointing game and the energy inside the box (`evaluation.places`), with 95 % intervals from resampling clips.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff import extract_features, load_backbone, read_video
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.evaluation.places import centre_prior, change_energy, score_places
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.options import LocalizationOptions
from actiondiff.provenance import environment
from actiondiff.report.overlay import overlay_strip, write_strip
from actiondiff.types import Example

SIZE = 64
Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=128)
    parser.add_argument(
        "--test", type=int, default=16, help="number of test clips of each of the four protocols"
    )
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--weights", help="weights of the backbone, if it needs any")
    parser.add_argument("--layer", help="layer of the features; by default the backbone's own")
    parser.add_argument(
        "--timestep", type=int, help="timestep of the features; by default the backbone's own"
    )
    parser.add_argument("--latents", help="conditioning latents: own, middle or zero")
    parser.add_argument("--method", choices=("cells", "crops"), default="cells")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=Path, help="folder to which strips of some test clips are written")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder), arguments)
    result["asked"] = {k: str(v) for k, v in vars(arguments).items() if k not in ("frames", "json")}
    result["machine"] = environment()
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def compare(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    path = write_menagerie(
        folder, train=arguments.train, val=arguments.train // 4, test=arguments.test, seed=arguments.seed
    )
    table = read_table(path)
    clips = [example for example in table.examples if example.split == "test"]
    boxes = pd.read_csv(folder / "boxes.csv").set_index("video")
    scores = {name: [] for name in ("chance", "centre prior", "frame difference")}
    for clip in clips:
        frames = read_video(folder / clip.video, stride=4)
        truth = box_of(boxes, clip, frames.frame_index)
        shape = (len(frames), SIZE, SIZE)
        scores["chance"].append(score_places(np.zeros(shape), truth))
        scores["centre prior"].append(score_places(centre_prior(*shape), truth))
        scores["frame difference"].append(score_places(change_energy(frames.pixels), truth))
    accuracy = {}
    for name in dict.fromkeys((arguments.backbone, f"random-{arguments.backbone.removeprefix('random-')}")):
        model, accuracy[name] = trained(folder, table, name, arguments)
        scores[name] = list(localized(folder, clips, boxes, model, arguments, name))
    protocols = [clip.columns["protocol"] for clip in clips]
    return {
        "clips": len(clips),
        "test_accuracy": accuracy,
        "all": {name: summary(values) for name, values in scores.items()},
        "by_protocol": {
            protocol: {
                name: summary([s for s, own in zip(values, protocols, strict=True) if own == protocol])
                for name, values in scores.items()
            }
            for protocol in dict.fromkeys(protocols)
        },
    }


def trained(folder: Path, table: Table, name: str, arguments: argparse.Namespace) -> tuple[ActionDiff, float]:
    """Train a head on a backbone's features of the clips; also return its accuracy on the test clips."""
    weights = None if name.startswith("random-") else arguments.weights
    layers = None if arguments.layer is None else [arguments.layer]
    timesteps = None if arguments.timestep is None else [arguments.timestep]
    options = {} if arguments.latents is None else {"latents": arguments.latents}
    store, out = folder / f"features-{name}", folder / f"run-{name}"
    backbone = load_backbone(name, weights=weights, device="auto", **options)
    examples = list(table.examples)
    extract_features(examples, store, backbone=backbone, layers=layers, timesteps=timesteps, root=table.root)
    values = {"training.epochs": arguments.epochs}
    run = study.train(store, table, out=out, recipe=load_recipe("demo", values=values))
    model = ActionDiff.from_pretrained(out, weights=weights)
    return model, run.metrics.test.scores.accuracy


def localized(
    folder: Path,
    clips: list[Example],
    boxes: pd.DataFrame,
    model: ActionDiff,
    arguments: argparse.Namespace,
    name: str,
) -> Iterator[Scores]:
    options = LocalizationOptions(method=arguments.method, rows=arguments.rows, columns=arguments.columns)
    for number, clip in enumerate(clips):
        heatmap = model.localize(folder / clip.video, clip.labels[0], options=options)
        yield score_places(heatmap.at(SIZE, SIZE), box_of(boxes, clip, heatmap.frame_index))
        if arguments.frames and number % arguments.test < 2:
            picture = overlay_strip(folder / clip.video, heatmap)
            write_strip(
                arguments.frames / f"{clip.columns['protocol']}-{number}-{name}-{arguments.method}.png",
                picture,
            )


def box_of(boxes: pd.DataFrame, clip: Example, frames: np.ndarray) -> np.ndarray:
    """Boxes of the sampled frames, (T, 4)."""
    own = boxes.loc[clip.video].set_index("frame_index")
    return own.loc[frames, ["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)


def summary(scores: list[Scores]) -> dict[str, object]:
    """Means over clips, with 95 % intervals."""
    draws = np.random.default_rng(0).integers(0, len(scores), (2000, len(scores)))
    fields: dict[str, object] = {"box_share": round(float(np.mean([s["box_share"] for s in scores])), 4)}
    for name in ("pointing_game", "energy_inside"):
        values = np.array([s[name] for s in scores])
        low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
        fields[name] = {
            key: round(float(v), 4) for key, v in (("mean", values.mean()), ("low", low), ("high", high))
        }
    return fields


if __name__ == "__main__":
    main()
