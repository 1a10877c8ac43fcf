"""Search of folders for videos, and what such a search leaves out.

File servers, cameras and operating systems put files of their own beside the user's: previews, indexes,
recycle bins, resource forks. They have the suffix of a video or lie in a folder that looks like a class, and
are no data. Whatever is left out is counted and named, so that nothing is passed over in silence.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actiondiff.errors import UsageError, VideoError, warn_once
from actiondiff.video.container import open_video
from actiondiff.video.crop_file import CROP_SUFFIX

__all__ = ["SUFFIXES", "VideoSearch", "find_videos", "is_system_name", "search_videos"]

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2"),
    *(".avi", ".divx", ".xvid", ".mkv", ".mk3d", ".webm", ".asf", ".wmv", ".flv", ".ogv", ".ogm", ".nut"),
    *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".mod", ".tod", ".vro"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".trp", ".tp", ".wtv"),
    *(".mxf", ".gxf", ".dv", ".dif", ".dav", ".amv", ".rm", ".rmvb"),
    *(".lrv", ".lrf", ".insv", ".360"),  # action cameras: low-resolution copies, two lenses, half spheres
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpg", ".mjpeg", ".y4m"),
    ".gif",
)
"""Suffixes of video files, in upper or lower case, that are looked for in folders."""

_PREVIEWS = (".lrv", ".lrf")
"""Suffixes of a camera's low-resolution copies, which are left out if the recording itself is there."""

_SYSTEM_NAMES = frozenset(
    (
        *("@eadir", "@tmp", "@synoresource", "@sharebin", "@recycle", "@recently-snapshot", "@snapshot"),
        *("#recycle", "#snapshot", "$recycle.bin", "recycler", "recycled", "lost+found", "found.000"),
        *("__macosx", "system volume information", "network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
"""Names, in lower case, that file servers and operating systems use for folders and files of their own."""

_SNIFFED_BYTES = 4096
_MOST_NAMED = 3
_HIDDEN, _SYSTEM, _PREVIEW, _OTHER = (
    "hidden",
    "of a file server or operating system",
    "low-resolution copies of recordings beside them",
    "not known as videos by their names",
)


@dataclass(frozen=True)
class VideoSearch:
    """Result of a search.

    Attributes:
        videos: Paths as given, or below the given folders, sorted by their posix form.
        left_out: Reason -> paths of the files and folders that were left out, sorted. What lies in a folder
            that was left out is not listed.
    """

    videos: tuple[Path, ...]
    left_out: dict[str, tuple[Path, ...]]

    def describe(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        parts = []
        for reason, paths in self.left_out.items():
            names = ", ".join(path.name for path in paths[:_MOST_NAMED])
            parts.append(f"{len(paths)} {reason} ({names}{', ...' if len(paths) > _MOST_NAMED else ''})")
        return "; ".join(parts)


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or belongs to a file server or operating system."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM_NAMES


def search_videos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> VideoSearch:
    """Search folders for files with the suffix of a video or of a crop file.

    Files that are given by name count whatever they are.
    Files without any suffix are opened to see whether they are videos. Links are followed, and each path is
    listed once.

    Args:
        paths: A file or folder, or several.

    Raises:
        UsageError: If a path does not exist.
    """
    roots = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    videos: set[Path] = set()
    left_out: dict[str, set[Path]] = {reason: set() for reason in (_HIDDEN, _SYSTEM, _PREVIEW, _OTHER)}
    for path in map(Path, roots):
        if path.is_dir():
            for item, reason in _below(path):
                (left_out[reason] if reason else videos).add(item)
        elif path.exists():
            videos.add(path)
        else:
            raise UsageError(f"{path} does not exist; give video files or folders that hold them.")
    return VideoSearch(
        tuple(sorted(videos, key=Path.as_posix)),
        {
            reason: tuple(sorted(items - videos, key=Path.as_posix))
            for reason, items in left_out.items()
            if items - videos
        },
    )


def find_videos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The videos that `search_videos` finds; what it leaves out is logged as a warning.

    Raises:
        UsageError: If a path does not exist.
    """
    roots = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    search = search_videos(roots)
    if search.left_out:
        folders = ", ".join(str(path) for path in roots[:_MOST_NAMED] if Path(path).is_dir())
        warn_once(f"{folders}: left out {search.describe()}. Name a file itself to include it.")
    return list(search.videos)


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder that are videos, and files and folders that are left out with the reason."""
    visited: set[str] = set()  # links may lead in a circle
    for here, folders, files in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(here))
        for name in folders:
            if is_system_name(name):
                yield Path(here, name), _reason(name)
        folders[:] = [
            name
            for name in folders
            if not is_system_name(name) and os.path.realpath(os.path.join(here, name)) not in visited
        ]
        recordings = {_recording(name) for name in files if not name.lower().endswith(_PREVIEWS)}
        for name in files:
            path, suffix = Path(here, name), os.path.splitext(name)[1].lower()
            if is_system_name(name):
                yield path, _reason(name)
            elif suffix in _PREVIEWS and _recording(name) in recordings:
                yield path, _PREVIEW
            else:
                is_video = suffix in (*SUFFIXES, CROP_SUFFIX) or (not suffix and _looks_like_video(path))
                yield path, "" if is_video else _OTHER


def _reason(name: str) -> str:
    return _SYSTEM if name.lower() in _SYSTEM_NAMES or name.startswith("._") else _HIDDEN


def _recording(name: str) -> str:
    """A name without suffix that a recording and its low-resolution copy share.

    Cameras write GX010001.MP4 with GL010001.LRV or GX010001.LRV, DJI_0001.MP4 with DJI_0001.LRF, and
    VID_2024.insv with LRV_2024.lrv.
    """
    stem = os.path.splitext(name)[0].upper()
    stem = re.sub(r"^G[XHL](?=\d{6}$)", "G", stem)
    return re.sub(r"^(VID|LRV)_", "", stem)


def _looks_like_video(path: Path) -> bool:
    """Whether a file without a suffix holds a video, by its content."""
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED_BYTES)
        if b"\0" not in start:  # text; no container that has no suffix is without zero bytes
            return False
        with open_video(path):
            return True
    except (VideoError, OSError):
        return False
