"""Sweeps on features that are made up: it is known which timestep and layer tell actions apart, and where."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, SettingsMismatchError, StoreError, UnknownNameError, UsageError
from actiondiff.experiments.compare import compare, read_scored
from actiondiff.experiments.sweep import sweep
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example, FeatureKey, Features

LABELS = ("eat", "run", "sit")
WIDTH = 8
SETTINGS = store_settings(name="tiny", weights="0123", seed=0)
QUICK = """
base: default
head: {name: mean-linear, input: plain, project: null}
training: {epochs: 4, warmup_epochs: 1, learning_rate: 0.1}
"""


def clips(count=96) -> tuple[Example, ...]:
    """Labels in turn, two clips an individual, three sites of a third each."""
    return tuple(
        Example(
            f"{i:03d}.mp4",
            (LABELS[i % 3],),
            group=f"g{i // 6}{i % 3}",
            columns={"site": "nse"[i * 3 // count]},
        )
        for i in range(count)
    )


def strength(key: FeatureKey, site: str) -> float:
    """How plainly a feature tells the action: in site n t20 does so best, elsewhere t0; layer 3 is weak."""
    if key.layer == "layer3":
        return 0.3
    if site == "n":
        return 3.0 if key.timestep else 1.2
    return 0.5 if key.timestep else 3.0


KEYS = [FeatureKey.of(t, layer) for t in (0, 20) for layer in (3, 9)]


def fill(folder, examples, keys=KEYS):
    store = FeatureStore.create(folder, settings=SETTINGS, root=folder.parent)
    for example in examples:
        identity = identity_of(example.video)
        tokens = {}
        for key in keys:
            random = np.random.default_rng(int(identity[:8], 16) + key.timestep)
            values = random.normal(size=(3, WIDTH)).astype(np.float32)
            values[:, LABELS.index(example.labels[0])] += strength(key, example.columns["site"])
            tokens[key] = values
        features = Features(
            tokens, np.arange(3) * 0.2, np.arange(3) * 4, identity, num_windows=1, window_length=3
        )
        store.write(example.video, features)
    store.tidy()
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of four features and a table of 96 clips; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    examples = clips()
    return fill(folder / "features", examples), table_of(folder, examples)


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        (tmp_path / "quick.yaml").write_text(QUICK)
        (tmp_path / "mine.yaml").write_text(f"base: quick.yaml\n{text}")
        return tmp_path / "mine.yaml"

    return write


GRID = """
features: {timestep: [0, 20], layer: [3, 9]}
protocol: {domain: site, source: [n], target: [e]}
seeds: 2
"""


@pytest.fixture(scope="module")
def swept(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    (folder / "mine.yaml").write_text(QUICK + GRID)
    store, table = made
    return sweep(folder / "mine.yaml", store, table, out=folder / "out"), folder


def test_every_study_and_seed_is_a_row(swept, made):
    result, folder = swept
    assert len(result.runs) == 8
    assert not result.failed
    assert set(zip(result.studies["features.timestep"], result.studies["features.layer"], strict=True)) == {
        (0, 3), (0, 9), (20, 3), (20, 9)
    }  # fmt: skip
    row = result.runs.iloc[0]
    metrics = json.loads((folder / "out" / row["folder"] / "metrics.json").read_text())
    assert row["test"] == metrics["test"]["scores"]["accuracy"]
    assert row["validation"] == metrics["validation"]["scores"]["accuracy"]
    assert (row["test_low"], row["test_high"]) == tuple(metrics["test"]["intervals"]["accuracy"])
    assert row["test_floor"] == metrics["test"]["prior_floor"]["accuracy"]
    assert (row["num_test"], row["target_looks"], row["metric"]) == (32, 1, "accuracy")
    for name in ("runs", "points", "domains", "choices"):
        written = pd.read_csv(folder / "out" / f"{name}.csv")
        assert len(written) == len(getattr(result, name))
    summary = json.loads((folder / "out/sweep.json").read_text(), parse_constant=pytest.fail)
    assert summary["num_studies"] == 4
    assert summary["target_looks"] == 8
    assert summary["fields"] == ["features.timestep", "features.layer"]
    assert summary["store"]["fingerprint"] == made[0].fingerprint


def test_means_and_interval_of_a_study(swept):
    result, _ = swept
    point = result.studies.iloc[1]
    mine = result.runs[result.runs["point"] == point["point"]]
    assert point["test"] == pytest.approx(mine["test"].mean())
    assert point["test_sd"] == pytest.approx(mine["test"].std(ddof=1))
    assert point["test_low"] <= point["test"] <= point["test_high"]
    assert point["num_seeds"] == 2


def test_the_heatmap_shows_what_was_made(swept):
    """In domain t20 is best, out of domain t0; layer 3 is weak everywhere."""
    result, _ = swept
    inside = result.matrix("features.layer", "features.timestep", value="validation")
    outside = result.matrix("features.layer", "features.timestep")
    assert inside.loc[9, 20] > inside.loc[3].max()
    assert outside.loc[9, 0] > outside.loc[9, 20] + 0.2
    assert outside.loc[9, 0] > outside.loc[3].max()
    with pytest.raises(UnknownNameError, match=r"features\.layer"):
        result.matrix("features.layr", "features.timestep")
    with pytest.raises(UsageError, match="share a cell"):
        result.matrix("features.layer", "metric")


def test_the_choice_is_by_the_source(swept):
    """By its own clips the source takes t20, though t0 is better out of it: that is the point of the rule."""
    result, _ = swept
    (choice,) = result.choices.to_dict("records")
    assert choice["rule"] == "source-validation"
    assert choice["point"] == "timestep=20 layer=9"
    assert choice["test"] < result.studies["test"].max() - 0.2
    assert (choice["num_candidates"], choice["target_looks"]) == (4, 2)


def write_csv(table: Table, path: Path) -> None:
    rows = [f"{e.video},{e.labels[0]},{e.group},{e.columns['site']}" for e in table.examples]
    path.write_text("\n".join(["video,label,group,site", *rows]))


def read(folder: Path) -> dict[str, bytes]:
    """All that depends on numbers."""
    names = ("predictions.csv.gz", "clips.csv.gz", "model.safetensors", "recipe.yaml")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in names and path.is_file()
    } | {name: (folder / name).read_bytes() for name in ("points.csv", "runs.csv", "choices.csv")}


def test_killed_and_gone_on_with_by_several_processes_gives_the_same(swept, made, tmp_path):
    """A sweep is killed after its first run; two processes go on; byte for byte as by one that was let be."""
    _, folder = swept
    store, table = made
    write_csv(table, tmp_path / "t.csv")
    command = [
        sys.executable, "-m", "actiondiff", "sweep", str(folder / "mine.yaml"), str(store.folder),
        str(tmp_path / "t.csv"), "-o", str(tmp_path / "out"), "--root", str(table.root),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("runs/*/seed-*/metrics.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("runs/*/seed-*/metrics.json")}
    assert 1 <= len(done) < 8
    sweep(
        folder / "mine.yaml",
        store,
        read_table(tmp_path / "t.csv"),
        out=tmp_path / "out",
        root=table.root,
        jobs=2,
    )
    assert {path: path.stat().st_mtime_ns for path in done} == done  # what was finished was not made again
    assert read(tmp_path / "out") == read(folder / "out")


def test_more_values_reuse_what_is_there(made, recipe, tmp_path):
    store, table = made
    path = recipe("features: {layer: [3, 9]}\nprotocol: {domain: site, source: n}")
    first = sweep(path, store, table, out=tmp_path / "out")
    before = (tmp_path / "out/runs/layer=9/metrics.json").stat().st_mtime_ns
    path = recipe("features: {layer: [3, 9], timestep: 0}\nprotocol: {domain: site, source: n}")
    again = sweep(path, store, table, out=tmp_path / "out")
    assert "another recipe" in again.failed["layer=9, seed 0"]
    assert first.studies["point"].tolist() == ["layer=3", "layer=9"]
    assert (tmp_path / "out/runs/layer=9/metrics.json").stat().st_mtime_ns == before


def test_the_four_rules_side_by_side(made, recipe, tmp_path):
    store, table = made
    rules = ["source-validation", "leave-one-source-domain-out", "released", "oracle"]
    path = recipe(
        "features: {timestep: [0, 20]}\n"
        f"protocol: {{domain: site, source: [n, s], target: e, selection: [{', '.join(rules)}]}}\nseeds: 2"
    )
    result = sweep(path, store, table, out=tmp_path / "out")
    chosen = {row["rule"]: row for row in result.choices.to_dict("records")}
    assert list(chosen) == rules
    assert chosen["oracle"]["test"] >= chosen["released"]["test"] >= chosen["source-validation"]["test"]
    looks = {rule: row["target_looks"] for rule, row in chosen.items()}
    assert looks["source-validation"] == looks["leave-one-source-domain-out"] == 2  # a test a seed
    assert looks["released"] == looks["oracle"] == 2 * 2 * (4 + 1)  # studies, seeds, epochs and the test
    assert all(row["num_candidates"] == 2 for row in chosen.values())
    assert len(list((tmp_path / "out/runs").iterdir())) == 6  # the oracle is trained as released
    losdo = json.loads(next((tmp_path / "out/runs").glob("*20*leave-one*/seed-0/metrics.json")).read_text())
    assert set(losdo["selection"]["by_domain"]) == {"n", "s"}
    assert losdo["selection"]["score"] == pytest.approx(
        np.mean(list(losdo["selection"]["by_domain"].values()))
    )
    assert losdo["counts"]["validation"] == 0  # nothing is held out of the final training
    assert losdo["counts"]["train"] == 64


def test_leave_one_domain_out(made, recipe, tmp_path):
    store, table = made
    path = recipe("protocol: {domain: site, source: rest, target: each}")
    result = sweep(path, store, table, out=tmp_path / "out")
    assert result.studies["protocol.target"].tolist() == ["e", "n", "s"]
    assert set(pd.read_csv(tmp_path / "out/domains.csv")["source"]) == {"rest"}
    assert len(result.choices) == 3  # three questions, not one to choose among
    sides = pd.read_csv(tmp_path / "out/runs/target=e/clips.csv.gz")
    videos = {clip.video: clip.columns["site"] for clip in table.examples}
    assert {videos[video] for video in sides.loc[sides["side"] == "test", "video"]} == {"e"}


@pytest.mark.parametrize("mode", ["training", "held-out"])
def test_a_matrix_of_sources_and_targets(made, recipe, tmp_path, mode):
    """One training a source, tested on every other; the diagonal on training clips, or on some held out."""
    store, table = made
    path = recipe(f"protocol: {{domain: site, source: each, score_source: {mode}}}")
    result = sweep(path, store, table, out=tmp_path / "out")
    cells = result.domains.pivot(index="source", columns="domain", values="score")
    assert cells.shape == (3, 3)
    assert cells.notna().all(axis=None)
    diagonal = result.domains[result.domains["source"] == result.domains["domain"]]
    assert diagonal["side"].tolist() == [f"source ({mode} clips)"] * 3
    train = result.runs.set_index("protocol.source")["num_train"]
    counts = diagonal.set_index("source")["num_clips"]
    assert (counts == train).all() == (mode == "training")
    assert (counts + train < 32).all() == (mode == "held-out")  # validation is neither
    off = result.domains[result.domains["side"] == "test"]
    assert set(off["num_clips"]) == {32}


def test_halving_finds_the_best_and_says_what_it_risked(made, recipe, tmp_path):
    store, table = made
    path = recipe(
        "features: {timestep: [0, 20], layer: [3, 9]}\ntraining: {learning_rate: [0.3, 0.1], epochs: 12}\n"
        "protocol: {domain: site, source: [n, s], target: e}"
    )
    result = sweep(path, store, table, out=tmp_path / "out", budget=0.8)
    assert result.halving["training_share"] == pytest.approx(0.75)  # 8 on a quarter, 4 on half, 2 in full
    assert [entry["num_points"] for entry in result.halving["rounds"]] == [8, 4]
    first = result.halving["rounds"][0]
    assert len(first["kept"]) == len(first["dropped"]) == 4
    assert set(first["doubtful"]) <= set(first["dropped"])
    assert len(result.studies) == 2
    assert result.halving["rounds"][-1]["kept"][0].endswith("layer=9")
    assert "Risk" in result.halving["said"]
    for clips_file in (tmp_path / "out/rungs").rglob("clips.csv.gz"):
        assert "test" not in set(pd.read_csv(clips_file)["side"])  # no look at the target before the choice
    with pytest.raises(UsageError, match="cannot be halved within"):
        sweep(path, store, table, out=tmp_path / "other", budget=0.01)
    with pytest.raises(UsageError, match="above 0 and below 1"):
        sweep(path, store, table, out=tmp_path / "other", budget=1.5)


def test_touching_the_target_once(made, recipe, tmp_path):
    store, table = made
    path = recipe("features: {timestep: [0, 20], layer: [3, 9]}\nprotocol: {domain: site, source: n}")
    result = sweep(path, store, table, out=tmp_path / "out", touch_target_once=True)
    assert result.studies["point"].tolist() == ["timestep=20 layer=9"]
    assert result.runs["target_looks"].sum() == 1
    assert len(list((tmp_path / "out/rungs").rglob("metrics.json"))) == 4
    released = recipe(
        "features: {timestep: [0, 20]}\nprotocol: {domain: site, source: n, selection: released}"
    )
    with pytest.raises(UsageError, match="source-validation"):
        sweep(released, store, table, out=tmp_path / "other", touch_target_once=True)


def test_published_numbers_stand_beside(made, recipe, tmp_path):
    store, table = made
    path = recipe(
        "protocol: {domain: site, source: n, target: e}\n"
        "published: {table: table 9, metric: accuracy, num_test: 32}\n"
        "cases:\n"
        "- {name: ours, features.timestep: 0, published: {score: 51.5, row: Ours}}\n"
        "- {name: other metric, features.timestep: 20, published: {score: 50, metric: micro_map}}\n"
        "- {name: other clips, features.layer: 3, published: {score: 50, num_test: 99}}\n"
        "others: [{row: Theirs, score: 40.0, table: table 9}]\n"
    )
    result = sweep(path, store, table, out=tmp_path / "out")
    papers = {paper.study: paper for paper in result.published}
    assert papers["ours"].comparable
    assert papers["ours"].published.score == 51.5
    assert papers["ours"].score == result.studies.set_index("point")["test"]["ours"]
    assert papers["ours"].low <= papers["ours"].score <= papers["ours"].high
    assert papers["ours"].floor == pytest.approx(1 / 3, abs=0.05)
    assert papers["other metric"].why_not == "it is micro_map, ours accuracy"
    assert papers["other clips"].why_not == "it has 99 test clips, ours 32"
    assert json.loads((tmp_path / "out/sweep.json").read_text())["others"][0]["row"] == "Theirs"
    assert set(pd.read_csv(tmp_path / "out/published.csv")["comparable"]) == {True, False}


def test_one_that_fails_stops_no_other(made, recipe, tmp_path):
    store, table = made
    path = recipe("training: {learning_rate: [0.1, 1.0e+30]}\nprotocol: {domain: site, source: n}")
    result = sweep(path, store, table, out=tmp_path / "out")
    assert len(result.studies) == 1
    ((name, reason),) = result.failed.items()
    assert "1e+30" in name
    assert "diverged" in reason


def test_what_does_not_fit_is_said_before_anything_is_trained(made, recipe, tmp_path):
    store, table = made
    out = tmp_path / "out"

    def attempt(text, error, said, **options):
        with pytest.raises(error, match=said):
            sweep(recipe(text), store, table, out=out, **options)
        assert not out.exists()

    attempt("features: {layer: [3, 6, 12]}", UnknownNameError, r"t20\.layer12, t20\.layer6.*--extract")
    attempt("extraction: {backbone: tiny, seed: 3}", SettingsMismatchError, r"seed: 0 against 3")
    attempt("extraction: {backbone: svd-xt}", SettingsMismatchError, "'tiny' against 'svd-xt'")
    attempt("extraction: {backbone: [tiny, pixels]}", StoreError, "2 kinds of features")
    attempt("seeds: 1", UsageError, "jobs and threads", jobs=0)
    attempt("protocol: {domain: site, source: [[n], [w]]}", UnknownNameError, "'w'")
    out.mkdir()
    (out / "thesis.doc").touch()
    with pytest.raises(RunError, match="neither empty nor a sweep"):
        sweep(recipe(""), store, table, out=out)


def test_a_process_that_dies_is_told_of(made, recipe, tmp_path, monkeypatch):
    store, table = made

    def submit(*_):
        raise BrokenProcessPool

    monkeypatch.setattr("actiondiff.experiments.runner.ProcessPoolExecutor.submit", submit)
    path = recipe("features: {layer: [3, 9]}\nprotocol: {domain: site, source: n}")
    with pytest.raises(RunError, match="a process died"):
        sweep(path, store, table, out=tmp_path / "out", jobs=2)


def test_runs_of_a_sweep_can_be_compared(swept, tmp_path):
    result, folder = swept
    best, weak = (folder / "out/runs" / name for name in ("timestep=0_layer=9", "timestep=0_layer=3"))
    found = compare(best, weak)
    accuracy = found.differences["accuracy"]
    points = result.studies.set_index("point")["test"]
    assert accuracy.value == pytest.approx(points["timestep=0 layer=9"] - points["timestep=0 layer=3"])
    assert 0 < accuracy.low < accuracy.value < accuracy.high
    assert max(accuracy.p, found.sign_flip_p) < 0.05
    assert (found.num_clips, found.num_apart, found.num_seeds) == (32, 0, (2, 2))
    assert found.mcnemar is None  # two seeds each
    single = compare(best / "seed-0", weak / "seed-1")
    right = [
        (run.scored.probabilities[0].argmax(1) == run.scored.targets.argmax(1))
        for run in (read_scored(best / "seed-0"), read_scored(weak / "seed-1"))
    ]
    assert single.mcnemar.only_first == (right[0] & ~right[1]).sum()
    with pytest.raises(RunError, match="no such clips"):
        compare(best, tmp_path)


def test_a_loss_for_single_labels_is_refused_before_any_study(made, recipe, tmp_path):
    store, table = made
    first = dataclasses.replace(table.examples[0], labels=LABELS[:2])
    several = dataclasses.replace(table, examples=(first, *table.examples[1:]))
    with pytest.raises(UsageError, match=r"loss cross-entropy, which.*set training\.loss=bce"):
        sweep(recipe("training: {loss: [bce, cross-entropy]}"), store, several, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
