"""What the domain guard is worth: does it tell which clips of the drawn world a model will get wrong?

    python benchmarks/guard.py WORK [--backbones pixels,motion,lite0,tiny] [--json FILE]

A head per backbone is trained on source clips, and predicts clips of the source and of unseen species,
contexts and views (development targets). The area under the curve (AUC) of "the prediction is wrong" is given
for the guard's distance, for 1 minus the head's highest probability, and for the mean of the ranks of both.
Then clips of the source are filmed as by another camera: fewer frames a second, twice as many, darkness, no
colour, small pictures. Files that an earlier call left in WORK are used again.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.inference.feature_cache import FeatureCache
from actiondiff.inference.model import ActionDiff
from actiondiff.provenance import environment
from actiondiff.types import Prediction
from actiondiff.video.write import write_video

COLUMNS = ("in-domain", "species", "context", "view")
FPS = 25
RESAMPLES = 1000

Filmed = tuple[np.ndarray, float]  # frames, and how many of them a second


def _every(step: int) -> Callable[[np.ndarray], Filmed]:
    return lambda pixels: (pixels[::step], FPS / step)


CAMERAS: dict[str, Callable[[np.ndarray], Filmed]] = {
    "as it is": _every(1),
    "50 frames a second": lambda pixels: (np.repeat(pixels, 2, axis=0), 2 * FPS),
    "5 frames a second": _every(5),
    "1 frame a second": _every(25),
    "darkness": lambda pixels: ((pixels * 0.15).astype(np.uint8), FPS),
    "no colour": lambda pixels: (
        np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8),
        FPS,
    ),
    "16 x 16 pixels": lambda pixels: (
        pixels.reshape(len(pixels), 16, 4, 16, 4, 3).mean((2, 4)).astype(np.uint8),
        FPS,
    ),
}


def auc(scores: np.ndarray, wrong: np.ndarray) -> float:
    """Probability that a wrong prediction has a higher score than a right one."""
    num_wrong, num_right = int(wrong.sum()), int((~wrong).sum())
    if not num_wrong or not num_right:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[wrong].sum() - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))


def rated(frame: pd.DataFrame) -> dict[str, Any]:
    """AUC of each score, with 95 % intervals that resample individuals."""
    scores = {
        "guard": frame.distance.to_numpy(),
        "confidence": 1 - frame.probability.to_numpy(),
        "both": rankdata(frame.distance) + rankdata(1 - frame.probability),
    }
    wrong = frame.wrong.to_numpy()
    members = [np.flatnonzero(frame.group == name) for name in sorted(set(frame.group))]
    random = np.random.default_rng(0)
    drawn = [
        np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        for _ in range(RESAMPLES)
    ]
    result: dict[str, Any] = {}
    for name, values in scores.items():
        spread = np.nanquantile([auc(values[rows], wrong[rows]) for rows in drawn], (0.025, 0.975))
        result[name] = {"auc": round(auc(values, wrong), 3), "interval": [round(float(v), 3) for v in spread]}
    return result


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Share of clips outside, and accuracy of all clips and of those with an answer."""
    inside = frame[~frame.outside]
    return {
        "clips": len(frame),
        "outside": round(float(frame.outside.mean()), 3),
        "accuracy": round(float(1 - frame.wrong.mean()), 3),
        "accuracy of answers": round(float(1 - inside.wrong.mean()), 3) if len(inside) else None,
    }


def rows_of(predictions: Iterator[tuple[Prediction, pd.Series]]) -> pd.DataFrame:
    """One row per prediction."""
    rows = []
    for prediction, clip in predictions:
        assert prediction.domain is not None
        rows.append(
            {
                "group": clip["group"],
                "wrong": prediction.label != clip.label,
                "probability": prediction.top(1)[0][1],
                "distance": prediction.domain.distance,
                "outside": prediction.domain.is_outside,
                "reasons": prediction.domain.reasons,
            }
        )
    return pd.DataFrame(rows)


def film(work: Path, clips: pd.DataFrame) -> dict[str, list[Path]]:
    """Write the clips as each camera would: camera -> files, in the order of the clips."""
    files: dict[str, list[Path]] = {}
    for name, camera in CAMERAS.items():
        folder = work / "cameras" / name.replace(" ", "-")
        files[name] = [folder / Path(video).name for video in clips.video]
        for video, path in zip(clips.video, files[name], strict=True):
            if not path.exists():
                pixels, fps = camera(ad.read_video(work / "clips" / video, stride=1).pixels)
                write_video(path, pixels, fps=fps)
    return files


def study(work: Path, name: str, device: str, num_filmed: int) -> dict[str, Any]:
    """Train a head on one backbone's features, and judge its guard."""
    path = work / "clips" / "table.csv"
    clips = pd.read_csv(path)
    store = work / "features" / name
    ad.extract_features(path, store, backbone=load_backbone(name, device=device))
    values = {"protocol.domain": "protocol", "protocol.source": ["source"]}
    run = work / "runs" / name
    ad.train(store, read_table(path), out=run, recipe=load_recipe("own-videos", values=values))
    model = ActionDiff.from_pretrained(run, device=device)
    features = FeatureStore.open(store)
    frames = {
        column: rows_of(
            (model.classify(features.read(clip.video, model.config.feature_keys[0]), clip.video), clip)
            for _, clip in clips[clips.protocol == column].iterrows()
        )
        for column in COLUMNS
    }
    everything = pd.concat(frames.values(), ignore_index=True)
    filmed = clips[clips.protocol == "in-domain"].head(num_filmed)
    cameras = {}
    for camera, files in film(work, filmed).items():
        kept = FeatureCache.open(work / "filmed" / name, model.backbone_settings, model.config, files)
        results = [result for _, result in model.predict_many(files, cache=kept)]
        frame = rows_of(zip(results, (clip for _, clip in filmed.iterrows()), strict=True))
        reasons = sorted({reason.partition(";")[0] for row in frame.reasons for reason in row})
        cameras[camera] = summary(frame) | {"reasons": reasons[:3]}
    assert model.guard is not None
    return {
        "columns": {column: summary(frame) | rated(frame) for column, frame in frames.items()},
        "all": summary(everything) | rated(everything),
        "cameras": cameras,
        "bytes": (run / "guard.safetensors").stat().st_size,
        "token_width": model.config.token_width,
    }


def markdown(results: dict[str, Any]) -> str:
    """Both tables of the docs."""
    lines = [
        "| backbone | outside: in-domain | species | context | view | AUC guard | AUC 1 - confidence "
        "| AUC both | accuracy | of answers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        outside = [f"{100 * result['columns'][column]['outside']:.0f} %" for column in COLUMNS]
        every = result["all"]
        scores = [every[score] for score in ("guard", "confidence", "both")]
        areas = ["{:.2f} ({:.2f} to {:.2f})".format(score["auc"], *score["interval"]) for score in scores]
        rates = [f"{100 * every[key]:.0f} %" for key in ("accuracy", "accuracy of answers")]
        lines.append(f"| {' | '.join([name, *outside, *areas, *rates])} |")
    names = [name for name in CAMERAS if name in next(iter(results.values()))["cameras"]]
    lines += ["", f"| backbone | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for name, result in results.items():
        cells = [
            f"{100 * camera['outside']:.0f} % ({100 * camera['accuracy']:.0f} %)"
            for camera in (result["cameras"][camera] for camera in names)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features and runs")
    parser.add_argument("--backbones", default="pixels,motion,lite0,tiny", help="names, with commas")
    parser.add_argument("--train", type=int, default=192, help="number of training clips")
    parser.add_argument("--test", type=int, default=128, help="number of test clips of each protocol")
    parser.add_argument("--filmed", type=int, default=16, help="number of clips filmed by other cameras")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="file that the figures are added to")
    arguments = parser.parse_args()
    if not (arguments.work / "clips" / "table.csv").exists():
        write_menagerie(
            arguments.work / "clips", train=arguments.train, val=arguments.train // 4, test=arguments.test,
            seed=100, targets="development",
        )  # fmt: skip
    results = {}
    if arguments.json and arguments.json.exists():  # of other backbones
        results = json.loads(arguments.json.read_text("utf-8"))["results"]
    for name in arguments.backbones.split(","):
        print(f"{name} ...", flush=True)
        results[name] = study(arguments.work, name, arguments.device, arguments.filmed)
        print(markdown({name: results[name]}), flush=True)
    print(markdown(results))
    if arguments.json:
        content = {
            "train": arguments.train, "test": arguments.test, "filmed": arguments.filmed, "results": results,
            "environment": environment(),
        }  # fmt: skip
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
