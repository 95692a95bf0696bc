"""Notebook 15's searches and its simulation of the mass-spring-damper, where the answer is known."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import C1, C2, MassSpringDamper
from paperlib.notebooks.nb15_mass_spring_damper import mechanics

SPRING = MassSpringDamper(**C1)


@pytest.mark.parametrize(
    ("reward", "slope"),
    [
        (lambda s, a: 3 * np.abs(s[0]), 3.0),
        (lambda s, a: 0.7 * s[1] - 0.2 * s[0], math.hypot(0.7, 0.2)),
        (lambda s, a: s[0] - 2 * np.abs(a), 2.0),
    ],
    ids=["position", "both coordinates", "action"],
)
def test_the_search_finds_the_largest_slope_of_a_reward(reward, slope):
    found = mechanics.largest_slope(reward, SPRING, pairs=100_000)
    assert 0.999 * slope < found < slope * (1 + 1e-9)


@pytest.mark.parametrize(("stiffness", "mass"), [(1.0, 1.0), (30.0, 0.1)])
def test_without_a_damper_the_simulated_frequency_is_the_root_of_stiffness_over_mass(stiffness, mass):
    assert mechanics.simulated_frequency(stiffness, mass, 0.0) == pytest.approx(math.sqrt(stiffness / mass), rel=1e-9)


def test_a_damper_slows_the_simulated_oscillation():
    frequencies = [mechanics.simulated_frequency(15.0, 0.5, damping) for damping in (0.0, 1.0, 3.0)]
    assert frequencies == sorted(frequencies, reverse=True) and frequencies[-1] < 0.9 * frequencies[0]


STRONGLY_DAMPED = MassSpringDamper(**C2)


def test_a_limit_can_raise_the_constant_in_a_metric_that_is_not_diagonal():
    """In the metric made for 0.74 the flow contracts at 0.74, but not where the velocity is held at its limit."""
    metric = STRONGLY_DAMPED.lyapunov_metric(0.74)
    flow = metric @ STRONGLY_DAMPED.transition_matrix[:, :2] @ np.linalg.inv(metric)
    assert np.linalg.norm(flow, 2) < 0.74 < 0.77 < STRONGLY_DAMPED.constants_in(metric).transition


@pytest.mark.parametrize("rate", [0.74, 0.91])
def test_no_pair_of_states_and_actions_moves_apart_faster_than_the_constant_says(rate):
    metric = STRONGLY_DAMPED.lyapunov_metric(rate)
    found = mechanics.largest_growth(STRONGLY_DAMPED, metric, 20_000)
    constant = STRONGLY_DAMPED.constants_in(metric).transition
    assert 0.98 * constant < found < constant * (1 + 1e-6)


def test_without_a_push_the_strongly_damped_mass_comes_to_rest_at_zero():
    low, high = mechanics.position_after(STRONGLY_DAMPED, np.zeros(3), 60)
    assert -1e-4 < low <= high < 1e-4


def test_a_constant_push_moves_the_resting_place_by_force_over_stiffness():
    low, high = mechanics.position_after(STRONGLY_DAMPED, np.array([0.6, 0.0, 0.0]), 60)
    assert low == pytest.approx(10 * 0.6 / 15, abs=1e-3) and high == pytest.approx(10 * 0.6 / 15, abs=1e-3)
