"""Tables of a page."""

from actiondiff.evaluation.scores import ClassScores, PriorFloor, Scores, SideScores
from actiondiff.report.tables import ReportTable, Score, class_table, metric_table, score_table


def test_score_with_and_without_interval():
    assert str(Score(0.5, 0.4, 0.625)) == "50.0 % (40.0 to 62.5)"
    assert str(Score(0.5)) == str(Score(0.5, float("nan"), float("nan"))) == "50.0 %"
    assert str(Score(None)) == "–"


def test_score_table_has_a_row_for_the_floor():
    scores = {"a": {"x": Score(0.5)}, "b": {"x": Score(0.25), "y": Score(1.0)}}
    grid = score_table(scores, caption="c", corner="model", floor={"x": 0.125})
    assert grid.columns == ("model", "x", "y")
    assert grid.rows == (
        ("a", "50.0 %", "–"), ("b", "25.0 %", "100.0 %"), ("prior floor", "12.5 %", "–"),
    )  # fmt: skip
    assert grid.last_is_floor
    assert not score_table(scores, caption="c").last_is_floor


def test_csv_of_a_table():
    grid = ReportTable(("a", "b"), (("1,5", 'say "x"'),), "c")
    assert grid.csv() == 'a,b\n"1,5","say ""x"""\n'


def test_metrics_say_what_they_rest_on():
    side = SideScores(
        num_clips=24,
        scores=Scores(num_clips=24, accuracy=0.5, num_classes_without_clips=2),
        intervals={"accuracy": (0.4, 0.6)},
        prior_floor=PriorFloor(accuracy=0.25),
    )
    grid = metric_table(side, caption="c")
    assert grid.rows == (("accuracy", "50.0 %", "40.0 to 60.0 %", "25.0 %"),)
    assert grid.note.startswith("24 clips.")
    assert "2 classes have no clip" in grid.note


def test_classes_with_their_support():
    entry = ClassScores(
        label="eat", support=3, predicted=0, precision=None, recall=0.0, f1=0.0, average_precision=0.5
    )
    grid = class_table([entry], {"eat": 7}, caption="c")
    assert grid.rows == (("eat", "7", "3", "0", "–", "0.0 %", "0.0 %", "50.0 %"),)
    assert class_table([entry], None, caption="c").rows[0][1] == "–"
