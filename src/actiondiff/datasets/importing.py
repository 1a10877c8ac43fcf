"""Labels of other programs, read by the name of the program."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from actiondiff.datasets.boris import read_boris
from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.camtrap_dp import CamtrapLabel, read_camtrap_dp
from actiondiff.datasets.deepethogram import read_deepethogram
from actiondiff.datasets.elan import ElanLabel, read_elan
from actiondiff.datasets.via import read_via
from actiondiff.datasets.zamba import read_zamba
from actiondiff.errors import UnknownNameError, UsageError

__all__ = ["PROGRAMS", "read_labels"]

PROGRAMS: Mapping[str, str] = {
    "boris": "a .boris project, or events exported as CSV, TSV, XLSX or ODS",
    "deepethogram": "*_labels.csv, or a folder of them",
    "camtrap-dp": "a package with observations.csv and media.csv",
    "zamba": "a CSV with filepath and label",
    "via": "a project of VIA 3 (.json), or a CSV of it",
    "elan": "an .eaf file, or a folder of them",
}
"""Name of a program or format -> what is read."""

_OPTIONS = {"fps": ("deepethogram",), "label_from": ("camtrap-dp", "elan", "via"), "tiers": ("elan",)}


def read_labels(
    program: str,
    source: str | Path,
    *,
    fps: float | None = None,
    label_from: str | None = None,
    tiers: Sequence[str] = (),
    videos: Path | None = None,
) -> list[CodedBout]:
    """Read the labels of a program.

    Args:
        program: Name in `PROGRAMS`.
        source: File or folder.
        fps: For deepethogram: frames per second; None for the times in the videos.
        label_from: For camtrap-dp: `behavior` (the default) or `scientificName`; for elan: `value` (the
            default) or `tier`; for via: name of an attribute.
        tiers: For elan: the tiers to read; all if empty.
        videos: For deepethogram: folder that is searched for videos that are not beside their labels.

    Raises:
        UnknownNameError: If there is no program, column, tier or attribute of a name.
        UsageError: If the source does not exist, or an option has no effect for this program.
        TableError: If the source cannot be read; the error lists all problems.
    """
    if program not in PROGRAMS:
        raise UnknownNameError("program", program, PROGRAMS)
    for name, value in (("fps", fps), ("label_from", label_from), ("tiers", tiers)):
        if value and program not in _OPTIONS[name]:
            option = "--tier" if name == "tiers" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no effect on {program}; it is for {', '.join(_OPTIONS[name])}.")
    readers: dict[str, Callable[[], list[CodedBout]]] = {
        "boris": lambda: read_boris(source),
        "deepethogram": lambda: read_deepethogram(source, fps=fps, videos=videos),
        "camtrap-dp": lambda: read_camtrap_dp(source, label=_choice(label_from, get_args(CamtrapLabel))),
        "zamba": lambda: read_zamba(source),
        "via": lambda: read_via(source, attribute=label_from),
        "elan": lambda: read_elan(source, label=_choice(label_from, get_args(ElanLabel)), tiers=tiers),
    }
    return readers[program]()


def _choice(name: str | None, choices: Sequence[str]) -> Any:
    """The name, which is one of the choices, or the first choice if there is none."""
    if name is not None and name not in choices:
        raise UnknownNameError("choice of --label-from", name, choices)
    return name or choices[0]
