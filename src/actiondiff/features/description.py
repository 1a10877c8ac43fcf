"""store.json: the settings with which the features of a store were made."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from actiondiff.errors import SettingsMismatchError, StoreError, UsageError
from actiondiff.features.manifest import locked
from actiondiff.outputs import STATE_FOLDER
from actiondiff.provenance import (
    canonical_json,
    check_own_folder,
    differences,
    environment,
    fingerprint,
    write_text,
)
from actiondiff.types import JSON

__all__ = [
    "CROPS_FOLDER",
    "FORMAT",
    "Description",
    "StoreDtype",
    "check_settings",
    "create_description",
    "has_store",
    "read_description",
]

FORMAT = 1
StoreDtype: TypeAlias = Literal["float32", "float16"]
CROPS_FOLDER = "crops"
"""Folder of a store in which `extract --boxes` writes the crops that it reads."""

_NAME = "store.json"
_SETTINGS = {"format", "backbone", "sampling", "store_dtype"}


@dataclass(frozen=True)
class Description:
    """The content of store.json.

    Attributes:
        settings: Everything that makes a number: `format`, `backbone`, `sampling`, `store_dtype`.
        fingerprint: Fingerprint of the settings.
        root: Folder that the videos' names are relative to.
    """

    settings: Mapping[str, JSON]
    fingerprint: str
    root: Path


def has_store(folder: Path) -> bool:
    """Whether there is a store in a folder; False if the folder is empty or does not exist.

    Raises:
        StoreError: If the folder holds something else.
    """
    visible = {item.name for item in folder.iterdir() if item.name[0] != "."} if folder.is_dir() else set()
    if visible == {CROPS_FOLDER} and (folder / CROPS_FOLDER / STATE_FOLDER).is_dir():
        return False  # an extraction from crops was interrupted when it had written these
    return _NAME in check_own_folder(folder, "feature store", [_NAME], error=StoreError)


def check_settings(stored: Mapping[str, JSON], requested: Mapping[str, JSON], folder: Path) -> None:
    """Make sure that the requested settings are those of the store in a folder.

    Raises:
        SettingsMismatchError: If they differ; the error lists the fields that do.
        UsageError: If fields are missing or unknown, or the dtype is not allowed.
    """
    mismatches = differences(_plain(requested), stored)
    if mismatches:
        raise SettingsMismatchError(
            f"the feature store {folder} was made with other settings (requested against stored)",
            mismatches,
            "Use the settings of the store, or give another folder.",
        )


def create_description(
    folder: Path, settings: Mapping[str, JSON], root: str | os.PathLike[str]
) -> Description:
    """Describe a new store, or make sure that the existing one has these settings.

    If several processes do this at the same time, one writes and the others check.

    Raises:
        SettingsMismatchError: If there is a store with other settings.
        StoreError: If the folder holds something else.
        UsageError: If fields are missing or unknown, or the dtype is not allowed.
    """
    settings = _plain(settings)
    has_store(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not (folder / _NAME).is_file():
            content = {
                "settings": settings,
                "fingerprint": fingerprint(settings),
                "root": Path(os.path.abspath(root)).as_posix(),
                "environment": environment(),
            }
            write_text(folder / _NAME, json.dumps(content, indent=2, sort_keys=True) + "\n")
    description = read_description(folder)
    check_settings(description.settings, settings, folder)
    return description


def read_description(folder: Path) -> Description:
    """Read store.json.

    Raises:
        StoreError: If the file does not exist, is damaged, or has another format.
    """
    path = folder / _NAME
    if not path.is_file():
        raise StoreError(f"{folder} is not a feature store (no {_NAME}). Create one: actiondiff extract")
    try:
        content = json.loads(path.read_text("utf-8"))
        settings, recorded, root = content["settings"], content["fingerprint"], Path(content["root"])
        file_format = settings["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error!r}); restore it, or extract into a new folder."
        ) from None
    if file_format != FORMAT:
        raise StoreError(
            f"{folder} is a feature store of format {file_format}; this version reads format {FORMAT}. Use "
            "the version of actiondiff that made it, or extract again into a new folder."
        )
    if fingerprint(settings) != recorded:
        raise StoreError(
            f"{path}: its settings do not fit its fingerprint; were they changed by hand? Restore it."
        )
    return Description(settings, recorded, root)


def _plain(settings: Mapping[str, JSON]) -> dict[str, JSON]:
    """Settings as they are after writing them to JSON and reading them.

    Raises:
        UsageError: If fields are missing or unknown, or the dtype is not allowed.
    """
    dtypes = get_args(StoreDtype)
    if set(settings) != _SETTINGS or settings["store_dtype"] not in dtypes:
        raise UsageError(
            f"a store's settings are {', '.join(sorted(_SETTINGS))} with store_dtype "
            f"{' or '.join(dtypes)}; got {dict(settings)!r}."
        )
    plain: dict[str, JSON] = json.loads(canonical_json(dict(settings)))
    return plain
