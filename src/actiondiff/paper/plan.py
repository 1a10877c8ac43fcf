"""Plan of a reproduction: the studies of a table or figure, with the features and clips that they need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actiondiff.backbones.base import find_spec
from actiondiff.datasets.base import Table
from actiondiff.datasets.published import read_dataset
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import BackboneChoice, Cell, DataChoice, Grid, load_grid
from actiondiff.extraction.plan import Workload, estimate_workload, make_plan, name_videos
from actiondiff.features.store import FeatureStore
from actiondiff.paper.costs import BackboneCost, backbone_cost, teraflop_per_frame
from actiondiff.types import Example, FeatureKey

__all__ = [
    "CONTROLS",
    "TARGETS",
    "VARIANTS",
    "PlannedSweep",
    "ReproductionPlan",
    "StoreEstimate",
    "StoreWork",
    "choose_studies",
    "describe",
    "group_studies",
    "load_studies",
    "read_tables",
    "variant_of",
]

TARGETS = ("table1", "table2", "table3", "table4", "tableS5", "fig4", "fig5")
"""The tables and figures of the paper that can be reproduced."""
VARIANTS = {"fig5": ("released",)}
"""Target -> names of recipes of the same target with other settings."""
CONTROLS = ("control-backbones", "layer-controls", "timestep-controls")
"""Our own control experiments, which separate the paper's explanations from others."""


@dataclass(frozen=True)
class PlannedSweep:
    """Studies on one protocol that read one kind of features; they are trained as one sweep.

    Attributes:
        data: Dataset and protocol.
        extraction: Backbone and options that make the features.
        cells: The studies.
    """

    data: DataChoice
    extraction: BackboneChoice
    cells: tuple[Cell, ...]

    @property
    def slug(self) -> str:
        """Name of the sweep's folder."""
        return f"{self.data.protocol}-{describe(self.extraction)}"

    @property
    def store_slug(self) -> str:
        """Name of the folder of the feature store that it reads."""
        return f"{self.data.dataset}-{describe(self.extraction)}"


@dataclass(frozen=True, eq=False)
class StoreWork:
    """One feature store and the features that it has to hold.

    Attributes:
        dataset: Name of the dataset.
        extraction: Backbone and options that make the features.
        examples: Clips of all protocols that read the store, each video once.
        root: Folder that the clips' paths are relative to.
        keys: Features that some study reads.
    """

    dataset: str
    extraction: BackboneChoice
    examples: tuple[Example, ...]
    root: Path
    keys: tuple[FeatureKey, ...]

    @property
    def slug(self) -> str:
        """Name of the store's folder."""
        return f"{self.dataset}-{describe(self.extraction)}"

    @property
    def deepest(self) -> str:
        """The deepest layer that is read; the backbone runs up to it."""
        return max((key.layer for key in self.keys), key=_depth)

    @property
    def cost(self) -> BackboneCost:
        """Cost of the deepest layer at one timestep."""
        return backbone_cost(self.extraction, self.deepest)


@dataclass(frozen=True)
class StoreEstimate:
    """Estimate of the work that a store still needs.

    Attributes:
        work: The store.
        num_videos: Number of videos that studies ask for.
        num_missing: Number of those that are not on disk.
        num_stored: Number of those whose features are in the store.
        cost: Windows and tokens of the remaining videos.
        teraflop: 10^12 operations for the remaining videos; None where the backbone cannot be counted.
    """

    work: StoreWork
    num_videos: int
    num_missing: int
    num_stored: int
    cost: Workload
    teraflop: float | None


@dataclass(frozen=True)
class ReproductionPlan:
    """Plan of the reproduction of one table or figure.

    Attributes:
        target: The table or figure.
        grid: Its recipe.
        sweeps: The sweeps, in the order of the recipe.
        stores: The feature stores that the sweeps read.
        tables: Clips of each protocol.
        replaced: Study -> the paper's backbone, where another one stands in for it.
        left_out: Study -> why it is not run.
        stand_in: Size of the stand-in, in a sentence; empty for the real thing.
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
        """Number of studies that are run."""
        return sum(len(planned.cells) for planned in self.sweeps)

    @property
    def num_trainings(self) -> int:
        """Number of training runs: studies times seeds."""
        return sum(cell.recipe.seeds for planned in self.sweeps for cell in planned.cells)

    def estimate_stores(self, folder: Path) -> list[StoreEstimate]:
        """Estimate each store's work; reads the videos' headers, and each whole file once for its hash.

        Args:
            folder: Folder of the reproduction.
        """
        return [_estimate_store(work, folder / "features" / work.slug) for work in self.stores]


def variant_of(target: str, case: str | None) -> str:
    """Name of a target with other settings, for example `fig5-released`; without a case the target itself.

    Raises:
        UnknownNameError: If the target has no such case.
    """
    if case is None:
        return target
    if case not in VARIANTS.get(target, ()):
        hint = f"Cases exist for {', '.join(VARIANTS)}; --rows chooses rows."
        raise UnknownNameError(f"case of {target}", case, VARIANTS.get(target, ()), hint)
    return f"{target}-{case}"


def load_studies(target: str, *, overrides: Sequence[str] = (), table: Table | None = None) -> Grid:
    """Load the studies of a table or figure.

    Args:
        target: One of `TARGETS` or `CONTROLS`, or a variant of a target such as `fig5-released`.
        overrides: Changes to the recipe, like `seeds=1`.
        table: Clips whose domains the recipe's word `each` stands for.

    Raises:
        UnknownNameError: If there is no such target.
    """
    variants = [variant_of(of, case) for of, cases in VARIANTS.items() for case in cases]
    if target not in (*TARGETS, *variants, *CONTROLS):
        raise UnknownNameError("table or figure of the paper", target, (*TARGETS, *variants, *CONTROLS))
    name = target if target in CONTROLS else f"paper/{target}"
    return load_grid(name, overrides=overrides, table=table)


def choose_studies(grid: Grid, rows: Sequence[str], *, draws: bool) -> Grid:
    """Keep the studies whose names contain one of several texts.

    Args:
        grid: All studies.
        rows: The texts; empty for all studies.
        draws: Whether to keep the studies with the random draws of the released code.

    Raises:
        UsageError: If no study is left.
    """
    chosen = [cell for cell in grid.cells if not rows or any(text in cell.name for text in rows)]
    chosen = [cell for cell in chosen if draws or not (cell.extraction and cell.extraction.stochastic)]
    if not chosen:
        cases = ", ".join(dict.fromkeys(cell.case for cell in grid.cells))
        raise UsageError(f"no study has {' or '.join(map(repr, rows))} in its name; there are {cases}.")
    return replace(grid, cells=tuple(chosen))


def group_studies(
    target: str, grid: Grid, tables: Mapping[DataChoice, Table]
) -> tuple[tuple[PlannedSweep, ...], tuple[StoreWork, ...]]:
    """Group studies with the same clips and features into sweeps, and list what each store has to hold.

    Args:
        target: Name of the table or figure, for messages.
        grid: The studies.
        tables: Clips of each protocol.

    Raises:
        UsageError: If a study names no dataset or no features.
    """
    together: dict[tuple[DataChoice, BackboneChoice], list[Cell]] = {}
    for cell in grid.cells:
        if cell.data is None or cell.extraction is None:
            raise UsageError(f"{target}: the study {cell.name} names no dataset or no features.")
        together.setdefault((cell.data, cell.extraction), []).append(cell)
    sweeps = tuple(
        PlannedSweep(data, extraction, tuple(cells)) for (data, extraction), cells in together.items()
    )
    # Protocols of one dataset share a store, so that a video is extracted once.
    readers: dict[tuple[str, BackboneChoice], list[PlannedSweep]] = {}
    for planned in sweeps:
        readers.setdefault((planned.data.dataset, planned.extraction), []).append(planned)
    stores = tuple(
        StoreWork(
            dataset=dataset,
            extraction=extraction,
            examples=_clips(tables[planned.data] for planned in own),
            root=tables[own[0].data].root,
            keys=_keys(cell for planned in own for cell in planned.cells),
        )
        for (dataset, extraction), own in readers.items()
    )
    return sweeps, stores


def read_tables(grid: Grid, data: Path, annotations: Path | None) -> dict[DataChoice, Table]:
    """Read the clips of every protocol that the studies name.

    Args:
        grid: The studies.
        data: Folder with the datasets' videos and annotation files.
        annotations: Folder with the annotation files; None if they are in `data`.
    """
    choices = dict.fromkeys(cell.data for cell in grid.cells if cell.data is not None)
    return {
        choice: read_dataset(choice.dataset, data, protocol=choice.protocol, annotations=annotations)
        for choice in choices
    }


def describe(extraction: BackboneChoice) -> str:
    """Name of the backbone and of the options that differ from its defaults, usable as a folder's name."""
    options = extraction.model_dump(exclude_unset=True, exclude={"backbone"})
    return "-".join([extraction.backbone, *(f"{name}={value}" for name, value in options.items())])


def _estimate_store(work: StoreWork, folder: Path) -> StoreEstimate:
    # What is stored already is not counted again.
    store = FeatureStore.open(folder) if (folder / "store.json").is_file() else None
    _, names = name_videos(work.examples, root=work.root)
    plan = make_plan(names, work.keys, store=store)
    spec, chosen = find_spec(work.extraction.backbone), work.extraction
    window = chosen.window or spec.defaults.get("window", 1)
    cost = estimate_workload(plan, sampling=chosen.sampling, window=window, store=store)
    # One pass gives all features: the encoders run once, the U-Net once per timestep.
    per_frame = teraflop_per_frame(chosen, work.keys)
    return StoreEstimate(
        work=work,
        num_videos=len(names),
        num_missing=len(plan.absent),
        num_stored=len(plan.stored),
        cost=cost,
        teraflop=None if per_frame is None else per_frame * cost.num_windows * window,
    )


def _clips(tables: Iterable[Table]) -> tuple[Example, ...]:
    """Each video of the tables once."""
    return tuple({clip.video: clip for table in tables for clip in table.examples}.values())


def _keys(cells: Iterable[Cell]) -> tuple[FeatureKey, ...]:
    """Features that the studies read; where a recipe names none, the backbone's own."""
    keys = set()
    for cell in cells:
        assert cell.extraction is not None  # checked by `group_studies`
        spec, features = find_spec(cell.extraction.backbone), cell.recipe.features
        timestep = spec.timestep if features.timestep is None else features.timestep
        keys.add(FeatureKey.of(timestep, spec.layer if features.layer is None else features.layer))
    return tuple(sorted(keys))


def _depth(layer: str) -> int:
    return int(layer.removeprefix("layer")) if layer.startswith("layer") else 0
