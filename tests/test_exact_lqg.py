"""Exact LQG with limits: the closed form where no limit is met, simulation where they are, and its own derivative."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns
from paperlib.notebooks.shared.unlimited_lqg import UnlimitedLQG


def at(theta):
    return np.array([[theta]])


@pytest.mark.parametrize(
    "a, theta, sigma, discount", [(0.3, -0.2, 0.3, 0.9), (0.4, 0.1, 0.25, 0.8), (0.2, 0.0, 0.3, 0.0)]
)
def test_without_limits_met_it_is_the_closed_form(a, theta, sigma, discount):
    exact = ExactLQG(LQG(a, discount=discount, standard_deviation=sigma))
    closed = UnlimitedLQG(a, theta, sigma, discount)
    gradient, score = exact.estimate(at(theta))
    assert score[0] == pytest.approx(closed.expected_return(4 / 3), abs=1e-7)
    assert gradient[0, 0] == pytest.approx(closed.gradient(4 / 3), abs=1e-6)


@pytest.mark.parametrize("a, theta, sigma", [(0.9, -0.2, 1.0), (0.95, 0.4, 0.5), (-0.8, 0.2, 1.0)])
def test_with_limits_met_it_is_what_is_simulated(a, theta, sigma):
    domain = LQG(a, discount=0.8, standard_deviation=sigma)
    simulated = SimulatedReturns(domain, episodes=1000, steps=60, seed=0)
    gradient, score = simulated.estimate(np.full((100, 1), theta), 0)
    exact = ExactLQG(domain).estimate(at(theta))
    for sample, value in ((gradient[:, 0], exact.gradient[0, 0]), (score, exact.score[0])):
        assert abs(sample.mean() - value) < 4 * sample.std() / math.sqrt(len(sample))


@pytest.mark.parametrize("a", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("theta", [-0.6, 0.3])
def test_the_gradient_is_the_derivative_of_the_return(a, theta):
    exact, step = ExactLQG(LQG(a, standard_deviation=0.5)), 1e-4
    difference = (exact.score(at(theta + step)) - exact.score(at(theta - step)))[0] / (2 * step)
    assert exact.estimate(at(theta)).gradient[0, 0] == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_the_optimum_has_no_gradient_and_no_better_neighbour(a):
    exact = ExactLQG(LQG(a))
    best = exact.optimum()
    assert abs(exact.estimate(at(best)).gradient[0, 0]) < 1e-8
    assert exact.score(at(best)) > max(exact.score(at(best + 0.01)), exact.score(at(best - 0.01)))


def test_a_batch_equals_a_loop():
    exact, theta = ExactLQG(LQG(0.5)), np.array([[-0.3], [0.1]])
    batch = exact.estimate(theta)
    for run in range(2):
        single = exact.estimate(theta[run : run + 1])
        assert np.array_equal(batch.gradient[run], single.gradient[0]) and batch.score[run] == single.score[0]
