"""Painting: shapes are painted only where they are, and in batches; neither changes a pixel."""

import numpy as np
import pytest

from actiondiff.builtin.world import backdrop, render
from actiondiff.builtin.world.world import RANDOM, ClipSpec, render_clip

SPECS = [
    ClipSpec("spider", "run", "snow", "ego", 3, 4),
    ClipSpec("giraffe", "eat", "night", "top", 5, 6),
    *(
        ClipSpec(RANDOM, action, RANDOM, RANDOM, 11 + seed, seed)
        for seed, action in enumerate(("hop", "spin"))
    ),
]


def draw(spec):
    return render_clip(spec, num_frames=5, fps=6.25, height=50, width=70).pixels


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.body + spec.action)
def test_pixels_that_are_skipped_would_not_have_changed(monkeypatch, spec):
    pixels = draw(spec)
    skipped = []

    def whole_rows(ends, radii, shape, y, *, limit):
        left, right = spans(ends, radii, shape, y, limit=limit)
        skipped.append(len(y) * limit - (right - left).sum())
        return np.zeros_like(left), np.full_like(right, limit)

    spans = render._spans
    monkeypatch.setattr(render, "_spans", whole_rows)
    np.testing.assert_array_equal(draw(spec), pixels)
    assert sum(skipped) > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.body + spec.action)
def test_batches_of_shapes_and_blocks_of_frames_change_nothing(monkeypatch, spec):
    pixels = draw(spec)
    monkeypatch.setattr(render, "_MOST_PIXELS", 1)
    monkeypatch.setattr(backdrop, "_BLOCK_PIXELS", 2 * 50 * 70)
    np.testing.assert_array_equal(draw(spec), pixels)
