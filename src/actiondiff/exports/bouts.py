"""Export of bouts and scores over time to CSV and JSON."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actiondiff.exports.individuals import has_individuals, with_individual
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import text_of_cell, write_csv, write_text
from actiondiff.types import JSON, Bout
from actiondiff.types.display import titled

__all__ = [
    "BOUT_COLUMNS",
    "bout_rows",
    "read_bouts",
    "with_paths_from",
    "write_bouts",
    "write_json",
    "write_scores",
]

BOUT_COLUMNS = (
    "video", "label", "start_seconds", "end_seconds", "duration_seconds", "probability", "start_frame",
    "coverage", "padding_share",
)  # fmt: skip


def with_paths_from(
    folder: str | os.PathLike[str], timelines: Sequence[Timeline], *, root: str | os.PathLike[str] = "."
) -> list[Timeline]:
    """Name videos by their paths relative to a folder, so that files written to it lead to the videos.

    Args:
        folder: Folder that files about the videos are written to.
        timelines: The timelines. Names that are not files, such as those of frames in memory, do not change.
        root: Folder that the present paths are relative to.
    """
    base = Path(folder).resolve()
    paths = [Path(root, timeline.video) for timeline in timelines]
    return [
        replace(timeline, video=Path(os.path.relpath(path.resolve(), base)).as_posix())
        if path.is_file()
        else timeline
        for path, timeline in zip(paths, timelines, strict=True)
    ]


def bout_rows(timelines: Sequence[Timeline]) -> list[dict[str, str | int]]:
    """One row per bout; the first columns are those of a table of labels, with the individual of a crop."""
    return [
        {
            "video": timeline.video,
            "individual": timeline.individual,
            "label": bout.label,
            "start_seconds": f"{bout.start_seconds:.3f}",
            "end_seconds": f"{bout.end_seconds:.3f}",
            "duration_seconds": f"{bout.end_seconds - bout.start_seconds:.3f}",
            "probability": f"{bout.probability:.4f}",
            "start_frame": frame_at(timeline, bout.start_seconds),
            "coverage": f"{timeline.coverage:.4f}",
            "padding_share": f"{timeline.padding_share:.4f}",
        }
        for timeline in timelines
        for bout in timeline.bouts
    ]


def frame_at(timeline: Timeline, seconds: float) -> int:
    """Number of the raw frame at a time, interpolated between the sampled frames."""
    return round(float(np.interp(seconds, timeline.seconds, timeline.frame_index)))


def write_bouts(path: str | os.PathLike[str], timelines: Sequence[Timeline]) -> None:
    """Write `bouts.csv`, one row per bout; `actiondiff train` and `evaluate` can read it as a table."""
    columns = with_individual(BOUT_COLUMNS, wanted=has_individuals(timelines))
    write_csv(path, columns, bout_rows(timelines), line_end="\r\n")


def write_scores(path: str | os.PathLike[str], timelines: Sequence[Timeline]) -> None:
    """Write `scores.csv`, one row per sampled frame with the smoothed probability of each label."""
    labels = timelines[0].labels if timelines else ()
    columns = with_individual(
        ["video", "frame_index", "seconds", *[f"p({label})" for label in labels]],
        wanted=has_individuals(timelines),
    )
    rows = [
        {
            "video": timeline.video,
            "individual": timeline.individual,
            "frame_index": int(frame),
            "seconds": f"{second:.3f}",
            **{f"p({label})": f"{p:.5f}" for label, p in zip(labels, values, strict=True)},
        }
        for timeline in timelines
        for frame, second, values in zip(
            timeline.frame_index, timeline.seconds, timeline.probabilities.tolist(), strict=True
        )
    ]
    write_csv(path, columns, rows, line_end="\r\n")


def write_json(path: str | os.PathLike[str], timelines: Sequence[Timeline]) -> None:
    """Write `timelines.json`: the bouts, scores and options of each video, and its decoded share."""
    items: list[JSON] = [
        {
            "video": timeline.video,
            **({"individual": timeline.individual} if timeline.individual else {}),
            "labels": list(timeline.labels),
            "activation": timeline.activation,
            "end_seconds": round(timeline.end_seconds, 3),
            "coverage": round(timeline.coverage, 4),
            "padding_share": round(timeline.padding_share, 4),
            "distance": round(timeline.domain.distance, 4) if timeline.domain else None,
            "outside": list(timeline.domain.reasons) if timeline.domain else [],
            "options": timeline.options.model_dump(mode="json"),
            "thresholds": dict(timeline.thresholds),
            "bouts": [
                {
                    "label": bout.label,
                    "start_seconds": round(bout.start_seconds, 3),
                    "end_seconds": round(bout.end_seconds, 3),
                    "probability": round(bout.probability, 4),
                }
                for bout in timeline.bouts
            ],
            "seconds": [round(float(value), 3) for value in timeline.seconds],
            "probabilities": np.round(timeline.probabilities.astype(np.float64), 5).tolist(),
        }
        for timeline in timelines
    ]
    write_text(path, json.dumps(items) + "\n")


def read_bouts(path: str | os.PathLike[str]) -> dict[str, list[Bout]]:
    """Read what `write_bouts` wrote: video (and individual, as in `a.mp4 · fox`) -> bouts."""
    bouts: dict[str, list[Bout]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            times = float(row["start_seconds"]), float(row["end_seconds"])
            bout = Bout(text_of_cell(row["label"]), *times, float(row["probability"]))
            video, individual = (text_of_cell(row.get(name, "")) for name in ("video", "individual"))
            bouts.setdefault(titled(video, individual), []).append(bout)
    return bouts
