"""MDPs on grids, and distances of distributions: exact against plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from paperlib.lipschitz.finite_mdp import lipschitz_over_pairs
from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_on_line
from paperlib.notebooks.shared.grid_family import CUBE_DIMENSION, pair_from, random_points

points = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)


@settings(max_examples=80, deadline=None)
@given(points)
def test_every_case_of_the_family_is_a_lipschitz_mdp_with_a_positive_margin(point):
    pair = pair_from(point)
    policy = pair.policy.probabilities(pair.theta)
    for mass in (pair.mdp.transitions, pair.mdp.start, policy):
        assert np.allclose(mass.sum(axis=-1), 1) and (mass >= 0).all()
    assert pair.constants.margin > 0


def test_neighbours_give_the_constant_of_all_pairs():
    generator = np.random.default_rng(0)
    s, a = np.sort(generator.random(6)), np.sort(generator.random(5))
    values = generator.standard_normal((6, 5))
    pairs = np.stack(np.meshgrid(s, a, indexing="ij"), -1).reshape(-1, 2)
    distance = np.abs(pairs[:, None] - pairs).sum(axis=2) + 1e-300
    ratios = np.abs(values.ravel()[:, None] - values.ravel()) / distance
    assert lipschitz_over_pairs(s, a, values) == pytest.approx(ratios.max())


def test_transition_constant_is_that_of_all_pairs():
    pair = pair_from(random_points(1, seed=4)[0], states=7, actions=5)
    pairs, rows = pair.mdp.pairs(), pair.mdp.transitions.reshape(35, 7)
    worst = 0.0
    for i in range(35):
        distance = np.abs(pairs - pairs[i]).sum(axis=1)
        moved = kantorovich_on_line(pair.mdp.states, rows, rows[i])
        worst = max(worst, (moved[distance > 0] / distance[distance > 0]).max())
    assert pair.mdp.constants().transition == pytest.approx(worst)


@settings(max_examples=60, deadline=None)
@given(points)
def test_policy_constants_are_never_exceeded(point):
    pair = pair_from(point)
    constants = pair.policy.constants(pair.theta)
    one, other = (pair.policy.probabilities(theta) for theta in (pair.theta, pair.other))
    between = kantorovich_on_line(pair.mdp.actions, one, other)
    assert (between <= constants.parameters * pair.d * (1 + 1e-9)).all()
    score = pair.policy.score(pair.theta)
    assert (np.abs(score) <= constants.score_bound * (1 + 1e-12)).all()
    moved = np.abs(score - pair.policy.score(pair.other))
    assert (moved <= constants.score_parameters * pair.d * (1 + 1e-9) + 1e-12).all()


def test_the_score_is_the_derivative_of_the_log_probability():
    pair = pair_from(random_points(1, seed=1)[0])
    step = 1e-5
    for i, e in enumerate(step * np.eye(3)):
        up, down = (np.log(pair.policy.probabilities(pair.theta + sign * e)) for sign in (1, -1))
        assert np.allclose((up - down) / (2 * step), pair.policy.score(pair.theta)[..., i], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_distances_on_the_line_agree_with_scipy_and_with_transport(seed):
    generator = np.random.default_rng(seed)
    x, p, q = np.sort(generator.standard_normal(7)), *generator.dirichlet(np.ones(7), 2)
    expected = wasserstein_distance(x, x, p, q)
    assert kantorovich_on_line(x, p, q) == pytest.approx(expected)
    assert kantorovich(x[:, None], p, x[:, None], q) == pytest.approx(expected)


def test_distances_of_a_batch():
    generator = np.random.default_rng(0)
    x, p, q = np.arange(5.0), generator.dirichlet(np.ones(5), (3, 2)), generator.dirichlet(np.ones(5))
    assert kantorovich_on_line(x, p, q).shape == (3, 2)


@pytest.mark.parametrize("p, q", [([0.5, 0.6], [0.5, 0.5]), ([1.5, -0.5], [0.5, 0.5])])
def test_masses_must_be_probabilities(p, q):
    with pytest.raises(ValueError, match="sum to 1"):
        kantorovich_on_line([0.0, 1.0], p, q)
    with pytest.raises(ValueError, match="sum to 1"):
        kantorovich([[0.0], [1.0]], p, [[0.0], [1.0]], q)


def test_points_must_ascend():
    with pytest.raises(ValueError, match="ascending"):
        kantorovich_on_line([1.0, 0.0], [0.5, 0.5], [0.5, 0.5])
