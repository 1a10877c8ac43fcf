"""Small videos made on the fly."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


class Studio:
    """Makes videos in a folder. Frame i is filled with one grey, `grey(i)`: pixels tell which it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def grey(index: int) -> int:
        return 20 + 6 * index % 220

    def indices(self, pixels: np.ndarray) -> list[int]:
        """Which frames (of the first 36) these are, by their grey."""
        greys = np.array([self.grey(index) for index in range(36)])
        return [int(np.abs(greys - frame.mean()).argmin()) for frame in pixels]

    def picture(self, index: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), self.grey(index), np.uint8)

    def encode(
        self,
        name: str,
        count: int = 30,
        *,
        width: int = 64,
        height: int = 48,
        rate: int = 30,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        milliseconds: Sequence[int] | None = None,
        audio_seconds: float = 0,
        turn: dict[str, Any] | None = None,
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        draw: Callable[[int, int, int], np.ndarray] | None = None,
    ) -> Path:
        """A video of `count` pictures; `milliseconds` sets their presentation times."""
        path = self.folder / name
        with av.open(str(path), "w", container_options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.thread_count = 1
            if milliseconds and not name.endswith(".avi"):  # whose ticks are frames
                stream.codec_context.time_base = Fraction(1, 1000)
            if turn:
                stream.set_display_rotation(**turn)
            audio = container.add_stream("aac", rate=44100) if audio_seconds else None
            for index in range(count):
                picture = (draw or self.picture)(index, width, height)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                if milliseconds:
                    frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if audio:
                _silence(container, audio, audio_seconds)
        return path

    def sound(self, name: str, *, cover: bool = False) -> Path:
        """Sound alone, with or without a cover picture."""
        path = self.folder / name
        with av.open(str(path), "w", format="mp4") as container:
            audio = container.add_stream("aac", rate=44100)
            if cover:
                picture = container.add_stream("mjpeg", rate=1)
                picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
                picture.disposition = av.stream.Disposition.attached_pic
                frame = av.VideoFrame.from_ndarray(self.picture(0, 64, 48), format="rgb24")
                container.mux(picture.encode(frame))
                container.mux(picture.encode(None))
            _silence(container, audio, 0.5)
        return path

    def remux(self, source: Path, name: str, retime: Callable[[av.Packet], None], **options: Any) -> Path:
        """The same packets with other times."""
        target = self.folder / name
        with av.open(str(source)) as reading, av.open(str(target), "w", **options) as writing:
            stream = writing.add_stream_from_template(reading.streams.video[0])
            for packet in reading.demux(reading.streams.video[0]):
                if packet.size:
                    retime(packet)
                    packet.stream = stream
                    writing.mux(packet)
        return target

    def cut(self, path: Path, share: float) -> Path:
        """A copy that holds only the first part of the bytes."""
        data = path.read_bytes()
        target = path.with_stem(f"{path.stem}-{share}")
        target.write_bytes(data[: int(len(data) * share)])
        return target

    def patch(self, path: Path, old: bytes, new: bytes) -> Path:
        """A copy in which some bytes are others."""
        data = path.read_bytes()
        assert old in data
        assert len(old) == len(new)
        target = path.with_stem(path.stem + "-patched")
        target.write_bytes(data.replace(old, new))
        return target

    def plain(self, path: Path) -> list[av.VideoFrame]:
        """Frames of an independent loop, up to the first error."""
        found: list[av.VideoFrame] = []
        with (
            suppress(av.error.FFmpegError, IndexError),
            av.open(str(path), metadata_errors="replace") as container,
        ):
            for frame in container.decode(video=0):
                found.append(frame)
        return found


def _silence(container: Any, audio: Any, seconds: float) -> None:
    for block in range(int(seconds * 44100 / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.rate, frame.pts = 44100, block * 1024
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)
