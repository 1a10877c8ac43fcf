"""Recipes: every shipped one works, and what is misspelt in one's own is said."""

from pathlib import Path

import pytest
import torch
import yaml

import actiondiff
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import load_grid
from actiondiff.experiments.recipe import Recipe, list_recipes, load_recipe, recipe_text
from actiondiff.heads import build_head
from actiondiff.training.losses import loss_function


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        (tmp_path / "mine.yaml").write_text(text)
        return tmp_path / "mine.yaml"

    return to_file


def shipped() -> list[str]:
    package = Path(actiondiff.__file__).parent
    folders = {"": package / "experiments/recipes", "paper/": package / "paper/recipes"}
    return sorted(
        prefix + path.relative_to(folder).with_suffix("").as_posix()
        for prefix, folder in folders.items()
        for path in folder.rglob("*.yaml")
    )


def test_the_list_is_the_folder():
    assert list_recipes() == shipped()
    assert {"default", "demo", "paper/animal-kingdom", "paper/charades-ego", "paper/ucf-hmdb"} <= {*shipped()}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_dry_run(name):
    """It loads, says what it is, and each head and loss of its studies takes a step."""
    grid = load_grid(name)
    assert grid.description
    slugs = [point.slug for point in grid.cells]
    assert len(set(slugs)) == len(slugs)
    for recipe in {(p.recipe.head, p.recipe.training): p.recipe for p in grid.cells}.values():
        head = build_head(recipe.head, 64, 3)
        logits = head(torch.zeros(2, 5, 64), torch.ones(2, 5, dtype=torch.bool))
        loss_function(recipe.training)(logits, torch.eye(3)[:2]).backward()
        assert Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))) == recipe


def test_the_papers_settings(shared_dir):
    """The paper's recipes say what the released scripts do."""
    published = yaml.safe_load((shared_dir / "paper" / "results.yaml").read_text("utf-8"))["settings"]
    extraction = yaml.safe_load((shared_dir / "paper" / "results.yaml").read_text("utf-8"))["extraction"]
    losses = {"focal": "sigmoid-focal", "cross_entropy": "cross-entropy"}
    for name in ("animal-kingdom", "charades-ego", "ucf-hmdb"):
        recipe, there = load_recipe(f"paper/{name}"), published[name.replace("-", "_")]["svdxt"]
        training = recipe.training
        assert (recipe.head.name, recipe.head.layers, recipe.head.heads) == (
            "transformer",
            there["layers"],
            8,
        )
        assert recipe.head.max_tokens == there["max_tokens"]
        assert (training.learning_rate, training.weight_decay) == (there["peak_lr"], there["weight_decay"])
        assert (training.batch_size, training.warmup_epochs) == (16, 4)
        assert (training.loss, training.mixup) == (losses[there["loss"]], there["mixup_alpha"])
        if "focal_alpha" in there:
            assert (training.focal_alpha, training.focal_gamma) == (
                there["focal_alpha"],
                there["focal_gamma"],
            )
        epochs, seeds = there["epochs"], there["seed"]
        assert training.epochs in (epochs.values() if isinstance(epochs, dict) else [epochs])
        assert recipe.seed in (seeds.values() if isinstance(seeds, dict) else [seeds])
        assert recipe.features.timestep == extraction["paper"]["timestep"]
        assert recipe.features.layer == extraction["paper"]["layer"]


def test_the_later_wins(write):
    path = write("seed: 3\ntraining: {epochs: 20, loss: bce}\nhead:\n")
    assert load_recipe(path).training.epochs == 20
    assert load_recipe(path).training.mixup == Recipe().training.mixup
    values = {"training.epochs": 30, "features.layer": 9}
    assert load_recipe(path, values=values).training.epochs == 30
    both = load_recipe(path, values=values, overrides=["training.epochs=40", "head.layers=2"])
    assert (both.training.epochs, both.training.loss, both.seed) == (40, "bce", 3)
    assert (both.features.layer, both.head.layers) == (9, 2)


def test_values_are_read_as_yaml():
    recipe = load_recipe("default", overrides=["training.learning_rate=1e-4", "features.layer=clip"])
    assert recipe.training.learning_rate == 1e-4
    assert recipe.features.layer == "clip"
    assert load_recipe("default", overrides=["features.layer=9"]).features.layer == 9


@pytest.mark.parametrize(
    ("written", "meant"),
    [("a", ("a",)), ("a, b", ("a", "b")), ("[a, b]", ("a", "b")), ("[1, 2]", ("1", "2")), ("7", ("7",))],
)
def test_values_of_a_domain(written, meant):
    recipe = load_recipe("default", overrides=["protocol.domain=site", f"protocol.source={written}"])
    assert recipe.protocol.source == meant
    assert recipe.protocol.target == "rest"
    other = load_recipe(
        "default", overrides=["protocol.domain=x", "protocol.source=s", f"protocol.target={written}"]
    )
    assert other.protocol.target == meant


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("default").seed = 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epocs=3", r"training\.epocs.*Did you mean 'epochs'"),
        ("trainning.epochs=3", "Did you mean 'training'"),
        ("head.name=transfomer", "Did you mean 'transformer'"),
        ("training.epochs=many", r"training\.epochs.*got 'many'"),
        ("training.epochs=2", "warmup_epochs"),
        ("training.loss=focal", r"training\.loss.*sigmoid-focal"),
        ("training=3", "training"),
        ("seed.x=3", "seed.*valid integer"),
        ("training.epochs", "name=value"),
        ("seed=[", "not valid YAML"),
        ("protocol.domain=site", "domain and source belong together"),
        ("seeds=0", "seeds"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(override, said):
    with pytest.raises(UsageError, match=said) as caught:
        load_recipe("default", overrides=[override])
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"- a\n- b\n", "options by name"), (b"a: [", "not valid YAML"), (b"\xff\xfe", "UTF-8"), (b"1: 2", "1")],
)
def test_files_that_are_no_recipe(tmp_path, content, said):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load_recipe(tmp_path / "mine.yaml")


def test_no_such_recipe():
    with pytest.raises(UnknownNameError, match="'paper/ucf-hmdb'"):
        load_recipe("paper/ucf-hmbd")
    assert recipe_text("demo").startswith("description:")
