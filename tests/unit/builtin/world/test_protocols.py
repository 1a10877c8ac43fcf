"""What a study learns from and what it is tried on."""

from collections import Counter
from dataclasses import astuple
from itertools import pairwise

import pytest

from actiondiff.builtin.world.actions import ACTIONS
from actiondiff.builtin.world.bodies import BODIES
from actiondiff.builtin.world.cameras import VIEWS
from actiondiff.builtin.world.protocols import (
    DEVELOPMENT,
    PROTOCOLS,
    RESERVED,
    SOURCE,
    UNLABELLED,
    domain_of,
    sample_specs,
    sample_videos,
)
from actiondiff.builtin.world.scenes import CONTEXTS
from actiondiff.builtin.world.world import RANDOM
from actiondiff.errors import UnknownNameError, UsageError


@pytest.mark.parametrize(("axis", "known"), [(0, BODIES), (1, CONTEXTS), (2, VIEWS)])
def test_source_development_and_reserved_share_nothing_and_make_up_the_world(axis, known):
    parts = [astuple(domain)[axis] for domain in (SOURCE, DEVELOPMENT, RESERVED)]
    assert sorted(name for part in parts for name in part) == sorted(known)
    unlabelled = set(astuple(UNLABELLED)[axis])
    assert unlabelled == {*parts[0], RANDOM}


@pytest.mark.parametrize("targets", ["development", "reserved"])
@pytest.mark.parametrize(
    ("protocol", "changed"), [("in-domain", ()), ("species", (0,)), ("context", (1,)), ("view", (2,))]
)
def test_a_protocol_changes_one_thing(protocol, changed, targets):
    target = DEVELOPMENT if targets == "development" else RESERVED
    found = astuple(domain_of(protocol, targets=targets))
    for axis in range(3):
        assert found[axis] == astuple(target if axis in changed else SOURCE)[axis]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_actions_are_balanced_and_say_nothing_of_the_domain(protocol):
    specs = sample_specs(protocol, 512)
    assert set(Counter(spec.action for spec in specs).values()) == {64}
    domain = domain_of(protocol)
    together = Counter((spec.body, spec.action) for spec in specs)
    assert len(together) == len(domain.bodies) * 8
    assert max(together.values()) < 1.6 * 512 / len(together)
    assert {spec.context for spec in specs} == set(domain.contexts)


def test_splits_share_no_clip_and_no_individual():
    splits = [sample_specs(name, 64) for name in ("train", "val", *PROTOCOLS)]
    splits.append(sample_specs("species", 64, targets="reserved"))
    for part in ("seed", "individual"):
        counts = [len({getattr(spec, part) for spec in specs}) for specs in splits]
        together = {getattr(spec, part) for specs in splits for spec in specs}
        assert len(together) == sum(counts)
    assert set(Counter(spec.individual for spec in splits[0]).values()) == {4}


def test_a_longer_list_begins_with_the_shorter_and_seeds_differ():
    assert sample_specs("train", 40)[:24] == sample_specs("train", 24)
    assert sample_specs("train", 8, seed=1) != sample_specs("train", 8)
    assert sample_specs("val", 8) == sample_specs("val", 8, targets="reserved")


def test_long_videos_have_gapless_scripts():
    for video in sample_videos(3, 1.5, seed=2):
        starts = [segment.start_seconds for segment in video.segments]
        ends = [segment.end_seconds for segment in video.segments]
        assert starts == [0.0, *ends[:-1]]
        assert video.duration_seconds == 90.0
        assert min(end - start for start, end in zip(starts, ends, strict=True)) >= 2.99
        actions = [segment.action for segment in video.segments]
        assert all(one != next_ for one, next_ in pairwise(actions))
        assert set(actions) == set(ACTIONS)


def test_what_is_unknown_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'species'"):
        sample_specs("specie", 8)
    with pytest.raises(UnknownNameError, match="development, reserved"):
        sample_specs("species", 8, targets="final")
    with pytest.raises(UsageError, match="got -1"):
        sample_specs("train", -1)
    with pytest.raises(UsageError, match="got 1 and 0"):
        sample_videos(1, 0)
