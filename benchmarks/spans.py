"""Time to read short spans of a long video, from the key frame before them and from the start.

    python benchmarks/spans.py [--minutes 10] [--repeats 3] [--json FILE]

A video of a moving texture is made in a temporary folder (H.264 with B-frames, a key frame every ten seconds,
once as MP4 and once as Matroska). Spans of two seconds are read at a tenth, a half and nine tenths of it, in
turns as the reader does it and with the search for key frames switched off; both must give the same frames,
numbers, times and report. The best of the repeats counts, in processor time. Every reading includes the
sha256 of the file and the pass over its packets.
"""

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path
from unittest import mock

import av
import numpy as np

from actiondiff.provenance import environment
from actiondiff.video import passes
from actiondiff.video.decode import read_video

_PLACES = (0.1, 0.5, 0.9)
_SPAN_SECONDS, _FPS, _KEY_FRAMES = 2.0, 25, 250


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = make(Path(folder), arguments.minutes)
        spans = [
            compare(clip, round(place * 60 * arguments.minutes, 2), arguments.repeats)
            for clip in clips
            for place in _PLACES
        ]
    result = {
        "minutes": arguments.minutes,
        "spans": spans,
        "same_frames": all(span["same_frames"] for span in spans),
        "machine": environment(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def make(folder: Path, minutes: float) -> list[Path]:
    """Make a long video in two containers."""
    film = np.random.default_rng(0).integers(0, 256, (45, 80 + 250, 3), dtype=np.uint8)
    film = film.repeat(8, axis=0).repeat(8, axis=1)
    paths = [folder / "long.mp4", folder / "long.mkv"]
    with av.open(str(paths[0]), "w") as container:
        options = {"preset": "ultrafast", "g": str(_KEY_FRAMES), "bf": "2"}
        stream = container.add_stream("libx264", rate=_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(round(minutes * 60 * _FPS)):
            left = 4 * (number % 500)
            picture = np.ascontiguousarray(film[:, left : left + 640])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(paths[0])) as reading, av.open(str(paths[1]), "w") as writing:
        copied = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(video=0):
            if packet.size:
                packet.stream = copied
                writing.mux(packet)
    return paths


def compare(clip: Path, start: float, repeats: int) -> dict[str, object]:
    """Read one span in both ways."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    digests = set()
    for _ in range(repeats):
        for enters, times in seconds.items():
            with mock.patch.object(passes, "_enter", passes._enter if enters else lambda *_: None):
                begin = time.process_time()
                frames = read_video(clip, stride=1, start_seconds=start, end_seconds=start + _SPAN_SECONDS)
                times.append(time.process_time() - begin)
            assert frames.seconds is not None
            values = frames.pixels.tobytes() + frames.seconds.tobytes() + frames.frame_index.tobytes()
            digests.add(hashlib.sha256(values + repr(frames.report).encode()).hexdigest())
    entered, whole = (min(seconds[enters]) for enters in (True, False))
    return {
        "video": clip.name,
        "start_seconds": start,
        "cpu_seconds": {"from_key_frame": entered, "from_start": whole},
        "times_faster": whole / entered,
        "same_frames": len(digests) == 1,
    }


if __name__ == "__main__":
    main()
