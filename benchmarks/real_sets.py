"""Three small sets of real clips, made from a folder of clips with an `index.csv` of their classes.

The sets are as coarse as few clips of many sources allow: animals or people, movements of the arms or of the
whole body, and boxing or clapping of one person. In the first two, a group is a clip of its own, and its
spans stay together; in the third, a group is three seconds of one of two recordings, so its scores are those
of known recordings.
"""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_real_sets"]

_SPANS = 2.0  # seconds
_MOST_SPANS = 2  # of a clip, so that long clips do not count for more
_SLOW = 5.0  # frames per second; slower clips are one span, because spans would have no frame
_ANIMALS = ("baboon", "eland", "hyena", "chimpanzee group", "camera trap")
_ARMS = ("wave", "boxing", "handclapping", "arm wrestling", "flipping pancake", "A001 drink water")
_BODY = ("jump", "walk", "abseiling", "Basketball", "jumping jack", "weightlifting", "fight")
_DAMAGED = "made_"


def write_real_sets(videos: Path, folder: Path) -> dict[str, Path]:
    """Write the tables of the sets, whose videos are named by their place in `videos`.

    Args:
        videos: Folder of the clips and of `index.csv` (columns `file`, `class`, `avg_fps` and `duration_s`).
        folder: Folder to write to.

    Returns:
        Name of the set -> its table.
    """
    with (videos / "index.csv").open(encoding="utf-8", newline="") as file:
        clips = [row for row in csv.DictReader(file) if row["class"] and not row["file"].startswith(_DAMAGED)]
    kinds = {"animals or people": _animal, "arms or whole body": _limb, "boxing or clapping": _fists}
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name, label_of in kinds.items():
        rows = [
            {
                "video": Path(os.path.relpath(videos / clip["file"], folder)).as_posix(),
                "label": label,
                **times,
            }
            for clip in clips
            if (label := label_of(clip["class"]))
            for times in _spans(clip, in_blocks=label_of is _fists)
        ]
        tables[name] = folder / f"{name.replace(' ', '-')}.csv"
        with tables[name].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return tables


def _spans(clip: Mapping[str, str], *, in_blocks: bool) -> list[dict[str, str]]:
    """Spans of a clip, and the group of each."""
    seconds = float(clip["duration_s"])
    if in_blocks:
        return [
            {
                "start_seconds": str(second),
                "end_seconds": str(second + 1),
                "group": f"{clip['file']}-{second // 3}",
            }
            for second in range(int(seconds) // 3 * 3)
        ]
    length = _SPANS if float(clip["avg_fps"]) > _SLOW else seconds
    return [
        {
            "start_seconds": f"{number * length:g}",
            "end_seconds": f"{min((number + 1) * length, seconds):g}",
            "group": clip["file"],
        }
        for number in range(min(max(int(seconds / length), 1), _MOST_SPANS))
    ]


def _animal(name: str) -> str:
    return "animal" if name in _ANIMALS else "person"


def _limb(name: str) -> str:
    return "arms" if name in _ARMS or name.startswith("ApplyEyeMakeup") else "body" if name in _BODY else ""


def _fists(name: str) -> str:
    return name if name in ("boxing", "handclapping") else ""
