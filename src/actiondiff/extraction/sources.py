"""The sources of a content's windows: its video, or its stored latents."""

from collections.abc import Iterator

from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.backbones.engine.windows import EncodedVideo, WindowInput
from actiondiff.errors import StoreError, VideoError
from actiondiff.extraction.plan import Item
from actiondiff.features.latent_file import KeptLatents
from actiondiff.types import DecodeReport, Frames, Sampling
from actiondiff.video.decode import iter_video

__all__ = ["LatentSource", "VideoSource"]

_CHUNK_FRAMES = 4  # frames that are decoded at a time: few, as a frame of 8K video takes 100 MB


class VideoSource:
    """The frames of a video. The file is opened when they are read.

    Args:
        item: The content.
        sampling: Which frames are read.

    Attributes:
        item: As given.
        report: How decoding went; None until it has ended.
        problem: Why frames are missing, if the reason is not in the content itself; else empty.
    """

    def __init__(self, item: Item, sampling: Sampling) -> None:
        self.item = item
        self.report: DecodeReport | None = None
        self.problem = ""
        self._sampling = sampling

    def __iter__(self) -> Iterator[Frames]:
        try:
            reader = iter_video(
                self.item.path,
                stride=self._sampling.stride,
                fps=self._sampling.fps,
                chunk_frames=_CHUNK_FRAMES,
                stream=self._sampling.stream,
                square=self._sampling.square,
            )
            if reader.identity != self.item.identity:
                raise VideoError("the file changed after extraction had begun; extract again")
            yield from reader
            self.report, self.problem = reader.report, reader.outside_cause
        except VideoError as error:
            self.problem = str(error)
        except (OSError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
            # Damaged files make libraries fail in many ways; that ends this video, not the extraction.
            self.problem = f"decoding stopped: {type(error).__name__}: {error}"


class LatentSource(EncodedVideo):
    """The windows of a video as they were encoded before. The video itself is not needed.

    Args:
        item: The content.
        latents: The stored windows.
        encoded_type: `TwoStage.encoded_type` of the backbone.

    Attributes:
        item: As given.
        report: How decoding went when the windows were encoded.
        problem: What is damaged; features that were made from it are then to be discarded. Else empty.
    """

    def __init__(self, item: Item, latents: KeptLatents, encoded_type: type[EncodedWindows]) -> None:
        self.item = item
        self.report = latents.report
        self.problem = ""
        self._latents = latents
        self._encoded_type = encoded_type

    def windows(self) -> Iterator[WindowInput]:
        """The windows in order."""
        try:
            yield from self._latents.windows(self._encoded_type)
        except StoreError as error:
            self.problem = str(error)
