"""`actiondiff distill`: a small network in place of a backbone."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import EVERYDAY, JsonOption, OverwriteOption, with_options
from actiondiff.distillation.options import DistillOptions

__all__ = ["distill"]


@with_options(
    DistillOptions, panels={EVERYDAY: ("encoder", "steps", "held_out")}, panel="How the student is trained"
)
def distill(
    store: Annotated[Path, typer.Argument(help="Feature store of the backbone that is the teacher.")],
    videos: Annotated[
        list[Path],
        typer.Argument(help="Videos that the features are of: files, folders, or one table."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the student.", file_okay=False)],
    timestep: Annotated[int | None, typer.Option(help="Timestep to learn, if the store has several.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to learn, if the store has several.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Run that was trained on the store: compares its predictions, too."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint of the teacher, if it needs one; only to time it.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the names of videos in a table start at.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on: auto, cpu, cuda ...")] = "auto",
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; the same command continues later.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    *,
    options: DistillOptions,
) -> None:
    """Teach a small network a backbone's features of your videos."""
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.distillation.distill import NEARNESS
    from actiondiff.distillation.distill import distill as make_student

    with progress_bar("Reading videos", quiet=as_json) as progress:
        student = make_student(
            store,
            videos,
            out,
            options,
            timestep=timestep,
            layer=layer,
            model=model,
            weights=weights,
            root=root,
            device=device,
            minutes=minutes,
            overwrite=overwrite,
            report=lambda line: typer.echo(line, err=True),
            progress=progress,
        )
    if student is None:
        typer.echo("The time is over; the same command continues.", err=True)
        return
    if as_json:
        typer.echo(json.dumps(json.loads((out / NEARNESS).read_text("utf-8"))))
        return
    near, work = student.nearness["held_out"], student.work
    typer.echo(
        f"On {near.num_videos} held-out videos: correlation {near.correlation:.3f}, cosine {near.cosine:.3f}."
    )
    if student.agreement is not None:
        typer.echo(f"The model's label is the same in {100 * student.agreement.same_label:.1f} % of them.")
    if student.reach is not None:
        typer.echo(
            f"{100 * student.reach.near:.0f} % of them are near; the student places "
            f"{100 * student.reach.outside:.0f} % outside what it learnt from."
        )
    if work.student_flop and work.teacher_flop:
        typer.echo(f"A window takes {work.teacher_flop / work.student_flop:,.0f} times fewer operations.")
    typer.echo(
        f"Written: {out}; its README.md says more. Next: actiondiff predict RUN VIDEOS --student {out}"
    )
