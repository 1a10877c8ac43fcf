"""Results of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["print_sweep"]


def print_sweep(summary: Mapping[str, Any], out: Path) -> None:
    """Print the scores of every study, and which study each rule of selection chooses.

    Args:
        summary: The values of `sweep.json`.
        out: The folder of the sweep.
    """
    from rich.console import Console
    from rich.table import Table

    from actiondiff.report.card import percent

    console = Console(markup=False, emoji=False)

    def scores(row: Mapping[str, Any]) -> list[str]:
        low, high = row.get("test_low"), row.get("test_high")
        interval = "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        return [percent(row.get("test")), interval, percent(row.get("test_floor"))]

    studies = Table("study", "source", "target", "95 % interval", "prior floor", title="mean over seeds")
    for row in summary["points"]:
        studies.add_row(row["point"], percent(row["validation"]), *scores(row))
    console.print(studies)
    rules = Table("question", "rule", "chooses", "target", "95 % interval", "prior floor", "looks at target")
    for row in summary["choices"]:
        name = row["point"] or row["why"]
        rules.add_row(row["question"], row["rule"], name, *scores(row), str(row.get("target_looks", "–")))
    console.print(rules)
    if summary["halving"]:
        console.print(summary["halving"]["said"])
    for name, reason in summary["failed"].items():
        console.print(f"failed: {name}: {reason}")
    console.print(f"written to {out}")
