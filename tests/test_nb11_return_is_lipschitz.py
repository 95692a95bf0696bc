"""Notebook 11's test functions, made policies and other routes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz.kantorovich import kantorovich_on_line
from paperlib.notebooks.nb11_return_is_lipschitz import measures
from paperlib.notebooks.shared.grid_family import CUBE_DIMENSION, Family, small_pair_from
from paperlib.notebooks.shared.link import Link
from paperlib.notebooks.shared.policy_pair import change, taxicab

PAIRS = Family(20, make=small_pair_from).pairs
POINTS = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)
LINKS = {
    "equation (4)": Link(lambda p: measures.averaged_slope(p, 5), lambda p: 1 + p.constants.L_pi),
    "equation (11)": Link(lambda p: measures.slope_over_actions(p, 5), lambda p: p.constants.L_P),
    "equation (15)": Link(
        lambda p: measures.slope_over_states(p, 5), lambda p: p.constants.L_P * (1 + p.constants.L_pi)
    ),
    "kernel contracts": Link(lambda p: measures.kernel_ratio(p, 5), lambda p: p.constants.L_P * (1 + p.constants.L_pi)),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@settings(max_examples=25, deadline=None)
@given(POINTS)
def test_no_slope_is_steeper_than_its_bound(link, point):
    assert link.ratio(small_pair_from(point)) <= 1.000001


def test_future_states_by_sampling_are_exact_to_their_error():
    pair = measures.example_pair()
    sampled = measures.future_states_by_sampling(pair.mdp, pair.pi[0], 100_000)
    assert np.abs(sampled - pair.delta[0]).max() < 5 * np.sqrt(0.25 / 100_000)


def test_test_functions_have_lipschitz_constant_one_and_the_last_attains_the_distance():
    for pair in PAIRS:
        functions = measures.test_functions(pair, 5).reshape(6, -1)
        steps = np.abs(functions[:, :, None] - functions[:, None, :])
        assert (steps <= taxicab(pair.mdp) + 1e-12).all()
        zeta, other = (zeta.ravel() for zeta in pair.zeta)
        assert abs(functions[-1] @ (zeta - other)) == pytest.approx(pair.K_zeta, rel=1e-6)


def test_the_extremal_function_on_the_line_attains_the_distance():
    points, (p, q) = np.sort(np.random.default_rng(0).normal(size=9)), np.random.default_rng(1).dirichlet(np.ones(9), 2)
    f = measures.extremal_on_line(points, p, q)
    assert (np.abs(np.diff(f)) <= np.diff(points) + 1e-12).all()
    assert f @ (p - q) == pytest.approx(float(kantorovich_on_line(points, p, q)))


def test_policies_that_ignore_the_state_have_one_distance_in_all_states():
    for pair in measures.state_independent_pairs(PAIRS):
        assert np.allclose(pair.K_pi, pair.K_pi[0], atol=1e-15)


def test_distant_pairs_have_returns_that_differ_by_more_than_rounding():
    assert min(change(pair.J) for pair in measures.distant_pairs(PAIRS)) > 1e-6


def test_the_rounded_policy_keeps_assumption_2_and_has_no_largest_score():
    for pair in PAIRS[:3]:
        rounded = replace(pair, policy=measures.RoundedPolicy(pair.mdp, pair.policy.features))
        means = [np.clip(pair.policy.features @ theta, -1, 1) for theta in (pair.theta, pair.other)]
        assert np.allclose(rounded.pi[0] @ pair.mdp.actions, means[0])
        assert np.allclose(rounded.K_pi, np.abs(means[0] - means[1]))
        assert (rounded.K_pi <= rounded.constants.L_pi_at_theta * pair.d + 1e-12).all()
        scores = [rounded.policy.with_large_score(pair.theta, gap)[1] for gap in (1e-3, 1e-5)]
        assert scores[1] == pytest.approx(100 * scores[0], rel=1e-2)


def test_the_slope_of_eta_grows_as_the_mean_of_a_rounded_policy_nears_a_grid_point():
    for pair in PAIRS[:3]:
        rounded = replace(pair, policy=measures.RoundedPolicy(pair.mdp, pair.policy.features))
        slopes = [measures.slope_of_eta(rounded, gap) for gap in (1e-3, 1e-5)]
        assert slopes[1] == pytest.approx(100 * slopes[0], rel=0.2)


def test_distances_of_expanding_maps_grow_without_bound_and_of_contracting_ones_do_not():
    steps = [1e-2, 1e-8]
    assert np.ptp(measures.expanding_ratios(steps, 0.8)) < 1e-6
    large, small = measures.expanding_ratios(steps, 1.5)
    assert small > 1000 * large
