"""Figures: the right number in the right cell, odd names, what is said of them."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.conftest import figure_texts

from actiondiff.errors import UsageError
from actiondiff.report.drawing import shade
from actiondiff.report.figures import bars, best_over_rows, heatmap
from actiondiff.report.run_figures import class_bars, confusion_matrix, learning_curve
from actiondiff.report.strips import frame_strip, heat_strip
from actiondiff.report.tables import Score, confusion_table


def test_heatmap_writes_each_number_into_its_cell():
    values = np.array([[0.125, 1.0], [np.nan, 0.5]])
    figure = heatmap(values, rows=["layer3", "layer9"], columns=[0, 20], title="t", floor=0.25, caption="c")
    svg = figure.svg()
    place = {
        match[3]: (float(match[1]), float(match[2]))
        for match in re.finditer(r'<text[^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    }
    assert place["12.5"][0] < place["100"][0]
    assert place["12.5"][1] == place["100"][1] < place["50.0"][1]
    assert place["–"][0] == place["12.5"][0]
    assert figure.caption.startswith("c The prior floor")
    assert "25.0 %" in figure.caption
    assert "Highest: 100 % at layer3, 20. Lowest: 12.5 % at layer3, 0." in figure.alt
    assert figure.data["value"].tolist()[:2] == [0.125, 1.0]


def test_best_over_layers():
    values = np.array([[0.1, np.nan, 0.7], [0.4, np.nan, 0.2]])
    np.testing.assert_array_equal(best_over_rows(values), [0.4, np.nan, 0.7])
    figure = heatmap(values, rows="ab", columns="xyz", title="t", best=True, column_title="timestep")
    assert figure_texts(figure).count("timestep") == 1
    curve = figure.drawing.axes[1].lines[0]
    np.testing.assert_allclose(curve.get_ydata(), [40, np.nan, 70])


def test_heatmap_of_other_shapes():
    with pytest.raises(UsageError, match=r"2 row names and 1 column names.*got \(1, 2\)"):
        heatmap(np.zeros((1, 2)), rows="ab", columns="x", title="t")
    nothing = heatmap(np.full((1, 1), np.nan), rows=["a"], columns=["b"], title="t")
    assert "There are no numbers." in nothing.alt
    large = heatmap(np.eye(40), rows=range(40), columns=range(40), title="t")
    assert "100" not in figure_texts(large)  # too small to be read: a colour bar in their place


def test_gain_is_pale_in_the_middle():
    figure = heatmap(np.array([[-0.2, 0.0, 0.1]]), rows=["a"], columns="xyz", title="t", centre=0.0)
    pixels = np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB")).astype(int)
    mesh = figure.drawing.axes[0].collections[0]
    lost, middle, gained = mesh.cmap(mesh.norm([-0.2, 0.0, 0.1]))[:, :3]
    assert middle.min() > 0.9
    assert abs(lost - middle).max() > abs(gained - middle).max() > 0.1
    assert (abs(pixels - (255 * lost).round()).max(-1) < 2).sum() > 500  # and that is what is drawn


def test_text_on_colours_can_be_read():
    assert shade(1, 1, 1) == shade(1, 0.9, 0.2) == "#000000"
    assert shade(0, 0, 0) == shade(0, 0.2, 0.5) == "#ffffff"


def test_bars_carry_their_intervals_and_floor():
    scores = {
        "svd": {"in": Score(0.8, 0.7, 0.9), "out": Score(0.5, 0.45, 0.6)},
        "_px": {"in": Score(0.6), "out": Score(None)},
    }
    figure = bars(scores, title="t", floor={"in": 0.1, "out": None})
    axes = figure.drawing.axes[0]
    np.testing.assert_allclose([p.get_height() for p in axes.patches], [80, 50, 60, np.nan])
    spans = [
        [path.vertices[:, 1].tolist() for path in lines.get_paths() if len(path.vertices)]
        for lines in axes.collections
    ]
    np.testing.assert_allclose(spans[0], [[70, 90], [45, 60]])
    np.testing.assert_allclose(spans[-1], [[10, 10]])
    assert {"svd", "prior floor"} <= set(figure_texts(figure))
    assert any(text.endswith("_px") for text in figure_texts(figure))
    assert "svd: in 80.0 %, out 50.0 %" in figure.alt
    np.testing.assert_array_equal(figure.data["floor"], [0.1, np.nan, 0.1, np.nan])


def test_confusion_is_a_share_of_the_true_class():
    counts = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    figure = confusion_matrix(counts, ["a", "b", "none"])
    written = [text for text in figure_texts(figure) if re.fullmatch(r"[\d.]+|–", text)]
    assert written == ["75.0", "25.0", "0.0", "0.0", "50.0", "50.0", "–", "–", "–"]
    assert "5 of 8 clips" in figure.alt
    assert figure.data.set_index(["true", "predicted"])["clips"]["a", "b"] == 1


def test_of_many_classes_the_most_confused_are_drawn():
    """A matrix of a million cells is neither drawn nor listed."""
    counts = np.diag(np.full(1000, 3))
    counts[700, 20] = 2  # rows have other sums now, and two pairs of classes are confused
    counts[5, 900] = 1
    names = [f"c{number}" for number in range(1000)]
    figure = confusion_matrix(counts, names)
    mesh = figure.drawing.axes[0].collections[0]
    shares = np.ma.getdata(mesh.get_array()).reshape(29, 30)
    np.testing.assert_allclose(shares.sum(1), 1)
    drawn = [label.get_text() for label in figure.drawing.axes[0].get_yticklabels()]
    assert {"c700", "c20", "c5", "c900"} < set(drawn)
    assert shares[drawn.index("c700"), drawn.index("c20")] == 2 / 5
    assert "(another class)" in figure_texts(figure)
    assert "Only the 29 of 1000 classes that are confused most often are drawn" in figure.caption
    assert len(figure.data) == 1002
    assert figure.data.set_index(["true", "predicted"])["clips"]["c700", "c20"] == 2
    table = confusion_table(counts, names)
    assert table.rows == (("c700", "c20", "2", "40.0 %"), ("c5", "c900", "1", "25.0 %"))
    assert confusion_table(np.eye(3, dtype=int), ["a", "b", "c"]) is None


def test_bars_of_many_classes_say_which_are_left_out():
    values = {f"c{number}": number / 100 for number in range(100)} | {"none": None}
    figure = class_bars(values, dict.fromkeys(values, 1), title="t")
    assert "1 class has no clips here and therefore no bar." in figure.caption
    assert "Only the best and the worst 30 of 100 classes are drawn" in figure.caption


def test_class_bars_in_order_with_support():
    figure = class_bars({"a": 0.2, "b": 0.9, "c": None}, {"a": 5, "b": 3, "c": 0}, title="t", average=0.55)
    assert figure.data["class"].tolist() == ["b", "a"]
    assert {"90  (n = 3)", "20  (n = 5)"} <= set(figure_texts(figure))
    assert "1 class has no clips here" in figure.caption
    assert class_bars({"c": None}, {"c": 0}, title="t").data.empty


def test_learning_curve_shows_what_is_there():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [1.0, 0.5, 0.25], "macro_map": [0.2, 0.6, 0.5]})
    figure = learning_curve(history, best_epoch=2)
    assert "from 1 to 0.25. The head has the weights of epoch 2 (dotted line)." in figure.alt
    assert "macro mAP" in figure_texts(figure)
    assert "accuracy" not in figure_texts(figure)
    right = figure.drawing.axes[1]
    np.testing.assert_allclose(right.lines[0].get_ydata(), [20, 60, 50])
    assert learning_curve(history[["epoch", "train_loss"]]).data.columns.tolist() == ["epoch", "train_loss"]


def test_frame_strip_takes_the_midst_of_each_part():
    frames = np.repeat(np.arange(0, 200, 10, dtype=np.uint8), 8 * 12 * 3).reshape(20, 8, 12, 3)
    picture = frame_strip(frames, "clip", num_frames=4, height_px=16)
    assert picture.pixels.shape == (16, 4 * 24 + 3 * 2, 3)
    assert [int(picture.pixels[8, 26 * i + 12, 0]) for i in range(4)] == [20, 70, 120, 170]
    assert picture.alt == "4 frames of a clip: clip"
    assert frame_strip(frames[:2], "short").pixels.shape[1] == 2 * 144 + 2
    with pytest.raises(UsageError, match="at least one"):
        frame_strip(frames[:0], "none")


def test_heat_strip_is_bright_where_the_heat_is():
    frames = np.full((3, 40, 60, 3), 90, np.uint8)
    heat = np.zeros((3, 2, 3))
    heat[:, 0, 2] = 1
    picture = heat_strip(frames, heat, "where", num_frames=1, height_px=40)
    assert picture.pixels.shape == (82, 60, 3)
    assert (picture.pixels[:40] == 90).all()
    below = picture.pixels[42:].astype(int).sum(-1)
    assert below[2, 57] > 2 * below[37, 2]
    assert "under a heatmap: where" in picture.alt
    with pytest.raises(UsageError, match="3 frames need heat"):
        heat_strip(frames, heat[:2], "where")
