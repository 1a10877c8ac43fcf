"""The road from a video to a prediction: video -> windows -> backbone -> features -> head -> prediction.

Read it from the top. `from_pretrained` puts a trained model together. `predict` then takes two steps:
`extract` (video -> features) and `classify` (features -> `Prediction`). `predict_many` takes the same steps
for many files. `timeline` and `localize` ask the same model when, and where, an action happens.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from actiondiff.backbones.base import Backbone, check_device
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.backbones.options import Dtype
from actiondiff.datasets.packing import pack_arrays
from actiondiff.errors import RunError, UsageError, VideoError
from actiondiff.features.joined import join_features
from actiondiff.heads.bundle import CONFIG, ModelConfig, load_bundle, save_bundle
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import predict_probabilities, split_spans
from actiondiff.inference.feature_cache import FeatureCache
from actiondiff.inference.folders import CARD, find_model_folder, upload_folder
from actiondiff.inference.frame_rate import chosen_sampling
from actiondiff.inference.guard import Guard, check_domain, load_guard, save_guard
from actiondiff.inference.individuals import of_source
from actiondiff.inference.localization import Heatmap, LocalizationOptions, make_heatmap
from actiondiff.inference.reading import BackboneLoader, join_results, read_or_load, split_weights, video_name
from actiondiff.inference.student import with_student
from actiondiff.inference.timeline import Timeline, TimelineOptions, make_timeline
from actiondiff.provenance import write_text
from actiondiff.types import DecodeReport, Features, Prediction, Progress
from actiondiff.video.opening import Video, read_chunks

__all__ = ["ActionDiff"]


class ActionDiff:
    """A backbone and a head that was trained on its features.

    Attributes:
        backbone: The frozen network.
        backbone_settings: Its settings, which are known before it is loaded.
        head: The trained head.
        config: What `config.json` holds: labels, activation, feature keys, settings of the features.
        guard: Tells which videos lie outside what the model has learnt from; None for models of older
            versions.
        places: Video -> the config with the background of its camera; see `places_of_videos`.
        further: Name -> the same with a further backbone, where the head reads features of several; it
            only extracts.
        weights: Checkpoint that the backbone is loaded from, if one was given.
    """

    def __init__(
        self,
        backbone: Backbone | None,
        head: Head,
        config: ModelConfig,
        card: str = "",
        resized: Callable[[int, int], Backbone] | None = None,
        load: Callable[[], Backbone] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._backbone = backbone
        self.backbone_settings: Mapping[str, Any] = config.backbone if backbone is None else backbone.settings
        self.head = head
        self.config = config
        self.guard = guard
        self.places: Mapping[str, ModelConfig] = {}
        self.further: dict[str, Self] = {}
        self.weights: str | Path | None = None
        self._own = config.part()  # what concerns the first backbone, where there are several
        self._card = card
        self._resized = resized
        self._load = load

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | Path | None = None,
        text_weights: str | Path | None = None,
        device: str = "auto",
        dtype: Dtype | None = None,
        student: str | Path | None = None,
        lazy: bool = False,
    ) -> Self:
        """Load a trained model from the folder of a run or from the hub.

        Args:
            path: Folder that `actiondiff train` wrote, or a hub id `owner/name`. Of a run with several
                seeds, the one that was best on validation clips is used, and the log names it.
            weights: The backbone's checkpoint, where it needs one: the same that made the features.
            text_weights: Folder of the text tower, where the backbone is conditioned on names of actions.
            device: Device that the backbone runs on.
            dtype: Arithmetic of the backbone; that of the training's features if None.
            student: Folder of a student of the backbone, which then takes the backbone's place.
            lazy: Load the backbone when it is first needed, which it is not where features are stored. Errors
                about its weights then come at that time.

        Raises:
            RunError: If there is no complete model.
            SettingsMismatchError: If the weights or the student differ from what the head was trained on.
        """
        # The head and its config lie in one folder.
        folder = find_model_folder(path)
        head, config = load_bundle(folder)
        guard = load_guard(folder, token_width=config.token_width)
        lacking = {"sampling", "store_dtype"} - set(config.features)
        if lacking:
            raise RunError(
                f"{folder / CONFIG} does not say how videos are to be sampled: features lacks "
                f"{' and '.join(sorted(lacking))}. Give the folder that `actiondiff train` wrote."
            )

        TimelineOptions.of_model(config.timeline)
        check_device(device)

        config, weights = with_student(config, student, weights, device=device, dtype=dtype)

        # Each backbone must be set up as it was when it made the training's features.
        def loader(part: ModelConfig, checkpoint: str | Path | None) -> BackboneLoader:
            return BackboneLoader(part.backbone, checkpoint, text_weights, device, dtype)

        card = folder / CARD
        text = card.read_text("utf-8") if card.is_file() else ""
        checkpoints = split_weights(weights, config)
        model = cls._of(loader(config, checkpoints[""]), head, config, text, guard, lazy=lazy)
        for name in config.further:
            part = config.part(name)
            model.further[name] = cls._of(loader(part, checkpoints[name]), head, part, "", None, lazy=lazy)
        return model

    @classmethod
    def _of(
        cls,
        loader: BackboneLoader,
        head: Head,
        config: ModelConfig,
        card: str,
        guard: Guard | None,
        *,
        lazy: bool,
    ) -> Self:
        """Put a model together whose backbone is loaded now, or when it is first needed."""
        backbone = None if lazy else loader.load()
        model = cls(backbone, head, config, card, loader.resize, loader.load, guard)
        model.backbone_settings = loader.settings_of(model.backbone_settings)
        model.weights = loader.weights
        return model

    @property
    def backbone(self) -> Backbone:
        """The frozen network; it is loaded if it is not yet."""
        if self._backbone is None:
            assert self._load is not None
            self._backbone = self._load()
        return self._backbone

    def with_head(self, head: Head, config: ModelConfig, guard: Guard | None = None) -> Self:
        """The same backbone with another head, trained on its features, and with that head's guard."""
        model = type(self)(self._backbone, head, config, self._card, self._resized, self._load, guard)
        model.further, model.weights = self.further, self.weights
        return model

    def open_cache(self, folder: str | Path, videos: Iterable[str | os.PathLike[str]]) -> FeatureCache:
        """Open a store in a folder, where features of these videos are kept; see `FeatureCache.open`."""
        further = {name: model.backbone_settings for name, model in self.further.items()}
        return FeatureCache.open(
            folder, self.backbone_settings, self.config, videos, further_settings=further
        )

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the head's outputs."""
        return list(self.config.labels)

    def predict(self, video: Video, *, progress: Progress | None = None) -> Prediction:
        """Predict the actions of one video.

        Args:
            video: A file, sampled as the training videos were; or frames in memory, all of which are used.
            progress: Called as frames are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames.
        """
        features = self.extract(video, progress=progress)
        return self.classify(features, video_name(video))

    def extract(self, video: Video, *, progress: Progress | None = None) -> Features:
        """Extract the features of one video; `classify` and `make_timeline` take them as input.

        Args:
            video: A file, sampled as the training videos were; or frames in memory, all of which are used.
            progress: Called as frames are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames.
        """
        # The reader gives the sampled frames; the engine cuts them into windows for the backbone.
        reader = read_chunks(video, chosen_sampling(self._own, video), progress=progress)
        _, features = next(extract_in_order(self.backbone, [reader], self._own.feature_keys))
        if features is None:
            raise VideoError(f"{reader.name}: {reader.report.reason if reader.report else 'no frame'}.")
        # Further backbones read the video again, each as it did in training.
        parts = {name: model.extract(video, progress=progress) for name, model in self.further.items()}
        return join_features(features, parts, video=reader.name)

    def classify(self, features: Features, name: str) -> Prediction:
        """Apply the head to the features of one video.

        Args:
            features: What `extract` returned.
            name: The video's name in the prediction, or the path of a crop file.
        """
        # Tokens are rounded as the feature store rounded those that the head was trained on.
        config = self.places.get(name, self.config)
        tokens = config.tokens_of(features)  # (T, D)
        # A video longer than the head allows is cut into spans, whose probabilities are averaged.
        probabilities = predict_probabilities(self.head, pack_arrays([tokens]), self.config.activation)[0]
        prediction = Prediction(
            video=name,
            probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
            activation=self.config.activation,
            num_tokens=len(tokens),
            num_spans=len(split_spans(len(tokens), self.head.options.max_tokens)),
            padding_share=features.padding_share,
            report=features.report,
            domain=check_domain(self.guard, self.config, features, tokens, name),
        )
        return of_source(prediction)

    def predict_many(
        self,
        videos: Iterable[str | os.PathLike[str]],
        *,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, Prediction | DecodeReport]]:
        """Predict the actions of many files; windows of different files share the backbone's batches.

        Args:
            videos: The files.
            cache: Where features are kept. A file whose features it holds is not decoded.
            progress: Called as frames of a file are read, with the file's path.

        Yields:
            For each file, in order, its path as given and its prediction. Where no frame decodes, the report
            that says why takes the prediction's place.

        Raises:
            UsageError: If a single path was given.
        """
        for name, features in self.extract_many(videos, cache=cache, progress=progress):
            yield name, features if isinstance(features, DecodeReport) else self.classify(features, name)

    def extract_many(
        self,
        videos: Iterable[str | os.PathLike[str]],
        *,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, Features | DecodeReport]]:
        """Extract the features of many files; see `extract` and `predict_many`."""
        if isinstance(videos, str | os.PathLike):
            raise UsageError(f"several videos are given as a list of paths; got {videos!r}.")
        if not self.further:
            yield from self._extract_own(videos, cache, progress)
            return
        listed = list(videos)
        streams = [self._extract_own(listed, cache, progress)]
        for key, model in self.further.items():
            streams.append(model._extract_own(listed, cache and cache.further[key], progress))
        for (name, own), *others in zip(*streams, strict=True):
            parts = {key: part for key, (_, part) in zip(self.further, others, strict=True)}
            yield name, join_results(name, own, parts)

    def _extract_own(
        self,
        videos: Iterable[str | os.PathLike[str]],
        cache: FeatureCache | None,
        progress: Progress | None,
    ) -> Iterator[tuple[str, Features | DecodeReport]]:
        """Extract the features of the first backbone; see `extract_many`."""
        return read_or_load(lambda: self.backbone, self._own, videos, cache, progress)

    def timeline(
        self, video: Video, *, options: TimelineOptions | None = None, progress: Progress | None = None
    ) -> Timeline:
        """Predict which actions a video shows, and when.

        Args:
            video: A file, sampled as the training videos were; or frames in memory with their times.
            options: How scores and bouts are made. Options that are set override the model's own.
            progress: Called as frames are read.

        Raises:
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames, or their times are unknown.
        """
        features = self.extract(video, progress=progress)
        return self.timeline_of(features, video_name(video), options=options)

    def timeline_of(
        self, features: Features, name: str, *, options: TimelineOptions | None = None
    ) -> Timeline:
        """Make the timeline of a video from its features.

        Args:
            features: What `extract` returned.
            name: The video's name in the timeline, or the path of a crop file.
            options: How scores and bouts are made. Options that are set override the model's own.

        Raises:
            UsageError: If the times of the frames are unknown.
        """
        config = self.places.get(name, self.config)
        return of_source(make_timeline(self.head, config, features, name, options=options, guard=self.guard))

    def timeline_many(
        self,
        videos: Iterable[str | os.PathLike[str]],
        *,
        options: TimelineOptions | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, Timeline | DecodeReport]]:
        """Make the timelines of many files; see `timeline` and `predict_many`."""
        for name, features in self.extract_many(videos, cache=cache, progress=progress):
            if isinstance(features, DecodeReport):
                yield name, features
            elif features.seconds is None:  # one file without times must not end the work on the others
                yield name, DecodeReport("failed", "the times of its frames are unknown")
            else:
                yield name, self.timeline_of(features, name, options=options)

    def localize(
        self,
        video: Video,
        action: str,
        *,
        options: LocalizationOptions | None = None,
        progress: Progress | None = None,
    ) -> Heatmap:
        """Search a video for the places where an action is seen.

        Args:
            video: A file, sampled as the training videos were; or frames in memory, all of which are used.
            action: One of the labels.
            options: How the video is searched.
            progress: Called as frames are read.

        Raises:
            UnknownNameError: If the action is not one of the labels.
            VideoError: If no frame of the file decodes.
            UsageError: If there are no frames, or the model's feature has no places.
        """
        config = self.places.get(video_name(video), self.config)
        further = {name: (model.backbone, model._resized) for name, model in self.further.items()}
        heatmap = make_heatmap(
            self.backbone, self.head, config, video, action,
            options=options, resized=self._resized, further=further, progress=progress,
        )  # fmt: skip
        return of_source(heatmap)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write head, config and model card, which `from_pretrained` reads; no weights of the backbone."""
        if self.guard is not None:
            save_guard(folder, self.guard)
        save_bundle(folder, self.head, self.config)
        write_text(Path(folder) / CARD, self._card or "# A head trained with ActionDiff\n")

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to a model repository on the hub.

        Args:
            repo_id: Name of the repository, `owner/name`; it is created if it does not exist.
            private: Whether a new repository is private.
            token: Access token; the one that `hf auth login` stored if None.

        Returns:
            The address of the repository's page.

        Raises:
            RunError: If the hub refuses the upload.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload_folder(Path(folder), repo_id, private=private, token=token)
