"""The values that the stages of the project pass to each other.

Shapes everywhere use these letters:

    B  batch                    T  sampled frames of a video     L  frames in a window
    S  steps (tokens) per window  H, W  pixels                     h, w  latent or patch grid
    C  channels of a layer      D  token width                   K  classes

`timestep` is always the diffusion's, `seconds` and `frame_index` the video's, `layer` the backbone's.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types.display import bars, count_and_span, film_strip, heat_picture, summary_table, titled
from actiondiff.types.domain import Appearance, DomainCheck
from actiondiff.types.keys import TRACK, FeatureKey, layer_name
from actiondiff.types.sampling import DEFAULT_STRIDE, JSON, Sampling

__all__ = [
    "DEFAULT_STRIDE",
    "JSON",
    "TRACK",
    "Appearance",
    "Array",
    "BoolArray",
    "Bout",
    "DecodeReport",
    "DomainCheck",
    "DoubleArray",
    "Example",
    "FeatureKey",
    "Features",
    "Frames",
    "Prediction",
    "Progress",
    "Sampling",
    "Status",
    "Window",
    "layer_name",
]

Array: TypeAlias = NDArray[np.float32]
DoubleArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Status: TypeAlias = Literal["ok", "partial", "failed"]
"""`failed`: no frame decodes. `partial`: decoding stopped early, or frames are missing. Else `ok`."""


class Progress(Protocol):
    """A function that is called with the progress of some work.

    An exception that it raises ends the work.
    """

    def __call__(self, done: int, total: int, what: str, /) -> None:
        """Take note of the progress.

        Args:
            done: How many steps are done.
            total: How many steps there are; 0 if that is not known.
            what: What was just done, or is done next: a video's name, or a line for people to read.
        """
        ...


@dataclass(frozen=True)
class DecodeReport:
    """Result of decoding one video.

    Attributes:
        status: `ok`, `partial` or `failed`.
        reason: Reason why the status is not `ok`, in words; empty if it is.
        num_frames_decoded: Number of raw frames that decoded, before sampling; with those passed over unread.
        num_frames_expected: Number of raw frames that the header, or else the duration, promises; None if
            unknown.
        times_repaired: Whether any time is not the one that the file states.
        num_times_mended: Number of frames, of those that decoded, whose own time was missing or wrong.
        times_note: Why times were mended, in words; empty if none was.
        num_frames_corrupt: Number of frames that the decoder itself flags as corrupt.
    """

    status: Status
    reason: str = ""
    num_frames_decoded: int = 0
    num_frames_expected: int | None = None
    times_repaired: bool = False
    num_times_mended: int = 0
    times_note: str = ""
    num_frames_corrupt: int = 0

    @property
    def coverage(self) -> float:
        """Share of the promised frames that decoded, in [0, 1]; 1 if their number is unknown."""
        if not self.num_frames_decoded:
            return 0.0
        if self.status == "ok" or not self.num_frames_expected:
            return 1.0
        return min(1.0, self.num_frames_decoded / self.num_frames_expected)


@dataclass(frozen=True, eq=False)
class Frames:
    """Sampled frames of one video, or a chunk of them.

    Attributes:
        pixels: (T, H, W, 3) uint8, RGB.
        seconds: (T,) float64, presentation times; None if unknown.
        frame_index: (T,) int64, position among the video's raw frames. Default: 0 .. T-1.
        identity: sha256 of the file that the frames come from, or else of the pixels; it seeds all randomness
            that concerns these frames.
        report: How decoding went; None for frames that were not decoded from a file.
        crop_places: (T, 4) float64 for crops, where each lies (see `CropPlace.row`); None for whole videos.

    Raises:
        UsageError: If shapes or dtypes do not fit.
    """

    pixels: NDArray[np.uint8]
    seconds: NDArray[np.float64] | None = None
    frame_index: NDArray[np.int64] = None  # type: ignore[assignment]  # filled in below
    identity: str = ""
    report: DecodeReport | None = None
    crop_places: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
            raise UsageError(
                f"Frames.pixels must be (T, H, W, 3) uint8 in RGB; got {pixels.shape} {pixels.dtype}. "
                "Convert with .astype('uint8') after scaling to 0..255, channels last."
            )
        count = len(pixels)
        index = np.arange(count) if self.frame_index is None else np.asarray(self.frame_index)
        seconds = None if self.seconds is None else np.asarray(self.seconds, dtype=np.float64)
        for name, values in (("frame_index", index), ("seconds", seconds)):
            if values is not None and values.shape != (count,):
                raise UsageError(
                    f"Frames.{name} must have shape ({count},), one value per frame; got {values.shape}."
                )
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "frame_index", index.astype(np.int64))
        object.__setattr__(self, "seconds", seconds)
        if not self.identity:
            digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())
            object.__setattr__(self, "identity", digest.hexdigest())

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        height, width = self.pixels.shape[1:3]
        return f"Frames({count_and_span(len(self), 'frame', self.seconds)}, {width} x {height})"

    def _repr_html_(self) -> str:
        return film_strip(self.pixels, self.seconds, repr(self))

    def __getitem__(self, span: slice) -> "Frames":
        """The frames of a slice, with the identity of the whole."""
        seconds = None if self.seconds is None else self.seconds[span]
        places = None if self.crop_places is None else self.crop_places[span]
        index = self.frame_index[span]
        return Frames(self.pixels[span], seconds, index, self.identity, self.report, places)


@dataclass(frozen=True)
class Window:
    """The sampled frames of a video that pass the backbone together.

    Attributes:
        slots: For each of the L slots the index of its frame (from 0, among the T sampled frames); -1 for a
            black frame.
        num_real: Number of leading slots with frames whose features are used; the other slots are padding.
    """

    slots: tuple[int, ...]
    num_real: int

    @property
    def start(self) -> int:
        """Index of the window's first sampled frame."""
        return self.slots[0]


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one video.

    Attributes:
        tokens: Key -> (T, C) float32, spatial means of a layer's output.
        seconds: (T,) float64, presentation time of each token's first frame; None if unknown.
        frame_index: (T,) int64, raw index of each token's first frame.
        identity: Identity of the frames (`Frames.identity`).
        num_windows: Number of windows that passed the backbone.
        num_padded: Number of window slots that held padding.
        window_length: Slots per window, L.
        maps: Key -> (T, C, h, w) float32, the output of a layer before pooling, if it was asked for.
        report: How decoding went; None for frames that were not decoded from a file.
        batch: Windows per batch, if memory did not suffice for the backbone's own batch.
        num_encoded_again: Number of windows that half precision could not encode; they took more precision.
        appearance: What the pictures look like; None if unknown.
    """

    tokens: Mapping[FeatureKey, Array]
    seconds: NDArray[np.float64] | None
    frame_index: NDArray[np.int64]
    identity: str
    num_windows: int = 0
    num_padded: int = 0
    window_length: int = 0
    maps: Mapping["FeatureKey", Array] = field(default_factory=dict)
    report: DecodeReport | None = None
    batch: int | None = None
    num_encoded_again: int = 0
    appearance: Appearance | None = None

    def __len__(self) -> int:
        return len(self.frame_index)

    def __repr__(self) -> str:
        keys = ", ".join(f"{key}: {tensor.shape[1]} wide" for key, tensor in self.tokens.items())
        return f"Features({count_and_span(len(self), 'token', self.seconds)}; {keys})"

    def _repr_html_(self) -> str:
        rows = [
            (str(key), f"{len(tensor)} x {tensor.shape[1]}", f"{tensor.mean():.3g}", f"{tensor.std():.3g}")
            for key, tensor in self.tokens.items()
            if len(tensor)
        ]
        table = summary_table(("feature", "tokens x width", "mean", "deviation"), rows)
        return table + "".join(heat_picture(tensor) for tensor in list(self.tokens.values())[:1] if len(self))

    def __getitem__(self, key: tuple[int, int | str]) -> Array:
        """Tokens of (timestep, layer), for example `features[20, 9]`: (T, C) float32.

        Raises:
            UnknownNameError: If that feature was not extracted.
        """
        return _lookup(self.tokens, key)

    @property
    def padding_share(self) -> float:
        """Share of the window slots that held padding, in [0, 1)."""
        return self.num_padded / max(1, self.num_windows * self.window_length)


def _lookup(tensors: Mapping[FeatureKey, Array], key: tuple[int, int | str]) -> Array:
    try:
        return tensors[FeatureKey.of(*key)]
    except KeyError:
        raise UnknownNameError("feature", FeatureKey.of(*key), tensors, "Extract it first.") from None


@dataclass(frozen=True)
class Example:
    """One item of a dataset: a clip, or a span of a video, with its annotations.

    Attributes:
        video: Posix path, relative to the root of the dataset.
        labels: Names of its classes; several for multi-label tasks, none if unknown.
        start_seconds: Start of the span; None for the beginning.
        end_seconds: End of the span; None for the end.
        split: `train`, `val` or `test`; empty if the table has none.
        group: Name of what must stay on one side of a split (a recording, an individual), or empty.
        columns: All further columns of the table; each can be used as a domain.
    """

    video: str
    labels: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    split: str = ""
    group: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The video's file name, without folders."""
        return PurePosixPath(self.video).name


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one video.

    Attributes:
        video: Path of the video as it was given (of a crop: that of its source), or identity of frames.
        probabilities: Label -> probability in [0, 1], in the model's order of labels.
        activation: `softmax` (probabilities sum to 1) or `sigmoid` (each label on its own).
        num_tokens: Number of tokens that the head received.
        num_spans: Number of spans that the tokens were cut into because they exceed the head's length; the
            probabilities of the spans are averaged.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; if its `coverage` is below 1, the prediction is of a part of the video.
        domain: How far the video lies outside what the model has learnt from; None if that is unknown.
        individual: The individual that the crop follows; empty for whole pictures.
    """

    video: str
    probabilities: Mapping[str, float]
    activation: Literal["softmax", "sigmoid"]
    num_tokens: int = 0
    num_spans: int = 1
    padding_share: float = 0.0
    report: DecodeReport | None = None
    domain: DomainCheck | None = None
    individual: str = ""

    def __repr__(self) -> str:
        best = ", ".join(f"{label} {value:.2f}" for label, value in self.top(3))
        outside = "; outside what the model has learnt from" if self.domain and self.domain.is_outside else ""
        return f"Prediction({titled(self.video, self.individual)!r}: {best}{outside})"

    def _repr_html_(self) -> str:
        return bars(self.probabilities, repr(self))

    def top(self, k: int = 1) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    @cached_property
    def label(self) -> str:
        """The most probable label."""
        return self.top(1)[0][0]


@dataclass(frozen=True)
class Bout:
    """An action that lasts from one time of a video to another.

    Attributes:
        label: Name of the action.
        start_seconds: Start of the action.
        end_seconds: End of the action, exclusive; equal to the start for a point event.
        probability: Mean probability over the bout, in [0, 1]; 1 for bouts that a person labelled.
    """

    label: str
    start_seconds: float
    end_seconds: float
    probability: float = 1.0
