"""Clips: the same in every process, at any size and rate; boxes hold the creature."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from actiondiff.builtin.world import world
from actiondiff.builtin.world.actions import ACTIONS, Segment
from actiondiff.builtin.world.bodies import BODIES, Coat
from actiondiff.builtin.world.cameras import VIEWS
from actiondiff.builtin.world.protocols import PROTOCOLS, sample_specs
from actiondiff.builtin.world.scenes import CONTEXTS
from actiondiff.builtin.world.world import RANDOM, ClipSpec, VideoSpec, render_clip, render_video, world_hash
from actiondiff.errors import UnknownNameError, UsageError

DOG = ClipSpec("dog", "walk", "meadow", "side", seed=7, individual=3)
SMALL = {"num_frames": 8, "fps": 6.25}


def digest(pixels) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def plain(shade: float) -> Coat:
    grey = (shade, shade, shade)
    return Coat(base=grey, accent=grey, limbs=grey, horn=grey, contrast=0.0)


@pytest.fixture
def creature_mask(monkeypatch):
    """Where the creature shows: what changes when its coat does. -> (mask (T, H, W), boxes)."""

    def show(spec, **size):
        clips = []
        for shade in (0.0, 1.0):
            monkeypatch.setattr(world, "random_coat", lambda random, shade=shade: plain(shade))
            clips.append(render_clip(spec, **size))
        return (clips[0].pixels != clips[1].pixels).any(-1), clips[0].boxes

    return show


def test_same_specification_same_pixels_in_another_process():
    specs = [DOG, ClipSpec(RANDOM, "spin", RANDOM, RANDOM, seed=11, individual=5)]
    here = [digest(render_clip(spec, **SMALL).pixels) for spec in specs]
    program = (
        "import hashlib; from actiondiff.builtin.world.world import *\n"
        f"for spec in {specs!r}:\n"
        "    pixels = render_clip(spec, num_frames=8, fps=6.25).pixels\n"
        "    print(hashlib.sha256(pixels.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_seed_and_individual_each_change_the_clip():
    first = render_clip(DOG, **SMALL)
    other_seed, other_dog = (
        render_clip(replace(DOG, **change), **SMALL) for change in ({"seed": 8}, {"individual": 4})
    )
    assert len({digest(clip.pixels) for clip in (first, other_seed, other_dog)}) == 3
    assert np.abs(first.boxes - other_dog.boxes).max() < 12  # the same motion, seen from the same place
    assert np.abs(first.boxes - other_seed.boxes).max() > 12


def test_another_context_shows_the_same_motion():
    first, second = render_clip(DOG, **SMALL), render_clip(replace(DOG, context="snow"), **SMALL)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert np.abs(first.pixels.astype(int) - second.pixels).mean() > 20


def test_a_lower_rate_shows_the_same_moments():
    dense, sparse = render_clip(DOG, num_frames=32), render_clip(DOG, **SMALL)
    np.testing.assert_allclose(dense.boxes[::4], sparse.boxes, atol=1e-3)
    assert np.abs(dense.pixels[::4].astype(int) - sparse.pixels).mean() < 5  # the sensor's noise only


def test_painting_in_chunks_changes_nothing(monkeypatch):
    whole = render_clip(DOG, **SMALL).pixels
    monkeypatch.setattr(world, "_CHUNK_PIXELS", 3 * 64 * 64)
    np.testing.assert_array_equal(render_clip(DOG, **SMALL).pixels, whole)


def test_any_size():
    clip = render_clip(DOG, num_frames=2, height=90, width=160)
    assert clip.pixels.shape == (2, 90, 160, 3)
    assert clip.pixels.dtype == np.uint8
    assert clip.boxes.shape == (2, 4)
    assert clip.boxes.dtype == np.float32
    square = render_clip(DOG, num_frames=2, height=90, width=90)
    np.testing.assert_allclose(
        clip.boxes[:, 1::2], square.boxes[:, 1::2], atol=1e-3
    )  # the shorter side counts


def test_everything_renders_without_numerical_trouble():
    places = list(product(CONTEXTS, VIEWS))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for index, (body, action) in enumerate(product([*BODIES, RANDOM], ACTIONS)):
            context, view = places[index % len(places)]
            if body == RANDOM:
                context = view = RANDOM
            clip = render_clip(
                ClipSpec(body, action, context, view, index, index), num_frames=3, fps=2, height=48, width=48
            )
            assert (clip.pixels.reshape(3, -1).std(axis=1) > 2).all(), (body, action, context, view)
            width, height = clip.boxes[:, 2] - clip.boxes[:, 0], clip.boxes[:, 3] - clip.boxes[:, 1]
            assert (width * height > 0.005 * 48 * 48).all(), (body, action, context, view)


@pytest.mark.parametrize("body", BODIES)
def test_box_holds_the_creature_and_little_else(creature_mask, body):
    gaps = []
    for index, view in enumerate(VIEWS):
        mask, boxes = creature_mask(ClipSpec(body, "still", "tiles", view, index, index), **SMALL)
        for picture, box in zip(mask, boxes, strict=True):
            rows, columns = np.nonzero(picture)
            seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (seen[:2] >= np.floor(box[:2]) - 1).all()  # one pixel for soft edges
            assert (seen[2:] <= np.ceil(box[2:]) + 1).all()
            gaps.append(np.abs(seen - box))
    assert np.median(gaps) < 2  # not in every frame: things stand in the way


@pytest.mark.parametrize("view", VIEWS)
def test_an_approach_grows_and_nothing_else_does(view):
    def growth(action, seed):
        boxes = render_clip(
            ClipSpec("beetle", action, "meadow", view, seed, seed), num_frames=16, fps=6.25
        ).boxes
        size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        return size[-3:].mean() / size[:3].mean()

    assert np.mean([growth("approach", seed) for seed in range(6)]) > 1.35
    assert max(np.mean([growth(action, seed) for seed in range(3)]) for action in ACTIONS[:-1]) < 1.3


def test_actions_differ_in_energy_of_motion(creature_mask):
    def energy(action):
        total = []
        for seed in range(4):
            mask, _ = creature_mask(
                ClipSpec("dog", action, "tiles", "side", seed, seed), num_frames=12, fps=6.25
            )
            total.append((mask[1:] != mask[:-1]).sum() / mask.sum())
        return np.mean(total)

    found = {action: energy(action) for action in ("still", "walk", "run", "hop")}
    assert found["still"] < found["walk"] < found["run"]
    assert found["still"] < 0.6 * found["hop"]


def test_a_video_of_several_actions():
    segments = (Segment("hop", 0.0, 1.2), Segment("still", 1.2, 2.4))
    video = render_video(VideoSpec("dog", segments, "meadow", "side", seed=1), fps=12.5, height=32, width=32)
    assert video.pixels.shape == (30, 32, 32, 3)
    middle = video.boxes[:, 1::2].mean(axis=1)
    assert np.ptp(middle[:13]) > 2 * np.ptp(middle[18:])


def test_what_cannot_be_rendered_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'giraffe'"):
        render_clip(replace(DOG, body="girafe"))
    with pytest.raises(UnknownNameError, match="context"):
        render_clip(replace(DOG, context="moon"))
    with pytest.raises(UnknownNameError, match="view"):
        render_clip(replace(DOG, view="below"))
    with pytest.raises(UnknownNameError, match="action"):
        replace(DOG, action="sing")
    with pytest.raises(UsageError, match="got 0 frames"):
        render_clip(DOG, num_frames=0)


def test_world_hash_tells_worlds_apart(monkeypatch):
    before = world_hash()
    assert before == world_hash()
    monkeypatch.setitem(CONTEXTS, "water", replace(CONTEXTS["water"], flow=0.6))
    assert world_hash() != before


def test_a_camera_that_stands_still_shows_its_own_place_and_a_small_creature():
    specs = sample_specs("train", 64, still=True)
    assert len({spec.camera for spec in specs}) == 8
    one, other = specs[0], next(s for s in specs[4:] if s.camera == specs[0].camera)
    assert one.individual != other.individual
    clips = [render_clip(spec, num_frames=6, fps=2.5, height=128, width=128) for spec in (one, other)]
    heights = [clip.boxes[:, 3] - clip.boxes[:, 1] for clip in clips]
    assert all((tall > 0.08 * 128).all() and (tall < 0.45 * 128).all() for tall in heights)
    # Away from the creatures the two clips differ by the sensor's noise alone, at all times.
    places = [np.median(clip.pixels.astype(float), axis=0) for clip in clips]
    apart = np.abs(places[0] - places[1]).mean(-1)
    assert np.median(apart) < 4
    elsewhere = render_clip(replace(other, camera=other.camera + 1), num_frames=6, height=128, width=128)
    assert np.median(np.abs(np.median(elsewhere.pixels.astype(float), axis=0) - places[0])) > 8


def test_new_places_have_cameras_of_their_own():
    cameras = {
        split: {s.camera for s in sample_specs(split, 64, still=True)} for split in ("train", *PROTOCOLS)
    }
    assert cameras["in-domain"] == cameras["species"] == cameras["train"]
    assert not (cameras["context"] | cameras["view"]) & cameras["train"]
    assert {s.camera for s in sample_specs("context", 16)} == {None}


def test_still_cameras_have_a_hash_of_their_own():
    assert world_hash(still=True) != world_hash()
