"""Training on with the corrected bouts of an opened folder, and the comparison of both models."""

import copy
import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from actiondiff.app.corrections import Correction
from actiondiff.app.opened_folder import OpenedFolder
from actiondiff.datasets.base import Table
from actiondiff.datasets.packing import PackedFeatures, join, pack
from actiondiff.errors import ActionDiffError, UsageError
from actiondiff.experiments.warm_start import load_recipe_of_run
from actiondiff.features.joined import further_stores
from actiondiff.heads.bundle import save_bundle
from actiondiff.heads.predict import predict_probabilities
from actiondiff.inference.folders import CARD
from actiondiff.inference.guard import Guard, save_guard
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_text
from actiondiff.training.fit import fit
from actiondiff.training.loop import EpochRow
from actiondiff.training.options import TrainingOptions
from actiondiff.types import JSON, Example

__all__ = ["Retraining", "assign_sides", "corrected_spans"]

_BACKGROUND = "background"
_MIN_SHARE = 0.5  # of a span that a label covers
_MIN_SPANS = 4
_STEPS = 300  # of the optimiser, at least
_SIDES = "sides.json"  # beside the models
_log = logging.getLogger(__name__)
Side: TypeAlias = Literal["train", "test"]


def corrected_spans(
    correction: Correction, timeline: Timeline, labels: Sequence[str], *, split: Side
) -> list[Example]:
    """Cut the judged part of a video into labelled spans, as long as those that scores are computed from.

    A span has the labels that cover at least half of it. One without any is background, if the model has
    that label, and is left out otherwise.

    Args:
        correction: The bouts, and which part of the video was judged.
        timeline: The model's timeline of the video.
        labels: All labels of the model.
        split: Side of the spans.
    """
    length = timeline.options.span_seconds or timeline.end_seconds
    begin = float(timeline.seconds[0])
    spans = []
    for n in range(max(1, int((timeline.end_seconds - begin) / length + 1e-9))):
        start, end = begin + n * length, min(begin + (n + 1) * length, timeline.end_seconds)
        middle = (start + end) / 2
        if not correction.done and not any(a <= middle < b for a, b in correction.checked):
            continue
        covered: dict[str, float] = {}
        for bout in correction.bouts:
            overlap = min(end, bout.end_seconds) - max(start, bout.start_seconds)
            covered[bout.label] = covered.get(bout.label, 0.0) + max(0.0, overlap)
        own = [label for label in labels if covered.get(label, 0.0) >= _MIN_SHARE * (end - start)]
        if timeline.activation == "softmax":
            own = sorted(own, key=lambda label: -covered[label])[:1]
        if not own and _BACKGROUND in labels:
            own = [_BACKGROUND]
        if own:
            spans.append(
                Example(
                    video=correction.video,
                    labels=tuple(own),
                    start_seconds=start,
                    end_seconds=end,
                    split=split,
                )
            )
    return spans


@dataclass
class Retraining:
    """The last training run that the page was asked for.

    Attributes:
        opened: The opened folder.
        run: Folder of the run that the page began with.
        name: Name of the model in use.
        status: Whether it is running, done or failed.
        message: What happens or happened, in words.
        rows: What is compared: its name, the value before and the value after.
    """

    opened: OpenedFolder
    run: Path
    name: str
    status: Literal["idle", "running", "done", "failed"] = "idle"
    message: str = ""
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    _models: dict[str, tuple[ActionDiff, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self) -> dict[str, JSON]:
        """What the page shows."""
        choices = [("new", "Use the new model"), ("old", "Use the model before")] if self._models else []
        usable: list[JSON] = [list(choice) for choice in choices if self._models[choice[0]][1] != self.name]
        rows: list[JSON] = [list(row) for row in self.rows]
        return {
            "status": self.status, "message": self.message, "rows": rows, "choices": usable,
            "model": self.name,
        }  # fmt: skip

    def start(self) -> None:
        """Begin to train, in a thread.

        Raises:
            UsageError: If a training run is going on, or too little was corrected.
        """
        with self._lock:
            if self.status == "running":
                raise UsageError("A training run is going on; wait until it has ended.")
            table, test = self._tables()
            self.status, self.rows, self.message = "running", [], "Training ..."
        threading.Thread(target=self._train, args=(table, test), daemon=True).start()

    def use(self, which: str) -> None:
        """Predict with the new model, or with the one before.

        Raises:
            UsageError: If there is none.
        """
        if self.status == "running" or which not in self._models:
            raise UsageError("There is no other model; train one first.")
        model, self.name = self._models[which]
        with self.opened.work_lock:
            self.opened.use(model)

    def _tables(self) -> tuple[Table, Table]:
        """The corrected spans of all videos, and those that are kept for the comparison."""
        timelines = self.opened.timelines
        corrections = [item for item in self.opened.corrections.all if item.video in timelines]
        labels = self.opened.model.labels
        path = self.opened.corrections.folder / "models" / _SIDES
        # The individuals of a video are on one side.
        sources = {video.name: video.subject.video for video in self.opened.videos}
        corrected = list(dict.fromkeys(sources[item.video] for item in corrections))
        sides = assign_sides(corrected, _read_sides(path))
        spans = [
            span
            for item in corrections
            for span in corrected_spans(item, timelines[item.video], labels, split=sides[sources[item.video]])
        ]
        num_train = sum(span.split == "train" for span in spans)
        if num_train < _MIN_SPANS:
            raise UsageError(
                f"There are {num_train} judged stretches to train on, and {_MIN_SPANS} are needed. Judge "
                "more stretches of the queue, or mark whole videos as done."
            )
        write_text(path, json.dumps(sides, indent=1) + "\n")
        source = self.opened.corrections.folder
        root = self.opened.folder.resolve()
        held = tuple(span for span in spans if span.split == "test")
        return (
            Table(source, root, tuple(spans), tuple(labels)), Table(source, root, held, tuple(labels))
        )  # fmt: skip

    def _train(self, table: Table, test: Table) -> None:
        try:
            with self.opened.work_lock:
                self._compare(table, test)
            self.status = "done"
        except (ActionDiffError, OSError) as error:
            self.status, self.message = "failed", f"Training failed: {error}"
        except Exception:
            _log.exception("the page met an unexpected error")
            self.status, self.message = "failed", "An unexpected error occurred; the program's log says more."

    def _compare(self, table: Table, test: Table) -> None:
        opened, before = self.opened, self.opened.model
        if before.config.backgrounds is not None:
            raise UsageError(
                "this model takes the background of cameras away, which this page cannot do for stretches of "
                "videos; add them to the table and use `actiondiff train --continue`."
            )
        out = _free_folder(opened.corrections.folder / "models")
        packed = self._pack([example for example in table.examples if example.split == "train"])
        options = _enough_steps(load_recipe_of_run(self.run).training, len(packed))

        def note(row: EpochRow) -> None:
            self.message = f"Training: epoch {int(row['epoch'])} of {options.epochs}."

        head = copy.deepcopy(before.head)
        fit(
            head, packed, None, options,
            activation=before.config.activation, seed=0, folder=out, device="cpu", measure=False,
            progress=note,
        )  # fmt: skip
        counts = [int(count) for count in packed.targets.sum(0).tolist()]
        config = before.config.replaced(num_train_clips=len(packed), train_label_counts=counts)
        guard = self._widened_guard(before, [e.video for e in table.examples if e.split == "train"])
        if guard is not None:
            save_guard(out, guard)
        save_bundle(out, head, config)
        write_text(out / CARD, _card(self.run, len(packed)))
        after = before.with_head(head, config, guard)
        if test.examples:
            clips = self._pack(test.examples)
            name = "Stretches that are right, in videos kept out"
            self.rows.append((name, _right(before, clips), _right(after, clips)))
        timelines = [
            [opened.predict(model, video) for video in opened.videos if video.timeline]
            for model in (before, after)
        ]
        num_bouts = [sum(len(timeline.bouts) for timeline in own) for own in timelines]
        self.rows.append(("Bouts in all videos", str(num_bouts[0]), str(num_bouts[1])))
        budgets = [_budget(ts) for ts in timelines]
        self.rows += [
            (f"{label}, in all videos", f"{budgets[0][label]:.1f} s", f"{budgets[1][label]:.1f} s")
            for label in opened.labels
        ]
        compared = (
            f"{len(test)} stretches of other corrected videos were kept out of it, to compare."
            if test.examples
            else "Correct a second video, and the page can say whether the new model is better."
        )
        self.message = f"Trained on {len(packed)} stretches. {compared} The new model is in {out}."
        self._models = {"old": (before, self.name), "new": (after, out.name)}

    def _widened_guard(self, model: ActionDiff, videos: Sequence[str]) -> Guard | None:
        """The model's guard, for which the videos that were trained on now are like the training videos."""
        if model.guard is None:
            return None
        root = self.opened.folder.resolve()
        features = [self.opened.cache.load(root / video) for video in sorted(set(videos))]
        return model.guard.widened(
            [(one, model.config.tokens_of(one)) for one in features if one is not None]
        )

    def _pack(self, examples: Sequence[Example]) -> PackedFeatures:
        opened, root = self.opened, self.opened.folder.resolve()
        parts: dict[tuple[Path, ...], list[Example]] = {}  # those of other frame rates have their own stores
        stores = {example.video: opened.cache.joined_store_of(root / example.video) for example in examples}
        for example in examples:
            store = stores[example.video]
            folders = (store.folder, *(other.folder for other in further_stores(store).values()))
            parts.setdefault(folders, []).append(example)
        packs = [
            pack(
                stores[part[0].video], part, opened.model.config.feature_keys, opened.model.labels, root=root
            )
            for part in parts.values()
        ]
        return packs[0] if len(packs) == 1 else join(packs)


def assign_sides(videos: Sequence[str], before: Mapping[str, Side]) -> dict[str, Side]:
    """Say which corrected videos are trained on, and which are kept for the comparison: every third one.

    A video stays on its side, because a model that was trained on it would be flattered by a test with it.

    Args:
        videos: The corrected videos.
        before: Sides of videos in earlier training runs.
    """
    sides = dict(before)
    for video in videos:
        if video not in sides:
            tested = sum(side == "test" for side in sides.values())
            is_due = tested < (len(sides) + 1) // 3 or (len(videos) == 2 and len(sides) == 1 and not tested)
            sides[video] = "test" if is_due else "train"
    return sides


def _read_sides(path: Path) -> dict[str, Side]:
    """The sides of earlier training runs; none if there were none.

    Raises:
        UsageError: If the file is damaged.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        return {str(video): "test" if side == "test" else "train" for video, side in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError):
        raise UsageError(
            f"{path} is damaged, which says on which videos earlier models were trained. Restore it, or "
            "move the folder of these models away."
        ) from None


def _enough_steps(options: TrainingOptions, num_clips: int) -> TrainingOptions:
    """The run's options, with as many epochs as give a few hundred steps."""
    steps = math.ceil(num_clips / options.batch_size)
    epochs = max(options.warmup_epochs + 1, math.ceil(_STEPS / steps))
    return options.model_copy(update={"epochs": epochs, "metric": "last"})


def _card(run: Path, num_clips: int) -> str:
    return (
        f"# A head that was trained on\n\nThe head of {run} was trained on with {num_clips} stretches that "
        "were corrected by hand on the page of `actiondiff app`. Thresholds and temperature are those of the "
        "model before.\n"
    )


def _free_folder(folder: Path) -> Path:
    """The first folder `trained-1`, `trained-2` ... that does not exist."""
    n = 1
    while (folder / f"trained-{n}").exists():
        n += 1
    return folder / f"trained-{n}"


def _right(model: ActionDiff, clips: PackedFeatures) -> str:
    """How many clips have exactly the labels that the model gives them."""
    values = predict_probabilities(model.head, clips, model.config.activation)
    targets = clips.targets.numpy() > 0
    if model.config.activation == "softmax":
        correct = targets[np.arange(len(values)), values.argmax(1)]
    else:
        limits = np.array([model.config.thresholds.get(label, 0.5) for label in model.labels])
        correct = ((values >= limits) == targets).all(1)
    return f"{int(correct.sum())} of {len(correct)}"


def _budget(timelines: Sequence[Timeline]) -> dict[str, float]:
    labels = timelines[0].labels if timelines else ()
    return {label: sum(timeline.budget()[label] for timeline in timelines) for label in labels}
