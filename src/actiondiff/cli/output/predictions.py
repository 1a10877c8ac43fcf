"""Predictions and timelines of videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from actiondiff.evaluation.verdict import ChanceVerdict
    from actiondiff.exports.output import VideoResult
    from actiondiff.inference.timeline import Timeline

__all__ = ["print_predictions"]

_MAX_VIDEOS = 20  # videos that are printed; all are in the files


def print_predictions(
    results: "Sequence[VideoResult]",
    counts: Mapping[str, int],
    out: Path,
    *,
    timeline: bool,
    abstain_below: float,
    verdict: "ChanceVerdict",
) -> None:
    """Print the model's own test score, one row per video, and how many videos there are of each status.

    Probabilities of a model that was not shown to be better than guessing are not printed.
    """
    from rich.console import Console
    from rich.table import Table

    from actiondiff.inference.timeline import Timeline
    from actiondiff.types import Prediction

    typer.echo(f"The model's own test: {verdict.sentence}")
    if not verdict.beats_guessing:
        typer.echo("So the predictions below are guesses, and are printed without probabilities.")
    columns = ("bouts", "most of the time, and how probable") if timeline else ("label", "probability")
    table = Table("video", *columns, "coverage")
    for video, result in results[:_MAX_VIDEOS]:
        if isinstance(result, Prediction):
            label, probability = result.top(1)[0]
            cells = (
                label if probability >= abstain_below else "(not sure)",
                f"{probability:.2f}" if verdict.beats_guessing else "a guess",
            )
        elif isinstance(result, Timeline):
            cells = (str(len(result.bouts)), _main_behaviour(result, is_guess=not verdict.beats_guessing))
        else:
            table.add_row(Path(video).name, "failed", "", "0%")
            continue
        coverage = result.report.coverage if result.report else 1.0
        table.add_row(Path(video).name, *cells, f"{coverage:.0%}")
    Console(markup=False, emoji=False).print(table)  # names are printed as they are
    if len(results) > _MAX_VIDEOS:
        typer.echo(f"... and {len(results) - _MAX_VIDEOS} more")
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + f"; written to {out}")


def _main_behaviour(timeline: "Timeline", *, is_guess: bool) -> str:
    """The behaviour that takes most of the time, its seconds, and the mean probability of its bouts."""
    label, seconds = max(timeline.budget().items(), key=lambda item: item[1])
    if not seconds:
        return "nothing"
    bouts = [bout for bout in timeline.bouts if bout.label == label]
    total = sum(bout.probability * (bout.end_seconds - bout.start_seconds) for bout in bouts)
    certainty = "a guess" if is_guess else f"{total / seconds:.2f}"
    return f"{label}, {seconds:.1f} s, {certainty}"
