"""Merging of stores that were filled separately, for example one per machine."""

import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actiondiff.errors import SettingsMismatchError, StoreError, UsageError
from actiondiff.features.audit import entry_of, file_name
from actiondiff.features.feature_file import Header, read_header, sound_tensors, write_file
from actiondiff.features.manifest import Entry, Manifest, Row, locked
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import atomic_path, differences, fsync_folder
from actiondiff.types import FeatureKey

__all__ = ["MergeSummary", "merge_stores"]

_MOST_LISTED = 10  # conflicts in a message
_Headers = Mapping[Path, Header]


@dataclass(frozen=True)
class MergeSummary:
    """Summary of a merge.

    Attributes:
        store: Folder of the merged store.
        num_videos: Number of videos with features in the merged store.
        num_contents: Number of contents of these videos.
        num_added: Number of feature files that this merge added.
        keys: Features that at least one content has.
        missing: Video -> what is missing: it was expected, is damaged, or lacks features that others have.
        failed: Video -> why it has no features.
        partial: Video -> which part did not decode.
    """

    store: Path
    num_videos: int
    num_contents: int
    num_added: int
    keys: tuple[FeatureKey, ...]
    missing: Mapping[str, str]
    failed: Mapping[str, str]
    partial: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether every video has all its features."""
        return not (self.missing or self.failed or self.partial)


def merge_stores(
    stores: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    expected: Iterable[str] = (),
    link: bool = True,
) -> MergeSummary:
    """Merge stores with the same settings. Everything is compared before anything is written.

    A content that is in several stores must have the same bits in all of them; features that only some stores
    have are combined. A video that failed in one store and has features in another has features in the merged
    store. A merge that was interrupted is completed by merging again.

    Args:
        stores: Folders of the stores, which are not changed.
        out: Folder of the merged store: a new one, or a store with the same settings that is added to.
        root: Folder that names are relative to; needed if the stores record different ones.
        expected: Names of the videos that the merged store should have.
        link: Whether to make hard links where the file system allows it. Files are copied if not.

    Returns:
        What is in the merged store, and what is missing.

    Raises:
        UsageError: If there is no store, or the stores' names are relative to different folders.
        SettingsMismatchError: If the stores' settings differ.
        StoreError: If a store cannot be read, or the stores contradict each other; the message names where.
    """
    if not stores:
        raise UsageError("give at least one store to merge.")
    # The target takes part, so that nothing in it is contradicted.
    folders = dict.fromkeys([*map(Path, stores), *([Path(out)] if FeatureStore.is_at(out) else [])])
    sources = [FeatureStore.open(folder) for folder in folders]
    base = _check_alike(sources, root)
    # Compare everything before anything is written.
    gathered = _gather(sources)
    files = {
        file_name(identity): _unite(identity, headers, names)
        for identity, (headers, names) in gathered.contents.items()
    }
    problems = [*gathered.conflicts, *(problem for file in files.values() for problem in file.problems)]
    if problems:
        more = f" ... ({len(problems)} in all)" if len(problems) > _MOST_LISTED else ""
        raise StoreError(
            f"these stores contradict each other: {'; '.join(problems[:_MOST_LISTED])}{more}. Nothing was "
            "merged. Find damaged files with actiondiff features verify, or leave a store out."
        )
    # Files come before the index, which then never names a file that does not exist.
    target = FeatureStore.create(out, settings=sources[0].settings, root=base)
    num_added = sum(_place(target.folder / name, file, link=link) for name, file in files.items())
    for folder in sorted({(target.folder / name).parent for name in files}):
        fsync_folder(folder)
    entries = [entry_of(name, file.header) for file in files.values() for name in file.header.videos]
    _record(target.folder, [*entries, *gathered.failures])
    headers = [file.header for file in files.values()]
    return _summary(target.folder, headers, num_added, gathered.damaged, expected)


@dataclass
class _Gathered:
    """What all stores hold: the files and names of each content, failures, and conflicts."""

    contents: dict[str, tuple[dict[Path, Header], set[str]]] = field(default_factory=dict)
    failures: list[Entry] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """A feature file of the merged store: a copy of one file, or the combination of several."""

    header: Header
    sources: _Headers
    as_it_is: bool
    problems: tuple[str, ...] = ()


def _check_alike(sources: Sequence[FeatureStore], root: str | os.PathLike[str] | None) -> Path:
    """Make sure that settings and roots agree; returns the root of the merged store."""
    first = sources[0]
    for other in sources[1:]:
        mismatches = differences(first.settings, other.settings)
        if mismatches:
            raise SettingsMismatchError(
                f"the stores {first.folder} and {other.folder} were made with different settings",
                mismatches,
                "Merge stores with the same settings, or extract again.",
            )
        if root is None and other.root != first.root:
            raise UsageError(
                f"names in {first.folder} are relative to {first.root}, in {other.folder} to {other.root}. "
                "If equal names are equal videos, give the folder that they are relative to: --root"
            )
    return Path(root) if root is not None else first.root


def _gather(sources: Sequence[FeatureStore]) -> _Gathered:
    """Read every index and every header; find names that stand for different contents."""
    gathered = _Gathered()
    owner: dict[str, Row] = {}
    failures: dict[str, Entry] = {}
    for store in sources:
        headers: dict[str, Header | None] = {}
        for video in store.videos():
            row = store.row(video)
            assert row is not None
            path = store.folder / row.file
            if row.identity not in headers:
                headers[row.identity] = _header(path)
            header = headers[row.identity]
            if header is None or header.fingerprint != store.fingerprint:
                gathered.damaged[row.video] = f"{path} is missing or damaged"
                continue
            before = owner.setdefault(row.video, row)
            if before.identity != row.identity:
                gathered.conflicts.append(
                    f"{row.video} is the content {before.identity[:12]} in one store and "
                    f"{row.identity[:12]} in {store.folder}"
                )
            files, names = gathered.contents.setdefault(row.identity, ({}, set()))
            files[path] = header
            names.add(row.video)
        for video, failure in store.failures.items():
            row_of = store.row(video)
            if failure.status == "failed" and not (row_of and row_of.file):
                failures.setdefault(video, Entry(video, row_of, failure))
    gathered.damaged = {video: text for video, text in gathered.damaged.items() if video not in owner}
    gathered.failures = [entry for video, entry in sorted(failures.items()) if video not in owner]
    return gathered


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except StoreError:
        return None


def _unite(identity: str, headers: _Headers, names: Iterable[str]) -> _File:
    """Combine the files of a content; the result lists where they contradict each other."""
    videos = tuple(sorted(names))
    (first, header), *others = headers.items()
    if all(_same(first, path) for path, _ in others) and header.videos == videos:
        return _File(header, {first: header}, as_it_is=True)
    sums: dict[str, str] = {}
    problems: list[str] = []
    content = f"{videos[0]} ({identity[:12]})"
    for path, one in headers.items():
        for name in sound_tensors(path, one):
            if sums.setdefault(name, one.sums[name]) != one.sums[name]:
                problems.append(f"{name} of {content} has other bits in {path} than in {first}")
    lost = {name for one in headers.values() for name in one.sums} - set(sums)
    problems += [f"{name} of {content} is damaged" for name in sorted(lost)]
    return _File(replace(header, videos=videos, sums=sums), headers, as_it_is=False, problems=tuple(problems))


def _same(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def _place(target: Path, file: _File, *, link: bool) -> bool:
    """Write a file to the merged store; returns whether it was not there already."""
    source = next(iter(file.sources))
    if not file.as_it_is:
        tensors = {
            name: tensor
            for path, header in file.sources.items()
            for name, tensor in sound_tensors(path, header).items()
        }
        write_file(target, file.header, tensors)
        return True
    if target.exists() and _same(target, source):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if link and not target.exists():
        try:
            os.link(source, target)
            return True
        except OSError:  # the target is on another file system, or the file system has no links
            pass
    with atomic_path(target) as aside:
        shutil.copyfile(source, aside)
    return True


def _record(folder: Path, entries: Sequence[Entry]) -> None:
    """Bring the index of the merged store up to date."""
    manifest = Manifest(folder, lambda: entries)
    with locked(folder):
        manifest.record(entry for entry in entries if entry != manifest.entry(entry.video))
    manifest.tidy()


def _summary(
    folder: Path,
    headers: Sequence[Header],
    num_added: int,
    damaged: Mapping[str, str],
    expected: Iterable[str],
) -> MergeSummary:
    store = FeatureStore.open(folder)
    keys = sorted({key for header in headers for key in header.keys})
    missing = dict(damaged)
    for header in headers:
        lacking = [str(key) for key in keys if key not in header.keys]
        if lacking:
            missing |= {video: f"lacks {', '.join(lacking)}" for video in header.videos}
    recorded = {*store.videos(), *store.failures}
    missing |= {
        video: "is in no store" for video in expected if video not in recorded and video not in missing
    }
    failures = store.failures.items()
    return MergeSummary(
        folder,
        num_videos=len(store.videos()),
        num_contents=len(headers),
        num_added=num_added,
        keys=tuple(keys),
        missing=dict(sorted(missing.items())),
        failed={video: reason for video, (status, reason) in failures if status == "failed"},
        partial={video: reason for video, (status, reason) in failures if status == "partial"},
    )
