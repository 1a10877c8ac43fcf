"""Verification of a store: reads the feature files and compares the index with them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from actiondiff.errors import StoreError
from actiondiff.features.feature_file import Header, damages, read_header, read_tensors
from actiondiff.features.manifest import Entry, Failure, Manifest, Row, locked
from actiondiff.outputs import checked_identity

__all__ = ["entry_of", "file_name", "scan", "verify"]

_FOLDER = "features"
_QUARANTINE = "quarantine"
_LATENTS = "latents"


def file_name(identity: str) -> str:
    """Path of a content's feature file: posix, relative to the store.

    Raises:
        UsageError: If the identity is not a hash.
    """
    checked_identity(identity)
    return f"{_FOLDER}/{identity[:2]}/{identity}.safetensors"


def entry_of(video: str, header: Header) -> Entry:
    """The entry in the index of a video whose feature file has this header."""
    report = header.report
    coverage = round(report.coverage, 4) if report else 1.0
    status = report.status if report else "ok"
    row = Row(video, header.identity, file_name(header.identity), header.num_tokens, coverage, status)
    return Entry(video, row, Failure(status, report.reason) if report and status != "ok" else None)


def scan(folder: Path, fingerprint: str) -> list[Entry]:
    """The index that follows from the headers of the feature files.

    A name that several contents claim is left out.
    """
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
    # Quarantine damaged files.
    problems: list[str] = []
    quarantined: set[str] = set()
    for path in list(_files(folder)):
        if not _examine(folder, path, fingerprint, dtype):
            continue
        with locked(folder):
            problem = _examine(
                folder, path, fingerprint, dtype
            )  # again: it may have been rewritten meanwhile
            if problem:
                name, place = path.relative_to(folder).as_posix(), _quarantine(folder, path)
                quarantined.add(name)
                problems.append(f"{name}: {problem}; moved to {place}")
    problems += _verify_latents(folder, fingerprint)
    manifest.load()
    # Correct rows of the index that do not agree with the files.
    scanned = {entry.video: entry for entry in scan(folder, fingerprint)}
    corrected = []
    for video in sorted({*scanned, *manifest.rows}):
        row = manifest.rows.get(video)
        entry = _correct_entry(folder, fingerprint, row, scanned.get(video))
        if entry.row == row:
            continue
        corrected.append(entry)
        if row is None:
            problems.append(f"{video}: was not in the index; added")
        elif entry.row:
            problems.append(f"{video}: its row in the index was wrong; corrected")
        elif row.file not in quarantined:
            problems.append(f"{video}: {row.file} is missing; dropped from the index")
    if corrected:
        with locked(folder):
            manifest.record(corrected)
    manifest.tidy()
    return problems


def _verify_latents(folder: Path, fingerprint: str) -> list[str]:
    """Quarantine damaged latents. They can be made again, so that only time is lost."""
    if not (folder / _LATENTS).is_dir():
        return []
    from actiondiff.features.latent_file import latent_files, latent_problem  # loads the networks' libraries

    problems = []
    for path in latent_files(folder):
        problem = latent_problem(folder, path, fingerprint)
        if problem:
            name = path.relative_to(folder).as_posix()
            problems.append(f"{name}: {problem}; moved to {_quarantine(folder, path)}")
    return problems


def _correct_entry(folder: Path, fingerprint: str, row: Row | None, scanned: Entry | None) -> Entry:
    """The entry that the index should have for a video.

    Args:
        folder: Folder of the store.
        fingerprint: Fingerprint of the store.
        row: The video's row in the index; None if there is none.
        scanned: The entry that follows from a feature file; None if no file names the video.
    """
    if row is None:
        assert scanned is not None
        return scanned
    if not row.file:
        return Entry(row.video, row, None)  # a failed video is in no file
    try:
        header = _read(folder, folder / file_name(row.identity), fingerprint)
    except StoreError:
        return scanned or Entry(row.video, None, None)
    if row.video in header.videos:
        return entry_of(row.video, header)
    return scanned or Entry(row.video, None, None)


def _files(folder: Path) -> Iterator[Path]:
    """All files in the folder of feature files except hidden ones, sorted."""
    paths = (path for path in (folder / _FOLDER).glob("**/*") if path.is_file())
    return iter(sorted(path for path in paths if not path.name.startswith(".")))


def _read(folder: Path, path: Path, fingerprint: str) -> Header:
    """The header of a feature file.

    Raises:
        StoreError: If the file is damaged, or belongs to another content or another store.
    """
    header = read_header(path)
    if path != folder / file_name(header.identity):
        raise StoreError(f"{path} holds the features of another content, {header.identity}.")
    if header.fingerprint != fingerprint:
        raise StoreError(f"{path} was made with other settings.")
    return header


def _examine(folder: Path, path: Path, fingerprint: str, dtype: str) -> str:
    """Description of what is wrong with a feature file; empty if it is sound."""
    try:
        header = _read(folder, path, fingerprint)
        return "; ".join(damages(header, read_tensors(path), dtype))
    except StoreError as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ").removesuffix(".")


def _quarantine(folder: Path, path: Path) -> str:
    """Move a file to the quarantine; returns its new path, relative to the store."""
    (folder / _QUARANTINE).mkdir(exist_ok=True)
    place, number = folder / _QUARANTINE / path.name, 1
    while place.exists():
        place, number = folder / _QUARANTINE / f"{path.stem}.{number}{path.suffix}", number + 1
    os.replace(path, place)
    return place.relative_to(folder).as_posix()
