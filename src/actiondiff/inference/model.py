"""The road on one screen: video -> windows -> backbone -> features -> head -> prediction."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from actiondiff.backbones.base import Backbone, backbone_from_settings
from actiondiff.backbones.engine.run import run
from actiondiff.backbones.options import Dtype
from actiondiff.datasets.packing import pack_arrays
from actiondiff.errors import RunError, UsageError, VideoError
from actiondiff.heads.bundle import CONFIG, ModelConfig, load_bundle, save_bundle
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import predict_probabilities, split_spans
from actiondiff.inference.localization import Heatmap, LocalizationOptions, make_heatmap
from actiondiff.inference.timeline import Timeline, TimelineOptions, make_timeline
from actiondiff.types import DecodeReport, Features, Frames, Prediction, Progress
from actiondiff.video.opening import Reading, Video, read_chunks

__all__ = ["BEST", "CARD", "ActionDiff", "find_run"]

BEST = "best-seed.txt"
CARD = "README.md"
_log = logging.getLogger(__name__)


class ActionDiff:
    """A backbone and a head that was trained on its features.

    Attributes:
        backbone: The frozen network.
        head: The trained head.
        config: What `config.json` holds: labels, activation, feature keys, settings of the features.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        config: ModelConfig,
        card: str = "",
        resized: Callable[[int, int], Backbone] | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.config = config
        self._card = card
        self._resized = resized
        self._keys = config.feature_keys

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | Path | None = None,
        text_weights: str | Path | None = None,
        device: str = "auto",
        dtype: Dtype | None = None,
    ) -> Self:
        """A trained model from a run's folder or the hub.

        Args:
            path: Folder that `actiondiff train` wrote, or a hub id `owner/name`. Of a run with several
                seeds, the one that was best on validation clips is taken, and the log says so.
            weights: The backbone's checkpoint, where it needs one: the same that made the features.
            text_weights: Folder of the text tower, where the backbone is conditioned on names of actions.
            device: Where the backbone runs.
            dtype: Its arithmetic; that of the training's features if None.

        Raises:
            RunError: If there is no complete model.
            SettingsMismatchError: If the weights are others than those the head was trained with.
        """
        folder = find_run(path)
        head, config = load_bundle(folder)
        lacking = {"sampling", "store_dtype"} - set(config.features)
        if lacking:
            raise RunError(
                f"{folder / CONFIG} does not say how videos are to be sampled: features lacks "
                f"{' and '.join(sorted(lacking))}. Give the folder that `actiondiff train` wrote."
            )

        def load(**size: int) -> Backbone:
            return backbone_from_settings(
                {**config.backbone, **size},
                weights=weights, text_weights=text_weights, device=device, dtype=dtype,
            )  # fmt: skip

        card = folder / CARD
        text = card.read_text("utf-8") if card.is_file() else ""
        return cls(load(), head, config, text, lambda height, width: load(height=height, width=width))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write head, config and model card; no backbone weights. `from_pretrained` reads it back."""
        save_bundle(folder, self.head, self.config)
        (Path(folder) / CARD).write_text(self._card or "# A head trained with ActionDiff\n", "utf-8")

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to a model repository, made if need be; returns its page.

        Raises:
            RunError: If the hub does not take it.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            try:
                api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
                page = api.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message="ActionDiff head"
                )
            except Exception as error:  # of the hub's client, or of the network library under it
                raise RunError(
                    f"the hub does not take {repo_id} ({type(error).__name__}: {error}). Check the name, "
                    "which is owner/name, the connection, and that you are logged in (hf auth login)."
                ) from error
        return str(page)

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the head's outputs."""
        return list(self.config.labels)

    def extract(self, video: Video, *, progress: Progress | None = None) -> Features:
        """What the head sees of a video; `classify` and `make_timeline` go on from it.

        Args:
            video: A file, sampled as the training features were; or frames, taken as they are.
            progress: Called with the frames that are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames.
        """
        reading = self._open(video, progress)
        _, features = next(run(self.backbone, [reading], self._keys))
        if features is None:
            raise VideoError(f"{reading.name}: {reading.report.reason if reading.report else 'no frame'}.")
        return features

    def predict(self, video: Video, *, progress: Progress | None = None) -> Prediction:
        """What a video shows.

        Args:
            video: A file, sampled as the training features were; or frames, taken as they are.
            progress: Called with the frames that are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames.
        """
        return self.classify(self.extract(video, progress=progress), _name(video))

    def predict_many(
        self, videos: Iterable[str | os.PathLike[str]]
    ) -> Iterator[tuple[str, Prediction | DecodeReport]]:
        """Predictions of files, in order; windows of different files share the backbone's batches.

        Yields:
            The path as given, and a prediction; or, where no frame decodes, the report that says why.

        Raises:
            UsageError: If given a single path.
        """
        for name, found in self._features_of_many(videos):
            yield name, found if isinstance(found, DecodeReport) else self.classify(found, name)

    def timeline(
        self, video: Video, *, options: TimelineOptions | None = None, progress: Progress | None = None
    ) -> Timeline:
        """What a video shows, and when.

        Args:
            video: A file, sampled as the training features were; or frames with their times.
            options: Those that are set count before the model's own.
            progress: Called with the frames that are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames, or their times are unknown.
        """
        features = self.extract(video, progress=progress)
        return make_timeline(self.head, self.config, features, _name(video), options=options)

    def localize(
        self,
        video: Video,
        action: str,
        *,
        options: LocalizationOptions | None = None,
        progress: Progress | None = None,
    ) -> Heatmap:
        """Where in a video an action is seen.

        Args:
            video: A file, sampled as the training features were; or frames, taken as they are.
            action: One of the labels.
            options: How.
            progress: Called with the frames that are read.

        Raises:
            UnknownNameError: If the model does not know the action.
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames, or the model's feature has no places.
        """
        return make_heatmap(
            self.backbone, self.head, self.config, video, action,
            options=options, resized=self._resized, progress=progress,
        )  # fmt: skip

    def timeline_many(
        self, videos: Iterable[str | os.PathLike[str]], *, options: TimelineOptions | None = None
    ) -> Iterator[tuple[str, Timeline | DecodeReport]]:
        """Timelines of files, in order; see `predict_many`."""
        for name, found in self._features_of_many(videos):
            yield (
                name,
                found
                if isinstance(found, DecodeReport)
                else make_timeline(self.head, self.config, found, name, options=options),
            )

    def _features_of_many(
        self, videos: Iterable[str | os.PathLike[str]]
    ) -> Iterator[tuple[str, Features | DecodeReport]]:
        if isinstance(videos, str | os.PathLike):
            raise UsageError(f"several videos are given as a list of paths; got {videos!r}.")

        def readers() -> Iterator[Reading | _Unreadable]:
            for video in videos:
                try:
                    yield self._open(video)
                except VideoError as error:
                    yield _Unreadable(os.fspath(video), str(error))

        for reader, features in run(self.backbone, readers(), self._keys):
            if features is None:
                assert reader.report is not None  # the frames came from a file
                yield reader.name, reader.report
            else:
                yield reader.name, features

    def classify(self, features: Features, name: str) -> Prediction:
        """Apply the head to features, rounded as the store rounds them."""
        tokens = np.concatenate([features.tokens[key] for key in self._keys], axis=1)
        tokens = tokens.astype(self.config.store_dtype).astype(np.float32)
        activation = self.config.activation
        probabilities = predict_probabilities(self.head, pack_arrays([tokens]), activation)[0]
        return Prediction(
            video=name,
            probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
            activation=activation,
            num_tokens=len(tokens),
            num_spans=len(split_spans(len(tokens), self.head.options.max_tokens)),
            padding_share=features.padding_share,
            report=features.report,
        )

    def _open(self, video: Video, progress: Progress | None = None) -> Reading:
        return read_chunks(video, self.config.sampling, progress=progress)


class _Unreadable:
    """Reader of a file that cannot even be opened: it gives no frames, and its report says why."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.report = DecodeReport("failed", reason)

    def __iter__(self) -> Iterator[Frames]:
        return iter(())


def _name(video: Video) -> str:
    return video.identity if isinstance(video, Frames) else os.fspath(video)


def find_run(path: str | os.PathLike[str]) -> Path:
    """The folder that holds the model: the given one, its best seed's, or a download from the hub.

    Raises:
        RunError: If there is none.
    """
    folder = Path(path)
    if not folder.exists():
        return _download(str(path))
    best = folder / BEST
    if best.is_file() and not (folder / CONFIG).exists():
        name = best.read_text("utf-8").strip()
        _log.info("%s holds several trainings; %s is taken, as its metrics.json says.", folder, name)
        return folder / name
    return folder


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if repo_id.count("/") != 1 or repo_id.startswith((".", "/")):
        raise RunError(
            f"there is no folder {repo_id}; give the one that actiondiff train wrote, or a hub id."
        )
    try:
        return Path(snapshot_download(repo_id, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RunError(
            f"there is no folder {repo_id}, and the hub gives no such model ({type(error).__name__}). Check "
            "the name and the connection, or give the folder that actiondiff train wrote."
        ) from None
