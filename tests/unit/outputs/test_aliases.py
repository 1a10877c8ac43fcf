"""Aliases of YAML are read within bounds; the shipped recipes use them."""

import pytest
import yaml

from actiondiff.experiments.grid import load_grid
from actiondiff.outputs.documents import parse_yaml


def test_aliases_are_read():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n")["c"] == [{"x": 1}, {"x": 1}]
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("target", ["table1", "table2", "table3"])
def test_recipes_with_aliases_load(target):
    assert load_grid(f"paper/{target}").cells


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [1]\nb: &b [*a, *a]\nc: [*b]\n", "within an anchor"),  # ten levels of ten are ten billion
        ("a: &a [*a]\n", "within an anchor"),
        ("a: &a [1]\nb: [" + "*a, " * 101 + "]\n", "one alias .* more than the 100"),
    ],
)
def test_aliases_that_multiply_are_refused(text, problem):
    with pytest.raises(yaml.YAMLError, match=problem):
        parse_yaml(text)
