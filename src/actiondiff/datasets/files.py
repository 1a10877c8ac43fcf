"""Finding a dataset's annotation files and videos on disk by their names."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from actiondiff.errors import TableError, UsageError
from actiondiff.video.names import locate
from actiondiff.video.search import find_videos, is_system_name, search_videos

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
    """A kind of annotation file of a dataset.

    Attributes:
        pattern: Regular expression of its name, in lower case.
        example: Its name, for people.
        purpose: What the file contains.
        count: Number of files of this kind.
        needed: Whether the dataset cannot be read without it.
    """

    pattern: str
    example: str
    purpose: str
    count: int = 1
    needed: bool = True


class VideoIndex:
    """Index of the videos below a folder, by their names without folders and suffixes.

    Args:
        root: The folder; a folder that does not exist has no videos.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = search_videos([root]).videos if root.is_dir() else ()
        self._exact: dict[str, list[str]] = {}
        self._plain: dict[str, list[str]] = {}
        for path in sorted(paths, key=lambda path: (len(path.parts), path.as_posix())):
            name = path.relative_to(root).as_posix()
            self._exact.setdefault(unicodedata.normalize("NFC", path.stem), []).append(name)
            self._plain.setdefault(_plain(path.stem), []).append(name)
        self.num_videos = len(paths)

    def find(self, stem: str) -> str | None:
        """Path of a video relative to the root, by its name without suffix; None if there is none.

        An exact match counts first; else a name that differs only in case and in characters other than
        letters and digits (programs that unpack archives drop brackets), if it is unique. Of several paths,
        the one in the fewest folders is returned.
        """
        exact = self._exact.get(unicodedata.normalize("NFC", stem))
        if exact:
            return exact[0]
        alike = self._plain.get(_plain(stem), [])
        return alike[0] if len({PurePosixPath(name).stem for name in alike}) == 1 else None

    def path_of(self, official: str) -> str:
        """Path of a video relative to the root; if it is not on disk, its path in the official packaging."""
        return self.find(PurePosixPath(official).stem) or official

    def repeated(self) -> dict[str, list[str]]:
        """Videos that exist several times: name without suffix -> paths."""
        return {stem: names for stem, names in self._exact.items() if len(names) > 1}


def find_annotations(
    folder: str | os.PathLike[str], files: Sequence[AnnotationFile], *, dataset: str
) -> dict[str, Path]:
    """Find annotation files by their names, at most four folders below a folder.

    Args:
        folder: The folder, or one of the files in it.
        files: Kinds of files to look for.
        dataset: Name of the dataset, for messages.

    Returns:
        Name in lower case -> path. Of several files with one name, the one in the fewest folders counts.

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
    paths: dict[str, Path] = {}
    level = [folder]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for here in level:
            for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
                if is_system_name(entry.name):
                    continue
                name = entry.name.lower()
                if any(pattern.fullmatch(name) for pattern in patterns) and entry.is_file():
                    paths.setdefault(name, Path(entry.path))
                elif entry.is_dir():
                    below.append(Path(entry.path))
        level = below
    return paths


def require(files: Mapping[str, Path], file: AnnotationFile, folder: object, dataset: str) -> list[Path]:
    """Paths of the files of one kind.

    Args:
        files: Annotation files that were found, by name.
        file: The kind.
        folder: Folder that was searched, for messages.
        dataset: Name of the dataset, for messages.

    Raises:
        TableError: If there is none.
    """
    paths = [path for name, path in sorted(files.items()) if re.fullmatch(file.pattern, name)]
    if not paths:
        what = f"{file.example} ({file.purpose}) is missing in this folder and below it"
        advice = f"how to get it: actiondiff datasets check {dataset} --data {folder}"
        raise TableError(folder, [f"{what}; {advice}"])
    return paths


class MediaFinder:
    """Finds the media file that a path in another program's annotations stands for.

    Args:
        near: Folder that relative paths start from.
        videos: Folder to search by file name instead, for videos that were moved.
    """

    def __init__(self, near: Path, videos: Path | None = None) -> None:
        self.near, self.folder = near, videos
        self._by_name: dict[str, list[Path]] = {}
        for path in find_videos([videos]) if videos else ():
            self._by_name.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)

    def find(self, media: str) -> Path | str:
        """The file; or, as text, the reason why none is found."""
        if not media:
            return "the path of a video is empty"
        exact = self.near / media  # also a name that contains a backslash itself
        windows = not exact.is_file() and ("\\" in media or (len(media) > 1 and media[1] == ":"))
        parts = PureWindowsPath(media).parts if windows else PurePosixPath(media).parts
        if self.folder is None:
            return self.near / locate(self.near, Path(*parts).as_posix() if windows else media)
        same = self._by_name.get(unicodedata.normalize("NFC", parts[-1]), []) if parts else []
        if len(same) > 1:  # the one that shares most of its innermost folders

            def alike(path: Path) -> int:
                pairs = zip(reversed(path.parts), reversed(parts), strict=False)
                return next((n for n, (a, b) in enumerate(pairs) if a != b), len(parts))

            best = max(map(alike, same))
            same = [path for path in same if alike(path) == best]
        if len(same) == 1:
            return same[0]
        several = f"{len(same)} files in {self.folder} have this name"
        return f"{media}: {several if same else f'no file in {self.folder} has this name'}"


def is_stand_in(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder's videos are drawn stand-ins; results on them must say so."""
    return (Path(folder) / STAND_IN_MARKER).is_file()


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFC", stem).lower())
