"""A recipe: all options of a study in one value, from a YAML file and `--set a.b=c`."""

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from actiondiff.backbones.base import find_spec
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.features.store import FeatureStore
from actiondiff.heads.options import HeadOptions
from actiondiff.training.options import TrainingOptions
from actiondiff.types import FeatureKey

__all__ = ["FeatureChoice", "ProtocolOptions", "Recipe", "list_recipes", "load_recipe", "recipe_text"]


class FeatureChoice(BaseModel):
    """Which stored feature a head reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timestep: int | None = Field(None, ge=0, description="Diffusion timestep; none: the backbone's own.")
    layer: int | str | None = Field(None, description="Layer's number or name; none: the backbone's own.")

    def choose(self, store: FeatureStore) -> FeatureKey:
        """The feature to read; the backbone's own where the recipe names none.

        Raises:
            UnknownNameError: If the store does not have it for every video.
        """
        settings: Any = store.settings["backbone"]
        spec = find_spec(settings["name"])
        timestep = spec.timestep if self.timestep is None else self.timestep
        key = FeatureKey.of(timestep, spec.layer if self.layer is None else self.layer)
        known = store.keys()
        if key not in known:
            hint = f"Choose with --timestep and --layer, or extract it into {store.folder} first."
            raise UnknownNameError(f"feature of {store.folder}", key, known, hint)
        return key


class ProtocolOptions(BaseModel):
    """Which clips train, which select and which test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str | None = Field(None, description="Column whose values are the domains; none: no shift.")
    source: tuple[str, ...] = Field((), description="Values of the domain that train.")
    target: tuple[str, ...] | Literal["rest"] = Field(
        "rest", description="Values of the domain that test; rest: all that do not train."
    )
    selection: Literal["source-validation", "released"] = Field(
        "source-validation",
        description="What the epoch is chosen on: held-out clips of the source; or, as the released code "
        "does for some datasets, the test clips themselves (its numbers are then no test).",
    )
    validation_share: float = Field(
        0.2, ge=0, lt=1, description="Share of the source's groups held out, where the table names none."
    )
    test_share: float = Field(
        0.2, ge=0, lt=1, description="Share of the groups that test, where neither split nor domain says."
    )

    @field_validator("source", "target", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """`bird, fish` is a list of two; a number is a name like any other, as in a table."""
        if value == "rest":
            return value
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        items = [str(item).strip() if type(item) in (str, int) else item for item in items]
        return [item for item in items if item != ""]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.domain) is not bool(self.source):
            raise ValueError("domain and source belong together: name the column and the values that train")
        return self


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
    return sorted(_walk(resources.files("actiondiff.recipes"), ""))


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
    return resources.files("actiondiff.recipes").joinpath(f"{name}.yaml").read_text("utf-8")


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
    tree = _parse(recipe_text(name_or_path), str(name_or_path)) or {}
    if not isinstance(tree, dict):
        raise UsageError(f"{name_or_path} must hold options by name; got {type(tree).__name__}.")
    for dotted, value in (values or {}).items():
        _place(tree, dotted, value)
    for text in overrides:
        dotted, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--set takes name=value, for example training.epochs=30; got {text!r}.")
        _place(tree, dotted.strip(), _parse(value, f"--set {text}"))
    try:
        return Recipe.model_validate({name: value for name, value in tree.items() if value is not None})
    except ValidationError as error:
        raise _explain(error, name_or_path) from None


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None


def _place(tree: dict[str, Any], dotted: str, value: Any) -> None:
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


def _explain(error: ValidationError, source: object) -> UsageError:
    """The first problem in words; an unknown option with the names it could be."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        model: Any = Recipe
        for name in problem["loc"][:-1]:
            model = model.model_fields[name].annotation
        return UnknownNameError(f"option {place} of recipe {source}:", problem["loc"][-1], model.model_fields)
    said = problem["msg"].removeprefix("Value error, ").rstrip(".")
    got = problem["input"]
    return UsageError(
        f"recipe {source}: {place}: {said}" + ("." if isinstance(got, dict) else f"; got {got!r}.")
    )


def _walk(folder: Traversable, prefix: str) -> list[str]:
    names = []
    for item in folder.iterdir():
        if item.is_dir():
            names += _walk(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            names.append(prefix + item.name.removesuffix(".yaml"))
    return names
