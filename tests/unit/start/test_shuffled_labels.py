"""Heads that are trained on shuffled labels do not pass as working, and those on true labels do."""

import numpy as np
import pytest

from actiondiff.datasets.packing import pack_arrays
from actiondiff.evaluation.folds import group_folds
from actiondiff.experiments.recipe import load_recipe
from actiondiff.heads import build_head
from actiondiff.heads.predict import predict_probabilities
from actiondiff.start.comparison import Candidate, compare_candidates
from actiondiff.training.fit import fit
from actiondiff.types import Example

LABELS = ("eat", "run", "sit")
CLIPS, GROUPS, FOLDS, WIDTH = 90, 45, 3, 8
RECIPE = load_recipe(
    "own-videos",
    values={"head.name": "mean-linear", "head.input": "standardised", "head.project": None,
            "training.min_steps": 0, "training.epochs": 6, "training.warmup_epochs": 1,
            "training.batch_size": 30, "training.learning_rate": 0.1},
)  # fmt: skip


def arrays(random, labels, strength):
    """Three tokens per clip that tell this much of its class."""
    directions = random.normal(size=(len(LABELS), 1, WIDTH))
    noise = random.normal(size=(len(labels), 3, WIDTH))
    return list((noise + strength * directions[labels]).astype(np.float32))


def held_out(name, tokens, labels, seed, folder):
    """The predictions of heads that were each trained without the groups that they predict."""
    examples = [Example(f"{i:02d}.mp4", (LABELS[k],), group=f"g{i % GROUPS}") for i, k in enumerate(labels)]
    clips = pack_arrays(tokens, examples, LABELS)
    folds = np.array(group_folds(examples, FOLDS, salt=str(seed)))
    probabilities = np.zeros((len(labels), len(LABELS)), np.float32)
    for fold in range(FOLDS):
        head = build_head(RECIPE.head, WIDTH, len(LABELS))
        train = clips.subset(np.flatnonzero(folds != fold).tolist())
        options = RECIPE.training.for_clips(len(train), None)
        where = folder / f"{name}-{seed}-{fold}"
        fit(head, train, None, options, activation="softmax", seed=seed, folder=where)
        test = np.flatnonzero(folds == fold)
        probabilities[test] = predict_probabilities(head, clips.subset(test.tolist()), activation="softmax")
    truth = np.eye(len(LABELS), dtype=bool)[labels]
    return Candidate(name, probabilities, truth, tuple(e.group for e in examples), LABELS)


def verdict_of(seed, folder, *, shuffled):
    random = np.random.default_rng(seed)
    labels = np.arange(CLIPS) % len(LABELS)
    features = [arrays(random, labels, strength) for strength in (0.1, 1.5)]
    if shuffled:
        labels = random.permutation(labels)
    pairs = zip(("pixels", "lite0"), features, strict=True)
    return compare_candidates([held_out(n, f, labels, seed, folder) for n, f in pairs], multi_label=False)


@pytest.mark.timeout(600)
def test_at_most_one_of_ten_trainings_on_shuffled_labels_passes(tmp_path):
    verdicts = [verdict_of(seed, tmp_path, shuffled=True) for seed in range(10)]
    assert sum(verdict.outcome == "works" or verdict.recommended is not None for verdict in verdicts) <= 1
    assert sum(verdict.outcome == "not better than guessing" for verdict in verdicts) >= 9


def test_the_same_trainings_on_true_labels_pass(tmp_path):
    for seed in range(2):
        verdict = verdict_of(seed, tmp_path, shuffled=False)
        assert (verdict.outcome, verdict.recommended) == ("works", "lite0"), verdict.sentence
