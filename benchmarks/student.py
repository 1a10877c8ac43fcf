"""How near a student is to its teacher, in its own domain and out of it, and what it saves.

    python benchmarks/student.py WORK [--only drawn] [--train 512] [--test 512] [--steps 700] [--json FILE]
    python benchmarks/student.py WORK --only real --videos FOLDER [--steps 500] [--json FILE]
    python benchmarks/student.py WORK --only pictures [--test 512] [--json FILE]

On the drawn world the teacher is `tiny`. One student learns from clips of the source, another one from as
many clips of random places, animals and views beside them; no labels. Heads of the demo's recipe, trained on
the teacher's features, predict test clips of the source's domain and of unseen species, contexts and views
(development targets) from the features of each. Intervals are those of resampled individuals and heads.

On a folder of real clips (`--videos`, each file a recording of its own but for copies of one clip) the
teacher is `lite0`, and the student is judged on held-out recordings. The head is lite0's own classifier of
1,000 things. The guard's distribution is fitted to the teacher's features of the clips that were learnt from.

Which clips lie outside by their pictures does not depend on the network of a student, so that `--only
pictures` needs no training: it gives the shares at the bound of the training's own pictures.

Windows of both networks are timed in turns, as `actiondiff distill` does. Files that an earlier call left in
WORK are used again.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from guard import auc
from scipy.stats import spearmanr

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.efficientnet import packaged_tensors
from actiondiff.backbones.student import Student
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.world.protocols import sample_specs
from actiondiff.builtin.world.world import FPS, render_clip
from actiondiff.datasets.table import read_table
from actiondiff.distillation.distill import distill
from actiondiff.distillation.lessons import Lessons
from actiondiff.distillation.nearness import compare_tokens
from actiondiff.distillation.options import DistillOptions
from actiondiff.distillation.pictures import NEAR, fit_pictures, unexplained_share
from actiondiff.evaluation.intervals import resample
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.token_space import fit_token_space
from actiondiff.provenance import environment
from actiondiff.types import FeatureKey, Features
from actiondiff.video.decode import iter_video
from actiondiff.video.windows import iter_windows
from actiondiff.video.write import write_video

COLUMNS = ("in-domain", "species", "context", "view")
VARIANTS = {"source": "source", "places": "source and as many random places"}
RESAMPLES = 1000
KEY = FeatureKey.of(20, 3)  # of `tiny`
SIZE = 64  # pixels


def statistics_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the tokens that a student learnt from."""
    student = load_backbone("student", weights=folder, device="cpu")
    assert isinstance(student, Student)
    state = student.parts[""].state_dict()
    return state["mean"].double().numpy(), state["deviation"].double().numpy()


def nearness(pairs: Sequence[tuple[Features, Features]], key: FeatureKey, folder: Path) -> dict[str, Any]:
    """How near the tokens of videos are."""
    mean, deviation = statistics_of(folder)
    tokens = [(ours[key], theirs[key]) for ours, theirs in pairs]
    values = compare_tokens(tokens, mean=mean, deviation=deviation).model_dump()
    return {name: round(value, 3) for name, value in values.items()}


def farness(
    pairs: Sequence[tuple[Features, Features]], key: FeatureKey, folder: Path
) -> dict[str, np.ndarray]:
    """Of each video the student's own distance, the unexplained share, and the correlation of its tokens."""
    mean, deviation = statistics_of(folder)
    tokens = [[((part[key] - mean) / deviation).ravel() for part in (ours, theirs)] for ours, theirs in pairs]
    return {
        "strangeness": np.array([float(ours.appearance.strangeness) for ours, _ in pairs]),  # type: ignore[union-attr,arg-type]
        "share": np.array([unexplained_share(ours[key], theirs[key], deviation) for ours, theirs in pairs]),
        "correlation": np.array([np.corrcoef(*both)[0, 1] for both in tokens]),
    }


def worth(distance: np.ndarray, far: dict[str, np.ndarray]) -> dict[str, float]:
    """How well a distance tells the videos on which a student is not near."""
    return {
        "rank correlation with the unexplained share": round(float(spearmanr(distance, far["share"])[0]), 3),
        "AUC of not near": round(auc(distance, far["share"] > NEAR), 3),
        "AUC of a correlation below 0.9": round(auc(distance, far["correlation"] < 0.9), 3),
    }


def interval(values: np.ndarray, groups: Sequence[str], seed: int) -> list[float]:
    """95 % interval of the mean of (heads, clips), of resampled individuals and heads."""
    weights = resample(list(groups), RESAMPLES, seed=seed)  # (R, N)
    shares = values @ weights.T / weights.sum(1)  # (heads, R)
    heads = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    means = shares[heads, np.arange(RESAMPLES)[:, None]].mean(1)
    return [round(float(bound), 3) for bound in np.quantile(means, (0.025, 0.975))]


def drawn_column(
    models: Sequence[ActionDiff],
    pairs: Sequence[tuple[Features, Features]],
    clips: pd.DataFrame,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Nearness, agreement and accuracy on the test clips of one column, and values of each clip."""
    labels, groups = clips.label.to_numpy(), [str(name) for name in clips.group]
    predictions = [
        [[model.classify(part, "clip") for part in both] for both in pairs] for model in models
    ]  # heads x clips x (student, teacher)
    names = np.array([[[each.label for each in both] for both in row] for row in predictions])
    same = (names[..., 0] == names[..., 1]).astype(float)
    right = (names == labels[None, :, None]).astype(float)  # (heads, clips, 2)
    checks = [[each.domain for each in both] for both in predictions[0]]  # the guard is that of all heads
    distances = np.array([[check.distances["features"] for check in both] for both in checks])  # type: ignore[union-attr]
    far = farness(pairs, KEY, folder)
    gap = right[..., 0] - right[..., 1]
    values = {
        **nearness(pairs, KEY, folder),
        "near": round(float((far["share"] <= NEAR).mean()), 3),
        "same label": round(float(same.mean()), 3),
        "same label, interval": interval(same, groups, 0),
        "accuracy student": round(float(right[..., 0].mean()), 3),
        "accuracy teacher": round(float(right[..., 1].mean()), 3),
        "accuracy student minus teacher": round(float(gap.mean()), 3),
        "accuracy student minus teacher, interval": interval(gap, groups, 0),
        "outside by the student's pictures": round(float((far["strangeness"] > 1).mean()), 3),
        "outside by the student's tokens": round(float((distances[:, 0] > 1).mean()), 3),
        "outside by the teacher's tokens": round(float((distances[:, 1] > 1).mean()), 3),
        "outside in all": round(float(np.mean([both[0].is_outside for both in checks])), 3),  # type: ignore[union-attr]
    }
    return values, {**far, "tokens": distances[:, 0]}


def draw(arguments: argparse.Namespace) -> Path:
    """Draw the clips, and as many of random places as there are of the source; return the table."""
    clips = arguments.work / "clips"
    path = clips / "table.csv"
    count, val = arguments.train, arguments.train // 4
    if not path.exists():
        write_menagerie(clips, train=count, val=val, test=arguments.test, seed=100, targets="development")
    if "places" not in arguments.variants:
        return path
    places = clips / "places"
    places.mkdir(exist_ok=True)
    for number, spec in enumerate(sample_specs("unlabelled", count + val, seed=100)):
        file = places / f"place_{number:04}.mp4"
        if not file.exists():
            write_video(file, render_clip(spec, height=SIZE, width=SIZE).pixels, fps=FPS)
    return path


def drawn(arguments: argparse.Namespace) -> dict[str, Any]:
    """The students on the drawn world."""
    work = arguments.work
    path = draw(arguments)
    clips = pd.read_csv(path)
    places = sorted((path.parent / "places").glob("*.mp4"))
    ad.extract_features(path, work / "teacher", backbone="tiny")
    if places:
        ad.extract_features(places, work / "teacher", backbone="tiny", root=path.parent)
    teacher = FeatureStore.open(work / "teacher")
    values = {
        "features.keys": [str(KEY)], "protocol.domain": "protocol", "protocol.source": ["source"],
        "seeds": arguments.seeds, "training.calibration_folds": 0,
    }  # fmt: skip
    if not (work / "runs" / "metrics.json").exists():
        ad.train(teacher, read_table(path), out=work / "runs", recipe=load_recipe("demo", values=values))
    models = [
        ActionDiff.from_pretrained(work / "runs" / f"seed-{seed}", lazy=True)
        for seed in range(arguments.seeds)
    ]
    source = clips[clips.protocol == "source"][["video", "label", "group"]]
    names = [file.relative_to(path.parent).as_posix() for file in places]
    further = pd.DataFrame({"video": names, "label": "none", "group": names})
    tables = {"source": source, "places": pd.concat([source, further])}
    results: dict[str, Any] = {}
    for variant in arguments.variants.split(","):
        table = path.with_name(f"lessons-{variant}.csv")
        tables[variant].to_csv(table, index=False)
        name = f"{variant}-{arguments.encoder}-{arguments.steps}"
        folder = work / f"student-{name}"
        options = DistillOptions(steps=arguments.steps, encoder=arguments.encoder, size=arguments.size)
        student = distill(
            work / "teacher", table, folder, options, timestep=KEY.timestep, layer=KEY.layer,
            device="cpu", report=print,
        )  # fmt: skip
        assert student is not None
        tests = clips[clips.protocol.isin(COLUMNS)].groupby("protocol", sort=False).head(arguments.test)
        tests.to_csv(path.with_name("tests.csv"), index=False)
        ad.extract_features(
            path.with_name("tests.csv"), work / f"features-{name}", backbone="student", weights=str(folder)
        )
        ours = FeatureStore.open(work / f"features-{name}")
        columns, parts = {}, []
        for column in COLUMNS:
            own = tests[tests.protocol == column]
            pairs = [(ours.read(video, KEY), teacher.read(video, KEY)) for video in own.video]
            columns[column], far = drawn_column(models, pairs, own, folder)
            parts.append(far)
            print(column, json.dumps(columns[column]), flush=True)
        far = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        results[name] = {
            "clips learnt from": len(tables[variant]),
            "columns": columns,
            "all columns": {
                "the student's pictures": worth(far["strangeness"], far),
                "the student's tokens": worth(far["tokens"], far),
            },
            "held out": student.nearness["held_out"].model_dump(),
            "reach": student.reach.model_dump() if student.reach else None,
            "work": student.work.model_dump(),
        }
    return results


def picture_windows(path: Path) -> np.ndarray:
    """Windows of a clip as the student of `tiny` sees them: (N, 8, 64, 64, 3) uint8."""
    windows = iter_windows(iter_video(path, stride=4), length=8, padding="black")
    return np.stack([frames.pixels for _, frames in windows])


def pictures(arguments: argparse.Namespace) -> dict[str, Any]:
    """Share of clips of each column whose pictures lie outside those of the source."""
    path = draw(arguments)
    clips = pd.read_csv(path)
    source = clips[clips.split == "train"]
    windows = [picture_windows(path.parent / video) for video in source.video]
    names = [str(group) for group, own in zip(source.group, windows, strict=True) for _ in own]
    count = len(names)
    lessons = Lessons(np.concatenate(windows), np.zeros((count, 8, 1), np.float32), np.ones((count, 8), bool))
    space = fit_pictures(lessons, names, tubelet=1)
    assert space is not None
    outside: dict[str, float] = {}
    for column in ("validation", *COLUMNS):
        is_own = clips.split == "val" if column == "validation" else clips.protocol == column
        distances = []
        for video in clips[is_own].head(arguments.test).video:
            pixels = torch.from_numpy(picture_windows(path.parent / video))
            scaled = pixels.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
            distances.append(float(space(scaled, torch.full((len(pixels),), 8)).mean()))
        outside[column] = round(float((np.array(distances) > 1).mean()), 3)
        print(column, outside[column], flush=True)
    return {
        "clips learnt from": len(source),
        "clips of a column, at most": arguments.test,
        "outside": outside,
    }


def recording(name: str) -> str:
    """The recording that a file is of: the four turns of one clip, and files cut short, are of one."""
    stem = Path(name).stem.removeprefix("made_truncated_").removeprefix("k400_").removeprefix("ucf101_")
    return re.sub(r"^(decord_video).*|^v?_?(Basketball).*", r"\1\2", stem)


def real(work: Path, videos: Path, steps: int) -> dict[str, Any]:
    """The student on real clips."""
    files = sorted(path for path in videos.iterdir() if path.suffix not in (".csv", ".md", ".json"))
    teacher_folder = work / "teacher-real"
    ad.extract_features(files, teacher_folder, backbone="lite0", root=videos)
    teacher = FeatureStore.open(teacher_folder)
    key = teacher.keys()[0]
    names = teacher.videos()
    weights = packaged_tensors().tensors("encoder", ["_fc.weight", "_fc.bias"])
    matrix, bias = weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()
    sides = {"held-out recordings": names}
    results: dict[str, Any] = {"videos": len(names)}
    for name, learnt in sides.items():
        folder = work / f"student-{name.replace(' ', '-')}"
        table = work / f"{folder.name}.csv"
        rows = pd.DataFrame({"video": learnt, "label": "none", "group": [recording(n) for n in learnt]})
        rows.to_csv(table, index=False)
        options = DistillOptions(steps=steps, held_out=0.25)
        student = distill(teacher_folder, table, folder, options, root=videos, device="cpu", report=print)
        assert student is not None
        store_folder = work / f"features-{folder.name}"
        ad.extract_features(files, store_folder, backbone="student", weights=str(folder), root=videos)
        store = FeatureStore.open(store_folder)
        settings = json.loads((folder / "training" / "settings.json").read_text("utf-8"))
        identities = {video: row.identity for video in names if (row := teacher.row(video))}
        trained = [video for video in learnt if identities[video] in settings["train"]]
        held_out = [video for video in learnt if identities[video] in settings["held_out"]]
        space = fit_token_space(
            np.stack([teacher.read(video, key)[key].mean(0, dtype=np.float64) for video in trained]),
            [recording(video) for video in trained],
        )
        assert space is not None
        groups = {"learnt from": trained, "held out": held_out}
        results[name] = {"work": student.work.model_dump()}
        parts: list[dict[str, np.ndarray]] = []
        for side, chosen in groups.items():
            tokens = [[s.read(video, key)[key] for video in chosen] for s in (store, teacher)]
            frames = [np.concatenate([(t @ matrix.T + bias).argmax(1) for t in part]) for part in tokens]
            wholes = [np.array([(t.mean(0) @ matrix.T + bias).argmax() for t in part]) for part in tokens]
            means = [np.stack([t.mean(0, dtype=np.float64) for t in part]) for part in tokens]
            outside = [round(float((space.distances(part) > 1).mean()), 3) for part in means]
            pairs = [(store.read(video, key), teacher.read(video, key)) for video in chosen]
            parts.append({**farness(pairs, key, folder), "tokens": space.distances(means[0])})
            results[name][side] = {
                **nearness(pairs, key, folder),
                "near": round(float((parts[-1]["share"] <= NEAR).mean()), 3),
                "outside by the student's pictures": round(float((parts[-1]["strangeness"] > 1).mean()), 3),
                "same class of a frame": round(float((frames[0] == frames[1]).mean()), 3),
                "same class of a clip": round(float((wholes[0] == wholes[1]).mean()), 3),
                "outside by the student's tokens": outside[0],
                "outside by the teacher's tokens": outside[1],
            }
        far = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
        results[name]["all"] = {
            "the student's pictures": worth(far["strangeness"], far),
            "the student's tokens": worth(far["tokens"], far),
        }
        results[name]["reach"] = student.reach.model_dump() if student.reach else None
        print(json.dumps(results[name], indent=2), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features, runs and students")
    parser.add_argument("--videos", type=Path, help="folder of real clips")
    parser.add_argument("--train", type=int, default=512, help="number of training clips of the drawn world")
    parser.add_argument("--test", type=int, default=512, help="number of test clips of each column")
    parser.add_argument("--steps", type=int, default=700, help="training steps of each student")
    parser.add_argument("--seeds", type=int, default=3, help="heads")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="what students learn from")
    parser.add_argument("--encoder", default="small", choices=["small", "lite0"])
    parser.add_argument("--size", type=int, help="height and width of the student's frames")
    parser.add_argument("--only", choices=["drawn", "real", "pictures"], help="leave out the other parts")
    parser.add_argument("--json", type=Path, help="file that the figures are added to")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if arguments.json and arguments.json.exists():  # of the other part
        results = json.loads(arguments.json.read_text("utf-8"))["results"]
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.only in (None, "pictures"):
        results["pictures"] = pictures(arguments)
    if arguments.only in (None, "drawn"):
        results["drawn"] = results.get("drawn", {}) | drawn(arguments)
    if arguments.videos and arguments.only in (None, "real"):
        results["real"] = real(arguments.work, arguments.videos, arguments.steps)
    print(json.dumps(results, indent=2))
    if arguments.json:
        content = {
            "train": arguments.train,
            "test": arguments.test,
            "results": results,
            "environment": environment(),
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
