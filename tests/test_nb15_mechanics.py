"""Notebook 15's searches and its simulation of the mass-spring-damper, where the answer is known."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import C1, MassSpringDamper
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
