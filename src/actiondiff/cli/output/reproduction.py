"""Plan and results of a reproduction of the paper."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actiondiff.paper.plan import ReproductionPlan
    from actiondiff.paper.results import Reproduction

__all__ = ["print_plan", "print_reproduction"]


def print_plan(plan: "ReproductionPlan", out: Path) -> None:
    """Print how many studies there are, and what has to be extracted for them."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(markup=False, emoji=False)
    console.print(f"{plan.target}: {plan.num_studies} studies, {plan.num_trainings} training runs")
    if plan.stand_in:
        console.print(f"STAND-IN: {plan.stand_in}")
        return
    features = Column("features", overflow="fold")  # only the end of a name may tell two of them apart
    table = Table(features, "videos", "not on disk", "stored", "windows to do", "PFLOP", title="to extract")
    for price in plan.estimate_stores(out):
        cost = "–" if price.teraflop is None else f"{price.teraflop / 1e3:,.3g}"
        counts = (price.num_videos, price.num_missing, price.num_stored, price.cost.num_windows)
        table.add_row(price.work.slug, *[f"{count:,}" for count in counts], cost)
    console.print(table)


def print_reproduction(results: "Reproduction", out: Path) -> None:
    """Print our numbers beside the published ones, the controls, and the verdicts on the claims."""
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
