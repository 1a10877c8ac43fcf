"""Distillation from start to end: lessons, training, and the student that is written."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actiondiff import outputs
from actiondiff.backbones.base import Backbone, check_device, find_spec, load_backbone
from actiondiff.backbones.efficientnet import packaged_tensors
from actiondiff.backbones.student import (
    CONFIG,
    WEIGHTS,
    Student,
    StudentConfig,
    save_student,
)
from actiondiff.backbones.student_network import SIDE_MULTIPLE, StudentArchitecture, StudentNetwork
from actiondiff.distillation.card import student_card
from actiondiff.distillation.learning import start_network, token_loss
from actiondiff.distillation.lessons import FILES, Lessons, covered_frames, windows_of, write_lessons
from actiondiff.distillation.nearness import (
    Agreement,
    Nearness,
    WorkOfWindow,
    check_model,
    compare_predictions,
    compare_tokens,
    measure_work,
    student_features,
)
from actiondiff.distillation.options import DistillOptions
from actiondiff.distillation.pictures import (
    Reach,
    fit_pictures,
    measure_reach,
    near_bound,
    scale_bound,
    unexplained_share,
)
from actiondiff.distillation.recordings import Recordings, choose_key, find_recordings
from actiondiff.errors import RunError, UsageError
from actiondiff.extraction.plan import VideoInputs
from actiondiff.features.store import FeatureStore
from actiondiff.inference.model import ActionDiff
from actiondiff.provenance import check_own_folder, differences, environment, write_text
from actiondiff.training.stage import Deadline, TrainingStage, step_generator
from actiondiff.types import DoubleArray, FeatureKey, Features, Progress, Sampling

__all__ = ["NEARNESS", "Distilled", "distill"]

NEARNESS = "nearness.json"
_CARD = "README.md"
_TRAINING = "training"  # folder of what is only needed until the student is written
_SETTINGS = "settings.json"
_STAGE = "student"
_NAMES = (  # but the log, to which lines are appended
    *(CONFIG, WEIGHTS, NEARNESS, _CARD),
    *(f"{_TRAINING}/{name}" for name in (_SETTINGS, *FILES, f"{_STAGE}.state", CONFIG, WEIGHTS)),
)
_WARMUP = 50  # steps
Report = Callable[[str], None]


@dataclass(frozen=True)
class Distilled:
    """A finished student.

    Attributes:
        folder: Its folder.
        nearness: `held_out` and `train` -> how near its tokens are to the teacher's.
        work: What a window costs.
        agreement: Agreement of a head's predictions on held-out recordings; None without a model.
        reach: Which held-out recordings the student itself places outside; None if it cannot tell.
    """

    folder: Path
    nearness: dict[str, Nearness]
    work: WorkOfWindow
    agreement: Agreement | None
    reach: Reach | None = None


def distill(
    store: str | os.PathLike[str],
    videos: VideoInputs,
    out: str | os.PathLike[str],
    options: DistillOptions | None = None,
    *,
    timestep: int | None = None,
    layer: int | str | None = None,
    model: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    root: str | os.PathLike[str] | None = None,
    device: str = "auto",
    minutes: float | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
    progress: Progress | None = None,
) -> Distilled | None:
    """Teach a small network the features of a store, on unlabelled videos.

    A call that was interrupted continues where it stopped, with the same bits on the CPU.

    Args:
        store: Feature store of the teacher.
        videos: The videos that the features are of: files, folders, or a table, whose column `group` names
            recordings.
        out: Folder of the student; created if it does not exist.
        options: Options of the distillation.
        timestep: Timestep of the feature to learn; may be left out if the store has one feature only.
        layer: Layer of the feature to learn; likewise.
        model: Folder of a model that was trained on the teacher's feature. Its predictions from the features
            of both are then compared on the held-out recordings.
        weights: Checkpoint of the teacher, if it needs one; only to time the teacher.
        root: Folder that the names of videos start at.
        device: Device to train on.
        minutes: Minutes after which to stop for now; None trains to the end.
        overwrite: Whether files that this did not write, or that were changed since, may be replaced.
        report: Called with a line of progress from time to time.
        progress: Called as videos are read.

    Returns:
        The student; None if the time was over before the training was complete.

    Raises:
        UsageError: If something does not fit together, or the folder holds something else.
        RunError: If the folder holds another distillation, or the loss is no longer finite.
        StoreError: If there is no store, or its features are not those of the videos.
    """
    options, folder = options or DistillOptions(), Path(out)
    # Refuse what cannot be done before anything is computed.
    _check_options(options, device)
    teacher_store = FeatureStore.open(store)
    key = choose_key(teacher_store, timestep, layer)
    judge = ActionDiff.from_pretrained(model, lazy=True, device=device) if model is not None else None
    if judge is not None:
        check_model(judge.config, teacher_store, key)
    recordings = find_recordings(
        teacher_store, videos, key, held_out=options.held_out, seed=options.seed, root=root
    )
    if recordings.without_features:
        report(
            f"{len(recordings.without_features)} videos without features in {store} are left out, among them "
            f"{recordings.without_features[0]}."
        )
    check_own_folder(folder, "student", [CONFIG, _TRAINING], error=UsageError, option="-o")
    with outputs.claim(folder, "distill", _NAMES, overwrite=overwrite):
        run = _Run(folder, teacher_store, key, recordings, options, device)
        if not run.train(Deadline(minutes), report, progress):
            return None
        return run.finish(judge, weights)


def _check_options(options: DistillOptions, device: str) -> None:
    check_device(device)
    multiple = SIDE_MULTIPLE[options.encoder]
    if options.side % multiple:
        raise UsageError(
            f"size of the encoder {options.encoder} is a multiple of {multiple}; got {options.side}."
        )
    if options.encoder == "lite0":
        packaged_tensors()  # an error if the extra is not installed


class _Run:
    """A distillation in a folder.

    Args:
        folder: The folder.
        store: Store of the teacher's features.
        key: The feature to learn.
        recordings: Videos to learn from and to be judged on.
        options: Options of the distillation.
        device: Device to train on.

    Raises:
        RunError: If the folder holds another distillation.
    """

    def __init__(
        self,
        folder: Path,
        store: FeatureStore,
        key: FeatureKey,
        recordings: Recordings,
        options: DistillOptions,
        device: str,
    ) -> None:
        self.folder, self.store, self.key = folder, store, key
        self.recordings, self.options = recordings, options
        self.device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else
                                   "cpu" if device == "auto" else device)  # fmt: skip
        self.training = folder / _TRAINING
        self.config = self._make_config()
        self._check_settings()

    def _make_config(self) -> StudentConfig:
        """The config of the student, which the teacher's settings and features decide."""
        settings: Any = self.store.settings["backbone"]
        sampling: Any = self.store.settings["sampling"]
        first = self.store.load(self.recordings.train[0].identity, [self.key])
        length, padding = int(settings["window"]), settings["padding"]
        tubelet = None
        for video in self.recordings.train:
            features = self.store.load(video.identity, [self.key])
            windows = list(
                _first(windows_of(video, Sampling.from_settings(sampling), length=length, padding=padding))
            )
            tubelet = covered_frames(windows, features)
            if tubelet is not None:
                break
        return StudentConfig(
            architecture=StudentArchitecture(
                encoder=self.options.encoder,
                token_width=first.tokens[self.key].shape[1],
                tubelet=tubelet or length,  # where no video has a second token
            ),
            teacher=settings,
            sampling=sampling,
            key=str(self.key),
            num_timesteps=max(find_spec(settings["name"]).num_timesteps, self.key.timestep + 1),
            height=self.options.side,
            width=self.options.side,
            window=length,
            padding=padding,
            fit=settings.get("fit") or "squash",
        )

    def _check_settings(self) -> None:
        """Write what this distillation is, or make sure that the folder holds the same one."""
        settings = {
            "options": self.options.model_dump(),
            "student": self.config.model_dump(mode="json"),
            "store": self.store.fingerprint,
            "train": [video.identity for video in self.recordings.train],
            "held_out": [video.identity for video in self.recordings.held_out],
        }
        path = self.training / _SETTINGS
        if not path.exists():
            write_text(path, json.dumps(settings, indent=2) + "\n")
            return
        try:
            stored = dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunError(f"{path} is damaged ({type(error).__name__}). Give another folder (-o).") from None
        changed = differences(settings, stored)
        if changed:
            raise RunError(
                f"{self.folder} holds another distillation: {', '.join(changed)} differ. Give another folder "
                "(-o), or the same options, store and videos."
            )

    # -- training --------------------------------------------------------------------------------------

    def train(self, deadline: Deadline, report: Report, progress: Progress | None) -> bool:
        """Continue until the training is complete or the deadline has passed; True if it is complete."""
        if (self.folder / CONFIG).exists():
            report(f"{self.folder} holds the finished student of this distillation already.")
            return True
        lessons = (
            Lessons.open(self.training)
            if Lessons.is_at(self.training)
            else write_lessons(self.training, self.store, self.recordings.train, self.config, progress)
        )
        network = start_network(self.config.architecture, lessons, seed=self.options.seed).to(self.device)
        stage = TrainingStage(
            _STAGE, self.training, network, self.options.steps, self.options.learning_rate,
            min(_WARMUP, self.options.steps), decay=True,
        )  # fmt: skip
        if not stage.run(
            partial(self._batches, lessons), partial(token_loss, lessons, network), deadline, report
        ):
            return False
        self._save(network, lessons)
        return True

    def _save(self, network: StudentNetwork, lessons: Lessons) -> None:
        """Write the student, with the pictures that it learnt from and how far from these it is near."""
        names = [
            video.recording
            for video in self.recordings.train
            for _ in range(self.store.load(video.identity, [self.key]).num_windows)
        ]
        tubelet = self.config.architecture.tubelet
        network.pictures = fit_pictures(lessons, names, tubelet=tubelet)
        config = self.config
        if network.pictures is not None:
            architecture = config.architecture.model_copy(update={"pictures": True})
            config = config.model_copy(update={"architecture": architecture})
            # Held-out videos take the same road as any other, so the student is written aside for that.
            save_student(self.training, network, config)
            student = load_backbone("student", weights=self.training, device=str(self.device))
            distances, shares = [], []
            for features, share in self._judged(student, network.deviation.cpu().double().numpy()):
                assert features.appearance is not None
                assert features.appearance.strangeness is not None
                distances.append(features.appearance.strangeness)
                shares.append(share)
            scale_bound(network.pictures, near_bound(distances, shares))
        save_student(self.folder, network, config)

    def _judged(self, student: Backbone, deviation: DoubleArray) -> Iterator[tuple[Features, float]]:
        """Features of held-out videos, and their unexplained shares; if there are many, of some."""
        videos = self.recordings.held_out
        chosen = np.linspace(0, len(videos) - 1, min(len(videos), _MOST_HELD_OUT)).round().astype(int)
        sampling = Sampling.from_settings(self.config.sampling)
        for video, ours in student_features(student, [videos[i] for i in chosen], self.key, sampling):
            theirs = self.store.load(video.identity, [self.key]).tokens[self.key]
            yield ours, unexplained_share(ours.tokens[self.key], theirs, deviation)

    def _batches(self, lessons: Lessons, steps: range) -> Iterable[Tensor]:
        """Numbers of the windows of each step."""
        for step in steps:
            random = step_generator(self.options.seed, _STAGE, step)
            yield torch.randint(len(lessons.windows), (self.options.batch,), generator=random)

    # -- what is written -------------------------------------------------------------------------------

    def finish(self, judge: ActionDiff | None, weights: str | Path | None) -> Distilled:
        """Judge the student that was written, write its card, and remove what only the training needed."""
        student = load_backbone("student", weights=self.folder, device=str(self.device))
        assert isinstance(student, Student)
        sampling = Sampling.from_settings(self.config.sampling)
        tensors = student.parts[""].state_dict()
        mean, deviation = (tensors[name].cpu().double().numpy() for name in ("mean", "deviation"))
        sides = {"held_out": self.recordings.held_out, "train": self.recordings.train[:_MOST_JUDGED]}
        nearness: dict[str, Nearness] = {}
        agreement, reach = None, None
        for side, videos in sides.items():
            both = [
                (video.name, ours, self.store.load(video.identity, [self.key]))
                for video, ours in student_features(student, videos, self.key, sampling)
            ]
            pairs = [(ours.tokens[self.key], theirs.tokens[self.key]) for _, ours, theirs in both]
            nearness[side] = compare_tokens(pairs, mean=mean, deviation=deviation)
            if side == "held_out":
                shares = [unexplained_share(*pair, deviation) for pair in pairs]
                reach = measure_reach(
                    [(ours, share) for (_, ours, _), share in zip(both, shares, strict=True)]
                )
            if side == "held_out" and judge is not None:
                agreement, _ = compare_predictions(judge, both)
        work = measure_work(student, self.recordings.held_out[0], self.key, sampling, teacher_weights=weights)
        num_recordings = tuple(
            len({video.recording for video in videos})
            for videos in (self.recordings.train, self.recordings.held_out)
        )
        fields = {
            "nearness": {side: values.model_dump() for side, values in nearness.items()},
            "agreement": agreement.model_dump() if agreement else None,
            "reach": reach.model_dump() if reach else None,
            "work": work.model_dump(),
            "recordings": dict(zip(("train", "held_out"), num_recordings, strict=True)),
            "options": self.options.model_dump(),
            "environment": environment(),
        }
        write_text(self.folder / NEARNESS, json.dumps(fields, indent=2) + "\n")
        card = student_card(
            self.config, nearness, work, agreement, reach,
            num_recordings=(num_recordings[0], num_recordings[1]), options=self.options.model_dump(),
        )  # fmt: skip
        write_text(self.folder / _CARD, card)
        for name in (*FILES, f"{_STAGE}.state", CONFIG, WEIGHTS):  # large, and a pickle; all of this command
            (self.training / name).unlink(missing_ok=True)
        return Distilled(self.folder, nearness, work, agreement, reach)


_MOST_HELD_OUT = 200  # videos, from which the bound is found
_MOST_JUDGED = 50  # videos that were learnt from, whose nearness is given beside that of held-out ones


def _first(windows: Iterable[Any]) -> Iterable[Any]:
    """The first window alone."""
    for window in windows:
        yield window
        return
