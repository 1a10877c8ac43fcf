"""Places of a file at which reading may begin again: its start, and key frames before a span far from it.

A key frame is an entry only if what follows it decodes to the same pictures as in a pass from the start:
nothing that is shown after it may depend on what is stored before it. For H.264 and HEVC, where recovery
points and leading pictures may, the coded data themselves are looked at; a flag of the container does not
suffice. For all other codecs whose frames depend on each other there are no entries.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

__all__ = ["EntryFinder", "PacketMark", "enter", "rewind"]

PacketMark: TypeAlias = tuple[int | None, int, bool, int | None]
"""What tells one packet of a stream from another: time, size, whether it is a key frame, position."""

_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Containers that store each frame's time of presentation, which is then the same wherever reading began."""


@dataclass(frozen=True)
class _Units:
    """How pictures are coded in units of H.264 or HEVC.

    Attributes:
        slices: Kinds of the units that hold a picture.
        independent: Kinds of those that begin a sequence of pictures.
        parameters: Kinds of units with parameters that later pictures refer to.
        shift: Bits below the kind in the first byte of a unit.
        kinds: Number of kinds.
        length_at: Where the header of the stream states the size of a unit's length.
    """

    slices: range
    independent: range
    parameters: tuple[int, ...]
    shift: int
    kinds: int
    length_at: int


_UNITS = {
    # Source: ITU-T H.264, table 7-1, and H.265, table 7-1; ISO/IEC 14496-15 for the headers.
    "h264": _Units(range(1, 6), range(5, 6), (7, 8, 13, 15), 0, 32, 4),
    "hevc": _Units(range(32), range(16, 22), (32, 33, 34), 1, 64, 21),
}


class EntryFinder:
    """Collects the entries of a stream from its packets, all of which it must be shown in order.

    Args:
        container: The open file.
        stream: The stream.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        context = stream.codec_context
        self._ticks = array("q")
        self._parameters: set[bytes] = set()
        self._units = _UNITS.get(context.name)
        header = context.extradata or b""
        self._length_size = 0
        if self._units is not None and len(header) > self._units.length_at and header[0] == 1:
            self._length_size = (header[self._units.length_at] & 3) + 1
        is_independent = context.codec.intra_only and self._units is None
        self._is_sure = container.format.name in _FORMATS and (is_independent or self._length_size > 0)

    def add(self, packet: "Packet[Stream]") -> None:
        """Look at the next packet."""
        if not self._is_sure:
            return
        has_changes = packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")
        if packet.pts is None or packet.is_corrupt or has_changes:
            self._is_sure = False
        elif self._is_entry(packet) and packet.is_keyframe and not packet.is_discard:
            self._ticks.append(packet.pts)

    def ticks(self) -> NDArray[np.int64]:
        """(N,) times of the entries, sorted; empty if a packet leaves doubt."""
        return np.sort(np.array(self._ticks if self._is_sure else (), dtype=np.int64))

    def _is_entry(self, packet: "Packet[Stream]") -> bool:
        if self._units is None:
            return True
        own, has_picture, is_independent = set[bytes](), False, True
        for unit in self._units_of(packet):
            kind = unit[0] >> self._units.shift & self._units.kinds - 1
            if kind in self._units.parameters:
                own.add(bytes(unit))
            elif kind in self._units.slices:
                has_picture = True
                is_independent &= kind in self._units.independent
        # Parameters that an earlier packet has set must be set again, or else entering here would miss them.
        is_complete = self._parameters <= own
        self._parameters |= own
        return has_picture and is_independent and is_complete

    def _units_of(self, packet: "Packet[Stream]") -> Iterator[memoryview]:
        data, at, size = memoryview(packet), 0, self._length_size
        while at < len(data):
            start = at + size
            at = start + int.from_bytes(data[at:start], "big")
            if at > len(data) or at == start:
                self._is_sure = False  # damaged
                return
            yield data[start:at]


def mark_of(packet: "Packet[Stream] | Packet[VideoStream]") -> PacketMark:
    """The mark of a packet."""
    return packet.pts, packet.size, packet.is_keyframe, packet.pos


def rewind(container: InputContainer, stream: VideoStream, first: PacketMark | None) -> bool:
    """Have a file that was read be read again from its start, which is quicker than to open it again.

    Args:
        container: The open file.
        stream: The stream.
        first: Mark of the stream's first packet.

    Returns:
        Whether reading begins at the start. Else nothing may be read from the container.
    """
    if container.format.name not in _FORMATS or first is None or first[0] is None:
        return False
    packet = _seek(container, stream, first[0])
    return packet is not None and mark_of(packet) == first


def enter(
    container: InputContainer, stream: VideoStream, entries: NDArray[np.int64], latest_ticks: int
) -> int | None:
    """Have the container continue at an entry.

    Args:
        container: The open file.
        stream: The stream.
        entries: (N,) times of its entries, sorted.
        latest_ticks: The entry at which to continue; or at an earlier one, if the index leads there.

    Returns:
        Time of the entry. None if the index leads to no entry: then nothing may be read from the container.
    """
    packet = _seek(container, stream, latest_ticks)
    if packet is None or packet.pts is None or packet.pts > latest_ticks or packet.pts not in entries:
        return None
    return packet.pts


def _seek(container: InputContainer, stream: VideoStream, ticks: int) -> "Packet[VideoStream] | None":
    """Go to the key frame at or before a time; returns the packet that will be read first."""
    try:
        container.seek(ticks, stream=stream)
        packet = next((packet for packet in container.demux(stream) if packet.size), None)
        container.seek(ticks, stream=stream)
    except (av.error.FFmpegError, IndexError):
        return None
    return packet
