"""`actiondiff train`, `actiondiff evaluate` and `actiondiff compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.cli.options import parse_list
from actiondiff.cli.timelines import test_timelines

if TYPE_CHECKING:
    from actiondiff.evaluation.results import LeftOutClip, Metrics
    from actiondiff.evaluation.scores import SideScores

__all__ = ["compare", "evaluate", "train"]

_SHOWN = 6  # domains; all are in metrics.json

_Json = Annotated[bool, typer.Option("--json", help="Print metrics as JSON.")]
_Root = Annotated[Path | None, typer.Option(help="Folder the table's paths are relative to, if not its own.")]


def train(
    store: Annotated[Path, typer.Argument(help="Features, from `actiondiff extract`.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    recipe: Annotated[
        str | None, typer.Option(help="Shipped recipe or YAML file; see `actiondiff recipe ls`.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="name=value, e.g. training.epochs=30.")
    ] = None,
    timestep: Annotated[int | None, typer.Option(help="Of the feature to read.")] = None,
    layer: Annotated[str | None, typer.Option(help="Of the feature to read.")] = None,
    domain: Annotated[str | None, typer.Option(help="Column whose values are the domains.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Values of the domain that train, separated by commas.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Values that test; rest for all others.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many trainings.")] = None,
    start: Annotated[
        Path | None,
        typer.Option("--continue", help="A run to go on from: its recipe, its weights, its test clips."),
    ] = None,
    root: _Root = None,
    as_json: _Json = False,
) -> None:
    """Train a head on stored features and test it.

    Writes the model, its metrics, every prediction and the resolved recipe to the folder of the run.
    """
    from rich.console import Console

    from actiondiff.datasets.table import read_table
    from actiondiff.experiments import train as study
    from actiondiff.experiments.recipe import load_recipe
    from actiondiff.experiments.warm_start import recipe_of_run

    given = {
        "features.timestep": timestep,
        "features.layer": layer,
        "protocol.domain": domain,
        "protocol.source": parse_list(source),
        "protocol.target": target if target == "rest" else parse_list(target),
        "seeds": seeds,
    }
    values = {name: value for name, value in given.items() if value is not None}
    clips = read_table(table)
    if start and not recipe:
        chosen = recipe_of_run(start, overrides=overrides or (), values=values)
    else:
        if recipe is None and clips.multi_label:
            values = {"training.loss": "bce", **values}
        chosen = load_recipe(recipe or "default", overrides=overrides or (), values=values)
    with Console(stderr=True, quiet=as_json).status("training") as status:
        run = study.train(
            store,
            clips,
            out=out,
            recipe=chosen,
            root=root,
            start=start,
            progress=lambda done, total, line: status.update(line),
        )
    if as_json:
        typer.echo(run.metrics.to_json())
        return
    _print_run(run.folder, run.metrics)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run, or a hub id.")],
    store: Annotated[Path, typer.Argument(help="Features, made with the run's settings.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write metrics and predictions here.", file_okay=False),
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Score bouts over time against the table's timed labels.")
    ] = False,
    root: _Root = None,
    as_json: _Json = False,
) -> None:
    """Test a trained model on labelled clips.

    Clips that the model was trained or selected on are left out.
    """
    from actiondiff.experiments import train as study
    from actiondiff.provenance import write_text

    if timeline:
        test_timelines(run, store, table, out, root=root, as_json=as_json)
        return

    result = study.evaluate(run, store, table, root=root)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(result.metrics.to_json(), "utf-8")
        write_text(out / "predictions.csv", result.predictions.to_csv(index=False))
    if as_json:
        typer.echo(result.metrics.to_json())
        return
    left_out = result.metrics.num_left_out_as_trained_on
    if left_out:
        typer.echo(f"{left_out} clips were left out: the model was trained or selected on them.")
    print_scores(result.metrics)
    for sentence in (*_missing(result.metrics.missing), *result.metrics.cautions):
        typer.echo(sentence)


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(help="Folder of another.", metavar="RUN_B")],
    as_json: _Json = False,
) -> None:
    """Compare two runs on the clips that both tested.

    Prints the scores of A minus those of B, with intervals over groups and seeds.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from actiondiff.evaluation.judge import METRICS
    from actiondiff.experiments.compare import compare as compare_runs
    from actiondiff.provenance import json_values

    found = compare_runs(first, second)
    if as_json:
        typer.echo(json.dumps(json_values(asdict(found)), indent=2, allow_nan=False))
        return
    seeds = " and ".join(map(str, found.num_seeds))
    title = f"{found.num_clips} clips of {found.num_groups} groups; {seeds} trainings"
    table = Table("score", "A minus B", "95 % interval", "p", title=title)
    for name, contrast in found.differences.items():
        span = f"{100 * contrast.low:+.1f} to {100 * contrast.high:+.1f}"
        table.add_row(METRICS[name], f"{100 * contrast.value:+.1f}", span, f"{contrast.p:.3f}")
    Console(markup=False, emoji=False).print(table)
    typer.echo(f"p by flipping whole groups: {found.sign_flip_p:.4f}")
    if found.mcnemar:
        exact = found.mcnemar
        typer.echo(
            f"A alone is right on {exact.only_first} clips, B alone on {exact.only_second}; exact McNemar p "
            f"{exact.p:.4f}, if clips are independent"
        )
    if found.num_apart:
        typer.echo(f"{found.num_apart} clips were tested by one of them only and are left out")


def print_scores(side: "SideScores", title: str = "") -> None:
    """A table of scores with intervals and floors, on standard output."""
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import score_rows

    table = Table(
        "score", "value", "95 % interval", "prior floor", title=title or f"{side.num_clips} test clips"
    )
    for row in score_rows(side):
        table.add_row(*row)
    Console(markup=False, emoji=False).print(table)  # a domain's name is shown as it is


def _print_run(folder: Path, metrics: "Metrics") -> None:
    from actiondiff.evaluation.results import SeedsMetrics

    counts, test = metrics.counts, metrics.test
    typer.echo(f"feature {metrics.feature}; split: {metrics.split}")
    typer.echo(
        f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test clips"
    )
    if isinstance(metrics, SeedsMetrics):
        for name, mean in metrics.mean.items():
            spread = f"sd {100 * metrics.sd[name]:.1f} over {len(metrics.seeds)} seeds"
            typer.echo(f"{name}: {100 * mean:.1f} % ({spread})")
        typer.echo(f"{metrics.best} is taken, {metrics.why_best}; its test scores:")
    if test:
        print_scores(test)
        sides = test.by_domain or {}
        if len(sides) > _SHOWN:
            typer.echo(f"the scores of each of {len(sides)} domains are in metrics.json")
        elif len(sides) > 1:
            for value, side in sides.items():
                print_scores(side, title=f"{value}: {side.num_clips} test clips")
    leaks = metrics.leaks
    if leaks:
        typer.echo(f"{len(leaks)} leaks: the same {leaks[0].kind} on both sides, e.g. {leaks[0].name}.")
    for sentence in (*_missing(metrics.missing), *metrics.cautions):
        typer.echo(sentence)
    typer.echo(f"written to {folder}")


def _missing(missing: Sequence["LeftOutClip"]) -> list[str]:
    if not missing:
        return []
    first = missing[0]
    return [f"{len(missing)} clips have no features and were left out, e.g. {first.video} ({first.reason})."]
