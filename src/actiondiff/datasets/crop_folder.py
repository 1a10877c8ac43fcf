"""Writes the crops of many videos into a folder, with a table of labels for them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from actiondiff import outputs
from actiondiff.datasets.base import Table
from actiondiff.datasets.boxes import VideoBoxes
from actiondiff.datasets.cropping import CropOptions, CropPlan, plan_crops, write_crop
from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError, VideoError
from actiondiff.provenance import write_csv
from actiondiff.types import Example, Progress
from actiondiff.video.crop_file import CROP_SUFFIX, individual_of, write_crop_file

__all__ = ["CROPS_CSV", "TABLE_CSV", "CroppedVideos", "crop_videos", "write_crop_files"]

CROPS_CSV = "crops.csv"
_COLUMNS = (
    "video", "source", "individual", "side_px", "num_frames", "num_without_box", "num_whole", "score",
)  # fmt: skip
TABLE_CSV = "table.csv"
_TIMES = ("start_seconds", "end_seconds")


@dataclass(frozen=True)
class CroppedVideos:
    """What was written.

    Attributes:
        files: The crops, by video and then best first.
        rows: One row per crop: its file relative to the folder, its source, individual, side (0: it shows
            whole pictures only), numbers of frames, and mean score of its boxes.
        failed: Source -> why nothing was written.
        partial: Source -> which part of it is missing.
    """

    files: Sequence[Path]
    rows: Sequence[Mapping[str, object]]
    failed: Mapping[str, str]
    partial: Mapping[str, str]

    def count(self, column: str) -> int:
        """Sum of a column of numbers."""
        return sum(int(str(row[column])) for row in self.rows)


def write_crop_files(
    out: Path,
    videos: Sequence[Path],
    boxes: VideoBoxes,
    options: CropOptions,
    *,
    command: str,
    individuals: int | None = None,
    labels: Table | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CroppedVideos:
    """Write a crop file for each individual of some videos. Nothing is decoded.

    Args:
        out: Folder to write to: crops in `clips`, `crops.csv`, and `table.csv` if there are labels. Crops of
            other videos that are there stay, and stay in `crops.csv`.
        videos: The sources.
        boxes: Boxes of animals. Of a video without boxes, the crop shows the whole pictures.
        options: How videos are cropped.
        command: Name of the command that writes: what it wrote before may be replaced.
        individuals: Most individuals of a video; None for all that the boxes name, or else the best one.
        labels: Labels of the sources.
        overwrite: Whether files of others may be replaced.
        progress: Called after each video.

    Raises:
        UsageError: If no box is of these videos, it is unknown which individual the labels are about, or a
            file may not be replaced.
    """
    with outputs.claim(out, command, (CROPS_CSV, TABLE_CSV, "clips/"), overwrite=overwrite) as held:
        files: list[Path] = []
        rows: list[Mapping[str, object]] = []
        failed: dict[str, str] = {}
        for as_named, name, plans in _plans(videos, boxes, options, individuals, failed, progress):
            for plan, file in zip(plans, _files(name, plans, CROP_SUFFIX), strict=True):
                write_crop_file(out / file, plan.crop)
                files.append(out / file)
                rows.append(_row(file, as_named, plan, plan.num_frames))
        _check_labels(rows, labels)
        # What was written before, of other videos, stays; other crops of these videos are out of date.
        current, sources = {row["video"] for row in rows}, {os.path.abspath(video) for video in videos}
        earlier: list[Mapping[str, object]] = []
        for row in _earlier_rows(out / CROPS_CSV):
            file = out / str(row["video"])
            with suppress(VideoError):
                of = individual_of(file)
                if of is None or row["video"] in current:
                    continue
                if os.fspath(of[0]) not in sources:
                    earlier.append(row)
                elif held.owns(str(row["video"])):
                    file.unlink()
        write_csv(out / CROPS_CSV, _COLUMNS, [*earlier, *rows])
        if labels is not None:
            _write_table(out / TABLE_CSV, rows, labels)
    return CroppedVideos(files, rows, failed, {})


def crop_videos(
    out: Path,
    videos: Sequence[Path],
    boxes: VideoBoxes,
    options: CropOptions,
    *,
    individuals: int | None = None,
    labels: Table | None = None,
    progress: Progress | None = None,
) -> CroppedVideos:
    """Write the crops of some videos as videos (MP4), for people to look at.

    Args:
        out: Folder to write to: videos in `clips`, `crops.csv`, and `table.csv` if there are labels.
        videos: The sources.
        boxes: Boxes of animals. A video without boxes is written whole.
        options: How videos are cropped.
        individuals: Most individuals of a video; None for all that the boxes name, or else the best one.
        labels: Labels of the sources.
        progress: Called after each video.

    Raises:
        UsageError: If no box is of these videos, or it is unknown which individual the labels are about.
    """
    files: list[Path] = []
    rows: list[Mapping[str, object]] = []
    failed: dict[str, str] = {}
    partial: dict[str, str] = {}
    planned = list(_plans(videos, boxes, options, individuals, failed, None))
    _check_labels([_row(Path(), source, plan, 0) for source, _, plans in planned for plan in plans], labels)
    for done, (as_named, name, plans) in enumerate(planned, start=1):
        try:
            for plan, file in zip(plans, _files(name, plans, ".mp4"), strict=True):
                num_frames, missing = write_crop(plan.crop, out / file)
                if missing:
                    partial[as_named] = missing
                files.append(out / file)
                rows.append(_row(file, as_named, plan, num_frames))
        except VideoError as error:
            failed[as_named] = error.reason_for(as_named)
        if progress:
            progress(done, len(planned), name.name)
    write_csv(out / CROPS_CSV, _COLUMNS, rows)
    if labels is not None:
        _write_table(out / TABLE_CSV, rows, labels)
    return CroppedVideos(files, rows, failed, partial)


def _plans(
    videos: Sequence[Path],
    boxes: VideoBoxes,
    options: CropOptions,
    individuals: int | None,
    failed: dict[str, str],
    progress: Progress | None,
) -> Iterator[tuple[str, Path, list[CropPlan]]]:
    """Each video as it was named, its path below the folder that all are in, and its crops.

    Videos that fail are added to `failed`.
    """
    sources = {Path(os.path.abspath(video)): os.fspath(video) for video in videos}
    if not any(map(boxes.of, sources)):
        example = next(iter(boxes.boxes), None)
        raise UsageError(
            f"none of the boxes is of these {len(sources)} videos; the boxes are of "
            f"{example or 'no video'}, the first video is {next(iter(sources))}. Give the folder that the "
            "paths in the boxes start from (--boxes-root)."
        )
    base = Path(os.path.commonpath([source.parent for source in sources]))
    for done, (source, as_named) in enumerate(sources.items(), start=1):
        try:
            yield (
                as_named,
                source.relative_to(base),
                plan_crops(source, boxes, options, individuals=individuals),
            )
        except VideoError as error:
            failed[as_named] = error.reason_for(source)
        if progress:
            progress(done, len(sources), source.name)


def _files(name: Path, plans: Sequence[CropPlan], suffix: str) -> list[Path]:
    """Names of the crops of a video, which differ."""
    taken: set[str] = set()
    tails = (_file_name(plan.crop.individual, taken) if plan.crop.pieces else "whole" for plan in plans)
    stem = f"{name.stem}{name.suffix.replace('.', '-')}"
    return [Path("clips") / name.with_name(f"{stem}_{tail}{suffix}") for tail in tails]


def _row(file: Path, source: str, plan: CropPlan, num_frames: int) -> dict[str, object]:
    return {
        "video": file.as_posix(),
        "source": source,
        "individual": plan.crop.individual,
        "side_px": plan.crop.side_px,
        "num_frames": num_frames,
        "num_without_box": plan.num_without_box,
        "num_whole": plan.num_whole,
        "score": "" if plan.mean_score is None else f"{plan.mean_score:.3f}",
    }


def _earlier_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a `crops.csv` that was written before; none if there is none that can be read."""
    try:
        return [row for _, row in read_rows(path)] if path.is_file() else []
    except TableError:
        return []


def _check_labels(rows: Sequence[Mapping[str, object]], labels: Table | None) -> None:
    """Raise an error if labels do not say which of several individuals they are about."""
    if labels is None or "individual" in labels.columns:
        return
    by_source: dict[str, list[str]] = {}
    for row in rows:
        by_source.setdefault(str(row["source"]), []).append(str(row["individual"]))
    labelled = {os.path.abspath(labels.root / example.video) for example in labels.examples}
    for source, names in by_source.items():
        if len(names) > 1 and os.path.abspath(source) in labelled:
            raise UsageError(
                f"which of the individuals {', '.join(names[:5])} of {source} do its labels describe? Add a "
                "column individual to the table, or crop one individual only (--individuals 1)."
            )


def _write_table(path: Path, rows: Sequence[Mapping[str, object]], labels: Table) -> None:
    """Write the labels of the sources for their crops."""
    by_individual = "individual" in labels.columns
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
