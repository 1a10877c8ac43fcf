"""Whether a test score is better than guessing, and what is said where it is not."""

import numpy as np
import pytest

from actiondiff.datasets.packing import pack_arrays
from actiondiff.evaluation.folds import group_folds, groups_per_class
from actiondiff.evaluation.judge import judge
from actiondiff.evaluation.verdict import chance_verdict
from actiondiff.types import Example

LABELS = ("eat", "run", "sit")


def judged(right: float, *, num_groups: int = 20, seed: int = 0):
    """Scores of a model that is right on a share of the clips, else picks any class."""
    random = np.random.default_rng(seed)
    examples = [Example(f"{i}.mp4", (LABELS[i % 3],), group=f"g{i % num_groups}") for i in range(60)]
    packed = pack_arrays([np.zeros((1, 4), np.float32)] * 60, examples, LABELS)
    predicted = [i % 3 if random.random() < right else random.integers(3) for i in range(60)]
    probabilities = np.eye(3, dtype=np.float32)[predicted] * 0.8 + 0.1 * 2 / 3
    return judge(
        packed, probabilities / probabilities.sum(1, keepdims=True), "softmax", packed.targets.numpy()
    )


def test_a_good_score_is_better_than_guessing():
    verdict = chance_verdict(judged(0.8))
    assert verdict.beats_guessing
    assert verdict.sentence.startswith("Better than guessing: accuracy ")
    assert "guessing by class frequencies has 33.3 %" in verdict.sentence


def test_chance_is_the_headline_and_rarely_passes():
    verdicts = [chance_verdict(judged(0.0, seed=seed)) for seed in range(20)]
    assert sum(verdict.beats_guessing for verdict in verdicts) <= 2  # 2.5 % is expected
    assert verdicts[0].sentence.startswith("NOT SHOWN TO BE BETTER THAN GUESSING: accuracy ")


def test_a_few_clips_that_are_all_right_may_be_luck():
    scores = judged(1.0)
    few = scores.model_copy(update={"num_clips": 3})
    assert chance_verdict(scores).beats_guessing
    assert not chance_verdict(few).beats_guessing
    assert "by luck" in chance_verdict(few).sentence


def test_without_test_clips_or_with_one_group_nothing_is_shown():
    assert chance_verdict(None).sentence.startswith("NOT TESTED")
    one = chance_verdict(judged(1.0, num_groups=1))
    assert not one.beats_guessing
    assert "one group" in one.sentence


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_keep_groups_whole_and_classes_spread(count):
    clips = [Example(f"{i}.mp4", (LABELS[(i // 4) % 3],), group=f"g{i // 4}") for i in range(120)]
    folds = group_folds(clips, count, salt="0")
    for group in {clip.group for clip in clips}:
        assert len({fold for fold, clip in zip(folds, clips, strict=True) if clip.group == group}) == 1
    for label in LABELS:
        of_label = [fold for fold, clip in zip(folds, clips, strict=True) if clip.labels == (label,)]
        sizes = np.bincount(of_label, minlength=count)
        assert sizes.max() - sizes.min() <= 4  # one group
    mixed = [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]
    by_video = dict(zip((clip.video for clip in clips), folds, strict=True))
    assert [by_video[clip.video] for clip in mixed] == group_folds(mixed, count, salt="0")
    assert groups_per_class(clips) == {"eat": 10, "run": 10, "sit": 10}
