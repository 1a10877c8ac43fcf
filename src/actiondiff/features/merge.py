"""Stores that were filled apart (one a machine, say) become one; what is missing is named."""

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

_SHOWN = 10  # conflicts in a message
_Found = Mapping[Path, Header]


@dataclass(frozen=True)
class MergeSummary:
    """How a merge went.

    Attributes:
        store: The merged store's folder.
        num_videos: Videos with features in it.
        num_contents: Their contents.
        num_added: Feature files that this merge brought in.
        keys: Features that any content has.
        missing: Video -> what of it is nowhere: it was expected, is damaged, or lacks features others have.
        failed: Video -> why it has no features.
        partial: Video -> what did not decode.
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
    """Join stores of the same settings. Everything is compared before anything is written.

    One content in several stores must have the same bits in all; features that only some of them have are
    brought together. A video that failed in one and has features in another has features. A merge cut short
    is made whole by merging again.

    Args:
        stores: Folders of the stores; they stay as they are.
        out: The merged store: new, or one of the same settings that is added to.
        root: The folder that names are relative to; needed if the stores do not name the same one.
        expected: Names of the videos that there should be.
        link: Let files be hard links where the file system allows; else, and otherwise, they are copied.

    Returns:
        What is in the merged store, and what is not.

    Raises:
        UsageError: If there is no store, or their names are relative to different folders.
        SettingsMismatchError: If the stores' settings differ.
        StoreError: If a store cannot be read, or contents differ where they should not; it names them.
    """
    if not stores:
        raise UsageError("give at least one store to merge.")
    folders = dict.fromkeys([*map(Path, stores), *([Path(out)] if FeatureStore.is_at(out) else [])])
    sources = [FeatureStore.open(folder) for folder in folders]
    base = _check_alike(sources, root)
    gathered = _gather(sources)
    files = {
        file_name(identity): _unite(identity, found, names)
        for identity, (found, names) in gathered.contents.items()
    }
    problems = [*gathered.conflicts, *(problem for file in files.values() for problem in file.problems)]
    if problems:
        more = f" ... ({len(problems)} in all)" if len(problems) > _SHOWN else ""
        raise StoreError(
            f"these stores do not agree: {'; '.join(problems[:_SHOWN])}{more}. Nothing was merged. Find what "
            "is damaged (actiondiff features verify), or leave a store out."
        )
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
    """What all stores hold: of each content its files and its names."""

    contents: dict[str, tuple[dict[Path, Header], set[str]]] = field(default_factory=dict)
    failures: list[Entry] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """A feature file of the merged store: a file that is there, or what several hold together."""

    header: Header
    sources: _Found
    as_it_is: bool
    problems: tuple[str, ...] = ()


def _check_alike(sources: Sequence[FeatureStore], root: str | os.PathLike[str] | None) -> Path:
    """The root of the merged store, once settings and roots are known to fit."""
    first = sources[0]
    for other in sources[1:]:
        found = differences(first.settings, other.settings)
        if found:
            raise SettingsMismatchError(
                f"the stores {first.folder} and {other.folder} were made with different settings",
                found,
                "Merge stores of the same settings, or extract anew.",
            )
        if root is None and other.root != first.root:
            raise UsageError(
                f"names in {first.folder} are relative to {first.root}, in {other.folder} to {other.root}. "
                "If one name is one video all the same, give the folder they are relative to: --root"
            )
    return Path(root) if root is not None else first.root


def _gather(sources: Sequence[FeatureStore]) -> _Gathered:
    """Read every index and every header; find names that stand for different contents."""
    found = _Gathered()
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
                found.damaged[row.video] = f"{path} is missing or damaged"
                continue
            before = owner.setdefault(row.video, row)
            if before.identity != row.identity:
                found.conflicts.append(
                    f"{row.video} is the content {before.identity[:12]} in one store and "
                    f"{row.identity[:12]} in {store.folder}"
                )
            files, names = found.contents.setdefault(row.identity, ({}, set()))
            files[path] = header
            names.add(row.video)
        for video, failure in store.failures.items():
            row_of = store.row(video)
            if failure.status == "failed" and not (row_of and row_of.file):
                failures.setdefault(video, Entry(video, row_of, failure))
    found.damaged = {video: text for video, text in found.damaged.items() if video not in owner}
    found.failures = [entry for video, entry in sorted(failures.items()) if video not in owner]
    return found


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except StoreError:
        return None


def _unite(identity: str, found: _Found, names: Iterable[str]) -> _File:
    """One file of all that the stores have of a content, and what in them does not agree."""
    videos = tuple(sorted(names))
    (first, header), *others = found.items()
    if all(_same(first, path) for path, _ in others) and header.videos == videos:
        return _File(header, {first: header}, as_it_is=True)
    sums: dict[str, str] = {}
    problems: list[str] = []
    who = f"{videos[0]} ({identity[:12]})"
    for path, one in found.items():
        for name in sound_tensors(path, one):
            if sums.setdefault(name, one.sums[name]) != one.sums[name]:
                problems.append(f"{name} of {who} has other bits in {path} than in {first}")
    lost = {name for one in found.values() for name in one.sums} - set(sums)
    problems += [f"{name} of {who} is damaged" for name in sorted(lost)]
    return _File(replace(header, videos=videos, sums=sums), found, as_it_is=False, problems=tuple(problems))


def _same(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def _place(target: Path, file: _File, *, link: bool) -> bool:
    """Put a file where it belongs; whether that was needed."""
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
        except OSError:  # another file system, or one without links
            pass
    with atomic_path(target) as aside:
        shutil.copyfile(source, aside)
    return True


def _record(folder: Path, entries: Sequence[Entry]) -> None:
    """Bring the merged store's index up to date."""
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
    known = {*store.videos(), *store.failures}
    missing |= {video: "is in no store" for video in expected if video not in known and video not in missing}
    told = store.failures.items()
    return MergeSummary(
        folder,
        num_videos=len(store.videos()),
        num_contents=len(headers),
        num_added=num_added,
        keys=tuple(keys),
        missing=dict(sorted(missing.items())),
        failed={video: reason for video, (status, reason) in told if status == "failed"},
        partial={video: reason for video, (status, reason) in told if status == "partial"},
    )
