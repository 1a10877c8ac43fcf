"""Detects animals in many videos, and writes their boxes in MegaDetector's format."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiondiff import outputs
from actiondiff.detection.detector import Detector
from actiondiff.detection.options import DetectOptions
from actiondiff.detection.weights import DETECTOR
from actiondiff.errors import UsageError, VideoError
from actiondiff.provenance import sha256_of_file, utf8_name, write_text
from actiondiff.types import JSON, Progress
from actiondiff.video.decode import iter_video
from actiondiff.video.probe import probe

__all__ = ["DetectedVideos", "detect_videos"]

_COMMAND = "detect"
_FORMAT = "1.4"
_CHUNK = 16
_SAVE_SECONDS = 20.0  # between two writings of the file
_DIGITS = 4  # of edges and scores


@dataclass(frozen=True)
class DetectedVideos:
    """What was done.

    Attributes:
        num_frames: Number of frames looked at in this call.
        num_boxes: Number of boxes in the file, of the videos of this call.
        with_boxes: Number of videos of this call with a box.
        earlier: Number of videos that the file had already.
        failed: Video -> why it is not in the file.
        partial: Video -> which part of it is missing.
    """

    num_frames: int
    num_boxes: int
    with_boxes: int
    earlier: int
    failed: Mapping[str, str]
    partial: Mapping[str, str]


def detect_videos(
    out: Path,
    videos: Sequence[Path],
    options: DetectOptions | None = None,
    *,
    weights: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    finished: Progress | None = None,
) -> DetectedVideos:
    """Find animals in videos, and write their boxes to a file that `read_boxes` reads.

    Videos that an earlier call has written with the same options, and that have not changed, are not read
    again; others are added to the file. It is written every 20 seconds, and when the work ends or is
    interrupted.

    Args:
        out: JSON file to write; videos are named relative to its folder.
        videos: The videos.
        options: How animals are detected.
        weights: File of the detector's weights; None for the default one.
        device: Name of a device; `auto` takes CUDA where there is one.
        overwrite: Whether a file is replaced that `detect` has not written, or with other options.
        progress: Called with the frames that are read of a video, of all its frames, and its name.
        finished: Called with the number of videos that are done, of all, and the name.

    Raises:
        UsageError: If the file may not be replaced.
        WeightsError: If there are no weights.
    """
    options = options or DetectOptions()
    if out.suffix.lower() != ".json":
        raise UsageError(f"boxes are written as JSON; give a file that ends in .json, not {out}.")
    with outputs.claim_file(out, _COMMAND, overwrite=overwrite):
        detector = Detector(weights, device=device)
        settings: dict[str, JSON] = {
            "detector": DETECTOR,
            "format_version": _FORMAT,
            "detector_metadata": {"weights_sha256": detector.weights_sha256, **options.model_dump()},
        }
        entries = {} if overwrite else _earlier(out, settings)
        result = _Work(out, settings, entries, detector, options, progress)
        try:
            for done, video in enumerate(videos, start=1):
                result.add(video)
                if finished:
                    finished(done, len(videos), video.name)
        finally:
            result.save()
    return result.summary(videos)


class _Work:
    """The entries of the file, as they are made."""

    def __init__(
        self,
        out: Path,
        settings: dict[str, JSON],
        entries: dict[str, dict[str, JSON]],
        detector: Detector,
        options: DetectOptions,
        progress: Progress | None,
    ) -> None:
        self.out, self.settings, self.entries = out, settings, entries
        self.detector, self.options, self.progress = detector, options, progress
        self.num_frames, self.earlier = 0, 0
        self.failed: dict[str, str] = {}
        self.partial: dict[str, str] = {}
        self._saved_at = time.monotonic()

    def add(self, video: Path) -> None:
        """Detect animals in a video, unless its entry is there already."""
        name = self._name(video)
        entry = self.entries.get(name)
        if entry is not None and "failure" not in entry and entry.get("sha256") == _sha256(video):
            self.earlier += 1
        else:
            entry = self.entries[name] = self._detected(video, name)
        if failure := entry.get("failure"):
            self.failed[os.fspath(video)] = str(failure)
        elif partial := entry.get("partial"):
            self.partial[os.fspath(video)] = str(partial)
        if time.monotonic() > self._saved_at + _SAVE_SECONDS:
            self.save()

    def _detected(self, video: Path, name: str) -> dict[str, JSON]:
        """The entry of a video."""
        detections: list[JSON] = []
        frames: list[JSON] = []
        try:
            about = probe(video)
            reader = iter_video(video, stride=None, fps=self.options.fps, chunk_frames=_CHUNK)
            for chunk in reader:
                boxes = self.detector.detect(chunk.pixels, min_score=self.options.min_score)
                for number, own in zip(chunk.frame_index.tolist(), boxes, strict=True):
                    frames.append(number)
                    for box in own:
                        edges = (box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0)
                        detections.append(
                            {
                                "category": "1",
                                "conf": round(box.score, _DIGITS),
                                "bbox": [round(edge, _DIGITS) for edge in edges],
                                "frame_number": number,
                            }
                        )
                self.num_frames += len(boxes)
                if self.progress:
                    total = about.num_frames_from_header or 0
                    self.progress(int(chunk.frame_index[-1]) + 1, total, os.fspath(video))
        except VideoError as error:
            return {"file": name, "failure": error.reason_for(video), "detections": None}
        if reader.report.status == "failed":
            return {"file": name, "failure": reader.report.reason, "detections": None}
        entry: dict[str, JSON] = {
            "file": name,
            "frame_rate": about.average_rate,
            "frames_processed": frames,
            "detections": detections,
            "sha256": reader.identity,
        }
        if reader.report.status == "partial":
            entry["partial"] = reader.report.reason
        return entry

    def _name(self, video: Path) -> str:
        """The name of a video in the file."""
        try:
            name = os.path.relpath(os.path.abspath(video), os.path.abspath(self.out.parent))
        except ValueError:  # another drive of Windows
            name = os.path.abspath(video)
        return utf8_name(Path(name).as_posix())

    def save(self) -> None:
        """Write the file."""
        head = json.dumps({"info": self.settings, "detection_categories": {"1": "animal"}})
        entries = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in self.entries.values())
        write_text(self.out, f'{head[:-1]}, "images": [\n{entries}\n]}}\n')  # a line for each video
        self._saved_at = time.monotonic()

    def summary(self, videos: Sequence[Path]) -> DetectedVideos:
        """What was done for the videos."""
        entries = [self.entries[name] for name in dict.fromkeys(self._name(video) for video in videos)]
        counts = [len(own) for entry in entries if isinstance(own := entry["detections"], list)]
        return DetectedVideos(
            self.num_frames, sum(counts), sum(map(bool, counts)), self.earlier, self.failed, self.partial
        )


def _sha256(video: Path) -> str:
    try:
        return sha256_of_file(video)
    except OSError:
        return ""


def _earlier(out: Path, settings: Mapping[str, JSON]) -> dict[str, dict[str, JSON]]:
    """The entries of a file that an earlier call has written.

    Raises:
        UsageError: If it was written with other options or weights.
    """
    if not out.exists():
        return {}
    content = json.loads(out.read_text("utf-8"))  # the claim has made sure that it is as `detect` wrote it
    if content["info"] != settings:
        before, now = content["info"]["detector_metadata"], settings["detector_metadata"]
        raise UsageError(
            f"{out} was written with other options ({before}, now {now}); give another file (-o), or replace "
            "it with --overwrite."
        )
    return {str(entry["file"]): entry for entry in content["images"]}
