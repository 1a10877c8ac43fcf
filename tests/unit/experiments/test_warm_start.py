"""Going on from a run: its weights by the classes' names, its recipe, and what tested does not train."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.datasets.base import Table
from actiondiff.errors import RunError, SettingsMismatchError
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.warm_start import keep_sides, load_recipe_of_run, warm_start
from actiondiff.features.store import FeatureStore
from actiondiff.heads import build_head
from actiondiff.heads.bundle import load_bundle
from actiondiff.heads.options import HeadOptions
from actiondiff.types import Example, FeatureKey, Features

KEY = FeatureKey.of(20, 9)
SETTINGS = store_settings(name="tiny", weights="01")
FAST = ("head.name=mean-linear", "head.input=plain", "head.project=null", "training.learning_rate=0.1",
        "training.epochs=6", "training.warmup_epochs=1")  # fmt: skip


def fill(store: FeatureStore, names) -> None:
    """A video's label is the first part of its name; channel 0 tells eat, 1 run, 2 sit."""
    for name in names:
        identity = identity_of(name)
        tokens = np.random.default_rng(int(identity[:8], 16)).normal(size=(4, 6)).astype(np.float32)
        tokens[:, ("eat", "run", "sit").index(name.split("-")[0])] += 3
        features = Features({KEY: tokens}, np.arange(4) / 5, np.arange(4) * 4, identity, 1, 0, 4)
        store.write(name, features)


def table(folder, names) -> Table:
    examples = tuple(Example(name, (name.split("-")[0],), group=name.split(".")[0]) for name in names)
    return table_of(folder, examples)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continuation")
    names = [f"{kind}-{number}.mp4" for kind in ("eat", "run") for number in range(12)]
    store = FeatureStore.create(folder / "features", settings=SETTINGS, root=folder)
    fill(store, [*names, *(f"sit-{number}.mp4" for number in range(6))])
    recipe = load_recipe("default", overrides=FAST)
    study.train(store, table(folder, names), out=folder / "run", recipe=recipe)
    return folder, names


def test_weights_go_to_the_classes_of_the_same_name(world):
    folder, _ = world
    old, config = load_bundle(folder / "run")
    assert config.labels == ["eat", "run"]
    new = build_head(old.options, 6, 3, seed=5)
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    warm_start(new, ("run", "sit", "eat"), folder / "run")
    for name, tensor in new.state_dict().items():
        before = old.state_dict()[name]
        assert torch.equal(tensor[0], before[1])
        assert torch.equal(tensor[2], before[0])
        assert torch.equal(tensor[1], fresh[name][1])


def test_a_head_that_does_not_fit_is_refused(world):
    folder, _ = world
    other = build_head(HeadOptions(name="mean-linear"), 7, 2)
    with pytest.raises(RunError, match="on tokens of width 6, the new one mean-linear on width 7"):
        warm_start(other, ("eat", "run"), folder / "run")
    same = build_head(load_bundle(folder / "run")[0].options, 6, 1)
    with pytest.raises(RunError, match="has none of the classes fly"):
        warm_start(same, ("fly",), folder / "run")


def test_clips_stay_on_their_side(world):
    """Old clips where they were; new ones train, but one of a test clip's group tests."""
    folder, names = world
    store = FeatureStore.open(folder / "features")
    sides = pd.read_csv(folder / "run/clips.csv.gz").set_index("video")["side"]
    tested = sides.index[sides == "test"][0]
    more = table(folder, [*names, "sit-0.mp4", "sit-1.mp4"])
    examples = list(more.examples)
    examples[-1] = Example("sit-1.mp4", ("sit",), group=tested.split(".")[0])
    kept = keep_sides(Table(more.source, folder, tuple(examples)), folder / "run", store, folder)
    split = {example.video: example.split for example in kept.examples}
    assert {name: split[name] for name in names} == {
        name: {"train": "train", "validation": "val", "test": "test"}[sides[name]] for name in names
    }
    assert (split["sit-0.mp4"], split["sit-1.mp4"]) == ("train", "test")
    (folder / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "bare" / name).write_bytes((folder / "run" / name).read_bytes())
    with pytest.raises(RunError, match="test clips are unknown"):
        keep_sides(more, folder / "bare", store, folder)


def test_the_recipe_is_the_runs_with_what_is_set(world):
    folder, _ = world
    found = load_recipe_of_run(folder / "run", overrides=["training.epochs=3"], values={"seeds": 2})
    assert (found.training.epochs, found.seeds, found.head.name) == (3, 2, "mean-linear")
    with pytest.raises(RunError, match=r"recipe\.yaml is missing"):
        load_recipe_of_run(folder)


def test_going_on_starts_where_the_run_ended(world, tmp_path):
    """With a rate of next to nothing, what comes out is what went in, and a new class is learnt of."""
    folder, names = world
    more = table(folder, [*names, *(f"sit-{number}.mp4" for number in range(6))])
    recipe = load_recipe_of_run(
        folder / "run", overrides=["training.learning_rate=1e-12", "training.epochs=2"]
    )
    run = study.train(folder / "features", more, out=tmp_path / "next", recipe=recipe, start=folder / "run")
    before, after = load_bundle(folder / "run")[0], load_bundle(run.folder)[0]
    for name, tensor in after.state_dict().items():
        assert torch.allclose(tensor[:2], before.state_dict()[name], atol=1e-5)
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["start"] == str(folder / "run")
    first = pd.read_csv(folder / "run/clips.csv.gz").set_index("video")["side"]
    second = pd.read_csv(run.folder / "clips.csv.gz").set_index("video")["side"]
    assert second[first.index].equals(first)


def test_a_runs_own_recipe_gives_the_same_split(world, tmp_path):
    """The recipe.yaml of seed 1 holds the seed of the study's split beside its own, and both are honoured."""
    folder, names = world
    clips = table(folder, names)
    recipe = load_recipe("default", overrides=[*FAST, "seeds=2"])
    study.train(folder / "features", clips, out=tmp_path / "two", recipe=recipe)
    own = tmp_path / "two/seed-1/recipe.yaml"
    again = study.train(folder / "features", clips, out=tmp_path / "again", recipe=own)
    assert (again.folder / "recipe.yaml").read_text() == own.read_text()
    for name in ("clips.csv.gz", "predictions.csv.gz"):
        assert (again.folder / name).read_bytes() == (own.parent / name).read_bytes()
    assert "split_seed" not in (tmp_path / "two/recipe.yaml").read_text()


def test_the_recipe_of_a_continued_run_can_be_used_again(world, tmp_path):
    folder, names = world
    store, clips = folder / "features", table(folder, names)
    run = study.train(store, clips, out=tmp_path / "next", start=folder / "run")
    assert load_recipe(run.folder / "recipe.yaml").training.epochs == 6


def test_a_recipe_of_other_features_is_refused(world, tmp_path):
    folder, names = world
    recipe = tmp_path / "other.yaml"
    recipe.write_text("extraction: {backbone: svd-xt}\n")
    with pytest.raises(SettingsMismatchError, match="does not hold the features that the recipe names"):
        study.train(folder / "features", table(folder, names), out=tmp_path / "run", recipe=recipe)
    assert not (tmp_path / "run").exists()
