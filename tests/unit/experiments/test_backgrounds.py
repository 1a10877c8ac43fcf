"""Heads that take the background of each camera away: training, evaluation and the saved model."""

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.errors import RunError, StoreError, TableError, UsageError
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.timelines import evaluate_timelines
from actiondiff.features.store import FeatureStore
from actiondiff.heads.background import BACKGROUND, fit_backgrounds, load_backgrounds, save_backgrounds
from actiondiff.heads.bundle import load_bundle
from actiondiff.inference.backgrounds import cameras_of_videos, places_of_videos
from actiondiff.inference.model import ActionDiff
from actiondiff.types import Example, FeatureKey, Features

FAST = ("head.name=mean-linear", "head.project=null", "training.learning_rate=0.1", "training.epochs=30",
        "training.warmup_epochs=1", "protocol.domain=camera", "protocol.source=a,b,c,d",
        "protocol.target=new")  # fmt: skip
KEY = FeatureKey.parse("t20.layer9")
LABELS = ("eat", "run")
OFFSETS = {"a": (9.0, 0.0), "b": (-9.0, 3.0), "c": (4.0, -7.0), "d": (-4.0, 8.0), "new": (40.0, -25.0)}


def features(video, camera, label=None, *, length=4):
    """Tokens of a camera far from zero, to which the action adds little."""
    random = np.random.default_rng(int(identity_of(video)[:8], 16))
    tokens = random.normal(size=(length, 4)).astype(np.float32) * 0.3
    tokens[:, :2] += np.array(OFFSETS[camera], np.float32)
    if label is not None:
        tokens[:, 0] += 3.0 * LABELS.index(label)
    return Features({KEY: tokens}, np.arange(length) * 0.2, np.arange(length) * 4, identity_of(video),
                    num_windows=1, window_length=4)  # fmt: skip


def world(tmp_path, *, clips=12, empty=()):
    """A store and a table of clips, half of each action at each camera."""
    store = FeatureStore.create(tmp_path / "store", settings=store_settings(name="tiny", weights="01"),
                                root=tmp_path)  # fmt: skip
    examples = []
    for camera in OFFSETS:
        for n in range(clips):
            label = LABELS[n % 2]
            store.write(f"{camera}{n}.mp4", features(f"{camera}{n}.mp4", camera, label))
            examples.append(Example(f"{camera}{n}.mp4", (label,), columns={"camera": camera}))
    for camera in empty:
        store.write(f"empty-{camera}.mp4", features(f"empty-{camera}.mp4", camera))
    store.tidy()
    return store, table_of(tmp_path, examples)


def train(tmp_path, store, table, *overrides):
    recipe = load_recipe("default", overrides=[*FAST, *overrides])
    return study.train(store, table, out=tmp_path / "run", recipe=recipe)


def test_a_camera_unlike_the_others_is_named_only_without_its_background(tmp_path):
    store, table = world(tmp_path)
    plain = train(tmp_path / "plain", store, table, "head.input=standardised")
    minus = train(tmp_path / "minus", store, table, "head.input=minus-background")
    assert plain.metrics.test.scores.accuracy < 0.8
    assert minus.metrics.test.scores.accuracy == 1.0
    notes = [text for text in minus.metrics.cautions if "1 new camera" in text]
    assert len(notes) == 1
    assert "12 clips" in notes[0]

    # Evaluation and prediction subtract the same, from the files that training wrote.
    head, config = load_bundle(minus.folder)
    assert set(config.backgrounds.cameras) == {"a", "b", "c", "d"}
    test = table_of(tmp_path, [example for example in table.examples if example.columns["camera"] == "new"])
    result = study.evaluate(minus.folder, store, test, root=table.root)
    assert result.metrics.scores.accuracy == 1.0
    assert any("1 new camera" in text for text in result.metrics.cautions)
    read = {example.video: store.load(identity_of(example.video), [KEY]) for example in test.examples}
    model = ActionDiff(None, head, config)
    cameras = dict.fromkeys(read, "new")
    model.places, sentence = places_of_videos(config, cameras, lambda names: read.items(), by_folder=True)
    values = [[model.classify(read[name], name).probabilities[x] for x in LABELS] for name in sorted(read)]
    assert "1 new camera" in sentence
    assert "Each folder" in sentence
    frame = result.predictions.set_index("video").loc[sorted(read)]
    assert np.allclose(values, frame[[f"p({label})" for label in LABELS]], atol=1e-5)


def test_clips_without_animals_take_the_place_of_the_labelled_ones(tmp_path):
    store, table = world(tmp_path, clips=6, empty=OFFSETS)
    path = tmp_path / "empty.csv"
    path.write_text("video,camera\n" + "".join(f"empty-{name}.mp4,{name}\n" for name in OFFSETS))
    run = train(tmp_path, store, table, "head.input=minus-background", f"protocol.background={path}")
    _, config = load_bundle(run.folder)
    # Labelled clips would put the mean half an action higher.
    assert config.backgrounds.counts == dict.fromkeys("abcd", 1)
    middle = np.mean([features(f"empty-{name}.mp4", name).tokens[KEY].mean(0) for name in "abcd"], axis=0)
    assert np.allclose(config.backgrounds.mean, middle, atol=1e-4)
    (tmp_path / "empty.csv").write_text("video,camera\nabsent.mp4,a\n")
    with pytest.raises(StoreError, match=r"absent\.mp4"):
        study.evaluate(run.folder, store, table, background=path)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    store, table = world(tmp_path, clips=4)
    with pytest.raises(UsageError, match=r"head\.input=minus-background only"):
        train(tmp_path, store, table, "head.input=standardised", "protocol.background=e.csv")
    with pytest.raises(UsageError, match="fill the column place"):
        train(tmp_path, store, table, "head.input=minus-background", "protocol.camera=place")
    run = train(tmp_path, store, table, "head.input=minus-background")
    (run.folder / BACKGROUND).unlink()
    with pytest.raises(RunError, match=r"background\.safetensors is missing"):
        load_bundle(run.folder)
    (run.folder / BACKGROUND).write_bytes(b"nonsense")
    with pytest.raises(RunError, match="damaged"):
        load_bundle(run.folder)


def test_little_footage_is_trusted_as_far_as_clips_of_a_camera_agree(tmp_path):
    random = np.random.default_rng(0)
    places = random.normal(size=(50, 8)) * 2
    means = {f"c{n:02d}": place + random.normal(size=(6, 8)) for n, place in enumerate(places)}
    backgrounds = fit_backgrounds(means, "camera")
    assert 0.15 < np.median(backgrounds.k) < 0.4  # the variance within is a quarter of that between
    one, many = np.full((1, 8), 9.0), np.full((100, 8), 9.0)
    weight = 1 / (1 + backgrounds.k)
    assert np.allclose(backgrounds.estimate(one), weight * 9 + (1 - weight) * backgrounds.mean, atol=1e-5)
    assert np.allclose(backgrounds.estimate(many), 9, atol=0.1)
    # Cameras that differ no more than their clips do are all the same place.
    same = fit_backgrounds({name: random.normal(size=(6, 8)) for name in means}, "camera")
    assert np.median(same.k) > 30
    assert fit_backgrounds({"only": many}, "camera").k.tolist() == [4.0] * 8
    save_backgrounds(tmp_path, backgrounds)
    read = load_backgrounds(tmp_path, token_width=8)
    assert (read.k == backgrounds.k).all()
    assert read.counts == backgrounds.counts
    assert all((read.cameras[name] == backgrounds.cameras[name]).all() for name in means)
    with pytest.raises(RunError, match="width 9"):
        load_backgrounds(tmp_path, token_width=9)


def test_timelines_know_the_camera(tmp_path):
    store, table = world(tmp_path)
    run = train(tmp_path, store, table, "head.input=minus-background")
    rows = [
        Example(e.video, e.labels, start_seconds=0.0, end_seconds=0.8, columns=e.columns)
        for e in table.examples
        if e.columns["camera"] == "new"
    ]
    result = evaluate_timelines(run.folder, store, table_of(tmp_path, rows))
    assert result.metrics.frames.macro_f1 > 0.9  # each video by itself would give a third


def test_cameras_come_from_a_table_or_from_folders(tmp_path):
    for name in ("one/a.mp4", "two/b.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    videos = [str(tmp_path / "one/a.mp4"), str(tmp_path / "two/b.mp4")]
    by_folder = cameras_of_videos(videos, None, column="camera")
    assert len(set(by_folder.values())) == 2
    path = tmp_path / "cameras.csv"
    path.write_text("video,camera\none/a.mp4,north\ntwo/b.mp4,north\n")
    assert set(cameras_of_videos(videos, path, column="camera").values()) == {"north"}
    path.write_text("video,camera\none/a.mp4,north\n")
    with pytest.raises(UsageError, match="1 of 2 videos are not in"):
        cameras_of_videos(videos, path, column="camera")
    path.write_text("video,camera\none/a.mp4,\n")
    with pytest.raises(TableError, match="camera is empty"):
        cameras_of_videos(videos, path, column="camera")


@pytest.mark.parametrize("combine", ["concat", "tokens"])
def test_each_of_several_features_has_its_own_background_and_k(tmp_path, combine):
    """A second layer shows nothing but noise of each clip, so little of what one clip shows is believed."""
    store, table = world(tmp_path)
    other = FeatureKey.parse("t5.layer6")
    for example in table.examples:
        own = features(example.video, example.columns["camera"], example.labels[0])
        random = np.random.default_rng(len(example.video) + int(identity_of(example.video)[:6], 16))
        noise = np.tile(random.normal(size=4).astype(np.float32), (4, 1))
        store.write(example.video, replace(own, tokens={KEY: own.tokens[KEY], other: noise}))
    store.tidy()
    recipe = load_recipe(
        "default",
        overrides=[*FAST, "head.input=minus-background", "head.project=4", f"features.combine={combine}"],
        values={"features.keys": [str(KEY), str(other)]},
    )
    run = study.train(store, table, out=tmp_path / "run", recipe=recipe)
    assert run.metrics.test.scores.accuracy > 0.9
    head, config = load_bundle(run.folder)
    k = config.backgrounds.k
    assert k.shape == (8,)
    assert k[:2].max() < 0.5 < 2 < np.median(k[4:])  # cameras differ in the first two channels alone
    # What evaluation subtracts, prediction does too.
    new = [example for example in table.examples if example.columns["camera"] == "new"]
    read = {e.video: store.load(identity_of(e.video), [KEY, other]) for e in new}
    model = ActionDiff(None, head, config)
    model.places, _ = places_of_videos(
        config, dict.fromkeys(read, "new"), lambda names: read.items(), by_folder=False
    )
    result = study.evaluate(run.folder, store, table_of(tmp_path, new), root=table.root)
    frame = result.predictions.set_index("video")
    for name, own in read.items():
        assert model.classify(own, name).probabilities["eat"] == pytest.approx(
            frame.loc[name, "p(eat)"], abs=1e-5
        )
