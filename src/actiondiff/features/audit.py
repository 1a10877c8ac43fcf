"""What the feature files of a store say themselves, and whether the index agrees."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from actiondiff.errors import StoreError
from actiondiff.features.feature_file import Header, damages, read_header, read_tensors
from actiondiff.features.manifest import Entry, Failure, Manifest, Row, locked

__all__ = ["entry_of", "file_name", "scan", "verify"]

_FOLDER = "features"
_QUARANTINE = "quarantine"
_LATENTS = "latents"


def file_name(identity: str) -> str:
    """Where a content's features are: posix path relative to the store."""
    return f"{_FOLDER}/{identity[:2]}/{identity}.safetensors"


def entry_of(video: str, header: Header) -> Entry:
    """What the index says of a video whose features have this header."""
    report = header.report
    coverage = round(report.coverage, 4) if report else 1.0
    status = report.status if report else "ok"
    row = Row(video, header.identity, file_name(header.identity), header.num_tokens, coverage, status)
    return Entry(video, row, Failure(status, report.reason) if report and status != "ok" else None)


def scan(folder: Path, fingerprint: str) -> list[Entry]:
    """The index as the files' headers tell it; a name that several contents claim is left out."""
    claims: defaultdict[str, list[Header]] = defaultdict(list)
    for path in _files(folder):
        try:
            header = _read(folder, path, fingerprint)
        except StoreError:
            continue
        for video in header.videos:
            claims[video].append(header)
    return [entry_of(video, headers[0]) for video, headers in claims.items() if len(headers) == 1]


def verify(folder: Path, manifest: Manifest, fingerprint: str, dtype: str) -> list[str]:
    """See `FeatureStore.verify`."""
    problems: list[str] = []
    taken: set[str] = set()
    for path in list(_files(folder)):
        if not _examine(folder, path, fingerprint, dtype):
            continue
        with locked(folder):
            found = _examine(folder, path, fingerprint, dtype)  # again: it may have been rewritten meanwhile
            if found:
                name, place = path.relative_to(folder).as_posix(), _quarantine(folder, path)
                taken.add(name)
                problems.append(f"{name}: {found}; moved to {place}")
    problems += _verify_latents(folder, fingerprint)
    manifest.load()
    told = {entry.video: entry for entry in scan(folder, fingerprint)}
    mended = []
    for video in sorted({*told, *manifest.rows}):
        row = manifest.rows.get(video)
        true = _truth(folder, fingerprint, row, told.get(video))
        if true.row == row:
            continue
        mended.append(true)
        if row is None:
            problems.append(f"{video}: was not in the index; added")
        elif true.row:
            problems.append(f"{video}: its line in the index was wrong; corrected")
        elif row.file not in taken:
            problems.append(f"{video}: {row.file} is missing; dropped from the index")
    if mended:
        with locked(folder):
            manifest.record(mended)
    manifest.tidy()
    return problems


def _verify_latents(folder: Path, fingerprint: str) -> list[str]:
    """Take out latents that are damaged; nothing is lost but the time to make them."""
    if not (folder / _LATENTS).is_dir():
        return []
    from actiondiff.features.latent_file import latent_files, latent_problem  # loads the networks' libraries

    problems = []
    for path in latent_files(folder):
        found = latent_problem(folder, path, fingerprint)
        if found:
            name = path.relative_to(folder).as_posix()
            problems.append(f"{name}: {found}; moved to {_quarantine(folder, path)}")
    return problems


def _truth(folder: Path, fingerprint: str, row: Row | None, told: Entry | None) -> Entry:
    """What the index should say of the video of a line, or of an entry that a file tells."""
    if row is None:
        assert told is not None
        return told
    if not row.file:
        return Entry(row.video, row, None)  # failed: no file says so
    try:
        header = _read(folder, folder / file_name(row.identity), fingerprint)
    except StoreError:
        return told or Entry(row.video, None, None)
    if row.video in header.videos:
        return entry_of(row.video, header)
    return told or Entry(row.video, None, None)


def _files(folder: Path) -> Iterator[Path]:
    """Everything that stands where feature files stand, but hidden files, sorted."""
    found = (path for path in (folder / _FOLDER).glob("**/*") if path.is_file())
    return iter(sorted(path for path in found if not path.name.startswith(".")))


def _read(folder: Path, path: Path, fingerprint: str) -> Header:
    """A file's header, if it stands where it belongs and in the store it belongs to."""
    header = read_header(path)
    if path != folder / file_name(header.identity):
        raise StoreError(f"{path} holds the features of another content, {header.identity}.")
    if header.fingerprint != fingerprint:
        raise StoreError(f"{path} was made with other settings.")
    return header


def _examine(folder: Path, path: Path, fingerprint: str, dtype: str) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        header = _read(folder, path, fingerprint)
        return "; ".join(damages(header, read_tensors(path), dtype))
    except StoreError as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ").removesuffix(".")


def _quarantine(folder: Path, path: Path) -> str:
    """Move a file out of the way; returns where it is now, relative to the store."""
    (folder / _QUARANTINE).mkdir(exist_ok=True)
    place, number = folder / _QUARANTINE / path.name, 1
    while place.exists():
        place, number = folder / _QUARANTINE / f"{path.stem}.{number}{path.suffix}", number + 1
    os.replace(path, place)
    return place.relative_to(folder).as_posix()
