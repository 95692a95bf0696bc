"""GPOMDP: right on average, calmer with its baseline, and the same numbers however the runs are grouped."""

import dataclasses
import math

import numpy as np
import pytest

from paperlib.lipschitz.gradient_estimates import BASELINES
from paperlib.lipschitz.simulation import compiled_rollouts
from paperlib.lipschitz.simulation.domains import C2, LQG, MassSpringDamper, ShipSteering
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns, expected_return, gradient_estimate
from paperlib.notebooks.shared.unlimited_lqg import UnlimitedLQG

DOMAINS = {"lqg": LQG(0.4), "mass": MassSpringDamper(**C2), "ship": ShipSteering(0.01, math.pi / 2)}
THETA = {"lqg": [-0.3], "mass": [0.3, -0.5, 0.1], "ship": [2.0, -1.0, 1.0]}


def repeated(name, runs):
    return np.tile(THETA[name], (runs, 1))


@pytest.mark.parametrize("baseline", BASELINES)
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
        difference = (returns.score(theta + shift / 2, 1) - returns.score(theta - shift / 2, 1)) / step
        error = np.hypot(estimate[:, i].std(), difference.std()) / math.sqrt(len(theta))
        assert abs(estimate[:, i].mean() - difference.mean()) < 4 * error


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_baseline_lowers_the_variance(name):
    spread = {}
    for baseline in BASELINES:
        returns = SimulatedReturns(DOMAINS[name], episodes=100, steps=20, seed=2, baseline=baseline)
        spread[baseline] = returns.estimate(repeated(name, 100), 0).gradient.var(axis=0)
    assert (spread["own"] < spread["none"]).all() and (spread["leave_one_out"] < spread["none"]).all()


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_a_run_does_not_depend_on_the_others(name):
    runs = 8
    theta = repeated(name, runs) * np.linspace(0.5, 1.5, runs)[:, None]
    together = SimulatedReturns(DOMAINS[name], 50, 10, seed=3)
    few = SimulatedReturns(DOMAINS[name], 50, 10, seed=3)
    for whole, part in zip(together.estimate(theta, 7), few.estimate(theta[:5], 7), strict=True):
        assert np.allclose(whole[:5], part, rtol=1e-12)
    assert np.allclose(together.score(2 * theta, 7)[:5], few.score(2 * theta[:5], 7))


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


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_score_and_estimate_are_of_the_same_episodes(name):
    returns, theta = SimulatedReturns(DOMAINS[name], 20, 5, seed=0), repeated(name, 3)
    assert np.allclose(returns.score(theta, 4), returns.estimate(theta, 4).score, rtol=1e-12)
    assert not np.allclose(returns.score(theta, 5), returns.score(theta, 4))


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("domain", [*DOMAINS.values(), ShipSteering(0.01, 0.0, stray_factor=True)], ids=str)
def test_compiled_rollouts_are_the_numpy_ones(domain, baseline, truncated):
    """Over thousands of transitions with every limit met."""
    domain = dataclasses.replace(domain, truncated=truncated)
    generator, d = np.random.default_rng(0), domain.features.dimension
    theta, noise = 20 * generator.standard_normal((6, d)), 2 * generator.standard_normal((6, 12, 50))
    start = domain.start(generator, (6, 50))
    by_numpy = gradient_estimate(domain, theta, start, noise.swapaxes(0, 1), baseline=baseline)
    compiled = compiled_rollouts.gradient_estimate(domain, theta, start, noise, baseline=baseline)
    rounding = 1e-7 if truncated else 1e-9  # means lie up to a hundred deviations outside the limits
    for one, other in zip(by_numpy, compiled, strict=True):
        assert np.allclose(one, other, rtol=rounding, atol=rounding * np.abs(one).max())
    score = expected_return(domain, theta, start, noise.swapaxes(0, 1))
    assert np.allclose(score, compiled_rollouts.expected_return(domain, theta, start, noise), rtol=rounding / 10)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize(("a", "sigma", "theta"), [(0.1, 0.5, -0.5), (0.5, 1.0, -0.8)])
def test_with_few_episodes_the_baseline_of_the_others_leaves_the_estimate_unbiased(a, sigma, theta, truncated):
    domain = LQG(a, discount=0.8, standard_deviation=sigma, truncated=truncated)
    exact = ExactLQG(domain).estimate(np.array([[theta]])).gradient.item()
    mean, error = {}, {}
    for baseline in ("own", "leave_one_out"):
        estimates = SimulatedReturns(domain, 20, 60, seed=5, baseline=baseline).estimate(np.full((8000, 1), theta), 0)
        mean[baseline] = estimates.gradient.mean() / exact
        error[baseline] = estimates.gradient.std() / math.sqrt(8000) / abs(exact)
    assert abs(mean["leave_one_out"] - 1) < 4 * error["leave_one_out"] < 0.1
    assert abs(mean["own"] - 1) > 4 * error["own"]


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_no_score_of_the_truncated_policy_exceeds_its_constants(sigma):
    domain = LQG(0.4, standard_deviation=sigma, truncated=True)
    generator = np.random.default_rng(0)
    states = generator.uniform(-2, 2, 1_000_000)
    for theta in (0.0, -0.5, 0.8):
        constants = domain.policy().constants(np.array([theta]))
        _, score = domain.act(theta * states, generator.standard_normal(states.size))
        assert np.abs(score * states).max() <= constants.score_bound[0]
    clipped = dataclasses.replace(domain, truncated=False)
    _, score = clipped.act(0 * states, generator.standard_normal(states.size))
    exceeds = np.abs(score * states).max() > clipped.policy().constants(np.zeros(1)).score_bound[0]
    assert exceeds == (sigma == 1.0)  # with the smaller deviation no action that is drawn lies far enough outside


def test_a_domain_without_a_kernel_is_simulated_by_numpy():
    class OtherLQG(LQG):
        """Someone's own domain."""

    theta = repeated("lqg", 2)
    other, known = (SimulatedReturns(kind(0.4), 30, 8, seed=1) for kind in (OtherLQG, LQG))
    for one, two in zip(other.estimate(theta, 3), known.estimate(theta, 3), strict=True):
        assert np.allclose(one, two, rtol=1e-12)
    assert np.allclose(other.score(theta, 3), known.score(theta, 3), rtol=1e-12)


@pytest.mark.parametrize("name", ["episodes", "steps"])
def test_sizes_must_be_positive(name):
    sizes = {"episodes": 1, "steps": 1} | {name: 0}
    with pytest.raises(ValueError, match=name):
        SimulatedReturns(DOMAINS["lqg"], seed=0, **sizes)


def test_parameters_seen_before_at_an_iteration_are_not_simulated_again(monkeypatch):
    returns = SimulatedReturns(DOMAINS["lqg"], episodes=4, steps=3, seed=5)
    theta = repeated("lqg", 2)
    first = returns.estimate(theta, 0), returns.score(theta, 0)
    others = returns.estimate(theta + 0.1, 0), returns.estimate(theta, 1)
    with monkeypatch.context() as without:
        without.setattr(compiled_rollouts, "gradient_estimate", None)  # any further simulation would fail
        again = returns.estimate(theta.copy(), 1)
    assert (again.gradient == others[1].gradient).all()
    assert not np.isclose(others[0].gradient, first[0].gradient).any() and first[1] == pytest.approx(first[0].score)
    assert (returns.estimate(theta, 0).gradient == first[0].gradient).all()
