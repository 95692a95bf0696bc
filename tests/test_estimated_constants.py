"""Constants estimated from transitions stay below the true ones and approach them."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.estimated_constants import estimate_constants, random_transitions
from paperlib.lipschitz.simulation.domains import C2, LQG, MassSpringDamper, ShipSteering


@pytest.mark.parametrize("domain", [LQG(0.4), MassSpringDamper(**C2), ShipSteering(0.01, math.pi / 2)], ids=str)
def test_estimates_come_from_below_and_rise_with_the_transitions(domain):
    data = random_transitions(domain, 600, np.random.default_rng(0))
    few, many = (estimate_constants(*(column[:n] for column in data), discount=0.9) for n in (50, 600))
    true = domain.constants()
    for name in ("transition", "reward", "reward_bound"):
        assert 0 < getattr(few, name) <= getattr(many, name) <= getattr(true, name) * (1 + 1e-9)
    assert many.reward > 0.9 * true.reward


def test_the_constant_of_a_linear_flow_is_found_exactly():
    data = random_transitions(LQG(0.3), 200, np.random.default_rng(1))
    assert math.isclose(estimate_constants(*data, discount=0.9).transition, 0.3, rel_tol=1e-9)


def test_repeated_transitions_are_no_trouble_and_one_is_not_enough():
    data = tuple(np.repeat(column, 2, axis=0) for column in random_transitions(LQG(0.3), 5, np.random.default_rng(1)))
    assert np.isfinite(estimate_constants(*data, discount=0.9).transition)
    with pytest.raises(ValueError, match="at least two"):
        estimate_constants(*(column[:1] for column in data), discount=0.9)
