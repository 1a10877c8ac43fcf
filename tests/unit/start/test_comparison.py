"""The verdict of `actiondiff start` on predictions whose worth is known."""

import re

import numpy as np
import pytest

from actiondiff.evaluation.folds import group_folds
from actiondiff.start.comparison import Candidate, compare_candidates, too_few
from actiondiff.types import Example

LABELS = ("eat", "run", "sit", "walk")


def candidate(name, labels, groups, tokens):
    """Clips are predicted by the nearest mean of each class over the other folds."""
    examples = [
        Example(f"{i}.mp4", (LABELS[k],), group=g)
        for i, (k, g) in enumerate(zip(labels, groups, strict=True))
    ]
    folds = np.array(group_folds(examples, 4, salt="0"))
    scores = np.zeros((len(labels), len(LABELS)), np.float32)
    for fold in range(4):
        train = folds != fold
        means = np.stack([tokens[train & (labels == k)].mean(0) for k in range(len(LABELS))])
        scores[~train] = -np.linalg.norm(tokens[~train][:, None] - means, axis=2)
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return Candidate(name, probabilities, np.eye(len(LABELS), dtype=bool)[labels], tuple(groups), LABELS)


def candidates(seed, *, clips=80, groups=40, signal=(0.0, 0.2, 3.0), shuffled=False):
    """Colours, motion and a backbone that tell this much of the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(clips) % len(LABELS)
    names = [f"g{i % groups}" for i in range(clips)]
    directions = random.normal(size=(len(LABELS), 12))
    features = [random.normal(size=(clips, 12)) + strength * directions[labels] for strength in signal]
    if shuffled:
        labels = random.permutation(labels)
    return [
        candidate(name, labels, names, tokens)
        for name, tokens in zip(("pixels", "motion", "lite0"), features, strict=True)
    ]


def test_good_labels_work_and_the_backbone_is_recommended():
    for seed in range(5):
        verdict = compare_candidates(candidates(seed), multi_label=False)
        assert verdict.outcome == "works", verdict.sentence
        assert verdict.recommended == "lite0"
    assert "guessing has 25 %" in verdict.sentence


def test_shuffled_labels_pass_at_most_once_in_ten():
    verdicts = [compare_candidates(candidates(seed, shuffled=True), multi_label=False) for seed in range(10)]
    assert sum(verdict.recommended is not None for verdict in verdicts) <= 1
    assert sum(verdict.outcome == "not better than guessing" for verdict in verdicts) >= 9
    assert "do not use this model" in " ".join(verdict.sentence for verdict in verdicts)


def constant(clips, groups, num_classes=4):
    """A head that names one class for every clip: its score is that of guessing, and never varies."""
    labels = np.arange(clips) % num_classes
    probabilities = np.full((clips, num_classes), 0.1, np.float32)
    probabilities[:, 0] = 0.7
    truth = np.eye(num_classes, dtype=bool)[labels]
    names = tuple(f"g{i // (clips // groups)}" for i in range(clips))
    return Candidate("pixels", probabilities, truth, names, LABELS[:num_classes])


def test_a_score_that_never_varies_is_told_only_by_the_number_of_recordings():
    assert compare_candidates([constant(12, 12)], multi_label=False).outcome == "too few"
    assert compare_candidates([constant(96, 24)], multi_label=False).outcome == "not better than guessing"


def test_what_cannot_be_told_names_how_many_recordings_would_tell():
    """Two classes are guessed rightly half the time, so that it takes more recordings to tell."""
    verdict = compare_candidates([constant(24, 24, num_classes=2)], multi_label=False)
    assert verdict.outcome == "too few"
    more = int(re.search(r"label about (\d+) more of eat and as many of the others", verdict.sentence)[1])
    enough = 24 + 2 * more
    assert compare_candidates([constant(enough, enough, 2)], multi_label=False).outcome != "too few"
    assert 5 <= more <= 30


def test_what_motion_does_as_well_is_not_credited_to_the_backbone():
    verdict = compare_candidates(candidates(0, signal=(0.0, 3.0, 0.6)), multi_label=False)
    assert verdict.outcome == "not better than controls"
    assert verdict.recommended == "motion"
    assert "not better than simple motion" in verdict.sentence


def test_a_lead_over_controls_that_may_be_chance_is_not_called_works():
    outcomes = set()
    for seed in range(10):
        verdict = compare_candidates(candidates(seed, signal=(0.15, 0.15, 0.45)), multi_label=False)
        outcomes.add((verdict.outcome, verdict.recommended))
    assert ("not better than controls", "lite0") in outcomes


def test_a_few_clips_are_too_few_and_the_advice_names_a_class():
    verdict = compare_candidates(candidates(0, clips=16, groups=16, shuffled=True), multi_label=False)
    assert verdict.outcome == "too few"
    assert "label about" in verdict.sentence
    assert any(label in verdict.sentence for label in LABELS)


def test_classes_of_one_group_each_cannot_be_tested():
    verdict = too_few({"eat": 1, "run": 5})
    assert verdict.outcome == "too few"
    assert "3 of eat" in verdict.sentence


@pytest.mark.parametrize("seed", range(3))
def test_clips_of_few_groups_do_not_pass_by_number_alone(seed):
    """Fifty clips of each of four recordings, which agree by chance, are four observations."""
    random = np.random.default_rng(seed)
    names = [f"g{i // 50}" for i in range(200)]
    labels = np.repeat(np.arange(4), 50)
    probabilities = np.full((200, 4), 0.1, np.float32)
    probabilities[np.arange(200), np.where(random.random(200) < 0.6, labels, 0)] = 0.7
    made = Candidate("pixels", probabilities, np.eye(4, dtype=bool)[labels], tuple(names), LABELS)
    assert compare_candidates([made], multi_label=False).recommended is None
