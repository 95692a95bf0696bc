"""The best policy of a class, where it is known: the linear-quadratic regulator's, and under a condition."""

import numpy as np
import pytest

from paperlib.lipschitz.simulation.domains import C2, LQG, MassSpringDamper
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.notebooks.shared.best_in_class import best_policy

REGULATOR = LQG(0.5, standard_deviation=0.1)


def test_the_best_parameter_of_the_regulator_is_that_of_the_exact_solver():
    optimum = ExactLQG(REGULATOR).optimum()
    best = best_policy(REGULATOR, 60, episodes=500, starts=2)
    exact = float(ExactLQG(REGULATOR).score(np.array([[optimum]]))[0])
    assert best.theta[0] == pytest.approx(optimum, abs=0.01)
    assert abs(best.score - exact) < 4 * best.standard_error + 1e-3 * abs(exact)


def test_under_a_condition_the_best_parameter_lies_at_its_edge():
    optimum = ExactLQG(REGULATOR).optimum()
    best = best_policy(REGULATOR, 60, episodes=200, starts=2, allowed=lambda theta: abs(theta[0]) <= abs(optimum) / 2)
    assert best.theta[0] == pytest.approx(optimum / 2, rel=0.02)


def test_the_search_is_the_same_every_time():
    spring = MassSpringDamper(**C2)
    one, other = (best_policy(spring, 20, episodes=50, starts=2) for _ in range(2))
    assert np.array_equal(one.theta, other.theta) and one.score == other.score
