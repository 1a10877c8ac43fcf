"""A recipe: all options of a study in one value, from a YAML file and `--set a.b=c`.

A file can name a `base`, or several of which later ones win, and inherits their options. A file whose fields
are lists, or that has `cases`, describes many studies; see `actiondiff.experiments.grid`.
"""

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.errors import UnknownNameError, UsageError, explain_validation
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.experiments.feature_choice import FeatureChoice
from actiondiff.heads.options import HeadOptions
from actiondiff.outputs.documents import parse_yaml
from actiondiff.registry import Registry
from actiondiff.training.options import TrainingOptions

__all__ = [
    "GRID_FIELDS",
    "FeatureChoice",
    "Recipe",
    "Tree",
    "checked_recipe",
    "is_list_field",
    "list_recipes",
    "load_bases_and_own",
    "load_recipe",
    "load_tree",
    "merge",
    "recipe_text",
    "set_option",
    "set_options",
    "study_options",
    "with_bases",
]

Tree: TypeAlias = dict[str, Any]
"""Options by name, nested as in the YAML file, before they are checked."""

RECIPE_FOLDERS = Registry("recipe_folder", {})
"""First part of a recipe's name, for example `paper` -> folder of its recipes.

Recipes whose name begins with none of these are in `recipes/` beside this module.
"""
GRID_FIELDS = ("cases", "data", "extraction", "published", "others")
"""Fields that the recipe of a sweep can have beside the options of a study."""


class Recipe(BaseModel):
    """All options of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field("", description="Purpose of the recipe, and the source of its values.")
    features: FeatureChoice = Field(FeatureChoice(), description="The stored features that the head reads.")
    head: HeadOptions = Field(HeadOptions(), description="Name and size of the head.")
    training: TrainingOptions = Field(TrainingOptions(), description="How the head is trained.")
    protocol: ProtocolOptions = Field(ProtocolOptions(), description="Which clips train, select and test.")
    seed: int = Field(
        0,
        description="Seed of the split, of the head's weights and of training. With several seeds, training "
        "run n uses seed + n; the split stays the same.",
    )
    seeds: int = Field(1, ge=1, description="Number of training runs, each with a seed of its own.")
    split_seed: int | None = Field(
        None,
        description="Seed of the split; none takes seed. A run records it, to be repeated with its split.",
    )


def list_recipes() -> list[str]:
    """List the names of the recipes that come with the package."""
    folders = {"": _own_folder()} | {f"{prefix}/": folder for prefix, folder in RECIPE_FOLDERS.items()}
    return sorted(name for prefix, folder in folders.items() for name in _walk(folder, prefix))


def recipe_text(name_or_path: str | os.PathLike[str]) -> str:
    """Return the YAML text of a shipped recipe or of a file.

    Raises:
        UnknownNameError: If there is neither a recipe nor a file of that name.
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
    """Load a recipe: defaults, then the file, then `values`, then `overrides`; later ones win.

    Args:
        name_or_path: Name of a shipped recipe, or path of a YAML file.
        overrides: Texts like `training.epochs=30`; the value is read as YAML.
        values: Dotted name -> value, for example `{"features.layer": 9}`.

    Raises:
        UnknownNameError: If the recipe or an option does not exist.
        UsageError: If the YAML or a value is not valid, or the recipe describes several studies.
    """
    tree = load_tree(name_or_path, overrides=overrides, values=values)
    varied = sorted({"cases"} & set(tree)) + _listed(tree)
    if varied:
        raise UsageError(
            f"recipe {name_or_path}: {varied[0]} is a list, so the recipe describes several studies; run "
            f"them with actiondiff sweep, or choose one with --set {varied[0]}=VALUE."
        )
    return checked_recipe(study_options(tree), name_or_path)


def study_options(tree: Tree) -> Tree:
    """Return the options of a study alone, without those of a sweep and facts about a run."""
    # A run that continued another one records its `start`, which is a fact about that run and no option.
    facts = {"start"} if "split_seed" in tree else set()
    return {name: value for name, value in tree.items() if name not in {*GRID_FIELDS, *facts}}


def checked_recipe(tree: Tree, source: object) -> Recipe:
    """Check options and make them a recipe.

    Args:
        tree: The options.
        source: Where they come from; error messages name it.

    Raises:
        UnknownNameError: If an option does not exist.
        UsageError: If a value is not valid.
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
    """Load the options of a recipe, bases included, without checking them; see `load_recipe`."""
    return merge(*load_bases_and_own(name_or_path, overrides=overrides, values=values))


def load_bases_and_own(
    name_or_path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> tuple[Tree, Tree]:
    """Load the options of a recipe's bases, and the file's own with `values` and `overrides` set.

    See `load_recipe` for the arguments.
    """
    own = _raw(name_or_path)
    set_options(own, overrides=overrides, values=values)
    name = str(name_or_path)
    bases = with_bases({"base": own.pop("base", None)}, folder=Path(name_or_path).parent, seen=(name,))
    return bases, own


def set_options(
    tree: Tree, *, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> None:
    """Set options in place: first `values`, then `overrides`, as in `load_recipe`.

    Raises:
        UsageError: If an override is not of the form `name=value`, or its value is not valid YAML.
    """
    for dotted, value in (values or {}).items():
        set_option(tree, dotted, value)
    for text in overrides:
        dotted, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--set takes name=value, for example training.epochs=30; got {text!r}.")
        set_option(tree, dotted.strip(), _parse(value, f"--set {text}"))


def is_list_field(dotted: str) -> bool:
    """Whether the value of an option is itself a list, so that only a list of lists varies it."""
    return dotted in ("features.keys", "protocol.source", "protocol.target", "protocol.audit")


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """Merge two trees of options; where both set an option, `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def set_option(tree: Tree, dotted: str, value: Any) -> None:
    """Set an option in place, by its dotted name.

    Raises:
        UsageError: If a part of the name before the last is an option without options of its own.
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
    """Merge options with those of the recipes that their `base` names; their own win.

    Args:
        tree: The options.
        folder: Folder in which a base that is a file is looked for.
        seen: Recipes that led here, to notice a circle.

    Raises:
        UnknownNameError: If a base does not exist.
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
    """Read a recipe's options, bases included."""
    if str(name_or_path) in seen:
        raise UsageError(f"recipe {name_or_path} is a base of itself: {' -> '.join(seen)}.")
    folder = Path(name_or_path).parent
    return with_bases(_raw(name_or_path), folder=folder, seen=(*seen, str(name_or_path)))


def _raw(name_or_path: str | os.PathLike[str]) -> Tree:
    """Read a recipe's own options, `base` among them."""
    tree = _parse(recipe_text(name_or_path), str(name_or_path)) or {}
    if not isinstance(tree, dict):
        raise UsageError(f"{name_or_path} must be a mapping of options by name; got {type(tree).__name__}.")
    return tree


def _listed(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the dotted names of the options that are lists of choices."""
    names = []
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict):
            names += _listed(value, f"{dotted}.")
        elif isinstance(value, list) and dotted not in GRID_FIELDS:
            nested = any(isinstance(item, list) for item in value)
            names += [dotted] if nested or not is_list_field(dotted) else []
    return names


def _parse(text: str, source: str) -> Any:
    """Parse YAML; `source` is named in errors."""
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from None


def _explain(error: ValidationError, source: object) -> UsageError:
    """Explain the first problem; for an unknown option, list those that exist."""
    problem = error.errors()[0]
    if problem["type"] == "extra_forbidden":
        model: Any = Recipe
        for name in problem["loc"][:-1]:
            model = model.model_fields[name].annotation
        option = ".".join(map(str, problem["loc"]))
        return UnknownNameError(
            f"option {option} of recipe {source}:", problem["loc"][-1], model.model_fields
        )
    return UsageError(f"recipe {source}: {explain_validation(error)}.")


def _own_folder() -> Traversable:
    return resources.files("actiondiff.experiments").joinpath("recipes")


def _walk(folder: Traversable, prefix: str) -> list[str]:
    """List the recipes in a folder and in those below it."""
    names = []
    for item in folder.iterdir():
        if item.is_dir():
            names += _walk(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            names.append(prefix + item.name.removesuffix(".yaml"))
    return names
