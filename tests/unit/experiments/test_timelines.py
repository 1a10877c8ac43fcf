"""Timelines against timed labels, on features that tell when; and what is chosen on validation videos."""

import numpy as np
import pytest
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.datasets.base import Table
from actiondiff.errors import UsageError
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.timelines import bouts_of, choose_timeline, evaluate_timelines, usual_timeline
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import load_bundle
from actiondiff.inference.options import TimelineOptions
from actiondiff.types import Example, FeatureKey, Features

KEY = FeatureKey.of(20, 9)
SETTINGS = store_settings(name="tiny", weights="01")
FAST = ("head.name=mean-linear", "head.input=plain", "head.project=null", "training.learning_rate=0.1",
        "training.epochs=8", "training.warmup_epochs=1")  # fmt: skip
LABELS = ("eat", "run")
LENGTH, STEP = 20.0, 0.2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Twelve videos of 20 s; what is done changes every four seconds, and tokens tell it, with noise."""
    folder = tmp_path_factory.mktemp("ethogram")
    store = FeatureStore.create(folder / "features", settings=SETTINGS, root=folder)
    examples = []
    seconds = np.arange(0, LENGTH, STEP)
    for number in range(12):
        name = f"v{number}.mp4"
        identity = identity_of(name)
        doing = (seconds // 4 + number).astype(int) % 2
        tokens = np.random.default_rng(number).normal(size=(len(seconds), 4)).astype(np.float32)
        tokens[np.arange(len(seconds)), doing] += 3
        store.write(name, Features({KEY: tokens}, seconds, np.arange(len(seconds)) * 4, identity, 13, 4, 8))
        examples += [
            Example(name, (LABELS[(start // 4 + number) % 2],), float(start), float(start + 4), group=name)
            for start in range(0, 20, 4)
        ]
    table = table_of(folder, examples)
    study.train(store, table, out=folder / "run", recipe=load_recipe("default", overrides=FAST))
    return folder, table


def test_videos_that_tested_are_scored_and_no_others(world):
    folder, table = world
    found = evaluate_timelines(folder / "run", folder / "features", table)
    metrics = found.metrics
    assert metrics.num_videos + metrics.num_left_out_as_trained_on == 12
    assert 1 <= metrics.num_videos <= 4
    assert metrics.frames.macro_f1 > 0.8  # a score looks at four seconds, which blurs edges
    assert metrics.segments.map["0.5"] > 0.9
    video = next(iter(found.truth))
    assert len(found.truth[video]) == 5
    assert found.timelines[video].budget()["eat"] == pytest.approx(
        sum(b.end_seconds - b.start_seconds for b in found.truth[video] if b.label == "eat"), abs=1.5
    )
    only = Table(table.source, folder, tuple(e for e in table.examples if e.video not in found.truth))
    with pytest.raises(UsageError, match=r"no videos to test timelines on: .* trained or selected on"):
        evaluate_timelines(folder / "run", folder / "features", only)


def test_wrong_labels_score_badly(world):
    folder, table = world
    swapped = tuple(
        Example(e.video, (LABELS[1 - LABELS.index(e.labels[0])],), e.start_seconds, e.end_seconds)
        for e in table.examples
    )
    found = evaluate_timelines(folder / "run", folder / "features", Table(table.source, folder, swapped))
    assert found.metrics.frames.macro_f1 < 0.1
    assert found.metrics.segments.mean_map == 0


def test_what_is_chosen_helps_and_is_kept(world):
    """Noise makes short false bouts; those left out on validation videos are left out by the model."""
    folder, table = world
    head, config = load_bundle(folder / "run")
    assert config.chosen_on["segment_f1"] > 0.9
    store = FeatureStore.open(folder / "features")
    chosen = choose_timeline(head, config.replaced(span_tokens=1), store, table.examples, folder)
    assert chosen is not None
    assert chosen["timeline"]["min_seconds"] > 0 or chosen["timeline"]["smooth_seconds"] > 0
    assert chosen["chosen_on"]["num_videos"] == 12


def test_scores_are_averaged_over_half_a_clip_where_nothing_was_chosen(tmp_path, world):
    """The model records it, and 0 leaves it out; half a clip of 4 s is 2 s, which removes false bouts."""
    folder, table = world
    some = Table(table.source, folder, tuple(e for e in table.examples if e.start_seconds != 4.0))
    run = study.train(folder / "features", some, out=tmp_path / "run",
                      recipe=load_recipe("default", overrides=FAST))  # fmt: skip
    _, config = load_bundle(run.folder)
    assert config.chosen_on is None
    assert config.timeline == {"smooth_seconds": 2.0}
    evaluated = evaluate_timelines(run, folder / "features", table)
    assert evaluated.metrics.options["smooth_seconds"] == 2.0
    none = evaluate_timelines(run, folder / "features", table, options=TimelineOptions(smooth_seconds=0))
    assert none.metrics.options["smooth_seconds"] == 0

    assert usual_timeline(config.replaced(span_tokens=16, frame_seconds=0.16)) == {"smooth_seconds": 1.3}

    def unclear(**values):
        return usual_timeline(config.replaced(**values))

    assert unclear(frame_seconds=None) == unclear(span_tokens=None) == unclear(span_tokens=3) == {}


def test_what_is_chosen_does_not_depend_on_what_the_model_records(world):
    folder, table = world
    head, config = load_bundle(folder / "run")
    store = FeatureStore.open(folder / "features")
    first, second = (
        choose_timeline(head, config.replaced(timeline=recorded), store, table.examples, folder)
        for recorded in ({}, {"smooth_seconds": 19.0})
    )
    assert first == second


def test_nothing_is_chosen_where_rows_do_not_cover_the_time(world):
    folder, table = world
    head, config = load_bundle(folder / "run")
    store = FeatureStore.open(folder / "features")
    some = [example for example in table.examples if example.start_seconds != 4.0]
    assert choose_timeline(head, config, store, some, folder) is None
    whole = [Example(e.video, e.labels) for e in table.examples[::5]]
    assert choose_timeline(head, config, store, whole, folder) is None


def test_labelled_bouts_that_touch_are_one():
    rows = [
        Example("v", ("eat",), 3.0, 5.0), Example("v", ("run", "eat"), 5.0, 6.0), Example("v", ("eat",), 8.0),
        Example("v", ("run",), None, 1.0),
    ]  # fmt: skip
    assert [(b.label, b.start_seconds, b.end_seconds) for b in bouts_of(rows, end_seconds=9.5)] == [
        ("run", 0, 1), ("eat", 3, 6), ("run", 5, 6), ("eat", 8, 9.5),
    ]  # fmt: skip
