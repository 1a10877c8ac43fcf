"""`actiondiff reproduce`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.errors import UsageError

if TYPE_CHECKING:
    from actiondiff.paper.plan import ReproductionPlan
    from actiondiff.paper.results import Reproduction

__all__ = ["reproduce"]


def reproduce(
    target: Annotated[
        str,
        typer.Argument(
            help="table1, table2, table3, table4, tableS5, fig4, fig5; "
            "timestep-controls, layer-controls, control-backbones."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; gone on with if begun.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with the datasets' videos and annotation files.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Folder with the annotation files, if not that of --data.")
    ] = None,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="On drawn clips with the built-in backbone, in minutes.")
    ] = False,
    rows: Annotated[
        list[str] | None, typer.Option(help="Only studies with this text in their names; repeatable.")
    ] = None,
    draws: Annotated[
        bool, typer.Option(help="Also the released random draws; their mean alone takes a quarter.")
    ] = True,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="name=value for the recipe, e.g. seeds=1.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="BACKBONE=PATH, repeatable; else this machine's.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Trainings side by side.")] = 1,
    device: Annotated[str, typer.Option(help="Where backbones run.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it takes, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print reproduction.json.")] = False,
) -> None:
    """Run a table or figure of the paper.

    Prints our numbers beside the published ones, and says what makes them comparable or not.
    """
    from rich.console import Console

    from actiondiff.paper.results import REPRODUCTION
    from actiondiff.paper.run import plan_reproduction
    from actiondiff.paper.run import reproduce as run_reproduction

    given = _weights(weights or ())
    plan = plan_reproduction(
        target, out=out, data=data, annotations=annotations, stand_in=stand_in, rows=rows or (), draws=draws,
        overrides=overrides or (),
    )  # fmt: skip
    if not as_json:
        _print_plan(plan, out)
    if dry_run:
        return
    with Console(stderr=True, quiet=as_json).status("reproducing") as status:
        results = run_reproduction(
            plan,
            out=out,
            weights=given,
            jobs=jobs,
            device=device,
            progress=lambda done, total, line: status.update(line),
        )
    if as_json:
        typer.echo((out / REPRODUCTION).read_text("utf-8"), nl=False)
    else:
        _print(results, out)
    if set(results.left_out) - set(plan.left_out):
        raise typer.Exit(3)


def _weights(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (_, sign, path) in zip(texts, pairs, strict=True) if not sign or not path]
    if wrong:
        example = "svd-xt=svd_xt.safetensors"
        raise UsageError(f"--weights takes BACKBONE=PATH, for example {example}; got {wrong[0]!r}.")
    return {name: path for name, _, path in pairs}


def _print_plan(plan: "ReproductionPlan", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False)
    console.print(f"{plan.target}: {plan.num_studies} studies, {plan.num_trainings} trainings")
    if plan.stand_in:
        console.print(f"STAND-IN: {plan.stand_in}")
        return
    table = Table("features", "videos", "not on disk", "stored", "windows to do", "PFLOP", title="to extract")
    for price in plan.estimate_stores(out):
        cost = "–" if price.teraflop is None else f"{price.teraflop / 1e3:,.0f}"
        counts = (price.num_videos, price.num_missing, price.num_stored, price.cost.num_windows)
        table.add_row(price.work.slug, *[f"{count:,}" for count in counts], cost)
    console.print(table)


def _print(results: "Reproduction", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import percent
    from actiondiff.report.tables import Score

    console = Console(markup=False, emoji=False)
    mark = f" [{results.watermark.upper()}]" if results.watermark else ""
    columns = ("study", "features", "epoch chosen on", "ours", "floor", "published", "comparable")
    table = Table(*columns, title=f"{results.target}{mark}")
    for study in results.studies:
        paper = study.published
        score = str(Score(study.score, study.low, study.high))
        printed = "–" if paper is None or paper.score is None else f"{paper.score} %"
        note = f"no: {study.why_not}" if study.why_not else "yes" if paper else ""
        table.add_row(study.label, study.features, study.rule, score, percent(study.floor), printed, note)
    console.print(table)
    for control in results.controls:
        prior = control.prior
        console.print(
            f"control{mark}, {control.protocol}: {percent(control.score.value)} against the prior's "
            f"{percent(prior.value)} ({percent(prior.low)} to {percent(prior.high)}): "
            f"{'above it' if control.above else 'NOT above it'}; labels permuted: "
            f"{percent(control.permuted.value)}, {'' if control.permuted_at_prior else 'NOT '}at the prior"
        )
    for claim in results.claims:
        console.print(f"claim{mark}: {claim.sentence}")
    for name, reason in results.left_out.items():
        console.print(f"left out: {name}: {reason}")
    console.print(f"written to {out}; the page is {out / 'report.html'}")
