"""Recipes with lists: which studies they stand for, and what each is called."""

import pytest

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import load_grid
from actiondiff.types import Example


@pytest.fixture
def grid(tmp_path):
    def load(text, **options):
        (tmp_path / "mine.yaml").write_text(text)
        return load_grid(tmp_path / "mine.yaml", **options)

    return load


def test_every_combination_of_lists(grid):
    found = grid("features: {timestep: [0, 20], layer: [3, clip]}\nseeds: 2")
    assert [point.name for point in found.cells] == [
        "timestep=0 layer=3", "timestep=0 layer=clip", "timestep=20 layer=3", "timestep=20 layer=clip"
    ]  # fmt: skip
    assert found.cells[1].varied == {"features.timestep": 0, "features.layer": "clip"}
    assert found.cells[3].recipe.features.layer == "clip"
    assert {point.recipe.seeds for point in found.cells} == {2}
    assert found.fields() == ["features.timestep", "features.layer"]


def test_a_list_of_its_own_varies_only_as_a_list_of_lists(grid):
    once = grid("protocol: {domain: site, source: [a, b]}")
    assert [point.recipe.protocol.source for point in once.cells] == [("a", "b")]
    twice = grid("protocol: {domain: site, source: [[a, b], [c]]}")
    assert [point.recipe.protocol.source for point in twice.cells] == [("a", "b"), ("c",)]
    assert [point.name for point in twice.cells] == ["source=a, b", "source=c"]


def test_cases_win_over_the_file_which_wins_over_bases(grid):
    found = grid(
        "base: default\ntraining: {epochs: 7}\npublished: {table: t}\n"
        "cases:\n- {name: plain}\n- {name: based, base: paper/ucf-hmdb}\n"
        "- {name: own, base: paper/ucf-hmdb, training.epochs: 9, published: {score: 50.0}}"
    )
    plain, based, own = found.cells
    assert (plain.recipe.training.epochs, plain.recipe.training.learning_rate) == (7, 1e-3)
    assert (based.recipe.training.epochs, based.recipe.training.learning_rate) == (7, 1e-5)
    assert own.recipe.training.epochs == 9
    assert (own.published.score, own.published.table) == (50.0, "t")
    assert [point.case for point in found.cells] == ["plain", "based", "own"]


def test_lists_of_whole_options(grid):
    found = grid("extraction: [{backbone: tiny}, {backbone: tiny, stochastic: true, seed: [0, 1]}]")
    assert [point.extraction.seed for point in found.cells] == [0, 0, 1]
    assert [point.extraction.stochastic for point in found.cells] == [False, True, True]
    assert len({point.slug for point in found.cells}) == 3


def test_each_value_of_a_domain(grid):
    text = "protocol: {domain: site, source: each, target: each}"
    assert [point.name for point in grid(text).cells] == ["source=(each source) target=(each target)"]
    clips = tuple(Example(f"{i}.mp4", ("x",), columns={"site": "abc"[i % 3]}) for i in range(6))
    found = grid(text, table=Table("t.csv", "", clips))
    pairs = [(*point.recipe.protocol.source, *point.recipe.protocol.target) for point in found.cells]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")]


def test_long_names_make_short_folders(grid):
    found = grid("cases: [{name: '" + "a/b " * 40 + "'}, {name: c}]")
    slug = found.cells[0].slug
    assert len(slug) < 100
    assert "/" not in slug


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("features: {layer: [3, 3]}", UsageError, "two studies are the same"),
        ("features: {layer: []}", UsageError, "describes no study"),
        ("cases: {name: a}", UsageError, "cases must be a list of mappings"),
        ("extraction: {backbone: svd-xl}", UnknownNameError, "Did you mean 'svd-xt'"),
        ("extraction: {backbone: tiny, wndow: 3}", UsageError, "wndow"),
        ("published: {score: many}", UsageError, "published: score"),
        ("training: {epocs: [1, 2]}", UnknownNameError, "Did you mean 'epochs'"),
        ("protocol: {source: each}", UsageError, "needs the name of a domain"),
    ],
)
def test_what_is_wrong_is_said(grid, text, error, said):
    table = Table("t.csv", "", (Example("a.mp4", ("x",), columns={"site": "a"}),))
    with pytest.raises(error, match=said):
        grid(text, table=table)
