"""What packets say before frames are decoded: whether times can be trusted, and how many frames to expect."""

import itertools
import math
from array import array
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actiondiff.video.clock import Schedule, counted, mend
from actiondiff.video.container import (
    DROPPING_CODECS,
    Decoding,
    average_rate,
    has_times,
    is_broadcast,
    open_video,
    packets,
    stated_rate,
    tagged_duration,
)
from actiondiff.video.entries import EntryFinder, PacketMark, mark_of

__all__ = [
    "Break",
    "Promise",
    "Survey",
    "frame_seconds",
    "length_seconds_of",
    "promise",
    "schedule",
    "survey",
    "survey_packets",
]

_STATES_DURATION = {"matroska,webm", "asf", "flv"}
"""Containers whose header has a duration but no count of frames. For other containers without a count, libav
derives the duration from the data that exist or from the bit rate, so that it does not show what is
missing."""
_ONE_FRAME_A_PACKET = {
    *("h264", "hevc", "mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "dvvideo"),
    *("png", "rawvideo", "utvideo"),
}
"""Codecs in which every packet is shown. VP8, VP9 and AV1 have packets that are not, MPEG-4 empty ones."""
_REORDER_HORIZON = 20  # packets
_REPEAT_HORIZON = 64  # packets; no codec reorders further than 16 frames
_JUMP_SECONDS = 10.0  # in a broadcast stream, a longer step may be another origin (FFmpeg's own threshold)
_WRAP_SECONDS = 26 * 3600  # about the 33 bits of an MPEG clock: what libav makes of a clock that starts again
_ALONE_SECONDS = 3600.0  # from few packets at either end to the others: the time of those is damaged
_ALONE_PACKETS = 3
_NEAR_PACKETS = 4  # a damaged packet shows a seam if it is one of so many before it
_TS_BYTES, _TS_SYNC = 188, 0x47

Break = tuple[int, int]
"""Times (ticks) before and after a step forward at which the container's own counters break."""


@dataclass(frozen=True)
class Survey:
    """Findings from all packets of a file, without decoding them.

    Attributes:
        times_in_doubt: Whether presentation times may be missing or out of order once frames are decoded.
        num_gaps: Number of frames that an AVI counts but does not contain (recorders drop some).
        end_seconds: Latest end of a packet of any stream, on the container's clock.
        breaks: Steps forward that are another origin of the clock.
        step_seconds: The usual step from one frame to the next; 0 if unknown.
        ticks: (N,) int64, sorted times of all packets, where each packet is one frame; else None. A packet
            that yields no frame is then known to be lost even if the decoder reports no error.
        first_ticks: Time of the first packet, if it is a key frame; None if it is not.
        entries: (N,) int64, sorted times of the key frames at which decoding may begin (`entries`), if they
            were asked for.
        slots: (N,) int64, sorted times of all packets of an AVI, if each has one of its own; else None.
        first_packet: Mark of the first packet; None if there is none.
        num_packets: Number of packets of the stream.
    """

    times_in_doubt: bool
    num_gaps: int
    end_seconds: float
    breaks: tuple[Break, ...] = ()
    step_seconds: float = 0.0
    ticks: NDArray[np.int64] | None = None
    first_ticks: int | None = None
    entries: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    slots: NDArray[np.int64] | None = None
    first_packet: PacketMark | None = None
    num_packets: int = 0


def survey(path: Path, number: int | None = None) -> Survey:
    """Read all packets of a video; see `survey_packets`.

    Args:
        path: The file.
        number: Number of the stream; None for the main one.

    Raises:
        VideoError: If the file is not a video.
    """
    with open_video(path, number) as (container, stream):
        return survey_packets(path, container, stream)


def frame_seconds(path: Path, number: int | None = None) -> NDArray[np.float64] | None:
    """(N,) times of all frames, 0 at the first, from the packets alone; None if those do not suffice.

    Raises:
        VideoError: If the file is not a video.
    """
    with open_video(path, number) as (container, stream):
        ticks = survey_packets(path, container, stream).ticks
        if ticks is None or not len(ticks) or not stream.time_base:
            return None
        return (ticks - ticks[0]) * float(stream.time_base)


def survey_packets(
    path: Path, container: InputContainer, stream: VideoStream, *, finds_entries: bool = False
) -> Survey:
    """Read all packets of an open video, from its start to its end.

    Times are in doubt if packets lack them, repeat them, or are not stored in decoding order. They are in
    doubt if they rise in the order of storage although the codec reorders frames, or do not rise although it
    does not. They are in doubt for every AVI that has other frames than key frames: AVI stores no
    presentation times, and those that libav derives are wrong with B-frames. They are in doubt if the clock
    of a broadcast stream leaps.

    Args:
        path: The file.
        container: The same, open.
        stream: The stream to look at.
        finds_entries: Whether to look for places at which decoding may begin.
    """
    finder = EntryFinder(container, stream) if finds_entries else None
    is_avi = container.format.name == "avi"
    base = float(stream.time_base or 0)
    doubt = (is_avi and not stream.codec_context.codec.intra_only) or not has_times(container)
    leap = _JUMP_SECONDS / base if is_broadcast(container) and base else math.inf
    seen: deque[int] = deque(maxlen=_REPEAT_HORIZON)
    heights: deque[int] = deque(maxlen=_REORDER_HORIZON)  # latest time so far, at each packet
    damaged: deque[bool] = deque(maxlen=_NEAR_PACKETS)
    steps, breaks, ticks = _Steps(), list[Break](), array("q")
    first_ticks: int | None = None
    first_packet: PacketMark | None = None
    last_leap: tuple[int, Break] | None = None
    timed = True
    ends: dict[int, int] = {}  # number of a stream -> latest end of its packets, in ticks
    reordered, previous, highest, gaps, position, count = False, None, None, 0, 0, 0
    for packet in packets(container):
        pts, dts = packet.pts, packet.dts
        if pts is not None:
            latest = pts + (packet.duration or 0)
            if latest > ends.get(packet.stream_index, -1):
                ends[packet.stream_index] = latest
        if packet.stream is not stream:
            continue
        count += 1
        first_packet = first_packet or mark_of(packet)
        if finder:
            finder.add(packet)
        doubt |= pts is None or pts in seen
        timed &= pts is not None
        damaged.append(packet.is_corrupt)
        if pts is not None and not packet.is_discard:
            first_ticks = pts if not ticks and packet.is_keyframe else first_ticks
            ticks.append(pts)
        if dts is not None:
            doubt |= previous is not None and dts < previous
            gaps += max(0, dts - previous - 1) if is_avi and previous is not None else 0
            if previous is not None:
                steps.add(dts - previous)
                if dts - previous > leap:
                    doubt = True
                    seconds = (dts - previous) * base
                    is_alone = count - 1 <= _ALONE_PACKETS and seconds > _ALONE_SECONDS
                    is_seam = any(damaged) or seconds > _WRAP_SECONDS or is_alone
                    if is_seam or _counters_break(path, position, packet.pos):
                        breaks.append((previous, dts))
                    elif seconds > _ALONE_SECONDS:
                        last_leap = (count, (previous, dts))
            previous, position = dts, packet.pos or 0
        if pts is not None:
            reordered |= highest is not None and pts < highest
            highest = pts if highest is None else max(highest, pts)
            doubt |= len(heights) == heights.maxlen and pts < heights[0]  # out of any codec's reach
            heights.append(highest)
            seen.append(pts)
    if last_leap and count - last_leap[0] < _ALONE_PACKETS:
        breaks.append(last_leap[1])
    doubt |= reordered != bool(stream.codec_context.has_b_frames)
    ordered = np.sort(np.array(ticks, dtype=np.int64))
    is_distinct = timed and has_times(container) and not (np.diff(ordered) == 0).any()
    return Survey(
        times_in_doubt=bool(doubt),
        num_gaps=gaps,
        end_seconds=max(
            (float(end * (container.streams[index].time_base or 0)) for index, end in ends.items()),
            default=0.0,
        ),
        breaks=tuple(breaks),
        step_seconds=steps.median * base,
        ticks=ordered if is_distinct and stream.codec_context.name in _ONE_FRAME_A_PACKET else None,
        first_ticks=first_ticks,
        entries=finder.ticks() if finder else np.zeros(0, np.int64),
        slots=ordered if is_distinct and is_avi else None,
        first_packet=first_packet,
        num_packets=count,
    )


@dataclass
class _Steps:
    """The steps of the first packets, for the usual one."""

    values: list[int] = field(default_factory=list)

    def add(self, step: int) -> None:
        if step > 0 and len(self.values) < 1000:
            self.values.append(step)

    @property
    def median(self) -> float:
        return float(np.median(self.values)) if self.values else 0.0


def _counters_break(path: Path, start: int, end: int | None) -> bool:
    """Whether a counter of a transport stream breaks between two places of the file.

    Programs that write a stream count its packets on; where two were joined, the counters start again.
    """
    if end is None or end <= start:
        return True  # not a transport stream, or not in order: no counter speaks for a pause
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(min(end - start, 1 << 20) + 2 * _TS_BYTES)
    size = next(
        (size for size in (_TS_BYTES, 192) if data[:1] == data[size : size + 1] == bytes([_TS_SYNC])), None
    )
    if size is None:
        return True
    counters: dict[int, int] = {}
    for at in range(0, len(data) - 3, size):
        if data[at] != _TS_SYNC:
            return True
        pid, flags = (data[at + 1] & 0x1F) << 8 | data[at + 2], data[at + 3]
        counter, has_payload = flags & 0x0F, flags & 0x10
        if pid in counters and has_payload and counter not in (counters[pid], (counters[pid] + 1) & 0x0F):
            return True
        if has_payload and pid != 0x1FFF:
            counters[pid] = counter
    return False


def schedule(path: Path, findings: Survey, number: int | None = None) -> Schedule:
    """The times of all frames, of which some are in doubt. Decodes all frames.

    Raises:
        VideoError: If the file is not a video.
    """
    with open_video(path, number) as (container, stream):
        times = [frame.pts for frame in Decoding(container, stream)]
        is_avi = container.format.name == "avi"
        if not has_times(container) or not stream.time_base:
            return counted(len(times), stated_rate(stream))
        leaps = []
        for index, (before, after) in enumerate(itertools.pairwise(times), 1):
            if before is not None and after is not None and after - before > 0:
                inside = (low < after and high > before for low, high in findings.breaks)
                if (after - before) * stream.time_base > _JUMP_SECONDS and any(inside):
                    leaps.append(index)
        rate = Fraction(stream.average_rate) if stream.average_rate else stated_rate(stream)
        return mend(times, Fraction(stream.time_base), breaks=leaps, rate=rate, is_slotted=is_avi)


def length_seconds_of(path: Path, number: int | None = None) -> float | None:
    """Seconds from a video's first frame to the end of its last; None if unknown.

    Headers are not reliable if a video does not begin at 0 (Matroska gives the time of its end), was not
    finished, or is an MPEG stream (whose duration is estimated). Frames are decoded only if the times of the
    packets are in doubt.

    Raises:
        VideoError: If the file is not a video.
    """
    findings = survey(path, number)
    with open_video(path, number) as (container, stream):
        slots = container.format.name == "avi"
        if slots or not findings.times_in_doubt:
            return _length_from_packets(container, stream)
        rate = average_rate(stream) if has_times(container) else stated_rate(stream)
    seconds = schedule(path, findings, number).seconds
    if seconds is None or not len(seconds):
        return None
    if len(seconds) == 1:
        return 1 / float(rate) if rate else None
    return float(seconds[-1] + np.median(np.diff(seconds)))


def _length_from_packets(container: InputContainer, stream: VideoStream) -> float | None:
    rate, num_frames = average_rate(stream), 0
    first, last, end = math.inf, -math.inf, -math.inf
    timed = stream.time_base is not None
    for packet in packets(container, stream):
        if packet.is_discard:  # outside the edit list
            continue
        num_frames += 1
        timed &= packet.pts is not None
        if packet.pts is not None:
            first, last = min(first, packet.pts), max(last, packet.pts)
            end = max(end, packet.pts + (packet.duration or 0))
    if not num_frames:
        return None
    if not timed or (last == first and num_frames > 1):
        return num_frames / rate if rate else None
    assert stream.time_base is not None
    seconds = float((end - first) * stream.time_base)
    if end > last or num_frames == 1:
        return seconds or (1 / rate if rate else None)
    # Packets have no durations: the last is as long as the others.
    return seconds * num_frames / (num_frames - 1)


@dataclass(frozen=True)
class Promise:
    """The number of frames that a file should hold.

    Attributes:
        num_frames: Number of raw frames; None if unknown.
        source: Where the number comes from, in words.
    """

    num_frames: int | None
    source: str = ""


def promise(
    container: InputContainer,
    stream: VideoStream,
    findings: Survey,
    num_decoded: int,
    end_seconds: float | None,
) -> Promise:
    """The number of frames that the header promises, or else the duration, or else the packets.

    Packets count only for decoders that drop frames without an error.

    The header's count is reduced by frames that are not shown: those outside an MP4's edit list, and gaps in
    an AVI. A duration is not multiplied by an average rate, which is not meaningful if the rate varies.
    Instead, the decoded frames are counted, and the time from the end of the last one to the promised end is
    filled with frames at their own rate. The duration of a container is that of its longest stream, which may
    be sound.

    Args:
        container: The open file, after decoding.
        stream: The video stream.
        findings: Findings from the packets.
        num_decoded: Number of raw frames that decoded.
        end_seconds: When the last of them ends, on the container's clock; None if unknown.
    """
    if container.format.name.startswith("mov") and len(stream.index_entries):
        return Promise(sum(not entry.is_discard for entry in stream.index_entries), "the header")
    if stream.frames:
        return Promise(stream.frames - findings.num_gaps, "the header")
    if container.format.name not in _STATES_DURATION or not container.duration or not end_seconds:
        is_counted = stream.codec_context.name in DROPPING_CODECS and findings.num_packets
        return Promise(findings.num_packets, "the number of its packets") if is_counted else Promise(None)
    stated, covered = tagged_duration(stream), end_seconds
    if stated is None:
        stated, covered = container.duration / av.time_base, max(end_seconds, findings.end_seconds)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    rate = num_decoded / (end_seconds - start) if end_seconds > start else average_rate(stream) or 0
    return Promise(num_decoded + max(0, round((stated - covered) * rate)), f"the duration of {stated:.2f} s")
