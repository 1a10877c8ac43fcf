"""What the page makes of a video, without a browser."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from actiondiff import Heatmap, LocalizationOptions, read_video
from actiondiff.app.analysis import Findings, localize, playable_copy
from actiondiff.video.write import write_video


def write_uneven(path: Path, times) -> None:
    """Pictures of 32 x 32, ever brighter, at given times in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, seconds in enumerate(times):
            pixels = np.full((32, 32, 3), 20 + 200 * number // len(times), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_the_copy_of_an_uneven_video_keeps_its_times(tmp_path):
    """A second at ten frames a second, three with one frame, another second."""
    times = [*np.arange(10) / 10, *4 + np.arange(10) / 10]
    path = tmp_path / "uneven.mkv"
    write_uneven(path, times)
    original = read_video(path, stride=1)
    assert original.seconds == pytest.approx(times, abs=2e-3)
    copy = read_video(playable_copy(path, tmp_path / "copy.mp4"), stride=1)
    assert copy.seconds[-1] == pytest.approx(times[-1], abs=0.3)
    for second in (0.5, 2.0, 3.5, 4.5):
        shown = [
            frames.pixels[np.searchsorted(frames.seconds, second + 1e-3, side="right") - 1].mean()
            for frames in (original, copy)
        ]
        assert shown[0] == pytest.approx(shown[1], abs=12)


class SameEverywhere:
    """Stands for a model."""

    def localize(self, video, action, *, options, progress):
        places = np.array([0.25, 0.75])
        values = np.full((1, 2, 2), 0.5, np.float32)
        return Heatmap(
            str(video), action, np.zeros(1), np.zeros(1, int), values, 0.1, places, places, options
        )


def test_long_names_fit_into_a_file_system(tmp_path):
    path = tmp_path / f"{'走' * 80}.mp4"
    write_video(path, np.zeros((4, 32, 32, 3), np.uint8), fps=10)
    findings = Findings(path, path, None, None, None, None)
    result = localize(
        SameEverywhere(), findings, "走る " * 40, LocalizationOptions(), lambda done, total, what: None
    )
    assert all(file.is_file() for file in result.files.values())
