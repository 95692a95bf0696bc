"""Notebook 13's room: its searches find what is known otherwise, its counts count, its test functions keep their word.

That a wrong formula loses its verdict is checked in the notebook, beside each claim.
"""

import math

import numpy as np
import pandas as pd
import pytest

from paperlib.lipschitz.step_sizes import improvement_bound, mss_mlc
from paperlib.notebooks.nb13_step_size_rules import algorithm1, convergence, figures, operation_counts, searches
from paperlib.notebooks.nb13_step_size_rules.smooth_returns import (
    NORMS,
    random_returns,
    random_thetas,
    steepest_secant_of_sine,
)


def test_the_searches_along_a_direction_find_the_top_of_a_parabola():
    g, bound = np.array([2.0, -1.0]), np.array([3.0, 4.0])
    found = searches.best_alpha(lambda g, bound, x: g @ x - x @ x / 2, g, bound)  # top at alpha = 1
    assert found == pytest.approx(1, abs=1e-9)
    u = np.array([0.6, 0.8])
    found = searches.best_length(np.abs(g), bound, u)
    around = [float(improvement_bound(np.abs(g), bound, found * factor * u)) for factor in (0.999, 1, 1.001)]
    assert around[1] > max(around[0], around[2])
    assert searches.vertex(*(3 * a - a**2 for a in (1.0, 2.0))) == pytest.approx(1.5)


def test_the_steepest_direction_of_a_plane_is_its_gradient_in_the_euclidean_norm():
    j = random_returns(1, seed=0)[0]
    j.value = lambda theta: float(np.array([3.0, 4.0]) @ theta)
    for norm, direction in ((1, [0, 1]), (2, [0.6, 0.8]), (np.inf, [1, 1])):
        found = searches.steepest_direction(j, np.zeros(2), norm, length=1.0)
        assert found == pytest.approx(np.array(direction, dtype=float), abs=1e-3)


def test_the_component_that_vanishes_first_is_found_by_walking():
    assert searches.vanishes_first(np.array([1.0, 1.0, 1.0]), np.array([0.1, 0.9, 0.5])) == 1
    path = np.array([[1.0, 1.0], [1.0, 0.5], [1.0, 0.0], [1.0, 0.2]])
    assert [searches.first_zero(path[:n]) for n in (2, 3, 4)] == [2, 2, 2]


@pytest.mark.parametrize("to_axis", [True, False])
def test_a_path_turns_away_from_the_constants_in_one_plane_until_the_border(to_axis):
    g, bound = searches.turning_path(np.random.default_rng(1), 50, to_axis=to_axis)
    angles = [algorithm1.angle(*pair) for pair in zip(g, bound, strict=True)]
    assert np.linalg.matrix_rank(g, tol=1e-9) == 2 and (np.diff(angles) > 0).all()
    assert (g[:-1] > 0).all() and g[-1].min() == pytest.approx(0, abs=1e-12)


def test_ascent_with_steps_of_one_over_the_constant_ends_in_an_optimum():
    ends = convergence.ascent_ends(2, lambda g, bound: g / np.linalg.norm(bound))
    assert ends["gradient"] < 1e-3 and ends["curvature"] < 1e-3
    assert convergence.ascent_ends(2, lambda g, bound: 0 * g, iterations=1)["gradient"] == 1


def test_the_hessian_of_the_bound_is_that_of_differences():
    bound, x, h = np.array([1.0, 2.0, 0.5]), np.array([0.3, 0.7, 1.1]), 1e-4
    shifts = h * np.eye(3)

    def value(y):
        return float(improvement_bound(np.zeros(3), bound, y))

    differences = [
        [(value(x + a + b) - value(x + a - b) - value(x - a + b) + value(x - a - b)) / (4 * h * h) for b in shifts]
        for a in shifts
    ]
    assert algorithm1.hessian_of_bound(bound, x) == pytest.approx(np.array(differences), abs=1e-6)


def test_the_shape_of_the_bound_is_read_off_a_grid():
    assert [algorithm1.rises_and_falls(phi) for phi in (0.05, 0.3, 0.4)] == ["+-+", "+-+", "+"]


def test_the_way_drawn_in_figure_1_leads_from_one_rule_to_the_other():
    g, bound = np.array([0.9, 0.5, 0.35]), np.array([0.25, 0.6, 0.9])
    panel = figures.plane_figure(g, bound).axes[1]
    heights = {line.get_label(): line.get_ydata() for line in panel.lines}
    first, second = heights["in the plane of |g| and L"], heights["on in the coordinate plane"]
    assert (np.diff(np.concatenate([first, second])) > -1e-9).all()
    assert first[0] == pytest.approx(heights["SSS-MLC's guarantee"][0])
    assert second[-1] == pytest.approx(heights["MSS-MLC's guarantee"][0])


def test_a_local_solver_can_end_in_the_wrong_maximum():
    assert algorithm1.shortfalls(algorithm1.local_solver_guarantee, 60).max() > 0.1


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_the_counted_algorithms_are_mss_mlc(d):
    g, bound = np.random.default_rng(d).random((2, d)) + 0.1
    for algorithm in (operation_counts.sorted_steps, operation_counts.recursive_steps):
        assert np.allclose(np.asarray(operation_counts.counted(algorithm, g, bound)[1]), mss_mlc(g, bound).update)


def test_the_figure_of_times_shows_the_median_round_and_the_spread_of_all():
    rounds = pd.DataFrame({"task": "SSS-SLC", "d": [3, 21] * 3, "seconds": [1e-5, 4e-5, 3e-5, 5e-5, 2e-5, 9e-5]})
    axes = figures.times_figure(rounds).axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx([2e-5, 5e-5])
    assert np.array(axes.collections[0].get_segments())[:, :, 1] == pytest.approx(np.array([[1, 3], [4, 9]]) * 1e-5)


def test_operations_are_counted():
    count, _ = operation_counts.counted(lambda g, b: np.add.reduce(g * b), np.ones(5), np.ones(5))
    assert count == 10
    assert operation_counts.growth_exponent(operation_counts.single_step, 100, 1000) == pytest.approx(1, abs=0.01)


def test_collecting_samples_costs_more_with_more_features():
    assert operation_counts.sampling_operations(1) < operation_counts.sampling_operations(5)
    assert operation_counts.polynomial_size(10) == 66


@pytest.mark.parametrize("norm", NORMS)
def test_constants_of_the_test_functions_are_never_exceeded_and_bounded_by_the_largest(norm):
    generator = np.random.default_rng(0)
    returns = random_returns(60, seed=3)
    for j, theta in zip(returns, random_thetas(returns, seed=4), strict=True):
        constants = j.constants(theta, norm)
        assert (constants <= j.largest_constants(norm) * (1 + 1e-12)).all()
        others = theta + generator.standard_normal((50, j.dimension)) * 10 ** generator.uniform(-2, 1, (50, 1))
        for other in others:
            change = np.abs(j.gradient(theta) - j.gradient(other))
            assert (change <= constants * np.linalg.norm(theta - other, ord=norm) * (1 + 1e-9)).all()


def test_derivatives_of_the_test_functions():
    returns, step = random_returns(10, seed=5), 1e-6
    for j, theta in zip(returns, random_thetas(returns, seed=6), strict=True):
        shifts = step * np.eye(j.dimension)
        gradient = [(j.value(theta + e) - j.value(theta - e)) / (2 * step) for e in shifts]
        hessian = [(j.gradient(theta + e) - j.gradient(theta - e)) / (2 * step) for e in shifts]
        assert np.allclose(j.gradient(theta), gradient, atol=1e-6)
        assert np.allclose(j.hessian(theta), hessian, atol=1e-6)


def test_the_steepest_secant_of_the_sine_is_known_at_its_zeros_and_tops():
    assert steepest_secant_of_sine(np.array([0.0]))[0] == pytest.approx(1.0)
    assert steepest_secant_of_sine(np.array([math.pi / 2]))[0] == pytest.approx(0.7246, abs=2e-3)
