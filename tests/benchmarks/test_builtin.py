"""The evaluation of the built-in backbone: its statistics and tables, on scores that are known."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLIPS = 40


class KnownStudy:
    """What the statistics ask of a study: the individuals."""

    def groups(self, column: str) -> list[str]:
        return [f"{column}-{number // 2}" for number in range(CLIPS)]


@pytest.fixture
def builtin(script) -> ModuleType:
    return script("builtin")


@pytest.fixture
def tables(script) -> ModuleType:
    return script("builtin_tables")


def cells_of(builtin, shares):
    """Every layer alike: timestep -> column -> share of clips classified correctly."""
    return {
        (timestep, layer): [
            builtin.Scored(0.5, {column: np.arange(CLIPS) < share * CLIPS for column, share in row.items()})
        ]
        for timestep, row in shares.items()
        for layer in builtin.LAYERS
    }


def test_the_effect_of_a_timestep_is_a_difference_of_differences(builtin):
    late = {"in-domain": 0.5, "species": 0.4, "context": 0.4, "view": 0.4}
    early = {"in-domain": 0.4, "species": 0.5, "context": 0.6, "view": 0.7}
    found = builtin.timestep_effect(KnownStudy(), cells_of(builtin, {5: early, 29: late}))
    assert list(found) == ["t5"]
    assert found["t5"]["in-domain"]["difference"] == pytest.approx(-0.1)
    assert found["t5"]["mean of shifts"]["difference"] == pytest.approx(0.2)
    assert found["t5"]["interaction"]["difference"] == pytest.approx(0.3)
    low, high = found["t5"]["interaction"]["interval"]
    assert 0 < low < 0.3 < high


def test_the_grids_tables_hold_every_cell(builtin, tables):
    row = {"in-domain": 0.5, "species": 0.1, "context": 0.2, "view": 0.3}
    cells = builtin._plain(cells_of(builtin, dict.fromkeys(builtin.GRID_TIMESTEPS, row)))
    result = {
        "cells": {"trained": cells, "random weights": cells},
        "effect": builtin.timestep_effect(KnownStudy(), cells_of(builtin, {5: row, 29: row})),
        "controls": dict.fromkeys(builtin.CONTROLS, cells),
    }
    text = tables.grid_markdown(result)
    assert text.count("50 / 20") == 2 * len(cells) + len(builtin.CONTROLS) * 4
    assert "| 5 | +0.0 (+0.0 to +0.0) |" in text


def test_tables_go_between_their_marks_and_nowhere_else(tables):
    text = "a\n<!-- grid -->\nold\n<!-- end -->\nb\n<!-- training -->\nkept\n<!-- end -->\n"
    assert tables.put_between(text, "grid", "new") == text.replace("old\n", "\nnew\n")
    with pytest.raises(SystemExit, match="no <!-- other -->"):
        tables.put_between(text, "other", "new")


def test_spread_tells_a_collapsed_network_from_one_that_sees(script):
    spread = script("spread").spread
    random = np.random.default_rng(0)
    videos = [random.normal(size=(1, 8)) + 0.1 * random.normal(size=(5, 8)) for _ in range(20)]
    seen = spread(videos)
    assert seen["finite"]
    assert seen["share between videos"] > 0.95
    assert 4 < seen["directions"] < 8
    alike = np.ones((5, 8)) + 0.001 * random.normal(size=(5, 8))
    collapsed = spread([alike] * 20)
    assert collapsed["median distance"] < 1e-12
    assert collapsed["share between videos"] < 1e-6
