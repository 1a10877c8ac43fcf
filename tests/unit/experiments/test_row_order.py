"""A table with its rows in another order is the same table."""

import gzip

import numpy as np
from tests.conftest import store_settings, table_of

from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import load_bundle
from actiondiff.types import Example, FeatureKey, Features

SETTINGS = store_settings(name="tiny", weights="0123")
KEY = FeatureKey.parse("t20.layer9")


def test_shuffled_rows_train_the_same_head_to_the_same_scores(tmp_path):
    random = np.random.default_rng(0)
    store = FeatureStore.create(tmp_path / "features", settings=SETTINGS, root=tmp_path)
    examples = []
    for number in range(60):
        label, identity = "abc"[number % 3], f"{number:064x}"
        tokens = random.normal(size=(int(random.integers(3, 9)), 6)).astype(np.float32)
        tokens[:, number % 3] += 1
        places = np.arange(len(tokens))
        name = f"{number:02}.mp4"
        store.write(
            name, Features({KEY: tokens}, places * 0.1, places, identity, num_windows=1, window_length=9)
        )
        examples.append(Example(name, (label,), group=f"g{number // 2}"))
    store.tidy()
    changes = ["head.layers=1", "head.heads=2", "head.input=standardised", "head.project=null",
               "head.max_tokens=9", "training.epochs=3", "training.warmup_epochs=1",
               "training.batch_size=4", "training.loss=cross-entropy", "head.name=transformer"]  # fmt: skip
    recipe = load_recipe("default", overrides=changes)
    runs = {}
    for name, order in (("given", range(60)), ("shuffled", random.permutation(60))):
        table = table_of(tmp_path, (examples[i] for i in order))
        runs[name] = study.train(store, table, out=tmp_path / name, recipe=recipe)
    first, second = (load_bundle(runs[name].folder)[0].state_dict() for name in runs)
    assert all((first[name] == second[name]).all() for name in first)
    metrics = [run.metrics.model_copy(update={"environment": {}}) for run in runs.values()]
    assert metrics[0] == metrics[1]
    lines = [
        sorted(gzip.decompress((run.folder / "predictions.csv.gz").read_bytes()).splitlines())
        for run in runs.values()
    ]
    assert lines[0] == lines[1]
