"""The paper's figures from plain tables."""

import numpy as np
import pandas as pd
import pytest
from tests.conftest import figure_texts

from actiondiff.errors import UsageError
from actiondiff.evaluation.matrices import mantel
from actiondiff.paper.figures import (
    correlation_matrix,
    cost_plot,
    distribution,
    frequency_bars,
    gain_matrix,
    pair_scatter,
    transfer_matrix,
)
from actiondiff.paper.report import relation_table, transfer_items
from actiondiff.report.grid_figures import sweep_panels
from actiondiff.report.tables import Score, ablation_table

NAMES = ["birds", "fish", "<b>", "spiders", "water_birds"]
RNG = np.random.default_rng(0)


def square(values=None):
    return pd.DataFrame(RNG.uniform(size=(5, 5)) if values is None else values, index=NAMES, columns=NAMES)


def test_transfer_outlines_its_diagonal_and_appends_held_out_clips():
    figure = transfer_matrix(square(), title="t", held_out=dict.fromkeys(NAMES, 0.125))
    corners = [patch.get_xy() for patch in figure.drawing.axes[0].patches]
    assert corners == [(i, i) for i in range(5)]
    assert figure_texts(figure).count("12.5") == 5
    assert "own, held out" in figure_texts(figure)
    assert "&lt;b&gt;" in figure_texts(figure)
    assert "own, held out" not in figure_texts(transfer_matrix(square(), title="t"))


def test_gain_is_a_difference_and_its_mean_leaves_out_the_diagonal():
    scores, prior = square(np.full((5, 5), 0.5) + np.eye(5) / 2), square(np.full((5, 5), 0.25))
    figure = gain_matrix(scores, prior, title="t")
    assert "Mean off the diagonal: +25.0 points" in figure.caption
    assert figure_texts(figure).count("75.0") == 5
    with pytest.raises(UsageError, match="need the same domains"):
        gain_matrix(scores, prior.iloc[::-1], title="t")


def test_correlations_are_coloured_over_their_whole_range():
    figure = correlation_matrix(square(np.full((5, 5), 0.2)), title="t")
    mesh = figure.drawing.axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1, 1)
    assert figure_texts(figure).count("0.20") == 25


def test_panels_have_heatmap_and_curve_each():
    grid = pd.DataFrame([[0.1, 0.9, 0.3], [0.4, 0.2, 0.8]], index=[3, 9], columns=[0, 20, 29])
    figure = sweep_panels({"a in": grid, "b out": grid + 0.05}, title="t", floors={"a in": 0.125})
    assert "a in: 90.0 % at layer 3, timestep 20; b out: 95.0 %" in figure.caption
    assert "The dashed lines are the prior floors: a in 12.5 %." in figure.caption
    curves = [axes.lines[0].get_ydata().tolist() for axes in figure.drawing.axes if axes.lines]
    np.testing.assert_allclose(curves, [[40, 90, 80], [45, 95, 85]])
    assert figure.data.groupby("panel").size().to_dict() == {"a in": 6, "b out": 6}
    assert sweep_panels({"only": grid}, title="t").data["value"].max() == 0.9
    chosen = sweep_panels(
        {"x": grid}, title="t", chosen={"x": [0.1, 0.2, 0.8]}, row_title="width", column_title="rate"
    )
    assert "at width 3, rate 20" in chosen.caption
    assert "cleaner" not in chosen.caption
    assert list(chosen.data.columns) == ["width", "rate", "value", "panel"]
    curves = [line.get_ydata().tolist() for axes in chosen.drawing.axes for line in axes.lines]
    np.testing.assert_allclose(curves[-1], [10, 20, 80])
    with pytest.raises(UsageError, match="one panel"):
        sweep_panels({}, title="t")


def test_distribution_stacks_the_sides():
    counts = pd.DataFrame(
        {"clips": [9, 3], "share": [0.75, 0.25], "train": [7, 3], "test": [2, 0]}, index=["a", "b"]
    )
    figure = distribution(counts, title="t")
    assert [patch.get_height() for patch in figure.drawing.axes[0].patches] == [7, 3, 2, 0]
    assert [patch.get_y() for patch in figure.drawing.axes[0].patches] == [0, 0, 7, 3]
    assert "2 in all; most frequent: a, 9 (75.0 % of all clips)" in figure.caption
    assert figure.data.columns.tolist() == ["name", "train", "test"]
    assert distribution(counts[["clips"]], title="t").data.columns.tolist() == ["name", "clips"]
    distribution(counts.iloc[:0], title="t").svg()


def test_frequencies_stack_to_the_whole():
    shares = pd.DataFrame([[0.25, 0.75], [0.96, 0.04]], index=["x", "y"], columns=["eat", "run"])
    figure = frequency_bars(shares, title="t")
    widths = [patch.get_width() for patch in figure.drawing.axes[0].patches]
    assert widths == pytest.approx([25, 96, 75, 4])
    assert {"25", "96", "75"} <= set(figure_texts(figure))
    assert "x: run 75.0 %; y: eat 96.0 %" in figure.alt


def test_scatter_has_each_ordered_pair_once_and_says_p():
    first, second = square(), square()
    figure = pair_scatter(first, second, title="t", first_title="alike", second_title="accuracy")
    assert len(figure.data) == 20
    row = figure.data[(figure.data["source"] == "birds") & (figure.data["target"] == "fish")].iloc[0]
    assert (row["alike"], row["accuracy"]) == (first.loc["birds", "fish"], second.loc["birds", "fish"])
    p = mantel(first.to_numpy(), second.to_numpy(), method="pearson").p
    assert f"(Mantel p = {p:.2g})" in figure.caption
    assert "by 120 permutations" in figure.caption
    drawn = figure.drawing.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 1], 100 * figure.data["accuracy"])
    with pytest.raises(UsageError, match="same domains"):
        pair_scatter(first, second.iloc[::-1], title="t", first_title="a", second_title="b")


def test_cost_is_drawn_on_a_logarithmic_axis():
    rows = pd.DataFrame({"name": ["svd", "vjepa"], "teraflop": [18.0, 2.0], "score": [0.8, 0.5],
                         "low": [0.7, np.nan], "high": [0.9, np.nan]})  # fmt: skip
    figure = cost_plot(rows, title="t", value_title="accuracy", floor=0.1)
    axes = figure.drawing.axes[0]
    assert axes.get_xscale() == "log"
    assert len(axes.collections) == 1  # one interval is known
    assert "10" in figure_texts(figure)
    assert not any("mathdefault" in text for text in figure_texts(figure))
    assert "svd: 80.0 % at 18; vjepa: 50.0 % at 2" in figure.alt
    with pytest.raises(UsageError, match="above 0"):
        cost_plot(rows.assign(teraflop=0.0), title="t", value_title="accuracy")


def test_ablation_against_the_first_and_the_paper():
    rows = [
        ({"classifier": "linear", "mixup": True}, Score(0.5, 0.4, 0.6), 0.73),
        ({"classifier": "mlp", "window": None}, Score(0.525), None),
    ]
    grid = ablation_table(rows, caption="c", metric="micro mAP")
    assert grid.columns == (
        "classifier",
        "mixup",
        "window",
        "micro mAP, ours",
        "against the first",
        "published",
    )
    assert grid.rows == (
        ("linear", "yes", "–", "50.0 % (40.0 to 60.0)", "+0.0", "73.0 %"),
        ("mlp", "–", "–", "52.5 %", "+2.5", "–"),
    )


def test_relations_that_put_the_scatter_in_its_place():
    alike, prior = square(), square()
    items = transfer_items(
        prior + 0.1, prior=prior, similarity=alike, distance=square(np.round(3 * RNG.uniform(size=(5, 5))))
    )
    names = [item.name for item in items if hasattr(item, "name")]
    assert len(set(names)) == len(names) == 7
    table = relation_table({"alike": alike}, {"itself": alike, "other": prior})
    assert table.rows[0] == ("itself against alike", "1.00", "0.0083", "1.00", "0.0083")  # 1 of 5! orders
    assert table.rows[1][0] == "other against alike"
