"""Verdicts on figure 5's claims, on sweeps of made-up predictions: it is known which timestep helps where."""

import numpy as np
import pandas as pd
import pytest

from actiondiff.evaluation.results import METRICS_FILE, EpochChoice, FitSummary, TrainingMetrics
from actiondiff.experiments.grid import Cell, Grid
from actiondiff.experiments.run import PREDICTIONS
from actiondiff.experiments.sweep import SweepResult
from actiondiff.paper.verdicts import SweptStudy, judge_claims

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


def write_predictions(path, share, seed, count=240):
    """Clips of which a share is named rightly; two clips per group."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    named = np.where(random.random(count) < share, truth, (truth + 1) % 3)
    frame = pd.DataFrame(
        {
            "video": [f"{i}.mp4" for i in range(count)],
            "start_seconds": "",
            "end_seconds": "",
            "group": [f"g{i // 2}" for i in range(count)],
            "label": [LABELS[k] for k in truth],
        }
    )
    for k, label in enumerate(LABELS):
        frame[f"p({label})"] = np.where(named == k, 0.8, 0.1)
    frame.to_csv(path, index=False)


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
        write_predictions(run / PREDICTIONS, test, seed)
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
