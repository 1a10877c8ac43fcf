"""`actiondiff menagerie`: the built-in world of creatures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.errors import UnknownNameError

__all__ = ["sheet", "write"]


def write(
    folder: Annotated[Path, typer.Argument(help="Where to; made if absent, written over if present.")],
    train: Annotated[int, typer.Option(help="Clips to train on.")] = 256,
    test: Annotated[int, typer.Option(help="Clips of each of the four tests.")] = 64,
    val: Annotated[int, typer.Option(help="Clips of the source to choose on.")] = 64,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    targets: Annotated[
        str, typer.Option(help="Unseen bodies, contexts and views: development (to choose on) or reserved.")
    ] = "development",
    long: Annotated[int, typer.Option(help="Long videos of several actions, with timed truth.")] = 0,
    minutes: Annotated[float, typer.Option(help="How long those are.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Draw labelled clips of the built-in world.

    Writes the videos, table.csv, boxes.csv and world.json.
    """
    from rich.console import Console
    from rich.progress import Progress

    from actiondiff.builtin.dataset import write_menagerie

    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("Drawing", total=None)
        table = write_menagerie(
            folder, train=train, test=test, val=val, seed=seed, targets=targets,  # type: ignore[arg-type]  # checked there
            num_long=long, minutes=minutes,
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    typer.echo(json.dumps({"table": table.as_posix()}) if as_json else f"Written: {table}")


def sheet(
    out: Annotated[Path, typer.Argument(help="The picture to write, .png.")],
    kind: Annotated[
        str, typer.Option(help="actions (rows) over time, or bodies (rows) by contexts.")
    ] = "actions",
    body: Annotated[str, typer.Option(help="For actions: which creature.")] = "dog",
    context: Annotated[str, typer.Option(help="For actions: where.")] = "meadow",
    view: Annotated[str, typer.Option(help="Where from: side, top, ego or random.")] = "side",
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Draw a contact sheet of the built-in world."""
    from actiondiff.builtin.world.sheets import action_sheet, place_sheet

    if kind not in ("actions", "bodies"):
        raise UnknownNameError("kind of sheet", kind, ("actions", "bodies"))
    picture = (
        place_sheet(view, seed=seed) if kind == "bodies" else action_sheet(body, context, view, seed=seed)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    typer.echo(f"Written: {out}")
