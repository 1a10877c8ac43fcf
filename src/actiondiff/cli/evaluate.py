"""`actiondiff evaluate`: a trained model on labelled clips, or on videos with timed labels."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption, RootOption, WithOption

if TYPE_CHECKING:
    from actiondiff.experiments.timelines import TimelineEvaluation
    from actiondiff.features.store import FeatureStore

__all__ = ["evaluate"]

_CLIP_FILES = ("metrics.json", "predictions.csv")
_TIMELINE_FILES = ("bouts.csv", "predicted.json", "timeline_metrics.json")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run, or a hub id.")],
    store: Annotated[Path, typer.Argument(help="Feature store made with the settings of the run.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Also write metrics and predictions to this folder.", file_okay=False
        ),
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Score bouts over time against the table's timed labels.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    further: WithOption = None,
    root: RootOption = None,
    background: Annotated[
        Path | None,
        typer.Option(
            "--background-clips",
            "--background",
            help="Table of stored clips without animals (video, camera), for models that take the background "
            "of cameras away.  [default: the clips themselves]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Test a trained model on labelled clips.

    Clips that the model was trained or selected on are left out.
    """
    from actiondiff import outputs
    from actiondiff.cli.output.scores import print_evaluation
    from actiondiff.experiments.study import evaluate as evaluate_clips
    from actiondiff.features.joined import join_stores
    from actiondiff.provenance import safe_cells, write_text

    features = join_stores(store, *(further or ()))
    names = _TIMELINE_FILES if timeline else _CLIP_FILES
    with outputs.claim(out, "evaluate", names, overwrite=overwrite) if out else nullcontext():
        if timeline:
            _evaluate_timelines(run, features, table, out, root=root, background=background, as_json=as_json)
            return
        result = evaluate_clips(run, features, table, root=root, background=background)
        if out:
            write_text(out / "predictions.csv", safe_cells(result.predictions).to_csv(index=False))
            write_text(out / "metrics.json", result.metrics.to_json())
    if as_json:
        typer.echo(result.metrics.to_json())
    else:
        print_evaluation(result.metrics)


def _evaluate_timelines(
    run: Path,
    store: "FeatureStore",
    table: Path,
    out: Path | None,
    *,
    root: Path | None,
    background: Path | None,
    as_json: bool,
) -> None:
    from actiondiff.cli.output.timeline_scores import print_timeline_scores
    from actiondiff.experiments.timelines import evaluate_timelines

    result = evaluate_timelines(run, store, table, root=root, background=background)
    if out:
        _write_timelines(out, result, run=run, table=table, root=root)
    if as_json:
        typer.echo(result.metrics.to_json())
    else:
        print_timeline_scores(result.metrics)


def _write_timelines(
    out: Path, result: "TimelineEvaluation", *, run: Path, table: Path, root: Path | None
) -> None:
    """Write the scores, the bouts, and the record that `actiondiff report` reads."""
    from actiondiff.datasets.table import read_table
    from actiondiff.exports.bouts import with_paths_from, write_bouts
    from actiondiff.exports.record import write_record
    from actiondiff.heads.bundle import read_config
    from actiondiff.inference.folders import find_model_folder
    from actiondiff.inference.individuals import of_source
    from actiondiff.provenance import write_text

    write_text(out / "timeline_metrics.json", result.metrics.to_json())
    config = read_config(find_model_folder(run))
    base = root or read_table(table).root
    timelines = [(name, of_source(timeline, root=base)) for name, timeline in result.timelines.items()]
    write_record(
        out,
        timelines,
        run=run,
        config=config,
        timeline=True,
        truth=result.truth,
        scores=result.metrics.model_dump(),
    )
    write_bouts(out / "bouts.csv", with_paths_from(out, [timeline for _, timeline in timelines], root=base))
