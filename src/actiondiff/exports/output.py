"""All files that a prediction of many videos writes: results, queue, failures and record."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.exports.queue import QUEUE, clip_queue, stretch_queue, write_queue
from actiondiff.exports.record import RECORD, describe_model, read_record, write_record
from actiondiff.exports.tables import CLIP_FILES, CLIP_FORMATS, FAILURES, write_failures, write_predictions
from actiondiff.exports.timelines import TIMELINE_FILES, check_formats, write_timelines
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import DecodeReport, Prediction

if TYPE_CHECKING:
    from actiondiff.inference.model import ActionDiff

__all__ = ["PredictionOutput", "VideoResult"]

VideoResult: TypeAlias = tuple[str, Prediction | Timeline | DecodeReport]
"""A video and what came of it: a report alone if it failed."""
_OF_CLIPS = {"abstain_below", "abstain_outside"}  # options of timelines that predictions of clips have, too


@dataclass(frozen=True)
class PredictionOutput:
    """What to write, and where.

    Attributes:
        out: Folder to write to; created if it does not exist.
        run: Folder or hub id of the model, for the record.
        formats: Names of the formats to write.
        timeline: Whether the results are timelines, else predictions of whole clips.
        queue: Number of the least certain results to list in `queue.csv`.
        about: For Camtrap DP: CSV that says where and when each video was taken.
        project: For Camtrap DP: YAML file about the project.
        options: How timelines are made; when the model abstains counts for predictions, too.
    """

    out: Path
    _: KW_ONLY
    run: str
    formats: Sequence[str]
    timeline: bool
    queue: int
    about: Path | None
    project: Path | None
    options: TimelineOptions

    def check(self, videos: Sequence[Path]) -> None:
        """Refuse what cannot be written or would have no effect, before anything is computed.

        Raises:
            UnknownNameError: If there is no format of a name.
            UsageError: If an option needs timelines, or a format needs what was not given.
        """
        if self.timeline:
            self._check_camtrap()
            check_formats(self.formats, about=self.about, project=self.project, videos=videos)
            return
        for name in self.formats:
            if name not in CLIP_FORMATS:
                raise UnknownNameError(
                    "format", name, CLIP_FORMATS, "The other formats are for bouts: add --timeline."
                )
        for name in sorted(self.options.model_fields_set - _OF_CLIPS):
            raise UsageError(f"--{name.replace('_', '-')} is about bouts: add --timeline.")
        self._check_camtrap()

    def _check_camtrap(self) -> None:
        if self.timeline and "camtrap-dp" in self.formats:
            return
        for name, path in (("about", self.about), ("project", self.project)):
            if path is not None:
                raise UsageError(
                    f"--{name} is used for Camtrap DP only; got {path}. Add --timeline "
                    f"--format camtrap-dp, or leave --{name} out."
                )

    @property
    def names(self) -> list[str]:
        """Files and folders that are written, as `outputs.claim` takes them."""
        of_format = TIMELINE_FILES if self.timeline else CLIP_FILES
        return [*(file for name in self.formats for file in of_format[name]), QUEUE, FAILURES, RECORD]

    @property
    def num_results(self) -> int:
        """Number of videos of which the folder holds results of an earlier run."""
        return len(read_record(self.out)["videos"]) if (self.out / RECORD).exists() else 0

    def write(self, model: "ActionDiff", results: Sequence[VideoResult]) -> dict[str, int]:
        """Write all files; returns how many videos there are of each status."""
        timelines = [result for _, result in results if isinstance(result, Timeline)]
        clips = [result for _, result in results if isinstance(result, Prediction)]
        limit = self.options.abstain_below
        if self.timeline:
            write_timelines(
                self.out, timelines, self.formats,
                model=describe_model(model.config), about=self.about, project=self.project,
            )  # fmt: skip
        else:
            write_predictions(
                self.out, clips, self.formats,
                abstain_below=limit, abstain_outside=self.options.abstain_outside,
            )  # fmt: skip
        rows = stretch_queue(timelines, most=self.queue) + clip_queue(clips, most=self.queue)
        write_queue(self.out / QUEUE, rows)
        # A video that decoded in part has a result and is listed among the failures as well.
        reports = [(video, r if isinstance(r, DecodeReport) else r.report) for video, r in results]
        troubled = [(video, report) for video, report in reports if report and report.status != "ok"]
        checks = [(video, r.domain) for video, r in results if not isinstance(r, DecodeReport)]
        outside = [(video, domain) for video, domain in checks if domain and domain.is_outside]
        write_failures(self.out, troubled, outside)
        write_record(
            self.out, results, run=self.run, config=model.config, timeline=self.timeline,
            dtype=model.backbone_settings.get("dtype"), abstain_below=limit,
            abstain_outside=self.options.abstain_outside,
        )  # fmt: skip
        num_failed = sum(report.status == "failed" for _, report in troubled)
        counts = {
            "predicted": len(timelines) + len(clips),
            "partial": len(troubled) - num_failed,
            "failed": num_failed,
            "outside": len(outside),
        }
        if self.timeline:
            return {**counts, "bouts": sum(len(item.bouts) for item in timelines)}
        if limit:
            return {**counts, "abstained": sum(item.top(1)[0][1] < limit for item in clips)}
        return counts
