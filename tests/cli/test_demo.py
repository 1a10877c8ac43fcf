"""The demo, small: the whole road in one command."""

import json

from actiondiff.cli.app import run


def test_demo_runs_tells_the_truth_and_goes_on_where_it_was(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path / "d"), "--train", "32", "--test", "8"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "random numbers, not trained" in " ".join(shown.split())
    found = json.loads((tmp_path / "d/demo.json").read_text("utf-8"))
    names = [row["features"] for row in found["rows"]]
    assert names == [
        "tiny layer3",
        "tiny layer6",
        "tiny layer9",
        "tiny layer12",
        "pixels layer1",
        "motion layer1",
    ]
    for row in found["rows"]:
        assert set(row["accuracy"]) == {"in-domain", "species", "context", "view"}
        assert all(0 <= value <= 1 for value in row["accuracy"].values())
    assert set(found["prior"].values()) == {0.125}  # eight actions, equally frequent
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == found["rows"]
    assert run([*arguments, "--seed", "1"]) == 1
    assert "other numbers" in capsys.readouterr().err
