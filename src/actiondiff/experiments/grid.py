"""A recipe that stands for many studies: fields that are lists, and named cases.

    features: {timestep: [0, 10, 20], layer: [3, 9]}      # every combination: six studies
    protocol: {domain: site, source: rest, target: each}  # one for each value of the column
    cases:                                                # one for each, with options of its own
      - {name: linear, head.name: linear, published: {score: 73.0}}

A case's fields may be lists, too; it may have a `base` of its own, which wins over the file's. Beside a
recipe's options a file may say which dataset and which features it speaks of (`data`, `extraction`), what was
published of it (`published`), and what others published (`others`).
"""

import copy
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.backbones.base import BackboneOptions, find_spec
from actiondiff.datasets.base import Table
from actiondiff.errors import UsageError, explain_validation
from actiondiff.evaluation.options import Metric
from actiondiff.experiments.recipe import (
    GRID_FIELDS,
    Recipe,
    is_list_field,
    load_layers,
    merge,
    place,
    recipe_of,
    with_bases,
)
from actiondiff.types import DEFAULT_STRIDE, JSON, Sampling

__all__ = ["BackboneChoice", "Cell", "DataChoice", "Grid", "Published", "load_grid"]

Tree: TypeAlias = dict[str, Any]
_SLUG = 80  # characters of a folder's name


class DataChoice(BaseModel):
    """Which published dataset a study is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="Of `actiondiff.datasets.DATASETS`.")
    protocol: str = Field(description="One of the dataset's.")


class BackboneChoice(BackboneOptions):
    """Which features a study reads: a backbone, and those of its options that are not its own defaults."""

    backbone: str = Field(description="Name of the backbone.")
    stride: int | None = Field(DEFAULT_STRIDE, ge=1, description="Every stride-th frame is taken.")
    fps: float | None = Field(None, gt=0, description="Frames are taken at this rate instead.")

    @property
    def options(self) -> BackboneOptions:
        """What `load_backbone` takes."""
        given = self.model_dump(include=set(BackboneOptions.model_fields), exclude_unset=True)
        return BackboneOptions(**given)

    @property
    def sampling(self) -> Sampling:
        """Which frames are read; a rate goes before the stride."""
        return Sampling.of(self.stride, self.fps)


class Published(BaseModel):
    """A number of the paper, in per cent as printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float | None = Field(None, description="In per cent; none where the paper has a dash.")
    metric: Metric | None = Field(None, description="How it is averaged; none if not known.")
    table: str = Field("", description="Where it stands.")
    row: str = Field("", description="Of the table.")
    column: str = Field("", description="Of the table.")
    num_test: int | None = Field(None, description="Clips it was measured on, where known.")
    comparable: bool = Field(True, description="Whether metric and test clips are ours.")
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One study of a grid.

    Attributes:
        name: For people and folders; no other point has it.
        recipe: Its options.
        case: Its case's name; empty without cases.
        varied: What tells it from the others: dotted name -> value.
        data: The dataset it is about, if the file says so.
        extraction: The features it reads, if the file says so.
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
        """Its name as a folder's."""
        plain = re.sub(r"[^A-Za-z0-9.=+-]+", "_", self.name).strip("_") or "study"
        if len(plain) <= _SLUG and plain == self.name.replace(" ", "_"):
            return plain
        return f"{plain[:_SLUG]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Grid:
    """What a recipe with lists stands for.

    Attributes:
        name: The file's.
        description: What it is for.
        points: The studies.
        others: Numbers that others published beside them.
        tree: The file's options, bases included, as they stand there.
    """

    name: str
    description: str
    cells: tuple[Cell, ...]
    others: tuple[Published, ...] = ()
    tree: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> list[str]:
        """Dotted names of what varies."""
        return list(dict.fromkeys(name for point in self.cells for name in point.varied))


def load_grid(
    name_or_path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    table: Table | None = None,
) -> Grid:
    """The studies of a recipe; one that has no list is one.

    Args:
        name_or_path: A shipped recipe's name or a YAML file.
        overrides: Texts like `training.epochs=[10,30]`; the value is read as YAML.
        values: Dotted name -> value.
        table: The clips, whose domains `each` stands for; without them it is left as one study.

    Raises:
        UnknownNameError: If there is no such recipe, or an option of a name that does not exist.
        UsageError: If the YAML or a value is not in order, or two points are the same.
    """
    source = str(name_or_path)
    bases, own = load_layers(name_or_path, overrides=overrides, values=values)
    tree = merge(bases, own)
    cases = tree.get("cases") or [{}]
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UsageError(f"recipe {source}: cases is a list of options by name; got {cases!r}.")
    layers = [
        {name: value for name, value in layer.items() if name not in ("cases", "others")}
        for layer in (bases, own)
    ]
    drafts = [draft for case in cases for draft in _drafts(layers, case, source, table)]
    if not drafts:
        raise UsageError(f"recipe {source} stands for no study: one of its lists is empty.")
    names = _names(drafts)
    points = tuple(_point(name, draft, source) for name, draft in zip(names, drafts, strict=True))
    others = [_checked(Published, entry, f"{source}: others") for entry in tree.get("others") or []]
    return Grid(source, str(tree.get("description") or ""), points, tuple(others), tree)


@dataclass(frozen=True)
class _Draft:
    tree: Tree
    case: str
    varied: Mapping[str, JSON]


def _drafts(
    layers: Sequence[Tree], case: Mapping[str, Any], source: str, table: Table | None
) -> Iterator[_Draft]:
    """One for each combination of a case's lists.

    Later ones win: the file's bases, the case's bases, the file's own options, the case's.
    """
    own = {name: value for name, value in case.items() if name not in ("name", "base")}
    placed: Tree = {}
    for dotted, value in own.items():
        place(placed, dotted, value)
    bases, above = layers
    base = with_bases({"base": case.get("base")})
    merged = copy.deepcopy(merge(merge(merge(bases, base), above), placed))
    _spell_out(merged, source, table)
    for chosen, varied in _expand(merged, ""):
        protocol = chosen.get("protocol") or {}
        if protocol.get("source") is not None and protocol.get("source") == protocol.get("target"):
            continue  # of all pairs of domains, those of a domain with itself
        yield _Draft(chosen, str(case.get("name", "")), varied)


def _spell_out(tree: Tree, source: str, table: Table | None) -> None:
    """Put the values of the domain in the place of `each`."""
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
    """Every choice that the lists below an option leave, with what was chosen."""
    if isinstance(value, dict):
        parts = [
            [(name, *choice) for choice in _expand(item, f"{dotted}.{name}".lstrip("."))]
            for name, item in value.items()
        ]
        return [
            (
                {name: item for name, item, _ in chosen},
                {key: told for _, _, varied in chosen for key, told in varied.items()},
            )
            for chosen in itertools.product(*parts)
        ]
    nested = isinstance(value, list) and any(isinstance(item, list) for item in value)
    if not isinstance(value, list) or (is_list_field(dotted) and not nested):
        return [(value, {})]
    found = []
    for item in value:
        for chosen, varied in [(item, {})] if is_list_field(dotted) else _expand(item, dotted):
            found.append((chosen, {**_told(dotted, chosen), **varied}))
    return found


def _told(dotted: str, chosen: Any) -> dict[str, JSON]:
    """What is said of a choice: its plain values by name."""
    if isinstance(chosen, dict):
        told = [_told(f"{dotted}.{name}", item) for name, item in chosen.items()]
        return {key: value for values in told for key, value in values.items()}
    return {dotted: ", ".join(map(str, chosen)) if isinstance(chosen, list) else chosen}


def _names(drafts: Sequence[_Draft]) -> list[str]:
    """A name for each, of its case and what varies, as short as tells them apart."""
    fields = {name for draft in drafts for name in draft.varied}
    ends = [name.rpartition(".")[2] for name in fields]
    short = {name: end if ends.count(end := name.rpartition(".")[2]) == 1 else name for name in fields}
    names = []
    for draft in drafts:
        parts = [f"{short[name]}={value}" for name, value in draft.varied.items()]
        names.append(" ".join([draft.case, *parts] if draft.case else parts) or "study")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two studies are the same ({name}); name cases, and list values once.")
    return names


def _point(name: str, draft: _Draft, source: str) -> Cell:
    where = f"{source} ({name})"
    options = {key: value for key, value in draft.tree.items() if key not in GRID_FIELDS}
    extraction = _checked(BackboneChoice, draft.tree.get("extraction"), f"{where}: extraction")
    if extraction is not None:
        find_spec(extraction.backbone)  # says which there are
    return Cell(
        name,
        recipe_of(options, where),
        draft.case,
        draft.varied,
        _checked(DataChoice, draft.tree.get("data"), f"{where}: data"),
        extraction,
        _checked(Published, draft.tree.get("published"), f"{where}: published"),
    )


def _checked(model: Any, values: Any, place_of: str) -> Any:
    if values is None:
        return None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"recipe {place_of}: {explain_validation(error)}.") from None
