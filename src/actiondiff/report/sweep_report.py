"""The page of a sweep: its studies beside each other, heatmaps, what each rule chooses, tests."""

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
from actiondiff.report.html import Item, Notes, Page, Provenance, Section, Text
from actiondiff.report.tables import ReportTable, Score

__all__ = ["heatmaps", "sweep_page", "test_table"]

_TIMESTEP, _LAYER = "features.timestep", "features.layer"
SummaryRow = Mapping[str, Any]


def sweep_page(folder: Path) -> Page:
    """What was varied, what came of it, and which would have been chosen without looking at the target.

    Args:
        folder: Of a finished sweep.
    """
    summary = json.loads((folder / "sweep.json").read_text("utf-8"))
    points: list[SummaryRow] = summary["points"]
    failed = [f"{name}: {reason}" for name, reason in summary["failed"].items()]
    items: list[Item] = [Notes(tuple(failed), "warning")] if failed else []
    items += [study_table(points)]
    halving = summary["halving"]
    sections = [
        Section("What was run", (Text(summary["description"]), _what(summary))),
        Section("Studies", tuple(items)),
        Section("Heatmaps", tuple(heatmaps(points))),
        Section("What each rule chooses", (_choices(summary["choices"]),) if summary["choices"] else ()),
        Section("Choice before the test", (Text(halving["said"]), _rounds(halving)) if halving else ()),
        Section("Tests", (test_table(summary["tests"]),) if summary["tests"] else ()),
        Section("Provenance", _provenance(summary)),
    ]
    lead = (
        f"{len(points)} studies of the recipe {summary['recipe']}, on features of "
        f"{summary['backbone']['name']}. Test clips were scored {summary['target_looks']} times in all."
    )
    return Page(f"Sweep {folder.resolve().name}", lead, sections)


def study_table(points: Sequence[SummaryRow]) -> ReportTable:
    """A row a study."""
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
        for row in points
    )
    titles = ("study", "metric", "source, held out", "test", "prior floor", "clips train / test", "seeds")
    note = "Means over seeds; 95 % intervals over groups and seeds. All looks at the test are counted above."
    return ReportTable(titles, rows, "Every study", note, left=frozenset({"metric"}))


def heatmaps(points: Sequence[SummaryRow], *, title: str = "Layers and timesteps") -> list[Figure]:
    """Test scores by layer and timestep, a panel a case; nothing for sweeps that vary other things.

    Args:
        points: Rows of `points.csv`.
        title: Heading.
    """
    frame = pd.DataFrame(points)
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
            rows = validation.to_numpy().argmax(0)  # of each timestep the layer that the source prefers
            chosen[name] = panels[name].to_numpy()[rows, np.arange(len(rows))].tolist()
    return [sweep_panels(panels, title=title, floors=floors, chosen=chosen or None)]


def test_table(tests: Sequence[SummaryRow]) -> ReportTable:
    """The best of many cells against chance, and interactions."""
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
        "best of many: the cell with the smallest p against the reference, mean gain over clips, p by the "
        "largest of all cells when signs of whole groups are flipped. interaction: (early minus last) out of "
        "domain minus the same in it, in points, with its 95 % interval over groups and seeds."
    )
    titles = ("case", "test", "cell", "against", "points", "p")
    left = frozenset({"test", "cell", "against"})
    return ReportTable(titles, rows, "Whether chance would do as much", note, left=left)


def _what(summary: Mapping[str, Any]) -> ReportTable:
    rows = (
        ("varied", ", ".join(summary["fields"]) or "cases"),
        ("studies", f"{summary['num_studies']} asked for, {len(summary['points'])} tested"),
        ("table", summary["table"]),
        ("features", summary["store"]["folder"]),
        ("target", f"scored {summary['target_looks']} times"),
    )
    return ReportTable(
        ("what", "in this sweep"), rows, "The sweep at a glance", left=frozenset({"in this sweep"})
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
    note = "released and oracle look at the target to choose; their test is no test."
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
    titles = ("round", "studies", "clips", "go on", "dropped, perhaps by chance")
    return ReportTable(titles, rows, "Rounds", "Clips of the source alone.", left=frozenset({"go on"}))


def _provenance(summary: Mapping[str, Any]) -> tuple[Item, ...]:
    settings = {"store": summary["store"], "backbone": summary["backbone"], "threads": summary["threads"]}
    return (Provenance(settings), Provenance(summary["environment"], "Versions and machine"))
