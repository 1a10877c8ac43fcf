"""From videos to features: the backbones of a model, and what each of them reads."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.backbones.base import Backbone, backbone_from_settings, find_spec
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.backbones.options import Dtype, options_class
from actiondiff.errors import StoreError, UsageError, VideoError
from actiondiff.features.joined import join_features
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.feature_cache import FeatureCache
from actiondiff.inference.frame_rate import chosen_sampling
from actiondiff.types import DecodeReport, Features, Frames, Progress
from actiondiff.video.opening import ProgressReader, Video, read_chunks

__all__ = [
    "BackboneLoader",
    "join_results",
    "read_or_load",
    "split_checkpoints",
    "split_weights",
    "video_name",
]


@dataclass(frozen=True)
class BackboneLoader:
    """Loads a backbone as a model recorded it.

    Attributes:
        settings: The backbone's settings when it made the training's features.
        weights: Its checkpoint, where it needs one.
        text_weights: Folder of the text tower, where it is conditioned on names of actions.
        device: Device that it runs on.
        dtype: Arithmetic; as recorded if None.
    """

    settings: Mapping[str, Any]
    weights: str | Path | None
    text_weights: str | Path | None
    device: str
    dtype: Dtype | None

    def load(self, **size: int) -> Backbone:
        """Load the backbone, for pictures of another height and width if these are set."""
        return backbone_from_settings(
            {**self.settings, **size},
            weights=self.weights, text_weights=self.text_weights, device=self.device, dtype=self.dtype,
        )  # fmt: skip

    def resize(self, height: int, width: int) -> Backbone:
        """Load the backbone for pictures of this size."""
        return self.load(height=height, width=width)

    def settings_of(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """The backbone's settings with the arithmetic that was asked for.

        What else depends on it takes its default, which is known once the backbone is loaded.
        """
        if not self.dtype:
            return settings
        arithmetic = options_class(find_spec(self.settings["name"]).kind).arithmetic
        changed = dict.fromkeys(arithmetic.keys() & self.settings.keys()) | {"dtype": self.dtype}
        return {**settings, **changed}


class UnreadableVideo:
    """Reader of a file that cannot even be opened: it gives no frames, and its report says why."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.report = DecodeReport("failed", reason)

    def __iter__(self) -> Iterator[Frames]:
        return iter(())


def video_name(video: Video) -> str:
    """The path of a video as given, or the identity of frames in memory."""
    return video.identity if isinstance(video, Frames) else os.fspath(video)


def split_weights(weights: str | Path | None, config: ModelConfig) -> dict[str, str | Path | None]:
    """Say which checkpoint each backbone of a model is loaded from.

    Args:
        weights: A checkpoint, which is the first backbone's; or, for a model of several backbones, a text
            like `svd=FILE,lite0=FILE`, with the names of backbones.
        config: The model's config.

    Returns:
        Name of a further backbone -> its checkpoint; that of the first backbone has an empty name.

    Raises:
        UsageError: If a name is not that of a backbone of the model.
    """
    first = str(config.backbone["name"])
    sources = f"this model reads {config.sources}" if config.further else ""
    return split_checkpoints(weights, first, tuple(config.further), sources)


def split_checkpoints(
    weights: str | Path | None, first: str, further: Sequence[str], sources: str
) -> dict[str, str | Path | None]:
    """Say which checkpoint each of several backbones is loaded from; see `split_weights`.

    Args:
        weights: As there.
        first: Name of the first backbone.
        further: Names of the others.
        sources: What reads them, for errors.

    Raises:
        UsageError: If a name is not that of one of the backbones.
    """
    chosen: dict[str, str | Path | None] = dict.fromkeys(("", *further))
    text = weights if isinstance(weights, str) else ""
    if not further or "=" not in text or Path(text).exists():
        return {**chosen, "": weights}
    for entry in text.split(","):
        name, sign, path = (part.strip() for part in entry.partition("="))
        if not sign or not path or name not in (first, *further):
            raise UsageError(
                f"{sources}, so weights are NAME=FILE with one of the names {', '.join((first, *further))}, "
                f"separated by commas; got {entry!r}."
            )
        chosen["" if name == first else name] = path
    return chosen


def join_results(
    name: str, own: Features | DecodeReport, parts: Mapping[str, Features | DecodeReport]
) -> Features | DecodeReport:
    """Join the features that several backbones made of one video; the report of one that failed, if any."""
    results = {"": own, **parts}
    for result in results.values():
        if isinstance(result, DecodeReport):
            return result
    features = {key: result for key, result in results.items() if isinstance(result, Features)}
    try:
        return join_features(features.pop(""), features, video=name)
    except StoreError as error:  # one such video must not end the work on the others
        return DecodeReport("failed", str(error))


def read_or_load(
    backbone: Callable[[], Backbone],
    config: ModelConfig,
    videos: Iterable[str | os.PathLike[str]],
    cache: FeatureCache | None,
    progress: Progress | None,
) -> Iterator[tuple[str, Features | DecodeReport]]:
    """Yield the features of one backbone for many files: from a cache, or else from the files.

    Args:
        backbone: Loads the frozen network when it is needed.
        config: The model's config, as far as this backbone is concerned.
        videos: The files.
        cache: Where features are kept.
        progress: Called as frames of a file are read, with the file's path.
    """
    if cache is None:
        yield from _read_many(backbone, config, videos, progress)
        return
    # Only the videos that are not stored are read, and each is stored as soon as it is complete.
    listed = list(videos)
    missing = cache.missing(listed)
    extracted = _read_many(backbone, config, [listed[n] for n in sorted(missing)], progress)
    for n, video in enumerate(listed):
        features = None if n in missing else cache.load_own(video)
        if features is not None:
            yield os.fspath(video), features
            continue
        # A file that is damaged, or was removed in the meantime, does not give what was expected of it.
        name, result = next(extracted if n in missing else _read_many(backbone, config, [video], progress))
        if isinstance(result, Features):
            cache.add(video, result)
        yield name, result


def _read_many(
    backbone: Callable[[], Backbone],
    config: ModelConfig,
    videos: Iterable[str | os.PathLike[str]],
    progress: Progress | None,
) -> Iterator[tuple[str, Features | DecodeReport]]:
    """Decode files and run the backbone on them."""

    def readers() -> Iterator[ProgressReader | UnreadableVideo]:
        for video in videos:
            try:
                yield read_chunks(video, chosen_sampling(config, video), progress=progress)
            except VideoError as error:  # one bad file must not end the work on the others
                yield UnreadableVideo(os.fspath(video), error.reason_for(video))

    for reader, features in extract_in_order(backbone(), readers(), config.feature_keys):
        if features is None:
            assert reader.report is not None  # the frames came from a file
            yield reader.name, reader.report
        else:
            yield reader.name, features
