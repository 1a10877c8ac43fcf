"""The choice of a head's input, without the clips that the head is tested on."""

from itertools import combinations

import pandas as pd
import pytest

from actiondiff.datasets.base import Table
from actiondiff.start.inputs import INPUTS, STANDARDISED, FoldTraining, can_choose, choose_inputs
from actiondiff.types import Example

FOLDS = 4


def write_run(folder, right):
    """Predictions of one clip of each class of each tested fold, right or wrong by fold."""
    folder.mkdir(parents=True)
    rows = []
    for fold, is_right in right.items():
        for label, other in (("a", "b"), ("b", "a")):
            best = label if is_right else other
            rows.append(
                {"video": f"{fold}{label}.mp4", "start_seconds": "", "end_seconds": "", "group": f"g{fold}",
                 "label": label, "predicted": best, "p(a)": float(best == "a"), "p(b)": float(best == "b")}
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "predictions.csv.gz", index=False)
    return folder


def choose(tmp_path, is_right):
    """`is_right(input, fold, other)`: of the head without both folds, on the fold."""
    pairs = []

    def train_without(kind, pair):
        pairs.append((kind, pair))
        right = {fold: is_right(kind, fold, sum(pair) - fold) for fold in pair}
        return write_run(tmp_path / f"{kind}-{pair[0]}-{pair[1]}", right)

    chosen = choose_inputs("pixels", lambda group: int(group[1:]), FOLDS, train_without, multi_label=False)
    assert sorted(pairs) == sorted((kind, pair) for kind in INPUTS for pair in combinations(range(FOLDS), 2))
    return chosen


def test_the_input_that_does_better_on_the_other_folds_is_chosen(tmp_path):
    chosen = choose(tmp_path, lambda kind, fold, other: kind == "minus-background")
    assert chosen.by_fold == ("minus-background",) * 4
    assert chosen.overall == "minus-background"
    assert chosen.sentence.startswith("pixels: standardised 0 %, minus-background 100 %")
    assert chosen.note == "without the place in 4 of 4 folds"


def test_the_fold_that_is_tested_on_does_not_count(tmp_path):
    # Without the place, heads are right on fold 0 and nowhere else; otherwise they are right on fold 1 alone.
    chosen = choose(tmp_path, lambda kind, fold, other: fold == (0 if kind == "minus-background" else 1))
    # Fold 0's own clips would speak for taking the place away, but only the others may: these speak against.
    assert chosen.by_fold == ("standardised", "minus-background", "standardised", "standardised")
    assert chosen.overall == "standardised"
    assert chosen.note == "without the place in 1 of 4 folds"


def test_of_equal_inputs_the_simpler_one_is_chosen(tmp_path):
    chosen = choose(tmp_path, lambda kind, fold, other: True)
    assert set(chosen.by_fold) == {"standardised"} == {chosen.overall}
    assert chosen.note == ""


def test_every_class_must_be_left_without_any_two_folds():
    clips = [Example(f"{n}.mp4", ("ab"[n % 2],)) for n in range(8)]
    assert can_choose(clips, [n // 2 for n in range(8)])
    assert not can_choose(clips, [n // 4 for n in range(8)])  # two folds
    assert not can_choose([*clips, Example("c.mp4", ("c",))], [*(n // 2 for n in range(8)), 0])


@pytest.mark.parametrize(
    ("name", "fixed", "options"),
    [
        ("motion", (), ("--set", "head.input=scaled")),
        ("motion", ("--set", "head.input=plain"), ()),
        ("pixels", (), ()),
        ("lite0", (), ()),
    ],
)
def test_the_control_of_motion_reads_scaled_tokens_unless_an_input_is_asked_for(
    tmp_path, name, fixed, options
):
    training = FoldTraining(tmp_path, lambda *_: None, print, Table(tmp_path, tmp_path, ()), 4, None, fixed)
    assert training.input_options(name, STANDARDISED) == options
