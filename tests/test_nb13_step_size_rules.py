"""Notebook 13's measures: the right formula gives the claim its verdict, a wrong one takes it away."""

import dataclasses
import math

import numpy as np
import pytest

from paperlib.lipschitz.constants import gradient_lipschitz
from paperlib.lipschitz.step_sizes import agss, improvement_bound, mss_mlc, sss_mlc, sss_slc
from paperlib.notebooks.nb13_step_size_rules import algorithm1, lemma8, operation_counts, step_rules
from paperlib.notebooks.nb13_step_size_rules.smooth_returns import (
    NORMS,
    random_returns,
    random_thetas,
    steepest_secant_of_sine,
)
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
GUARANTEE = step_rules.guarantee_of


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"lip.{claim}"], measured, corrected, "", "smoke").verdict


def scaled(rule, factor):
    """The rule with its update and guarantee multiplied by a wrong factor."""

    def wrong(*arguments, **named):
        step = rule(*arguments, **named)
        names = ("update", "step_sizes", "guaranteed_improvement")
        return dataclasses.replace(step, **{name: factor * getattr(step, name) for name in names})

    return wrong


def quarter_bound(gradient, lipschitz, update, norm=2):
    """Lemma 8 with a quarter for the half."""
    return (improvement_bound(gradient, lipschitz, update, norm) + gradient @ update) / 2


def along_the_gradient(gradient, lipschitz, update, norm=2):
    """Only the first term of the bound, which is linear."""
    return float(gradient @ update)


# Each entry: claim, measured with a formula for which it holds, measured with one for which it does not.
MUTATIONS = {
    "lemma8.bound": (
        lambda: lemma8.bound_violations(350),
        lambda: lemma8.bound_violations(350, bound=quarter_bound),
    ),
    "lemma8.taylor_step": (lambda: lemma8.taylor_step_error(8), lambda: lemma8.taylor_step_error(8, factor=1.0)),
    "sss_slc.guarantees_improvement": (
        lambda: lemma8.improvements_of_rule(1100),
        lambda: lemma8.improvements_of_rule(1100, rule=scaled(sss_slc, 5.0)),
    ),
    "sss_slc.pointwise_step": (
        lambda: lemma8.pointwise_against_global(500),
        lambda: lemma8.pointwise_against_global(500, rule=scaled(sss_slc, -1.0)),
    ),
    "sss_slc.bound_from_lemma8": (
        lambda: lemma8.quadratic_bound_above_lemma8(1000),
        lambda: lemma8.quadratic_bound_above_lemma8(1000, norm=np.inf),
    ),
    "sss_slc.guaranteed_improvement": (
        lambda: lemma8.single_step_error(20, sss_slc, lemma8.quadratic_bound),
        lambda: lemma8.single_step_error(20, sss_mlc, lemma8.quadratic_bound),
    ),
    "sss_mlc.step": (
        lambda: lemma8.single_step_error(20, sss_mlc, improvement_bound)["step"],
        lambda: lemma8.single_step_error(20, scaled(sss_mlc, 2.0), improvement_bound)["step"],
    ),
    "sss_mlc.guaranteed_improvement": (
        lambda: lemma8.single_step_error(20, sss_mlc, improvement_bound)["guarantee"],
        lambda: lemma8.single_step_error(20, sss_slc, improvement_bound)["guarantee"],
    ),
    "sss_mlc.never_worse_than_slc": (
        lambda: step_rules.no_worse_than(GUARANTEE(sss_mlc), GUARANTEE(sss_slc), 1000),
        lambda: step_rules.no_worse_than(GUARANTEE(sss_slc), GUARANTEE(sss_mlc), 1000),
    ),
    "intro.local_optimum": (
        lambda: lemma8.ascent_ends(4, iterations=20_000),
        lambda: lemma8.ascent_ends(4, iterations=20_000, rule=scaled(sss_slc, 1e-6)),
    ),
    "intro.smaller_constants_larger_steps": (
        lambda: step_rules.smaller_constants_failures(500),
        lambda: step_rules.smaller_constants_failures(500, formula=lambda *c: 1 / gradient_lipschitz(*c)),
    ),
    "mss.bound": (
        lambda: step_rules.several_step_sizes_violations(500),
        lambda: step_rules.several_step_sizes_violations(500, bound=lambda g, b, a: float((a * g) @ g)),
    ),
    "mss.bound_in_angles": (lambda: step_rules.angles_error(50), lambda: step_rules.angles_error(50, factor=1.0)),
    "mss.optimal_length": (
        lambda: step_rules.optimal_length_error(50),
        lambda: step_rules.optimal_length_error(50, best_along=lambda u, g, b: algorithm1.best_along(u, g, 2 * b)),
    ),
    "mss.update_in_the_plane": (
        lambda: step_rules.out_of_plane(100),
        lambda: step_rules.out_of_plane(100, optimum=lambda g, b: algorithm1.best_along(b**3, g, b)),
    ),
    "mss.stationary_angle": (
        lambda: step_rules.stationary_angle_error(20),
        lambda: step_rules.stationary_angle_error(20, formula=lambda phi: phi),
    ),
    "mss.first_step_size_to_vanish": (
        lambda: step_rules.first_to_vanish_failures(500),
        lambda: step_rules.first_to_vanish_failures(500, expected=lambda g, b: int(np.argmin(g))),
    ),
    "mss.bound_is_concave_in_other_norms": (
        lambda: {p: step_rules.midpoint_failures(1000, norm=p, bound=along_the_gradient) for p in (1, np.inf)},
        lambda: {p: step_rules.midpoint_failures(1000, norm=p) for p in (1, np.inf)},
    ),
    "mss.complexity": (
        lambda: operation_counts.growth_exponent(operation_counts.recursive_steps, 32, 128),
        lambda: 2 * operation_counts.growth_exponent(operation_counts.recursive_steps, 32, 128),
    ),
    "msd.mss_gains_by_its_direction": (
        lambda: step_rules.gain_left_along_gradient(60),
        lambda: step_rules.gain_left_along_gradient(60, direction=np.ones_like),
    ),
    "agss.quadratic_in_feature_bound": (
        step_rules.exponent_of_feature_bound,
        lambda: step_rules.exponent_of_feature_bound(lambda g, feature_bound, **c: agss(g, feature_bound=1.0, **c)),
    ),
    "sss_slc.global_constant": (
        lambda: step_rules.growth_towards_the_edge(formula=lambda mdp, policy: np.ones(1)),
        step_rules.growth_towards_the_edge,
    ),
    "mss.equal_at_zero_angle": (
        lambda: step_rules.parallel_difference(50),
        lambda: step_rules.parallel_difference(50, rule=scaled(mss_mlc, 1.1)),
    ),
    "agss.formula": (
        lambda: step_rules.agss_error(50),
        lambda: step_rules.agss_error(50, rule=scaled(agss, 2.0)),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_a_wrong_formula_takes_the_verdict_away(claim):
    right, wrong = MUTATIONS[claim]
    assert verdict(claim, right()) == verdicts.HOLDS
    assert verdict(claim, wrong()) == verdicts.DOES_NOT_HOLD


CORRECTED = {
    "sec5.steepest_ascent": (
        lambda: lemma8.steepest_against_gradient(5),
        lambda: lemma8.steepest_against_gradient(5)["p = 2"],
        lambda: lemma8.steepest_against_gradient(5, direction=lambda j, theta, norm: np.eye(2)[0])["p = 2"],
    ),
    "lemma8.mean_value_chain": (
        lambda: lemma8.mean_value_chain_as_printed(16),
        lambda: lemma8.mean_value_chain_ends(16),
        lambda: lemma8.mean_value_chain_ends(16, constants=lambda j, x, p: 0.3 * j.constants(x, p)),
    ),
    "lemma8.direction_of_the_bound": (
        lambda: lemma8.values_against_bound(100, upper=True),
        lambda: lemma8.values_against_bound(100, upper=False),
        lambda: lemma8.values_against_bound(100, upper=True),
    ),
    "sss_slc.convergence_rate": (
        lambda: lemma8.convex_functions_miss_the_maximum(20, iterations=2000),
        lambda: lemma8.concave_rate(5),
        lambda: lemma8.concave_rate(5, factor=0.05),
    ),
    "mss.bound_is_concave": (
        lambda: step_rules.midpoint_failures(1000),
        lambda: step_rules.concave_where(1000),
        lambda: step_rules.concave_where(1000, largest_angle=math.pi / 3),
    ),
    "mss.closed_form_candidates": (
        lambda: step_rules.shortfalls(algorithm1.recursion_with(algorithm1.PRINTED_THRESHOLD), 60).max(),
        lambda: step_rules.shortfalls(algorithm1.recursion_with(algorithm1.THRESHOLD), 60).max(),
        lambda: step_rules.shortfalls(GUARANTEE(sss_mlc), 60).max(),
    ),
    "mss.angle_uses_absolute_gradient": (
        lambda: step_rules.shortfalls(algorithm1.recursion_with(algorithm1.THRESHOLD, signed=True), 60).max(),
        lambda: step_rules.shortfalls(algorithm1.recursion_with(algorithm1.THRESHOLD), 60).max(),
        lambda: step_rules.shortfalls(algorithm1.recursion_with(0.2), 60).max(),
    ),
    "mss.threshold_angle": (
        algorithm1.largest_angle_with_maximum,
        algorithm1.largest_angle_with_maximum,
        lambda: 2 * algorithm1.largest_angle_with_maximum(),
    ),
    "mss.monotone_above_threshold": (
        lambda: step_rules.shape_failures(algorithm1.PRINTED_THRESHOLD, math.pi / 2, "+", 100),
        lambda: step_rules.shape_failures(algorithm1.THRESHOLD, math.pi / 2, "+", 100),
        lambda: step_rules.shape_failures(0.9 * algorithm1.THRESHOLD, math.pi / 2, "+", 100),
    ),
    "mss.step_sizes_from_update": (
        lambda: step_rules.step_size_failures(100, step_rules.printed_ratio, returns_update=False),
        lambda: step_rules.step_size_failures(100, step_rules.corrected_ratio, returns_update=True),
        lambda: step_rules.step_size_failures(100, lambda x, g: 2 * x / g, returns_update=True),
    ),
    "mss.convergence_guarantees": (
        lambda: step_rules.random_step_sizes_lose(1000),
        lambda: step_rules.no_worse_than(GUARANTEE(mss_mlc), GUARANTEE(sss_slc), 1000),
        lambda: step_rules.no_worse_than(GUARANTEE(scaled(mss_mlc, 3.0)), GUARANTEE(sss_slc), 1000),
    ),
    "mss.advantage_grows_with_angle": (
        lambda: step_rules.advantage_falls(100, cut=False),
        lambda: step_rules.advantage_falls(100, cut=True),
        lambda: step_rules.advantage_falls(100, cut=True, rule=sss_slc),
    ),
}


@pytest.mark.parametrize("claim", CORRECTED)
def test_a_wrong_correction_takes_the_verdict_away(claim):
    printed, corrected, wrong = CORRECTED[claim]
    holds = verdicts.EXCEPTION if CLAIMS[f"lip.{claim}"].correction.exception else verdicts.CORRECTED
    assert verdict(claim, printed(), corrected()) == holds
    assert verdict(claim, printed(), wrong()) == verdicts.DOES_NOT_HOLD


@pytest.mark.parametrize("rule", [sss_slc, sss_mlc, mss_mlc])
def test_a_step_improves_by_at_least_what_its_rule_guarantees(rule):
    guaranteed, realised = lemma8.guaranteed_and_realised(200, rule).T
    assert (realised >= guaranteed * (1 - 1e-9)).all()
    guaranteed, realised = lemma8.guaranteed_and_realised(200, scaled(rule, 3.0)).T
    assert (realised < guaranteed).any()


def test_a_saddle_is_no_local_optimum():
    ends = lemma8.ascent_ends(6, iterations=20_000, at_saddles=True)
    assert ends["gradient"] < 1e-3 < ends["curvature"]
    assert verdict("intro.local_optimum", ends) == verdicts.DOES_NOT_HOLD


def test_the_shape_of_the_bound_is_read_off_a_grid():
    assert [algorithm1.rises_and_falls(phi) for phi in (0.05, 0.3, 0.4)] == ["+-+", "+-+", "+"]


def test_figure_1_ends_on_the_plane_of_the_smallest_ratio():
    assert step_rules.figure1_failures(20) == {"cases": 20, "failures": 0}


def test_a_local_solver_can_end_in_the_wrong_maximum():
    assert step_rules.shortfalls(step_rules.local_solver_guarantee, 60).max() > 0.1


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_the_counted_algorithms_are_mss_mlc(d):
    g, bound = np.random.default_rng(d).random((2, d)) + 0.1
    for algorithm in (operation_counts.sorted_steps, operation_counts.recursive_steps):
        assert np.allclose(np.asarray(operation_counts.counted(algorithm, g, bound)[1]), mss_mlc(g, bound).update)


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
