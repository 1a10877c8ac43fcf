"""Work that is no longer wanted ends, wherever it is."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torch import nn

from actiondiff import read_video
from actiondiff.app.analysis import playable_copy
from actiondiff.app.stopping import checked_at_layers
from actiondiff.types import Sampling
from actiondiff.video.opening import read_chunks
from actiondiff.video.write import write_video


class EndedError(Exception):
    pass


def test_a_network_ends_at_its_next_layer():
    ran = []

    class Layer(nn.Module):
        def forward(self, x):
            ran.append(len(ran))
            return x

    network = nn.Sequential(*(Layer() for _ in range(10)))

    def check():
        if len(ran) == 3:
            raise EndedError

    with checked_at_layers(check), pytest.raises(EndedError):
        network(torch.zeros(1))
    assert len(ran) == 3
    network(torch.zeros(1))  # and is as it was
    assert len(ran) == 13


def test_reading_ends_within_a_chunk(tmp_path, monkeypatch):
    """One chunk of this video is all of it; its progress is reported before."""
    monkeypatch.setattr("actiondiff.video.opening._NOTE_SECONDS", 0)
    write_video(tmp_path / "a.mp4", np.zeros((60, 16, 16, 3), np.uint8), fps=10)
    shares = []

    def progress(done, total, what):
        shares.append((done, total))
        if done == 5:
            raise EndedError

    with pytest.raises(EndedError):
        next(read_chunks(tmp_path / "a.mp4", Sampling(4), chunk_frames=100, progress=progress))
    assert shares == [(n, 60) for n in range(1, 6)]


def test_the_copy_of_a_long_pause_is_no_work(tmp_path):
    """Fifty minutes without a picture: players show the last one, and nothing repeats it."""
    path = tmp_path / "pause.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for second in (0, 1, 3000, 3001):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), second % 250, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 1000 * second, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    calls = []
    copy = read_video(
        playable_copy(path, tmp_path / "copy.mp4", lambda done, total, what: calls.append(done)), stride=1
    )
    assert copy.seconds == pytest.approx([0, 1, 3000, 3001], abs=0.05)
    assert len(calls) == 4  # each picture is a chance to stop
