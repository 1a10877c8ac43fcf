"""A planned extraction, which can be run, and the summary of one that ran."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from actiondiff.backbones.base import Backbone
from actiondiff.errors import StoreError
from actiondiff.extraction.plan import ExtractionPlan, Item, Workload, estimate_workload
from actiondiff.extraction.worker import WindowProgress, work
from actiondiff.features.store import FeatureStore
from actiondiff.types import JSON, Progress, Sampling

__all__ = ["Extraction", "ExtractionSummary", "Runner", "open_if_present"]

Runner: TypeAlias = Callable[["Extraction", FeatureStore, Progress | None], None]
"""A function that does the work that an extraction has planned, in this process or in several."""


@dataclass(frozen=True)
class ExtractionSummary:
    """How an extraction went. All counts are of this shard's videos, by name.

    Attributes:
        store: Folder of the store.
        num_videos: Number of videos that were asked for.
        num_done: Number of videos whose features were made.
        num_skipped: Number of videos with nothing left to do, because they are stored or known to fail.
        failed: Video -> why it lacks features, whether this was found now or before.
        partial: Video -> which part of it is missing, whether this was found now or before.
        mended: Video whose features were made -> which times were mended, and why; also frames that the
            decoder flags as corrupt.
    """

    store: Path
    num_videos: int
    num_done: int
    num_skipped: int
    failed: Mapping[str, str]
    partial: Mapping[str, str]
    mended: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every video has all its features."""
        return not (self.failed or self.partial)


@dataclass(frozen=True)
class Extraction:
    """A planned extraction. Nothing is written before `run` is called.

    Attributes:
        folder: Folder of the store, which may not exist yet.
        root: Folder that the videos' names are relative to.
        settings: Settings of the store.
        backbone: The frozen network.
        sampling: Which frames of the videos are read.
        plan: What is to be done.
        decode_threads: How many videos are read at the same time; None for the default.
        keep_latents: Whether the encoded windows are stored, too.
    """

    folder: Path
    root: Path
    settings: Mapping[str, JSON]
    backbone: Backbone
    sampling: Sampling
    plan: ExtractionPlan
    decode_threads: int | None = None
    keep_latents: bool = False

    def workload(self) -> Workload:
        """How much there is to do, as far as the videos' headers say."""
        return estimate_workload(
            self.plan,
            sampling=self.sampling,
            window=int(self.backbone.options.window or 1),
            store=open_if_present(self.folder),
            tubelet=self.backbone.tubelet,
        )

    def run(
        self,
        progress: Progress | None = None,
        *,
        on_windows: WindowProgress | None = None,
        runner: Runner | None = None,
    ) -> ExtractionSummary:
        """Extract the features; see `extract_features`.

        Args:
            progress: Called after each video.
            on_windows: Called after each batch, if the work is done in this process.
            runner: What does the work; None for this process.

        Raises:
            StoreError: If the store cannot be written.
        """
        try:
            store = FeatureStore.create(self.folder, settings=self.settings, root=self.root)
            try:
                self._record_plan(store)
                (runner or partial(_work_here, on_windows))(self, store, progress)
            finally:
                # This also reads what other processes recorded.
                store.tidy()
            return self._summary(store)
        except OSError as error:
            raise StoreError(
                f"extraction into {self.folder} stopped: {error}. Finished features are kept: solve the "
                "problem, then run the extraction again."
            ) from error

    def _record_plan(self, store: FeatureStore) -> None:
        """Bring the store's records up to date with what the plan says; computes nothing."""
        for item in self.plan.stored:
            store.attach(item.identity, item.videos)
        for item in self.plan.failed:
            store.fail(item.videos, store.known_failure(item.identity) or "", identity=item.identity)
        for video, reason in self.plan.absent.items():
            store.fail(video, reason)
        # A failure of a video that was deleted since concerns nobody any more.
        requested = set(self.plan.videos)
        store.forget(
            video
            for video, failure in store.failures.items()
            if failure.status == "failed" and video not in requested and not (self.root / video).exists()
        )

    def _summary(self, store: FeatureStore) -> ExtractionSummary:
        plan = self.plan
        todo = {video for item in plan.todo for video in item.videos}
        skipped = {video for item in (*plan.stored, *plan.failed) for video in item.videos}
        videos = todo | skipped | set(plan.absent)
        failures = {video: failure for video, failure in store.failures.items() if video in videos}
        failed = {video: reason for video, (status, reason) in failures.items() if status == "failed"}
        partial = {video: reason for video, (status, reason) in failures.items() if status == "partial"}
        return ExtractionSummary(
            store=self.folder,
            num_videos=len(videos),
            num_done=len(todo - set(failed)),
            num_skipped=len(skipped),
            failed=failed,
            partial=partial,
            mended={
                video: note for item in plan.todo if (note := _note(store, item)) for video in item.videos
            },
        )


def _note(store: FeatureStore, item: Item) -> str:
    """What was mended in a content, in words; empty if nothing was."""
    header = store.header(item.identity)
    report = header.report if header else None
    if report is None:
        return ""
    notes = []
    if report.times_repaired:
        number = f" of {report.num_times_mended} frame(s)" if report.num_times_mended else ""
        notes.append(f"times{number} are mended: {report.times_note}")
    if report.num_frames_corrupt:
        notes.append(f"the decoder flags {report.num_frames_corrupt} frames as corrupt")
    return "; ".join(notes)


def open_if_present(folder: Path) -> FeatureStore | None:
    """The store in a folder; None if the folder is empty or does not exist.

    Raises:
        StoreError: If the folder holds something else, or the store's description is damaged.
    """
    return FeatureStore.open(folder) if FeatureStore.is_at(folder) else None


def _work_here(
    on_windows: WindowProgress | None,
    extraction: Extraction,
    store: FeatureStore,
    progress: Progress | None,
) -> None:
    work(
        store,
        extraction.backbone,
        extraction.plan.todo,
        sampling=extraction.sampling,
        decode_threads=extraction.decode_threads,
        keep_latents=extraction.keep_latents,
        progress=progress,
        on_windows=on_windows,
    )
