"""Verdicts on figure 5's claims, on sweeps of made-up predictions: it is known which timestep helps where."""

import pandas as pd
import pytest
from tests.unit.experiments.test_grid_tests import METRICS, predictions

from actiondiff.evaluation.results import METRICS_FILE
from actiondiff.experiments.grid import Cell, Grid
from actiondiff.experiments.run import PREDICTIONS
from actiondiff.experiments.sweep import SweepResult
from actiondiff.paper.verdicts import SweptStudy, judge_claims


def swept(folder, scores):
    """A sweep of both panels.

    Args:
        folder: Folder of the sweep.
        scores: (case, timestep, layer) -> score on held-out clips of the source and on test clips.
    """
    cells, rows = [], []
    for seed, ((case, timestep, layer), (validation, test)) in enumerate(scores.items()):
        cell = Cell(
            name=f"{case} t{timestep} l{layer}",
            recipe=None,
            case=case,
            varied={"features.timestep": timestep, "features.layer": layer},
        )
        run = folder / "runs" / cell.slug
        run.mkdir(parents=True)
        (run / METRICS_FILE).write_text(METRICS.to_json())
        predictions(run / PREDICTIONS, test, seed)
        cells.append(cell)
        rows.append({"point": cell.name, "validation": validation})
    empty = pd.DataFrame()
    result = SweepResult(
        folder, Grid("fig5", "", tuple(cells)), empty, pd.DataFrame(rows), empty, empty, empty, (), {}, {}
    )
    return [SweptStudy(cell, result) for cell in cells]


def panels(*, outside, inside):
    """Layer 9 is best on the source; its early timestep scores as given, its last one 0.5 on test clips."""
    scores = {}
    for case, early in (("d", outside), ("c", inside)):
        scores[case, 0, 3] = (0.3, 0.95)  # a layer that was not chosen must not count
        scores[case, 29, 3] = (0.3, 0.5)
        scores[case, 0, 9] = (0.6, early)
        scores[case, 29, 9] = (0.9, 0.5)
    return scores


def verdict(studies):
    results, _ = judge_claims("paper/fig5", studies, {})
    return next(result for result in results if result.id == "timestep-matters-out-of-domain-hmdb")


@pytest.mark.parametrize(
    ("outside", "inside", "outcome"),
    [
        (0.9, 0.5, "holds"),
        (0.5, 0.9, "contradicted"),
        (0.9, 0.9, "not shown"),
        (0.5, 0.5, "not shown"),
    ],
)
def test_a_timestep_matters_within_a_layer(tmp_path, outside, inside, outcome):
    result = verdict(swept(tmp_path, panels(outside=outside, inside=inside)))
    assert result.outcome == outcome
    for case, score in (("d", outside), ("c", inside)):
        assert (
            f"panel {case}, layer 9: {int(score > 0.7)} of 1 timesteps beat the last one" in result.sentence
        )


def test_a_panel_without_runs_is_not_tested(tmp_path):
    scores = {key: value for key, value in panels(outside=0.9, inside=0.5).items() if key[0] == "d"}
    result = verdict(swept(tmp_path, scores))
    assert result.outcome == "not tested"
    assert "no run of panel c" in result.sentence
