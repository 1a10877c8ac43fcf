"""`actiondiff recipe ls|show|copy|check`: all options of a study, as data."""

from pathlib import Path
from typing import Annotated

import typer

from actiondiff.cli.options import OverridesOption

__all__ = ["check", "copy", "ls", "show"]

_RecipeName = Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")]


def ls() -> None:
    """List the recipes that come with the package."""
    from actiondiff.experiments.recipe import list_recipes, load_tree

    for name in list_recipes():
        typer.echo(f"{name}: {load_tree(name)['description']}")


def show(name: _RecipeName, overrides: OverridesOption = None) -> None:
    """Print a recipe with the value of every option.

    Options that the recipe leaves at their defaults are included. For a recipe with lists, its studies are
    printed instead.
    """
    import yaml

    from actiondiff.experiments.grid import load_grid

    cells = load_grid(name, overrides=overrides or ()).cells
    if len(cells) > 1 or cells[0].varied:
        typer.echo(f"{len(cells)} studies:")
        for cell in cells:
            published = cell.published.score if cell.published else None
            typer.echo(f"  {cell.name}" + (f" (published: {published} %)" if published is not None else ""))
        return
    typer.echo(yaml.safe_dump(cells[0].recipe.model_dump(mode="json"), sort_keys=False), nl=False)


def copy(
    name: _RecipeName, to: Annotated[Path, typer.Argument(help="File to write; it must not exist.")]
) -> None:
    """Copy a shipped recipe to a file that you can edit."""
    from actiondiff.errors import UsageError
    from actiondiff.experiments.recipe import recipe_text
    from actiondiff.provenance import write_text

    if to.exists():
        raise UsageError(f"{to} exists already; give another name.")
    write_text(to, recipe_text(name))
    typer.echo(f"written to {to}")


def check(name: _RecipeName) -> None:
    """Check a recipe and count its studies."""
    from actiondiff.experiments.grid import load_grid

    count = len(load_grid(name).cells)
    typer.echo(f"{name} is valid" + (f": {count} studies." if count > 1 else "."))
