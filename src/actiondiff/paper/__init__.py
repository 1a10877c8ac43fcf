"""The paper's tables and figures, run again: what is needed, what it costs, ours beside theirs."""

from importlib import resources

__all__ = ["RECIPES"]

RECIPES = resources.files("actiondiff.paper").joinpath("recipes")
"""The paper's recipes; registered under the name `paper` (entry point group `actiondiff.recipe_folders`)."""
