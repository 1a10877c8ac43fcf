"""Predictions and timelines of videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from actiondiff.evaluation.verdict import ChanceVerdict
    from actiondiff.exports.output import VideoResult
    from actiondiff.inference.options import TimelineOptions
    from actiondiff.inference.timeline import Timeline

__all__ = ["print_predictions"]

_MAX_VIDEOS = 20  # videos that are printed; all are in the files


def print_predictions(
    results: "Sequence[VideoResult]",
    counts: Mapping[str, int],
    out: Path,
    *,
    timeline: bool,
    options: "TimelineOptions",
    verdict: "ChanceVerdict",
    has_guard: bool,
) -> None:
    """Print the model's own test score, one row per video, and how many videos there are of each status.

    Probabilities of a model that was not shown to be better than guessing are not printed.
    """
    from rich.console import Console
    from rich.table import Table

    from actiondiff.exports.tables import label_of
    from actiondiff.inference.individuals import subject_of
    from actiondiff.inference.timeline import Timeline
    from actiondiff.types import Prediction

    typer.echo(f"The model's own test: {verdict.sentence}")
    if not verdict.beats_guessing:
        typer.echo("So the predictions below are guesses, and are printed without probabilities.")
    columns = ("bouts", "most of the time, and how probable") if timeline else ("label", "probability")
    table = Table("video", *columns, "coverage")
    for video, result in results[:_MAX_VIDEOS]:
        if isinstance(result, Prediction):
            label = label_of(
                result, abstain_below=options.abstain_below, abstain_outside=options.abstain_outside
            )
            certainty = f"{result.top(1)[0][1]:.2f}" if verdict.beats_guessing else "a guess"
            is_outside = result.domain is not None and result.domain.is_outside
            cells = (
                label or ("unknown" if is_outside else "(not sure)"),
                certainty if label or not is_outside else "",
            )
        elif isinstance(result, Timeline):
            cells = (
                ("", "unknown")
                if result.abstains
                else (str(len(result.bouts)), _main_behaviour(result, is_guess=not verdict.beats_guessing))
            )
        else:
            table.add_row(subject_of(video).short_title, "failed", "", "0%")
            continue
        coverage = result.report.coverage if result.report else 1.0
        table.add_row(subject_of(video).short_title, *cells, f"{coverage:.0%}")
    Console(markup=False, emoji=False).print(table)  # names are printed as they are
    if len(results) > _MAX_VIDEOS:
        typer.echo(f"... and {len(results) - _MAX_VIDEOS} more")
    if timeline:
        _print_short_bouts([result for _, result in results if isinstance(result, Timeline)])
    _print_domain(results, has_guard=has_guard, abstains=options.abstain_outside)
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + f"; written to {out}")


def _print_short_bouts(timelines: "Sequence[Timeline]") -> None:
    """Print a hint if most bouts are shorter than what a score is computed from."""
    from actiondiff.inference.options import short_bouts_hint

    lengths = [bout.end_seconds - bout.start_seconds for timeline in timelines for bout in timeline.bouts]
    options = [timeline.options for timeline in timelines]
    spans = [chosen.span_seconds for chosen in options if chosen.span_seconds is not None]
    hint = short_bouts_hint(lengths, max(spans), options[0].smooth_seconds) if spans else ""
    if hint:
        typer.echo(hint)


def _print_domain(results: "Sequence[VideoResult]", *, has_guard: bool, abstains: bool) -> None:
    """Print which videos lie outside what the model has learnt from, and why."""
    from actiondiff.inference.individuals import subject_of
    from actiondiff.types import DecodeReport

    if not has_guard:
        typer.echo(
            "This model has no guard, so it cannot tell whether it has learnt from videos like these. Train "
            "it again to give it one."
        )
        return
    checks = [(video, r.domain) for video, r in results if not isinstance(r, DecodeReport)]
    outside = [(video, domain) for video, domain in checks if domain and domain.is_outside]
    if not outside:
        return
    has_crops = any(not isinstance(result, DecodeReport) and result.individual for _, result in results)
    number = f"{len(outside)} of {len(results)} {'individuals' if has_crops else 'videos'}"
    what = "no label (--no-abstain-outside gives one)" if abstains else "a label, on which you cannot rely"
    typer.echo(
        f"Outside what the model has learnt from, {number}; they get {what}, and come first in queue.csv:"
    )
    for video, domain in sorted(outside, key=lambda item: -item[1].distance)[:_MAX_VIDEOS]:
        typer.echo(f"  {subject_of(video).short_title}: {domain.reason}")
    if len(outside) > _MAX_VIDEOS:
        typer.echo(f"  ... and {len(outside) - _MAX_VIDEOS} more, all in failures.csv")


def _main_behaviour(timeline: "Timeline", *, is_guess: bool) -> str:
    """The behaviour that takes most of the time, its seconds, and the mean probability of its bouts."""
    label, seconds = max(timeline.budget().items(), key=lambda item: item[1])
    if not seconds:
        return "nothing"
    bouts = [bout for bout in timeline.bouts if bout.label == label]
    total = sum(bout.probability * (bout.end_seconds - bout.start_seconds) for bout in bouts)
    certainty = "a guess" if is_guess else f"{total / seconds:.2f}"
    return f"{label}, {seconds:.1f} s, {certainty}"
