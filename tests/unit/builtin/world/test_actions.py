"""Actions are told apart by how things move."""

import numpy as np
import pytest

from actiondiff.builtin.world.actions import ACTIONS, CreatureMotion, Segment, act

SEEDS = range(12)


def perform(action, seed, *, seconds=2.56, fps=25.0):
    times = np.arange(round(seconds * fps)) / fps
    return act([Segment(action, 0.0, seconds)], times, 0.4, random=np.random.default_rng(seed))


def of_all(statistic) -> dict[str, list[float]]:
    return {action: [statistic(perform(action, seed)) for seed in SEEDS] for action in ACTIONS}


def only(action, values, others_below) -> bool:
    """Whether one action's smallest value exceeds every other's largest, which stay below a bound."""
    rest = max(max(each) for name, each in values.items() if name != action)
    return min(values[action]) > rest and rest < others_below


def test_hop_alone_leaves_the_ground():
    assert only("hop", of_all(lambda motion: motion["lift"].max()), 1e-9)


def test_spin_alone_turns_round():
    assert only("spin", of_all(lambda motion: np.ptp(motion.yaw)), 1.0)
    assert {np.sign(perform("spin", seed).yaw[-1] - perform("spin", seed).yaw[0]) for seed in SEEDS} == {
        -1,
        1,
    }


def test_shake_alone_rolls():
    assert only("shake", of_all(lambda motion: np.ptp(motion["roll"])), 1e-9)


def test_approach_alone_shortens_the_distance():
    assert only("approach", of_all(lambda motion: motion.retreat[0] - motion.retreat[-1]), 1e-9)


def test_eat_alone_moves_its_head_to_the_ground_again_and_again():
    assert only("eat", of_all(lambda motion: np.abs(np.diff(motion["reach"])).sum()), 1e-9)
    assert all(perform("eat", seed)["reach"].max() > 0.95 for seed in SEEDS)


def test_gaits_differ_in_speed_cadence_and_footfall():
    def speed(motion: CreatureMotion) -> float:
        return float(np.linalg.norm(np.diff(motion.position, axis=0), axis=1).sum() / 2.52)

    way = of_all(speed)
    assert max(way["still"] + way["eat"] + way["shake"] + way["spin"]) < 1e-9
    assert max(way["walk"]) < min(way["run"])
    cadence = of_all(lambda motion: (motion.stride[-1] - motion.stride[0]) / 2.52)
    assert max(cadence["walk"]) < 1.3 < 1.8 < min(cadence["run"])
    assert min(of_all(lambda motion: motion["pairing"].min())["run"]) == 1.0
    assert max(of_all(lambda motion: motion["pairing"].max())["walk"]) == 0.0


def test_a_standing_creature_may_stand_as_if_walking_or_eating():
    still = [perform("still", seed) for seed in range(40)]
    assert 0.1 < np.mean([motion["swing"][0] > 0 for motion in still]) < 0.9
    assert 0.1 < np.mean([motion["reach"][0] > 0.3 for motion in still]) < 0.9
    assert all(np.ptp(motion["breath"]) > 0 and np.ptp(motion.stride) == 0 for motion in still)


@pytest.mark.parametrize("action", ACTIONS)
def test_motion_is_a_function_of_time_not_of_frames(action):
    dense, sparse = perform(action, 3), perform(action, 3, fps=6.25)
    np.testing.assert_allclose(dense.position[::4], sparse.position, atol=1e-9)
    for name, values in sparse.channels.items():
        np.testing.assert_allclose(dense[name][::4], values, atol=1e-9)


def test_actions_pass_into_each_other_without_a_jump():
    segments = [Segment(action, 3.0 * index, 3.0 * index + 3.0) for index, action in enumerate(ACTIONS)]
    times = np.arange(0.0, 24.0, 0.02)
    motion = act(segments, times, 0.0, random=np.random.default_rng(5))
    assert np.abs(np.diff(motion.position, axis=0)).max() < 0.08
    assert np.abs(np.diff(motion.yaw)).max() < 0.4
    assert np.abs(np.diff(motion.retreat)).max() < 0.02
    assert all(np.abs(np.diff(values)).max() < 0.35 for values in motion.channels.values())
    assert motion["lift"][(times > 9.2) & (times < 11.8)].max() > 0.2  # the hop is the fourth
    assert motion["lift"][(times < 8.8) | (times > 12.2)].max() == 0.0


def test_an_approach_in_a_long_video_faces_the_camera():
    segments = [Segment("spin", 0.0, 4.0), Segment("walk", 4.0, 8.0), Segment("approach", 8.0, 12.0)]
    for seed in SEEDS:
        motion = act(segments, np.arange(0.0, 12.0, 0.04), 1.0, random=np.random.default_rng(seed))
        off = (motion.yaw[motion.seconds > 8.5] - 1.0 + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(off).max() < 0.75
