"""How decoding of a video went: which frames are missing, and what to say of it."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from actiondiff.types import DecodeReport, Status
from actiondiff.video.container import Decoding
from actiondiff.video.passes import Pass
from actiondiff.video.sampling import Clock, Sampler
from actiondiff.video.survey import Promise

__all__ = ["DecodingState"]

_TOLERATED_FRAMES = 2
_TOLERATED_SHARE = 0.02  # of the promise; the larger of the two may be missing


@dataclass
class DecodingState:
    """The state of decoding one video, from which the report is made.

    Attributes:
        clock: The clock of its frames; None until the file is open.
        decoding: Its frames, and what cannot be decoded.
        num_kept: Number of frames that were kept so far.
        num_corrupt: Number of frames so far that the decoder itself flags as corrupt.
        error: Why nothing further was decoded; empty if the end was reached.
        ended_early: Whether the end of the span was reached before that of the file.
        promise: The number of frames that the file should hold.
        ranking: `Survey.ticks`.
        first_ticks: `Survey.first_ticks`.
    """

    clock: Clock | None = None
    decoding: Decoding | None = None
    num_kept: int = 0
    num_corrupt: int = 0
    error: str = ""
    ended_early: bool = False
    promise: Promise | None = None
    ranking: NDArray[np.int64] | None = None
    first_ticks: int | None = None
    _first_rank: int = 0
    _next_rank: int | None = None
    _lost: list[int] = field(default_factory=list)  # times of packets that gave no frame, sorted
    _num_seen: int = 0  # losses that were looked at
    _num_lost_untimed: int = 0

    def begin(self, opened: Pass) -> None:
        """Take note of a pass, of which no frame has been taken yet."""
        self.clock, self.decoding = opened.clock, opened.decoding
        self.ranking, self.first_ticks = opened.findings.ticks, opened.findings.first_ticks
        if opened.num_skipped:
            self._first_rank, self._next_rank = 0, opened.num_skipped

    @property
    def num_decoded(self) -> int:
        """Number of raw frames so far."""
        return self.clock.num_frames if self.clock else 0

    @property
    def num_lost(self) -> int:
        """Number of packets that gave no frame."""
        return len(self._lost) + self._num_lost_untimed

    def index_of(self, frame: VideoFrame) -> int:
        """Number of the latest frame among the raw frames of the file, with those that are lost."""
        assert self.clock is not None
        if self.clock.schedule is not None and self.clock.schedule.is_mended:
            self.ranking = None  # the order of times is not that of frames
        self._note_losses()
        position = self.num_decoded - 1
        if frame.pts is None:
            return position + self.num_lost
        if self.ranking is not None:
            return self._ranked(frame.pts)
        at = bisect_left(self._lost, frame.pts)
        if at < len(self._lost) and self._lost[at] == frame.pts:
            del self._lost[at]  # the decoder made a frame of it after all
        return position + at + self._num_lost_untimed

    def _ranked(self, ticks: int) -> int:
        """Number of a frame by its time among the times of all packets; notes the packets passed over."""
        assert self.ranking is not None
        if self._next_rank is not None and ticks in self.ranking[self._next_rank : self._next_rank + 1]:
            self._next_rank += 1
            return self._next_rank - 1 - self._first_rank
        rank = int(np.searchsorted(self.ranking, ticks))
        if self._next_rank is None:
            first = rank if self.first_ticks is None else int(np.searchsorted(self.ranking, self.first_ticks))
            self._first_rank = self._next_rank = min(first, rank)
        self._lost.extend(self.ranking[self._next_rank : rank].tolist())
        self._next_rank = max(self._next_rank, rank + 1)
        return rank - self._first_rank

    def _note_losses(self) -> None:
        assert self.decoding is not None
        if self.ranking is not None:
            return
        for loss in self.decoding.losses[self._num_seen :]:
            if loss.ticks is None:
                self._num_lost_untimed += 1
            else:
                insort(self._lost, loss.ticks)
        self._num_seen = len(self.decoding.losses)

    def _note_end(self) -> None:
        """Note the packets after the last frame, which yielded none."""
        if self.ranking is not None and not self.ended_early and self._next_rank is not None:
            self._lost.extend(self.ranking[self._next_rank :].tolist())

    def report(self, sampler: Sampler) -> DecodeReport:
        """The final report."""
        if self.decoding:
            self._note_losses()
            self._note_end()
        status, reason = self._judge(sampler)
        expected = self._expected
        mended = self.clock.schedule if self.clock else None
        is_mended = mended is not None and mended.is_mended
        return DecodeReport(
            status,
            reason,
            self.num_decoded,
            expected,
            times_repaired=is_mended,
            num_times_mended=int(mended.moved[: self.num_decoded].sum()) if mended and is_mended else 0,
            times_note="; ".join(mended.reasons) if mended else "",
            num_frames_corrupt=self.num_corrupt,
        )

    def _judge(self, sampler: Sampler) -> tuple[Status, str]:
        if self.clock is None or self.decoding is None or not self.num_decoded:
            return "failed", self.error or self._first_reason or "no frame can be decoded"
        decoded, expected = self.num_decoded, self._expected
        if self.error:
            return "failed", self.error
        if not self.num_kept:
            last = self.clock.last_seconds or 0.0
            damage = f"; {self._first_reason}" if self._first_reason else ""
            return "failed", f"no frame is shown from {sampler.span}: the last is at {last:.2f} s{damage}"
        missing = max(0, expected - decoded) if expected and not self.ended_early else 0
        is_sure = expected is None or self.ended_early or self.ranking is not None
        lost = self.num_lost if is_sure else min(self.num_lost, missing)
        is_short = missing > max(_TOLERATED_FRAMES, _TOLERATED_SHARE * (expected or 0))
        if lost or (missing and self.decoding.read_error):
            number = max(lost, missing)
            of = f" of {expected}" if expected else ""
            return (
                "partial",
                f"{decoded}{of} frames decode; {number} missing{self._gap}: {self._first_reason}",
            )
        if is_short and self.promise:
            return "partial", f"{decoded} frames decode of the {expected} that {self.promise.source} promises"
        return "ok", ""

    @property
    def _expected(self) -> int | None:
        """Number of frames that the file should hold; never fewer than its packets show."""
        expected = self.promise.num_frames if self.promise else None
        if self.ranking is None or expected is None:
            return expected
        return max(expected, self.num_decoded + self.num_lost)

    @property
    def _first_reason(self) -> str:
        """What the decoder says of the first damage."""
        if self.decoding and self.decoding.losses:
            return self.decoding.losses[0].reason
        unsaid = "the decoder makes no frame of it" if self._lost else ""
        return (self.decoding.read_error if self.decoding else "") or unsaid

    @property
    def _gap(self) -> str:
        """Where the first gap lies, in words."""
        assert self.clock is not None
        assert self.decoding is not None
        if self._lost:
            seconds = self.clock.seconds_of(self._lost[0])
            return "" if seconds is None else f", the first at {seconds:.2f} s"
        if self.decoding.losses:
            return ""
        last = self.clock.last_seconds
        return "" if last is None else f" after {last:.2f} s"
