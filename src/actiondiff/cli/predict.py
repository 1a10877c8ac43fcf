"""`actiondiff predict`: what is done in videos, and when."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.crop_options import (
    BoxesOption,
    BoxesRootOption,
    IndividualsOption,
    MinScoreOption,
    boxes_from_options,
)
from actiondiff.cli.options import (
    EVERYDAY,
    EXPERT,
    JsonOption,
    MaxMegapixelsOption,
    MaxPauseOption,
    OverwriteOption,
    parse_list,
    with_options,
)
from actiondiff.errors import UsageError
from actiondiff.inference.options import LoadingOptions, TimelineOptions

if TYPE_CHECKING:
    from actiondiff.exports.output import PredictionOutput, VideoResult
    from actiondiff.inference.feature_cache import FeatureCache
    from actiondiff.inference.model import ActionDiff

__all__ = ["predict"]

_TIMELINE = "Timelines (with --timeline)"
_CAMTRAP = "Export to Camtrap DP (with --timeline --format camtrap-dp)"


@with_options(LoadingOptions, name="loading", panels={EVERYDAY: ("weights", "device")}, panel=EXPERT)
@with_options(TimelineOptions, panels={EVERYDAY: ("abstain_below", "abstain_outside")}, panel=_TIMELINE)
def predict(
    run: Annotated[str, typer.Argument(help="Folder of the run, or a hub id.")],
    paths: Annotated[list[Path], typer.Argument(help="Videos, or folders that are searched for videos.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write to; created if it is absent.", file_okay=False),
    ],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="Formats, separated by commas: csv, json; with --timeline also boris, camtrap-dp, "
            "deepethogram.",
        ),
    ] = "csv",
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Find bouts with start and end, in videos of any length."),
    ] = False,
    queue: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of results to list in queue.csv: first videos unlike the training videos, then the "
            "least certain.",
        ),
    ] = 20,
    heatmaps: Annotated[
        int,
        typer.Option(
            min=0, help="Number of the surest examples of each label to draw heatmaps of, for the report."
        ),
    ] = 0,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Feature store that keeps the features of the videos, so that other options need no second "
            "pass over them.  [default: features in the output folder]",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the camera of each video, for models that take the background of cameras away.  "
            "[default: each folder is a camera]",
            show_default=False,
        ),
    ] = None,
    background_clips: Annotated[
        Path | None,
        typer.Option(
            help="CSV of clips without animals and their cameras (video, camera), from which the backgrounds "
            "of new cameras are estimated.  [default: the videos themselves]",
            show_default=False,
        ),
    ] = None,
    about: Annotated[
        Path | None,
        typer.Option(help="CSV that says where and when each video was taken.", rich_help_panel=_CAMTRAP),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="YAML file about the project.", rich_help_panel=_CAMTRAP)
    ] = None,
    boxes: BoxesOption = None,
    boxes_root: BoxesRootOption = None,
    individuals: IndividualsOption = None,
    min_score: MinScoreOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of processes that make features on a CPU.  [default: one per core]",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    max_megapixels: MaxMegapixelsOption = None,
    max_pause: MaxPauseOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    *,
    options: TimelineOptions,
    loading: LoadingOptions,
) -> None:
    """Name the actions in videos with a trained model.

    A model that has learnt from crops around animals needs their boxes (--boxes), or crop files; each animal
    is then predicted by itself. The exit code is 3 if any video failed or is partial.
    """
    from actiondiff import outputs
    from actiondiff.cli.output.crops import crop_for_model
    from actiondiff.cli.output.predictions import print_predictions
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.evaluation.verdict import verdict_of_run
    from actiondiff.exports.output import PredictionOutput
    from actiondiff.inference.backgrounds import (
        cameras_to_subtract,
        footage_to_subtract,
        places_of_videos,
    )
    from actiondiff.inference.individuals import CROPS, check_crops_of_model, subjects_of
    from actiondiff.inference.model import ActionDiff
    from actiondiff.video.crop_file import is_crop
    from actiondiff.video.search import find_videos

    output = PredictionOutput(
        out, run=run, formats=parse_list(formats) or [], timeline=timeline, queue=queue, about=about,
        project=project, options=options,
    )  # fmt: skip
    animals = boxes_from_options(boxes, boxes_root, min_score, individuals=individuals)
    videos = [path for path in find_videos(paths) if not (animals and is_crop(path))]
    if not videos:
        raise UsageError(f"no videos in {', '.join(map(str, paths))}; give files, or folders that hold some.")
    output.check([Path(subject.video) for subject in subjects_of(videos)])
    verdict = verdict_of_run(run)
    names = [*output.names, *_heatmap_names(heatmaps)]
    with outputs.claim(out, "predict", names, overwrite=overwrite):
        model = ActionDiff.from_pretrained(run, **loading.model_dump(), lazy=True)
        uncut: dict[str, str] = {}
        if animals is None:
            check_crops_of_model(model.config, videos, run=run)
        else:
            cropped = crop_for_model(
                model.config, videos, animals, out / CROPS, run=run, command="predict",
                individuals=individuals, overwrite=overwrite, quiet=as_json,
            )  # fmt: skip
            videos, uncut = list(cropped.files), dict(cropped.failed)
        footage = footage_to_subtract(model.config, background_clips)
        check_crops_of_model(model.config, footage, run=run)
        by_camera = cameras_to_subtract(model.config, videos, cameras, footage=footage)
        every = [*videos, *map(Path, footage)]
        cache = model.open_cache(features or out / "features", every)
        parts = [(model, cache), *((model.further[key], own) for key, own in cache.further.items())]
        waiting = [(part, own) for part, own in parts if own.missing(every)]
        for part, _ in waiting:
            _ = part.backbone  # what is wrong with its weights is reported before any video is read
        for part, own in waiting:
            with progress_bar("Extracting", quiet=as_json) as progress:
                own.fill(every, part.backbone, weights=part.weights, workers=workers, progress=progress)
        model.places, places = places_of_videos(
            model.config,
            by_camera,
            partial(model.extract_many, cache=cache),
            by_folder=cameras is None and len(set(footage.values())) != 1,
            footage=footage,
        )
        results, counts = _predict_all(model, videos, output, cache, uncut, quiet=as_json)
        if heatmaps:
            counts["heatmaps"] = _draw_heatmaps(out, model, heatmaps, quiet=as_json)
    if places:
        typer.echo(places, err=as_json)
    if as_json:
        typer.echo(json.dumps({**counts, "out": str(out), "beats_guessing": verdict.beats_guessing}))
    else:
        print_predictions(
            results,
            counts,
            out,
            options=options,
            timeline=timeline,
            verdict=verdict,
            has_guard=model.guard is not None,
        )
    if counts["partial"] or counts["failed"]:
        raise typer.Exit(3)


def _predict_all(
    model: "ActionDiff",
    videos: Sequence[Path],
    output: "PredictionOutput",
    cache: "FeatureCache",
    uncut: Mapping[str, str],
    *,
    quiet: bool,
) -> "tuple[list[VideoResult], dict[str, int]]":
    """Predict every video and write the results, with the reasons of videos that could not be cropped.

    If this is interrupted, the results that are finished are written, unless the folder holds
    those of more videos, and their features are kept.
    """
    from actiondiff.cli.output.progress import video_bars
    from actiondiff.types import DecodeReport

    results: list[VideoResult] = [(video, DecodeReport("failed", reason)) for video, reason in uncut.items()]
    total = len(results) + len(videos)
    stream: Iterator[VideoResult]
    try:
        with video_bars("Predicting", total, quiet=quiet) as bars:
            if output.timeline:
                stream = model.timeline_many(videos, options=output.options, cache=cache, progress=bars.read)
            else:
                stream = model.predict_many(videos, cache=cache, progress=bars.read)
            for result in stream:
                results.append(result)
                bars.finish(len(results))
    except KeyboardInterrupt:
        typer.echo(
            f"{len(results)} of {total} videos are done, and their features are in "
            f"{cache.store.folder}. The same command goes on from there.",
            err=True,
        )
        raise
    finally:
        # Results that are cut short do not take the place of more complete ones. Empty tables, which would
        # say that nothing was seen, are not written at all.
        is_empty = bool(videos) and len(results) == len(uncut)
        if is_empty or len(results) < min(total, output.num_results):
            if output.num_results:
                typer.echo(f"{output.out} still holds the results of an earlier run.", err=True)
        else:
            counts = output.write(model, results)
    return results, counts


def _heatmap_names(each: int) -> list[str]:
    if not each:
        return []  # the drawing is imported only where something is drawn
    from actiondiff.report.heat_strips import FOLDER

    return [f"{FOLDER}/"]


def _draw_heatmaps(out: Path, model: "ActionDiff", each: int, *, quiet: bool) -> int:
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.report.heat_strips import write_heat_strips

    with progress_bar("Searching", quiet=quiet) as progress:
        return write_heat_strips(out, model, each=each, progress=progress)
