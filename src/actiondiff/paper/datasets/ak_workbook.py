"""Reader of Animal Kingdom's spreadsheet `AR_metadata.xlsx`: its four sheets, with their quirks."""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import openpyxl

from actiondiff.errors import TableError

__all__ = ["Animal", "CareRow", "Workbook", "WorkbookClip", "read_workbook"]

_COLUMNS = {
    "AR": ("video_id", "type", "labels", "list_animal_action"),
    "CARe": ("train_test", "animal_class", "animal_sub_class", "animal", "video_id", "action"),
    "Action": ("Label", "Action"),
    "Animal": ("Animal", "Parent Class", "Class", "Sub-Class"),
}
_ALIASES = {"common quail": "common quail bird", "cuckoo bird": "common cuckoo bird"}
"""Name of an animal on the AR sheet -> its name on the Animal sheet, where the two differ."""
_MAX_PROBLEMS = 20  # number of problems that are listed; a wrong file has thousands

SheetRow: TypeAlias = dict[str, Any]
"""Column -> cell, as openpyxl reads it: text, number, date or None."""


class Animal(NamedTuple):
    """One row of the Animal sheet."""

    name: str
    parent_class: str
    animal_class: str
    sub_class: str


class WorkbookClip(NamedTuple):
    """One row of the AR sheet: one clip."""

    video_id: str
    split: str
    labels: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...]  # (animal, action)


class CareRow(NamedTuple):
    """One clip of the CARe sheet."""

    video_id: str
    split: str
    animal: str
    animal_class: str
    sub_class: str
    action: int


@dataclass(frozen=True)
class Workbook:
    """Contents of the spreadsheet.

    Attributes:
        clips: Clips of the AR sheet, in its order.
        care: Clips of the CARe sheet, each once.
        actions: Names of the actions, by label number.
        animals: Name in lower case -> animal.
    """

    clips: tuple[WorkbookClip, ...]
    care: tuple[CareRow, ...]
    actions: tuple[str, ...]
    animals: Mapping[str, Animal]

    def animal(self, name: str) -> Animal:
        """Look up an animal by its name on the AR sheet, in any case; an unknown animal has no classes."""
        key = name.strip().lower()
        return self.animals.get(_ALIASES.get(key, key), Animal(name, "", "", ""))


def read_workbook(path: Path) -> Workbook:
    """Read the spreadsheet; the contents of an unchanged file are cached.

    Raises:
        TableError: If the file is not that spreadsheet, or rows are not as published; the error lists the
            first twenty problems.
    """
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Workbook:
    sheets = _sheets(path)
    problems: list[str] = []
    actions = _actions(sheets["Action"], problems)
    clips = [_clip(row, number, len(actions), problems) for number, row in sheets["AR"]]
    repeated = [
        name for name, count in Counter(row["video_id"] for _, row in sheets["AR"]).items() if count > 1
    ]
    problems += [f"AR: the clip {name} is listed several times" for name in repeated]
    care = _care(sheets["CARe"], problems)
    named = [(str(row["Animal"] or "").strip(), number, row) for number, row in sheets["Animal"]]
    problems += [f"Animal row {number}: the animal has no name" for name, number, _ in named if not name]
    if problems:
        more = [f"and {len(problems) - _MAX_PROBLEMS} more"] if len(problems) > _MAX_PROBLEMS else []
        raise TableError(path, [*problems[:_MAX_PROBLEMS], *more])
    animals = {name.lower(): _animal(row) for name, _, row in named}
    return Workbook(tuple(clip for clip in clips if clip), tuple(care), actions, animals)


def _sheets(path: Path) -> dict[str, list[tuple[int, SheetRow]]]:
    """Sheet -> rows as (number, column -> cell); empty rows are left out."""
    try:
        book = openpyxl.load_workbook(path, read_only=True)
    except Exception as error:  # openpyxl raises whatever its zip and XML readers do
        raise TableError(
            path, [f"the file cannot be read as a spreadsheet ({error}); download it again"]
        ) from None
    try:
        missing = [name for name in _COLUMNS if name not in book.sheetnames]
        if missing:
            what = f"the sheets {', '.join(missing)} are missing; the file has {', '.join(book.sheetnames)}"
            raise TableError(path, [f"{what}. Use the AR_metadata.xlsx of the official page"])
        return {name: _rows(path, name, book[name].iter_rows(values_only=True)) for name in _COLUMNS}
    finally:
        book.close()


def _rows(path: Path, sheet: str, rows: Iterable[tuple[Any, ...]]) -> list[tuple[int, SheetRow]]:
    numbered = enumerate(rows, start=1)
    header = next((list(row) for _, row in numbered), [])
    missing = [name for name in _COLUMNS[sheet] if name not in header]
    if missing:
        columns = ", ".join(str(name) for name in header if name) or "none"
        raise TableError(
            path, [f"sheet {sheet}: the columns {', '.join(missing)} are missing; the columns are: {columns}"]
        )
    return [
        (number, dict(zip(header, row, strict=False)))
        for number, row in numbered
        if any(cell is not None for cell in row)
    ]


def _actions(rows: list[tuple[int, SheetRow]], problems: list[str]) -> tuple[str, ...]:
    """Names by label number; the row without a number (a broken formula) gets the one that is left."""
    names = {row["Label"]: str(row["Action"]).strip() for _, row in rows if isinstance(row["Label"], int)}
    unnumbered = [str(row["Action"]).strip() for _, row in rows if not isinstance(row["Label"], int)]
    left = sorted(set(range(len(rows))) - set(names))
    if len(unnumbered) == 1 and len(left) == 1:
        names[left[0]] = unnumbered[0]
    if sorted(names) != list(range(len(rows))):
        problems.append(
            f"Action: {len(rows)} actions should have the labels 0 to {len(rows) - 1}; without one: "
            f"{', '.join(unnumbered) or 'none'}; not given: {', '.join(map(str, left)) or 'none'}"
        )
    return tuple(names[number] for number in sorted(names))


def _clip(row: SheetRow, number: int, num_actions: int, problems: list[str]) -> WorkbookClip | None:
    try:
        labels = tuple(
            int(label) for label in str(row["labels"]).split(",")
        )  # a single label may be stored as a number
        pairs = tuple(_pairs(str(row["list_animal_action"])))
    except (ValueError, SyntaxError) as error:
        problems.append(f"AR row {number}: labels {row['labels']!r} or animals cannot be read ({error})")
        return None
    if row["type"] not in ("train", "test") or not row["video_id"]:
        problems.append(
            f"AR row {number}: a clip needs an id and the type train or test; got {row['type']!r}"
        )
        return None
    if not all(0 <= label < num_actions for label in labels):
        problems.append(f"AR row {number}: labels must be 0 to {num_actions - 1}; got {row['labels']}")
        return None
    return WorkbookClip(str(row["video_id"]), row["type"], tuple(dict.fromkeys(labels)), pairs)


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    """Pairs of animal and action from `[('Fox', 'Eating')]`, or from that text in a list."""
    for item in ast.literal_eval(text):
        if isinstance(item, str):
            yield from _pairs(item)
        else:
            animal, action = item
            yield str(animal).strip(), str(action).strip()


def _care(rows: list[tuple[int, SheetRow]], problems: list[str]) -> list[CareRow]:
    """Clips of the CARe sheet; it lists training clips twice, as `baseline` and as `train_bird` or so."""
    clips: dict[str, CareRow] = {}
    for number, row in rows:
        name = str(row["train_test"]).strip()
        split = "train" if name == "baseline" or name.startswith("train") else name
        video = str(row["video_id"]).strip()
        columns = ("animal", "animal_class", "animal_sub_class")
        animal, animal_class, sub_class = (str(row[column]).strip() for column in columns)
        clip = CareRow(video, split, animal, animal_class, sub_class, row["action"])
        if split not in ("train", "val", "test") or not isinstance(row["action"], int):
            problems.append(
                f"CARe row {number}: {name!r} and {row['action']!r} are not a split and an action number"
            )
        elif clips.setdefault(video, clip)[:2] != (video, split) or clips[video].action != clip.action:
            problems.append(f"CARe row {number}: {video} is in two splits or has two actions")
    return list(clips.values())


def _animal(row: SheetRow) -> Animal:
    return Animal(*(str(row[column] or "").strip() for column in _COLUMNS["Animal"]))
