"""Scores of timelines against timed labels."""

from typing import TYPE_CHECKING

import typer

from actiondiff.outputs.words import counted

if TYPE_CHECKING:
    from actiondiff.evaluation.results import TimelineMetrics

__all__ = ["print_timeline_scores"]


def print_timeline_scores(metrics: "TimelineMetrics") -> None:
    """Print a table with one row per behaviour, and the averages.

    Args:
        metrics: What `evaluate_timelines` measured.
    """
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import percent

    frames, segments = metrics.frames, metrics.segments
    length, count = metrics.seconds, metrics.num_videos
    duration = f"{length:.1f} seconds" if length < 60 else f"{length / 60:.1f} minutes"
    title = f"{count} video{'s' * (count != 1)}, {duration}"
    table = Table(
        "behaviour", "of the time", "frame F1", "frame AP", "bouts", "predicted", "AP at IoU 0.5", title=title
    )
    for frame, segment in zip(frames.per_class, segments.per_class, strict=True):
        counts = (str(segment.num_labelled), str(segment.num_predicted))
        scores = [percent(value) for value in (frame.f1, frame.average_precision, segment.ap["0.5"])]
        share = percent(frame.support / frames.num_frames)
        table.add_row(frame.label, share, *scores[:2], *counts, scores[2])
    table.add_row("mean", "", percent(frames.macro_f1), percent(frames.macro_ap), "", "",
                  percent(segments.map["0.5"]))  # fmt: skip
    Console(markup=False, emoji=False).print(table)
    typer.echo("Guessing at random has a frame AP of about the behaviour's share of the time.")
    by_overlap = ", ".join(f"{iou}: {percent(value)}" for iou, value in segments.map.items())
    typer.echo(f"segment mAP at IoU {by_overlap}; mean {percent(segments.mean_map)}")
    if num_left_out := metrics.num_left_out_as_trained_on:
        what = counted(num_left_out, "video was", "videos were")
        typer.echo(f"{what} left out: the model was trained or selected on them.")
    for video in metrics.missing:
        typer.echo(f"{video} has no features and was left out.")
