"""`actiondiff predict`."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from actiondiff.cli.options import parse_list

if TYPE_CHECKING:
    from actiondiff.types import DecodeReport, Prediction

    _Result: TypeAlias = tuple[str, Prediction | DecodeReport]

__all__ = ["register"]

_SHOWN = 20  # videos; all are in the files


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for predictions.csv and failures.csv.", file_okay=False),
    ],
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
    from rich.console import Console
    from rich.progress import track

    from actiondiff.errors import UnknownNameError, UsageError
    from actiondiff.exports.tables import FORMATS
    from actiondiff.pipeline import ActionDiff
    from actiondiff.video.probe import find_videos

    wanted = parse_list(formats) or []
    for name in wanted:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    videos = find_videos(paths)
    if not videos:
        raise UsageError(f"no videos in {', '.join(map(str, paths))}; give files, or folders that hold some.")
    model = ActionDiff.from_pretrained(run, weights=weights, device=device)
    bar = partial(track, description="Predicting", console=Console(stderr=True), transient=True)
    found: list[_Result] = []
    try:
        found.extend(bar(model.predict_many(videos), total=len(videos), disable=as_json))
    finally:  # what was predicted before an interruption is kept
        counts = _write(out, found, wanted)
    if as_json:
        typer.echo(json.dumps({**counts, "out": str(out)}))
    else:
        _print(found, counts, out)
    if counts["partial"] or counts["failed"]:
        raise typer.Exit(3)


def _write(out: Path, found: "Sequence[_Result]", formats: Sequence[str]) -> dict[str, int]:
    """Write predictions and failures; returns how many there are of each."""
    from actiondiff.exports.tables import write_failures, write_predictions
    from actiondiff.types import Prediction

    predictions = [result for _, result in found if isinstance(result, Prediction)]
    reports = [(name, r.report if isinstance(r, Prediction) else r) for name, r in found]
    troubled = [(name, report) for name, report in reports if report and report.status != "ok"]
    write_predictions(out, predictions, formats)
    write_failures(out, troubled)
    failed = sum(report.status == "failed" for _, report in troubled)
    return {"predicted": len(predictions), "partial": len(troubled) - failed, "failed": failed}


def _print(found: "Sequence[_Result]", counts: dict[str, int], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from actiondiff.types import Prediction

    table = Table("video", "label", "probability", "coverage")
    for video, result in found[:_SHOWN]:
        if isinstance(result, Prediction):
            label, probability = result.top(1)[0]
            coverage = result.report.coverage if result.report else 1.0
            table.add_row(Path(video).name, label, f"{probability:.2f}", f"{coverage:.0%}")
        else:
            table.add_row(Path(video).name, "failed", "", "0%")
    Console(markup=False, emoji=False).print(table)  # names are shown as they are
    if len(found) > _SHOWN:
        typer.echo(f"... and {len(found) - _SHOWN} more")
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + f"; written to {out}")
