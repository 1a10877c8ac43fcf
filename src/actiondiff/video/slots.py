"""Times of the frames of an AVI, in one pass.

An AVI has no times of presentation: each packet has a slot, in the order of storage. The n-th frame that is
shown has the n-th slot of those whose packets yield a frame (`clock.mend`), which the last packet decides. It
is known sooner for a frame if frames have come out of all slots up to its own: later ones change nothing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from actiondiff.video.clock import SHUFFLED, Schedule

__all__ = ["SlotTimes"]

_MOST_HELD = 20  # frames; no codec moves a frame further than 16 places


@dataclass
class SlotTimes:
    """The times of an AVI's frames, as long as every packet yields one frame.

    Args:
        slots: (N,) times of all packets in ticks, sorted and distinct.
        time_base: Seconds per tick.

    Attributes:
        schedule: The times; `moved` and `reasons` are those of the frames so far.
    """

    slots: NDArray[np.int64]
    time_base: Fraction
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        elapsed = (self.slots - self.slots[0]).astype(np.float64)
        seconds = elapsed * self.time_base.numerator / self.time_base.denominator
        self.schedule = Schedule(seconds, np.zeros(len(self.slots), bool))

    def confirmed(self, frames: Iterable[VideoFrame], on_doubt: Callable[[], object]) -> Iterator[VideoFrame]:
        """The frames, each as soon as its time is certain.

        Args:
            frames: All frames in the order of presentation.
            on_doubt: Called once, before the next frame, if a packet yields no frame, several, or one with
                another time. The schedule then holds for the frames before, but for no other.
        """
        held: deque[VideoFrame] = deque()
        waiting = set(self.slots.tolist())  # for a frame
        number = num_certain = 0
        is_certain = True
        for frame in frames:
            held.append(frame)
            if is_certain:
                is_certain = frame.pts in waiting and len(held) <= _MOST_HELD
                waiting.discard(frame.pts)
                while num_certain < len(self.slots) and int(self.slots[num_certain]) not in waiting:
                    num_certain += 1
                if not is_certain:
                    on_doubt()
            while held and (not is_certain or number < num_certain):
                if is_certain:
                    self._note(number, held[0])
                number += 1
                yield held.popleft()
        if held:
            on_doubt()
            yield from held

    def _note(self, number: int, frame: VideoFrame) -> None:
        if frame.pts != self.slots[number]:
            self.schedule.moved[number] = True
            if not self.schedule.reasons:
                self.schedule = Schedule(self.schedule.seconds, self.schedule.moved, (), (SHUFFLED,))
