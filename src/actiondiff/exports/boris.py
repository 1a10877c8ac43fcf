"""Bouts for BORIS: a project that it opens, and its two kinds of text tables for other programs.

Written as BORIS 9.12 writes them. A project has one observation a video; a bout is two events, START and
STOP, which BORIS tells apart by their order alone, so bouts of a label may not overlap. Its files have no
place for a probability but the comment of a bout's start.
"""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from actiondiff.exports.bouts import frame_at
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import atomic_path, write_csv
from actiondiff.types import Bout

__all__ = ["observation_names", "write_aggregated", "write_project", "write_tabular"]

_TABULAR = (
    "Observation id", "Observation date", "Description", "Observation duration", "Observation type", "Source",
    "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category",
    "Behavior type", "Time", "Media file name", "Image index", "Image file path", "Comment",
)  # fmt: skip
_AGGREGATED = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type",
    "Start (s)", "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop",
    "Image file path start", "Image file path stop", "Comment start", "Comment stop",
)  # fmt: skip


def write_project(
    path: str | os.PathLike[str], timelines: Sequence[Timeline], *, model: str, made: datetime
) -> None:
    """Write a `.boris` project: ethogram, one observation a video, its events.

    Args:
        path: The file.
        timelines: Of videos of one model.
        model: What made them, for the project's description.
        made: When; it stands as the date of project and observations.
    """
    labels = [label for label in (timelines[0].labels if timelines else ()) if label != _none(timelines[0])]
    date = made.isoformat(timespec="seconds").split("+")[0]
    project = {
        "time_format": "hh:mm:ss",
        "project_date": date,
        "project_name": Path(path).stem,
        "project_description": f"Bouts found by {model}; the comment of a start is its probability.",
        "project_format_version": "7.0",
        "subjects_conf": {},
        "behaviors_conf": {str(i): entry for i, entry in enumerate(_behaviours(labels))},
        "observations": {
            name: _observation(timeline, date)
            for name, timeline in zip(observation_names(timelines), timelines, strict=True)
        },
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    with atomic_path(path) as aside:  # ASCII: BORIS opens it in the machine's own encoding
        aside.write_text(json.dumps(project, indent=1, ensure_ascii=True) + "\n", "ascii")


def write_tabular(
    folder: str | os.PathLike[str], timelines: Sequence[Timeline], *, made: datetime
) -> list[Path]:
    """Write `<observation>.csv` a video: a row a START or STOP ("tabular events")."""
    paths = []
    for name, timeline in zip(observation_names(timelines), timelines, strict=True):
        common = {
            **_common(name, timeline, made, _TABULAR),
            "Observation type": "Media file(s)",
            "Observation duration": f"{_coded(timeline):.3f}",
            "FPS": f"{_fps(timeline):.3f}",
            "Media file name": timeline.video,
            "Image file path": "NA",
        }
        rows = [
            {
                **common,
                "Behavior": bout.label,
                "Behavior type": kind,
                "Time": f"{seconds:.3f}",
                "Image index": frame_at(timeline, seconds),
                "Comment": _comment(bout) if kind == "START" else "",
            }
            for seconds, kind, bout in _events(timeline)
        ]
        paths.append(Path(folder) / f"{name}.csv")
        write_csv(paths[-1], _TABULAR, rows, line_end="\r\n")
    return paths


def write_aggregated(path: str | os.PathLike[str], timelines: Sequence[Timeline], *, made: datetime) -> None:
    """Write a row a bout, of all videos ("aggregated events")."""
    rows = []
    for name, timeline in zip(observation_names(timelines), timelines, strict=True):
        common = {
            **_common(name, timeline, made, _AGGREGATED),
            "Observation type": "Media file",
            "Coding duration": f"{_coded(timeline):.3f}",
            "FPS (frame/s)": f"{_fps(timeline):.3f}",
            "Subject": "No focal subject",
            "Observation duration by subject by observation": f"{sum(timeline.budget().values()):.3f}",
            "Behavioral category": "Not defined",
            "Behavior type": "STATE",
            "Media file name": timeline.video,
        }
        rows += [
            {
                **common,
                "Behavior": bout.label,
                "Start (s)": f"{bout.start_seconds:.3f}",
                "Stop (s)": f"{bout.end_seconds:.3f}",
                "Duration (s)": f"{bout.end_seconds - bout.start_seconds:.3f}",
                "Image index start": frame_at(timeline, bout.start_seconds),
                "Image index stop": frame_at(timeline, bout.end_seconds),
                "Comment start": _comment(bout),
            }
            for bout in timeline.bouts
        ]
    write_csv(path, _AGGREGATED, rows, line_end="\r\n")


def observation_names(timelines: Iterable[Timeline]) -> list[str]:
    """A name a video: its file's, with more of its path or a number where that is not enough."""
    names: list[str] = []
    for timeline in timelines:
        path = PurePath(timeline.video.replace("\\", "/"))
        parents = [part for part in path.parent.parts if part.strip("/.:")]
        tries = ["_".join([*parents[len(parents) - n :], path.stem]) for n in range(len(parents) + 1)]
        tries += [f"{path.stem}-{number}" for number in range(2, len(names) + 3)]
        names.append(next(name for name in tries if name not in names))
    return names


def _behaviours(labels: Sequence[str]) -> list[dict[str, Any]]:
    """The ethogram; each behaviour gets a free letter of its own name as key, where there is one."""
    used: set[str] = set()
    entries: list[dict[str, Any]] = []
    for label in labels:
        letters = [*label.lower(), *"abcdefghijklmnopqrstuvwxyz0123456789"]
        free = (c for c in letters if c.isascii() and c.isalnum() and c not in used)
        key = next(free, "")
        used.add(key)
        entries.append(
            {
                "type": "State event", "key": key, "code": label, "description": "", "color": "",
                "category": "", "modifiers": {}, "excluded": "", "coding map": "",
            }
        )  # fmt: skip
    return entries


def _observation(timeline: Timeline, date: str) -> dict[str, Any]:
    video = timeline.video
    events = [
        [
            round(seconds, 3), "", bout.label, "", _comment(bout) if kind == "START" else "",
            frame_at(timeline, seconds),
        ]
        for seconds, kind, bout in _events(timeline)
    ]  # fmt: skip
    return {
        "file": {"1": [video]},
        "type": "MEDIA",
        "date": date,
        "description": _description(timeline),
        "time offset": 0.0,
        "events": events,
        "independent_variables": {},
        "media_info": {
            "length": {video: round(timeline.end_seconds, 3)},
            "fps": {video: round(_fps(timeline), 3)},
            "hasVideo": {video: True},
            "hasAudio": {video: False},
            "offset": {"1": 0.0},
        },
        "observation time interval": [0, 0],
    }


def _events(timeline: Timeline) -> list[tuple[float, str, Bout]]:
    """Starts and stops in time order; at equal times what ends comes before what begins."""
    marks = [(bout.start_seconds, "START", bout) for bout in timeline.bouts]
    marks += [(bout.end_seconds, "STOP", bout) for bout in timeline.bouts]
    return sorted(marks, key=lambda mark: (round(mark[0], 3), mark[1] == "START", mark[2].label))


def _common(name: str, timeline: Timeline, made: datetime, columns: Sequence[str]) -> dict[str, Any]:
    values = {
        "Observation id": name,
        "Observation date": made.strftime("%Y-%m-%d %H:%M:%S"),
        "Description": _description(timeline),
        "Source": f"player #1:{timeline.video}",
        "Time offset (s)": "0.0",
        "Media duration (s)": f"{timeline.end_seconds:.3f}",
    }
    return {**dict.fromkeys(columns, ""), **values}


def _coded(timeline: Timeline) -> float:
    """From the first coded event to the last."""
    times = [t for bout in timeline.bouts for t in (bout.start_seconds, bout.end_seconds)]
    return max(times) - min(times) if times else 0.0


def _fps(timeline: Timeline) -> float:
    """Raw frames a second, from the sampled ones; 0 if there is only one."""
    seconds, index = timeline.seconds, timeline.frame_index
    time = float(seconds[-1] - seconds[0])
    return float(index[-1] - index[0]) / time if time > 0 else 0.0


def _description(timeline: Timeline) -> str:
    return f"{timeline.coverage:.1%} of the video decoded."


def _comment(bout: Bout) -> str:
    return f"p={bout.probability:.2f}"


def _none(timeline: Timeline) -> str:
    return timeline.options.background
