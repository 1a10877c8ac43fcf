"""What a table or figure of the paper stands for here: studies, by the features and the clips they need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actiondiff.backbones.base import find_spec
from actiondiff.datasets.base import Table
from actiondiff.datasets.published import read_dataset
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import BackboneChoice, Cell, DataChoice, Grid, load_grid
from actiondiff.extraction.plan import Cost, estimate, make_plan, name_videos
from actiondiff.features.store import FeatureStore
from actiondiff.paper.costs import BackboneCost, known_cost, teraflop_per_frame
from actiondiff.types import Example, FeatureKey

__all__ = [
    "CONTROLS",
    "TARGETS",
    "PlannedSweep",
    "ReproductionPlan",
    "StoreEstimate",
    "StoreWork",
    "choose_studies",
    "describe",
    "group_studies",
    "load_studies",
    "read_tables",
]

TARGETS = ("table1", "table2", "table3", "table4", "tableS5", "fig4", "fig5")
CONTROLS = ("control-backbones", "layer-controls", "timestep-controls")
"""Ours: what would tell the paper's explanations from others."""


@dataclass(frozen=True)
class PlannedSweep:
    """Studies on one protocol and one kind of features: one sweep.

    Attributes:
        data: Dataset and protocol.
        extraction: Features.
        points: The studies.
    """

    data: DataChoice
    extraction: BackboneChoice
    points: tuple[Cell, ...]

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return f"{self.data.protocol}-{describe(self.extraction)}"


@dataclass(frozen=True, eq=False)
class StoreWork:
    """One feature store and what is to be in it.

    Attributes:
        dataset: Whose videos.
        extraction: Which features.
        examples: Clips of all protocols that read it.
        root: Folder that their paths are relative to.
        keys: Features that some study reads.
    """

    dataset: str
    extraction: BackboneChoice
    examples: tuple[Example, ...]
    root: Path
    keys: tuple[FeatureKey, ...]

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return f"{self.dataset}-{describe(self.extraction)}"

    @property
    def deepest(self) -> str:
        """The layer that decides how far the backbone runs."""
        return max((key.layer for key in self.keys), key=_depth)

    @property
    def cost(self) -> BackboneCost:
        """What is known of the backbone."""
        return known_cost(self.extraction, self.deepest)


@dataclass(frozen=True)
class StoreEstimate:
    """About what a store still takes.

    Attributes:
        work: The store.
        num_videos: Videos that studies ask for.
        num_missing: Those that are not on disk.
        num_stored: Those whose features are there.
        cost: Windows and tokens of the rest.
        teraflop: Of the rest, in all; None where the backbone's cost is not known.
    """

    work: StoreWork
    num_videos: int
    num_missing: int
    num_stored: int
    cost: Cost
    teraflop: float | None


@dataclass(frozen=True)
class ReproductionPlan:
    """A reproduction that is planned.

    Attributes:
        target: The table or figure.
        grid: Its recipe.
        sweeps: Sweeps, in the recipe's order.
        stores: What they read.
        tables: Clips of each protocol.
        replaced: Study -> the paper's backbone, where another stands in for it.
        left_out: Study -> why it is not run.
        stand_in: How large a stand-in this is; empty for the real thing.
    """

    target: str
    grid: Grid
    sweeps: tuple[PlannedSweep, ...]
    stores: tuple[StoreWork, ...]
    tables: Mapping[DataChoice, Table]
    replaced: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    stand_in: str = ""

    @property
    def num_studies(self) -> int:
        """Studies that are run."""
        return sum(len(unit.points) for unit in self.sweeps)

    @property
    def num_trainings(self) -> int:
        """Studies times seeds."""
        return sum(point.recipe.seeds for unit in self.sweeps for point in unit.points)

    def estimate_stores(self, folder: Path) -> list[StoreEstimate]:
        """What each store takes; reads videos' headers, and every file once for its hash.

        Args:
            folder: Of the reproduction.
        """
        return [_estimate_store(work, folder / "features" / work.slug) for work in self.stores]


def load_studies(target: str, *, overrides: Sequence[str] = (), table: Table | None = None) -> Grid:
    """The studies of a table or figure.

    Args:
        target: One of `TARGETS` or `CONTROLS`.
        overrides: Texts like `seeds=1`, as for any recipe.
        table: Clips whose domains `each` stands for.

    Raises:
        UnknownNameError: If there is no such target.
    """
    if target not in (*TARGETS, *CONTROLS):
        raise UnknownNameError("table or figure of the paper", target, (*TARGETS, *CONTROLS))
    name = f"paper/{target}" if target in TARGETS else target
    return load_grid(name, overrides=overrides, table=table)


def choose_studies(grid: Grid, rows: Sequence[str], *, draws: bool) -> Grid:
    """The studies whose names hold any of some texts.

    Args:
        grid: All of them.
        rows: The texts; none for all studies.
        draws: Whether those with the released random draws are among them.

    Raises:
        UsageError: If none is left.
    """
    chosen = [point for point in grid.cells if not rows or any(text in point.name for text in rows)]
    chosen = [point for point in chosen if draws or not (point.extraction and point.extraction.stochastic)]
    if not chosen:
        cases = ", ".join(dict.fromkeys(point.case for point in grid.cells))
        raise UsageError(f"no study has {' or '.join(map(repr, rows))} in its name; there are {cases}.")
    return replace(grid, cells=tuple(chosen))


def group_studies(
    target: str, grid: Grid, tables: Mapping[DataChoice, Table]
) -> tuple[tuple[PlannedSweep, ...], tuple[StoreWork, ...]]:
    """Put studies with the same clips and features together, and find what each store has to hold."""
    together: dict[tuple[DataChoice, BackboneChoice], list[Cell]] = {}
    for point in grid.cells:
        if point.data is None or point.extraction is None:
            raise UsageError(f"{target}: {point.name} names no dataset or no features.")
        together.setdefault((point.data, point.extraction), []).append(point)
    sweeps = tuple(
        PlannedSweep(data, extraction, tuple(points)) for (data, extraction), points in together.items()
    )
    parts: dict[tuple[str, BackboneChoice], list[PlannedSweep]] = {}
    for unit in sweeps:
        parts.setdefault((unit.data.dataset, unit.extraction), []).append(unit)
    stores = tuple(
        StoreWork(
            dataset, extraction, _clips(tables[unit.data] for unit in found),
            tables[found[0].data].root, _keys(point for unit in found for point in unit.points),
        )
        for (dataset, extraction), found in parts.items()
    )  # fmt: skip
    return sweeps, stores


def read_tables(grid: Grid, data: Path, annotations: Path | None) -> dict[DataChoice, Table]:
    """The clips of every protocol that the studies name."""
    choices = dict.fromkeys(point.data for point in grid.cells if point.data is not None)
    return {
        choice: read_dataset(choice.dataset, data, protocol=choice.protocol, annotations=annotations)
        for choice in choices
    }


def describe(extraction: BackboneChoice) -> str:
    """Its backbone and the options that are not the backbone's own, as a folder's name."""
    given = extraction.model_dump(exclude_unset=True, exclude={"backbone"})
    return "-".join([extraction.backbone, *(f"{name}={value}" for name, value in given.items())])


def _estimate_store(work: StoreWork, folder: Path) -> StoreEstimate:
    store = FeatureStore.open(folder) if (folder / "store.json").is_file() else None
    _, names = name_videos(work.examples, root=work.root)
    plan = make_plan(names, work.keys, store=store)
    spec, chosen = find_spec(work.extraction.backbone), work.extraction
    window = chosen.window or spec.defaults.get("window", 1)
    cost = estimate(plan, stride=chosen.stride, fps=chosen.fps, window=window, store=store)
    passes = len({key.timestep for key in work.keys})
    per_frame = teraflop_per_frame(chosen, work.deepest, num_timesteps=passes)
    return StoreEstimate(
        work, len(names), len(plan.absent), len(plan.stored), cost,
        None if per_frame is None else per_frame * cost.num_windows * window,
    )  # fmt: skip


def _clips(tables: Iterable[Table]) -> tuple[Example, ...]:
    """Each video once."""
    return tuple({clip.video: clip for table in tables for clip in table.examples}.values())


def _keys(points: Iterable[Cell]) -> tuple[FeatureKey, ...]:
    found = set()
    for point in points:
        assert point.extraction is not None  # `group_studies` has seen to it
        spec, features = find_spec(point.extraction.backbone), point.recipe.features
        timestep = spec.timestep if features.timestep is None else features.timestep
        found.add(FeatureKey.of(timestep, spec.layer if features.layer is None else features.layer))
    return tuple(sorted(found))


def _depth(layer: str) -> int:
    return int(layer.removeprefix("layer")) if layer.startswith("layer") else 0
