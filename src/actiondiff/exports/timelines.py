"""Every format that timelines are written in, by name."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.exports.boris import write_aggregated, write_project, write_tabular
from actiondiff.exports.bouts import seen_from, write_bouts, write_json, write_scores
from actiondiff.exports.camtrap_dp import check_about, write_camtrap_dp
from actiondiff.exports.deepethogram import write_matrices
from actiondiff.inference.timeline import Timeline

__all__ = ["TIMELINE_FORMATS", "check_formats", "write_timelines"]

TIMELINE_FORMATS = ("csv", "json", "boris", "camtrap-dp", "deepethogram")


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
    """Write timelines.

    `csv`: `bouts.csv` and `scores.csv`. `json`: `timelines.json`. `boris`: a folder with `project.boris`,
    `aggregated.csv` and `tabular/`. `camtrap-dp` and `deepethogram`: a folder of that name each. Videos are
    named by their paths from `bouts.csv` and from `project.boris`, in `timelines.json` as given.

    Args:
        folder: Where to.
        timelines: Of one model.
        formats: Names of `TIMELINE_FORMATS`.
        model: What made them, in words.
        made: When; now if None.
        about: For camtrap-dp: table about the videos (see `write_camtrap_dp`).
        project: For camtrap-dp: YAML about the project.
        root: Folder that the videos' paths start from; None if they are mere names, which stay as they are.

    Raises:
        UnknownNameError: If there is no such format.
        UsageError: If camtrap-dp lacks its table or its project.
        TableError: If the table for camtrap-dp has problems.
    """
    check_formats(formats, about=about, project=project)
    folder, made = Path(folder), made or datetime.now(UTC)

    def named_from(place: Path) -> Sequence[Timeline]:
        return timelines if root is None else seen_from(place, timelines, root=root)

    def csv() -> None:
        named = named_from(folder)
        write_bouts(folder / "bouts.csv", named)
        write_scores(folder / "scores.csv", named)

    def boris() -> None:
        named = named_from(folder / "boris")  # BORIS looks for media from its project's folder
        write_project(folder / "boris" / "project.boris", named, model=model, made=made)
        write_aggregated(folder / "boris" / "aggregated.csv", named, made=made)
        write_tabular(folder / "boris" / "tabular", named, made=made)

    def camtrap_dp() -> None:
        assert about is not None  # checked above
        assert project is not None
        write_camtrap_dp(
            folder / "camtrap-dp", timelines, about=about, project=project, model=model, made=made
        )

    writers: dict[str, Callable[[], object]] = {
        "csv": csv,
        "json": lambda: write_json(folder / "timelines.json", timelines),
        "boris": boris,
        "camtrap-dp": camtrap_dp,
        "deepethogram": lambda: write_matrices(folder / "deepethogram", timelines),
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
    """Make sure that everything asked for can be written of these videos, before anything is computed.

    Raises:
        UnknownNameError: If there is no such format.
        UsageError: If camtrap-dp lacks its table or its project.
        TableError: If the table for camtrap-dp has problems.
    """
    for name in formats:
        if name not in TIMELINE_FORMATS:
            raise UnknownNameError("format", name, TIMELINE_FORMATS)
    if "camtrap-dp" not in formats:
        return
    if about is None or project is None:
        raise UsageError(
            "camtrap-dp needs a table about the videos (--about: where and when each was taken) and a YAML "
            "about the project (--project); see docs/your-data.md for both."
        )
    check_about(about, project, videos)
