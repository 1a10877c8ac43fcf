"""Ethograms, budgets and transitions of bouts that are few enough to count by hand."""

import math
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from tests.conftest import figure_texts

from actiondiff.errors import UsageError
from actiondiff.report.budget_figures import budget_table, clock, time_budget, time_budgets
from actiondiff.report.drawing import INK, PHONE_INCHES, SERIES, behaviour_colours
from actiondiff.report.ethogram_figures import ethogram, score_lines, transition_counts, transition_matrix
from actiondiff.types import Bout

LABELS = ("eat", "run", "_sit")
VIDEOS = {
    "a.mp4": [Bout("run", 4, 5), Bout("eat", 0, 3, 0.5), Bout("eat", 6, 7)],
    "b.mp4": [Bout("eat", 1, 2), Bout("run", 1, 9)],
}
DURATIONS = {"a.mp4": 10.0, "b.mp4": 30.0}


def test_time_budget():
    budget = time_budget(VIDEOS, DURATIONS, LABELS).set_index("behaviour")
    assert budget.loc["eat"].to_list() == [3, 5, 0.125, pytest.approx(5 / 3), 1, 4.5]
    assert budget.loc["run", "share"] == pytest.approx(9 / 40)
    assert budget.loc["_sit", "bouts"] == 0
    assert math.isnan(budget.loc["_sit", "median_seconds"])
    grid = budget_table(budget.reset_index())
    assert grid.rows[0] == ("eat", "3", "0:05.0", "12.5 %", "1.7", "1.0", "4.50")
    assert grid.rows[2][4:] == ("–", "–", "0.00")


def test_transitions_stay_within_a_video_and_follow_time():
    counts = transition_counts(VIDEOS, LABELS)
    # a: eat, run, eat; b: eat and run begin together, in the labels' order
    assert counts.tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 0]]
    figure = transition_matrix(VIDEOS, LABELS)
    written = [text for text in figure_texts(figure) if re.fullmatch(r"[\d.]+|–", text)]
    assert written == ["0.0", "100", "0.0", "100", "0.0", "0.0", "–", "–", "–"]
    assert figure.data.set_index(["from", "to"])["transitions"]["eat", "run"] == 2


@pytest.mark.parametrize(
    "labels", [["走る" * 20, "食べる" * 20], [f"{n} of thirty long behaviours" for n in range(30)]]
)
def test_long_names_leave_room_for_the_figure(labels):
    """Where they do not, matplotlib warns that it gives up, and warnings are errors here."""
    videos = {"a.mp4": [Bout(labels[0], 0, 3), Bout(labels[1], 3, 5)]}
    for figure in (transition_matrix(videos, labels), ethogram(videos, {"a.mp4": 9.0}, labels=labels)):
        figure.svg()
        size = figure.drawing.get_size_inches()
        axes = figure.drawing.axes[0].get_position()
        assert axes.width * size[0] > 1
        assert axes.height * size[1] > 0.4


def test_ethogram_draws_each_bout_in_its_place():
    figure = ethogram(VIDEOS, DURATIONS, labels=LABELS)
    boxes = [
        tuple(np.round((path.vertices[:, 0].min(), path.vertices[:, 0].max()), 6))
        for collection in figure.drawing.axes[0].collections
        for path in collection.get_paths()
    ]
    assert boxes == [(0, 10), (0, 3), (6, 7), (4, 5), (0, 30), (1, 2), (1, 9)]
    assert figure.data["probability"].tolist() == [1, 0.5, 1, 1, 1]
    assert "5 bouts in 2 videos" in figure.caption
    assert any(text.endswith("_sit") for text in figure_texts(figure))


def test_labelled_bouts_are_beside_the_predicted():
    figure = ethogram(VIDEOS, DURATIONS, labels=LABELS, truth={"a.mp4": [Bout("run", 4, 6)]})
    assert figure.data["source"].value_counts().to_dict() == {"predicted": 5, "labelled": 1}
    assert "labelled by a person" in figure_texts(figure)


def test_more_videos_than_fit():
    many = {f"{i:03d}.mp4": VIDEOS["a.mp4"] for i in range(40)}
    figure = ethogram(many, dict.fromkeys(many, 10.0), labels=LABELS)
    assert "Only the first 30 videos are drawn" in figure.caption
    assert len(figure.data) == 120


def test_of_a_thousand_behaviours_those_with_the_most_time_are_drawn():
    labels = [f"b{number}" for number in range(1000)]
    bouts = [Bout(f"b{number}", number, number + number / 100) for number in range(100)]
    videos = {f"{number}.mp4": bouts for number in range(20)}
    lengths = dict.fromkeys(videos, 200.0)
    budget = time_budget(videos, lengths, labels)
    shares = {"predicted": dict(zip(budget["behaviour"], budget["share"], strict=True))}
    strips, bars, arrows = (
        ethogram(videos, lengths, labels=labels),
        time_budgets(shares),
        transition_matrix(videos, labels),
    )
    for figure in (strips, bars, arrows):
        assert figure.drawing.get_size_inches().max() < 60
        assert "Only the 30 of 1000 behaviours with the most" in figure.caption
    assert "b99" in figure_texts(strips)
    assert "b69" not in figure_texts(strips)
    assert "Only the first 10 videos are drawn" in strips.caption
    colour = bars.drawing.axes[0].patches[0].get_facecolor()[:3]
    assert colour == to_rgb(behaviour_colours(labels)["b70"])  # as in the ethogram
    assert (len(strips.data), len(bars.data), len(arrows.data)) == (2000, 1000, 99)
    assert arrows.data["transitions"].sum() == 20 * 99


def test_budgets_side_by_side():
    figure = time_budgets({"predicted": {"eat": 0.125}, "labelled": {"eat": 0.25, "run": 0.5}})
    widths = [patch.get_width() for patch in figure.drawing.axes[0].patches]
    np.testing.assert_allclose(widths, [12.5, np.nan, 25, 50])
    assert "predicted: eat 12.5 %; labelled: eat 25.0 %, run 50.0 %" in figure.alt


def test_scores_over_time():
    scores = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    figure = score_lines(np.array([0.0, 0.5]), scores, LABELS, thresholds={"eat": 0.4})
    assert "eat ≥ 0.40" in figure_texts(figure)
    assert "_sit up to 70.0 %" in figure.alt
    assert figure.data.columns.tolist() == ["seconds", "p(eat)", "p(run)", "p(_sit)"]
    with pytest.raises(UsageError, match="2 times and 2 labels"):
        score_lines(np.array([0.0, 0.5]), scores, LABELS[:2])


@pytest.mark.parametrize("videos", [{}, {"a.mp4": [Bout("fly", 0, 1)]}])
def test_what_cannot_be_drawn(videos):
    for draw in (transition_counts, lambda v, labels: ethogram(v, DURATIONS, labels=labels)):
        with pytest.raises(UsageError, match=r"no video|labels that are not among"):
            draw(videos, LABELS)
    with pytest.raises(UsageError, match=r"no video|labels|length"):
        time_budget(videos, {"a.mp4": 0.0}, LABELS)


@pytest.mark.parametrize(
    ("seconds", "text", "with_tenths"),
    [
        (0, "0:00", "0:00.0"),
        (59.96, "1:00", "1:00.0"),
        (75.26, "1:15", "1:15.3"),
        (3675, "1:01:15", "1:01:15.0"),
    ],
)
def test_times_are_minutes_and_seconds(seconds, text, with_tenths):
    assert clock(seconds) == text
    assert clock(seconds, tenths=True) == with_tenths


def test_a_behaviour_has_one_colour():
    """The bars of the predicted budget have the colours of the ethogram; a person's have their own."""
    figure = time_budgets({"predicted": {"a": 0.2, "b": 0.3}, "labelled": {"a": 0.1, "b": 0.4}})
    colours = [patch.get_facecolor()[:3] for patch in figure.drawing.axes[0].patches]
    assert colours[:2] == [to_rgb(SERIES[0]), to_rgb(SERIES[1])]
    assert set(colours[2:]) == {to_rgb(INK)}


def test_up_to_24_behaviours_have_different_colours():
    colours = behaviour_colours([str(number) for number in range(24)])
    assert len(set(colours.values())) == 24
    assert tuple(colours.values())[:8] == SERIES


def test_figures_for_phones_hold_the_same_at_the_full_size_of_their_text():
    shares = {"predicted": dict.fromkeys(LABELS, 0.1)}
    for figure in (ethogram(VIDEOS, DURATIONS, labels=LABELS), time_budgets(shares)):
        assert figure.phone is not None
        assert figure.phone.get_figwidth() == PHONE_INCHES
        wide, narrow = re.findall("<svg.*?</svg>", figure.inline_svg("figure1"), flags=re.DOTALL)
        assert 'class="wide"' in wide
        assert 'class="narrow"' in narrow
        # No text is smaller than 8 points, and the drawing is never made smaller than it is.
        assert f"width: {96 * PHONE_INCHES:.0f}px; min-width: 340px" in narrow
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", narrow)]
        assert min(sizes) >= 8
        for label in LABELS:
            assert label.lstrip("_") in narrow
