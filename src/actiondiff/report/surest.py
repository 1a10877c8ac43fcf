"""Which examples of a folder of predictions are shown: those that the model is surest of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.report.clips import CaptionedClip
from actiondiff.types import Bout

__all__ = ["Surest", "read_bouts", "surest"]


@dataclass(frozen=True)
class Surest:
    """An example of a label.

    Attributes:
        label: What the model takes it for.
        probability: How sure it is.
        clip: Where it is, and what to say of it.
    """

    label: str
    probability: float
    clip: CaptionedClip


def surest(facts: Mapping[str, Any], *, each: int = 1) -> list[Surest]:
    """Clips, or bouts of timelines, that were named with the greatest confidence, label by label.

    Clips that the model said nothing of are none, nor is its background.

    Args:
        facts: A record, as `exports.record.read_record` gives it.
        each: Examples a label, at most.
    """
    found = _clips(facts) if facts["kind"] == "clips" else _bouts(facts)
    chosen = []
    for label in facts["labels"]:
        own = [example for example in found if example.label == label]
        chosen += sorted(own, key=lambda example: -example.probability)[:each]
    return chosen


def read_bouts(rows: Sequence[Sequence[Any]]) -> list[Bout]:
    """Bouts as a record has them."""
    return [Bout(str(label), float(start), float(end), float(p)) for label, start, end, p in rows]


def _clips(facts: Mapping[str, Any]) -> list[Surest]:
    found = []
    for video in facts["videos"]:
        if "probabilities" not in video:
            continue
        label, p = max(video["probabilities"].items(), key=lambda item: item[1])
        if p >= facts["abstain_below"]:
            said = f"{label}: p = {p:.2f} in {video['video']}"
            found.append(Surest(label, p, CaptionedClip(video["video"], None, None, said)))
    return found


def _bouts(facts: Mapping[str, Any]) -> list[Surest]:
    found = []
    for video in facts["videos"]:
        for bout in read_bouts(video.get("bouts", ())):
            times = f"{bout.start_seconds:.1f} to {bout.end_seconds:.1f} s"
            said = f"{bout.label}: p = {bout.probability:.2f} in {Path(video['video']).name}, {times}"
            clip = CaptionedClip(video["video"], bout.start_seconds, bout.end_seconds, said)
            found.append(Surest(bout.label, bout.probability, clip))
    return found
