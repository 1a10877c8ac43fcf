"""Whether heatmaps show where the creature is, against maps that know nothing of actions.

    python benchmarks/localization.py [--train 128] [--test 16] [--method cells|crops] [--rows 3]
                                      [--columns 5] [--backbone tiny] [--weights FILE] [--layer NAME]
                                      [--timestep N] [--latents own|middle|zero]
                                      [--frames FOLDER] [--json FILE]

Clips of the procedural world, whose boxes are known in every frame. A head is trained on the backbone's
features, and one on those of the same network with random weights; both search each test clip for the action
it shows. Beside them: the same for all places (chance), a bell over the middle of the picture, and the
blurred change from frame to frame. Scores: pointing game and energy inside the box (`evaluation.places`),
with 95 % intervals from resampling clips.
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
from actiondiff.experiments import train as study
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
    parser.add_argument("--test", type=int, default=16, help="clips of each of the four protocols")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--weights", help="of the backbone, where it needs some")
    parser.add_argument("--layer", help="the backbone's own if not given")
    parser.add_argument("--timestep", type=int, help="the backbone's own if not given")
    parser.add_argument("--latents", help="whose latent is concatenated: own, middle, zero")
    parser.add_argument("--method", choices=("cells", "crops"), default="cells")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=Path, help="write strips of some test clips here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder), given)
    result["asked"] = {k: str(v) for k, v in vars(given).items() if k not in ("frames", "json")}
    result["machine"] = environment()
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def compare(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    path = write_menagerie(folder, train=given.train, val=given.train // 4, test=given.test, seed=given.seed)
    table = read_table(path)
    clips = [example for example in table.examples if example.split == "test"]
    boxes = pd.read_csv(folder / "boxes.csv").set_index("video")
    found = {name: [] for name in ("chance", "centre prior", "frame difference")}
    for clip in clips:
        frames = read_video(folder / clip.video, stride=4)
        truth = box_of(boxes, clip, frames.frame_index)
        shape = (len(frames), SIZE, SIZE)
        found["chance"].append(score_places(np.zeros(shape), truth))
        found["centre prior"].append(score_places(centre_prior(*shape), truth))
        found["frame difference"].append(score_places(change_energy(frames.pixels), truth))
    accuracy = {}
    for name in dict.fromkeys((given.backbone, f"random-{given.backbone.removeprefix('random-')}")):
        model, accuracy[name] = trained(folder, table, name, given)
        found[name] = list(localized(folder, clips, boxes, model, given, name))
    protocols = [clip.columns["protocol"] for clip in clips]
    return {
        "clips": len(clips),
        "test_accuracy": accuracy,
        "all": {name: summary(scores) for name, scores in found.items()},
        "by_protocol": {
            protocol: {
                name: summary([s for s, own in zip(scores, protocols, strict=True) if own == protocol])
                for name, scores in found.items()
            }
            for protocol in dict.fromkeys(protocols)
        },
    }


def trained(folder: Path, table: Table, name: str, given: argparse.Namespace) -> tuple[ActionDiff, float]:
    """A head on a backbone's features of the clips, and its accuracy on the test clips."""
    weights = None if name.startswith("random-") else given.weights
    layers = None if given.layer is None else [given.layer]
    timesteps = None if given.timestep is None else [given.timestep]
    options = {} if given.latents is None else {"latents": given.latents}
    store, out = folder / f"features-{name}", folder / f"run-{name}"
    backbone = load_backbone(name, weights=weights, device="auto", **options)
    examples = list(table.examples)
    extract_features(examples, store, backbone=backbone, layers=layers, timesteps=timesteps, root=table.root)
    values = {"training.epochs": given.epochs}
    run = study.train(store, table, out=out, recipe=load_recipe("demo", values=values))
    model = ActionDiff.from_pretrained(out, weights=weights)
    return model, run.metrics.test.scores.accuracy


def localized(
    folder: Path,
    clips: list[Example],
    boxes: pd.DataFrame,
    model: ActionDiff,
    given: argparse.Namespace,
    name: str,
) -> Iterator[Scores]:
    options = LocalizationOptions(method=given.method, rows=given.rows, columns=given.columns)
    for number, clip in enumerate(clips):
        heatmap = model.localize(folder / clip.video, clip.labels[0], options=options)
        yield score_places(heatmap.at(SIZE, SIZE), box_of(boxes, clip, heatmap.frame_index))
        if given.frames and number % given.test < 2:
            picture = overlay_strip(folder / clip.video, heatmap)
            write_strip(
                given.frames / f"{clip.columns['protocol']}-{number}-{name}-{given.method}.png", picture
            )


def box_of(boxes: pd.DataFrame, clip: Example, frames: np.ndarray) -> np.ndarray:
    """(T, 4) of the sampled frames."""
    own = boxes.loc[clip.video].set_index("frame_index")
    return own.loc[frames, ["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)


def summary(scores: list[Scores]) -> dict[str, object]:
    """Means over clips, and intervals of the mean."""
    draws = np.random.default_rng(0).integers(0, len(scores), (2000, len(scores)))
    found: dict[str, object] = {"box_share": round(float(np.mean([s["box_share"] for s in scores])), 4)}
    for name in ("pointing_game", "energy_inside"):
        values = np.array([s[name] for s in scores])
        low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
        found[name] = {
            key: round(float(v), 4) for key, v in (("mean", values.mean()), ("low", low), ("high", high))
        }
    return found


if __name__ == "__main__":
    main()
