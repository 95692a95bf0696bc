"""Notebook 16's search and its optimal policy of the ship, where the answer is known."""

import math

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.nb16_ship_steering import mechanics
from paperlib.notebooks.shared.mean_policy import mean_action

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


def test_no_policy_within_the_condition_turns_farther_than_the_farthest_turn():
    farthest = mechanics.farthest_turn(SHIP)
    at_start = SHIP.features.value(np.array([SHIP.start_at]))[0]
    theta = np.random.default_rng(0).normal(size=(2000, 3))
    constants = SHIP.policy().constants(theta)
    on_the_edge = theta / constants.state[:, None] * mechanics.allowed_policy_constant(SHIP)
    turns = on_the_edge @ at_start
    assert 0.98 * farthest < turns.max() <= farthest * (1 + 1e-9)
    assert mechanics.growth(SHIP, on_the_edge[0]) == pytest.approx(1)


def test_the_mean_of_a_restricted_policy_is_admissible_and_that_of_a_distant_limit_is_its_centre():
    state = tuple(np.array([c]) for c in SHIP.start_at)
    for weight, heading in ((20.0, None), (1000.0, math.pi)):
        theta = np.array([weight, 0.0, 0.0])
        centre = weight * float(SHIP.feature_values(state)[0][0])
        mean = float(mean_action(SHIP, theta, state)[0])
        assert mean == pytest.approx(centre if heading is None else heading, abs=0.03) and mean < math.pi
