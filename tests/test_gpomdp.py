"""GPOMDP: right on average, calmer with its baseline, and the same numbers however the runs are grouped."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.domains import C2, LQG, MassSpringDamper, ShipSteering
from paperlib.lipschitz.gpomdp import RUNS_AT_ONCE, SimulatedReturns
from paperlib.lipschitz.verification.lipschitz_mdps import UnlimitedLQG

DOMAINS = {"lqg": LQG(0.4), "mass": MassSpringDamper(**C2), "ship": ShipSteering(0.01, math.pi / 2)}
THETA = {"lqg": [-0.3], "mass": [0.3, -0.5, 0.1], "ship": [2.0, -1.0, 1.0]}


def repeated(name, runs):
    return np.tile(THETA[name], (runs, 1))


@pytest.mark.parametrize("baseline", [False, True])
def test_the_estimate_is_the_exact_gradient_on_average_where_no_limit_is_met(baseline):
    """With |theta| and sigma this small, limits are met so rarely that the closed form without limits is exact."""
    exact = UnlimitedLQG(a=0.4, theta=0.3, sigma=0.3, discount=0.5)
    domain = LQG(0.4, discount=0.5, standard_deviation=0.3, limit=4.0)
    returns = SimulatedReturns(domain, episodes=500, steps=30, seed=0, baseline=baseline)
    gradient, score = returns.estimate(np.full((400, 1), 0.3), 0)
    error = gradient.std() / math.sqrt(len(gradient))
    assert abs(gradient.mean() - exact.gradient(16 / 3)) < 4 * error
    assert abs(score.mean() - exact.expected_return(16 / 3)) < 4 * score.std() / math.sqrt(len(score))
    assert error < 0.05 * abs(exact.gradient(16 / 3))


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_estimate_agrees_with_finite_differences_by_common_random_numbers(name):
    returns = SimulatedReturns(DOMAINS[name], episodes=2000, steps=15, seed=1)
    theta, step = repeated(name, 48), 0.05
    estimate = returns.estimate(theta, 0).gradient
    for i in range(theta.shape[1]):
        shift = np.zeros_like(theta)
        shift[:, i] = step
        difference = returns.improvement(theta - shift / 2, shift, 1) / step
        error = np.hypot(estimate[:, i].std(), difference.std()) / math.sqrt(len(theta))
        assert abs(estimate[:, i].mean() - difference.mean()) < 4 * error


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_baseline_lowers_the_variance(name):
    spread = {}
    for baseline in (False, True):
        returns = SimulatedReturns(DOMAINS[name], episodes=100, steps=20, seed=2, baseline=baseline)
        spread[baseline] = returns.estimate(repeated(name, 100), 0).gradient.var(axis=0)
    assert (spread[True] < spread[False]).all()


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_a_run_does_not_depend_on_the_others(name):
    runs = 2 * RUNS_AT_ONCE + 3
    theta = repeated(name, runs) * np.linspace(0.5, 1.5, runs)[:, None]
    together = SimulatedReturns(DOMAINS[name], 50, 10, seed=3)
    few = SimulatedReturns(DOMAINS[name], 50, 10, seed=3)
    for whole, part in zip(together.estimate(theta, 7), few.estimate(theta[:5], 7), strict=True):
        assert np.allclose(whole[:5], part, rtol=1e-12)
    assert np.allclose(together.improvement(theta, theta, 7)[:5], few.improvement(theta[:5], theta[:5], 7))


def test_iterations_and_seeds_select_other_numbers():
    theta = repeated("lqg", 2)
    numbers = [
        SimulatedReturns(DOMAINS["lqg"], 10, 5, seed).estimate(theta, k).score for seed, k in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(values) for values in numbers}) == 3
    assert numbers[0][0] != numbers[0][1]


def test_a_component_without_score_at_the_first_step_is_no_trouble():
    """The mass starts at rest: its velocity feature is zero in every episode."""
    gradient = SimulatedReturns(DOMAINS["mass"], 20, 1, seed=0).estimate(repeated("mass", 3), 0).gradient
    assert np.isfinite(gradient).all() and (gradient[:, 2] == 0).all()


def test_an_update_of_nothing_improves_nothing():
    returns = SimulatedReturns(DOMAINS["ship"], 20, 5, seed=0)
    assert not returns.improvement(repeated("ship", 3), np.zeros((3, 3)), 0).any()


@pytest.mark.parametrize("name", ["episodes", "steps"])
def test_sizes_must_be_positive(name):
    sizes = {"episodes": 1, "steps": 1} | {name: 0}
    with pytest.raises(ValueError, match=name):
        SimulatedReturns(DOMAINS["lqg"], seed=0, **sizes)
