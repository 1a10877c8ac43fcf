"""Features of videos that a model has read, kept in a feature store, so that they are read only once."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from actiondiff.backbones.base import Backbone
from actiondiff.errors import StoreError, VideoError
from actiondiff.extraction.api import plan_extraction
from actiondiff.extraction.devices import on_devices
from actiondiff.extraction.runners import num_default_workers
from actiondiff.features.joined import JoinedStore, join_features
from actiondiff.features.store import FORMAT, FeatureStore
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.frame_rate import chosen_sampling
from actiondiff.types import JSON, Features, Progress, Sampling
from actiondiff.video.crop_file import identity_of

__all__ = ["FeatureCache"]

_log = logging.getLogger(__name__)


class FeatureCache:
    """Keeps the features that a model makes, and finds those of a video by the content of its file.

    The features are rounded as the store's own are, so that a prediction from them has the same bits as one
    from the video. Videos that are sampled by time because their frame rate is not that of the training
    videos (see `chosen_sampling`) have a store of their own beside the other one, since how a video is
    sampled is a setting of a store.

    Args:
        store: The store of videos that are sampled as the training videos were.
        config: The model's config, which names the features.
        further: Name -> cache of a further backbone, where the model reads features of several.

    Attributes:
        store: See above.
        further: See above. `load` joins their features with the first backbone's; all other methods are about
            the first backbone's alone.
    """

    def __init__(
        self, store: FeatureStore, config: ModelConfig, further: Mapping[str, "FeatureCache"] | None = None
    ) -> None:
        self.store = store
        self.further = dict(further or {})
        self._config = config.part()
        self._keys = self._config.feature_keys
        self._identities: dict[str, str] = {}
        self._by_time: dict[Sampling, FeatureStore] = {}

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        backbone_settings: Mapping[str, Any],
        config: ModelConfig,
        videos: Iterable[str | os.PathLike[str]],
        *,
        further_settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "FeatureCache":
        """Open the store in a folder; it is created if there is none. Further backbones get one beside it.

        Args:
            folder: Folder of the store.
            backbone_settings: Settings of the backbone as it is loaded now.
            config: The model's config.
            videos: Videos that will be read; names in a new store are relative to the folder of all of them.
            further_settings: Name of a further backbone -> its settings as it is loaded now; those of the
                training if None.

        Raises:
            SettingsMismatchError: If the store's features are not those that the model takes.
            StoreError: If the folder holds something else.
        """
        settings: dict[str, JSON] = {
            "format": FORMAT,
            "backbone": dict(backbone_settings),
            "sampling": config.sampling.settings,
            "store_dtype": config.store_dtype,
        }
        videos, further = list(videos), {}
        for name in config.further:
            part = config.part(name)
            theirs = (further_settings or {}).get(name, part.backbone)
            further[name] = cls.open(f"{os.fspath(folder)}-{name}", theirs, part, videos)
        root = os.path.commonpath([os.path.dirname(os.path.abspath(video)) for video in videos] or ["."])
        return cls(FeatureStore.create(folder, settings=settings, root=root), config, further)

    def load(self, video: str | os.PathLike[str]) -> Features | None:
        """The features of a video's file, of all backbones; None if some are not stored or cannot be read."""
        own = self.load_own(video)
        parts = {name: cache.load(video) for name, cache in self.further.items()}
        loaded = {name: part for name, part in parts.items() if part is not None}
        if own is None or len(loaded) < len(parts):
            return None
        return join_features(own, loaded, video=os.fspath(video))

    def load_own(self, video: str | os.PathLike[str]) -> Features | None:
        """The features of the first backbone; see `load`."""
        try:
            identity = self._identity(video)
            store = self.store_of(video)
            if not store.has(identity, self._keys):
                return None
            features = store.load(identity, self._keys)
            store.attach(identity, [self._name(video)])
        except (OSError, StoreError, VideoError):  # a damaged file is made again from the video
            return None
        return features

    def missing(self, videos: Sequence[str | os.PathLike[str]]) -> set[int]:
        """Positions of the videos whose features are not stored; of equal files, that of the first."""
        positions: dict[str, int] = {}
        for n, video in enumerate(videos):
            try:
                identity, store = self._identity(video), self.store_of(video)
            except (OSError, VideoError):  # what is wrong with it is reported when it is read
                positions[f"unreadable-{n}"] = n
                continue
            if not store.has(identity, self._keys):
                positions.setdefault(identity, n)
        return set(positions.values())

    def fill(
        self,
        videos: Sequence[str | os.PathLike[str]],
        backbone: Backbone,
        *,
        weights: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Make the features that are not stored in several processes, if that is quicker than in this one.

        Videos that fail are left to be read again where their features are asked for, which says why.

        Args:
            videos: The videos.
            backbone: The frozen network.
            weights: Its checkpoint, from which the processes load it.
            workers: Largest number of processes; None for one per core.
            progress: Called after each video.

        Returns:
            Number of processes that were used; 1 if nothing was done.

        Raises:
            StoreError: If the store cannot be written, or processes keep dying.
        """
        timesteps, layers = ({getattr(key, name) for key in self._keys} for name in ("timestep", "layer"))
        is_grid = len(self._keys) == len(timesteps) * len(layers)
        missing = [videos[n] for n in sorted(self.missing(videos))]
        is_same = backbone.settings == self.store.settings["backbone"]
        if len(missing) < 2 or workers == 1 or not (is_grid and is_same):
            return 1
        by_sampling: dict[Sampling, list[str | os.PathLike[str]]] = {}
        for video in missing:
            with suppress(VideoError):
                by_sampling.setdefault(chosen_sampling(self._config, video), []).append(video)
        checkpoint, largest = None if weights is None else os.fspath(weights), 1
        for sampling, paths in by_sampling.items():
            extraction = plan_extraction(
                paths,
                self.store_of(paths[0]).folder,
                backbone=backbone,
                timesteps=sorted(timesteps),
                layers=sorted(layers),
                root=self.store.root,
                stride=sampling.stride,
                fps=sampling.fps,
                store_dtype=self.store.dtype,
            )
            size = num_default_workers(extraction, weights=checkpoint, limit=workers)
            if size > 1:
                extraction.run(progress, runner=on_devices(["cpu"] * size, weights=checkpoint))
            largest = max(largest, size)
        return largest

    def add(self, video: str | os.PathLike[str], features: Features) -> None:
        """Store the features of a video."""
        try:
            self.store_of(video).write(self._name(video), features)
        except StoreError as error:
            _log.warning("The features of %s are not kept: %s", video, error)

    def store_of(self, video: str | os.PathLike[str]) -> FeatureStore:
        """The store that holds the features of a video, or will hold them.

        Raises:
            StoreError: If the folder of a store that is needed holds something else.
        """
        sampling = chosen_sampling(self._config, video)
        if sampling == self._config.sampling:
            return self.store
        if sampling not in self._by_time:
            settings = {**self.store.settings, "sampling": sampling.settings}
            folder = self.store.folder.with_name(f"{self.store.folder.name}-by-time")
            self._by_time[sampling] = FeatureStore.create(folder, settings=settings, root=self.store.root)
        return self._by_time[sampling]

    def joined_store_of(self, video: str | os.PathLike[str]) -> FeatureStore:
        """The store that holds the features of a video, joined with those of further backbones."""
        own, further = self.store_of(video), {n: cache.store_of(video) for n, cache in self.further.items()}
        return JoinedStore(own, further) if further else own

    def _identity(self, video: str | os.PathLike[str]) -> str:
        path = os.fspath(video)
        if path not in self._identities:
            self._identities[path] = identity_of(path)
        return self._identities[path]

    def _name(self, video: str | os.PathLike[str]) -> str:
        return Path(os.path.relpath(os.path.abspath(video), self.store.root)).as_posix()
