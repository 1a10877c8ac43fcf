"""A recipe: all options of a study in one value, from a YAML file and `--set a.b=c`.

A file may name a `base` (or several, the later winning) whose options are its own unless it says otherwise.
One whose fields are lists, or that has `cases`, stands for many studies: see `actiondiff.experiments.grid`.
"""

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.backbones.base import find_spec
from actiondiff.errors import UnknownNameError, UsageError, explain_validation
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.features.store import FeatureStore
from actiondiff.heads.options import HeadOptions
from actiondiff.registry import Registry
from actiondiff.training.options import TrainingOptions
from actiondiff.types import FeatureKey

__all__ = [
    "GRID_FIELDS",
    "FeatureChoice",
    "Recipe",
    "is_list_field",
    "list_recipes",
    "load_layers",
    "load_recipe",
    "load_tree",
    "merge",
    "place",
    "recipe_of",
    "recipe_text",
    "with_bases",
]

Tree: TypeAlias = dict[str, Any]

RECIPE_FOLDERS = Registry("recipe_folder", {})
"""First part of a recipe's name, for example `paper` -> folder of recipes; all others are in `recipes/`."""
GRID_FIELDS = ("cases", "data", "extraction", "published", "others")
"""What a recipe of many studies may hold beside a recipe's own options."""


class FeatureChoice(BaseModel):
    """Which stored feature a head reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timestep: int | None = Field(None, ge=0, description="Diffusion timestep; none: the backbone's own.")
    layer: int | str | None = Field(None, description="Layer's number or name; none: the backbone's own.")

    def key(self, store: FeatureStore) -> FeatureKey:
        """The feature to read, there or not.

        Where the recipe leaves timestep or layer open, the backbone's own; if the store does not have that
        but a single one that fits, that one.
        """
        settings: Any = store.settings["backbone"]
        spec = find_spec(settings["name"])
        timestep = spec.timestep if self.timestep is None else self.timestep
        own = FeatureKey.of(timestep, spec.layer if self.layer is None else self.layer)
        known = store.keys()
        fitting = [key for key in known if self._allows(key)]
        return fitting[0] if own not in known and len(fitting) == 1 else own

    def _allows(self, key: FeatureKey) -> bool:
        asked = FeatureKey.of(
            key.timestep if self.timestep is None else self.timestep,
            key.layer if self.layer is None else self.layer,
        )
        return key == asked

    def choose(self, store: FeatureStore) -> FeatureKey:
        """The feature to read.

        Raises:
            UnknownNameError: If the store does not have it for every video.
        """
        key, known = self.key(store), store.keys()
        if key not in known:
            hint = f"Choose with --timestep and --layer, or extract it into {store.folder} first."
            raise UnknownNameError(f"feature of {store.folder}", key, known, hint)
        return key


class Recipe(BaseModel):
    """All options of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field("", description="What it is for, and where its values come from.")
    features: FeatureChoice = Field(FeatureChoice(), description="Which stored feature.")
    head: HeadOptions = Field(HeadOptions(), description="The head.")
    training: TrainingOptions = Field(TrainingOptions(), description="How it is trained.")
    protocol: ProtocolOptions = Field(ProtocolOptions(), description="Which clips train, select and test.")
    seed: int = Field(0, description="Of splits, weights and training; run n of several uses seed + n.")
    seeds: int = Field(1, ge=1, description="How many trainings.")


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folders = {"": _own_folder()} | {f"{prefix}/": folder for prefix, folder in RECIPE_FOLDERS.items()}
    return sorted(name for prefix, folder in folders.items() for name in _walk(folder, prefix))


def recipe_text(name_or_path: str | os.PathLike[str]) -> str:
    """The YAML of a shipped recipe, by name, or of a file.

    Raises:
        UnknownNameError: If it is neither.
        UsageError: If the file cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    name = str(name_or_path).removesuffix(".yaml")
    if name not in list_recipes():
        raise UnknownNameError("recipe", name, list_recipes(), "Or give the path of a YAML file.")
    prefix, _, rest = name.partition("/")
    if prefix in RECIPE_FOLDERS:
        folder: Traversable = RECIPE_FOLDERS[prefix]
        return folder.joinpath(f"{rest}.yaml").read_text("utf-8")
    return _own_folder().joinpath(f"{name}.yaml").read_text("utf-8")


def load_recipe(
    name_or_path: str | os.PathLike[str] = "default",
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe: defaults, then the file, then `values`, then `overrides`; the later wins.

    Args:
        name_or_path: A shipped recipe's name or a YAML file.
        overrides: Texts like `training.epochs=30`; the value is read as YAML.
        values: Dotted name -> value, for example `{"features.layer": 9}`.

    Raises:
        UnknownNameError: If there is no such recipe, or an option of a name that does not exist.
        UsageError: If the YAML or a value is not in order.
    """
    tree = load_tree(name_or_path, overrides=overrides, values=values)
    varied = sorted({"cases"} & set(tree)) + _listed(tree)
    if varied:
        raise UsageError(
            f"recipe {name_or_path}: {varied[0]} is a list, so it stands for several studies; run them with "
            f"actiondiff sweep, or choose one with --set {varied[0]}=VALUE."
        )
    return recipe_of({name: value for name, value in tree.items() if name not in GRID_FIELDS}, name_or_path)


def recipe_of(tree: Tree, source: object) -> Recipe:
    """A recipe of these options; `source` says in messages where they come from.

    Raises:
        UnknownNameError: If there is an option of a name that does not exist.
        UsageError: If a value is not in order.
    """
    try:
        return Recipe.model_validate({name: value for name, value in tree.items() if value is not None})
    except ValidationError as error:
        raise _explain(error, source) from None


def load_tree(
    name_or_path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Tree:
    """The options of a recipe's file on those of its bases, as they stand there; see `load_recipe`."""
    return merge(*load_layers(name_or_path, overrides=overrides, values=values))


def load_layers(
    name_or_path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> tuple[Tree, Tree]:
    """The options of a recipe's bases, and the file's own, with what was set since; see `load_recipe`."""
    own = _raw(name_or_path)
    set_options(own, overrides=overrides, values=values)
    name = str(name_or_path)
    bases = with_bases({"base": own.pop("base", None)}, folder=Path(name_or_path).parent, seen=(name,))
    return bases, own


def set_options(
    tree: Tree, *, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> None:
    """Set options of a tree: `values` by dotted name, then `overrides`, as in `load_recipe`.

    Raises:
        UsageError: If an override is no `name=value`, or its value is no YAML.
    """
    for dotted, value in (values or {}).items():
        place(tree, dotted, value)
    for text in overrides:
        dotted, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--set takes name=value, for example training.epochs=30; got {text!r}.")
        place(tree, dotted.strip(), _parse(value, f"--set {text}"))


def is_list_field(dotted: str) -> bool:
    """Whether an option takes a list of its own, so that only a list of lists varies it."""
    return dotted in ("protocol.source", "protocol.target", "protocol.audit")


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """Options of both; those above win, group by group."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def place(tree: Tree, dotted: str, value: Any) -> None:
    """Set an option by its dotted name.

    Raises:
        UsageError: If the name goes through an option that has none of its own.
    """
    *parents, name = dotted.split(".")
    for parent in parents:
        if tree.get(parent) is None:
            tree[parent] = {}
        tree = tree[parent]
        if not isinstance(tree, dict):
            raise UsageError(
                f"{parent} in {dotted!r} has no options of its own; actiondiff recipe show lists them."
            )
    tree[name] = value


def with_bases(tree: Tree, *, folder: Path = Path(), seen: tuple[str, ...] = ()) -> Tree:
    """Options on those of the recipes that their `base` names: shipped ones, or files beside them.

    Raises:
        UnknownNameError: If there is no such recipe.
        UsageError: If a recipe is a base of itself.
    """
    base = tree.get("base") or []
    merged: Tree = {}
    for name in [base] if isinstance(base, str) else base:
        beside = folder / str(name)
        is_file = beside.suffix in (".yaml", ".yml") and beside.is_file()
        merged = merge(merged, _read(beside if is_file else str(name), seen))
    return merge(merged, {name: value for name, value in tree.items() if name != "base"})


def _read(name_or_path: str | os.PathLike[str], seen: tuple[str, ...] = ()) -> Tree:
    """A file's options on those of its bases."""
    if str(name_or_path) in seen:
        raise UsageError(f"recipe {name_or_path} is a base of itself: {' -> '.join(seen)}.")
    folder = Path(name_or_path).parent
    return with_bases(_raw(name_or_path), folder=folder, seen=(*seen, str(name_or_path)))


def _raw(name_or_path: str | os.PathLike[str]) -> Tree:
    """A file's own options, the names of its bases among them."""
    tree = _parse(recipe_text(name_or_path), str(name_or_path)) or {}
    if not isinstance(tree, dict):
        raise UsageError(f"{name_or_path} must hold options by name; got {type(tree).__name__}.")
    return tree


def _listed(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the options that are lists and ought not to be."""
    found = []
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict):
            found += _listed(value, f"{dotted}.")
        elif isinstance(value, list) and dotted not in GRID_FIELDS:
            nested = any(isinstance(item, list) for item in value)
            found += [dotted] if nested or not is_list_field(dotted) else []
    return found


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None


def _explain(error: ValidationError, source: object) -> UsageError:
    """The first problem in words; an unknown option with the names it could be."""
    problem = error.errors()[0]
    if problem["type"] == "extra_forbidden":
        model: Any = Recipe
        for name in problem["loc"][:-1]:
            model = model.model_fields[name].annotation
        place = ".".join(map(str, problem["loc"]))
        return UnknownNameError(f"option {place} of recipe {source}:", problem["loc"][-1], model.model_fields)
    return UsageError(f"recipe {source}: {explain_validation(error)}.")


def _own_folder() -> Traversable:
    return resources.files("actiondiff.experiments").joinpath("recipes")


def _walk(folder: Traversable, prefix: str) -> list[str]:
    names = []
    for item in folder.iterdir():
        if item.is_dir():
            names += _walk(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            names.append(prefix + item.name.removesuffix(".yaml"))
    return names
