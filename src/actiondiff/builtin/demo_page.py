"""The demo's page: sample clips, and the accuracies of the features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.report.figures import bars, heatmap
from actiondiff.report.html import Page, Section, write_page
from actiondiff.report.items import Gallery, Item, Notes, Provenance, Text
from actiondiff.report.strips import frame_strip
from actiondiff.report.tables import Score, score_table

__all__ = ["DemoClip", "DemoReport", "write_demo_page"]

_TITLES = {
    "in-domain": "in domain",
    "species": "unseen species",
    "context": "unseen context",
    "view": "unseen view",
}


@dataclass(frozen=True, eq=False)
class DemoClip:
    """A clip to look at.

    Attributes:
        pixels: (T, H, W, 3) uint8.
        caption: What the clip shows.
    """

    pixels: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True)
class DemoReport:
    """Contents of the page.

    Attributes:
        scores: Feature -> protocol -> score, for the network's feature chosen on source validation and for
            the controls.
        floor: Protocol -> expected accuracy of guessing by class frequencies.
        grid: Protocol -> (layers, timesteps) accuracies of the network.
        layers: Names of the grid's rows.
        timesteps: Timesteps of the grid's columns.
        clips: Protocol -> some of its test clips.
        num_train: Number of training clips.
        num_test: Number of test clips of each protocol.
        chosen: Name of the chosen feature.
        commands: Commands to try next.
        settings: Settings and versions that the numbers come from.
    """

    scores: Mapping[str, Mapping[str, Score]]
    floor: Mapping[str, float]
    grid: Mapping[str, NDArray[np.float64]]
    layers: Sequence[str]
    timesteps: Sequence[int]
    clips: Mapping[str, Sequence[DemoClip]]
    num_train: int
    num_test: int
    chosen: str
    commands: Sequence[str]
    settings: Mapping[str, object] = field(default_factory=dict)


def write_demo_page(path: Path, report: DemoReport) -> Path:
    """Write the page; the files of its figures are written to a folder beside it."""
    lead = (
        f"A frozen video diffusion network processed {report.num_train} clips of four computer-drawn "
        "species, and a small head learnt to recognise eight actions from the features of one of its layers. "
        "It was then tested on new clips of the same kind, and on species, places and viewpoints that it had "
        "never seen."
    )
    sections = [
        Section("Accuracies", tuple(_results(report))),
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
        f"Accuracy in %, with 95 % intervals over individuals; {report.num_test} test clips per column. "
        f"{report.chosen} was chosen because it scored best on held-out source clips; the test clips were "
        "not used for the choice."
    )
    return [
        score_table(titled, caption="Actions recognised", corner="features", floor=floor, note=note),
        bars(
            titled,
            title="In domain, and under three shifts",
            floor=floor,
            caption="The same accuracies as bars.",
        ),
        Notes(
            (
                "pixels and motion are controls without a network: the pixels of each frame, or the "
                "differences between two frames, averaged in 8 x 8 cells.",
                f"With {report.num_test} clips per column the intervals are wide: this is a demonstration, "
                "not a benchmark. The model card of the built-in network reports the full evaluation.",
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
            caption="One head per cell.", floor=report.floor["in-domain"], best=True,
        )
        for title, grid in values.items()
    ]  # fmt: skip


def _pictures(report: DemoReport) -> list[Item]:
    items: list[Item] = []
    for protocol, clips in report.clips.items():
        strips = tuple(frame_strip(clip.pixels, clip.caption, num_frames=6) for clip in clips)
        items.append(Gallery(strips, _TITLES[protocol].capitalize()))
    return items
