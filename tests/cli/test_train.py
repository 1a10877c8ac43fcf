"""`actiondiff train` and `evaluate`: what they print, what they write, and how they exit."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from actiondiff.cli.main import run


@pytest.fixture
def train(study_folder, quick, tmp_path):
    """Runs `actiondiff train` on the made clips; returns the exit code."""

    def command(*arguments, table=None, out="run", store=None):
        store, table = store or study_folder / "features", table or study_folder / "table.csv"
        return run(["train", str(store), str(table), "-o", str(tmp_path / out), *quick, *arguments])

    return command


def test_train_then_again(train, tmp_path, capsys):
    assert train() == 0
    shown = capsys.readouterr().out
    assert "12 training, 0 validation and 4 test clips" in shown  # too few to choose by, so they train
    assert "NOT SHOWN TO BE BETTER THAN GUESSING: accuracy" in shown.splitlines()[0]
    assert "So few clips may be right by luck." in shown
    assert "accuracy" in shown
    assert "prior floor" in shown
    assert "Only 4 clips were tested: the score means little." in shown
    assert "Fewer than 10 training clips for" in shown
    assert (tmp_path / "run/model.safetensors").exists()
    assert train("--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again == json.loads((tmp_path / "run/metrics.json").read_text())
    assert again["counts"] == {"train": 12, "validation": 0, "test": 4}


def test_a_domain(train, tmp_path, capsys):
    assert train("--domain", "site", "--source", "north", "--target", "rest", "--layer", "3", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["feature"] == "t20.layer3"
    assert metrics["counts"]["test"] == 8
    assert list(metrics["test"]["by_domain"]) == ["south"]
    recipe = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())
    assert recipe["protocol"]["domain"] == "site"
    assert recipe["protocol"]["source"] == ["north"]


def test_seeds_recipe_and_order_of_options(train, study_folder, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("training: {batch_size: 4}\nseed: 7\nseeds: 3\n")
    assert train("--recipe", str(tmp_path / "mine.yaml"), "--seeds", "2", "--set", "seed=9") == 0
    shown = capsys.readouterr().out
    assert "(sd " in shown
    assert "over 2 seeds" in shown
    recipe = yaml.safe_load((tmp_path / "run/seed-1/recipe.yaml").read_text())
    assert (recipe["seed"], recipe["training"]["batch_size"]) == (10, 4)
    assert (
        run(
            ["evaluate", *map(str, (tmp_path / "run", study_folder / "features", study_folder / "table.csv"))]
        )
        == 0
    )


def test_a_folder_per_class_moved_elsewhere(train, study_folder, tmp_path, capsys):
    for number in range(16):
        target = tmp_path / "by class" / ("dark", "bright")[number % 2] / f"{number}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((study_folder / f"clips/{number}.mp4").read_bytes())
    assert train(table=tmp_path / "by class") == 1
    assert "none of the" in capsys.readouterr().err
    table = study_folder / "table.csv"
    (tmp_path / "table.csv").write_text(table.read_text())
    assert train(table=tmp_path / "table.csv", out="moved") == 1
    assert train("--root", str(study_folder), table=tmp_path / "table.csv", out="moved") == 0


WRONG = [
    (["--layer", "6"], "unknown feature", "t20.layer3, t20.layer9"),
    (["--timestep", "3"], "unknown feature", "Choose with --timestep and --layer"),
    (["--domain", "sites", "--source", "north"], "unknown column", "'site'"),
    (["--domain", "site", "--source", "nord"], "unknown value of site", "'north'"),
    (["--domain", "site"], "domain and source belong together", ""),
    (["--recipe", "defualt"], "unknown recipe", "'default'"),
    (["--set", "training.epoch=3"], "training.epoch", "'epochs'"),
]


@pytest.mark.parametrize(("arguments", "what", "instead"), WRONG)
def test_wrong_options_are_said_in_one_line(train, arguments, what, instead, tmp_path, capsys):
    assert train(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("actiondiff: ")
    assert error.count("\n") == 1
    assert what in error
    assert instead in error
    assert not (tmp_path / "run").exists()


TABLES = [
    ("clip_number,label\n0,dark\n", "the column video is missing"),
    ("video,label\n,dark\nclips/1.mp4,a\n", "row 2: video is empty"),
    ("video,label\nclips/0.mp4,dark\nclips/2.mp4,dark\n", "only the class 'dark'"),
    ("video,label\nclips/0.mp4,\nclips/1.mp4,\n", "has no labels"),
    (
        "video,label,split\nclips/0.mp4,a,train\nclips/1.mp4,b,train\nclips/2.mp4,c,test\n",
        "1 of 3 classes have no training clip with features: 'c'",
    ),
    ("video,label\ngone/0.mp4,a\ngone/1.mp4,b\n", "gone/0.mp4 is not in the store"),
]


@pytest.mark.parametrize(("text", "said"), TABLES)
def test_tables_that_cannot_be_learnt_from(train, study_folder, tmp_path, text, said, capsys):
    (tmp_path / "t.csv").write_text(text)
    assert train("--root", str(study_folder), table=tmp_path / "t.csv") == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_missing_paths(train, tmp_path, capsys):
    assert train(table=tmp_path / "gone.csv") == 1
    assert "there is no table at" in capsys.readouterr().err
    assert train(store=tmp_path / "gone") == 1
    assert "not a feature store" in capsys.readouterr().err


def test_evaluate(study_folder, trained, tmp_path, capsys):
    capsys.readouterr()
    arguments = list(map(str, (trained, study_folder / "features", study_folder / "table.csv")))
    assert run(["evaluate", *arguments, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "12 clips were left out: the model was trained or selected on them." in shown
    assert "4 test clips" in shown
    assert "Only 4 clips were tested" in shown
    assert len(pd.read_csv(tmp_path / "out/predictions.csv")) == 4
    assert json.loads((tmp_path / "out/metrics.json").read_text())["num_clips"] == 4
    assert run(["evaluate", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_clips"] == 4


def test_evaluate_with_what_does_not_fit(study_folder, trained, tmp_path, capsys):
    store, table = study_folder / "features", study_folder / "table.csv"
    (tmp_path / "t.csv").write_text("video,label\nclips/0.mp4,asleep\n")
    root = ["--root", str(study_folder)]
    assert run(["evaluate", str(trained), str(store), str(tmp_path / "t.csv"), *root]) == 1
    assert "unknown label 'asleep'. Known: bright, dark." in capsys.readouterr().err
    other = ["--height", "32", "--width", "32", "--window", "2", "--device", "cpu", "--layers", "9"]
    assert run(["extract", str(table), "-o", str(tmp_path / "other"), *other]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(trained), str(tmp_path / "other"), str(table)]) == 1
    error = capsys.readouterr().err
    assert "backbone.window: 2 against 4" in error
    assert "sampling.stride: 4 against 2" in error
    assert error.count("\n") == 1


def test_many_domains_are_counted_and_few_are_shown(train, study_folder, tmp_path, capsys):
    rows = (study_folder / "table.csv").read_text().splitlines()
    text = [f"{row},{'place' if i == 0 else 'p' + str(i // 2)}" for i, row in enumerate(rows)]
    (tmp_path / "t.csv").write_text("\n".join(text))
    shift = ["--root", str(study_folder), "--domain", "place", "--set", "protocol.validation_share=0"]
    assert train(*shift, "--source", "p1,p2", table=tmp_path / "t.csv", out="many") == 0
    shown = capsys.readouterr().out
    assert "the scores of each of 7 domains are in metrics.json" in shown  # p0 and p3 to p8
    assert "p3: " not in shown
    assert train(*shift, "--source", "p1,p2", "--target", "p3,p4", table=tmp_path / "t.csv", out="few") == 0
    shown = capsys.readouterr().out
    assert "p3: 2 test clips" in shown
    assert "p4: 2 test clips" in shown


def test_names_are_shown_as_they_are(train, study_folder, tmp_path, capsys):
    """Names with brackets or colons are no markup; stray separators are no labels."""
    text = (study_folder / "table.csv").read_text()
    text = text.replace(",dark", ",;[/dark];").replace(",bright", ",:smile: [bright]")
    text = text.replace(",north", ",[/n]").replace(",south", ",[/s]")
    for old, new in (("clips/0.mp4", "[b].mp4"), ("clips/1.mp4", "ü ß.mp4")):
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / new).write_bytes((study_folder / old).read_bytes())
    (tmp_path / "a table.csv").write_text(text, "utf-8")
    arguments = ["--root", str(study_folder), "--domain", "site", "--source", "[/n]", "--target", "[/s]"]
    assert train(*arguments, table=tmp_path / "a table.csv") == 0
    assert "site: [/n] -> [/s]" in capsys.readouterr().out
    predicted = ["predict", str(tmp_path / "run"), str(tmp_path / "odd"), "--device", "cpu"]
    assert run([*predicted, "-o", str(tmp_path / "my results")]) == 0
    shown = capsys.readouterr().out
    assert "[b].mp4" in shown
    assert "ü ß.mp4" in shown
    assert "[/dark]" in shown or ":smile: [bright]" in shown


def test_evaluate_writes_to_a_folder_alone(trained, study_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = list(map(str, (trained, study_folder / "features", study_folder / "table.csv")))
    assert run(["evaluate", *arguments, "-o", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert train_into(tmp_path / "file" / "run", study_folder) == 1
    error = capsys.readouterr().err
    assert "is a file or lies in one" in error
    assert error.count("\n") == 1


def train_into(folder, study_folder) -> int:
    return run(["train", str(study_folder / "features"), str(study_folder / "table.csv"), "-o", str(folder)])


def test_wrong_usage(capsys):
    for arguments, said in (
        (["train", "store", "table.csv"], "--out"),
        (["train", "-o", "run"], "Missing argument"),
        (["train", "a", "b", "-o", "run", "--layers", "9"], "--layers"),
        (["train", "a", "b", "-o", "run", "--seeds", "many"], "--seeds"),
        (["evaluate", "run"], "Missing argument"),
    ):
        assert run(arguments) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "recipe", "datasets"])
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys; from actiondiff.cli.main import run; run([sys.argv[1], '--help']); "
        "print(sorted({'torch', 'pandas', 'av', 'lightning'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")


def test_compare(train, tmp_path, capsys):
    """Two trainings on the same clips; against a run on other clips it is said what is wrong."""
    domain = ("--domain", "site", "--source", "north")
    assert train(*domain, "--layer", "9", out="a") == 0
    assert train(*domain, "--layer", "3", out="b") == 0
    assert train("--domain", "site", "--source", "south", out="c") == 0
    capsys.readouterr()
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "8 clips of 8 groups; 1 and 1 training runs" in shown
    assert "exact McNemar p" in shown
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    scores = [
        json.loads((tmp_path / name / "metrics.json").read_text())["test"]["scores"]["accuracy"]
        for name in "ab"
    ]
    assert found["differences"]["accuracy"]["value"] == pytest.approx(scores[0] - scores[1])
    assert (found["num_clips"], found["num_apart"]) == (8, 0)
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 1
    assert "no test clip in common" in capsys.readouterr().err
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 1
    assert "Give a folder of actiondiff train" in capsys.readouterr().err


def test_a_folder_per_class_is_asked_for_its_recordings(study_folder, tmp_path, caplog):
    for name in ("dark/cam1_1.mp4", "dark/cam1_2.mp4", "bright/cam2_1.mp4"):
        (tmp_path / "byclass" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study_folder / "clips/0.mp4", tmp_path / "byclass" / name)
    assert run(["train", str(study_folder / "features"), str(tmp_path / "byclass"), "-o", "x"]) == 1
    assert "nothing says which of 3 videos are of one recording" in caplog.text  # before features are missed
    assert "actiondiff start proposes groups" in caplog.text
