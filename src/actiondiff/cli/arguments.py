"""Checks of a command's arguments before anything heavy is imported: do paths exist, in the right order?"""

import difflib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from actiondiff.errors import UsageError

__all__ = ["check_arguments"]

Kind = Literal["run", "store", "table", "video", "folder", "nothing"]
"""What a path leads to."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "train": ("store", "table"),
    "evaluate": ("run", "store", "table"),
    "predict": ("run", "paths"),
    "localize": ("run", "video"),
    "app": ("run", "folder"),
    "extract": ("paths",),
    "start": ("folder", "labels"),
    "sweep": ("store", "table"),
    "compare": ("first", "second"),
    "check": ("paths",),
    "spans": ("table",),
    "add": ("table", "more"),
    "verify": ("store",),
    "report": ("folder",),
}
"""Command -> its arguments, in order; what each accepts is in `_ACCEPTS`."""

_ACCEPTS: Mapping[str, frozenset[Kind]] = {
    "run": frozenset({"run"}),
    "store": frozenset({"store"}),
    "table": frozenset({"table", "folder"}),
    "paths": frozenset({"video", "folder", "table"}),
    "video": frozenset({"video"}),
    "folder": frozenset({"folder"}),
    "labels": frozenset({"table", "folder", "video"}),  # `video` is any file
    "first": frozenset({"run"}),
    "second": frozenset({"run"}),
    "more": frozenset({"table"}),
}
_ABSENT = {
    "run": "there is no folder {path}; give the one that actiondiff train wrote, or a hub id.",
    "store": "{path} is not a feature store: it does not exist. Make one with actiondiff extract.",
    "table": "there is no table at {path}; give a CSV with the columns video and label, or a folder.",
    "paths": "{path} does not exist; give video files or folders that hold them.",
    "video": "{path} does not exist; give a video file.",
    "folder": "{path} is not a folder; give the folder that holds the videos.",
    "report folder": "there is no folder {path}; give that of a run, an evaluation, predictions or a sweep.",
    "labels": "there are no labels at {path}; give a CSV with video and label, a folder per class, a BORIS "
    "project, or DeepEthogram's *_labels.csv.",
    "first": "there is no run at {path}. Give a folder of actiondiff train.",
    "second": "there is no run at {path}. Give a folder of actiondiff train.",
    "more": "there is no table at {path}; give a CSV with the columns video and label.",
}
_TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".ods")


def check_arguments(command: str, values: Mapping[str, Any]) -> None:
    """Make sure that the paths among a command's arguments exist, and are in the right order.

    Args:
        command: Name of the command.
        values: Value of each argument by its name.

    Raises:
        UsageError: If they are not.
    """
    if command == "extract" and _kind(Path(values["out"])) == "store":
        return  # the store may hold latents of videos that were deleted
    all_paths = {name: _first_path(values.get(name)) for name in ROLES.get(command, ())}
    paths = {name: path for name, path in all_paths.items() if path is not None}
    _check_order(command, paths)
    for name in paths:
        value = values[name]
        for path in map(Path, value if isinstance(value, list | tuple) else [value]):
            if not path.exists() and not (name == "run" and _may_be_on_the_hub(path)):
                message = _ABSENT.get(f"{command} {name}", _ABSENT[name])
                raise UsageError(message.format(path=path) + _similar(path))


def _check_order(command: str, paths: Mapping[str, Path]) -> None:
    """Refuse arguments that fit their places only in another order."""
    names = list(paths)
    kinds = [_kind(path) for path in paths.values()]
    if all(kind in _ACCEPTS[name] for name, kind in zip(names, kinds, strict=True)) or "nothing" in kinds:
        return
    for order in itertools.permutations(range(len(names))):
        if all(kinds[n] in _ACCEPTS[name] for name, n in zip(names, order, strict=True)):
            usage = " ".join(name.upper() for name in names)
            sorted_paths = " ".join(str(list(paths.values())[n]) for n in order)
            raise UsageError(
                f"the arguments of actiondiff {command} are {usage}, in this order; got "
                f"{' '.join(map(str, paths.values()))}. Run: actiondiff {command} {sorted_paths} ..."
            )


def _first_path(value: object) -> Path | None:
    if isinstance(value, list | tuple):
        return _first_path(value[0]) if value else None
    return Path(value) if isinstance(value, str | Path) else None


def _kind(path: Path) -> Kind:
    if path.is_dir():
        if (path / "store.json").is_file():
            return "store"
        if (path / "config.json").is_file() or (path / "best-seed.txt").is_file():
            return "run"
        return "folder"
    if path.is_file():
        return "table" if path.suffix.lower() in _TABLES else "video"
    return "nothing"


def _may_be_on_the_hub(path: Path) -> bool:
    """Whether a path that does not exist may be the name `owner/name` of a model on the hub."""
    return len(path.parts) == 2 and not path.is_absolute() and not path.parent.exists()


def _similar(path: Path) -> str:
    """A question that names the entry of the same folder whose name is most alike; empty if there is none."""
    try:
        names: Sequence[str] = [item.name for item in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" Did you mean {path.with_name(close[0])}?" if close else ""
