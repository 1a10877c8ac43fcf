"""`actiondiff recipe`: recipes listed, shown with every value, copied and checked."""

import pytest
import yaml

from actiondiff.cli.main import run
from actiondiff.experiments.recipe import list_recipes, load_recipe


def test_recipe_commands(tmp_path, capsys):
    assert run(["recipe", "ls"]) == 0
    assert "paper/animal-kingdom: " in capsys.readouterr().out
    assert run(["recipe", "show", "demo", "--set", "training.epochs=99"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["training"]["epochs"], shown["training"]["focal_gamma"]) == (99, 2.0)
    mine = tmp_path / "mine.yaml"
    assert run(["recipe", "copy", "demo", str(mine)]) == 0
    assert run(["recipe", "check", str(mine)]) == 0
    assert run(["recipe", "copy", "demo", str(mine)]) == 1
    assert "exists already" in capsys.readouterr().err
    mine.write_text(mine.read_text().replace("epochs:", "epoks:", 1))
    assert run(["recipe", "check", str(mine)]) == 1
    assert "'epochs'" in capsys.readouterr().err


def test_every_recipe_is_listed_and_checked(capsys):
    assert run(["recipe", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list_recipes()
    assert all(len(line.split(": ", 1)[1]) > 10 for line in lines)
    for name in list_recipes():
        assert run(["recipe", "check", name]) == 0
        assert f"{name} is valid" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["default", "paper/animal-kingdom", "protocols/unseen-species"])
def test_what_is_shown_is_a_recipe(name, tmp_path, capsys):
    assert run(["recipe", "show", name]) == 0
    (tmp_path / "whole.yaml").write_text(capsys.readouterr().out, "utf-8")
    assert load_recipe(tmp_path / "whole.yaml") == load_recipe(name)


def test_a_recipe_with_lists_is_shown_as_its_studies(capsys):
    assert run(["recipe", "show", "paper/tableS5", "--set", "extraction={backbone: svd-xt}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "18 studies:"
    assert "  HMDB to UCF, layer 9 (published: 81.5 %)" in lines
    assert run(["recipe", "check", "paper/tableS5"]) == 0
    assert "paper/tableS5 is valid: 72 studies." in capsys.readouterr().out


def test_copy_into_a_new_folder(tmp_path):
    assert run(["recipe", "copy", "paper/ucf-hmdb", str(tmp_path / "my study" / "a.yaml")]) == 0
    assert load_recipe(tmp_path / "my study" / "a.yaml") == load_recipe("paper/ucf-hmdb")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "defualt"], "Did you mean 'default'"),
        (["show", "gone.yaml"], "Or give the path of a YAML file"),
        (["copy", "demmo", "new.yaml"], "Did you mean 'demo'"),
        (["show", "default", "--set", "head.nam=mlp"], "Did you mean 'name'"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["recipe", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
