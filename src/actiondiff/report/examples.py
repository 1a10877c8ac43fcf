"""The most confident predictions of each label, which reports show as examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.report.budget_figures import clock
from actiondiff.report.clips import CaptionedClip
from actiondiff.types import Bout
from actiondiff.types.display import titled

__all__ = ["ConfidentExample", "most_confident", "read_bouts", "title_of"]


@dataclass(frozen=True)
class ConfidentExample:
    """One of the most confident predictions of a label.

    Attributes:
        label: Predicted label.
        probability: Probability of the label.
        clip: Span of the video, with a caption.
    """

    label: str
    probability: float
    clip: CaptionedClip


def most_confident(facts: Mapping[str, Any], *, each: int = 1) -> list[ConfidentExample]:
    """Select the clips, or the bouts of timelines, that were predicted with the greatest confidence.

    Clips on which the model abstained are left out, and so is the background.

    Args:
        facts: Record of the predictions, from `exports.record.read_record`.
        each: Maximum number of examples per label.

    Returns:
        The examples, in the order of the record's labels.
    """
    # What is no better than a guess is not captioned with a probability, which would look like certainty.
    is_guess = "model_test" in facts and not facts["model_test"]["beats_guessing"]
    examples = _clips(facts, is_guess) if facts["kind"] == "clips" else _bouts(facts, is_guess)
    own: dict[str, list[ConfidentExample]] = {label: [] for label in facts["labels"]}
    for example in examples:
        if example.label in own:
            own[example.label].append(example)
    return [
        example
        for label in facts["labels"]
        for example in sorted(own[label], key=lambda example: -example.probability)[:each]
    ]


def read_bouts(rows: Sequence[Sequence[Any]]) -> list[Bout]:
    """Convert the bouts of a record."""
    return [Bout(str(label), float(start), float(end), float(p)) for label, start, end, p in rows]


def title_of(video: Mapping[str, Any]) -> str:
    """What an entry of a record is about: a video, and of a crop the individual, as in `a.mp4 · fox`."""
    return titled(str(video["video"]), str(video.get("individual", "")))


def _clips(facts: Mapping[str, Any], is_guess: bool) -> list[ConfidentExample]:
    examples = []
    for video in facts["videos"]:
        abstains = facts.get("abstain_outside") and video.get("outside")
        if "probabilities" not in video or abstains:
            continue
        label, p = max(video["probabilities"].items(), key=lambda item: item[1])
        if p >= facts["abstain_below"]:
            caption = f"{label}: {_certainty(p, is_guess)} in {title_of(video)}"
            clip = CaptionedClip(video.get("crop", video["video"]), None, None, caption)
            examples.append(ConfidentExample(label, p, clip))
    return examples


def _bouts(facts: Mapping[str, Any], is_guess: bool) -> list[ConfidentExample]:
    examples = []
    for video in facts["videos"]:
        for bout in read_bouts(video.get("bouts", ())):
            start, end = clock(bout.start_seconds, tenths=True), clock(bout.end_seconds, tenths=True)
            certainty = _certainty(bout.probability, is_guess)
            title = title_of({**video, "video": Path(video["video"]).name})
            caption = f"{bout.label}: {certainty} in {title}, {start} to {end}"
            clip = CaptionedClip(
                video.get("crop", video["video"]), bout.start_seconds, bout.end_seconds, caption
            )
            examples.append(ConfidentExample(bout.label, bout.probability, clip))
    return examples


def _certainty(probability: float, is_guess: bool) -> str:
    return "a guess" if is_guess else f"p = {probability:.2f}"
