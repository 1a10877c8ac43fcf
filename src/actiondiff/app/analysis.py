"""What the page does with a video: analyse it once, then answer what it shows, when, and where."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actiondiff.errors import UsageError, VideoError
from actiondiff.exports.heatmaps import write_heatmap_csv
from actiondiff.exports.tables import write_predictions
from actiondiff.exports.timelines import write_timelines
from actiondiff.inference.localization import Heatmap, LocalizationOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import Timeline, TimelineOptions, cut_timeline, score_timeline
from actiondiff.report.overlay import overlay_strip, write_overlay, write_strip
from actiondiff.types import Features, Prediction, Progress
from actiondiff.video.decode import iter_video
from actiondiff.video.opening import part_of_progress
from actiondiff.video.probe import probe
from actiondiff.video.search import SUFFIXES
from actiondiff.video.transforms import scale_and_resize
from actiondiff.video.write import write_numbered

__all__ = [
    "FORMATS",
    "Findings",
    "HeatmapFiles",
    "analyse",
    "check_upload",
    "localize",
    "playable_copy",
    "retime",
    "write_exports",
]

FORMATS = ("csv", "json", "boris", "deepethogram")
"""Formats of the downloads. Only the command writes camtrap-dp, which needs facts that no video holds."""
_PLAYED_BY_BROWSERS = {"h264": ("mov", "mp4"), "vp8": ("webm",), "vp9": ("webm",), "av1": ("mp4", "webm")}
_COPY_HEIGHT, _COPY_FPS = 360, 25.0  # of the copy of a video that browsers do not play


@dataclass(frozen=True, eq=False)
class Findings:
    """The results for an uploaded video.

    Attributes:
        path: File of the video.
        playable: File of the same video that browsers play.
        features: Features of the whole video.
        prediction: The actions that the video shows.
        timeline: When it shows them.
        scores: The scores that the timeline is cut from.
    """

    path: Path
    playable: Path
    features: Features
    prediction: Prediction
    timeline: Timeline
    scores: Timeline


@dataclass(frozen=True, eq=False)
class HeatmapFiles:
    """Where an action is seen, as a heatmap and as the files that show it.

    Attributes:
        heatmap: The heatmap.
        overlay: Video with the heatmap over its frames.
        strip: Picture of some frames with the heatmap over them.
        table: CSV file with the values of the heatmap.
    """

    heatmap: Heatmap
    overlay: Path
    strip: Path
    table: Path

    @property
    def files(self) -> dict[str, Path]:
        """Name of a file -> its path."""
        return {path.name: path for path in (self.overlay, self.strip, self.table)}


def check_upload(path: Path, *, max_bytes: int) -> None:
    """Make sure, before anything is decoded, that an uploaded file can be analysed.

    Raises:
        UsageError: If its name is not that of a video, or it is too large.
        VideoError: If it is empty, or cannot be read as a video.
    """
    size = path.stat().st_size
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path.name} cannot be used: the name of a video ends in one of {', '.join(SUFFIXES)}."
        )
    if size > max_bytes:
        raise UsageError(
            f"{path.name} is too large: it has {size / 1e6:.0f} MB, and at most {max_bytes / 1e6:.0f} MB are "
            "allowed. Cut it into shorter videos, or use `actiondiff predict`."
        )
    if not size:
        raise VideoError(f"{path.name} is empty: 0 bytes. Was it copied completely?")
    probe(path)


def analyse(model: ActionDiff, path: Path, options: TimelineOptions, progress: Progress) -> Findings:
    """Run the model on a video, and predict what it shows and when.

    Args:
        model: The trained model.
        path: The video.
        options: Options of the timeline. Those that are not set are the model's own.
        progress: Called as the video is read. An exception that it raises ends the work.

    Raises:
        VideoError: If no frame decodes.
    """
    playable = playable_copy(
        path, path.parent / "shown" / f"{path.stem}.mp4", part_of_progress(progress, 0.0, 0.1)
    )
    features = model.extract(path, progress=part_of_progress(progress, 0.1, 1.0))
    prediction = model.classify(features, path.name)
    scores = score_timeline(model.head, model.config, features, path.name, options=options, guard=model.guard)
    timeline = cut_timeline(scores, model.config, options=options)
    return Findings(path, playable, features, prediction, timeline, scores)


def retime(model: ActionDiff, findings: Findings, options: TimelineOptions) -> Findings:
    """Cut the scores again with other options; no network runs."""
    return replace(findings, timeline=cut_timeline(findings.scores, model.config, options=options))


def localize(
    model: ActionDiff, findings: Findings, action: str, options: LocalizationOptions, progress: Progress
) -> HeatmapFiles:
    """Search a video for an action, and write the heatmap to files in a folder beside the video.

    Raises:
        UsageError: If the model's feature has no places.
    """
    heatmap = model.localize(
        findings.path, action, options=options, progress=part_of_progress(progress, 0.0, 0.8)
    )
    heatmap = replace(heatmap, video=findings.path.name)
    words = re.sub(r"\W+", "-", action)
    stem = "-".join([findings.path.stem[:40], words[:30], options.method])  # file systems allow 255 bytes
    files = [findings.path.parent / "where" / f"{stem}{suffix}" for suffix in (".mp4", ".png", ".csv")]
    write_overlay(files[0], findings.path, heatmap, progress=part_of_progress(progress, 0.8, 1.0))
    write_strip(files[1], overlay_strip(findings.path, heatmap))
    write_heatmap_csv(files[2], heatmap)
    return HeatmapFiles(heatmap, *files)


def write_exports(model_name: str, findings: Findings, folder: Path) -> Mapping[str, Path]:
    """Write every export to a folder; returns relative path -> file, first a zip file of all the others."""
    write_predictions(folder, [findings.prediction], ["csv"])
    write_timelines(folder, [findings.timeline], FORMATS, model=model_name, root=None)
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".zip")
    everything = folder / f"{findings.path.stem}.zip"
    with zipfile.ZipFile(everything, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder).as_posix())
    return {path.relative_to(folder).as_posix(): path for path in (everything, *paths)}


def playable_copy(path: Path, copy: Path, progress: Progress | None = None) -> Path:
    """The video itself if browsers play it, else a smaller copy that they do play.

    Args:
        path: The video.
        copy: File that the copy is written to, if there is to be one.
        progress: Called as frames are read.
    """
    info = probe(path)
    containers = _PLAYED_BY_BROWSERS.get(info.codec, ())
    is_common = path.suffix.lower() in (".mp4", ".m4v", ".mov", ".webm") and info.pixel_format == "yuv420p"
    if is_common and any(name in info.container for name in containers):
        return path
    height = min(_COPY_HEIGHT, info.height_px) // 2 * 2 or 2
    width = round(info.width_px * height / info.height_px / 2) * 2 or 2
    fps = min(_COPY_FPS, info.average_rate or _COPY_FPS)
    duration = info.duration_seconds or 0.0

    reader = iter_video(path, stride=None, fps=fps, chunk_frames=16)
    done = 0  # milliseconds
    if progress:
        reader.on_frame = lambda _: progress(done, round(1000 * duration), path.name)

    def pictures() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal done
        number = -1
        for chunk in reader:
            assert chunk.seconds is not None  # frames that are sampled by rate have times
            scaled = scale_and_resize(torch.from_numpy(chunk.pixels), height, width)  # (N, 3, h, w)
            values = ((scaled.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
            for picture, second in zip(values, chunk.seconds, strict=True):
                number, done = max(number + 1, round(second * fps)), round(1000 * second)
                yield number, picture

    write_numbered(copy, pictures(), fps=fps)
    return copy
