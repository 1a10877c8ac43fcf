"""Writes the crops of many videos into a folder, with a table of labels for them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.datasets.boxes import VideoBoxes
from actiondiff.datasets.cropping import CropOptions, Track, link_boxes, write_crop
from actiondiff.errors import UsageError, VideoError
from actiondiff.provenance import write_csv
from actiondiff.types import Example, Progress
from actiondiff.video.probe import probe

__all__ = ["CroppedVideos", "crop_videos"]

_TIMES = ("start_seconds", "end_seconds")


@dataclass(frozen=True)
class CroppedVideos:
    """What was written.

    Attributes:
        rows: One row per video that was written: its path, source, individual, side, frames and score.
        failed: Source -> why nothing was written.
        partial: Source -> which part of it is missing.
    """

    rows: Sequence[Mapping[str, object]]
    failed: Mapping[str, str]
    partial: Mapping[str, str]


def crop_videos(
    out: Path,
    videos: Sequence[Path],
    boxes: VideoBoxes,
    options: CropOptions,
    *,
    individuals: int = 1,
    labels: Table | None = None,
    progress: Progress | None = None,
) -> CroppedVideos:
    """Crop videos around their individuals.

    Args:
        out: Folder to write to: videos in `clips`, and `table.csv` if there are labels.
        videos: The sources.
        boxes: Boxes of animals. A video without boxes is written whole.
        options: How videos are cropped.
        individuals: Most individuals of a video; those with the highest sum of scores are taken.
        labels: Labels of the sources.
        progress: Called after each video.

    Raises:
        UsageError: If no box is of these videos, or it is unknown which individual the labels are about.
    """
    sources = {Path(os.path.abspath(video)): video for video in videos}
    if not any(boxes.boxes.get(source) for source in sources):
        example = next(iter(boxes.boxes), None)
        raise UsageError(
            f"none of the boxes is of these {len(sources)} videos; the boxes are of "
            f"{example or 'no video'}, the first video is {next(iter(sources))}. Give --root, the folder "
            "that the paths in the boxes start from."
        )
    by_individual = labels is not None and "individual" in labels.columns
    if labels is not None and individuals > 1 and not by_individual:
        raise UsageError(
            "which of several individuals do the labels describe? Add a column individual to the table, or "
            "leave out --table or --individuals."
        )
    base = Path(os.path.commonpath([source.parent for source in sources]))
    rows: list[Mapping[str, object]] = []
    failed: dict[str, str] = {}
    partial: dict[str, str] = {}
    for done, (source, as_named) in enumerate(sources.items(), start=1):
        try:
            rate = probe(source).average_rate or 25.0
            gap = options.max_gap_seconds * (1 if boxes.in_seconds else rate)
            own = link_boxes(boxes.boxes.get(source, ()), max_gap=gap, min_overlap=options.min_overlap)
            tracks: Sequence[Track | None] = own[:individuals] or [None]
            taken: set[str] = set()
            for track in tracks:
                name = source.relative_to(base)
                tail = _file_name(track.individual, taken) if track else "whole"
                file = Path("clips") / name.with_name(
                    f"{name.stem}{name.suffix.replace('.', '-')}_{tail}.mp4"
                )
                result = write_crop(source, out / file, track, boxes, options)
                if result.partial:
                    partial[os.fspath(as_named)] = result.partial
                rows.append(
                    {
                        "video": file.as_posix(),
                        "source": os.fspath(as_named),
                        "individual": track.individual if track else "",
                        "side_px": result.side_px,
                        "num_frames": result.num_frames,
                        "num_without_box": result.num_without_box,
                        "score": f"{track.score / len(track.boxes):.3f}" if track else "",
                    }
                )
        except VideoError as error:
            failed[os.fspath(as_named)] = error.reason_for(as_named)
        if progress:
            progress(done, len(sources), source.name)
    if labels is not None:
        _write_table(out / "table.csv", rows, labels, by_individual=by_individual)
    return CroppedVideos(rows, failed, partial)


def _write_table(
    path: Path, rows: Sequence[Mapping[str, object]], labels: Table, *, by_individual: bool
) -> None:
    """Write the labels of the sources for their crops."""
    of_source: dict[Path, list[Example]] = {}
    for example in labels.examples:
        of_source.setdefault(Path(os.path.abspath(labels.root / example.video)), []).append(example)
    further = [name for name in labels.columns if name != "individual"]
    columns = ("video", "label", *_TIMES, "split", "group", "individual", *further)
    table = [
        {
            "video": row["video"],
            "label": ";".join(example.labels),
            **{name: getattr(example, name) for name in _TIMES if getattr(example, name) is not None},
            "split": example.split,
            "group": example.group or example.video,
            "individual": row["individual"],
            **{name: example.columns.get(name, "") for name in further},
        }
        for row in rows
        for example in of_source.get(Path(os.path.abspath(str(row["source"]))), ())
        if not by_individual or example.columns.get("individual") == row["individual"]
    ]
    write_csv(path, columns, [{name: row.get(name, "") for name in columns} for row in table])


def _file_name(individual: str, taken: set[str]) -> str:
    """The individual's name as part of a file's name, unlike those of the video's other individuals."""
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in individual)[:60]
    while name.casefold() in taken:
        name += "+"
    taken.add(name.casefold())
    return name
