"""The demo's page: what the clips look like, and what features of them are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiondiff.report.figures import bars, heatmap
from actiondiff.report.html import Gallery, Item, Notes, Page, Provenance, Section, Text, write_page
from actiondiff.report.strips import frame_strip
from actiondiff.report.tables import Score, score_table

__all__ = ["DemoReport", "write_demo_page"]

_TITLES = {
    "in-domain": "in domain",
    "species": "unseen species",
    "context": "unseen context",
    "view": "unseen view",
}


@dataclass(frozen=True)
class DemoReport:
    """What the page shows.

    Attributes:
        scores: Feature -> protocol -> score: the network's layer and timestep chosen on source validation,
            and the controls.
        floor: Protocol -> what guessing by class frequencies scores.
        grid: Protocol -> (layers, timesteps) accuracies of the network.
        layers: Names of the grid's rows.
        timesteps: The grid's columns.
        clips: Protocol -> clips to look at, each (T, H, W, 3) uint8 with what it shows.
        num_train: Training clips.
        num_test: Test clips of each protocol.
        chosen: Which feature was chosen.
        commands: What to try next.
        settings: Where the numbers come from.
    """

    scores: Mapping[str, Mapping[str, Score]]
    floor: Mapping[str, float]
    grid: Mapping[str, NDArray[np.float64]]
    layers: Sequence[str]
    timesteps: Sequence[int]
    clips: Mapping[str, Sequence[tuple[NDArray[np.uint8], str]]]
    num_train: int
    num_test: int
    chosen: str
    commands: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_demo_page(path: Path, report: DemoReport) -> Path:
    """Write the page; its figures' files lie in a folder beside it."""
    lead = (
        f"A frozen video diffusion network looked at {report.num_train} clips of four drawn species; a small "
        "head learnt to name eight actions from what one of its layers said. It was then tried on new clips "
        "of the same kind, and on species, places and points of view that it had never seen."
    )
    sections = [
        Section("What it scores", tuple(_results(report))),
        Section("Which layer, which timestep", tuple(_grids(report))),
        Section("What the clips look like", tuple(_pictures(report))),
        Section("Try next", (Text("\n\n".join(report.commands)),)),
        Section("Where the numbers come from", (Provenance(report.settings),)),
    ]
    return write_page(path, Page("ActionDiff: the demo", lead, sections))


def _results(report: DemoReport) -> list[Item]:
    titled = {name: {_TITLES[p]: score for p, score in row.items()} for name, row in report.scores.items()}
    floor = {_TITLES[protocol]: value for protocol, value in report.floor.items()}
    note = (
        f"Accuracy in %, with 95 % intervals over individuals; {report.num_test} test clips a column. "
        f"{report.chosen} scored best on held-out clips of the source; no test clip had a say in that."
    )
    return [
        score_table(titled, caption="Actions named rightly", corner="features", floor=floor, note=note),
        bars(titled, title="In domain, and under three shifts", floor=floor, caption="The table as bars."),
        Notes(
            (
                "pixels and motion are controls without a network: each frame, or the difference of two, in "
                "8 x 8 cells.",
                f"With {report.num_test} clips a column the intervals are wide: a demonstration, no "
                "benchmark. The built-in network's model card has the numbers of the thorough test.",
            )
        ),
    ]


def _grids(report: DemoReport) -> list[Item]:
    shifts = [name for name in report.grid if name != "in-domain"]
    values = {
        "in domain": report.grid["in-domain"],
        "mean of the three shifts": np.mean([report.grid[name] for name in shifts], axis=0),
    }
    columns = [f"t={timestep}" for timestep in report.timesteps]
    return [
        heatmap(
            grid, rows=report.layers, columns=columns, title=f"Accuracy, {title}",
            name=title.replace(" ", "-"), row_title="layer", column_title="timestep (larger is cleaner)",
            caption="One head a cell.", floor=report.floor["in-domain"], best=True,
        )
        for title, grid in values.items()
    ]  # fmt: skip


def _pictures(report: DemoReport) -> list[Item]:
    items: list[Item] = []
    for protocol, clips in report.clips.items():
        strips = tuple(frame_strip(frames, said, num_frames=6) for frames, said in clips)
        items.append(Gallery(strips, _TITLES[protocol].capitalize()))
    return items
