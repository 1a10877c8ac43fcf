"""`actiondiff reproduce`: tables and figures of the paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import JsonOption, OverridesOption, OverwriteOption
from actiondiff.errors import UsageError

__all__ = ["reproduce"]

_PART = "A part of the target"


def reproduce(
    target: Annotated[
        str,
        typer.Argument(
            help="table1, table2, table3, table4, tableS5, fig4 or fig5; or our controls: "
            "timestep-controls, layer-controls or control-backbones."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write to; one that exists is continued.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder with the videos and annotation files of the datasets.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Folder with the annotation files.  [default: that of --data]")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BACKBONE=PATH",
            help="Checkpoint of a backbone; repeatable.  [default: those in the folder ACTIONDIFF_WEIGHTS]",
        ),
    ] = None,
    stand_in: Annotated[
        bool,
        typer.Option("--stand-in", help="Use drawn clips and the built-in backbone; takes minutes."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(help="Number of training runs at the same time.  [default: one per core]"),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that runs the backbones.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it takes, and do nothing.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    case: Annotated[
        str | None,
        typer.Option(
            help="Other settings for the target: released, for fig5.  [default: those of the paper]",
            rich_help_panel=_PART,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(help="Only studies with this text in their names; repeatable.", rich_help_panel=_PART),
    ] = None,
    draws: Annotated[
        bool,
        typer.Option(
            help="Also run the released random draws; their mean alone costs a quarter of all four.",
            rich_help_panel=_PART,
        ),
    ] = True,
    overrides: OverridesOption = None,
) -> None:
    """Run a table or figure of the paper.

    Prints our numbers beside the published ones, and says what makes them comparable or not.
    """
    from actiondiff.cli.output.progress import status_line
    from actiondiff.cli.output.reproduction import print_plan, print_reproduction
    from actiondiff.paper.plan import variant_of
    from actiondiff.paper.results import REPRODUCTION
    from actiondiff.paper.run import plan_reproduction
    from actiondiff.paper.run import reproduce as run_reproduction

    checkpoints = _parse_weights(weights or ())
    plan = plan_reproduction(
        variant_of(target, case), out=out, data=data, annotations=annotations, stand_in=stand_in,
        rows=rows or (), draws=draws, overrides=overrides or (),
    )  # fmt: skip
    if not as_json:
        print_plan(plan, out)
    if dry_run:
        return
    with status_line("reproducing", quiet=as_json) as progress:
        results = run_reproduction(
            plan,
            out=out,
            weights=checkpoints,
            jobs=jobs,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        typer.echo((out / REPRODUCTION).read_text("utf-8"), nl=False)
    else:
        print_reproduction(results, out)
    if set(results.left_out) - set(plan.left_out):
        raise typer.Exit(3)


def _parse_weights(texts: Sequence[str]) -> dict[str, str]:
    """`["svd-xt=a.safetensors"]` -> `{"svd-xt": "a.safetensors"}`.

    Raises:
        UsageError: If a text is not of that form.
    """
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (_, sign, path) in zip(texts, pairs, strict=True) if not sign or not path]
    if wrong:
        example = "svd-xt=svd_xt.safetensors"
        raise UsageError(f"--weights takes BACKBONE=PATH, for example {example}; got {wrong[0]!r}.")
    return {name: path for name, _, path in pairs}
