"""Export of bouts to BORIS: a project file, and the two kinds of text tables that BORIS itself exports.

The files are written as BORIS 9.12 writes them. A project has one observation per video, in which the
individuals that crops follow are subjects. A bout is two events, START and STOP, which BORIS tells apart by
their order alone; bouts of one subject and label must therefore not overlap. Probabilities are written into
the comment of a bout's start, as the files have no field for them.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePath

from actiondiff.datasets.boris_events import APART
from actiondiff.exports.bouts import frame_at
from actiondiff.exports.individuals import by_video, has_individuals
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import atomic_path, write_csv
from actiondiff.types import JSON, Bout

__all__ = ["LONGEST_NAME_BYTES", "observation_names", "write_aggregated", "write_project", "write_tabular"]

LONGEST_NAME_BYTES = 255 - len("_labels.csv")
"""Length of the longest name of an observation: file systems allow names of 255 bytes, suffix included."""

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
    """Write a `.boris` project: the ethogram, one observation per video, and the events of each.

    Args:
        path: File to write.
        timelines: Timelines that one model made, one per video, or one per individual that a crop follows.
        model: Description of the model, for the description of the project.
        made: When the timelines were made; becomes the date of the project and its observations.
    """
    labels = (
        [label for label in timelines[0].labels if label != _background(timelines[0])] if timelines else []
    )
    date = made.isoformat(timespec="seconds").split("+")[0]
    groups = by_video(timelines)
    subjects = dict.fromkeys(timeline.individual for timeline in timelines if timeline.individual)
    # That each individual was coded on its own is known to a reader of the file by a variable.
    variable = {"label": APART[0], "description": "Whether each individual was coded by itself.",
                "type": "text", "default value": "", "possible values": ""}  # fmt: skip
    project = {
        "time_format": "hh:mm:ss",
        "project_date": date,
        "project_name": Path(path).stem,
        "project_description": f"Bouts found by {model}; the comment of a start is its probability.",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(i): {"key": "", "name": name, "description": ""} for i, name in enumerate(subjects)
        },
        "behaviors_conf": {str(i): entry for i, entry in enumerate(_behaviours(labels))},
        "observations": {
            name: _observation(group, date) for name, group in zip(_names(groups), groups, strict=True)
        },
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "independent_variables": {"0": variable} if subjects else {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    with atomic_path(path) as aside:  # ASCII, since BORIS reads it in the encoding of the machine
        aside.write_text(json.dumps(project, indent=1, ensure_ascii=True) + "\n", "ascii")


def write_tabular(
    folder: str | os.PathLike[str], timelines: Sequence[Timeline], *, made: datetime
) -> list[Path]:
    """Write `<observation>.csv` per video, with one row per START or STOP ("tabular events")."""
    paths, groups = [], by_video(timelines)
    columns = _with_variable(_TABULAR, timelines)
    for name, group in zip(_names(groups), groups, strict=True):
        timeline = group[0]
        common = {
            **_common(name, timeline, made, columns, is_apart=has_individuals(group)),
            "Observation type": "Media file(s)",
            "Observation duration": f"{_coded(group):.3f}",
            "FPS": f"{_fps(timeline):.3f}",
            "Media file name": timeline.video,
            "Image file path": "NA",
        }
        rows = [
            {
                **common,
                "Subject": individual,
                "Behavior": bout.label,
                "Behavior type": kind,
                "Time": f"{seconds:.3f}",
                "Image index": frame_at(timeline, seconds),
                "Comment": _comment(bout) if kind == "START" else "",
            }
            for seconds, kind, bout, individual in _events(group)
        ]
        paths.append(Path(folder) / f"{name}.csv")
        write_csv(paths[-1], columns, rows, line_end="\r\n")
    return paths


def write_aggregated(path: str | os.PathLike[str], timelines: Sequence[Timeline], *, made: datetime) -> None:
    """Write a table of the bouts of all videos, one row per bout ("aggregated events")."""
    rows, groups = [], by_video(timelines)
    columns = _with_variable(_AGGREGATED, timelines)
    parts = [
        (name, group, timeline)
        for name, group in zip(_names(groups), groups, strict=True)
        for timeline in group
    ]
    for name, group, timeline in parts:
        common = {
            **_common(name, timeline, made, columns, is_apart=has_individuals(group)),
            "Observation type": "Media file",
            "Coding duration": f"{_coded(group):.3f}",
            "FPS (frame/s)": f"{_fps(timeline):.3f}",
            "Subject": timeline.individual or "No focal subject",
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
    write_csv(path, columns, rows, line_end="\r\n")


def observation_names(timelines: Iterable[Timeline]) -> list[str]:
    """A unique name for each: that of its file, with parent folders or a number where names repeat.

    The name of an individual, with `-` for what is neither letter nor digit, follows that of the file.
    """
    names: list[str] = []
    for timeline in timelines:
        path = PurePath(timeline.video.replace("\\", "/"))
        parents = [part for part in path.parent.parts if part.strip("/.:")]
        individual = re.sub(r"\W", "-", timeline.individual)
        stem = f"{path.stem}_{individual}" if individual else path.stem
        candidates = ["_".join([*parents[len(parents) - n :], stem]) for n in range(len(parents) + 1)]
        candidates += [f"{stem}-{number}" for number in range(2, len(names) + 3)]
        names.append(next(name for name in map(_short, candidates) if name not in names))
    return names


def _names(groups: Iterable[Sequence[Timeline]]) -> list[str]:
    """Names of observations, each of which is of one video."""
    return observation_names(replace(group[0], individual="") for group in groups)


def _with_variable(columns: tuple[str, ...], timelines: Sequence[Timeline]) -> tuple[str, ...]:
    """The columns, with the variable that says that individuals were coded apart if they were."""
    at = columns.index("Subject")
    return (*columns[:at], APART[0], *columns[at:]) if has_individuals(timelines) else columns


def _short(name: str) -> str:
    """A name that leaves room for a suffix in the name of a file; of a longer one, the start and a digest."""
    data = os.fsencode(name)
    if len(data) <= LONGEST_NAME_BYTES:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: LONGEST_NAME_BYTES - 9].decode('utf-8', 'ignore')}-{digest}"


def _behaviours(labels: Sequence[str]) -> list[dict[str, JSON]]:
    """The ethogram. The key of each behaviour is an unused letter of its name, or any unused letter."""
    used: set[str] = set()
    entries: list[dict[str, JSON]] = []
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


def _observation(timelines: Sequence[Timeline], date: str) -> dict[str, JSON]:
    """The observation of one video; each event is a list of time, subject, code, modifier, comment, frame."""
    timeline = timelines[0]
    video = timeline.video
    events: list[JSON] = [
        [
            round(seconds, 3), individual, bout.label, "", _comment(bout) if kind == "START" else "",
            frame_at(timeline, seconds),
        ]
        for seconds, kind, bout, individual in _events(timelines)
    ]  # fmt: skip
    return {
        "file": {"1": [video]},
        "type": "MEDIA",
        "date": date,
        "description": _description(timeline),
        "time offset": 0.0,
        "events": events,
        "independent_variables": {APART[0]: APART[1]} if has_individuals(timelines) else {},
        "media_info": {
            "length": {video: round(timeline.end_seconds, 3)},
            "fps": {video: round(_fps(timeline), 3)},
            "hasVideo": {video: True},
            "hasAudio": {video: False},
            "offset": {"1": 0.0},
        },
        "observation time interval": [0, 0],
    }


def _events(timelines: Sequence[Timeline]) -> list[tuple[float, str, Bout, str]]:
    """Starts and stops in order of time, with their individuals; at equal times, stops come before starts."""
    bouts = [(bout, timeline.individual) for timeline in timelines for bout in timeline.bouts]
    marks = [(bout.start_seconds, "START", bout, individual) for bout, individual in bouts]
    marks += [(bout.end_seconds, "STOP", bout, individual) for bout, individual in bouts]
    return sorted(marks, key=lambda mark: (round(mark[0], 3), mark[1] == "START", mark[2].label, mark[3]))


def _common(
    name: str, timeline: Timeline, made: datetime, columns: Sequence[str], *, is_apart: bool
) -> dict[str, str]:
    """The values that all rows of one video share; the other columns are empty."""
    values = {
        "Observation id": name,
        "Observation date": made.strftime("%Y-%m-%d %H:%M:%S"),
        "Description": _description(timeline),
        "Source": f"player #1:{timeline.video}",
        "Time offset (s)": "0.0",
        "Media duration (s)": f"{timeline.end_seconds:.3f}",
        APART[0]: APART[1] if is_apart else "",
    }
    return {**dict.fromkeys(columns, ""), **values}


def _coded(timelines: Sequence[Timeline]) -> float:
    """Seconds from the first coded event to the last."""
    bouts = [bout for timeline in timelines for bout in timeline.bouts]
    times = [t for bout in bouts for t in (bout.start_seconds, bout.end_seconds)]
    return max(times) - min(times) if times else 0.0


def _fps(timeline: Timeline) -> float:
    """Raw frames per second, from the times of the sampled frames; 0 if there is only one."""
    seconds, index = timeline.seconds, timeline.frame_index
    time = float(seconds[-1] - seconds[0])
    return float(index[-1] - index[0]) / time if time > 0 else 0.0


def _description(timeline: Timeline) -> str:
    return f"{timeline.coverage:.1%} of the video decoded."


def _comment(bout: Bout) -> str:
    return f"p={bout.probability:.2f}"


def _background(timeline: Timeline) -> str:
    return timeline.options.background
