"""A folder of videos that is opened on the page: a thread reads one video after the other."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actiondiff.app.analysis import playable_copy
from actiondiff.app.corrections import Corrections
from actiondiff.app.crop_frames import frames_around
from actiondiff.app.options import ABSTAIN, CUTTING
from actiondiff.app.stopping import checked_at_layers
from actiondiff.errors import ActionDiffError, UsageError, warn_once
from actiondiff.exports.queue import stretch_queue
from actiondiff.inference.individuals import Subject, check_crops_of_model, subject_of, subjects_of
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline, cut_timeline, score_timeline
from actiondiff.types import JSON, DecodeReport
from actiondiff.video.crop_file import is_crop
from actiondiff.video.opening import share_done
from actiondiff.video.search import VideoSearch, search_videos

__all__ = ["FolderVideo", "OpenedFolder", "check_opened", "choose_keys", "videos_beside"]

_log = logging.getLogger(__name__)
_MOST_STRETCHES = 200  # in the queue


@dataclass
class FolderVideo:
    """One video and how far the work on it is.

    Attributes:
        name: Path relative to the folder.
        path: The file; a crop file for one individual of a video.
        subject: The video, relative to the folder, and the individual.
        status: How far the work is.
        share: Share of the file that is read, in [0, 1].
        reason: Why it failed.
        timeline: What the model predicts.
        scores: The scores that the timeline is cut from.
        playable: File of the same video that browsers play.
    """

    name: str
    path: Path
    subject: Subject
    status: Literal["waiting", "reading", "ready", "failed"] = "waiting"
    share: float = 0.0
    reason: str = ""
    timeline: Timeline | None = None
    scores: Timeline | None = None
    playable: Path | None = None


class OpenedFolder:
    """The videos of a folder, what the model predicts for them, and the corrections.

    Args:
        model: The trained model.
        folder: Folder that is searched for videos.
        out: Folder for corrections and features.
        scratch: Folder for copies that browsers play.
        crops: Crop files that are opened in place of the folder's videos, if any.

    Raises:
        UsageError: If the folder holds no video, or videos of another kind than the model has learnt from.
    """

    def __init__(
        self, model: ActionDiff, folder: Path, out: Path, scratch: Path, crops: Sequence[Path] = ()
    ) -> None:
        check_opened(folder)
        paths = list(crops) or videos_beside(folder, out, want_crops=model.config.sampling.crops is not None)
        if not paths:
            raise UsageError(f"no videos in {folder}; give a folder that holds some.")
        check_crops_of_model(model.config, paths, run="the model")
        subjects_of(paths)
        self.model = model
        self.folder = folder
        names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
        self.videos = [
            FolderVideo(name, path, subject_of(name, root=folder))
            for name, path in zip(names, paths, strict=True)
        ]
        self.labels = [name for name in model.labels if name != "background"]
        self.corrections = Corrections(out, folder, {v.name: v.subject for v in self.videos}, self.labels)
        self.cache = model.open_cache(out / "features", paths)
        self.work_lock = threading.Lock()  # of the backbone and of training
        self.cutting = TimelineOptions()  # what was chosen on the page; the rest is the model's own
        self._scratch = scratch
        self._copying = threading.Lock()
        self._cut_lock = threading.Lock()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read_all, name="actiondiff-read", daemon=True)

    def start(self) -> None:
        """Begin to read the videos."""
        self._reader.start()

    def stop(self) -> None:
        """End the reading after the present frames; what is read completely is kept."""
        self._over.set()
        if self._reader.is_alive():
            self._reader.join()

    @property
    def timelines(self) -> dict[str, Timeline]:
        """Name of a video -> its timeline, of the videos that are read."""
        return {video.name: video.timeline for video in self.videos if video.timeline}

    def state(self) -> dict[str, JSON]:
        """All that the list and the queue on the page show."""
        rows: list[JSON] = []
        for video in self.videos:
            correction = self.corrections.of(video.name)
            bouts = correction.bouts if correction else video.timeline.bouts if video.timeline else ()
            domain = video.timeline.domain if video.timeline else None
            rows.append(
                {
                    "name": video.name,
                    "title": video.subject.title,
                    "status": video.status,
                    "share": round(video.share, 3),
                    "reason": video.reason,
                    "outside": domain.reason if domain else "",
                    "num_bouts": len(bouts),
                    "version": correction.version if correction else 0,
                    "done": bool(correction and correction.done),
                }
            )
        return {"videos": rows, "queue": self.queue()}

    def queue(self) -> list[JSON]:
        """The stretches about which the model is least certain, without those that were judged."""
        positions = {video.name: n for n, video in enumerate(self.videos)}
        rows: list[JSON] = []
        for row in stretch_queue(list(self.timelines.values()), most=10 * _MOST_STRETCHES):
            start, end = float(row["start_seconds"]), float(row["end_seconds"])
            correction = self.corrections.of(row["video"])
            middle = (start + end) / 2
            is_judged = correction and (
                correction.done or any(a <= middle < b for a, b in correction.checked)
            )
            if not is_judged and len(rows) < _MOST_STRETCHES:
                rows.append(
                    {
                        "video": positions[row["video"]],
                        "start": start,
                        "end": end,
                        "suggestion": row["suggestion"],
                        "probability": float(row["probability"]),
                    }
                )
        return rows

    def cut_values(self) -> dict[str, JSON]:
        """What sliders and switch show; without a threshold each behaviour has the model's own."""
        options = TimelineOptions.of_model(self.model.config.timeline, self.cutting)
        return {name: getattr(options, name) for name in (*CUTTING, ABSTAIN)}

    def details(self, number: int) -> dict[str, JSON]:
        """The bouts of one video."""
        video = self.videos[number]
        correction = self.corrections.of(video.name)
        predicted = video.timeline.bouts if video.timeline else ()
        present = correction.bouts if correction else predicted
        bouts: list[JSON] = [[b.label, round(b.start_seconds, 3), round(b.end_seconds, 3)] for b in present]
        return {
            "name": video.name,
            "title": video.subject.title,
            "frames": frames_around(video.path, video.timeline) if video.timeline else [],
            "end": video.timeline.end_seconds if video.timeline else 0.0,
            "bouts": bouts,
            "predicted": [[b.label, round(b.start_seconds, 3), round(b.end_seconds, 3)] for b in predicted],
            "checked": [list(part) for part in correction.checked] if correction else [],
            "version": correction.version if correction else 0,
            "done": bool(correction and correction.done),
        }

    def playable(self, number: int) -> Path:
        """The video (that of a crop is its source), or a copy of it that browsers play."""
        video = self.videos[number]
        with self._copying:
            if video.playable is None:
                same = (v.playable for v in self.videos if v.subject.video == video.subject.video)
                source = self.folder / video.subject.video
                copy = self._scratch / str(number) / "copy.mp4"
                video.playable = next(filter(None, same), None) or playable_copy(source, copy)
        return video.playable

    def use(self, model: ActionDiff) -> None:
        """Predict with another model of the same backbone, from the stored features."""
        self.model = model
        for video in self.videos:
            if video.timeline:
                video.scores = self.score(model, video)
        self.cut(self.cutting)
        self.corrections.export(self.timelines)

    def cut(self, options: TimelineOptions) -> None:
        """Cut the scores of all videos into bouts again; corrected bouts stay as they are.

        Args:
            options: Options that are set override the model's own.
        """
        with self._cut_lock:
            self.cutting = options
            for video in self.videos:
                if video.scores:
                    video.timeline = cut_timeline(video.scores, self.model.config, options=options)

    def predict(self, model: ActionDiff, video: FolderVideo) -> Timeline:
        """The timeline of a video whose features are stored; see `score`."""
        return cut_timeline(self.score(model, video), model.config, options=self.cutting)

    def score(self, model: ActionDiff, video: FolderVideo) -> Timeline:
        """The scores of a video whose features are stored.

        Raises:
            UsageError: If its features are no longer stored.
        """
        features = self.cache.load(video.path)
        if features is None:
            raise UsageError(f"the features of {video.name} are gone; start the page again.")
        return score_timeline(model.head, model.config, features, video.name, guard=model.guard)

    def _read_all(self) -> None:
        for video in self.videos:
            if self._over.is_set():
                return
            self._read(video)
        self.corrections.export(self.timelines)

    def _read(self, video: FolderVideo) -> None:
        def check() -> None:
            if self._over.is_set():
                raise _EndedError

        def note(done: int, total: int, _: str, /) -> None:
            video.share = share_done(done, total)
            check()

        video.status = "reading"
        try:
            with self.work_lock, checked_at_layers(check):
                ((_, result),) = self.model.extract_many([video.path], cache=self.cache, progress=note)
                if not isinstance(result, DecodeReport):
                    scores = score_timeline(
                        self.model.head, self.model.config, result, video.name, guard=self.model.guard
                    )
                    with self._cut_lock:
                        video.scores = scores
                        video.timeline = cut_timeline(scores, self.model.config, options=self.cutting)
        except _EndedError:
            video.status = "waiting"
        except (ActionDiffError, OSError) as error:
            video.status, video.reason = "failed", str(error)
        except Exception:
            _log.exception("the page met an unexpected error")
            video.status, video.reason = "failed", "an unexpected error, which is in the program's log"
        else:
            if isinstance(result, DecodeReport):
                video.status, video.reason = "failed", result.reason
            else:
                video.status = "ready"


def check_opened(folder: Path) -> None:
    """Make sure that a folder can be opened.

    Raises:
        UsageError: If it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the folder that holds the videos.")


class _EndedError(Exception):
    """The page has ended."""


def videos_beside(folder: Path, out: Path, *, want_crops: bool) -> list[Path]:
    """The videos of a folder; what the page itself writes is none of them.

    Args:
        folder: The folder.
        out: Folder that the page writes to.
        want_crops: If there are videos and crops, whether the crops are meant.
    """
    base = out.resolve()
    search = search_videos([folder])
    others = {
        reason: tuple(path for path in paths if not path.resolve().is_relative_to(base))
        for reason, paths in search.left_out.items()
    }
    left_out = VideoSearch((), {reason: paths for reason, paths in others.items() if paths}).describe()
    if left_out:
        warn_once(f"{folder}: left out {left_out}.")
    own = [path for path in search.videos if not path.resolve().is_relative_to(base)]
    wanted = [path for path in own if is_crop(path) == want_crops]
    if wanted and len(wanted) < len(own):
        kind = "whole videos" if want_crops else "crops"
        warn_once(f"{folder}: left out {len(own) - len(wanted)} {kind}, from which the model has not learnt.")
    return wanted or own


def choose_keys(labels: Sequence[str]) -> list[str]:
    """A key for each behaviour: digits, then letters that no command of the page has."""
    keys = [*"1234567890", *"qwertyuiopdfghjklxcv"]
    return [keys[n] if n < len(keys) else "" for n in range(len(labels))]
