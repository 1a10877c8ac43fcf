"""Finding a dataset's annotation files and videos on disk by their names."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from actiondiff.errors import TableError, UsageError
from actiondiff.video.probe import find_videos

__all__ = [
    "STAND_IN_MARKER",
    "AnnotationFile",
    "MediaFinder",
    "VideoIndex",
    "find_annotations",
    "is_stand_in",
    "require",
]

STAND_IN_MARKER = "stand-in.json"
"""A file of this name in a folder says that its videos are stand-ins."""

_DEPTH = 4  # folders below the one given that are searched for annotation files


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file that a dataset needs.

    Attributes:
        pattern: Regular expression of its name, in lower case.
        example: Its name, for people.
        purpose: What it says.
        count: How many such files there are.
        needed: Whether reading fails without it.
    """

    pattern: str
    example: str
    purpose: str
    count: int = 1
    needed: bool = True


class VideoIndex:
    """The videos below a folder, found by their names whatever the folders and suffixes.

    Args:
        root: The folder; one that does not exist has no videos.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        found = find_videos([root]) if root.is_dir() else []
        self._exact: dict[str, list[str]] = {}
        self._plain: dict[str, list[str]] = {}
        for path in sorted(found, key=lambda path: (len(path.parts), path.as_posix())):
            name = path.relative_to(root).as_posix()
            self._exact.setdefault(path.stem, []).append(name)
            self._plain.setdefault(_plain(path.stem), []).append(name)
        self.num_videos = len(found)

    def find(self, stem: str) -> str | None:
        """Path of a video relative to the root, by its name without suffix; None if it is not there.

        The very name goes first; else one that differs in case and in characters other than letters and
        digits (unpackers drop brackets and the like), if there is one only. Of several places, the one in
        the fewest folders.
        """
        exact = self._exact.get(stem)
        if exact:
            return exact[0]
        alike = self._plain.get(_plain(stem), [])
        return alike[0] if len({PurePosixPath(name).stem for name in alike}) == 1 else None

    def place(self, official: str) -> str:
        """Where a video is; if it is not on disk, the path it has in the official packaging."""
        return self.find(PurePosixPath(official).stem) or official

    def repeated(self) -> dict[str, list[str]]:
        """Names that are in several places: name without suffix -> paths."""
        return {stem: names for stem, names in self._exact.items() if len(names) > 1}


def find_annotations(
    folder: str | os.PathLike[str], files: Sequence[AnnotationFile], *, dataset: str
) -> dict[str, Path]:
    """Annotation files by name, wherever they lie up to four folders below the one given.

    Args:
        folder: The folder, or one of the files in it.
        files: What to look for.
        dataset: For messages.

    Returns:
        Name in lower case -> path. Of several files of one name, the one in the fewest folders.

    Raises:
        UsageError: If the folder does not exist.
    """
    folder = Path(folder)
    folder = folder.parent if folder.is_file() else folder
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}; give the one that holds {dataset}. "
            f"How to get it: actiondiff datasets check {dataset} --data FOLDER."
        )
    patterns = [re.compile(file.pattern) for file in files]
    found: dict[str, Path] = {}
    level = [folder]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for here in level:
            for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                name = entry.name.lower()
                if any(pattern.fullmatch(name) for pattern in patterns) and entry.is_file():
                    found.setdefault(name, Path(entry.path))
                elif entry.is_dir():
                    below.append(Path(entry.path))
        level = below
    return found


def require(found: Mapping[str, Path], file: AnnotationFile, folder: object, dataset: str) -> list[Path]:
    """The found files of a kind.

    Raises:
        TableError: If there is none.
    """
    paths = [path for name, path in sorted(found.items()) if re.fullmatch(file.pattern, name)]
    if not paths:
        what = f"{file.example} ({file.purpose}) is not there, nor in its folders"
        advice = f"how to get it: actiondiff datasets check {dataset} --data {folder}"
        raise TableError(folder, [f"{what}; {advice}"])
    return paths


class MediaFinder:
    """Finds the file that a coded path stands for.

    Args:
        near: Folder that relative paths start from.
        videos: Folder to search by file name instead, for videos that were moved.
    """

    def __init__(self, near: Path, videos: Path | None = None) -> None:
        self.near, self.folder = near, videos
        self._found: dict[str, list[Path]] = {}
        for path in find_videos([videos]) if videos else ():
            self._found.setdefault(path.name, []).append(path)

    def find(self, media: str) -> Path | str:
        """The file, or, in words, why there is none to name."""
        windows = "\\" in media or (len(media) > 1 and media[1] == ":")
        parts = PureWindowsPath(media).parts if windows else PurePosixPath(media).parts
        if self.folder is None:
            return self.near / Path(*parts) if windows and ":" not in media else self.near / media
        same = self._found.get(parts[-1], []) if parts else []
        if len(same) > 1:  # the one whose folders are alike for longest

            def alike(path: Path) -> int:
                pairs = zip(reversed(path.parts), reversed(parts), strict=False)
                return next((n for n, (a, b) in enumerate(pairs) if a != b), len(parts))

            best = max(map(alike, same))
            same = [path for path in same if alike(path) == best]
        if len(same) == 1:
            return same[0]
        several = f"{len(same)} files in {self.folder} are named so"
        return f"{media}: {several if same else f'no file in {self.folder} is named so'}"


def is_stand_in(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder's videos are stand-ins; numbers got with them must say so."""
    return (Path(folder) / STAND_IN_MARKER).is_file()


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]", "", stem.lower())
