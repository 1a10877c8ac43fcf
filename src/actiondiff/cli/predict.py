"""`actiondiff predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import parse_list

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for predictions.csv and failures.csv.")],
    formats: Annotated[
        str, typer.Option("--format", help="csv, json or both, separated by a comma.")
    ] = "csv",
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's checkpoint, where it needs one.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Name the actions in videos with a trained model. Exit code 3: some videos failed or are partial."""
    from rich.progress import track

    from actiondiff.errors import UnknownNameError
    from actiondiff.exports.tables import FORMATS, write_failures, write_predictions
    from actiondiff.pipeline import ActionDiff
    from actiondiff.types import Prediction
    from actiondiff.video.probe import find_videos

    wanted = parse_list(formats) or []
    for name in wanted:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    videos = find_videos(paths)
    model = ActionDiff.from_pretrained(run, weights=weights, device=device)
    results = model.predict_many(videos)
    if not as_json:
        results = track(results, "predicting", total=len(videos), transient=True)  # type: ignore[assignment]
    found = list(results)
    predictions = [result for _, result in found if isinstance(result, Prediction)]
    reports = [(name, r.report if isinstance(r, Prediction) else r) for name, r in found]
    troubled = [(name, report) for name, report in reports if report and report.status != "ok"]
    write_predictions(out, predictions, wanted)
    write_failures(out, troubled)
    failed = sum(report.status == "failed" for _, report in troubled)
    counts = {"predicted": len(predictions), "partial": len(troubled) - failed, "failed": failed}
    if as_json:
        typer.echo(json.dumps({**counts, "out": str(out)}))
    else:
        _print(predictions, counts, out)
    if troubled:
        raise typer.Exit(3)


def _print(predictions: list, counts: dict[str, int], out: Path) -> None:  # type: ignore[type-arg]
    from rich.console import Console
    from rich.table import Table

    table = Table("video", "label", "probability", "coverage")
    for prediction in predictions[:20]:
        label, probability = prediction.top(1)[0]
        coverage = prediction.report.coverage if prediction.report else 1.0
        table.add_row(Path(prediction.video).name, label, f"{probability:.2f}", f"{coverage:.0%}")
    Console().print(table)
    if len(predictions) > 20:
        typer.echo(f"... and {len(predictions) - 20} more")
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + f"; written to {out}")
