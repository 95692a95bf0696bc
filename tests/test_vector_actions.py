"""Policies of several actions: the scalar one's numbers, constants against brute force, and the policy itself."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from paperlib.lipschitz import GaussianPolicy, MDPConstants, PolynomialFeatures, RadialFeatures
from paperlib.lipschitz.rules import LIPSCHITZ_RULES, RULES

AFFINE = PolynomialFeatures([(0, 0), (1, 0), (0, 1)])
RADIAL = RadialFeatures([(2.5, 0), (1.25, 1), (0, 0)], [(10, 5), (3, 1), (10, 5)])
SHEAR = np.array([[2.0, 0.3], [0.0, 0.5]])
POLICIES = {
    "two": GaussianPolicy(AFFINE, 0.5, (-1, -2), (1, 2), (-3, -1), (3, 1)),
    "two, weighted": GaussianPolicy(AFFINE, 0.5, (-1, -2), (1, 2), -3, (3, 1), state_metric=SHEAR),
    "three, curved": GaussianPolicy(RADIAL, 0.6, (-2, -2), (6, 2), (-1, -2, -3), (1, 2, 4)),
}
NAMES = sorted(POLICIES)


def draw_states(policy, shape, generator):
    """Some in the box and some at its corners."""
    low, high = policy.state_low, policy.state_high
    inside = generator.uniform(low, high, (*shape, len(low)))
    corners = np.where(generator.random(inside.shape) < 0.5, low, high)
    return np.where(generator.random((*shape, 1)) < 0.3, corners, inside)


def matrix(policy, theta):
    return np.reshape(theta, (policy.action_dimension, policy.features.dimension))


def sampled(policy, theta, generator, count=20_000):
    """The largest observed value of each constant's quantity, by derivatives of the whole score at sampled points."""
    states, rows = draw_states(policy, (count,), generator), matrix(policy, theta)
    low, high = (np.asarray(limit) for limit in (policy.action_low, policy.action_high))
    actions = np.where(generator.random((count, len(low))) < 0.5, low, high)
    phi, variance = policy.features.value(states), policy.standard_deviation**2
    jacobian = policy.features.jacobian(states) @ np.linalg.inv(policy.state_metric)
    slope, away = np.einsum("md,gdn->gmn", rows, jacobian), actions - phi @ rows.T
    over_states = away[:, :, None, None] * jacobian[:, None] - phi[:, None, :, None] * slope[:, :, None]
    flat = (count, policy.parameter_dimension)
    size = np.linalg.norm(phi, axis=1)
    of_phi = np.tile(np.abs(phi), (1, len(low)))
    over_pairs = np.maximum(np.linalg.norm(over_states, axis=3).reshape(flat), of_phi)
    return {
        "state": np.linalg.norm(slope, ord=2, axis=(1, 2)).max(),
        "parameters": size.max(),
        "score_bound": np.abs(away[:, :, None] * phi[:, None]).reshape(flat).max(axis=0) / variance,
        "score_state_action": over_pairs.max(axis=0) / variance,
        "score_parameters": (of_phi * size[:, None]).max(axis=0) / variance,
    }


@pytest.mark.parametrize("metric", [None, SHEAR])
@pytest.mark.parametrize("features", [AFFINE, RADIAL], ids=["affine", "radial"])
def test_one_action_in_a_vector_has_the_scalar_actions_constants_draws_and_scores(features, metric):
    scalar = GaussianPolicy(features, 0.5, (-1, -2), (1, 2), -3, 2, state_metric=metric)
    vector = dataclasses.replace(scalar, action_low=[-3], action_high=[2])
    generator = np.random.default_rng(0)
    theta, states = 3 * generator.standard_normal((5, 1, 3)), generator.uniform(-1, 1, (5, 40, 2))
    for name, value in dataclasses.asdict(scalar.constants(theta)).items():
        assert np.array_equal(value, getattr(vector.constants(theta), name)), name
    drawn = [policy.draw(theta, states, np.random.default_rng(1)) for policy in (scalar, vector)]
    assert drawn[0].shape == (5, 40) and np.array_equal(drawn[0], drawn[1][..., 0])
    scores = [policy.score(theta, states, actions) for policy, actions in zip((scalar, vector), drawn, strict=True)]
    assert scores[0].shape == (5, 40, 3) and np.array_equal(*scores)


@pytest.mark.parametrize("name", NAMES)
def test_sampled_suprema_stay_below_the_constants_and_come_close(name):
    policy, generator = POLICIES[name], np.random.default_rng(2)
    for _ in range(3):
        theta = 2 * generator.standard_normal(policy.parameter_dimension)
        constants = dataclasses.asdict(policy.constants(theta))
        for quantity, observed in sampled(policy, theta, generator).items():
            assert (observed <= constants[quantity] * (1 + 1e-12)).all(), quantity
            if quantity != "score_bound":  # the product of two suprema, not attained together
                assert (observed >= 0.9 * constants[quantity]).all(), quantity


def test_several_actions_are_no_sum_of_their_slopes():
    """Two actions that read different coordinates share a slope; two that read the same one add up in the 2-norm."""
    policy = GaussianPolicy(PolynomialFeatures([(1, 0), (0, 1)]), 0.5, -1, 1, (-1, -1), (1, 1))
    assert policy.constants([0.3, 0, 0, 0.4]).state == pytest.approx(0.4)
    assert policy.constants([0.3, 0, 0.4, 0]).state == pytest.approx(0.5)


def quantiles(policy, theta, states, shares):
    rows, sigma = matrix(policy, theta), policy.standard_deviation
    mean = policy.features.value(states) @ rows.T
    lower, upper = ((np.asarray(limit) - mean) / sigma for limit in (policy.action_low, policy.action_high))
    return truncnorm.ppf(shares, lower, upper, loc=mean, scale=sigma)


@pytest.mark.parametrize("name", NAMES)
def test_actions_of_equal_shares_in_two_states_or_of_two_parameters_are_as_close_as_the_constants_say(name):
    """A coupling of the two policies: its mean distance is at least theirs."""
    policy, generator = POLICIES[name], np.random.default_rng(3)
    theta, other = generator.standard_normal((2, policy.parameter_dimension))
    constants = policy.constants(theta)
    s, t = draw_states(policy, (2, 500), generator)
    shares = generator.random((500, policy.action_dimension))
    one = quantiles(policy, theta, s, shares)
    states_apart = np.linalg.norm((s - t) @ policy.state_metric.T, axis=1)
    apart = np.linalg.norm(one - quantiles(policy, theta, t, shares), axis=1)
    assert (apart <= constants.state * states_apart + 1e-9).all()
    assert (apart > 0.3 * constants.state * states_apart).any()
    apart = np.linalg.norm(one - quantiles(policy, other, s, shares), axis=1)
    assert (apart <= constants.parameters * np.linalg.norm(theta - other) + 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_the_slope_of_the_log_density_and_actions_are_drawn_from_it(name):
    policy, generator = POLICIES[name], np.random.default_rng(4)
    theta = generator.standard_normal(policy.parameter_dimension)
    states = draw_states(policy, (6, 1), generator)
    actions = policy.draw(theta, np.repeat(states, 4000, axis=1), generator)
    low, high = policy.action_low, policy.action_high
    assert ((low <= actions) & (actions <= high)).all()

    def log_density(parameters):
        mean, sigma = policy.features.value(states) @ matrix(policy, parameters).T, policy.standard_deviation
        limits = ((np.asarray(limit) - mean) / sigma for limit in (low, high))
        return truncnorm.logpdf(actions, *limits, loc=mean, scale=sigma).sum(axis=-1)

    score, step = policy.score(theta, states, actions), 1e-5
    for i, e in enumerate(np.eye(len(theta))):
        slope = (log_density(theta + step * e) - log_density(theta - step * e)) / (2 * step)
        assert np.allclose(score[..., i], slope, atol=1e-6)
    error = score.std(axis=1) / np.sqrt(4000)
    assert (np.abs(score.mean(axis=1)) <= 5 * error).all()
    assert (np.abs(score) <= policy.constants(theta).score_bound).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 4.0), sigma=st.floats(0.2, 3.0))
def test_with_limits_symmetric_about_zero_the_restricted_policys_score_obeys_all_constants(seed, scale, sigma):
    policy, generator = dataclasses.replace(POLICIES["two"], standard_deviation=sigma), np.random.default_rng(seed)
    theta, other = scale * generator.standard_normal((2, policy.parameter_dimension))
    constants = policy.constants(theta)
    s = draw_states(policy, (200,), generator)
    t = np.clip(s + 10.0 ** generator.uniform(-3, 1) * generator.standard_normal(s.shape), (-1, -2), (1, 2))
    a, b = generator.uniform(policy.action_low, policy.action_high, (2, 200, 2))
    score, rounding = policy.score(theta, s, a), 1e-9 * (1 + constants.score_bound)
    distance = np.linalg.norm(s - t, axis=1) + np.linalg.norm(a - b, axis=1)
    over_pairs = np.abs(score - policy.score(theta, t, b))
    assert (over_pairs <= constants.score_state_action * distance[:, None] + rounding).all()
    over_parameters = np.abs(score - policy.score(other, s, a))
    assert (over_parameters <= constants.score_parameters * np.linalg.norm(theta - other) + rounding).all()
    assert (np.abs(score) <= constants.score_bound + rounding).all()


def test_with_lopsided_limits_the_restricted_policys_score_can_vary_by_some_per_cent_more():
    policy = GaussianPolicy(PolynomialFeatures([(1,)]), 0.7, 0.9, 1.1, 0, 4)
    states = np.linspace(0.9, 1.1, 2001)
    score = policy.score([1.0], states[:, None], np.full(2001, 4.0))[:, 0]
    slope = np.abs(np.diff(score)).max() / (states[1] - states[0])
    assert 1.03 < slope / policy.constants([1.0]).score_state_action[0] < 1.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_low": [-1, -1, -1]}, "action_high must be a number or have shape"),
        ({"action_low": [[-1, -1]]}, "action_low must be a number or have shape"),
        ({"action_high": [3, -5]}, "lower limit"),
        ({"action_high": [3, np.inf]}, "finite"),
        ({"action_low": []}, "action_low must be a number or have shape"),
    ],
)
def test_limits_that_are_no_box_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(POLICIES["two"], **changes)


def test_a_vector_of_parameters_of_the_wrong_length_is_told_the_sizes():
    with pytest.raises(ValueError, match="theta has 3 components, there are 3 features for each of 2 actions"):
        POLICIES["two"].constants([1.0, 2.0, 3.0])


def test_agss_is_refused_for_several_actions_and_the_lipschitz_rules_are_not():
    mdp = MDPConstants(0.3, 1.0, 1.0, 0.5)
    gradient = np.ones((1, 6))
    for name in LIPSCHITZ_RULES:
        assert RULES[name](mdp, POLICIES["two"], gradient, np.ones((1, 6))).guaranteed_improvement > 0
    for name in ("agss", "largest_guarantee"):
        with pytest.raises(ValueError, match="equation .23. is for one action"):
            RULES[name](mdp, POLICIES["two"], gradient, np.ones((1, 6)))
