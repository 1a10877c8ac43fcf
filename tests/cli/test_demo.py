"""The demo, small: the whole road in one command."""

import json

from actiondiff.cli.main import run


def test_demo_runs_tells_the_truth_and_goes_on_where_it_was(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path / "d"), "--train", "32", "--test", "8"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "d/demo.json").read_text("utf-8"))
    network = [f"tiny t{timestep} layer{layer}" for timestep in (18, 22, 25) for layer in (1, 3, 4)]
    assert [row["features"] for row in found["rows"]] == [*network, "pixels", "motion"]
    best = max(found["rows"][:-2], key=lambda row: row["validation"])
    assert found["chosen"] == best  # by source clips alone
    assert best["features"] in shown
    assert "report.html" in shown
    page = (tmp_path / "d/report.html").read_text("utf-8")
    assert "unseen species" in page
    assert best["features"] in page
    assert page.count("data:image/jpeg") == 12  # three clips of each test
    assert "://" not in page.replace("http://www.w3.org", "")  # nothing from elsewhere
    for row in found["rows"]:
        assert set(row["accuracy"]) == {"in-domain", "species", "context", "view"}
        assert all(0 <= value <= 1 for value in row["accuracy"].values())
    assert set(found["prior"].values()) == {0.125}  # eight actions, equally frequent
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == found["rows"]
    assert run([*arguments, "--seed", "1"]) == 1
    assert "a demo with other numbers of clips or another seed" in capsys.readouterr().err
