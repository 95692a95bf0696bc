"""Constants of Gaussian policies: never exceeded by sampled pairs, and nearly attained."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures

SIGMA = 0.5
AFFINE = PolynomialFeatures([(0, 0), (1, 0), (0, 1)])
QUADRATIC = PolynomialFeatures([(0, 0), (1, 0), (0, 1), (2, 0), (1, 1)])
LINE = PolynomialFeatures([(1,)])
RADIAL = RadialFeatures([(2.5, 0), (1.25, 1), (0, 0)], [(10, 5), (3, 1), (10, 5)])
SHEAR = np.array([[2.0, 0.3], [0.0, 0.5]])

POLICIES = {
    "affine": GaussianPolicy(AFFINE, SIGMA, (-1, -2), (1, 2), -3, 3),
    "affine, weighted": GaussianPolicy(AFFINE, SIGMA, (-1, -2), (1, 2), -3, 3, state_metric=SHEAR),
    "quadratic": GaussianPolicy(QUADRATIC, SIGMA, (-1, -2), (0.5, 2), -3, 1),
    "line": GaussianPolicy(LINE, SIGMA, (-2,), (2,), -2, 2),
    "radial": GaussianPolicy(RADIAL, 0.6, (-2, -2), (6, 2), -np.pi, np.pi),
    "radial, weighted": GaussianPolicy(RADIAL, 0.6, (-2, -2), (6, 2), -np.pi, np.pi, state_metric=SHEAR),
}
NAMES = sorted(POLICIES)


def draw_states(policy, count, generator):
    low, high = policy.state_low, policy.state_high
    states = low + (high - low) * generator.random((count, len(low)))
    corners = generator.random((count, len(low))) < 0.3
    return np.where(corners, np.where(generator.random(states.shape) < 0.5, low, high), states)


def draw_theta(policy, generator, scale=2.0):
    return scale * generator.standard_normal(policy.features.dimension)


def sampled(policy, theta, seed=0, count=20_000):
    """The largest observed value of each constant's quantity, by derivatives at sampled points."""
    generator = np.random.default_rng(seed)
    states = draw_states(policy, count, generator)
    actions = np.where(generator.random(count) < 0.5, policy.action_low, policy.action_high)
    value = policy.features.value(states)
    jacobian = policy.features.jacobian(states) @ np.linalg.inv(policy.state_metric)
    variance, away = policy.standard_deviation**2, (actions - value @ theta)[:, None]
    slope = np.einsum("d,gdn->gn", theta, jacobian)
    norms = np.linalg.norm(value, axis=1)
    score_slope = np.linalg.norm(away[..., None] * jacobian - value[..., None] * slope[:, None], axis=2)
    return {
        "state": np.linalg.norm(slope, axis=1).max(),
        "parameters": norms.max(),
        "score_bound": np.abs(away * value).max(axis=0) / variance,
        "score_state_action": np.maximum(np.abs(value).max(axis=0), score_slope.max(axis=0)) / variance,
        "score_parameters": (np.abs(value) * norms[:, None]).max(axis=0) / variance,
    }


@pytest.mark.parametrize("name", NAMES)
def test_sampled_suprema_stay_below_the_constants_and_come_close(name):
    policy = POLICIES[name]
    generator = np.random.default_rng(1)
    for seed in range(5):
        theta = draw_theta(policy, generator)
        constants = dataclasses.asdict(policy.constants(theta))
        for quantity, observed in sampled(policy, theta, seed).items():
            assert (observed <= constants[quantity] * (1 + 1e-12)).all(), quantity
            if quantity != "score_bound":  # the product of two suprema, not attained together
                assert (observed >= 0.9 * constants[quantity]).all(), quantity


@pytest.mark.parametrize("name", ["affine", "affine, weighted", "line"])
def test_affine_features_give_exact_constants(name):
    policy = POLICIES[name]
    theta = draw_theta(policy, np.random.default_rng(2))
    constants = dataclasses.asdict(policy.constants(theta))
    for quantity, observed in sampled(policy, theta).items():
        if quantity != "score_bound":
            assert np.allclose(observed, constants[quantity], rtol=1e-9), quantity


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32 - 1))
def test_the_score_varies_no_more_than_its_constants_allow(name, seed):
    policy, generator = POLICIES[name], np.random.default_rng(seed)
    theta, other = draw_theta(policy, generator), draw_theta(policy, generator)
    s, t = draw_states(policy, 2, generator)
    a, b = generator.uniform(policy.action_low, policy.action_high, 2)

    def score(state, action, parameters):
        value = policy.features.value(state)
        return (action - value @ parameters) * value / policy.standard_deviation**2

    constants = policy.constants(theta)
    distance = np.linalg.norm(policy.state_metric @ (s - t)) + abs(a - b)
    tolerance = 1 + 1e-9
    over_pairs = np.abs(score(s, a, theta) - score(t, b, theta))
    assert (over_pairs <= constants.score_state_action * distance * tolerance).all()
    over_parameters = np.abs(score(s, a, theta) - score(s, a, other))
    assert (over_parameters <= constants.score_parameters * np.linalg.norm(theta - other) * tolerance).all()
    assert (np.abs(score(s, a, theta)) <= constants.score_bound * tolerance).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_a_loop(name):
    policy = POLICIES[name]
    theta = np.random.default_rng(3).standard_normal((2, 3, policy.features.dimension))
    batch = dataclasses.asdict(policy.constants(theta))
    for index in np.ndindex(2, 3):
        single = dataclasses.asdict(policy.constants(theta[index]))
        for quantity, value in single.items():
            assert np.allclose(batch[quantity][index], value, rtol=1e-12), quantity


def test_finer_cells_only_lower_the_constants_of_curved_features():
    theta = np.array([3.0, -2.0, 1.0])
    coarse, fine = (
        dataclasses.asdict(dataclasses.replace(POLICIES["radial"], cells=cells).constants(theta)) for cells in (16, 64)
    )
    for quantity, value in fine.items():
        assert (value <= coarse[quantity] * (1 + 1e-12)).all(), quantity
        assert (value >= 0.9 * coarse[quantity]).all(), quantity


@pytest.mark.parametrize("features", [AFFINE, QUADRATIC, RADIAL])
def test_the_jacobian_is_the_derivative_of_the_value(features):
    state, step = np.array([0.7, -0.4]), 1e-6
    columns = [(features.value(state + step * e) - features.value(state - step * e)) / (2 * step) for e in np.eye(2)]
    assert np.allclose(features.jacobian(state), np.stack(columns, axis=-1), atol=1e-8)


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("features", [QUADRATIC, RADIAL], ids=["polynomial", "radial"])
def test_suprema_of_factors_are_those_of_a_dense_grid(features, order):
    low, high = np.array([-2.0, -1.0]), np.array([1.5, 3.0])
    dense = np.linspace(low, high, 200_001)
    observed = np.abs(features.factors(dense, order)).max(axis=0)
    assert np.allclose(features.factor_suprema(low, high, order), observed, rtol=1e-6)


BAD = {
    "limits": ({"state_low": (1, -2), "state_high": (-1, 2)}, "lower limit"),
    "actions": ({"action_low": 3, "action_high": -3}, "lower limit"),
    "deviation": ({"standard_deviation": 0.0}, "standard_deviation"),
    "metric": ({"state_metric": np.ones((2, 2))}, "invertible"),
    "infinite states": ({"state_high": (1, np.inf)}, "finite"),
    "infinite actions": ({"action_high": np.inf}, "finite"),
    "infinite deviation": ({"standard_deviation": np.inf}, "standard_deviation"),
    "three limits of two states": ({"state_low": (-1, -1, -1)}, "state_low must be a number or have shape"),
    "no cells": ({"cells": 0}, "cells"),
    "half a cell": ({"cells": 0.5}, "cells"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_named(case):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(POLICIES["affine"], **changes)
    with pytest.raises(ValueError, match="features"):
        POLICIES["affine"].constants([1.0, 2.0])


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (1.0, "theta is a number, there are 3 features"),
        ([1.0, 2.0], "theta has 2 components"),
        ([1.0, np.nan, 0.0], "theta must be finite"),
        ([[1.0, 2.0, np.inf]], "theta must be finite"),
    ],
)
def test_parameters_that_are_none_are_named(theta, message):
    policy = POLICIES["affine"]
    with pytest.raises(ValueError, match=message):
        policy.constants(theta)
    with pytest.raises(ValueError, match=message):
        policy.draw(theta, [0.0, 0.0], np.random.default_rng(0))


@pytest.mark.parametrize("exponents", [[(0.5,)], [(1, -1)], [1, 2]])
def test_exponents_that_are_no_natural_numbers_are_refused(exponents):
    with pytest.raises(ValueError, match="non-negative integers"):
        PolynomialFeatures(exponents)
