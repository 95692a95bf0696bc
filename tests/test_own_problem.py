"""What a researcher with a simulator of their own uses: README's example as it stands, and its parts one by one."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import paperlib.lipschitz
from paperlib.lipschitz import MDPConstants, gpomdp
from paperlib.lipschitz.gradient_estimates import BASELINES
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.gpomdp import gradient_estimate

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_readmes_example_runs_as_it_stands_and_every_parameter_of_every_run_falls():
    """Pushing the state about costs, so less of it is better."""
    section = README.split("\n## Step sizes on your own problem\n", 1)[1].split("\n## ", 1)[0]
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(code, names)
    result = names["result"]
    end = result.runs[[f"theta_{i}" for i in range(4)]].to_numpy()
    assert ((end < names["start"]) & (end > 0.7)).all()
    guarantee = result.curves.query("quantity == 'guarantee'")["mean"]
    assert (guarantee > 0).all() and names["step"].guaranteed_improvement > 0
    assert names["chebyshev_samples"](names["estimate"], names["variance"], 0.05) < len(names["batches"])


# The gradient estimate


def lqg_episodes(runs=3, episodes=40, steps=7):
    """Start, noise, and the rewards and scores of the same episodes."""
    domain, generator = LQG(0.4), np.random.default_rng(0)
    theta, start = generator.standard_normal((runs, 1)), domain.start(generator, (runs, episodes))
    noise, rewards, scores, state = generator.standard_normal((steps, runs, episodes)), [], [], start
    for z in noise:
        action, score = domain.act(theta * state[0], z)
        rewards.append(domain.reward(state, action))
        scores.append((score * state[0])[..., None])
        assert np.allclose(domain.policy().score(theta[:, None], state[0][..., None], action), scores[-1])
        state = domain.step(state, action)
    return domain, theta, start, noise, np.stack(rewards, axis=-1), np.stack(scores, axis=-2)


@pytest.mark.parametrize("baseline", BASELINES)
def test_gpomdp_of_rewards_and_scores_is_that_of_the_simulated_domains(baseline):
    domain, theta, start, noise, rewards, scores = lqg_episodes()
    simulated = gradient_estimate(domain, theta, start, noise, baseline=baseline)
    for one, other in zip(gpomdp(rewards, scores, domain.discount, baseline=baseline), simulated, strict=True):
        assert one.shape == other.shape and np.allclose(one, other, rtol=1e-12)


def test_components_of_the_gradient_are_estimated_each_by_itself_and_batches_of_episodes_too():
    *_, rewards, scores = lqg_episodes()
    pair = gpomdp(rewards, np.concatenate([scores, scores**2], axis=-1), 0.9)
    assert np.allclose(pair.gradient[:, :1], gpomdp(rewards, scores, 0.9).gradient)
    assert np.allclose(pair.gradient[:, 1:], gpomdp(rewards, scores**2, 0.9).gradient)
    assert np.allclose(pair.gradient[1, 0], gpomdp(rewards[1], scores[1], 0.9).gradient[0])


def test_without_baseline_an_episode_is_its_rewards_times_the_scores_until_then():
    rewards, scores = np.array([[1.0, -2.0, 3.0]]), np.array([[[0.5], [1.0], [-2.0]]])
    by_hand = 1.0 * 0.5 + 0.9 * -2.0 * 1.5 + 0.81 * 3.0 * -0.5
    estimate = gpomdp(rewards, scores, 0.9, baseline="none")
    assert estimate.gradient == pytest.approx([by_hand]) and estimate.score == pytest.approx(1 - 1.8 + 2.43)
    assert gpomdp(rewards, scores, 0.9).gradient == pytest.approx([by_hand])  # there are no others to leave it to


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.ones((4, 5))}, r"are \(4, 5\), \(4, 5\)"),
        ({"scores": np.ones((5, 4, 2))}, r"are \(4, 5\), \(5, 4, 2\)"),
        ({"rewards": np.ones(5), "scores": np.ones((5, 2))}, "E, T"),
        ({"rewards": np.full((4, 5), np.nan)}, "finite"),
        ({"discount": 1.0}, "discount"),
        ({"baseline": "average"}, "unknown baseline 'average'"),
    ],
)
def test_episodes_that_make_no_estimate_are_refused(changes, message):
    arguments = {"rewards": np.ones((4, 5)), "scores": np.ones((4, 5, 2)), "discount": 0.9} | changes
    with pytest.raises(ValueError, match=message):
        gpomdp(**arguments)


# A linear system's constants

SYSTEM = {
    "A": [[0.5, 0.3, 0.0], [-0.2, 0.4, 0.1], [0.0, 0.0, 0.6]],
    "B": [[0.2, 0.0], [0.1, 0.5], [0.0, -0.3]],
    "Q": [[1.0, 0.6, 0.0], [-0.2, 2.0, 0.0], [0.0, 0.0, 0.5]],
    "R": [[0.1, 0.0], [0.0, 0.3]],
}
LIMITS = {"state_limit": [1.0, 2.0, 0.5], "action_limit": [1.0, 3.0]}


def test_lqg_is_a_linear_system_with_quadratic_reward():
    for a in (0.4, -0.7):
        one = MDPConstants.linear_quadratic([[a]], [[a]], [[0.5]], [[0.5]], state_limit=2, action_limit=2, discount=0.9)
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(LQG(a).constants()))


def test_a_linear_systems_constants_are_never_exceeded_and_nearly_attained():
    A, B, Q, R = (np.array(SYSTEM[name]) for name in "ABQR")
    constants = MDPConstants.linear_quadratic(**SYSTEM, **LIMITS, discount=0.9)
    generator, limits = np.random.default_rng(0), [np.array(limit) for limit in LIMITS.values()]

    def inside(count):
        draws = [generator.uniform(-limit, limit, (count, len(limit))) for limit in limits]
        return [np.where(generator.random((count, 1)) < 0.5, limits[k] * np.sign(x), x) for k, x in enumerate(draws)]

    def follow(s, a):
        return np.clip(s @ A.T + a @ B.T, -limits[0], limits[0])

    def reward(s, a):
        return -((s @ Q) * s).sum(axis=1) - ((a @ R) * a).sum(axis=1)

    s, a = inside(40_000)
    only_action, towards = (
        np.arange(40_000)[:, None] % 2 == 0,
        [generator.uniform(-x, x, (40_000, len(x))) for x in limits],
    )
    t, b = np.where(only_action, s, s + 1e-3 * (towards[0] - s)), np.where(only_action, a + 1e-3 * (towards[1] - a), a)
    distance = np.linalg.norm(s - t, axis=1) + np.linalg.norm(a - b, axis=1)
    moved = np.linalg.norm(follow(s, a) - follow(t, b), axis=1) / distance
    paid = np.abs(reward(s, a) - reward(t, b)) / distance
    for observed, bound in ((moved, constants.transition), (paid, constants.reward)):
        assert 0.85 * bound < observed.max() <= bound * (1 + 1e-9)
    assert 0.9 * constants.reward_bound < np.abs(reward(s, a)).max() <= constants.reward_bound * (1 + 1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": [[0.5, 0.3]]}, r"A must have shape"),
        ({"B": [[0.2]]}, r"B must have shape \(3, 1\), has \(1, 1\)"),
        ({"Q": np.eye(2)}, r"Q must have shape \(3, 3\)"),
        ({"R": np.eye(3)}, r"R must have shape \(2, 2\)"),
        ({"state_limit": 0.0}, "limits must be positive"),
        ({"action_limit": [1.0, np.nan]}, "limits must be positive"),
        ({"discount": 1.0}, "discount"),
    ],
)
def test_what_is_no_linear_system_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MDPConstants.linear_quadratic(**{**SYSTEM, **LIMITS, "discount": 0.9, **changes})


# What is exported


def test_every_name_of_the_library_is_there_and_no_other():
    for name in paperlib.lipschitz.__all__:
        assert getattr(paperlib.lipschitz, name) is not None and name in dir(paperlib.lipschitz)
    with pytest.raises(AttributeError, match="no attribute 'newton'"):
        paperlib.lipschitz.newton  # noqa: B018
