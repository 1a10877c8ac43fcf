"""How much the features of different videos differ; a collapsed network gives the same features for all.

    python benchmarks/spread.py VIDEOS [--backbone tiny] [--timestep 25] [--layers 3,6,9,12] [--weights FILE]
                                       [--latents own|middle|zero] [--json FILE]

Each readable video of the folder is one point: the mean of its frames' feature vectors. For each layer the
script prints how far apart two videos are (relative L2: the median, and the nearest pair), which share of the
variance lies between videos rather than between the frames of one, and in how many directions videos differ
(participation ratio of the covariance's eigenvalues). Features are extracted twice, to check that they are
the same bits.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import actiondiff as ad
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import environment


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--weights")
    parser.add_argument("--timestep", type=int, default=25)
    parser.add_argument("--layers", default="3,6,9,12")
    parser.add_argument("--latents", help="conditioning latents: own, middle or zero")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    layers = [f"layer{number}" for number in arguments.layers.split(",")]
    arguments = {
        name: getattr(arguments, name) for name in ("weights", "latents") if getattr(arguments, name)
    }
    backbone = ad.load_backbone(arguments.backbone, **arguments)
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        runs = []
        for folder in (first, second):
            ad.extract_features(
                arguments.videos, folder, backbone=backbone, timesteps=[arguments.timestep], layers=layers
            )
            runs.append(FeatureStore.open(folder))
        names = runs[0].videos()
        rows, nearest = {}, {}
        for layer in layers:
            key = (arguments.timestep, layer)
            once, again = ([store.read(name, key)[key] for name in names] for store in runs)
            same = all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
            rows[layer] = spread(once) | {"same bits twice": same}
            nearest[layer] = nearest_pair(once, names)
    result = {
        "rows": rows,
        "videos": len(names),
        "backbone": arguments.backbone,
        "timestep": arguments.timestep,
    }
    result["nearest"] = nearest
    print(markdown(result))
    for layer, pair in nearest.items():
        print(f"{layer}: nearest are {' and '.join(pair)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result | {"machine": environment()}, indent=2) + "\n", "utf-8")


def spread(features: list[np.ndarray]) -> dict[str, float | bool]:
    """Measures of how much videos differ, from the features (T, C) of each."""
    points = _points(features)
    pairs = _distances(points)[np.triu_indices(len(points), 1)]
    between = points.var(0).sum()
    within = np.mean([frames.astype(np.float64).var(0).sum() for frames in features])
    strengths = np.linalg.eigvalsh(np.cov(points.T))
    return {
        "finite": bool(all(np.isfinite(frames).all() for frames in features)),
        "median distance": float(np.median(pairs)),
        "nearest pair": float(pairs.min()),
        "share between videos": float(between / (between + within)),
        "directions": float(strengths.sum() ** 2 / (strengths**2).sum()),
    }


def nearest_pair(features: list[np.ndarray], names: list[str]) -> list[str]:
    """The two videos that differ least; these are copies of one recording, if there are any."""
    apart = _distances(_points(features))
    np.fill_diagonal(apart, np.inf)
    return [names[index] for index in np.unravel_index(apart.argmin(), apart.shape)]


def _points(features: list[np.ndarray]) -> np.ndarray:
    """Mean feature vector of each video: (N, C)."""
    return np.stack([frames.mean(0, dtype=np.float64) for frames in features])


def _distances(points: np.ndarray) -> np.ndarray:
    """Distances between points: (N, N), relative to their mean length."""
    return np.linalg.norm(points[:, None] - points[None], axis=2) / np.linalg.norm(points, axis=1).mean()


def markdown(result: dict[str, object]) -> str:
    """The table in Markdown."""
    rows = result["rows"]
    assert isinstance(rows, dict)
    names = list(next(iter(rows.values())))
    lines = ["| layer | " + " | ".join(names) + " |", "|" + "--|" * (len(names) + 1)]
    for layer, row in rows.items():
        cells = [str(value) if isinstance(value, bool) else f"{value:.3f}" for value in row.values()]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
