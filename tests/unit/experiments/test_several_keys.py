"""Heads that read several layers or backbones: what they learn, what a run records, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tests.conftest import identity_of, store_settings, table_of

from actiondiff.errors import ActionDiffError, RunError, SettingsMismatchError, StoreError, UsageError
from actiondiff.experiments import study
from actiondiff.experiments.recipe import Recipe, load_recipe
from actiondiff.experiments.run import evaluate
from actiondiff.experiments.sweep import sweep
from actiondiff.experiments.timelines import evaluate_timelines
from actiondiff.features.joined import join_stores
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import load_bundle
from actiondiff.types import Example, FeatureKey, Features

FAST = ("head.name=attentive", "head.project=8", "head.heads=2", "training.learning_rate=0.02",
        "training.epochs=12", "training.warmup_epochs=1", "training.calibration_folds=0")  # fmt: skip
LABELS = ("eat", "run", "sit")


def recipe(*overrides, **values):
    return load_recipe("default", overrides=[*FAST, *overrides], values=values)


def fill(folder, name, videos, keys, *, scale=1.0, **settings):
    """A store in which feature n of a video tells whether it shows label n, and nothing else."""
    made = FeatureStore.create(
        folder, settings={**store_settings(name=name, weights="01"), **settings}, root=folder.parent
    )
    for video, label in videos.items():
        random = np.random.default_rng(int(identity_of(video + name)[:8], 16))
        tokens = {}
        for key, (number, width) in keys.items():
            values = random.normal(size=(4, width)).astype(np.float32)
            values += 4 * (label == LABELS[number])
            tokens[FeatureKey.parse(key)] = scale * values
        made.write(
            video,
            Features(
                tokens,
                np.arange(4) * 0.2,
                np.arange(4) * 4,
                identity_of(video),
                num_windows=1,
                window_length=4,
            ),
        )
    made.tidy()
    return made


@pytest.fixture
def made(tmp_path):
    """Two stores, of which tiny knows eat and run in two layers, and pixels (of another scale) knows sit."""
    examples = [
        Example(f"{i:02d}.mp4", (LABELS[i % 3],), start_seconds=0.0, end_seconds=0.8, group=f"g{i // 3}")
        for i in range(60)
    ]
    videos = {example.video: example.labels[0] for example in examples}
    keys = {"t20.layer3": (0, 3), "t5.layer6": (1, 5)}
    tiny = fill(tmp_path / "tiny", "tiny", videos, keys)
    pixels = fill(tmp_path / "pixels", "pixels", videos, {"t0.layer1": (2, 2)}, scale=1000)
    return tiny, pixels, table_of(tmp_path, examples), tmp_path


def test_one_key_is_written_as_ever():
    """Neither the recipe nor the config of a head on one feature says anything of several."""
    dumped = Recipe().model_dump(mode="json")
    assert dumped["features"] == {"timestep": None, "layer": None}
    assert "split" not in dumped["head"]
    several = recipe("features.keys=[t20.layer3, pixels]", "features.combine=tokens")
    assert several.model_dump(mode="json")["features"] == {
        "keys": ["t20.layer3", "pixels"],
        "combine": "tokens",
    }


@pytest.mark.parametrize("combine", ["concat", "tokens"])
def test_a_head_learns_from_all_features_together(made, combine):
    tiny, pixels, table, folder = made
    both = join_stores(tiny, pixels)
    chosen = recipe("features.keys=[t20.layer3, t5.layer6, pixels]", f"features.combine={combine}")
    run = study.train(both, table, out=folder / "run", recipe=chosen)
    assert run.metrics.test.scores.accuracy > 0.9
    assert run.metrics.feature == "t20.layer3 + t5.layer6 + pixels:t0.layer1"
    head, config = load_bundle(run.folder)
    assert config.keys == ["t20.layer3", "t5.layer6", "pixels:t0.layer1"]
    assert config.token_width == 3 + 5 + 2
    assert config.head.split == ((3, 5, 2) if combine == "tokens" else ())
    assert config.further["pixels"].features == pixels.settings
    assert config.further["pixels"].feature_fingerprint == pixels.fingerprint
    assert config.sources == "t20.layer3 and t5.layer6 of tiny, t0.layer1 of pixels"
    # Each channel is standardised, so that the larger numbers of a store count no more.
    assert head.inputs.deviation[-1] > 100
    assert "t0.layer1 of pixels" in (run.folder / "README.md").read_text()
    # One store alone cannot tell all labels.
    alone = study.train(tiny, table, out=folder / "alone", recipe=recipe("features.layer=3"))
    assert alone.metrics.test.scores.accuracy < 0.85

    # The same clips score the same when they are evaluated, and only with both stores.
    tested = replace(table, examples=tuple(replace(e, split="test") for e in table.examples))
    result = evaluate(run, both, tested)
    assert result.metrics.num_clips == run.metrics.test.num_clips
    assert result.metrics.scores == run.metrics.test.scores
    assert evaluate_timelines(run, both, table).metrics.num_videos == run.metrics.test.num_clips
    with pytest.raises(UsageError, match=r"features of pixels are missing; .* --with pixels=STORE"):
        evaluate(run, tiny, tested)
    other = fill(folder / "other", "pixels", {"00.mp4": "eat"}, {"t0.layer1": (2, 2)}, store_dtype="float16")
    with pytest.raises(SettingsMismatchError, match="store_dtype"):
        evaluate(run, join_stores(tiny, other), tested)


def test_a_run_is_found_again_only_with_the_same_stores(made):
    tiny, pixels, table, folder = made
    first = study.train(join_stores(tiny, pixels), table, out=folder / "run", recipe=recipe())
    assert first.metrics.feature == "t20.layer3 + pixels:t0.layer1"  # the default of each store
    stored = yaml.safe_load((first.folder / "recipe.yaml").read_text())
    assert stored["features"] == {"keys": ["t20.layer3", "pixels:t0.layer1"]}
    again = study.train(join_stores(tiny, pixels), table, out=folder / "run", recipe=recipe())
    assert again.metrics == first.metrics
    videos = {example.video: example.labels[0] for example in table.examples}
    keys = {"t0.layer1": (2, 2)}
    other = fill(folder / "other", "pixels", videos, keys, store_dtype="float16")
    with pytest.raises(RunError, match="another features"):
        study.train(join_stores(tiny, other), table, out=folder / "run", recipe=recipe())
    with pytest.raises(ActionDiffError):
        study.train(tiny, table, out=folder / "run", recipe=recipe("features.keys=[tiny, pixels]"))


def test_continuing_takes_the_same_features(made):
    tiny, pixels, table, folder = made
    both = join_stores(tiny, pixels)
    run = study.train(both, table, out=folder / "run", recipe=recipe("features.combine=tokens"))
    more = study.train(both, table, out=folder / "more", start=run.folder)
    assert more.metrics.feature == run.metrics.feature
    with pytest.raises(UsageError, match="pixels"):
        study.train(tiny, table, out=folder / "less", start=run.folder)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("features.keys=[pixels]", "none of the first store, .*tiny"),
        ("features.keys=[tiny, t20.layer3]", "the feature t20.layer3 twice"),
        ("features.keys=[tiny, tiny]", "tiny is listed twice"),
        ("features.keys=[tiny, lite0]", "'lite0'.*--with STORE"),
        ("features.keys=[tiny, t5.layer3]", "t5.layer3"),
        ("features.keys=[t5.layer6, t20.layer3]", "reads nothing of .*pixels"),
        ("features={keys: [tiny, pixels], layer: 3}", "takes the place of timestep and layer"),
        ("features={keys: [tiny, pixels], combine: sum}", "combine"),
        ("head.fusion=3", "fusion=3 mixes that many features, and features.keys has 2"),
        ("head.split=[3, 2]", "head.split"),
        ("head.widths=[3, 2]", "head.widths"),
    ],
)
def test_what_is_refused(made, override, reason):
    tiny, pixels, table, folder = made
    with pytest.raises(ActionDiffError, match=reason) as caught:
        study.train(join_stores(tiny, pixels), table, out=folder / "run", recipe=recipe(override))
    assert "\n" not in str(caught.value)


def test_features_side_by_side_have_scales_of_their_own(made):
    tiny, pixels, table, folder = made
    chosen = recipe("features.keys=[t20.layer3, t5.layer6, pixels]", "head.input=scaled")
    run = study.train(join_stores(tiny, pixels), table, out=folder / "run", recipe=chosen)
    head, config = load_bundle(run.folder)
    assert config.head.widths == (3, 5, 2)
    of_tiny, of_second, of_pixels = head.inputs.deviation.split([3, 5, 2])
    assert of_pixels.min() == of_pixels.max() > 100
    assert of_tiny.min() == of_tiny.max() < 10
    assert of_second.min() == of_second.max() < 10


def test_videos_that_a_store_lacks(made):
    tiny, _, table, folder = made
    few = fill(folder / "few", "pixels", {"00.mp4": "eat"}, {"t0.layer1": (2, 2)})
    with pytest.raises(StoreError, match=r"few lacks t0.layer1 of \d+ of \d+ videos .* joined by content"):
        study.train(join_stores(tiny, few), table, out=folder / "run", recipe=recipe())


def test_a_bundle_that_was_changed_is_refused(made):
    tiny, pixels, table, folder = made
    run = study.train(
        join_stores(tiny, pixels), table, out=folder / "run", recipe=recipe("training.epochs=2")
    )
    written = json.loads((run.folder / "config.json").read_text())
    for number, (change, reason) in enumerate(
        [
            ({"further": {}}, "keys name pixels, which further lacks"),
            ({"keys": ["pixels:t0.layer1"]}, "none of the keys is of the first backbone"),
            ({"keys": ["../x:t0.layer1"]}, "letters, digits"),
            ({"further": {"pixels": {"features": {}, "feature_fingerprint": "0"}}}, "name their backbone"),
        ]
    ):
        copy = folder / f"copy-{number}"
        shutil.copytree(run.folder, copy)
        (copy / "config.json").write_text(json.dumps({**written, **change}))
        with pytest.raises(RunError, match=reason):
            load_bundle(copy)


def test_each_time_has_a_token_of_each_feature(made):
    """The features of a time share its position, and which feature a token is of is learnt."""
    tiny, pixels, table, folder = made
    chosen = recipe(
        "features.combine=tokens", "head.name=transformer", "training.epochs=1", "training.warmup_epochs=0"
    )
    head, _ = load_bundle(
        study.train(join_stores(tiny, pixels), table, out=folder / "run", recipe=chosen).folder
    )
    tokens = torch.randn(2, 4, 5)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    seen = head.inputs(tokens, mask)
    assert seen.shape == (2, 8, 8)
    assert not seen[1, 4:].any()
    changed = tokens.clone()
    changed[:, 0, 3:] += 1  # the second feature of the first time
    assert (head.inputs(changed, mask) != seen).any(-1).nonzero().tolist() == [[0, 1], [1, 1]]
    with torch.no_grad():
        placed = head.embed(torch.zeros(1, 8, 8))[0, 1:]
    assert torch.equal(placed[0], placed[1])
    assert not torch.equal(placed[1], placed[2])


def test_features_are_chosen_one_after_the_other_on_the_source(made):
    """Those that tell more are added, a copy of one is not, and the target is looked at once."""
    tiny, pixels, table, folder = made
    examples = [replace(e, columns={"site": "ns"[i % 2]}) for i, e in enumerate(table.examples)]
    (folder / "grid.yaml").write_text(
        "base: default\nhead: {name: attentive, project: 8, heads: 2}\n"
        "training: {learning_rate: 0.02, epochs: 12, warmup_epochs: 1, calibration_folds: 0}\n"
        "protocol: {domain: site, source: [n], target: rest}\n"
    )
    both = join_stores(tiny, pixels, f"copy={pixels.folder}")
    names = ["t20.layer3", "t5.layer6", "pixels", "copy"]
    options = {"root": folder, "jobs": 1, "stepwise": names}
    result = sweep(
        folder / "grid.yaml", both, replace(table, examples=tuple(examples)), out=folder / "out", **options
    )
    chosen = result.halving["keys"]
    assert chosen[0] in ("t20.layer3", "t5.layer6")  # the first is of the first store
    assert len(chosen) == 2  # any two of the three tell the third label, too
    (row,) = result.studies.to_dict("records")
    assert row["point"] == " + ".join(chosen)
    assert row["test"] > 0.8
    assert len(result.runs) == 1
    summary = json.loads((folder / "out/sweep.json").read_text())
    assert [entry["num_points"] for entry in summary["halving"]["rounds"]] == [2, 3, 2]
    assert summary["further"]["pixels"]["fingerprint"] == pixels.fingerprint
    assert summary["target_looks"] == 1
    for tried in (folder / "out/rungs").rglob("clips.csv.gz"):
        assert {e.columns["site"] for e in examples if e.video in set(pd.read_csv(tried)["video"])} == {"n"}
    with pytest.raises(UsageError, match="among two or more"):
        sweep(
            folder / "grid.yaml",
            both,
            table_of(folder, examples),
            out=folder / "two",
            **{**options, "stepwise": ["t20.layer3"]},
        )
    with pytest.raises(UsageError, match="a recipe of one study"):
        sweep(
            folder / "grid.yaml",
            both,
            table_of(folder, examples),
            out=folder / "three",
            budget=0.5,
            **options,
        )


def test_keys_that_vary(made):
    """A list of lists is one study for each; processes open every store."""
    tiny, pixels, table, folder = made
    (folder / "grid.yaml").write_text(
        "base: default\nhead: {name: mean-linear, project: null}\n"
        "features: {keys: [[tiny, pixels], [t5.layer6]]}\n"
        "training: {learning_rate: 0.1, epochs: 2, warmup_epochs: 1, calibration_folds: 0}\n"
    )
    result = sweep(folder / "grid.yaml", join_stores(tiny, pixels), table, out=folder / "out", jobs=2)
    assert not result.failed
    assert sorted(result.runs["point"]) == ["keys=t5.layer6", "keys=tiny, pixels"]
