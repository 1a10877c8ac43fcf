"""Tests on grids, on predictions that are made up: it is known which timestep helps where."""

import numpy as np
import pandas as pd
import pytest

from actiondiff.errors import UsageError
from actiondiff.evaluation.results import (
    METRICS_FILE,
    EpochChoice,
    FitSummary,
    TrainingMetrics,
)
from actiondiff.experiments.grid_tests import (
    IN_DOMAIN,
    ScoredCell,
    best_of_many,
    early_and_last,
    early_gain,
    grid_tests,
)
from actiondiff.experiments.run import PREDICTIONS

LABELS = ("eat", "run", "sit")
METRICS = TrainingMetrics(
    seed=0,
    feature="t20.layer9",
    task="single-label",
    split="",
    counts={"train": 0, "validation": 0, "test": 240},
    fit=FitSummary(
        best_epoch=1, selected_on="last", num_train=0, num_validation=0, num_cut=0, num_epochs=1, selection=""
    ),
    selection=EpochChoice(rule="source-validation", metric="last", epoch=1, score=None, target_looks=1),
)


def predictions(path, share, seed, count=240):
    """Clips of which a share is named rightly; two clips a group."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    right = random.random(count) < share
    named = np.where(right, truth, (truth + 1) % 3)
    frame = pd.DataFrame(
        {
            "video": [f"{i}.mp4" for i in range(count)], "start_seconds": "", "end_seconds": "",
            "group": [f"g{i // 2}" for i in range(count)], "label": [LABELS[k] for k in truth],
        }
    )  # fmt: skip
    for k, label in enumerate(LABELS):
        frame[f"p({label})"] = np.where(named == k, 0.8, 0.1)
    frame.to_csv(path, index=False)


def cell(folder, timestep, layer, *, validation, out, inside=None):
    """A study's run, tested out of domain and perhaps in it."""
    name = f"t{timestep} l{layer}"
    place = folder / f"{name.replace(' ', '-')}-{validation}"
    place.mkdir(parents=True)
    (place / METRICS_FILE).write_text(METRICS.to_json())
    seed = 100 * timestep + layer
    predictions(place / PREDICTIONS, out, seed)
    if inside is not None:
        predictions(place / IN_DOMAIN, inside, seed + 1)
    return ScoredCell(name, timestep, layer, validation, place)


@pytest.fixture
def shifted(tmp_path):
    """In domain the last timestep is best, out of it the first."""
    return [
        cell(tmp_path, 0, 3, validation=0.5, out=0.5, inside=0.5),
        cell(tmp_path, 0, 9, validation=0.6, out=0.9, inside=0.6),
        cell(tmp_path, 20, 9, validation=0.8, out=0.6, inside=0.8),
        cell(tmp_path, 29, 3, validation=0.5, out=0.5, inside=0.5),
        cell(tmp_path, 29, 9, validation=0.9, out=0.5, inside=0.9),
    ]


def test_what_speaks_for_early_and_last_is_chosen_on_the_source(shifted):
    early, last = early_and_last(shifted)
    assert (early.name, last.name) == ("t0 l9", "t29 l9")
    with pytest.raises(UsageError, match="two timesteps"):
        early_and_last(shifted[:2])
    blind = [ScoredCell(c.name, c.timestep, c.layer, None, c.folder) for c in shifted]
    with pytest.raises(UsageError, match="held-out clips"):
        early_and_last(blind)


def test_the_interaction_is_found(shifted):
    found = early_gain(shifted, shifted, "accuracy", inside_file=IN_DOMAIN)
    assert found.contrast.value == pytest.approx((0.9 - 0.5) - (0.6 - 0.9), abs=0.1)
    assert found.contrast.low > 0.4
    assert found.contrast.p < 0.01
    assert (found.early, found.last) == (("t0 l9", "t0 l9"), ("t29 l9", "t29 l9"))
    assert (found.num_clips, found.num_seeds) == (240, (1, 1))


def test_better_everywhere_is_no_interaction(tmp_path):
    cells = [
        cell(tmp_path, 0, 9, validation=0.9, out=0.8, inside=0.8),
        cell(tmp_path, 29, 9, validation=0.6, out=0.6, inside=0.6),
    ]
    found = early_gain(cells, cells, "accuracy", inside_file=IN_DOMAIN)
    assert found.contrast.low < 0 < found.contrast.high


def test_the_best_of_many_is_corrected_for_how_many_there_are(shifted, tmp_path):
    found = best_of_many(shifted, num_flips=2000).set_index("cell")
    assert set(found["reference"]) == {"t29 l9"}
    assert found.loc["t0 l9", "p"] < 0.01
    assert found.loc["t0 l9", "gain"] == pytest.approx(0.4, abs=0.08)
    assert found.loc["t29 l3", "p"] > 0.2
    chance = [cell(tmp_path / "chance", t, 9, validation=0.5, out=0.5) for t in range(12)]
    alone = best_of_many([chance[2], chance[-1]], num_flips=2000)["p"].iloc[0]
    among = best_of_many(chance, num_flips=2000).set_index("cell")["p"]["t2 l9"]
    assert among >= alone
    assert best_of_many(chance, num_flips=2000)["p"].min() > 0.05


def test_layers_alone_are_compared_with_the_first(tmp_path):
    layers = [
        ScoredCell(f"l{n}", None, n, 0.5, cell(tmp_path, 0, n, validation=0.5, out=share).folder)
        for n, share in ((3, 0.4), (6, 0.5), (9, 0.9))
    ]
    table = grid_tests({"plain": layers, "single": layers[:1]}, "accuracy")
    assert table["test"].tolist() == ["best of many"]  # no timesteps, so no interaction
    assert (table["first"][0], table["second"][0]) == ("l9", "l3")


def test_a_row_a_test(shifted):
    table = grid_tests({"as released": shifted}, "accuracy")
    assert table["test"].tolist() == ["best of many", "interaction"]
    assert table["num_cells"].tolist() == [4, 5]
    assert (table["p"] < 0.05).all()
