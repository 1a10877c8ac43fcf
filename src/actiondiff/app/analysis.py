"""What the page does with a video: look at it once, then answer what, when and where."""

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
from actiondiff.inference.timeline import Timeline, TimelineOptions, make_timeline
from actiondiff.report.overlay import overlay_strip, write_overlay, write_strip
from actiondiff.types import Features, Prediction, Progress, part_of_progress
from actiondiff.video.decode import iter_video
from actiondiff.video.probe import SUFFIXES, probe
from actiondiff.video.transforms import scale_and_resize
from actiondiff.video.write import write_chunks

__all__ = ["FORMATS", "Findings", "Place", "check_upload", "find_place", "look", "retime", "write_exports"]

FORMATS = ("csv", "json", "boris", "deepethogram")
"""Of the downloads; camtrap-dp asks for what is not in a video, so only the command writes it."""
_SHOWN_BY_BROWSERS = {"h264": ("mov", "mp4"), "vp8": ("webm",), "vp9": ("webm",), "av1": ("mp4", "webm")}
_COPY_HEIGHT, _COPY_FPS = 360, 25.0  # of the copy of a video that browsers do not show


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of an uploaded video.

    Attributes:
        path: Where the video lies.
        shown: A file of the same video that browsers show.
        features: Of the whole video.
        prediction: What it shows.
        timeline: And when.
    """

    path: Path
    shown: Path
    features: Features
    prediction: Prediction
    timeline: Timeline


@dataclass(frozen=True, eq=False)
class Place:
    """Where an action is seen, as files.

    Attributes:
        heatmap: The numbers.
        overlay: Video.
        strip: Picture.
        table: CSV.
    """

    heatmap: Heatmap
    overlay: Path
    strip: Path
    table: Path

    @property
    def files(self) -> dict[str, Path]:
        """Name -> file."""
        return {path.name: path for path in (self.overlay, self.strip, self.table)}


def check_upload(path: Path, *, max_bytes: int) -> None:
    """Make sure that a file may be looked at, before anything is decoded.

    Raises:
        UsageError: If its name is no video's, or it is empty or too large.
        VideoError: If it cannot be read as a video.
    """
    size = path.stat().st_size
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path.name} is not taken: its name does not end as a video's does ({', '.join(SUFFIXES)})."
        )
    if size > max_bytes:
        raise UsageError(
            f"{path.name} is too large: {size / 1e6:.0f} MB, where {max_bytes / 1e6:.0f} MB are taken. "
            "Cut it, or use `actiondiff predict`."
        )
    if not size:
        raise VideoError(f"{path.name} is empty: 0 bytes. Was it copied to the end?")
    probe(path)


def look(model: ActionDiff, path: Path, options: TimelineOptions, progress: Progress) -> Findings:
    """Pass a video through the backbone, and say what it shows and when.

    Args:
        model: The trained model.
        path: The video.
        options: Of the timeline.
        progress: Called as the video is read. What it raises ends the work.

    Raises:
        VideoError: If no frame decodes.
    """
    shown = _showable(path, part_of_progress(progress, 0.0, 0.1))
    features = model.extract(path, progress=part_of_progress(progress, 0.1, 1.0))
    prediction = model.classify(features, path.name)
    timeline = make_timeline(model.head, model.config, features, path.name, options=options)
    return Findings(path, shown, features, prediction, timeline)


def retime(model: ActionDiff, findings: Findings, options: TimelineOptions) -> Findings:
    """The same video with other options of the timeline; its features are not made again."""
    made = make_timeline(model.head, model.config, findings.features, findings.path.name, options=options)
    return replace(findings, timeline=made)


def find_place(
    model: ActionDiff, findings: Findings, action: str, options: LocalizationOptions, progress: Progress
) -> Place:
    """Where a video shows an action; the files lie in a folder beside the video.

    Raises:
        UsageError: If the model's feature has no places.
    """
    heatmap = model.localize(
        findings.path, action, options=options, progress=part_of_progress(progress, 0.0, 0.8)
    )
    heatmap = replace(heatmap, video=findings.path.name)
    words = re.sub(r"\W+", "-", action)
    stem = "-".join([findings.path.stem[:40], words[:30], options.method])  # file systems take 255 bytes
    files = [findings.path.parent / "where" / f"{stem}{suffix}" for suffix in (".mp4", ".png", ".csv")]
    write_overlay(files[0], findings.path, heatmap, progress=part_of_progress(progress, 0.8, 1.0))
    write_strip(files[1], overlay_strip(findings.path, heatmap))
    write_heatmap_csv(files[2], heatmap)
    return Place(heatmap, *files)


def write_exports(model_name: str, findings: Findings, folder: Path) -> Mapping[str, Path]:
    """Write every export into a folder; returns its place in it -> file, a zip of all the others first."""
    write_predictions(folder, [findings.prediction], ["csv"])
    write_timelines(folder, [findings.timeline], FORMATS, model=model_name, root=None)
    written = sorted(path for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".zip")
    everything = folder / f"{findings.path.stem}.zip"
    with zipfile.ZipFile(everything, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in written:
            archive.write(path, path.relative_to(folder).as_posix())
    return {path.relative_to(folder).as_posix(): path for path in (everything, *written)}


def _showable(path: Path, progress: Progress | None) -> Path:
    """The video itself if browsers show it, else a smaller copy of even pace that they do."""
    info = probe(path)
    containers = _SHOWN_BY_BROWSERS.get(info.codec, ())
    is_common = path.suffix.lower() in (".mp4", ".m4v", ".mov", ".webm") and info.pixel_format == "yuv420p"
    if is_common and any(name in info.container for name in containers):
        return path
    height = min(_COPY_HEIGHT, info.height_px) // 2 * 2 or 2
    width = round(info.width_px * height / info.height_px / 2) * 2 or 2
    fps = min(_COPY_FPS, info.average_rate or _COPY_FPS)
    copy = path.parent / "shown" / f"{path.stem}.mp4"
    duration = info.duration_seconds or 0.0

    def chunks() -> Iterator[NDArray[np.uint8]]:
        shown = 0  # pictures of the copy; one is shown again where the video's next is later than the pace
        last = np.zeros((0, height, width, 3), np.uint8)
        for chunk in iter_video(path, stride=None, fps=fps, chunk_frames=16):
            assert chunk.seconds is not None  # else nothing is kept by time
            if progress:
                progress(
                    round(1000 * float(chunk.seconds[-1])), round(1000 * duration), path.name
                )  # milliseconds
            scaled = scale_and_resize(torch.from_numpy(chunk.pixels), height, width)  # (N, 3, h, w)
            pictures = ((scaled.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
            for picture, second in zip(pictures, chunk.seconds, strict=True):
                for _ in range(round(second * fps) - shown if len(last) else 0):
                    yield last
                    shown += 1
                last = picture[None]
                yield last
                shown += 1

    write_chunks(copy, chunks(), fps=fps)
    return copy
