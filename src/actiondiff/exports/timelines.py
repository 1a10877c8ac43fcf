"""Export of timelines to every format, chosen by name."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.exports.boris import LONGEST_NAME_BYTES, write_aggregated, write_project, write_tabular
from actiondiff.exports.bouts import with_paths_from, write_bouts, write_json, write_scores
from actiondiff.exports.camtrap_dp import check_about, write_camtrap_dp
from actiondiff.exports.deepethogram import write_matrices
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import utf8_name

__all__ = ["TIMELINE_FILES", "TIMELINE_FORMATS", "check_formats", "write_timelines"]

TIMELINE_FILES = {
    "csv": ("bouts.csv", "scores.csv"),
    "json": ("timelines.json",),
    "boris": ("boris/",),
    "camtrap-dp": ("camtrap-dp/",),
    "deepethogram": ("deepethogram/",),
}
"""Format -> files that it is written to; a name that ends with a slash is a folder."""

TIMELINE_FORMATS = tuple(TIMELINE_FILES)


def write_timelines(
    folder: str | os.PathLike[str],
    timelines: Sequence[Timeline],
    formats: Sequence[str],
    *,
    model: str,
    made: datetime | None = None,
    about: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = ".",
) -> None:
    """Write timelines in one or more formats.

    `csv` writes `bouts.csv` and `scores.csv`; `json` writes `timelines.json`; `boris` writes a folder with
    `project.boris`, `aggregated.csv` and `tabular/`. `camtrap-dp` and `deepethogram` write a folder of that
    name. In tables and in `project.boris`, the paths of videos are relative to the file; in `timelines.json`
    they are as given.

    Args:
        folder: Folder to write to; created if it does not exist.
        timelines: Timelines that one model made, one per video, or one per individual that a crop follows.
        formats: Names of `TIMELINE_FORMATS`.
        model: Description of the model.
        made: When the timelines were made; now if None.
        about: For camtrap-dp: table about the videos (see `write_camtrap_dp`).
        project: For camtrap-dp: YAML file about the project.
        root: Folder that the videos' paths are relative to; None if they are names only, which do not change.

    Raises:
        UnknownNameError: If there is no such format.
        UsageError: If camtrap-dp lacks its table or its project.
        TableError: If the table for camtrap-dp has problems.
    """
    check_formats(formats, about=about, project=project)
    folder, made = Path(folder), made or datetime.now(UTC)

    def named_from(base: Path) -> Sequence[Timeline]:
        return timelines if root is None else with_paths_from(base, timelines, root=root)

    def csv() -> None:
        named = named_from(folder)
        write_bouts(folder / "bouts.csv", named)
        write_scores(folder / "scores.csv", named)

    def boris() -> None:
        named = named_from(folder / "boris")  # BORIS looks for videos relative to the folder of its project
        write_project(folder / "boris" / "project.boris", named, model=model, made=made)
        write_aggregated(folder / "boris" / "aggregated.csv", named, made=made)
        write_tabular(folder / "boris" / "tabular", named_from(folder / "boris" / "tabular"), made=made)

    def camtrap_dp() -> None:
        assert about is not None  # check_formats has made sure
        assert project is not None
        write_camtrap_dp(
            folder / "camtrap-dp", timelines, about=about, project=project, model=model, made=made,
            locations=[timeline.video for timeline in named_from(folder / "camtrap-dp")],
        )  # fmt: skip

    writers: dict[str, Callable[[], object]] = {
        "csv": csv,
        "json": lambda: write_json(folder / "timelines.json", timelines),
        "boris": boris,
        "camtrap-dp": camtrap_dp,
        "deepethogram": lambda: write_matrices(folder / "deepethogram", named_from(folder / "deepethogram")),
    }
    for name in formats:
        writers[name]()


def check_formats(
    formats: Sequence[str],
    *,
    about: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    videos: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Make sure, before anything is computed, that all formats can be written for these videos.

    Raises:
        UnknownNameError: If there is no such format.
        UsageError: If camtrap-dp lacks its table or its project, or a format cannot hold the name of a video.
        TableError: If the table for camtrap-dp has problems.
    """
    for name in formats:
        if name not in TIMELINE_FORMATS:
            raise UnknownNameError("format", name, TIMELINE_FORMATS)
    for video in map(Path, videos):
        _check_name(video, formats)
    if "camtrap-dp" not in formats:
        return
    if about is None or project is None:
        raise UsageError(
            "camtrap-dp needs a table that says where and when each video was taken (--about) and a YAML "
            "file about the project (--project); see docs/your-data.md for both."
        )
    check_about(about, project, videos)


def _check_name(video: Path, formats: Sequence[str]) -> None:
    """Refuse a video whose name a format cannot hold."""
    name, readable = str(video), utf8_name(str(video))
    for format_name in ("boris", "camtrap-dp"):
        if format_name in formats and any(0xDC80 <= ord(letter) <= 0xDCFF for letter in name):
            raise UsageError(
                f"{format_name} cannot hold the name {readable}, which has bytes that are not UTF-8; rename "
                "the video."
            )
    length = len(os.fsencode(video.stem))
    if "deepethogram" in formats and length > LONGEST_NAME_BYTES:
        raise UsageError(
            f"deepethogram names its files after the video, and {readable[:60]}... is too long for that "
            f"({length} bytes; {LONGEST_NAME_BYTES} are possible); rename the video."
        )
