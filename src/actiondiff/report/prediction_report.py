"""Page of a folder of predictions: labels or bouts, time budget, transitions, examples and confidence."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from actiondiff.errors import RunError
from actiondiff.exports.record import read_record
from actiondiff.inference.options import short_bouts_hint
from actiondiff.outputs.words import counted
from actiondiff.report.budget_figures import BoutsByVideo, budget_table, clock, time_budget, time_budgets
from actiondiff.report.card import percent
from actiondiff.report.clips import VideoRoots, pictures
from actiondiff.report.drawing import behaviour_colours
from actiondiff.report.ethogram_figures import ethogram, transition_matrix
from actiondiff.report.examples import ConfidentExample, most_confident, read_bouts, title_of
from actiondiff.report.figures import MOST_NAMES
from actiondiff.report.heat_strips import heat_section
from actiondiff.report.html import Page, Section
from actiondiff.report.items import Gallery, Item, Notes, Provenance, Text
from actiondiff.report.tables import ReportTable
from actiondiff.video.crop_file import is_crop

__all__ = ["prediction_page"]

Facts = Mapping[str, Any]
_LISTED = 25  # failed and partial videos on the page; all are in failures.csv


def prediction_page(folder: str | os.PathLike[str], *, roots: VideoRoots = ()) -> Page:
    """Build the page of what `actiondiff predict` or `actiondiff evaluate --timeline` wrote.

    Args:
        folder: Folder of the predictions.
        roots: Folders that may hold videos with relative paths.

    Raises:
        RunError: If nothing was predicted, or the record cannot be read.
    """
    facts = read_record(folder)
    predicted = [video for video in facts["videos"] if "padding_share" in video]
    if not predicted:
        raise RunError(f"{folder} has no predictions; its failures.csv lists the reasons.")
    has_timelines = facts["kind"] == "timelines"
    background = facts["options"].get("background", "background")
    colours = behaviour_colours([label for label in facts["labels"] if label != background])
    measured = facts.get("scores")
    scores = [Section("Scores", tuple(_scores(measured)))] if measured else []
    sections = [
        *scores,
        Section("Videos", tuple(_videos(facts, predicted))),
        *(_timelines(facts, predicted, colours) if has_timelines else _clips(facts, predicted)),
        Section("Examples", tuple(_examples(most_confident(facts), roots, colours))),
        *heat_section(folder, facts),
        Section("Confidence", tuple(_confidence(facts))),
        Section("Provenance", tuple(_provenance(facts))),
    ]
    made = datetime.fromisoformat(facts["made"])
    lead = (
        f"{_model_test(facts)} Predictions of {facts['model']} on {_counted(predicted)}, "
        f"made on {made:%d %B %Y, %H:%M %Z}. "
        f"{_headline(facts, predicted)}"
    )
    return Page(f"Predictions {Path(folder).resolve().name}", lead, sections)


def _model_test(facts: Facts) -> str:
    """What the model's own test says, or that nothing is known of it."""
    model_test = facts.get("model_test")
    if model_test:
        return f"The model's own test: {model_test['sentence']}"
    return (
        "The model's own test score is not recorded with these predictions, so it is not known how far they "
        "can be trusted."
    )


def _headline(facts: Facts, predicted: Sequence[Facts]) -> str:
    if facts["kind"] == "clips":
        return "Predicted labels may be wrong; check the examples."
    count = sum(len(video["bouts"]) for video in predicted)
    length = clock(sum(video["end_seconds"] for video in predicted))
    scores = facts["scores"]
    comparison = (
        f" Compared with labelled bouts: frame-wise F1 {percent(scores['frames']['macro_f1'])}, segment mAP "
        f"{percent(scores['segments']['mean_map'])} over overlaps of 0.3 to 0.7."
        if scores
        else " They have not been checked by a person; check the examples and queue.csv."
    )
    of_what = " of video" if _noun(predicted) == "video" else ", each individual counted by itself"
    return f"{counted(count, 'bout')} in {length} (min:s){of_what}.{comparison}"


def _noun(predicted: Sequence[Facts]) -> str:
    """What was predicted: videos, or individuals of them."""
    return "individual" if any("crop" in video for video in predicted) else "video"


def _counted(predicted: Sequence[Facts]) -> str:
    """How many videos there are, or of crops how many individuals in how many videos."""
    videos = counted(len({video["video"] for video in predicted}), "video")
    noun = _noun(predicted)
    return videos if noun == "video" else f"{counted(len(predicted), noun)} in {videos}"


def _videos(facts: Facts, predicted: Sequence[Facts]) -> list[Item]:
    troubled = [video for video in facts["videos"] if video["status"] != "ok"]
    individuals = [video for video in facts["videos"] if "crop" in video]
    rows = (
        ("videos", str(len({video["video"] for video in facts["videos"]}))),
        *([("individuals", str(len(individuals)))] if individuals else []),
        ("predicted", str(len(predicted))),
        ("decoded only in part", str(sum(video["status"] == "partial" for video in predicted))),
        ("failed", str(len(facts["videos"]) - len(predicted))),
        ("mean coverage", percent(float(np.mean([video["coverage"] for video in predicted])))),
        ("mean padding", percent(float(np.mean([video["padding_share"] for video in predicted])))),
    )
    note = (
        "Coverage is the share of a video's frames that could be decoded. Padding is the share of the slots "
        "in the backbone's windows that hold no frame of the video."
    )
    items: list[Item] = [ReportTable(("quantity", "value"), rows, "Videos", note)]
    items += _domain(facts, predicted)
    if troubled:
        sentences = tuple(f"{title_of(v)}: {v['status']}, {v['reason']}" for v in troubled[:_LISTED])
        items.append(Notes(sentences, "warning"))
    return items


def _domain(facts: Facts, predicted: Sequence[Facts]) -> list[Item]:
    """Which videos lie outside what the model has learnt from, the farthest first, and why."""
    if all(video.get("distance") is None for video in predicted):
        if not facts.get("abstain_outside"):  # nobody asked, as in an evaluation
            return []
        return [Text("The model has no guard, so it is not known whether it has learnt from such videos.")]
    outside = sorted((v for v in predicted if v["outside"]), key=lambda video: -video["distance"])
    if not outside:
        return []
    answers = (
        "The model gives no answer for them."
        if facts.get("abstain_outside")
        else "The model answers all the same; do not rely on these answers."
    )
    rows = tuple((title_of(v), f"{v['distance']:.1f}", " | ".join(v["outside"])) for v in outside[:_LISTED])
    caption = (
        f"{len(outside)} of {len(predicted)} {_noun(predicted)}s lie outside what the model has learnt from"
    )
    note = f"{answers} A distance of 1 is the bound. They are at the head of queue.csv."
    return [ReportTable(("video", "distance", "why"), rows, caption, note)]


def _timelines(facts: Facts, predicted: Sequence[Facts], colours: Mapping[str, str]) -> list[Section]:
    """Sections on ethogram, time budget and transitions, and on scores where there are labelled bouts."""
    labels = [label for label in facts["labels"] if label != facts["options"].get("background")]
    videos = {title_of(video): read_bouts(video["bouts"]) for video in predicted}
    lengths = {title_of(video): float(video["end_seconds"]) for video in predicted}
    labelled = {  # without the background, which a person may have labelled as well
        title_of(video): [bout for bout in read_bouts(video["truth"]) if bout.label in labels]
        for video in predicted
        if video["truth"] is not None
    }
    budget = time_budget(videos, lengths, labels)
    shares = {"predicted": dict(zip(budget["behaviour"], budget["share"], strict=True))}
    if labelled:
        true = time_budget(labelled, {video: lengths[video] for video in labelled}, labels)
        shares["labelled"] = dict(zip(true["behaviour"], true["share"], strict=True))
    budgets = time_budgets(shares, colours=colours)
    drawn = ethogram(
        videos, lengths, labels=labels, truth=labelled or None, colours=colours,
        noun=_noun(predicted),
    )  # fmt: skip
    sections = [
        Section("Ethogram", (drawn, *_short_bouts(facts, videos))),
        Section(
            "Time budget",
            (budgets, budget_table(budget, colours=colours), *_individuals(predicted, labels)),
        ),
    ]
    if len({bout.label for bouts in videos.values() for bout in bouts}) > 2:  # two can only alternate
        sections.append(Section("Transitions", (transition_matrix(videos, labels, colours=colours),)))
    return sections


def _individuals(predicted: Sequence[Facts], labels: Sequence[str]) -> list[Item]:
    """A table of the time budget of each individual, in all its videos if individuals have names."""
    own: dict[str, list[Facts]] = {}
    is_named = not any(str(video.get("individual", "")).isdecimal() for video in predicted)
    for video in predicted:
        if video.get("individual"):
            own.setdefault(video["individual"] if is_named else title_of(video), []).append(video)
    if len(own) < 2:
        return []
    rows = []
    for name, videos in own.items():
        bouts = {str(n): read_bouts(video["bouts"]) for n, video in enumerate(videos)}
        lengths = {str(n): float(video["end_seconds"]) for n, video in enumerate(videos)}
        shares = time_budget(bouts, lengths, labels)["share"]
        rows.append((name, str(len(videos)), clock(sum(lengths.values())), *(percent(s) for s in shares)))
    note = "Individuals of the same name are taken for the same one in all videos." if is_named else ""
    titles = ("individual", "videos", "time (min:s)", *labels)
    return [ReportTable(titles, tuple(rows), "Share of the time of each individual", note)]


def _short_bouts(facts: Facts, videos: BoutsByVideo) -> list[Item]:
    """A note if most bouts are shorter than what a score is computed from."""
    options = facts["options"]
    lengths = [bout.end_seconds - bout.start_seconds for bouts in videos.values() for bout in bouts]
    span = options.get("span_seconds")
    hint = short_bouts_hint(lengths, span, options.get("smooth_seconds", 0.0)) if span else ""
    return [Notes((hint,))] if hint else []


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
    titles = ("behaviour", "frame F1", "frame AP", "labelled bouts", "predicted bouts", *overlaps)
    note = (
        "AP at x counts a predicted bout as right if its overlap with a labelled bout (shared time over the "
        "time of both together) is x or more."
    )
    return [ReportTable(titles, tuple(rows), "Scores by frames and by bouts", note)]


def _clips(facts: Facts, predicted: Sequence[Facts]) -> list[Section]:
    """Section on the number of clips of each label."""
    limit = float(facts["abstain_below"])
    hidden = [video for video in predicted if facts.get("abstain_outside") and video.get("outside")]
    named = [video for video in predicted if video not in hidden]
    tops = [max(video["probabilities"].items(), key=lambda item: item[1]) for video in named]
    counts = Counter(label for label, p in tops if p >= limit)
    rows = [(label, str(counts[label]), percent(counts[label] / len(predicted))) for label in facts["labels"]]
    unsure = len(tops) - counts.total()
    note = ""
    if limit:
        rows.append(("(uncertain)", str(unsure), percent(unsure / len(predicted))))
        note = f"A clip is uncertain if its highest probability is below {limit:g}."
    if hidden:
        rows.append(("(outside)", str(len(hidden)), percent(len(hidden) / len(predicted))))
    table = ReportTable(("label", "clips", "share"), tuple(rows), "Clips of each label", note)
    return [Section("Labels", (table,))]


def _examples(every: Sequence[ConfidentExample], roots: VideoRoots, colours: Mapping[str, str]) -> list[Item]:
    if not every:
        return [Text("Nothing was predicted.")]
    # Each example is decoded, so that their number is bounded.
    surest = sorted(every, key=lambda example: -example.probability)[:MOST_NAMES]
    examples = [example for example in every if example in surest]
    strips, absent = pictures([replace(e.clip, colour=colours.get(e.label, "")) for e in examples], roots)
    title = "The most confident prediction of each label"
    if len(examples) < len(every):
        title += f", for the {len(examples)} most confident of {len(every)} labels"
    items: list[Item] = [Gallery(strips, title)] if strips else []
    if absent:
        advice = (
            "keep the crops and their videos in the same places relative to each other"
            if is_crop(absent[0])
            else "name the folder with --videos"
        )
        number = counted(len(absent), "video was", "videos were")
        items.append(Notes((f"{number} not found, for example {absent[0]}; {advice}.",)))
    return items


def _confidence(facts: Facts) -> list[Item]:
    """Calibration of the model on validation and test clips of its own study."""
    calibration = facts["calibration"]
    if not calibration:
        return [Text("The model had too few clips to be calibrated on.")]
    tested = calibration["test"]
    sides = {"held-out clips": calibration, **({"test clips": tested} if tested else {})}
    rows = [
        (name, *(percent(side[when]["calibration_error"]) for when in ("before", "after")))
        for name, side in sides.items()
    ]
    if tested and "by_domain" in tested["after"]:
        before, after = tested["before"]["by_domain"], tested["after"]["by_domain"]
        rows += [(name, percent(before[name]), percent(after[name])) for name in after]
    folds = calibration.get("num_folds")
    clips = f"training clips, by cross-validation in {folds} folds" if folds else "validation clips"
    note = (
        f"Before and after calibration with a temperature of {calibration['temperature']:.2f}, which was "
        f"chosen on {calibration['num_clips']} {clips}."
    )
    items: list[Item] = [
        ReportTable(("clips", "before", "after"), tuple(rows), "Expected calibration error", note)
    ]
    curve = tested["after"].get("coverage_accuracy") if tested else None
    if curve:
        rates = tuple(
            (f"{row['threshold']:.2f}", percent(row["coverage"]), percent(row["accuracy"])) for row in curve
        )
        titles = ("--abstain-below", "clips predicted", "of these correct")
        caption = "Coverage and accuracy with abstention, on the test clips"
        items.append(ReportTable(titles, rates, caption))
    return items


def _provenance(facts: Facts) -> list[Item]:
    names = ("run", "model", "dtype", "made", "abstain_below", "options", "thresholds")
    settings = {name: facts[name] for name in names if name in facts}
    return [Provenance(settings, "Settings"), Provenance(facts["environment"], "Versions and machine")]
