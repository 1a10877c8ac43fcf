"""Whether a head that reads several features beats the best of them alone, on the drawn world.

    python benchmarks/several_keys.py WORK [--seeds 3] [--train 192] [--test 128] [--recipe demo]
        [--reserved] [--json FILE]

The clips of the development targets are drawn (as `builtin.py` draws them), features are extracted with the
default settings, and heads of one recipe are trained on the source and tested in domain and on unseen
species, contexts and views. Each combination is compared with each of its parts. Differences are paired: the
same test clips are resampled by individual, and the seeds of the heads with them. Files that an earlier call
left in WORK are used again. `--reserved` tests the same heads once more, on clips of the reserved targets.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from builtin import cube, resampled_means, summary
from builtin_study import Scored
from builtin_tables import COLUMNS, SHIFTS

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import environment

EXTRACTED: dict[str, dict[str, Any]] = {
    "tiny": {"timesteps": [5, 20], "layers": [3, 6]},
    "lite0": {},
    "pixels": {},
    "motion": {},
}
"""Backbone -> what is extracted; by default its own feature."""
COMPARED: dict[str, list[str]] = {
    "tiny": ["tiny"],
    "tiny, layer 6": ["tiny:t20.layer6"],
    "tiny, timestep 5": ["tiny:t5.layer3"],
    "lite0": ["lite0"],
    "pixels": ["pixels"],
    "motion": ["motion"],
    "tiny + lite0": ["tiny", "lite0"],
    "tiny, layers 3 + 6": ["tiny", "tiny:t20.layer6"],
    "tiny, timesteps 20 + 5": ["tiny", "tiny:t5.layer3"],
    "pixels + motion": ["pixels", "motion"],
}
"""Name -> features; several are combined in both ways."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of clips, features and runs")
    parser.add_argument("--seeds", type=int, default=3, help="heads for each feature")
    parser.add_argument("--train", type=int, default=192, help="training clips")
    parser.add_argument("--test", type=int, default=128, help="test clips per column")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--reserved", action="store_true", help="test on the reserved targets instead")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    work, table = arguments.work, arguments.work / "clips" / "table.csv"
    tested = arguments.work / "reserved" / "table.csv" if arguments.reserved else table
    if not table.exists():
        write_menagerie(
            table.parent, train=arguments.train, val=arguments.train // 4, test=arguments.test, seed=100,
            targets="development",
        )  # fmt: skip
    if not tested.exists():
        write_menagerie(tested.parent, train=0, val=0, test=arguments.test, seed=100, targets="reserved")
    for name, features in EXTRACTED.items():
        ad.extract_features(table, work / "features" / f"{name}-0", backbone=name, **features)
        if arguments.reserved:
            ad.extract_features(tested, work / "reserved-features" / f"{name}-0", backbone=name, **features)
    rows = pd.read_csv(table)
    test_rows = pd.read_csv(tested)
    groups = {
        column: [str(name) for name in test_rows[test_rows.protocol == column]["group"]] for column in COLUMNS
    }

    # Train and score every feature alone, and every combination in both ways.
    scores: dict[str, list[list[Scored]]] = {}
    for name, features in COMPARED.items():
        for combine in ("concat", "tokens") if len(features) > 1 else ("",):
            title = f"{name} ({combine})" if combine else name
            runs = train(work, features, combine, arguments.recipe, arguments.seeds)
            scores[title] = [[score(run, work, test_rows, features, tested) for run in runs]]
            print(title, {column: round(mean(scores[title], column), 3) for column in COLUMNS}, flush=True)

    # Compare each combination with each of its parts, on the same resamples.
    drawn = {
        title: resampled_means({column: cube(values, column) for column in COLUMNS}, groups, seed=0)
        for title, values in scores.items()
    }
    for means in drawn.values():
        means["mean of shifts"] = np.mean([means[shift] for shift in SHIFTS], axis=0)
    result = {
        "environment": environment(),
        "recipe": arguments.recipe,
        "targets": "reserved" if arguments.reserved else "development",
        "seeds": arguments.seeds,
        "clips": rows.assign(side=rows.protocol + ", " + rows.split)
        .side.value_counts()
        .sort_index()
        .to_dict(),
        "scores": {title: means_of(values) for title, values in scores.items()},
        "intervals": {
            title: {c: summary(values) for c, values in own.items()} for title, own in drawn.items()
        },
        "gains": gains(scores, drawn),
    }
    print(markdown(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def train(work: Path, features: list[str], combine: str, recipe: str, seeds: int) -> list[Path]:
    """Train heads on some features, one for each seed, and return their folders."""
    slug = "+".join(features).replace(":", "-") + (f"-{combine}" if combine else "")
    out = work / "runs-several" / f"{recipe}-{slug}"
    values = {
        "features.keys": features, "protocol.domain": "protocol", "protocol.source": ["source"],
        "seeds": seeds, "features.combine": combine or "concat", "training.calibration_folds": 0,
    }  # fmt: skip
    ad.train(
        joined(work / "features", features),
        work / "clips" / "table.csv",
        out=out,
        recipe=load_recipe(recipe, values=values),
    )
    return [out / f"seed-{number}" for number in range(seeds)] if seeds > 1 else [out]


def joined(folder: Path, features: list[str]) -> FeatureStore:
    """The stores of some features, as one."""
    names = list(dict.fromkeys(feature.partition(":")[0] for feature in features))
    return ad.join_stores(*(folder / f"{name}-0" for name in names))


def score(run: Path, work: Path, rows: pd.DataFrame, features: list[str], tested: Path) -> Scored:
    """Read which test clips a head gets right, on development targets, or predict the reserved ones."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    if tested.parent.name == "reserved":
        predictions = ad.evaluate(run, joined(work / "reserved-features", features), tested).predictions
    else:
        predictions = pd.read_csv(run / "predictions.csv.gz")
    predicted = predictions.set_index("video")["predicted"]
    right = {}
    for column in COLUMNS:
        clips = rows[rows.protocol == column]
        right[column] = predicted.loc[clips.video].to_numpy() == clips.label.to_numpy()
    return Scored(float(metrics["validation"]["scores"]["accuracy"]), right)


def mean(scores: list[list[Scored]], column: str) -> float:
    """Mean accuracy over seeds."""
    return float(cube(scores, column).mean())


def means_of(scores: list[list[Scored]]) -> dict[str, float]:
    """Mean accuracy over seeds, by column, of the shifts together, and on held-out source clips."""
    means = {column: mean(scores, column) for column in COLUMNS}
    means["mean of shifts"] = float(np.mean([means[shift] for shift in SHIFTS]))
    means["validation"] = float(np.mean([score.validation for score in scores[0]]))
    return {name: round(value, 4) for name, value in means.items()}


def gains(
    scores: dict[str, list[list[Scored]]], drawn: dict[str, dict[str, np.ndarray]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Combination -> part -> column -> gain and its interval."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for title in scores:
        features = COMPARED[title.partition(" (")[0]]
        for part in (
            name
            for name, own in COMPARED.items()
            if len(features) > 1 and own[0] in features and len(own) == 1
        ):
            ours, theirs = means_of(scores[title]), means_of(scores[part])
            result.setdefault(title, {})[part] = {
                column: {
                    "gain": round(ours[column] - theirs[column], 4),
                    "interval": summary(drawn[title][column] - drawn[part][column]),
                }
                for column in (*COLUMNS, "mean of shifts")
            }
    return result


def markdown(result: dict[str, Any]) -> str:
    """Tables of the scores and of the gains, in percent; gains whose interval lies above 0 are bold."""
    columns = (*COLUMNS, "mean of shifts")
    lines = [
        "| features | source validation | " + " | ".join(columns) + " |",
        "|" + "--|" * (len(columns) + 2),
    ]
    for title, means in result["scores"].items():
        cells = [f"{100 * means[name]:.1f}" for name in ("validation", *columns)]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "| combination | against | " + " | ".join(columns) + " |", "|" + "--|" * (len(columns) + 2)]
    for title, parts in result["gains"].items():
        for part, by_column in parts.items():
            cells = []
            for column in columns:
                gain, (low, high) = by_column[column]["gain"], by_column[column]["interval"]
                text = f"{100 * gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
                cells.append(f"**{text}**" if low > 0 else text)
            lines.append(f"| {title} | {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
