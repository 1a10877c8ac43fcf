"""`actiondiff dev menagerie write|sheet`: clips of the built-in world of creatures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import JsonOption, OverwriteOption
from actiondiff.errors import UnknownNameError

__all__ = ["sheet", "write"]


def write(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; created if it is absent.")],
    train: Annotated[int, typer.Option(help="Number of training clips.")] = 256,
    test: Annotated[int, typer.Option(help="Number of clips of each of the four tests.")] = 64,
    val: Annotated[int, typer.Option(help="Number of validation clips, of the source.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    targets: Annotated[
        str, typer.Option(help="Unseen bodies, contexts and views: development (to choose on) or reserved.")
    ] = "development",
    long: Annotated[
        int, typer.Option(help="Number of long videos of several actions, with timed labels.")
    ] = 0,
    minutes: Annotated[float, typer.Option(help="Duration of each long video.")] = 2.0,
    still: Annotated[
        bool,
        typer.Option(
            "--still", help="Cameras stand still, each before its own place, and creatures are small."
        ),
    ] = False,
    empty: Annotated[
        int,
        typer.Option(help="Number of clips without creatures of each still camera, in empty.csv."),
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes.  [default: one per core]")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw labelled clips of the built-in world.

    Writes the videos, table.csv, boxes.csv and world.json.
    """
    from actiondiff.builtin.dataset import write_menagerie
    from actiondiff.cli.output.progress import progress_bar

    with progress_bar("Drawing", quiet=as_json) as progress:
        table = write_menagerie(
            folder, train=train, test=test, val=val, seed=seed, targets=targets,  # type: ignore[arg-type]  # checked there
            num_long=long, minutes=minutes, still=still, num_empty=empty, workers=workers,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    typer.echo(json.dumps({"table": table.as_posix()}) if as_json else f"Written: {table}")


def sheet(
    out: Annotated[Path, typer.Argument(help="The picture to write, .png.")],
    kind: Annotated[
        str, typer.Option(help="actions: rows are actions over time; bodies: rows are bodies by contexts.")
    ] = "actions",
    body: Annotated[str, typer.Option(help="For actions: the creature.")] = "dog",
    context: Annotated[str, typer.Option(help="For actions: the place.")] = "meadow",
    view: Annotated[str, typer.Option(help="Camera's view: side, top, ego or random.")] = "side",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw a contact sheet of the built-in world."""
    from actiondiff import outputs
    from actiondiff.builtin.world.sheets import action_sheet, place_sheet
    from actiondiff.provenance import atomic_path

    if kind not in ("actions", "bodies"):
        raise UnknownNameError("kind of sheet", kind, ("actions", "bodies"))
    picture = (
        place_sheet(view, seed=seed) if kind == "bodies" else action_sheet(body, context, view, seed=seed)
    )
    with outputs.claim_file(out, "dev menagerie sheet", overwrite=overwrite), atomic_path(out) as aside:
        picture.save(aside, format="png")
    typer.echo(f"Written: {out}")
