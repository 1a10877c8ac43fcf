"""Studies on features that are made up, so that what a head can learn of them is known."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.datasets.base import Table
from actiondiff.errors import (
    RunError,
    SettingsMismatchError,
    StoreError,
    TableError,
    UnknownNameError,
    UsageError,
)
from actiondiff.evaluation.results import LeftOutClip
from actiondiff.experiments import selection, study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import load_bundle
from actiondiff.inference.folders import find_model_folder
from actiondiff.types import DecodeReport, Example, FeatureKey, Features

LABELS = ("eat", "run", "sit")
FAST = ("head.name=mean-linear", "head.input=plain", "head.project=null", "training.learning_rate=0.1",
        "training.epochs=6", "training.warmup_epochs=1")  # fmt: skip
SETTINGS = store_settings(name="tiny", weights="0123")


def recipe(*overrides, **values):
    return load_recipe("default", overrides=[*FAST, *overrides], values=values)


def fill(folder, videos, *, settings=SETTINGS, keys=("t20.layer9",), reports=None):
    """A store in which channel n of a video's tokens tells of label n."""
    store = FeatureStore.create(folder, settings=settings, root=folder.parent)
    for video, labels in videos.items():
        identity = identity_of(video)
        random = np.random.default_rng(int(identity[:8], 16))
        tokens = random.normal(size=(4, 6)).astype(np.float32)
        tokens[:, [LABELS.index(label) for label in labels]] += 3
        features = Features(
            {FeatureKey.parse(key): tokens for key in keys},
            np.arange(4) * 0.2,
            np.arange(4) * 4,
            identity,
            num_windows=1,
            window_length=4,
            report=(reports or {}).get(video),
        )
        store.write(video, features)
    store.tidy()
    return store


def clips(count=60) -> tuple[Example, ...]:
    """Labels in turn, three clips an individual, halves on two sites."""
    return tuple(
        Example(f"{i:02d}.mp4", (LABELS[i % 3],), group=f"g{i // 3}", columns={"site": "ns"[i >= count // 2]})
        for i in range(count)
    )


def table(root: Path, examples) -> Table:
    return table_of(root, examples)


@pytest.fixture
def made(tmp_path):
    """A store and a table of 60 clips in a folder."""
    examples = clips()
    store = fill(tmp_path / "features", {example.video: example.labels for example in examples})
    return store, table(tmp_path, examples), tmp_path


def test_a_run_holds_all_that_belongs_to_its_numbers(made):
    store, labelled, folder = made
    run = study.train(store, labelled, out=folder / "run", recipe=recipe("seed=4"))
    assert {path.name for path in run.folder.iterdir()} - {".actiondiff"} == {
        "README.md", "clips.csv.gz", "config.json", "guard.safetensors", "logs", "metrics.json",
        "model.safetensors",
        "predictions.csv.gz", "recipe.yaml",
    }  # fmt: skip
    metrics = json.loads((run.folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics == json.loads(run.metrics.to_json())
    assert metrics["counts"] == {"train": 39, "validation": 9, "test": 12}
    test = metrics["test"]
    assert test["scores"]["accuracy"] > 0.9
    assert test["prior_floor"]["accuracy"] == pytest.approx(1 / 3)
    low, high = test["intervals"]["accuracy"]
    assert low <= test["scores"]["accuracy"] <= high
    assert metrics["environment"]["versions"]["torch"]
    assert metrics["fit"]["selection"] == "the best by accuracy on held-out clips of the source"
    stored = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert (stored["seed"], stored["head"]["name"], stored["training"]["batch_size"]) == (
        4,
        "mean-linear",
        16,
    )
    _, config = load_bundle(run.folder)
    assert config.labels == list(LABELS)
    assert (config.activation, config.keys) == ("softmax", ["t20.layer9"])
    assert config.features == store.settings
    assert config.feature_fingerprint == store.fingerprint
    card = (run.folder / "README.md").read_text()
    assert "39 training clips, 9 validation clips and 12 test clips" in card
    assert "Only 12 clips were tested" in card
    assert f"| accuracy | {100 * test['scores']['accuracy']:.1f} %" in card


def test_labels_that_mean_nothing_score_as_the_floor(tmp_path):
    """The same features learn the true labels, but of shuffled ones no more than guessing: nothing leaks."""
    examples = clips(600)
    store = fill(tmp_path / "features", {example.video: example.labels for example in examples})
    shuffled = np.random.default_rng(0).permutation(len(examples))
    wrong = [
        Example(e.video, examples[i].labels, group=e.group) for e, i in zip(examples, shuffled, strict=True)
    ]
    quick = recipe("training.epochs=3")
    for name, rows, low, high in (("true", examples, 0.9, 1), ("shuffled", wrong, 0.2, 0.47)):
        run = study.train(store, table(tmp_path, rows), out=tmp_path / name, recipe=quick)
        test = run.metrics.test
        assert test.num_clips >= 100  # three standard deviations about a third: 0.2 to 0.47
        assert low <= test.scores.accuracy <= high, name
    first, last = test.intervals["accuracy"]
    assert first - 0.05 <= test.prior_floor.accuracy <= last + 0.05


def test_predictions_are_those_of_the_test_clips(made):
    store, labelled, folder = made
    run = study.train(store, labelled, out=folder / "run", recipe=recipe())
    sides = pd.read_csv(run.folder / "clips.csv.gz")
    rows = pd.read_csv(run.folder / "predictions.csv.gz")
    assert sorted(rows["video"]) == sorted(sides.loc[sides["side"] == "test", "video"])
    assert list(rows["label"]) == [LABELS[int(video[:2]) % 3] for video in rows["video"]]
    columns = rows[[f"p({label})" for label in LABELS]]
    assert np.allclose(columns.sum(axis=1), 1, atol=1e-5)
    assert list(rows["predicted"]) == [LABELS[i] for i in columns.to_numpy().argmax(1)]
    accuracy = (rows["predicted"] == rows["label"]).mean()
    assert run.metrics.test.scores.accuracy == pytest.approx(accuracy)
    groups = {side: {int(video[:2]) // 3 for video in part["video"]} for side, part in sides.groupby("side")}
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & (groups["test"] | groups["train"])


def test_the_same_call_gives_the_same_bytes(made):
    store, labelled, folder = made
    for name in ("a", "b"):
        study.train(store, labelled, out=folder / name, recipe=recipe())
    for name in ("model.safetensors", "config.json", "metrics.json", "clips.csv.gz", "predictions.csv.gz"):
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes(), name
    study.train(store, labelled, out=folder / "c", recipe=recipe("seed=1"))
    assert (folder / "a/model.safetensors").read_bytes() != (folder / "c/model.safetensors").read_bytes()


def test_a_finished_run_is_not_made_again(made, monkeypatch):
    store, labelled, folder = made
    first = study.train(store, labelled, out=folder / "run", recipe=recipe())
    monkeypatch.setattr(selection, "fit", lambda *_, **__: pytest.fail("it trains again"))
    again = study.train(store, labelled, out=folder / "run", recipe=recipe())
    assert again.metrics == first.metrics


def test_a_finished_run_is_known_by_its_options_whatever_its_description(made):
    store, labelled, folder = made
    first = study.train(store, labelled, out=folder / "run", recipe=recipe(description="older words"))
    again = study.train(store, labelled, out=folder / "run", recipe=recipe(description="newer words"))
    assert again.metrics == first.metrics
    assert "older words" in (folder / "run/recipe.yaml").read_text()


def other_labels(labelled):
    first, *rest = labelled.examples
    return table(
        labelled.root, [Example(first.video, ("sit",), group=first.group, columns=first.columns), *rest]
    )


@pytest.mark.parametrize("what", ["recipe", "table", "features"])
def test_a_finished_run_of_something_else_is_refused(made, what):
    store, labelled, folder = made
    study.train(store, labelled, out=folder / "run", recipe=recipe())
    videos = {example.video: example.labels for example in labelled.examples}
    faster = fill(folder / "faster", videos, settings={**SETTINGS, "sampling": {"fps": 5.0}})
    changed, rows, asked = {
        "recipe": (store, labelled, recipe("training.epochs=7")),
        "table": (store, other_labels(labelled), recipe()),
        "features": (faster, labelled, recipe()),
    }[what]
    with pytest.raises(RunError, match=f"finished run with another {what}; give another folder"):
        study.train(changed, rows, out=folder / "run", recipe=asked)


def test_a_run_cut_short_goes_on(made):
    store, labelled, folder = made

    class Killed(BaseException):
        pass

    lines = []

    def kill(done, total, line):
        lines.append(line)
        if len(lines) == 3:
            raise Killed

    with pytest.raises(Killed):
        study.train(store, labelled, out=folder / "cut", recipe=recipe(), progress=kill)
    assert not (folder / "cut" / "metrics.json").exists()
    with pytest.raises(RunError, match="no trained model"):
        study.evaluate(folder / "cut", store, labelled)
    after = []
    study.train(
        store,
        labelled,
        out=folder / "cut",
        recipe=recipe(),
        progress=lambda done, total, line: after.append(line),
    )
    whole = study.train(
        store, labelled, out=folder / "whole", recipe=recipe(), progress=lambda done, total, line: None
    )
    assert len(after) < 6
    assert (folder / "cut/model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert not (folder / "cut" / ".resume").exists()


def test_folders_that_hold_something_else_are_refused(made):
    store, labelled, folder = made
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")
    for out in ("mine", "features"):
        with pytest.raises(RunError, match="neither empty nor a run"):
            study.train(store, labelled, out=folder / out, recipe=recipe())
    (folder / "file").touch()
    with pytest.raises(RunError, match="is a file"):
        study.train(store, labelled, out=folder / "file", recipe=recipe())
    study.train(store, labelled, out=folder / "one", recipe=recipe())
    with pytest.raises(RunError, match="a single training"):
        study.train(store, labelled, out=folder / "one", recipe=recipe("seeds=2"))
    study.train(store, labelled, out=folder / "two", recipe=recipe("seeds=2"))
    with pytest.raises(RunError, match="several seeds"):
        study.train(store, labelled, out=folder / "two", recipe=recipe())


def test_seeds(made):
    store, labelled, folder = made
    noisy = recipe("seeds=3", "training.epochs=2", "training.learning_rate=0.01", "seed=5")
    run = study.train(store, labelled, out=folder / "run", recipe=noisy)
    singles = [json.loads((folder / f"run/seed-{n}/metrics.json").read_text()) for n in range(3)]
    assert [single["seed"] for single in singles] == [5, 6, 7]
    accuracies = [single["test"]["scores"]["accuracy"] for single in singles]
    assert len(set(accuracies)) > 1
    assert run.metrics.mean["accuracy"] == pytest.approx(np.mean(accuracies))
    assert run.metrics.sd["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    sides = [gzip.decompress((folder / f"run/seed-{n}/clips.csv.gz").read_bytes()) for n in range(3)]
    assert len(set(sides)) == 1  # seeds differ in training, not in the split
    validation = [single["validation"]["scores"]["accuracy"] for single in singles]
    assert run.metrics.best == f"seed-{int(np.argmax(validation))}"
    assert find_model_folder(folder / "run") == folder / "run" / run.metrics.best
    assert run.metrics.best in (folder / "run" / "README.md").read_text()
    more = study.train(store, labelled, out=folder / "run", recipe=noisy.model_copy(update={"seeds": 4}))
    assert len(more.metrics.seeds) == 4


def test_seeds_of_another_recipe_leave_what_is_there(made):
    store, labelled, folder = made
    study.train(store, labelled, out=folder / "run", recipe=recipe("seeds=2"))
    before = (folder / "run/recipe.yaml").read_bytes()
    with pytest.raises(RunError, match="seed-0 holds a finished run with another recipe"):
        study.train(store, labelled, out=folder / "run", recipe=recipe("seeds=2", "training.epochs=7"))
    assert (folder / "run/recipe.yaml").read_bytes() == before
    with pytest.raises(UnknownNameError):
        study.train(store, labelled, out=folder / "none", recipe=recipe("seeds=2", "features.layer=3"))
    assert not (folder / "none").exists()


def test_seeds_cut_short_go_on(made, monkeypatch):
    store, labelled, folder = made
    fit, seeds = selection.fit, []

    def once(*arguments, seed, **options):
        seeds.append(seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, seed=seed, **options)

    monkeypatch.setattr(selection, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        study.train(store, labelled, out=folder / "run", recipe=recipe("seeds=2"))
    run = study.train(store, labelled, out=folder / "run", recipe=recipe("seeds=2"))
    assert seeds == [0, 1, 1]
    assert list(run.metrics.seeds) == ["seed-0", "seed-1"]


def test_a_group_may_be_the_domain(made):
    store, labelled, folder = made
    source = ",".join(f"g{i}" for i in range(15))
    shift = recipe("protocol.domain=group", f"protocol.source={source}")
    run = study.train(store, labelled, out=folder / "run", recipe=shift)
    found = {name: side.num_clips for name, side in run.metrics.test.by_domain.items()}
    assert found == {f"g{i}": 3 for i in range(15, 20)}


def test_a_shift_of_domain(made):
    store, labelled, folder = made
    shift = recipe(**{"protocol.domain": "site", "protocol.source": ["n"]})
    run = study.train(store, labelled, out=folder / "run", recipe=shift)
    assert run.metrics.counts == {"train": 24, "validation": 6, "test": 30}
    assert run.metrics.split.startswith("site: n -> s")
    assert run.metrics.test.by_domain["s"].num_clips == 30
    assert run.metrics.validation is not None
    sides = pd.read_csv(run.folder / "clips.csv.gz")
    assert {int(video[:2]) < 30 for video in sides.loc[sides["side"] == "test", "video"]} == {False}


def test_selection_as_released_is_told_of(made):
    store, labelled, folder = made
    run = study.train(store, labelled, out=folder / "run", recipe=recipe("protocol.selection=released"))
    assert run.metrics.fit.selection == "the best by accuracy on the test clips themselves, as released"
    assert any("chosen on the test clips" in sentence for sentence in run.metrics.cautions)
    best = run.metrics.fit.best_epoch - 1
    log = pd.read_csv(run.folder / "logs" / "metrics.csv")
    assert log["accuracy"][best] == log["accuracy"].max()
    assert log["accuracy"][best] == pytest.approx(run.metrics.test.scores.accuracy)
    trained = [Example(e.video, e.labels, split="train") for e in labelled.examples]
    with pytest.raises(UsageError, match="there are none"):
        study.train(
            store, table(folder, trained), out=folder / "none", recipe=recipe("protocol.selection=released")
        )


def test_without_test_clips_nothing_is_claimed(made):
    store, labelled, folder = made
    trained = table(folder, [Example(e.video, e.labels, split="train") for e in labelled.examples])
    run = study.train(store, trained, out=folder / "run", recipe=recipe("protocol.validation_share=0"))
    assert run.metrics.test is None
    assert run.metrics.fit.selection == "the last"
    assert "nothing is known" in (run.folder / "README.md").read_text()


def test_several_labels_a_clip(tmp_path):
    labels = [("eat",), ("run",), ("sit",), ("eat", "run"), ("run", "sit")]
    examples = [Example(f"{i:02d}.mp4", labels[i % 5]) for i in range(60)]
    store = fill(tmp_path / "features", {example.video: example.labels for example in examples})
    run = study.train(store, table(tmp_path, examples), out=tmp_path / "default")  # picks a loss that fits
    assert run.metrics.task == "multi-label"
    assert run.metrics.test.scores.micro_map > 0.9  # though classes differ in the mean token only
    fast = recipe("training.loss=bce")
    run = study.train(store, table(tmp_path, examples), out=tmp_path / "run", recipe=fast)
    assert run.metrics.test.scores.accuracy is None
    assert run.metrics.test.scores.micro_map > 0.9
    assert load_bundle(run.folder)[1].activation == "sigmoid"
    with pytest.raises(UsageError, match="one label per clip"):
        study.train(store, table(tmp_path, examples), out=tmp_path / "no", recipe=recipe())


def test_clips_without_features_are_left_out_and_listed(made):
    store, labelled, folder = made
    more = [*labelled.examples, Example("gone.mp4", ("eat",)), Example("broken.mp4", ("run",))]
    store.fail("broken.mp4", "the file is empty", identity="f" * 64)
    run = study.train(store, table(folder, more), out=folder / "run", recipe=recipe())
    assert sum(run.metrics.counts.values()) == 60
    missing = {item.video: item.reason for item in run.metrics.missing}
    assert missing == {"gone.mp4": "not in the store", "broken.mp4": "failed: the file is empty"}
    assert "2 clips have no features and were left out" in (run.folder / "README.md").read_text()


def test_videos_decoded_in_part_are_told_of(tmp_path):
    examples = clips(30)
    report = DecodeReport("partial", "cut short", num_frames_decoded=30, num_frames_expected=100)
    store = fill(tmp_path / "f", {e.video: e.labels for e in examples}, reports={"07.mp4": report})
    run = study.train(store, table(tmp_path, examples), out=tmp_path / "run", recipe=recipe())
    assert run.metrics.partial == {"07.mp4": 0.3}
    assert any("07.mp4 (30%)" in sentence for sentence in run.metrics.cautions)


def test_leaks_are_found(made):
    store, labelled, folder = made
    first, second, third, *rest = labelled.examples
    leaky = [
        Example(first.video, first.labels, split="train", group="bella"),
        Example(second.video, second.labels, split="test", group="bella"),
        Example(third.video, third.labels, split="test", group="rex"),
        *(Example(e.video, e.labels, split="train", group=e.group) for e in rest),
    ]
    run = study.train(store, table(folder, leaky), out=folder / "run", recipe=recipe())
    found = [(leak.kind, leak.name, leak.num_clips) for leak in run.metrics.leaks]
    assert found == [("group", "bella", 1)]
    assert "1 leak between the sides" in (run.folder / "README.md").read_text()


def test_one_content_under_two_names_is_a_leak(made):
    store, labelled, folder = made
    content = store.row("00.mp4").identity
    store.attach(content, ["copy of 00.mp4"])
    marked = [Example(e.video, e.labels, split="train") for e in labelled.examples]
    run = study.train(
        store,
        table(folder, [*marked, Example("copy of 00.mp4", ("eat",), split="test")]),
        out=folder / "run",
        recipe=recipe("protocol.validation_share=0"),
    )
    found = [(leak.kind, leak.name, leak.sides) for leak in run.metrics.leaks]
    assert found == [("content", "copy of 00.mp4", "train/test")]


# -- what cannot be trained ----------------------------------------------------------------------------


def test_features_that_are_not_there(made):
    store, labelled, folder = made
    with pytest.raises(UnknownNameError, match=r"'t5\.layer3'.*t20\.layer9.*--timestep"):
        study.train(store, labelled, out=folder / "a", recipe=recipe("features.timestep=5"))
    with pytest.raises(UnknownNameError, match=r"'t20\.clip'"):
        study.train(store, labelled, out=folder / "a", recipe=recipe("features.layer=clip"))
    videos = {example.video: example.labels for example in labelled.examples}
    other = fill(folder / "other", videos, keys=("t25.layer3", "t10.layer9"))
    with pytest.raises(UnknownNameError, match=r"t10\.layer9, t25\.layer3"):
        study.train(other, labelled, out=folder / "a", recipe=recipe())
    assert study.train(
        other, labelled, out=folder / "a", recipe=recipe("features.layer=3")
    ).metrics.feature == "t25.layer3"  # fmt: skip


def test_clips_that_cannot_be_learnt_from(made):
    store, labelled, folder = made

    def attempt(examples):
        study.train(store, table(folder, examples), out=folder / "run", recipe=recipe())

    with pytest.raises(UsageError, match="only the class 'eat'"):
        attempt(e for e in labelled.examples if e.labels == ("eat",))
    with pytest.raises(UsageError, match="1 of 3 classes have no training clip with features: 'sit'"):
        attempt(
            Example(e.video, e.labels, split="test" if e.labels == ("sit",) else "train")
            for e in labelled.examples
        )
    with pytest.raises(UsageError, match="no labels"):
        attempt(Example(e.video) for e in labelled.examples)
    with pytest.raises(StoreError, match=r"train clips: none of the .* has features"):
        attempt(Example("x" + e.video, e.labels) for e in labelled.examples)
    with pytest.raises(StoreError, match=r"test clips: none of the 1 clips .* leave them out of the table"):
        attempt(
            [
                *(Example(e.video, e.labels, split="train") for e in labelled.examples),
                Example("x.mp4", ("eat",), split="test"),
            ]
        )
    assert not (folder / "run").exists()


def test_paths_that_are_wrong(made):
    store, labelled, folder = made
    with pytest.raises(StoreError, match="not a feature store"):
        study.train(folder / "nothing", labelled, out=folder / "run")
    with pytest.raises(UsageError, match="no table"):
        study.train(store, folder / "nothing.csv", out=folder / "run")
    (folder / "bad.csv").write_text("video,label\n,eat\n")
    with pytest.raises(TableError, match="row 2"):
        study.train(store, folder / "bad.csv", out=folder / "run")


# -- testing -------------------------------------------------------------------------------------------


@pytest.fixture
def trained(made):
    store, labelled, folder = made
    return study.train(store, labelled, out=folder / "run", recipe=recipe()), *made


def test_evaluate_leaves_out_what_was_trained_on(trained):
    run, store, labelled, _ = trained
    found = study.evaluate(run, store, labelled)
    assert found.metrics.num_clips == 12
    assert found.metrics.num_left_out_as_trained_on == 48
    assert found.metrics.scores == run.metrics.test.scores
    assert found.metrics.prior_floor == run.metrics.test.prior_floor
    stored = pd.read_csv(run.folder / "predictions.csv.gz")
    assert list(found.predictions["video"]) == list(stored["video"])


def test_evaluate_on_new_clips(trained):
    run, _, _, folder = trained
    fresh = [Example(f"new{i}.mp4", (LABELS[i % 2],), split="test" if i < 8 else "train") for i in range(10)]
    fill(folder / "features", {example.video: example.labels for example in fresh})
    found = study.evaluate(run.folder, folder / "features", table(folder, fresh))
    assert found.metrics.num_clips == 8  # those marked test
    assert found.metrics.num_left_out_as_trained_on == 0
    assert found.metrics.scores.accuracy > 0.8
    assert found.metrics.scores.num_classes_without_clips == 1
    assert any("Only 8 clips" in sentence for sentence in found.metrics.cautions)


def test_evaluate_says_when_it_does_not_know_what_was_trained_on(trained):
    run, store, labelled, _ = trained
    (run.folder / "clips.csv.gz").unlink()
    found = study.evaluate(run, store, labelled)
    assert found.metrics.num_clips == 60
    assert any("trained on may be among" in sentence for sentence in found.metrics.cautions)


def test_evaluate_tells_of_what_is_missing_and_partial(trained):
    run, _, _, folder = trained
    fresh = [Example(f"new{i}.mp4", (LABELS[i % 3],)) for i in range(6)]
    report = DecodeReport("partial", "cut short", num_frames_decoded=30, num_frames_expected=100)
    labels = {example.video: example.labels for example in fresh[1:]}
    fill(folder / "features", labels, reports={"new2.mp4": report})
    metrics = study.evaluate(run.folder, folder / "features", table(folder, fresh)).metrics
    assert metrics.num_clips == 5
    assert metrics.missing == (LeftOutClip(video="new0.mp4", reason="not in the store"),)
    assert metrics.partial == {"new2.mp4": 0.3}
    assert any("new2.mp4 (30%)" in sentence for sentence in metrics.cautions)


def test_evaluate_refuses_what_does_not_fit(trained):
    run, store, labelled, folder = trained
    with pytest.raises(UnknownNameError, match=r"unknown label 'fly'.*eat, run, sit"):
        study.evaluate(run, store, table(folder, [Example("00.mp4", ("fly",))]))
    videos = {example.video: example.labels for example in labelled.examples}
    other = fill(folder / "other", videos, settings={**SETTINGS, "sampling": {"fps": 5.0}})
    with pytest.raises(SettingsMismatchError, match=r"sampling\.stride: None against 4"):
        study.evaluate(run, other, labelled)
    sides = pd.read_csv(run.folder / "clips.csv.gz")
    used = set(sides.loc[sides["side"] == "train", "video"])
    with pytest.raises(UsageError, match="none is left to test on"):
        study.evaluate(run, store, table(folder, [e for e in labelled.examples if e.video in used]))
    with pytest.raises(UsageError, match=r"predicts one class per clip; 00\.mp4 has 2: eat, run"):
        study.evaluate(run, store, table(folder, [Example("00.mp4", ("eat", "run"))]))
    with pytest.raises(UsageError, match="no labelled clips"):
        study.evaluate(run, store, table(folder, [Example("00.mp4")]))
    with pytest.raises(RunError, match="no trained model"):
        study.evaluate(folder / "features", store, labelled)


def test_few_clips_train_long_enough_and_choose_nothing_by_luck(made):
    store, labelled, folder = made
    fast = [text for text in FAST if "epochs" not in text]
    chosen = study.choose_recipe(store, labelled, overrides=fast)
    run = study.train(store, labelled, out=folder / "own", recipe=chosen)
    fit, counts = run.metrics.fit, run.metrics.counts
    assert counts["validation"] == 0  # 12 clips are too few to choose by, so they train
    assert "so they train" in run.metrics.split
    steps = -(-counts["train"] // chosen.training.batch_size)
    assert fit.num_epochs * steps >= 300
    assert fit.best_epoch == fit.num_epochs
    assert fit.selected_on == "last"
    calibration = run.metrics.calibration
    assert calibration.num_folds == 3
    assert calibration.num_clips == counts["train"]


def test_too_few_clips_keep_the_default_temperature_and_thresholds(tmp_path):
    examples = clips(24)
    store = fill(tmp_path / "features", {example.video: example.labels for example in examples})
    chosen = study.choose_recipe(store, table(tmp_path, examples), overrides=FAST)
    run = study.train(store, table(tmp_path, examples), out=tmp_path / "run", recipe=chosen)
    assert run.metrics.calibration is None
    _, config = load_bundle(run.folder)
    assert (config.temperature, config.thresholds) == (1.0, {})
    assert run.metrics.fit.num_epochs == 6  # set by hand, so it is kept


def test_marked_validation_clips_stay_but_choose_no_epoch_where_they_are_few(made):
    store, labelled, folder = made
    marks = ["val" if i % 6 == 0 else "test" if i % 6 == 1 else "train" for i in range(60)]
    marked = [replace(e, split=mark) for e, mark in zip(labelled.examples, marks, strict=True)]
    few = recipe("training.min_validation_clips=30")
    run = study.train(store, table(folder, marked), out=folder / "few", recipe=few)
    assert run.metrics.counts["validation"] == 10
    assert run.metrics.fit.selected_on == "last"
    enough = recipe("training.min_validation_clips=10")
    run = study.train(store, table(folder, marked), out=folder / "enough", recipe=enough)
    assert run.metrics.fit.selected_on == "accuracy"
    assert run.metrics.calibration.num_folds is None
