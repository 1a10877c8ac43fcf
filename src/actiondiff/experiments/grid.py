"""The grid of a sweep: the studies that one recipe describes by fields that are lists, and by named cases.

    features: {timestep: [0, 10, 20], layer: [3, 9]}      # every combination: six studies
    protocol: {domain: site, source: rest, target: each}  # one study for each value of the column
    cases:                                                # one study for each, with options of its own
      - {name: linear, head.name: linear, published: {score: 73.0}}

The fields of a case can be lists, too. The base of a case wins over the file's base; the file's own options
win over both. Beside the options of a study, a file can name its dataset (`data`) and features
(`extraction`), the number that was published for it (`published`), and numbers that others published
(`others`).
"""

import copy
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.options import BackboneOptions, every_option
from actiondiff.datasets.base import Table
from actiondiff.errors import SettingsMismatchError, StoreError, UsageError, explain_validation
from actiondiff.evaluation.options import Metric
from actiondiff.experiments.recipe import (
    Recipe,
    Tree,
    checked_recipe,
    is_list_field,
    load_bases_and_own,
    merge,
    set_option,
    study_options,
    with_bases,
)
from actiondiff.features.store import FeatureStore
from actiondiff.types import DEFAULT_STRIDE, JSON, Sampling

__all__ = ["BackboneChoice", "Cell", "DataChoice", "Grid", "Published", "check_store", "load_grid"]

_MAX_SLUG = 80  # characters in the name of a folder
_Model = TypeVar("_Model", bound=BaseModel)


class DataChoice(BaseModel):
    """The published dataset that a study is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="Name of the dataset, one of `actiondiff.datasets.DATASETS`.")
    protocol: str = Field(description="Name of one of the dataset's protocols.")


class BackboneChoice(every_option()):  # type: ignore[misc]  # made at run time, from all families
    """The features that a study reads: their backbone, and the options that differ from its defaults."""

    backbone: str = Field(description="Name of the backbone.")
    stride: int | None = Field(DEFAULT_STRIDE, ge=1, description="Every stride-th frame is sampled.")
    fps: float | None = Field(None, gt=0, description="Frames per second to sample; replaces stride.")

    @property
    def options(self) -> BackboneOptions:
        """The options as `load_backbone` takes them."""
        fields = self.model_dump(include=set(every_option().model_fields), exclude_unset=True)
        return every_option()(**fields)

    @property
    def sampling(self) -> Sampling:
        """Which frames are sampled; a rate wins over the stride."""
        return Sampling.of(self.stride, self.fps)


class Published(BaseModel):
    """A number of the paper, in per cent as printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float | None = Field(None, description="Score in per cent; none where the paper has a dash.")
    metric: Metric | None = Field(None, description="Metric of the score; none if the paper does not say.")
    table: str = Field("", description="Table or figure of the paper.")
    row: str = Field("", description="Row of the table.")
    column: str = Field("", description="Column of the table.")
    num_test: int | None = Field(None, description="Number of test clips, where the paper says it.")
    comparable: bool = Field(True, description="Whether our metric and test clips are the same.")
    note: str = Field("", description="Why the number is not comparable, or what else to keep in mind.")


@dataclass(frozen=True)
class Cell:
    """A study's place in a grid.

    Attributes:
        name: Name of the study; no other cell of the grid has it.
        recipe: Options of the study.
        case: Name of its entry in `cases`; empty without cases.
        varied: Options in which the cells of the grid differ: dotted name -> value.
        data: Dataset of the study, if the recipe names one.
        extraction: Features that the study reads, if the recipe names them.
        published: The paper's number, if there is one.
    """

    name: str
    recipe: Recipe
    case: str = ""
    varied: Mapping[str, JSON] = field(default_factory=dict)
    data: DataChoice | None = None
    extraction: BackboneChoice | None = None
    published: Published | None = None

    @property
    def slug(self) -> str:
        """Name of the study's folder: its name in safe characters, with a hash where they differ."""
        plain = re.sub(r"[^A-Za-z0-9.=+-]+", "_", self.name).strip("_") or "study"
        if len(plain) <= _MAX_SLUG and plain == self.name.replace(" ", "_"):
            return plain
        return f"{plain[:_MAX_SLUG]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Grid:
    """The studies of a sweep.

    Attributes:
        name: Name of the recipe.
        description: Purpose of the recipe.
        cells: One cell for each study.
        others: Numbers that others published, to show beside ours.
        tree: Options of the recipe, bases included, before lists are expanded.
    """

    name: str
    description: str
    cells: tuple[Cell, ...]
    others: tuple[Published, ...] = ()
    tree: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> list[str]:
        """List the dotted names of the options in which the cells differ."""
        return list(dict.fromkeys(name for cell in self.cells for name in cell.varied))


def load_grid(
    name_or_path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    table: Table | None = None,
) -> Grid:
    """Load the grid of a recipe. A recipe without lists is a grid of one cell.

    Args:
        name_or_path: Name of a shipped recipe, or path of a YAML file.
        overrides: Texts like `training.epochs=[10,30]`; the value is read as YAML.
        values: Dotted name -> value.
        table: The clips, for the domains that `each` stands for; without them `each` is left as one study.

    Raises:
        UnknownNameError: If the recipe or an option does not exist.
        UsageError: If the YAML or a value is not valid, or two studies are the same.
    """
    # Read the file, and keep its bases apart: a case's own base comes between the two.
    source = str(name_or_path)
    bases, own = load_bases_and_own(name_or_path, overrides=overrides, values=values)
    tree = merge(bases, own)
    cases = tree.get("cases") or [{}]
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UsageError(f"recipe {source}: cases must be a list of mappings; got {cases!r}.")
    layers = [
        {name: value for name, value in layer.items() if name not in ("cases", "others")}
        for layer in (bases, own)
    ]

    # Expand lists and cases, then name each combination as briefly as tells it from the others.
    combinations = [item for case in cases for item in _expand_case(layers, case, source, table)]
    if not combinations:
        raise UsageError(f"recipe {source} describes no study: one of its lists is empty.")
    names = _names(combinations)
    cells = [_cell(name, item, source) for name, item in zip(names, combinations, strict=True)]

    others = [_checked(Published, entry, f"{source}: others") for entry in tree.get("others") or []]
    present = tuple(entry for entry in others if entry is not None)
    return Grid(source, str(tree.get("description") or ""), tuple(cells), present, tree)


def check_store(store: FeatureStore, cells: Iterable[Cell]) -> None:
    """Make sure that the store's features are those that the recipe names, where it names any.

    Raises:
        SettingsMismatchError: If they are not.
        StoreError: If the recipe names several kinds of features, which no single store holds.
    """
    settings: Any = store.settings["backbone"]
    kinds = list(dict.fromkeys(cell.extraction for cell in cells if cell.extraction is not None))
    if len(kinds) > 1:
        raise StoreError(
            f"the recipe names {len(kinds)} kinds of features, for example of {kinds[0].backbone} and "
            f"{kinds[1].backbone}, which no single store holds; choose one with --set extraction=..., or run "
            "all of them with actiondiff reproduce."
        )
    for extraction in kinds:
        options = extraction.options.model_dump(mode="json", exclude_unset=True)
        wanted = {"name": extraction.backbone}
        wanted |= {name: value for name, value in options.items() if name in settings}
        differing = {
            name: (settings[name], value) for name, value in wanted.items() if settings[name] != value
        }
        if differing:
            raise SettingsMismatchError(
                f"{store.folder} does not hold the features that the recipe names",
                differing,
                "Extract those into a store of their own, or set extraction=null to use these.",
            )


@dataclass(frozen=True)
class _Combination:
    """Options of one study, before they are checked."""

    tree: Tree
    case: str
    varied: Mapping[str, JSON]


def _expand_case(
    layers: Sequence[Tree], case: Mapping[str, Any], source: str, table: Table | None
) -> Iterator[_Combination]:
    """Yield each combination of a case's lists.

    Later ones win: the file's bases, the case's bases, the file's own options, the case's.
    """
    own: Tree = {}
    for dotted, value in case.items():
        if dotted not in ("name", "base"):
            set_option(own, dotted, value)
    file_bases, file_own = layers
    case_bases = with_bases({"base": case.get("base")})
    merged = copy.deepcopy(merge(merge(merge(file_bases, case_bases), file_own), own))
    _spell_out_each(merged, source, table)
    for tree, varied in _expand(merged, ""):
        protocol = tree.get("protocol") or {}
        if protocol.get("source") is not None and protocol.get("source") == protocol.get("target"):
            continue  # among all pairs of domains, skip those of a domain with itself
        yield _Combination(tree, str(case.get("name", "")), varied)


def _spell_out_each(tree: Tree, source: str, table: Table | None) -> None:
    """Replace `each` by the list of the domain's values, in place."""
    protocol = tree.get("protocol")
    if not isinstance(protocol, dict):
        return
    sides = [side for side in ("source", "target") if protocol.get(side) == "each"]
    if not sides:
        return
    if table is None:
        for side in sides:
            protocol[side] = [[f"(each {side})"]]
        return
    if not protocol.get("domain"):
        raise UsageError(f"recipe {source}: {sides[0]}=each needs the name of a domain.")
    values = sorted(set(table.values(protocol["domain"])) - {""})
    for side in sides:
        protocol[side] = [[value] for value in values]


def _expand(value: Any, dotted: str) -> list[tuple[Any, dict[str, JSON]]]:
    """Expand the lists in an option and below it.

    Returns:
        Each combination, with the options that were varied in it: dotted name -> value.
    """
    if isinstance(value, dict):
        parts = [
            [(name, *choice) for choice in _expand(item, f"{dotted}.{name}".lstrip("."))]
            for name, item in value.items()
        ]
        return [
            (
                {name: item for name, item, _ in choices},
                {key: option for _, _, varied in choices for key, option in varied.items()},
            )
            for choices in itertools.product(*parts)
        ]
    nested = isinstance(value, list) and any(isinstance(item, list) for item in value)
    if not isinstance(value, list) or (is_list_field(dotted) and not nested):
        return [(value, {})]
    expanded = []
    for item in value:
        for choice, varied in [(item, {})] if is_list_field(dotted) else _expand(item, dotted):
            expanded.append((choice, {**_varied(dotted, choice), **varied}))
    return expanded


def _varied(dotted: str, choice: Any) -> dict[str, JSON]:
    """Flatten one choice of a list: dotted name -> plain value."""
    if isinstance(choice, dict):
        parts = [_varied(f"{dotted}.{name}", item) for name, item in choice.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {dotted: ", ".join(map(str, choice)) if isinstance(choice, list) else choice}


def _names(combinations: Sequence[_Combination]) -> list[str]:
    """Name each study after its case and the options that vary, by the last part of their names if unique."""
    fields = {name for item in combinations for name in item.varied}
    ends = [name.rpartition(".")[2] for name in fields]
    short = {name: end if ends.count(end := name.rpartition(".")[2]) == 1 else name for name in fields}
    names = []
    for item in combinations:
        parts = [f"{short[name]}={value}" for name, value in item.varied.items()]
        names.append(" ".join([item.case, *parts] if item.case else parts) or "study")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two studies are the same ({name}); give each case a name, and list each value once."
            )
    return names


def _cell(name: str, combination: _Combination, source: str) -> Cell:
    """Check the options of a study."""
    tree, where = combination.tree, f"{source} ({name})"
    extraction = _checked(BackboneChoice, tree.get("extraction"), f"{where}: extraction")
    if extraction is not None:
        find_spec(extraction.backbone)  # raises an error if there is no such backbone
    return Cell(
        name,
        checked_recipe(study_options(tree), where),
        combination.case,
        combination.varied,
        _checked(DataChoice, tree.get("data"), f"{where}: data"),
        extraction,
        _checked(Published, tree.get("published"), f"{where}: published"),
    )


def _checked(model: type[_Model], values: Any, source: str) -> _Model | None:
    """Check values against a model; None stays None."""
    if values is None:
        return None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"recipe {source}: {explain_validation(error)}.") from None
