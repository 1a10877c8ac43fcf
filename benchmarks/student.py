"""How near a student is to its teacher, in its own domain and out of it, and what it saves.

    python benchmarks/student.py WORK [--videos FOLDER] [--json FILE]

On the drawn world the teacher is `tiny`, and the student learns from clips of the source, without labels. A
head that was trained on the teacher's features predicts the test clips, of the source's domain and of unseen
species, contexts and views (development targets), from the features of each.

On a folder of real clips (`--videos`, each file a recording of its own but for copies of one clip) the
teacher is `lite0`, and the student is judged on held-out recordings. The head is lite0's own classifier of
1,000 things. The guard's distribution is fitted to the teacher's features of the clips that were learnt from.

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
from guard import auc

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.efficientnet import packaged_tensors
from actiondiff.backbones.student import Student
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.distillation.distill import distill
from actiondiff.distillation.nearness import compare_predictions, compare_tokens
from actiondiff.distillation.options import DistillOptions
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.token_space import fit_token_space
from actiondiff.provenance import environment
from actiondiff.types import FeatureKey

COLUMNS = ("in-domain", "species", "context", "view")


def statistics_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the tokens that a student learnt from."""
    student = load_backbone("student", weights=folder, device="cpu")
    assert isinstance(student, Student)
    state = student.parts[""].state_dict()
    return state["mean"].double().numpy(), state["deviation"].double().numpy()


def nearness(
    student: FeatureStore, teacher: FeatureStore, videos: Sequence[str], key: FeatureKey, folder: Path
) -> dict[str, Any]:
    """How near the tokens of videos are."""
    mean, deviation = statistics_of(folder)
    pairs = [(student.read(video, key)[key], teacher.read(video, key)[key]) for video in videos]
    values = compare_tokens(pairs, mean=mean, deviation=deviation).model_dump()
    return {name: round(value, 3) for name, value in values.items()}


def drawn_column(
    model: ActionDiff, student: FeatureStore, teacher: FeatureStore, clips: pd.DataFrame, folder: Path
) -> dict[str, Any]:
    """Nearness, agreement and accuracy on the test clips of one column."""
    key = model.config.feature_keys[0]
    videos = list(clips.video)
    pairs = [(video, student.read(video, key), teacher.read(video, key)) for video in videos]
    agreement, predictions = compare_predictions(model, pairs)
    same = np.array([ours.label == theirs.label for ours, theirs in predictions])
    labels = clips.label.to_numpy()
    right = [np.array([both[side].label for both in predictions]) == labels for side in (0, 1)]
    distances = np.array([ours.domain.distance for ours, _ in predictions])  # type: ignore[union-attr]
    return {
        **nearness(student, teacher, videos, key, folder),
        "same label": round(agreement.same_label, 3),
        "probabilities differ by": round(agreement.difference, 3),
        "accuracy student": round(float(right[0].mean()), 3),
        "accuracy teacher": round(float(right[1].mean()), 3),
        "outside student": agreement.student_outside,
        "outside teacher": agreement.teacher_outside,
        "AUC of the guard for another label": round(auc(distances, ~same), 3),
        "AUC of the guard for a wrong label": round(auc(distances, ~right[0]), 3),
    }


def drawn(work: Path, num_train: int, num_test: int, steps: int) -> dict[str, Any]:
    """The student on the drawn world."""
    path = work / "clips" / "table.csv"
    if not path.exists():
        write_menagerie(
            work / "clips",
            train=num_train,
            val=num_train // 4,
            test=num_test,
            seed=100,
            targets="development",
        )
    clips = pd.read_csv(path)
    ad.extract_features(path, work / "teacher", backbone="tiny")
    values = {"protocol.domain": "protocol", "protocol.source": ["source"]}
    ad.train(
        work / "teacher", read_table(path), out=work / "run", recipe=load_recipe("own-videos", values=values)
    )
    model = ActionDiff.from_pretrained(work / "run", lazy=True)
    lessons, folder = clips[clips.protocol == "source"], work / "student"
    table = path.with_name("lessons.csv")
    lessons.to_csv(table, index=False)
    options = DistillOptions(steps=steps)
    student = distill(work / "teacher", table, folder, options, device="cpu", report=print)
    assert student is not None
    ad.extract_features(path, work / "features", backbone="student", weights=str(folder))
    ours, theirs = FeatureStore.open(work / "features"), FeatureStore.open(work / "teacher")
    return {
        "clips learnt from": len(lessons),
        "columns": {
            column: drawn_column(model, ours, theirs, clips[clips.protocol == column], folder)
            for column in COLUMNS
        },
        "held out": student.nearness["held_out"].model_dump(),
        "work": student.work.model_dump(),
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
        for side, chosen in groups.items():
            tokens = [[s.read(video, key)[key] for video in chosen] for s in (store, teacher)]
            frames = [np.concatenate([(t @ matrix.T + bias).argmax(1) for t in part]) for part in tokens]
            wholes = [np.array([(t.mean(0) @ matrix.T + bias).argmax() for t in part]) for part in tokens]
            means = [np.stack([t.mean(0, dtype=np.float64) for t in part]) for part in tokens]
            outside = [round(float((space.distances(part) > 1).mean()), 3) for part in means]
            results[name][side] = {
                **nearness(store, teacher, chosen, key, folder),
                "same class of a frame": round(float((frames[0] == frames[1]).mean()), 3),
                "same class of a clip": round(float((wholes[0] == wholes[1]).mean()), 3),
                "outside student": outside[0],
                "outside teacher": outside[1],
            }
        print(json.dumps(results[name], indent=2), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features, runs and students")
    parser.add_argument("--videos", type=Path, help="folder of real clips")
    parser.add_argument("--train", type=int, default=192, help="number of training clips of the drawn world")
    parser.add_argument("--test", type=int, default=128, help="number of test clips of each column")
    parser.add_argument("--steps", type=int, default=1000, help="training steps of each student")
    parser.add_argument("--only", choices=["drawn", "real"], help="leave out the other part")
    parser.add_argument("--json", type=Path, help="file that the figures are added to")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if arguments.json and arguments.json.exists():  # of the other part
        results = json.loads(arguments.json.read_text("utf-8"))["results"]
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.only != "real":
        results["drawn"] = drawn(arguments.work, arguments.train, arguments.test, arguments.steps)
    if arguments.videos and arguments.only != "drawn":
        results["real"] = real(arguments.work, arguments.videos, arguments.steps)
    print(json.dumps(results, indent=2))
    if arguments.json:
        content = {
            "train": arguments.train, "test": arguments.test, "steps": arguments.steps, "results": results,
            "environment": environment(),
        }  # fmt: skip
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
