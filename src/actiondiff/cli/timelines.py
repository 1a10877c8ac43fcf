"""`actiondiff evaluate --timeline`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

__all__ = ["test_timelines"]


def test_timelines(
    run: Path, store: Path, table: Path, out: Path | None, *, root: Path | None, as_json: bool
) -> None:
    """Score timelines of videos against timed labels, and print or write the scores."""
    from actiondiff.datasets.table import read_table
    from actiondiff.experiments.timelines import evaluate_timelines
    from actiondiff.exports.bouts import seen_from, write_bouts
    from actiondiff.exports.record import write_record
    from actiondiff.heads.bundle import load_bundle
    from actiondiff.inference.folders import find_run

    result = evaluate_timelines(run, store, table, root=root)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "timeline_metrics.json").write_text(json.dumps(result.metrics, indent=2), "utf-8")
        _, config = load_bundle(find_run(run))
        found = list(result.timelines.items())
        write_record(out, found, run=run, config=config, truth=result.truth, scores=result.metrics)
        base = root or read_table(table).root
        write_bouts(out / "bouts.csv", seen_from(out, list(result.timelines.values()), root=base))
    if as_json:
        typer.echo(json.dumps(result.metrics, indent=2))
        return
    _print(result.metrics)


def _print(metrics: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import percent

    frames, segments = metrics["frames"], metrics["segments"]
    length, count = metrics["seconds"], metrics["num_videos"]
    lasts = f"{length:.1f} seconds" if length < 60 else f"{length / 60:.1f} minutes"
    title = f"{count} video{'s' * (count != 1)}, {lasts}"
    table = Table(
        "behaviour", "of the time", "frame F1", "frame AP", "bouts", "found", "AP at IoU 0.5", title=title
    )
    for frame, segment in zip(frames["per_class"], segments["per_class"], strict=True):
        counts = (str(segment["num_labelled"]), str(segment["num_predicted"]))
        scores = [percent(value) for value in (frame["f1"], frame["average_precision"], segment["ap"]["0.5"])]
        share = percent(frame["support"] / frames["num_frames"])
        table.add_row(frame["label"], share, *scores[:2], *counts, scores[2])
    table.add_row("mean", "", percent(frames["macro_f1"]), percent(frames["macro_ap"]), "", "",
                  percent(segments["map"]["0.5"]))  # fmt: skip
    Console(markup=False, emoji=False).print(table)
    typer.echo("Guessing at random has a frame AP of about the behaviour's share of the time.")
    by_overlap = ", ".join(f"{iou}: {percent(value)}" for iou, value in segments["map"].items())
    typer.echo(f"segment mAP at IoU {by_overlap}; mean {percent(segments['mean_map'])}")
    if seen := metrics["num_left_out_as_trained_on"]:
        what = "1 video was" if seen == 1 else f"{seen} videos were"
        typer.echo(f"{what} left out: the model was trained or selected on them.")
    for video in metrics["missing"]:
        typer.echo(f"{video} has no features and was left out.")
