"""Environments in lockstep: what a run sees, against single environments and between the two backends."""

import dataclasses
import importlib.util
import warnings

import gymnasium
import numpy as np
import pytest
from scipy.stats import ks_2samp

from paperlib.pave.engine import environments
from paperlib.pave.engine.environments import (
    EnvironmentBatch,
    environment_definition,
    environment_names,
    environment_spec,
    fastest_backend,
    measure_backends,
)

# Bare EnvPool warns about harmless casts of its bounds; the batch must not, see the test of warnings below.
pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered by casting")

needs_envpool = pytest.mark.skipif(importlib.util.find_spec("envpool") is None, reason="EnvPool is not installed")
each_backend = pytest.mark.parametrize("backend", ["gymnasium", pytest.param("envpool", marks=needs_envpool)])
each_task = pytest.mark.parametrize("key", environment_names())

# Long enough for every task to end an episode under random actions: Pendulum stops at 200 steps, Reacher at 50.
STEPS = 210


def random_actions(key, *leading, seed=0):
    spec = environment_spec(key)
    rng = np.random.default_rng(seed)
    return rng.uniform(spec.action_low, spec.action_high, size=(*leading, spec.action_dim)).astype(np.float32)


def record(batch, actions, seeds=None):
    """All arrays of a roll-out, stacked over time: first observations, then the five fields of each step."""
    first = batch.reset(seeds)
    steps = [batch.step(step_actions) for step_actions in actions]
    return [first, *(np.stack(field) for field in zip(*steps, strict=True))]


def one_pool(key, seed):
    """EnvPool with its own defaults and a single environment."""
    import envpool

    task = environment_definition(key).envpool_id
    return envpool.make(task, env_type="gymnasium", num_envs=1, seed=[seed], num_threads=1)


class SinglePool:
    """EnvPool's single environment in the shape of `gymnasium.Env`, so that one reference loop serves both."""

    def __init__(self, key):
        self.key = key

    def reset(self, seed=None):
        if seed is not None:
            self.pool = one_pool(self.key, seed)
        observations, info = self.pool.reset()
        return observations[0], info

    def step(self, action):
        observations, rewards, terminated, truncated, info = self.pool.step(action[None])
        return observations[0], rewards[0], terminated[0], truncated[0], info


def reference_environment(key, backend):
    if backend == "envpool":
        return SinglePool(key)
    return gymnasium.make(environment_definition(key).gym_id, **environment_definition(key).gym_kwargs)


@each_backend
@each_task
def test_a_batch_equals_its_backends_single_environments_step_for_step(key, backend):
    seeds = (5, 11)
    actions = random_actions(key, STEPS, len(seeds))
    first, successors, rewards, terminated, truncated, observations = record(
        EnvironmentBatch(key, seeds, backend=backend), actions
    )
    for run, seed in enumerate(seeds):
        environment = reference_environment(key, backend)
        np.testing.assert_array_equal(first[run], environment.reset(seed=seed)[0].astype(np.float32))
        for t in range(STEPS):
            successor, reward, ends, stops, _ = environment.step(actions[t, run])
            np.testing.assert_array_equal(successors[t, run], successor.astype(np.float32))
            assert rewards[t, run] == np.float32(reward)
            assert (terminated[t, run], truncated[t, run]) == (ends, stops)
            acts_next = environment.reset()[0] if ends or stops else successor
            np.testing.assert_array_equal(observations[t, run], acts_next.astype(np.float32))
    assert (terminated | truncated).any(axis=0).all(), "no episode ended, so nothing was tested about ends"


@each_backend
@each_task
def test_a_runs_stream_depends_on_its_own_seed_and_actions_only(key, backend):
    actions = random_actions(key, 120, 3)
    together = record(EnvironmentBatch(key, (7, 2, 9), backend=backend), actions)
    alone = record(EnvironmentBatch(key, (2,), backend=backend, num_threads=1), actions[:, 1:2])
    np.testing.assert_array_equal(together[0][1:2], alone[0])
    for joint, single in zip(together[1:], alone[1:], strict=True):
        np.testing.assert_array_equal(joint[:, 1:2], single)


@each_backend
@each_task
def test_identical_batches_give_identical_streams(key, backend):
    actions = random_actions(key, 60, 2)
    one, other = (record(EnvironmentBatch(key, (3, 4), backend=backend), actions) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@each_backend
@each_task
def test_after_a_reset_nothing_of_the_past_remains(key, backend):
    actions = random_actions(key, 60, 2)
    used = EnvironmentBatch(key, (3, 4), backend=backend)
    record(used, actions[:35])
    fresh = EnvironmentBatch(key, (21, 22), backend=backend)
    for a, b in zip(record(used, actions, seeds=(21, 22)), record(fresh, actions), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(used.reset(), fresh.reset())


@each_backend
def test_different_seeds_give_different_streams(backend):
    first = EnvironmentBatch("hopper", range(20), backend=backend).reset()
    assert len(np.unique(first, axis=0)) == 20


@each_backend
def test_shapes_and_types_are_those_documented(backend):
    batch = EnvironmentBatch("walker", (0, 1, 2), backend=backend)
    assert batch.reset().dtype == np.float32
    result = batch.step(np.zeros((3, 6)))
    assert [field.shape for field in result] == [(3, 17), (3,), (3,), (3,), (3, 17)]
    assert [str(field.dtype) for field in result] == ["float32", "float32", "bool", "bool", "float32"]


@each_backend
def test_a_result_is_not_changed_by_later_steps(backend):
    batch = EnvironmentBatch("pendulum", (0, 1), backend=backend)
    batch.reset()
    result = batch.step(np.ones((2, 1)))
    kept = [field.copy() for field in result]
    for _ in range(250):
        batch.step(-np.ones((2, 1)))
    for field, copy in zip(result, kept, strict=True):
        np.testing.assert_array_equal(field, copy)


@each_backend
def test_the_step_limit_truncates_and_the_successor_is_not_the_new_start(backend):
    batch = EnvironmentBatch("reacher", (0, 1), backend=backend)
    batch.reset()
    for _ in range(49):
        before = batch.step(np.zeros((2, 2)))
        assert not before.truncated.any()
    last = batch.step(np.zeros((2, 2)))
    assert last.truncated.all() and not last.terminated.any()
    target = slice(4, 6)  # where the arm should point: fixed within an episode, drawn anew at its start
    np.testing.assert_array_equal(last.next_observations[:, target], before.next_observations[:, target])
    assert (last.observations[:, target] != before.next_observations[:, target]).all()


@needs_envpool
def test_a_fall_at_the_step_limit_is_a_termination_under_envpool_too():
    spec = environment_spec("hopper")
    push = np.ones((1, spec.action_dim), dtype=np.float32)

    def steps_to_end(stepper):
        stepper.reset([1])
        for step in range(1, 1000):
            result = stepper.step(push)
            if result.terminated[0] or result.truncated[0]:
                return step, bool(result.terminated[0]), bool(result.truncated[0])

    falls_at, terminated, truncated = steps_to_end(environments._EnvPoolStepper(spec, 1))
    assert terminated and not truncated
    limited = dataclasses.replace(spec, max_episode_steps=falls_at)
    assert steps_to_end(environments._EnvPoolStepper(limited, 1)) == (falls_at, True, True)
    shorter = dataclasses.replace(spec, max_episode_steps=falls_at - 1)
    assert steps_to_end(environments._EnvPoolStepper(shorter, 1)) == (falls_at - 1, False, True)


def mujoco_state(key, observation, info):
    """Joint positions and velocities from a first observation, which hides only the torso's place on the plane."""
    if key == "reacher":
        angles = np.arctan2(observation[2:4], observation[0:2])
        return np.r_[angles, observation[4:6]], np.r_[observation[6:8], 0.0, 0.0]
    hidden, positions = {
        "ant": (("x_position", "y_position"), 13),
        "hopper": (("x_position",), 5),
        "walker": (("x_position",), 8),
    }[key]
    velocities = positions + len(hidden) - (1 if key == "ant" else 0)  # Ant's orientation is a quaternion
    return (
        np.r_[[info[name][0] for name in hidden], observation[:positions]],
        observation[positions : positions + velocities],
    )


@needs_envpool
@pytest.mark.parametrize("key", ["reacher", "ant", "hopper", "walker"])
def test_envpool_and_gymnasium_move_alike_from_the_same_mujoco_state(key):
    """240 steps in 12 windows of 20, float64, to 1e-9; rewards, float32 in EnvPool, to 1e-6 of their size.

    Windows, because contacts amplify rounding: over a hundred steps Ant's 1e-14 can grow to order one.
    """
    import mujoco

    pool = one_pool(key, seed=3)
    environment = gymnasium.make(environment_definition(key).gym_id)
    simulator = environment.unwrapped
    for window_actions in random_actions(key, 12, 20):
        observations, info = pool.reset()
        environment.reset(seed=0)
        mujoco.mj_resetData(simulator.model, simulator.data)
        simulator.set_state(*mujoco_state(key, observations[0], info))
        for action in window_actions:
            observations, rewards, terminated, truncated, _ = pool.step(action[None])
            observation, reward, ends, stops, _ = environment.step(action)
            np.testing.assert_allclose(observations[0], observation, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(rewards[0], reward, rtol=1e-6, atol=1e-6)
            assert (terminated[0], truncated[0]) == (ends, stops)
            if ends:
                break


@needs_envpool
def test_envpool_and_gymnasium_move_alike_from_the_same_pendulum_state():
    """Two whole episodes from states read off a float32 observation, to 1e-5."""
    pool = one_pool("pendulum", seed=3)
    environment = gymnasium.make("Pendulum-v1")
    for episode_actions in random_actions("pendulum", 2, 200):
        ((cosine, sine, velocity),), _ = pool.reset()
        environment.reset(seed=0)
        environment.unwrapped.state = np.array([np.arctan2(sine, cosine), velocity], dtype=np.float64)
        for action in episode_actions:
            observations, rewards, terminated, truncated, _ = pool.step(action[None])
            observation, reward, ends, stops, _ = environment.step(action)
            np.testing.assert_allclose(observations[0], observation, atol=1e-5)
            np.testing.assert_allclose(rewards[0], reward, atol=1e-5)
            assert (terminated[0], truncated[0]) == (ends, stops)
        assert stops


@needs_envpool
@pytest.mark.parametrize("key", ["pendulum", "reacher", "hopper", "walker", "ant", "lunar"])
def test_start_states_have_one_law_on_both_backends(key):
    pool = one_pool(key, seed=0)
    environment = reference_environment(key, "gymnasium")
    environment.reset(seed=0)
    ours, theirs = (np.stack([source.reset()[0].ravel() for _ in range(300)]) for source in (pool, environment))
    varies = theirs.std(axis=0) > 0
    np.testing.assert_array_equal(ours.std(axis=0) > 0, varies)
    np.testing.assert_allclose(ours[0, ~varies], theirs[0, ~varies], atol=1e-6)
    p_values = [ks_2samp(ours[:, j], theirs[:, j]).pvalue for j in np.flatnonzero(varies)]
    assert min(p_values) * len(p_values) > 0.01


def lander_shaping(s):
    """LunarLander's potential: near the pad, slow, upright, legs down (Gymnasium's documentation of the task)."""
    distance, speed = np.hypot(s[..., 0], s[..., 1]), np.hypot(s[..., 2], s[..., 3])
    return -100 * (distance + speed + np.abs(s[..., 4])) + 10 * (s[..., 6] + s[..., 7])


@each_backend
def test_the_lander_is_paid_by_the_same_formula_on_both_backends(backend):
    actions = random_actions("lunar", 150, 4)
    first, successors, rewards, terminated, _, observations = record(
        EnvironmentBatch("lunar", range(4), backend=backend), actions
    )
    before = np.concatenate([first[None], observations[:-1]]).astype(np.float64)
    main, side = actions[..., 0], np.abs(actions[..., 1])
    fuel = 0.3 * np.where(main > 0, (main + 1) / 2, 0) + 0.03 * np.where(side > 0.5, side, 0)
    expected = lander_shaping(successors.astype(np.float64)) - lander_shaping(before) - fuel
    np.testing.assert_allclose(rewards[~terminated], expected[~terminated], atol=5e-4)
    assert set(np.abs(rewards[terminated])) == {100.0}


@needs_envpool
def test_the_lander_falls_alike_on_both_backends():
    """EnvPool's lander state cannot be set: unpowered falls are compared by mean acceleration and in distribution."""
    accelerations, returns = {}, {}
    for backend in ("gymnasium", "envpool"):
        first, successors, rewards, terminated, _, observations = record(
            EnvironmentBatch("lunar", range(60), backend=backend), np.zeros((250, 60, 2))
        )
        before = np.concatenate([first[None], observations[:-1]])
        accelerations[backend] = (successors - before)[:20, :, 3].mean()
        in_first_episode = np.cumsum(terminated, axis=0) - terminated == 0
        returns[backend] = (rewards * in_first_episode).sum(axis=0)
        assert terminated.any(axis=0).all()
    assert accelerations["envpool"] == pytest.approx(accelerations["gymnasium"], rel=1e-3)
    assert ks_2samp(returns["envpool"], returns["gymnasium"]).pvalue > 0.01


@pytest.mark.parametrize("bad", [1.5, -1.01, np.nan, np.inf])
def test_a_bad_action_is_refused_and_its_run_named(bad):
    batch = EnvironmentBatch("hopper", (0, 1, 2))
    batch.reset()
    actions = np.zeros((3, 3))
    actions[1, 2] = bad
    with pytest.raises(ValueError, match="component 2 of run 1"):
        batch.step(actions)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 2), (1, 3), (3, 3, 1)])
def test_actions_of_a_wrong_shape_are_refused(shape):
    batch = EnvironmentBatch("hopper", (0, 1, 2))
    batch.reset()
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        batch.step(np.zeros(shape))


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ((), "at least one run"),
        ((0, -1), "seed of run 1"),
        ((0, 2**31), "seed of run 1"),
        ((0.5,), "integers"),
        (7, "integers"),
    ],
)
def test_bad_seeds_are_refused(seeds, message):
    with pytest.raises(ValueError, match=message):
        EnvironmentBatch("pendulum", seeds)


def test_a_reset_needs_one_seed_per_run():
    with pytest.raises(ValueError, match="2 runs need as many seeds, got 3"):
        EnvironmentBatch("pendulum", (0, 1)).reset((0, 1, 2))


def test_unknown_names_and_impossible_thread_counts_are_refused():
    with pytest.raises(KeyError, match="cartpole.*walker"):
        EnvironmentBatch("cartpole", (0,))
    with pytest.raises(ValueError, match="brax.*envpool"):
        EnvironmentBatch("pendulum", (0,), backend="brax")
    with pytest.raises(ValueError, match="num_threads"):
        EnvironmentBatch("pendulum", (0,), num_threads=0)


@each_backend
def test_an_unstarted_or_closed_batch_does_not_step(backend):
    batch = EnvironmentBatch("pendulum", (0,), backend=backend)
    with pytest.raises(RuntimeError, match="reset it first"):
        batch.step(np.zeros((1, 1)))
    batch.reset()
    batch.close()
    with pytest.raises(RuntimeError, match="closed"):
        batch.step(np.zeros((1, 1)))
    with pytest.raises(RuntimeError, match="closed"):
        batch.reset()


def test_without_envpool_auto_is_gymnasium_and_asking_for_envpool_fails(monkeypatch):
    monkeypatch.setattr(environments, "installed_backends", lambda: ("gymnasium",))
    assert fastest_backend("walker") == "gymnasium"
    assert EnvironmentBatch("pendulum", (0,), backend="auto").backend == "gymnasium"
    with pytest.raises(ModuleNotFoundError, match="envpool"):
        EnvironmentBatch("pendulum", (0,), backend="envpool")


@needs_envpool
@each_task
def test_auto_is_envpool_where_it_has_the_task(key, monkeypatch):
    assert fastest_backend(key) == EnvironmentBatch(key, (0,), backend="auto").backend == "envpool"
    monkeypatch.setattr(environments, "environment_rows", lambda: {key: {"id": "Own-v0"}})
    assert fastest_backend(key) == "gymnasium"


@each_backend
@each_task
def test_a_batch_raises_no_warnings(key, backend):
    environment_spec.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = EnvironmentBatch(key, (0, 1), backend=backend)
        batch.reset()
        for actions in random_actions(key, 60, 2):
            batch.step(actions)
        batch.close()


@each_task
def test_the_spec_is_gymnasiums(key):
    spec = environment_spec(key)
    environment = reference_environment(key, "gymnasium")
    assert (spec.observation_dim,) == environment.observation_space.shape
    assert (spec.action_dim,) == environment.action_space.shape
    np.testing.assert_array_equal(spec.action_low, environment.action_space.low)
    np.testing.assert_array_equal(spec.action_high, environment.action_space.high)
    assert spec.max_episode_steps == environment.spec.max_episode_steps
    assert environment_spec(key) is spec


def test_the_benchmark_times_every_installed_backend():
    rates = measure_backends("pendulum", runs=2, steps=5, rounds=1)
    assert set(rates) == set(environments.installed_backends())
    assert all(rate > 0 for rate in rates.values())
    with pytest.raises(ValueError, match="at least 1"):
        measure_backends("pendulum", runs=2, steps=0)


def test_any_id_that_gymnasium_knows_is_an_environment():
    spec = environment_spec("HalfCheetah-v5")
    assert (spec.observation_dim, spec.action_dim, spec.max_episode_steps) == (17, 6, 1000)
    assert fastest_backend("HalfCheetah-v5") == "gymnasium"
    for name in ("HalfCheeta-v5", "HalfCheetah-v77", "no_such_module:Task-v0"):
        with pytest.raises(KeyError, match="unknown environment.*and Gymnasium's ids"):
            environment_definition(name)


class Odd(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize(
    ("changes", "steps", "message"),
    [
        ({"observation_space": gymnasium.spaces.Box(0, 1, (4, 4))}, 9, "observations must be vectors"),
        ({"action_space": gymnasium.spaces.Discrete(3)}, 9, "actions must be vectors"),
        ({"action_space": gymnasium.spaces.Box(-np.inf, np.inf, (1,))}, 9, "actions must be bounded"),
        ({}, None, "episodes need a limit"),
    ],
)
def test_what_the_engine_cannot_train_in_is_refused_with_a_reason(changes, steps, message, monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", gymnasium.registry.copy())
    gymnasium.register("Odd-v0", entry_point=lambda **_: type("Changed", (Odd,), changes)(), max_episode_steps=steps)
    environment_spec.cache_clear()
    with pytest.raises(ValueError, match=f"Odd-v0: {message}"):
        environment_spec("Odd-v0")
