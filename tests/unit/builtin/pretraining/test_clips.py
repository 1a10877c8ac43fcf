"""What pre-training sees, and what it must not see."""

import pytest
import torch

from actiondiff.builtin.pretraining.clips import StepClips, clip_specs, draw
from actiondiff.builtin.pretraining.options import PretrainingOptions
from actiondiff.builtin.world.protocols import DEVELOPMENT, RESERVED, is_held_out
from actiondiff.builtin.world.world import ClipSpec, actors


@pytest.fixture(scope="module")
def shown():
    """What the first steps of each stage of the default run show."""
    options = PretrainingOptions()
    stages = {
        stage: StepClips(options.seed, stage, options.clips(stage), options.world)
        for stage in ("autoencoder", "half-size", "full-size")
    }
    return [spec for clips in stages.values() for step in range(12) for spec in clips.specs(step)]


def test_pre_training_shows_no_held_out_body_context_or_view(shown):
    for spec in shown:
        body, _, view = actors(spec)
        for target in (DEVELOPMENT, RESERVED):
            assert spec.body not in target.bodies
            assert spec.context not in target.contexts
            assert spec.view not in target.views
        assert len(body.legs) in (1, 2, 3)  # snake and fish have none, the spider has four pairs
        assert body.neck <= 0.9  # the giraffe's is 1.25
        assert spec.view == "side" or 0.12 < view.elevation[0] < 1.05  # ego is below, top above
        assert spec.context == "meadow" or not is_held_out(spec)


def test_no_two_steps_share_a_clip(shown):
    assert len({(spec.seed, spec.individual) for spec in shown}) == len(shown)


def test_the_variant_that_has_them():
    specs = clip_specs(200, seed=0, world="all")
    named = [spec for spec in specs if spec.body in (*DEVELOPMENT.bodies, *RESERVED.bodies)]
    assert 40 < len(named) < 80


@pytest.mark.parametrize(
    ("body", "context", "view", "held_out"),
    [
        ("dog", "meadow", "side", False),
        ("spider", "meadow", "side", True),
        ("dog", "night", "side", True),
        ("dog", "meadow", "ego", True),
    ],
)
def test_names_of_targets_are_held_out(body, context, view, held_out):
    assert is_held_out(ClipSpec(body, "walk", context, view, 0)) is held_out


def test_clips_are_drawn_alike_in_any_order():
    clips = StepClips(0, "half-size", 2, "held-out")
    second, first = clips[5], clips[4]
    assert torch.equal(first, clips[4])
    assert torch.equal(second, draw(clips.specs(5)))
    assert first.shape == (2, 16, 3, 64, 64)
    assert first.dtype == torch.float32
    assert -1 <= first.min() < first.max() <= 1
