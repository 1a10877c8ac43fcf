"""`actiondiff predict`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from actiondiff.cli.options import parse_list, with_options
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.inference.options import LoadingOptions, TimelineOptions

if TYPE_CHECKING:
    from actiondiff.inference.model import ActionDiff
    from actiondiff.inference.timeline import Timeline
    from actiondiff.types import DecodeReport, Prediction

    _Result: TypeAlias = tuple[str, Prediction | Timeline | DecodeReport]

__all__ = ["predict"]

_SHOWN = 20  # videos; all are in the files


@with_options(LoadingOptions, name="loading")
@with_options(TimelineOptions)
def predict(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what is written.", file_okay=False)],
    formats: Annotated[
        str,
        typer.Option("--format", help="csv, json; with --timeline also boris, camtrap-dp, deepethogram."),
    ] = "csv",
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Say when: bouts with start and end, of videos of any length.")
    ] = False,
    queue: Annotated[int, typer.Option(min=0, help="How many of the least certain go to queue.csv.")] = 20,
    heatmaps: Annotated[
        int,
        typer.Option(
            min=0, help="Of how many of the surest examples of each label the report is to show where."
        ),
    ] = 0,
    about: Annotated[
        Path | None, typer.Option(help="For camtrap-dp: CSV, where and when each video was taken.")
    ] = None,
    project: Annotated[Path | None, typer.Option(help="For camtrap-dp: YAML about the project.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    *,
    options: TimelineOptions,
    loading: LoadingOptions,
) -> None:
    """Name the actions in videos with a trained model.

    The exit code is 3 if any video failed or is partial.
    """
    from actiondiff.inference.model import ActionDiff
    from actiondiff.video.probe import find_videos

    job = _Job(run, out, parse_list(formats) or [], timeline, queue, about, project, options)
    videos = find_videos(paths)
    if not videos:
        raise UsageError(f"no videos in {', '.join(map(str, paths))}; give files, or folders that hold some.")
    job.check(videos)
    model = ActionDiff.from_pretrained(run, **loading.model_dump())
    found: list[_Result] = []
    results: Iterator[_Result] = (
        model.timeline_many(videos, options=options) if timeline else model.predict_many(videos)
    )
    try:
        for result in _watched(results, len(videos), quiet=as_json):
            found.append(result)  # kept one by one, for the case of an interruption
    finally:
        counts = job.write(model, found)
    if heatmaps:
        counts["heatmaps"] = _draw_heatmaps(out, model, heatmaps, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({**counts, "out": str(out)}))
    else:
        _print(found, counts, out, options.abstain_below)
    if counts["partial"] or counts["failed"]:
        raise typer.Exit(3)


@dataclass(frozen=True)
class _Job:
    """What is asked for."""

    run: str
    out: Path
    formats: Sequence[str]
    timeline: bool
    queue: int
    about: Path | None
    project: Path | None
    options: TimelineOptions

    def check(self, videos: Sequence[Path]) -> None:
        """Refuse what cannot be written or would have no effect, before anything is computed."""
        from actiondiff.exports.tables import FORMATS
        from actiondiff.exports.timelines import check_formats

        if self.timeline:
            check_formats(self.formats, about=self.about, project=self.project, videos=videos)
            return
        for name in self.formats:
            if name not in FORMATS:
                hint = "The others are of bouts: add --timeline."
                raise UnknownNameError("format", name, FORMATS, hint)
        for name in sorted(self.options.model_fields_set - {"abstain_below"}):
            raise UsageError(f"--{name.replace('_', '-')} is about bouts: add --timeline.")

    def write(self, model: "ActionDiff", found: "Sequence[_Result]") -> dict[str, int]:
        """Write everything; returns how many videos there are of each status."""
        from actiondiff.exports.queue import clip_queue, stretch_queue, write_queue
        from actiondiff.exports.record import model_words, write_record
        from actiondiff.exports.tables import write_failures, write_predictions
        from actiondiff.exports.timelines import write_timelines
        from actiondiff.inference.timeline import Timeline
        from actiondiff.types import DecodeReport, Prediction

        timelines = [result for _, result in found if isinstance(result, Timeline)]
        clips = [result for _, result in found if isinstance(result, Prediction)]
        limit = self.options.abstain_below
        if self.timeline:
            write_timelines(
                self.out, timelines, self.formats,
                model=model_words(model.config), about=self.about, project=self.project,
            )  # fmt: skip
        else:
            write_predictions(self.out, clips, self.formats, abstain_below=limit)
        rows = stretch_queue(timelines, most=self.queue) + clip_queue(clips, most=self.queue)
        write_queue(self.out / "queue.csv", rows)
        reports = [(name, r if isinstance(r, DecodeReport) else r.report) for name, r in found]
        troubled = [(name, report) for name, report in reports if report and report.status != "ok"]
        write_failures(self.out, troubled)
        write_record(
            self.out, found, run=self.run, config=model.config,
            dtype=model.backbone.options.dtype, abstain_below=limit,
        )  # fmt: skip
        failed = sum(report.status == "failed" for _, report in troubled)
        counts = {
            "predicted": len(timelines) + len(clips),
            "partial": len(troubled) - failed,
            "failed": failed,
        }
        if self.timeline:
            return {**counts, "bouts": sum(len(item.bouts) for item in timelines)}
        return {**counts, "abstained": sum(item.top(1)[0][1] < limit for item in clips)} if limit else counts


def _watched(results: "Iterator[_Result]", count: int, *, quiet: bool) -> "Iterator[_Result]":
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(results, "Predicting", total=count, console=console, transient=True, disable=quiet)


def _draw_heatmaps(out: Path, model: "ActionDiff", each: int, *, quiet: bool) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from actiondiff.report.heat_strips import write_heat_strips

    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("Searching", total=None)
        return write_heat_strips(
            out,
            model,
            each=each,
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )


def _print(found: "Sequence[_Result]", counts: dict[str, int], out: Path, limit: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from actiondiff.inference.timeline import Timeline
    from actiondiff.types import Prediction

    several = any(isinstance(result, Timeline) for _, result in found)
    table = Table(
        "video",
        *(("bouts", "most of the time, and how probable") if several else ("label", "probability")),
        "coverage",
    )
    for video, result in found[:_SHOWN]:
        if isinstance(result, Prediction):
            label, probability = result.top(1)[0]
            said, more = label if probability >= limit else "(not sure)", f"{probability:.2f}"
        elif isinstance(result, Timeline):
            said, more = str(len(result.bouts)), _most(result)
        else:
            table.add_row(Path(video).name, "failed", "", "0%")
            continue
        coverage = result.report.coverage if result.report else 1.0
        table.add_row(Path(video).name, said, more, f"{coverage:.0%}")
    Console(markup=False, emoji=False).print(table)  # names are shown as they are
    if len(found) > _SHOWN:
        typer.echo(f"... and {len(found) - _SHOWN} more")
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + f"; written to {out}")


def _most(timeline: "Timeline") -> str:
    """The behaviour of most of the time, its seconds, and the mean probability of its bouts."""
    label, seconds = max(timeline.budget().items(), key=lambda item: item[1])
    if not seconds:
        return "nothing"
    own = [bout for bout in timeline.bouts if bout.label == label]
    total = sum(bout.probability * (bout.end_seconds - bout.start_seconds) for bout in own)
    return f"{label}, {seconds:.1f} s, {total / seconds:.2f}"
