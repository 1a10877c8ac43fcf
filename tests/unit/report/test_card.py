"""Numbers as a person reads them, and the sentences that qualify them."""

import pytest

from actiondiff.evaluation.scores import PriorFloor, Scores, SideScores
from actiondiff.report.card import cautions, percent, score_rows


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.71234, "71.2 %"), (0.0, "0.0 %"), (1, "100.0 %"), (None, "–"), (float("nan"), "–")],
)
def test_percent(value, shown):
    assert percent(value) == shown


def test_a_row_for_each_score_that_exists():
    side = SideScores(
        num_clips=24,
        scores=Scores(num_clips=24, micro_map=0.5, macro_map=0.25),
        intervals={"micro_map": (0.4, 0.6)},
        prior_floor=PriorFloor(micro_map=0.3),
    )
    assert score_rows(side) == [
        ("micro mAP", "50.0 %", "40.0 to 60.0 %", "30.0 %"),
        ("macro mAP", "25.0 %", "–", "–"),
    ]


def test_nothing_to_warn_of():
    assert cautions(30, {"eat": 10, "run": 500}) == []


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((0, {}), {}, "nothing is known"),
        ((29, {}), {}, "Only 29 clips were tested"),
        ((99, {}), {"released": True}, "too high to expect again"),
        ((99, {"eat": 9, "run": 10, "sit": 2}), {}, "Fewer than 10 training clips for sit (2), eat (9):"),
        ((99, {str(i): i for i in range(9)}), {}, "5 (5) and 3 more"),
        (
            (99, {}),
            {"partial": {"a.mp4": 0.9, "b.mp4": 0.25}},
            "2 videos decoded in part only, the least b.mp4 (25%)",
        ),
    ],
)
def test_cautions(arguments, options, said):
    (sentence,) = cautions(*arguments, **options)
    assert said in sentence
