"""Annotations of ELAN (`.eaf`): an XML file of tiers, whose annotations refer to slots in milliseconds."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.sheets import find_files
from actiondiff.datasets.xml import parse_xml
from actiondiff.errors import TableError, UnknownNameError, UsageError, warn_once
from actiondiff.video.search import SUFFIXES

__all__ = ["ElanLabel", "read_elan"]

ElanLabel = Literal["value", "tier"]
_LARGEST_BYTES = 256 << 20
_MOST_PROBLEMS = 5
_Span = tuple[int, int]


def read_elan(path: str | Path, *, label: ElanLabel = "value", tiers: Sequence[str] = ()) -> list[CodedBout]:
    """Read the annotations of a file, or of all files in a folder.

    Args:
        path: An `.eaf` file, or a folder that is searched for them.
        label: Whether the text of an annotation is its label, or the name of its tier.
        tiers: Names of the tiers to read; all that have annotations if empty.

    Raises:
        UsageError: If there is no such file.
        UnknownNameError: If no file has a tier of a name.
        TableError: If a file is not of ELAN, names no video, or annotations have no times or no text.
    """
    files = find_files(Path(path), "*.eaf")
    if not files or not files[0].is_file():
        raise UsageError(f"there is no .eaf file at {path}; give one that ELAN saved, or a folder of them.")
    roots = {file: _parse(file) for file in files}
    names = dict.fromkeys(str(tier.get("TIER_ID")) for root in roots.values() for tier in root.iter("TIER"))
    for name in tiers:
        if name not in names:
            raise UnknownNameError("tier", name, names)
    return [bout for file, root in roots.items() for bout in _bouts(file, root, label, tiers)]


def _bouts(file: Path, root: Element, label: ElanLabel, tiers: Sequence[str]) -> list[CodedBout]:
    media, origin = _media(file, root)
    slots = {str(slot.get("TIME_SLOT_ID")): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    spans = _spans(root, slots)
    entries = {
        str(entry.get("CVE_ID")): entry.findtext("CVE_VALUE") or "" for entry in root.iter("CV_ENTRY_ML")
    }
    problems: list[str] = []
    bouts: list[CodedBout] = []
    counts: dict[str, int] = {}
    for tier in root.iter("TIER"):
        name = str(tier.get("TIER_ID"))
        if tiers and name not in tiers:
            continue
        for annotation in _annotations(tier):
            counts[name] = counts.get(name, 0) + 1
            position = f"tier {name}, annotation {annotation.get('ANNOTATION_ID')}"
            span = spans.get(str(annotation.get("ANNOTATION_ID")))
            value = annotation.findtext("ANNOTATION_VALUE") or entries.get(annotation.get("CVE_REF", ""), "")
            text = value.strip() if label == "value" else name
            if not text:
                problems.append(f"{position}: it has no text; fill it in, or use --label-from tier")
            elif span is None:
                problems.append(
                    f"{position}: its own times are not set; align it in ELAN, or choose others with --tier"
                )
            elif not 0 <= span[0] + origin <= span[1] + origin:
                problems.append(f"{position}: {span[0]} to {span[1]} ms is no span of the video")
            else:
                start, end = ((time + origin) / 1000 for time in span)
                who = tier.get("PARTICIPANT") or ""
                bouts.append(CodedBout(media, text, start, end, file.stem, who, {"tier": name}))
    if problems:
        more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise TableError(file, problems[:_MOST_PROBLEMS] + more)
    if not tiers and len(counts) > 1:
        listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
        warn_once(f"{file}: took the labels of all tiers: {listed}; --tier chooses some.")
    return bouts


def _annotations(tier: Element) -> Iterator[Element]:
    for annotation in tier.iter():
        if annotation.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            yield annotation


def _spans(root: Element, slots: Mapping[str, str | None]) -> dict[str, _Span]:
    """Annotation -> start and end in ms, where they are set.

    A reference has those of what it refers to, unless it is one of several of its tier, which share that time
    in an order without times.
    """
    spans: dict[str, _Span] = {}
    for annotation in root.iter("ALIGNABLE_ANNOTATION"):
        times = [slots.get(str(annotation.get(name))) for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        if all(time and re.fullmatch(r"-?\d{1,15}", time) for time in times):
            spans[str(annotation.get("ANNOTATION_ID"))] = (int(times[0] or 0), int(times[1] or 0))
    children: dict[str, list[str]] = {}
    for tier in root.iter("TIER"):
        of_tier: dict[str, list[str]] = {}
        for annotation in tier.iter("REF_ANNOTATION"):
            parts = of_tier.setdefault(str(annotation.get("ANNOTATION_REF")), [])
            parts.append(str(annotation.get("ANNOTATION_ID")))
        for parent, parts in of_tier.items():
            children.setdefault(parent, []).extend(parts if len(parts) == 1 else [])
    todo = list(spans)
    while todo:  # from parents to children, so that a circle of references is never entered
        name = todo.pop()
        for child in children.get(name, ()):
            spans[child] = spans[name]
            todo.append(child)
    return spans


def _media(file: Path, root: Element) -> tuple[str, int]:
    """The video of a file, and the milliseconds by which the video is ahead of the annotations."""
    header = root.find("HEADER")
    units = header.get("TIME_UNITS", "milliseconds") if header is not None else "milliseconds"
    if units != "milliseconds":
        raise TableError(file, [f"times are in {units}; save them in milliseconds"])
    videos: list[tuple[str, str]] = []
    for item in root.iter("MEDIA_DESCRIPTOR"):
        relative, url = item.get("RELATIVE_MEDIA_URL", ""), item.get("MEDIA_URL", "")
        beside = [file.parent / name for name in (_path(relative), unquote(_path(relative))) if relative]
        path = next((str(p.resolve()) for p in beside if p.is_file()), _path(url or relative))
        if item.get("MIME_TYPE", "").startswith("video") or path.lower().endswith(SUFFIXES):
            videos.append((path, item.get("TIME_ORIGIN", "0")))
    if not videos and header is not None and header.get("MEDIA_FILE"):  # as the first versions wrote it
        videos.append((_path(header.get("MEDIA_FILE", "")), "0"))
    if not videos:
        raise TableError(file, ["no video is linked to it; link one in ELAN"])
    if len(videos) > 1:
        names = ", ".join(path for path, _ in videos[1:])
        warn_once(f"{file}: its labels were taken for those of {videos[0][0]}, and not also of {names}.")
    path, origin = videos[0]
    if not re.fullmatch(r"-?\d{1,15}", origin):
        raise TableError(file, [f"TIME_ORIGIN is {origin!r}; it must be a number of milliseconds"])
    return path, int(origin)


def _path(url: str) -> str:
    """The path in an address such as `file:///C:/videos/a%20b.mp4`."""
    if not url.lower().startswith("file:"):
        return url
    path = unquote(urlsplit(url).path)
    return path[1:] if len(path) > 2 and path[0] == "/" and path[2] == ":" else path


def _parse(file: Path) -> Element:
    if file.stat().st_size > _LARGEST_BYTES:
        raise TableError(file, [f"the file is larger than {_LARGEST_BYTES >> 20} MiB"])
    data = file.read_bytes()
    if not data.strip():
        raise TableError(file, ["the file is empty"])
    root = parse_xml(data, lambda reason: TableError(file, [f"not a file of ELAN: {reason}"]))
    if root.tag != "ANNOTATION_DOCUMENT":
        raise TableError(file, [f"not a file of ELAN: it begins with {root.tag!r}"])
    return root
