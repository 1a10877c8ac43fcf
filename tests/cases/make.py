"""Make the files of this folder: one small video for each kind of input that was once read wrongly.

    python tests/cases/make.py [FOLDER]

`index.csv` says what is right for each. The files are checked in, so that a test does not depend on the
version of an encoder; this script says how each was made, and makes the next one.
"""

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

Change = Callable[[int, av.Packet], "av.Packet | None"]
WIDTH, HEIGHT = 96, 64


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A bright disc that moves to the right over a grey ramp."""
    rows, columns = np.mgrid[:height, :width]
    image = np.repeat((40 + 80 * columns / width).astype(np.uint8)[..., None], 3, axis=-1)
    centre = width * (0.25 + 0.5 * (index % 50) / 50)
    image[(rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 5) ** 2] = (250, 200, 60)
    return image


def encode(
    path: Path,
    count: int = 100,
    *,
    rate: int = 25,
    codec: str = "libx264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    change: Change | None = None,
    format: str | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; `change` may change or drop (None) each packet before it is written."""
    with av.open(str(path), "w", format=format, options=muxing or {}) as container:
        add(
            container, count, rate=rate, codec=codec, size=size, aspect=aspect, options=options, change=change
        )
    return path


def add(
    container: av.container.OutputContainer,
    count: int,
    *,
    rate: int = 25,
    codec: str = "libx264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    change: Change | None = None,
    disposition: int = 0,
) -> list[av.Packet]:
    stream = container.add_stream(codec, rate=rate, options=options or {"bf": "0", "g": "10"})
    stream.width, stream.height = size
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.thread_count = 1
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    if disposition:
        stream.disposition = disposition
    frames = (av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24") for index in range(count))
    packets = [packet for frame in frames for packet in stream.encode(frame)] + list(stream.encode(None))
    for index, packet in enumerate(packets):
        changed = change(index, packet) if change else packet
        if changed is not None:
            container.mux(changed)
    return packets


def at(times: dict[int, float], *, after: float = 0.0, since: int = 0) -> Change:
    """Set the times (s) of some packets, and delay all from one on."""

    def change(index: int, packet: av.Packet) -> av.Packet:
        ticks = float(1 / packet.time_base)
        seconds = times.get(index, index / 25 + (after if index >= since else 0))
        packet.pts = packet.dts = round(seconds * ticks)
        return packet

    return change


def later(seconds: float) -> Change:
    """Delay all packets."""
    return at({}, after=seconds)


def patched(path: Path, places: Sequence[tuple[float, bytes]]) -> Path:
    """Overwrite bytes at shares of a file."""
    data = bytearray(path.read_bytes())
    for share, new in places:
        start = int(share * len(data))
        data[start : start + len(new)] = new
    path.write_bytes(data)
    return path


def damaged(number: int) -> Change:
    """Overwrite one packet with what is no picture."""

    def change(index: int, packet: av.Packet) -> av.Packet:
        if index != number:
            return packet
        start = b"\x00\x00\x00\x01\x65"  # of a slice of H.264; no other codec minds
        noise = av.Packet(start + b"\xff" * len(bytes(packet)))
        noise.pts, noise.dts, noise.time_base = packet.pts, packet.dts, packet.time_base
        noise.stream, noise.duration = packet.stream, packet.duration
        return noise

    return change


def emptied(numbers: range) -> Change:
    """Overwrite all of some packets but their first bytes, which say what kind of packet each is."""

    def change(index: int, packet: av.Packet) -> av.Packet:
        if index not in numbers:
            return packet
        data = bytes(packet)
        noise = av.Packet(data[:8] + b"\xff" * (len(data) - 8))
        noise.pts, noise.dts, noise.time_base = packet.pts, packet.dts, packet.time_base
        noise.stream, noise.duration = packet.stream, packet.duration
        return noise

    return change


def joined(path: Path, *parts: Path) -> Path:
    """Write files one after the other, as `cat` does, and remove them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in set(parts):
        part.unlink()
    return path


def times(folder: Path) -> None:
    """Times that are repeated, go back or ahead, pauses, no times, and clocks that are too coarse."""
    pause = {"after": 10.0, "since": 50}
    encode(folder / "pause.mkv", change=at({}, **pause))
    encode(folder / "repeated_time.mkv", change=at({20: 19 / 25}, **pause))
    encode(folder / "repeated_times.mkv", change=at({20: 0.76, 40: 1.56, 70: 12.76}, **pause))
    encode(folder / "time_ahead.mp4", change=ahead)
    encode(folder / "pause.ts", change=at({}, after=30.0, since=50))
    encode(folder / "first_time_far.ts", change=at({}, after=59_652.0, since=1))
    encode(folder / "last_time_far.ts", change=at({}, after=40_000.0, since=99))
    encode(folder / "no_times.h264", rate=50)
    encode(folder / "no_rate.mjpeg", 20, codec="mjpeg", format="mjpeg")
    encode(folder / "coarse_clock.mkv", 200, rate=4000, options={"bf": "0"})
    encode(folder / "high_speed.mp4", 200, rate=4000, options={"bf": "0"})
    encode(folder / "reordered.avi", 50, codec="mpeg4", options={"bf": "2"})


def ahead(index: int, packet: av.Packet) -> av.Packet:
    """Set one time of presentation far ahead; times of storage stay."""
    if index == 30:
        packet.pts += round(500 / packet.time_base)
    return packet


def streams(folder: Path) -> None:
    """Clocks that start again, and files with several streams."""
    part = folder / "part.ts"
    data = encode(part, 50).read_bytes()
    (folder / "joined_same.ts").write_bytes(data * 2)
    for name, first, second in (("joined_on.ts", 0.0, 3600.0), ("joined_back.ts", 3600.0, 0.0)):
        joined(
            folder / name,
            encode(folder / "a.ts", 50, change=later(first)),
            encode(folder / "b.ts", 50, change=later(second)),
        )
    joined(folder / "joined_thrice.ts", *[part] * 3)
    small, large = {"size": (48, 32), "rate": 5, "count": 10}, {"size": (160, 120), "count": 50}
    for name in ("preview_first.mp4", "preview_first.ts", "preview_first.mkv"):
        with av.open(str(folder / name), "w") as container:
            interleave(container, [small, large])
    with av.open(str(folder / "cover_first.mp4"), "w") as container:
        cover = {"size": (320, 240), "count": 1, "codec": "mjpeg", "options": {"q": "9"}, "disposition": 1024}
        interleave(container, [cover, large])
    with av.open(str(folder / "default_second.mkv"), "w") as container:
        interleave(container, [large, {**large, "size": (96, 64), "disposition": 1}])


def interleave(container: av.container.OutputContainer, kinds: Sequence[dict]) -> None:
    """Write several streams. All are made before the first packet is written."""
    opened = []
    for kind in kinds:
        stream = container.add_stream(
            kind.get("codec", "libx264"), rate=kind.get("rate", 25), options=kind.get("options", {"bf": "0"})
        )
        stream.width, stream.height = kind["size"]
        stream.pix_fmt = "yuvj420p" if kind.get("codec") == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        if "disposition" in kind:
            stream.disposition = kind["disposition"]
        opened.append((stream, kind))
    packets = []
    for stream, kind in opened:
        for index in range(kind["count"]):
            frame = av.VideoFrame.from_ndarray(picture(index, *kind["size"]), format="rgb24")
            packets += stream.encode(frame)
        packets += stream.encode(None)
    for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
        container.mux(packet)


def damage(folder: Path) -> None:
    """Packets that cannot be decoded, and bytes that belong to no packet."""
    intra = {"bf": "0", "g": "1"}
    encode(folder / "damaged_packet.mp4", options=intra, change=damaged(30))
    encode(folder / "damaged_packet.mkv", options=intra, change=damaged(0))
    encode(folder / "damaged_packet.avi", codec="mjpeg", options={"q": "9"}, change=damaged(30))
    hevc = {"x265-params": "log-level=none:keyint=25:bframes=2"}
    encode(folder / "dropped.hevc", codec="libx265", options=hevc, change=emptied(range(40, 48)))
    whole = encode(folder / "whole.ts", options=intra).read_bytes()
    middle = len(whole) // 2 // 188 * 188
    (folder / "garbage_inside.ts").write_bytes(whole[:middle] + b"\x00" * 188 * 400 + whole[middle:])
    (folder / "garbage_after.ts").write_bytes(whole + b"\x5a" * 20_000)
    (folder / "whole.ts").unlink()
    avi = encode(folder / "garbage_after.avi", codec="mjpeg", options={"q": "9"})
    avi.write_bytes(avi.read_bytes() + b"\x5a" * 20_000)


def shapes(folder: Path) -> None:
    """Pixels that are not square, pictures that are too large, and what is no video."""
    encode(folder / "anamorphic.mp4", 10, size=(180, 144), aspect=Fraction(64, 45))
    encode(folder / "anamorphic.mkv", 10, size=(180, 144), aspect=Fraction(16, 15))
    encode(folder / "almost_square.mp4", 10, size=(96, 64), aspect=Fraction(256, 255))
    encode(folder / "huge_picture.mp4", 1, size=(9216, 8192), options={"preset": "ultrafast", "crf": "51"})
    encode(folder / "long_gap.mkv", change=at({}, after=36_000.0, since=50))
    (folder / "play_list.mp4").write_text("ffconcat version 1.0\nfile pause.mkv\n", "utf-8")
    (folder / "play_list.m3u8.ts").write_text("#EXTM3U\n#EXTINF:2,\npause.ts\n#EXT-X-ENDLIST\n", "utf-8")
    (folder / "text.avi").write_text("This is a letter, not a video.\n" * 20, "utf-8")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    for make in (times, streams, damage, shapes):
        make(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:8} {path.name}")


if __name__ == "__main__":
    main()
