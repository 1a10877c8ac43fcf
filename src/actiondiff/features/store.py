"""The feature store: a folder with the features of many videos, all made with the same settings.

    store.json          settings, their fingerprint, the root that names are relative to, the environment
    index.csv           video, identity, file, num_tokens, coverage, status
    failures.csv        video, status, reason: what is failed or partial, and why
    features/ab/ab...   one safetensors file per content
    latents/ab/ab...    encoded windows of one content, if they are stored
    quarantine/         damaged files that `verify` moved there

The finished folder is the same, byte for byte, in whatever order and in however many runs it was filled; only
store.json depends on the machine. A content with two names is stored once and indexed twice.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.errors import StoreError, UnknownNameError
from actiondiff.features.audit import entry_of, file_name, scan, verify
from actiondiff.features.description import (
    FORMAT,
    Description,
    StoreDtype,
    check_settings,
    create_description,
    has_store,
    read_description,
)
from actiondiff.features.feature_file import (
    Header,
    read_header,
    read_tensors,
    rename,
    sound_tensors,
    tensor_sum,
    write_file,
)
from actiondiff.features.manifest import Entry, Failure, Manifest, Row, locked
from actiondiff.types import JSON, FeatureKey, Features
from actiondiff.video.names import same_name

if TYPE_CHECKING:
    from actiondiff.features.latent_file import KeptLatents

__all__ = ["FORMAT", "FeatureStore", "StoreDtype"]


class FeatureStore:
    """Features of many videos on disk. Use `create` for a new store, and `open` for an existing one.

    Attributes:
        folder: Folder of the store.
        settings: Everything that determines the numbers: `format`, `backbone`, `sampling`, `store_dtype`.
            Timesteps and layers are not part of it; they can be added at any time.
        fingerprint: Fingerprint of the settings.
        root: Folder that the videos' names are relative to.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder = folder
        self.settings: dict[str, JSON] = dict(description.settings)
        self.fingerprint = description.fingerprint
        self.root = description.root
        self._manifest = Manifest(folder, lambda: scan(folder, self.fingerprint))

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], *, settings: Mapping[str, JSON], root: str | os.PathLike[str]
    ) -> Self:
        """Create a store, or open the existing one if it has these settings.

        Args:
            folder: Folder of the store; created if it does not exist.
            settings: Settings of the store; see `FeatureStore`.
            root: Folder that the videos' names are relative to; an existing store keeps its own.

        Raises:
            SettingsMismatchError: If there is a store with other settings.
            StoreError: If the folder holds something else.
            UsageError: If settings are missing or unknown, or `store_dtype` is not allowed.
        """
        return cls(Path(folder), create_description(Path(folder), settings, root))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open an existing store.

        Raises:
            StoreError: If there is no store, it has another format, or its description is damaged.
        """
        return cls(Path(folder), read_description(Path(folder)))

    @staticmethod
    def is_at(folder: str | os.PathLike[str]) -> bool:
        """Whether there is a store in a folder; False if the folder is empty or does not exist.

        Raises:
            StoreError: If the folder holds something else.
        """
        return has_store(Path(folder))

    def check(self, settings: Mapping[str, JSON]) -> None:
        """Make sure that the store was made with these settings.

        Raises:
            SettingsMismatchError: If they differ; the error lists the fields that do.
        """
        check_settings(self.settings, settings, self.folder)

    # -- what is in it ---------------------------------------------------------------------------------

    @property
    def dtype(self) -> StoreDtype:
        """Type in which features are stored. They are always read as float32."""
        return self.settings["store_dtype"]  # type: ignore[return-value]  # checked when the store was created

    @property
    def index(self) -> pd.DataFrame:
        """One row per video: video, identity, file, num_tokens, coverage, status; sorted by video.

        Failed videos are included, with an empty file and no tokens.
        """
        frame = pd.DataFrame(sorted(self._manifest.rows.values()), columns=list(Row._fields))
        return frame.astype({"num_tokens": "int64", "coverage": "float64"})

    @property
    def failures(self) -> dict[str, Failure]:
        """Videos that are failed or partial -> status and reason, sorted by video."""
        return dict(sorted(self._manifest.failures.items()))

    def row(self, video: str) -> Row | None:
        """A video's row of the index; None if the video is not in the store.

        An accent may be one character or a letter and a mark: both spellings name the same video, unless the
        store has both.
        """
        row = self._manifest.rows.get(video)
        if row is None and not video.isascii():
            same = [name for name in self._manifest.rows if same_name(name, video)]
            row = self._manifest.rows[same[0]] if len(same) == 1 else None
        return row

    def videos(self) -> list[str]:
        """Names of the videos that have features, sorted."""
        return sorted(video for video, row in self._manifest.rows.items() if row.file)

    def keys(self) -> list[FeatureKey]:
        """The features that all videos except failed ones have, sorted. Reads the header of every file."""
        common: set[FeatureKey] | None = None
        for identity in sorted({row.identity for row in self._manifest.rows.values() if row.file}):
            if header := self.header(identity):  # else whoever reads it gets an error that names the file
                common = set(header.keys) if common is None else common & set(header.keys)
        return sorted(common or ())

    def has(self, identity: str, keys: Iterable[FeatureKey]) -> bool:
        """Whether a content's file exists, is complete, and holds all of these features."""
        header = self.header(identity)
        return header is not None and set(keys) <= set(header.keys)

    def missing(self, identity: str, keys: Iterable[FeatureKey]) -> list[FeatureKey]:
        """Which of these features are missing or damaged. Tensors are checked only if any is missing."""
        if self.has(identity, keys):
            return []
        sound = self._sound(identity)
        return sorted(key for key in keys if str(key) not in sound)

    def known_failure(self, identity: str) -> str | None:
        """The recorded reason why a content does not decode; None if there is none."""
        failures = self._manifest.failures
        names = sorted(name for name in self._manifest.names(identity) if name in failures)
        return next((failures[name].reason for name in names if not self._manifest.rows[name].file), None)

    def find(self, video: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> str:
        """The name of a video in the index.

        Args:
            video: A name as in the index, or an absolute path.
            root: Where the root of the store is now, if the videos were moved; for absolute paths.

        Raises:
            UnknownNameError: If the video is not in the store.
        """
        path = Path(os.path.relpath(video, root or self.root) if Path(video).is_absolute() else video)
        name = path.as_posix()
        if name not in self._manifest.rows:
            hint = f"Names are relative to {self.root}. Extract it first, or give root= if videos were moved."
            raise UnknownNameError("video", name, sorted(self._manifest.rows), hint)
        return name

    def read(
        self,
        video: str | os.PathLike[str],
        key: tuple[int, int | str] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
    ) -> Features:
        """Read the features of a video, as float32.

        Args:
            video: See `find`.
            key: Timestep and layer, for example `(20, 9)` or a `FeatureKey`; None for all.
            root: See `find`.

        Raises:
            UnknownNameError: If the video or the feature is not in the store.
            StoreError: If the video failed, or its file is missing or damaged.
        """
        name = self.find(video, root=root)
        row = self._manifest.rows[name]
        if not row.file:
            reason = self._manifest.failures.get(name, Failure("failed", "no reason is recorded")).reason
            raise StoreError(f"{name} failed when features were extracted ({reason}), so that it has none.")
        return self.load(row.identity, None if key is None else [key])

    def load(self, identity: str, keys: Sequence[tuple[int, int | str]] | None = None) -> Features:
        """Read the features of a content by its identity, whatever the video's name is now; see `read`."""
        path = self._path(identity)
        try:
            header = read_header(path)
        except StoreError as error:
            raise StoreError(
                f"{error} Run: actiondiff features verify {self.folder}; then extract."
            ) from None
        chosen = header.keys if keys is None else tuple(FeatureKey.of(*key) for key in keys)
        for key in chosen:
            if key not in header.keys:
                raise UnknownNameError("feature", key, header.keys, "Extract it first: actiondiff extract")
        places = {"seconds", "frame_index"} & set(header.sums)
        tensors = read_tensors(path, [*places, *map(str, chosen)])
        damaged = sorted(name for name in tensors if tensor_sum(tensors[name]) != header.sums[name])
        if header.identity != identity or header.fingerprint != self.fingerprint:
            damaged = ["it holds the features of another video, or of other settings"]
        if damaged:
            problem = damaged[0] if " " in damaged[0] else f"{damaged[0]} does not fit its checksum"
            raise StoreError(
                f"{path}: {problem}. Run: actiondiff features verify {self.folder}; then extract."
            )
        return Features(
            tokens={key: tensors[str(key)].astype(np.float32) for key in chosen},
            seconds=tensors.get("seconds"),
            frame_index=tensors["frame_index"],
            identity=identity,
            num_windows=header.num_windows,
            num_padded=header.num_padded,
            window_length=header.window_length,
            report=header.report,
            batch=header.batch,
            num_encoded_again=header.num_encoded_again,
            appearance=header.appearance,
        )

    def latents(self, identity: str) -> "KeptLatents | None":
        """The stored windows of a content; None if not all of them are stored."""
        if not (self.folder / "latents").is_dir():
            return None
        from actiondiff.features.latent_file import find_latents  # loads the networks' libraries

        return find_latents(self.folder, identity, self.fingerprint)

    # -- filling it ------------------------------------------------------------------------------------

    def write(self, video: str | Iterable[str], features: Features) -> None:
        """Store features of a video. Features of this content that are stored already stay, bit for bit.

        Args:
            video: Name of the video, a posix path relative to the root; or all names of the content.
            features: The features; their identity is that of the content.

        Raises:
            StoreError: If values are not finite in the store's dtype, or stored features are of other frames.
        """
        names = {video} if isinstance(video, str) else set(video)
        tensors = self._tensors(features)
        with locked(self.folder):
            existing = self._sound(features.identity)
            if existing and not np.array_equal(existing["frame_index"], tensors["frame_index"]):
                raise StoreError(
                    f"the video decodes to other frames ({len(features)}) than when its other features were "
                    f"stored ({len(existing['frame_index'])}): extract into a new folder."
                )
            names |= self._manifest.names(features.identity)
            old = self.header(features.identity)
            batches = [count for count in (features.batch, existing and old and old.batch) if count]
            header = Header(
                identity=features.identity,
                fingerprint=self.fingerprint,
                videos=tuple(names.union(old.videos if old else ())),
                num_tokens=len(features),
                num_windows=features.num_windows,
                num_padded=features.num_padded,
                window_length=features.window_length,
                report=features.report,
                batch=min(batches, default=None),
                num_encoded_again=max(features.num_encoded_again, old.num_encoded_again if old else 0),
                appearance=features.appearance or (old.appearance if old else None),
            )
            header = write_file(self._path(features.identity), header, {**tensors, **existing})
            self._record([entry_of(name, header) for name in names])

    def attach(self, identity: str, videos: Iterable[str]) -> None:
        """Make sure that videos are indexed with a stored content. Returns quickly if they are.

        Raises:
            StoreError: If the content is not stored.
        """
        videos = set(videos)
        header = read_header(self._path(identity))
        has_new_names = not videos <= set(header.videos)
        if has_new_names or any(self._manifest.entry(name) != entry_of(name, header) for name in videos):
            with locked(self.folder):
                if has_new_names:
                    header = rename(self._path(identity), add=videos)
                self._record([entry_of(name, header) for name in videos])

    def fail(self, videos: str | Iterable[str], reason: str, *, identity: str | None = None) -> None:
        """Record that videos failed.

        Args:
            videos: Names of the videos.
            reason: Reason, in words.
            identity: Identity of the content, if it cannot be decoded; the videos are then indexed as failed.
                None if only this attempt failed; stored features of the videos then stay.
        """
        names = {videos} if isinstance(videos, str) else set(videos)
        failure = Failure("failed", reason)
        with locked(self.folder):
            self._record(
                [
                    Entry(name, Row(name, identity, "", 0, 0.0, "failed") if identity else row, failure)
                    for name in names
                    for row in [self.row(name)]
                ]
            )

    def forget(self, videos: Iterable[str]) -> None:
        """Drop the records of videos that have no features."""
        stored = set(self.videos())
        with locked(self.folder):
            self._record([Entry(name, None, None) for name in videos if name not in stored])

    def tidy(self) -> None:
        """Bring index.csv and failures.csv up to date; to be called when writing has ended."""
        self._manifest.tidy()

    def verify(self) -> list[str]:
        """Check every file and the index; quarantine damaged files and drop them from the index.

        Checksums, shapes, dtypes and values (which must be finite) are checked, and the index is compared
        with the files. Afterwards the store is sound, and an extraction makes the quarantined features again.

        Returns:
            One sentence per problem; empty if there is none.
        """
        return verify(self.folder, self._manifest, self.fingerprint, self.dtype)

    def _tensors(self, features: Features) -> dict[str, NDArray[Any]]:
        """The tensors that are written to disk, after checking their values."""
        tensors: dict[str, NDArray[Any]] = {"frame_index": features.frame_index.astype(np.int64)}
        if features.seconds is not None:
            tensors["seconds"] = features.seconds.astype(np.float64)
        for key, values in features.tokens.items():
            with np.errstate(over="ignore"):
                tensors[str(key)] = values.astype(self.dtype)
            if not np.isfinite(tensors[str(key)]).all():
                raise StoreError(
                    f"{key} has values that are not finite in {self.dtype}: too large for the backbone's "
                    "dtype or the store's. Extract into a new folder in float32."
                )
        return tensors

    def _path(self, identity: str) -> Path:
        return self.folder / file_name(identity)

    def header(self, identity: str) -> Header | None:
        """Header of a content's file; None if the file is missing, damaged or of another store."""
        try:
            header = read_header(self._path(identity))
        except StoreError:
            return None
        return header if (header.identity, header.fingerprint) == (identity, self.fingerprint) else None

    def _sound(self, identity: str) -> dict[str, NDArray[Any]]:
        """Tensors of a content that fit their checksums; none if frame indices or times do not fit."""
        header = self.header(identity)
        return sound_tensors(self._path(identity), header) if header else {}

    def _record(self, entries: Sequence[Entry]) -> None:
        """Record new entries, and take names from contents that had them before. Needs the lock."""
        for name, row, _ in entries:
            before = self.row(name)
            has_new_content = before and before.file and row and row.identity != before.identity
            if before and has_new_content and self.header(before.identity):
                rename(self._path(before.identity), drop=[name])
        self._manifest.record(entry for entry in entries if entry != self._manifest.entry(entry.video))
