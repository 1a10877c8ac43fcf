"""The page of a folder of predictions, for a person: what was seen, for how long, in what order, how sure."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from actiondiff.errors import RunError
from actiondiff.exports.record import read_record
from actiondiff.report.card import percent
from actiondiff.report.clips import CaptionedClip, VideoRoots, pictures
from actiondiff.report.ethogram_figures import (
    budget_table,
    ethogram,
    time_budget,
    time_budgets,
    transition_matrix,
)
from actiondiff.report.heat_strips import heat_section
from actiondiff.report.html import Gallery, Item, Notes, Page, Provenance, Section, Text
from actiondiff.report.surest import read_bouts, surest
from actiondiff.report.tables import ReportTable

__all__ = ["prediction_page"]

Facts = Mapping[str, Any]
_LISTED = 25  # videos with trouble; all are in failures.csv


def prediction_page(folder: str | os.PathLike[str], *, roots: VideoRoots = ()) -> Page:
    """The page of what `actiondiff predict` or `evaluate --timeline` wrote.

    Args:
        folder: Where it wrote.
        roots: Folders in which videos with relative paths may be.

    Raises:
        RunError: If nothing was predicted, or the record is not in order.
    """
    facts = read_record(folder)
    seen = [video for video in facts["videos"] if "padding_share" in video]
    if not seen:
        raise RunError(f"nothing was predicted in {folder}; its failures.csv says why.")
    several = facts["kind"] == "timelines"
    sections = [
        Section("Videos", tuple(_videos(facts, seen))),
        *(_when(facts, seen) if several else _clips(facts, seen)),
        Section("Examples", tuple(_examples([example.clip for example in surest(facts)], roots))),
        *heat_section(folder, facts),
        Section("How sure the model may be", tuple(_sureness(facts))),
        Section("Provenance", tuple(_provenance(facts))),
    ]
    made = datetime.fromisoformat(facts["made"])
    lead = (
        f"What {facts['model']} says of {len(seen)} videos, as of {made:%d %B %Y, %H:%M %Z}. "
        f"{_headline(facts, seen)}"
    )
    return Page(f"Predictions {Path(folder).resolve().name}", lead, sections)


def _headline(facts: Facts, seen: Sequence[Facts]) -> str:
    if facts["kind"] == "clips":
        return "A label is what a model takes a clip for, not what it is: look at the examples."
    count = sum(len(video["bouts"]) for video in seen)
    minutes = sum(video["end_seconds"] for video in seen) / 60
    scores = facts["scores"]
    said = (
        f" Against labelled bouts: frame-wise F1 {percent(scores['frames']['macro_f1'])}, segment mAP "
        f"{percent(scores['segments']['mean_map'])} over overlaps of 0.3 to 0.7."
        if scores
        else " Nobody has checked them yet: look at the examples and at queue.csv."
    )
    return f"{count} bouts in {minutes:.1f} minutes.{said}"


def _videos(facts: Facts, seen: Sequence[Facts]) -> list[Item]:
    troubled = [video for video in facts["videos"] if video["status"] != "ok"]
    rows = (
        ("videos", str(len(facts["videos"]))),
        ("predicted", str(len(seen))),
        ("of these in part", str(sum(video["status"] == "partial" for video in seen))),
        ("failed", str(len(facts["videos"]) - len(seen))),
        ("mean coverage", percent(float(np.mean([video["coverage"] for video in seen])))),
        ("mean padding", percent(float(np.mean([video["padding_share"] for video in seen])))),
    )
    note = (
        "Coverage: share of a video's frames that decoded. Padding: share of the backbone's window slots "
        "that held no frame of the video."
    )
    items: list[Item] = [ReportTable(("what", "value"), rows, "Videos", note)]
    if troubled:
        said = tuple(f"{v['video']}: {v['status']}, {v['reason']}" for v in troubled[:_LISTED])
        items.append(Notes(said, "warning"))
    return items


def _when(facts: Facts, seen: Sequence[Facts]) -> list[Section]:
    """Ethogram, time budget, transitions."""
    labels = [label for label in facts["labels"] if label != facts["options"].get("background")]
    videos = {video["video"]: read_bouts(video["bouts"]) for video in seen}
    lengths = {video["video"]: float(video["end_seconds"]) for video in seen}
    known = {  # of the behaviours: a person may have labelled the background, too
        video["video"]: [bout for bout in read_bouts(video["truth"]) if bout.label in labels]
        for video in seen
        if video["truth"] is not None
    }
    budget = time_budget(videos, lengths, labels)
    shares = {"predicted": dict(zip(budget["behaviour"], budget["share"], strict=True))}
    if known:
        true = time_budget(known, {video: lengths[video] for video in known}, labels)
        shares["labelled"] = dict(zip(true["behaviour"], true["share"], strict=True))
    sections = [
        Section("Ethogram", (ethogram(videos, lengths, labels=labels, truth=known or None),)),
        Section("Time budget", (time_budgets(shares), budget_table(budget))),
        Section("What follows what", (transition_matrix(videos, labels),)),
    ]
    if facts["scores"]:
        sections.insert(0, Section("Scores", tuple(_scores(facts["scores"]))))
    return sections


def _scores(scores: Facts) -> list[Item]:
    rows = [
        (
            frame["label"],
            percent(frame["f1"]),
            percent(frame["average_precision"]),
            str(segment["num_labelled"]),
            str(segment["num_predicted"]),
            *(percent(value) for value in segment["ap"].values()),
        )
        for frame, segment in zip(scores["frames"]["per_class"], scores["segments"]["per_class"], strict=True)
    ]
    means = [percent(value) for value in scores["segments"]["map"].values()]
    frames = scores["frames"]
    rows.append(("mean", percent(frames["macro_f1"]), percent(frames["macro_ap"]), "", "", *means))
    overlaps = [f"AP at {iou}" for iou in scores["segments"]["map"]]
    titles = ("behaviour", "frame F1", "frame AP", "labelled", "found", *overlaps)
    note = (
        "AP at x: bouts that overlap a labelled one by x or more (shared time over time of both) are right."
    )
    return [ReportTable(titles, tuple(rows), "Frame by frame, and bout by bout", note)]


def _clips(facts: Facts, seen: Sequence[Facts]) -> list[Section]:
    """How many clips of each label."""
    limit = float(facts["abstain_below"])
    tops = [max(video["probabilities"].items(), key=lambda item: item[1]) for video in seen]
    named = Counter(label for label, p in tops if p >= limit)
    said = [(label, str(named[label]), percent(named[label] / len(tops))) for label in facts["labels"]]
    unsure = len(tops) - named.total()
    said.append(("(not sure)", str(unsure), percent(unsure / len(tops))))
    grid = ReportTable(("label", "clips", "share"), tuple(said), "Clips of each label",
                f"Not sure: the highest probability is below {limit:g}.")  # fmt: skip
    return [Section("Labels", (grid,))]


def _examples(clips: Sequence[CaptionedClip], roots: VideoRoots) -> list[Item]:
    if not clips:
        return [Text("Nothing was named.")]
    shown, absent = pictures(clips, roots)
    items: list[Item] = [Gallery(shown, "The surest of each label")] if shown else []
    if absent:
        said = f"{len(absent)} videos were not found, such as {absent[0]}; name their folder with --videos."
        items.append(Notes((said,)))
    return items


def _sureness(facts: Facts) -> list[Item]:
    """Calibration of the model on clips of its own training's table."""
    found = facts["calibration"]
    if not found:
        return [Text("Nothing is known of it: the model was trained without validation clips.")]
    tested = found["test"]
    sides = {"validation clips": found, **({"test clips": tested} if tested else {})}
    rows = [
        (name, *(percent(side[when]["calibration_error"]) for when in ("before", "after")))
        for name, side in sides.items()
    ]
    if tested and "by_domain" in tested["after"]:
        before, after = tested["before"]["by_domain"], tested["after"]["by_domain"]
        rows += [(name, percent(before[name]), percent(after[name])) for name in after]
    note = f"Temperature {found['temperature']:.2f}, chosen on {found['num_clips']} validation clips."
    items: list[Item] = [
        ReportTable(("clips", "before", "after"), tuple(rows), "Expected calibration error", note)
    ]
    curve = tested["after"].get("coverage_accuracy") if tested else None
    if curve:
        shown = tuple(
            (f"{row['threshold']:.2f}", percent(row["coverage"]), percent(row["accuracy"])) for row in curve
        )
        items.append(ReportTable(("--abstain-below", "clips named", "of these right"), shown,
                          "What abstaining costs and buys, on test clips"))  # fmt: skip
    return items


def _provenance(facts: Facts) -> list[Item]:
    names = ("run", "model", "dtype", "made", "abstain_below", "options", "thresholds")
    asked = {name: facts[name] for name in names if name in facts}
    return [Provenance(asked, "How it was made"), Provenance(facts["environment"], "Versions and machine")]
