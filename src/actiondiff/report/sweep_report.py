"""Page of a sweep: its studies, heatmaps, what each rule of selection chooses, and tests for chance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actiondiff.evaluation.judge import METRICS
from actiondiff.report.card import percent
from actiondiff.report.drawing import Figure
from actiondiff.report.grid_figures import sweep_panels
from actiondiff.report.html import Page, Section
from actiondiff.report.items import Item, Notes, Provenance, Text
from actiondiff.report.tables import ReportTable, Score

__all__ = ["heatmaps", "sweep_page", "test_table"]

_TIMESTEP, _LAYER = "features.timestep", "features.layer"
SummaryRow = Mapping[str, Any]


def sweep_page(folder: Path) -> Page:
    """Build the page of a sweep: what was varied, the scores of all studies, and what each rule chooses.

    Args:
        folder: Folder of a finished sweep.
    """
    summary = json.loads((folder / "sweep.json").read_text("utf-8"))
    studies: list[SummaryRow] = summary["points"]
    failed = [f"{name}: {reason}" for name, reason in summary["failed"].items()]
    items: list[Item] = [Notes(tuple(failed), "warning")] if failed else []
    items += [study_table(studies)]
    halving = summary["halving"]
    sections = [
        Section("What was run", (Text(summary["description"]), _what(summary))),
        Section("Studies", tuple(items)),
        Section("Heatmaps", tuple(heatmaps(studies))),
        Section("What each rule chooses", (_choices(summary["choices"]),) if summary["choices"] else ()),
        Section("Selection before the test", (Text(halving["said"]), _rounds(halving)) if halving else ()),
        Section("Tests", (test_table(summary["tests"]),) if summary["tests"] else ()),
        Section("Provenance", _provenance(summary)),
    ]
    lead = (
        f"{len(studies)} studies of the recipe {summary['recipe']}, on features of "
        f"{summary['backbone']['name']}. The test clips were scored {summary['target_looks']} times in total."
    )
    return Page(f"Sweep {folder.resolve().name}", lead, sections)


def study_table(studies: Sequence[SummaryRow]) -> ReportTable:
    """Make a table of all studies, one row per study."""
    rows = tuple(
        (
            str(row["point"]),
            METRICS[row["metric"]],
            percent(row["validation"]),
            str(Score(row["test"], row["test_low"], row["test_high"])),
            percent(row["test_floor"]),
            f"{row['num_train']} / {row['num_test']}",
            str(row["num_seeds"]),
        )
        for row in studies
    )
    titles = ("study", "metric", "validation", "test", "prior floor", "training / test clips", "seeds")
    note = "Scores are means over seeds, with 95 % intervals over groups and seeds."
    return ReportTable(titles, rows, "All studies", note, left=frozenset({"metric"}))


def heatmaps(studies: Sequence[SummaryRow], *, title: str = "Layers and timesteps") -> list[Figure]:
    """Draw test scores by layer and timestep, one panel per case; an empty list for sweeps of other settings.

    Args:
        studies: Rows of `points.csv`.
        title: Heading.
    """
    frame = pd.DataFrame(studies)
    if not {_TIMESTEP, _LAYER} <= set(frame) or frame.duplicated(["case", _TIMESTEP, _LAYER]).any():
        return []
    panels, floors, chosen = {}, {}, {}
    for case, mine in frame.groupby("case", sort=False):
        name = str(case) or "test"
        panels[name] = mine.pivot(index=_LAYER, columns=_TIMESTEP, values="test").astype(float)
        floor = mine["test_floor"].iloc[0]
        if floor is not None:
            floors[name] = float(floor)
        validation = mine.pivot(index=_LAYER, columns=_TIMESTEP, values="validation").astype(float)
        if validation.notna().all(axis=None):
            rows = validation.to_numpy().argmax(0)  # best layer of each timestep on the source
            chosen[name] = panels[name].to_numpy()[rows, np.arange(len(rows))].tolist()
    return [sweep_panels(panels, title=title, floors=floors, chosen=chosen or None)]


def test_table(tests: Sequence[SummaryRow]) -> ReportTable:
    """Make a table of tests for chance: the best of many cells, and interactions."""
    rows = tuple(
        (
            str(row["case"] or "all"),
            str(row["test"]),
            str(row["first"]),
            str(row["second"]),
            f"{100 * row['value']:+.1f}"
            + ("" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"),
            f"{row['p']:.3f}",
        )
        for row in tests
    )
    note = (
        "Best of many: the cell with the smallest p against the reference, and its mean gain over clips; p "
        "is corrected for the number of cells by flipping the signs of whole groups. Interaction: (early "
        "minus last timestep) out of domain minus the same in domain, in percentage points, with its 95 % "
        "interval over groups and seeds."
    )
    titles = ("case", "test", "cell", "reference", "points", "p")
    left = frozenset({"test", "cell", "reference"})
    return ReportTable(titles, rows, "Tests for chance", note, left=left)


def _what(summary: Mapping[str, Any]) -> ReportTable:
    rows = (
        ("varied", ", ".join(summary["fields"]) or "cases"),
        ("studies", f"{summary['num_studies']} planned, {len(summary['points'])} tested"),
        ("table", summary["table"]),
        ("features", summary["store"]["folder"]),
        ("target", f"scored {summary['target_looks']} times"),
    )
    return ReportTable(
        ("setting", "in this sweep"), rows, "The sweep at a glance", left=frozenset({"in this sweep"})
    )


def _choices(choices: Sequence[SummaryRow]) -> ReportTable:
    rows = tuple(
        (
            str(row["question"] or "all studies"),
            row["rule"],
            str(row["point"] or row.get("why") or "–"),
            str(Score(row.get("test"), row.get("test_low"), row.get("test_high"))),
            percent(row.get("test_floor")),
            str(row.get("target_looks", "–")),
        )
        for row in choices
    )
    titles = ("question", "rule", "chooses", "test", "prior floor", "looks at the target")
    note = "The rules released and oracle choose on the test clips, so their test scores are optimistic."
    return ReportTable(
        titles, rows, "Rules of selection side by side", note, left=frozenset({"rule", "chooses"})
    )


def _rounds(halving: Mapping[str, Any]) -> ReportTable:
    rows = tuple(
        (
            str(number),
            str(entry["num_points"]),
            str(entry["num_clips"]),
            ", ".join(entry["kept"]),
            str(len(entry["doubtful"])),
        )
        for number, entry in enumerate(halving["rounds"], 1)
    )
    titles = ("round", "studies", "clips", "continued", "possibly dropped by chance")
    return ReportTable(
        titles, rows, "Rounds", "Only clips of the source are used.", left=frozenset({"continued"})
    )


def _provenance(summary: Mapping[str, Any]) -> tuple[Item, ...]:
    settings = {"store": summary["store"], "backbone": summary["backbone"], "threads": summary["threads"]}
    return (Provenance(settings), Provenance(summary["environment"], "Versions and machine"))
