"""Charades-Ego, version 1 (Sigurdsson et al., CVPR 2018): scripts filmed in first and third person."""

import csv
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from actiondiff.datasets.base import Table
from actiondiff.datasets.files import AnnotationFile, VideoIndex, find_annotations, require
from actiondiff.datasets.published import DatasetProtocol, PublishedDataset
from actiondiff.datasets.sheets import read_text, repeated_columns
from actiondiff.errors import TableError
from actiondiff.types import Example

__all__ = ["CHARADES_EGO", "read_charades_ego"]

_CLASSES = AnnotationFile(
    r"charades_v1_classes\.txt", "Charades_v1_classes.txt", "names of the 157 classes, c000 to c156"
)
_ROWS = AnnotationFile(
    r"charadesego_v1_(train|test)(_only(1st|3rd))?\.csv",
    "CharadesEgo_v1_train.csv and CharadesEgo_v1_test.csv",
    "videos and their actions; the four files that end with _only1st or _only3rd are read as well",
    count=2,
)
_COLUMNS = ("id", "subject", "script", "actions", "length", "egocentric")
_OFFICIAL_PATH = "CharadesEgo_v1_480/{}.mp4"
_VIEWPOINTS = {"Yes": "first", "No": "third"}
_FILE_ENDS = {"first": "only1st", "third": "only3rd"}
_KEY_LENGTH = 10


class _AnnotatedVideo(NamedTuple):
    """One row of the annotation files."""

    name: str
    split: str
    row: Mapping[str, str]
    actions: tuple[tuple[str, float, float], ...]  # (label, start, end), in seconds as written

    @property
    def viewpoint(self) -> str:
        return _VIEWPOINTS[self.row["egocentric"]]


def read_charades_ego(
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str] | None = None,
    *,
    protocol: str = "first-to-first",
    timed: bool = False,
) -> Table:
    """Read the whole videos of a protocol (see `CHARADES_EGO.protocols`), with every class they show.

    Labels are written as in the list of classes, like `c000 Holding some clothes`. They are complete: a
    video without actions shows none of the classes. The table's `group` is the subject. Its further columns
    are `viewpoint` (first or third), `subject`, `scene`, `script` (a key that videos of one script share),
    `length_seconds` and `official_split`.

    Args:
        annotations: Folder with the annotation files, at most four folders deep, or one of the files.
        videos: Folder with the videos at any depth, named by their ids; by default that of the annotations.
            A video that is not on disk keeps the path of the official packaging.
        protocol: Name of the protocol, which says which videos train and which test.
        timed: Give one example per action with its start and end, instead of one per video. Actions are
            clipped to the video, those that are then empty are left out, and overlapping ones of a class
            are merged. The paper's task is the whole video.

    Raises:
        UnknownNameError: If the protocol is unknown.
        UsageError: If the folder of annotations does not exist.
        TableError: If a file is missing or not as published.
    """
    CHARADES_EGO.protocol(protocol)
    files = find_annotations(annotations, (_CLASSES, _ROWS), dataset="charades-ego")
    classes = _classes(require(files, _CLASSES, annotations, "charades-ego")[0])
    require(files, _ROWS, annotations, "charades-ego")
    root = Path(annotations if videos is None else videos)
    index = VideoIndex(root.parent if root.is_file() else root)
    chosen = [video for part in _PARTS[protocol] for video in _read(files, *part, classes, annotations)]
    examples = [example for video in chosen for example in _examples(video, index, timed)]
    return Table(
        Path(annotations), index.root, tuple(examples), tuple(classes.values()), labels_are_complete=not timed
    )


_PARTS = {
    "first-to-first": (("train", "first"), ("test", "first")),
    "third-to-first": (("train", "third"), ("test", "first")),
    "first-to-third": (("train", "first"), ("test", "third")),
    "third-to-third": (("train", "third"), ("test", "third")),
    "all": tuple((split, viewpoint) for split in ("train", "test") for viewpoint in ("first", "third")),
}
"""Protocol -> (split, viewpoint) of the videos that it consists of."""


def _classes(path: Path) -> dict[str, str]:
    """c000 -> `c000 Holding some clothes`."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    wrong = [line for line in lines if not re.fullmatch(r"c\d{3} .+", line)]
    if wrong or not lines:
        what = (
            f"a line should be like 'c000 Holding some clothes'; got {wrong[0]!r}"
            if wrong
            else "the file is empty"
        )
        raise TableError(path, [what])
    return {line[:4]: line for line in lines}


def _read(
    files: Mapping[str, Path], split: str, viewpoint: str, classes: Mapping[str, str], folder: object
) -> list[_AnnotatedVideo]:
    """Videos of a split and viewpoint: from their own file, or from the file with both viewpoints."""
    own, both = f"charadesego_v1_{split}_{_FILE_ENDS[viewpoint]}.csv", f"charadesego_v1_{split}.csv"
    if own not in files and both not in files:
        name = f"CharadesEgo_v1_{split}.csv"
        raise TableError(
            folder, [f"neither {name} nor CharadesEgo_v1_{split}_{_FILE_ENDS[viewpoint]}.csv is there"]
        )
    path = files[own] if own in files else files[both]
    return [video for video in _videos(path, split, classes) if video.viewpoint == viewpoint]


def _videos(path: Path, split: str, classes: Mapping[str, str]) -> list[_AnnotatedVideo]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True, restval="")
    try:
        rows = list(reader)
    except csv.Error as error:
        raise TableError(
            path, [f"row {reader.line_num}: not valid CSV ({error}); download the file again"]
        ) from None
    if repeated := repeated_columns(reader.fieldnames or ()):
        raise TableError(path, repeated)
    missing = [name for name in _COLUMNS if rows and name not in rows[0]]
    if missing or not rows:
        what = f"the columns {', '.join(missing)} are missing" if missing else "the file has no rows"
        raise TableError(path, [f"{what}; use the files of version 1 (CharadesEgo_v1)"])
    problems: list[str] = []
    videos = [_video(row, split, number, classes, problems) for number, row in enumerate(rows, start=2)]
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    problems += [f"the video {name} is listed several times" for name in repeated]
    if problems:
        raise TableError(path, problems[:20])
    return [video for video in videos if video]


def _video(
    row: Mapping[str, str], split: str, number: int, classes: Mapping[str, str], problems: list[str]
) -> _AnnotatedVideo | None:
    try:
        parts = [text.split() for text in (row["actions"] or "").split(";") if text.strip()]
        actions = tuple((classes[name], float(start), float(end)) for name, start, end in parts)
        float(row["length"])
    except (KeyError, ValueError) as error:
        problems.append(f"row {number} ({row['id']}): actions should be like 'c092 11.90 21.20' ({error})")
        return None
    if row["egocentric"] not in _VIEWPOINTS or not row["id"]:
        problems.append(
            f"row {number}: a video needs an id, and Yes or No in egocentric; got {row['egocentric']!r}"
        )
        return None
    return _AnnotatedVideo(row["id"], split, row, actions)


def _examples(video: _AnnotatedVideo, index: VideoIndex, timed: bool) -> Iterator[Example]:
    labels = tuple(
        sorted({label for label, _, _ in video.actions})
    )  # several actions of one class give one label
    length = float(video.row["length"])
    spans = _spans(video.actions, length) if timed else [(labels, None, None)]
    for names, start, end in spans:
        yield Example(
            video=index.path_of(_OFFICIAL_PATH.format(video.name)),
            labels=names,
            start_seconds=start,
            end_seconds=end,
            split=video.split,
            group=video.row["subject"],
            columns={
                "viewpoint": video.viewpoint,
                "subject": video.row["subject"],
                "scene": video.row.get("scene", ""),
                "script": _key(video.row["script"]),
                "length_seconds": video.row["length"],
                "official_split": video.split,
            },
        )


def _spans(
    actions: Sequence[tuple[str, float, float]], length: float
) -> Iterable[tuple[tuple[str, ...], float, float]]:
    """Actions within the video, by their start; those of one class that touch or overlap are merged."""
    merged: dict[str, list[tuple[float, float]]] = {}
    for label, start, end in sorted(actions):
        start, end = max(0.0, start), min(end, length)
        if end <= start:
            continue
        bouts = merged.setdefault(label, [])
        if bouts and start <= bouts[-1][1]:
            bouts[-1] = (bouts[-1][0], max(end, bouts[-1][1]))
        else:
            bouts.append((start, end))
    flat = [((label,), start, end) for label, bouts in merged.items() for start, end in bouts]
    return sorted(flat, key=lambda bout: (bout[1], bout[2], bout[0]))


def _key(script: str) -> str:
    return hashlib.sha256(" ".join(script.split()).lower().encode()).hexdigest()[:_KEY_LENGTH]


def _protocol(source: str, target: str, train: int, test: int) -> DatasetProtocol:
    return DatasetProtocol(
        f"trained on {source}-person videos, tested on {target}-person ones; 157 classes, several per video",
        {"train": train, "test": test},
        "micro_map",
    )


CHARADES_EGO = PublishedDataset(
    name="charades-ego",
    title="Charades-Ego, version 1 (Sigurdsson et al., CVPR 2018)",
    home="https://prior.allenai.org/projects/charades-ego",
    licence="its own licence (license.txt on the official page): non-commercial research",
    steps=(
        "download the annotations and CharadesEgo_v1_480.tar (videos in 480p; or CharadesEgo_v1.tar, of the "
        "original size) from the official page",
        "unpack both below one folder; CharadesEgo_v1_train.csv, CharadesEgo_v1_test.csv and "
        "Charades_v1_classes.txt are enough; files for a single viewpoint are read where they exist",
    ),
    layout=_OFFICIAL_PATH.format("0A8CFEGO"),
    files=(_CLASSES, _ROWS),
    protocols={
        "first-to-first": _protocol("first", "first", 3084, 846),
        "third-to-first": _protocol("third", "first", 3083, 846),
        "first-to-third": _protocol("first", "third", 3084, 847),
        "third-to-third": _protocol("third", "third", 3083, 847),
        "all": DatasetProtocol(
            "all videos, official split; viewpoint is a column", {"train": 6167, "test": 1693}, "micro_map"
        ),
    },
    reader=read_charades_ego,
)
"""The dataset: what it consists of and where to get it."""
