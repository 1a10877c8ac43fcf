"""`actiondiff train`: a head on stored features."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import (
    SEVERAL,
    JsonOption,
    OverridesOption,
    OverwriteOption,
    RootOption,
    WithOption,
    parse_list,
)

__all__ = ["train"]

_DOMAINS = "Testing on another domain"


def train(
    store: Annotated[Path, typer.Argument(help="Feature store, made by `actiondiff extract`.")],
    table: Annotated[Path, typer.Argument(help="CSV with video and label, or a folder per class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; created if it is absent.")],
    timestep: Annotated[
        int | None, typer.Option(help="Diffusion timestep of the features.  [default: the backbone's own]")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer of the features.  [default: the backbone's own]")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of training runs, each with its own seed.  [default: that of the recipe]"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Shipped recipe (see `actiondiff recipe ls`) or YAML file.  [default: the recipe own-videos]"
        ),
    ] = None,
    overrides: OverridesOption = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--continue", metavar="RUN", help="Continue from this run: its recipe, weights and test clips."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    domain: Annotated[
        str | None,
        typer.Option(help="Column of the table whose values are the domains.", rich_help_panel=_DOMAINS),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Domains to train on, separated by commas.", rich_help_panel=_DOMAINS),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Domains to test on, separated by commas; rest means all others.", rich_help_panel=_DOMAINS
        ),
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(
            help="Features to read, separated by commas, such as t20.layer9,t5.layer6,lite0.  [default: one "
            "of each store]",
            rich_help_panel=SEVERAL,
        ),
    ] = None,
    combine: Annotated[
        str | None,
        typer.Option(
            help="concat puts the features side by side; tokens makes one token of each.  [default: concat]",
            rich_help_panel=SEVERAL,
        ),
    ] = None,
    further: WithOption = None,
    root: RootOption = None,
    background: Annotated[
        Path | None,
        typer.Option(
            "--background-clips",
            "--background",
            help="Table of stored clips without animals (video, camera), for --set "
            "head.input=minus-background.  [default: the clips themselves]",
            rich_help_panel=_DOMAINS,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a head on stored features and test it.

    Writes the model, its metrics, every prediction and the resolved recipe to the folder of the run.
    """
    from actiondiff.cli.output.progress import status_line
    from actiondiff.cli.output.scores import print_run
    from actiondiff.datasets.table import read_table
    from actiondiff.experiments import study
    from actiondiff.features.joined import join_stores
    from actiondiff.start.groups import warn_of_unknown_recordings

    options = {
        "features.timestep": timestep,
        "features.layer": layer,
        "features.keys": parse_list(keys),
        "features.combine": combine,
        "protocol.domain": domain,
        "protocol.source": parse_list(source),
        "protocol.target": target if target == "rest" else parse_list(target),
        "seeds": seeds,
        "protocol.background": str(background) if background else None,
    }
    values = {name: value for name, value in options.items() if value is not None}
    clips = read_table(table)
    features = join_stores(store, *(further or ()))
    study_recipe = study.choose_recipe(
        features, clips, recipe, start=start, overrides=overrides or (), values=values
    )
    if not study_recipe.protocol.domain and not study_recipe.protocol.group and start is None:
        warn_of_unknown_recordings(clips)
    with status_line("training", quiet=as_json) as progress:
        run = study.train(
            features,
            clips,
            out=out,
            recipe=study_recipe,
            root=root,
            start=start,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        typer.echo(run.metrics.to_json())
    else:
        print_run(run.folder, run.metrics)
