"""Notebook 16's search and its optimal policy of the ship, where the answer is known."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.nb16_ship_steering import mechanics

SHIP = ShipSteering(0.01, 0.0)
OPTIMAL = mechanics.OptimalHeadings(SHIP, spacing=0.2, headings=72)


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_the_search_finds_the_largest_slope_of_a_reward(weight):
    found = mechanics.largest_slope(lambda s, a: -weight * np.hypot(*s), SHIP, pairs=10_000)
    assert found == pytest.approx(weight, rel=1e-9)


def test_the_optimal_policy_sails_to_the_goal_and_beats_fixed_headings():
    def final_distance(policy):
        state = tuple(np.array([c]) for c in SHIP.start_at)
        for _ in range(40):
            state = SHIP.step(state, policy(state))
        return float(np.hypot(*state)[0])

    reached = final_distance(OPTIMAL)
    assert reached < 0.4
    assert all(final_distance(lambda s, a=a: np.full(1, a)) > reached + 0.5 for a in (0.0, math.pi / 2, math.pi - 0.01))
