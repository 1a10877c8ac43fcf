"""Where the windows of a content come from: its video, or the latents that were kept of it."""

from collections.abc import Iterator

from actiondiff.backbones.engine.encoding import EncodedWindows
from actiondiff.backbones.engine.windows import EncodedVideo, WindowInput
from actiondiff.errors import StoreError, VideoError
from actiondiff.extraction.plan import Item
from actiondiff.features.latent_file import KeptLatents
from actiondiff.types import DecodeReport, Frames, Sampling
from actiondiff.video.decode import iter_video

__all__ = ["Clip", "KeptClip"]

_CHUNK_FRAMES = 4  # frames decoded before they are handed on: few, as of 8K each has 100 MB


class Clip:
    """An item's frames; the file is opened by whoever reads them.

    Args:
        item: What it is.
        sampling: Which frames are read.

    Attributes:
        item: As given.
        report: How decoding went; None until it has ended.
        problem: Why there are no frames, or not all, where that is not for the content itself to say.
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
            )
            if reader.identity != self.item.identity:
                raise VideoError("the file changed after extraction had begun; extract again")
            yield from reader
            self.report = reader.report
        except VideoError as error:
            self.problem = str(error)
        except (OSError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
            # Whatever else a damaged file makes of the libraries under us stops this video, not the run.
            self.problem = f"decoding stopped: {type(error).__name__}: {error}"


class KeptClip(EncodedVideo):
    """An item's windows as they were encoded before; the video itself is not needed.

    Args:
        item: What it is.
        latents: Its stored windows.
        encoded_type: `TwoStage.encoded_type` of the backbone.

    Attributes:
        item: As given.
        report: How decoding went, when they were encoded.
        problem: What is damaged; then nothing that was made of it counts.
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
