"""The closed-loop constant: what the chain says with it, and K of the simulated kernel against areas and samples."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.closed_loop import ClosedLoopConstants, closed_loop_on_line
from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures
from paperlib.lipschitz.simulation.domains import LQG, MassSpringDamper
from tests.test_lipschitz_constants import BY_HAND, FUNCTIONS, MDP, POLICY

LINEAR = PolynomialFeatures([(1,)])


def next_states(policy, theta, gains, truncated, state):
    """Quantiles of the next state, at the midpoints of 20,000 equal shares of the actions' probability."""
    share, mean = (np.arange(20_000) + 0.5) / 20_000, (policy.features.value([state]) @ theta).item()
    ends, sigma = [policy.action_low, policy.action_high], policy.standard_deviation
    if truncated:
        below, above = ndtr((np.array(ends) - mean) / sigma)
        share = below + share * (above - below)
    actions = np.clip(mean + sigma * ndtri(share), *ends)
    return np.clip(gains[0] * state + gains[1] * actions, policy.state_low[0], policy.state_high[0])


def distance(*kernel_and_states):
    """W1 of the next states from two states: quantiles move in parallel on the line."""
    *kernel, state, other = kernel_and_states
    return np.abs(next_states(*kernel, state) - next_states(*kernel, other)).mean()


CASES = {
    "lqg": (LQG(0.9).policy(), [-0.5], (0.9, 0.9)),
    "wide": (LQG(0.5, standard_deviation=1.5).policy(), [-0.9], (0.5, 0.5)),
    "uphill": (LQG(0.7, standard_deviation=1.0).policy(), [0.3], (0.7, 0.7)),
    "turning": (LQG(0.8).policy(), [-1.4], (-0.8, 0.6)),
    "backwards": (LQG(0.8).policy(), [0.4], (0.5, -0.8)),
    "far limits": (GaussianPolicy(LINEAR, 0.3, [-1], [1], -3, 2), [-0.4], (0.7, 0.5)),
    "curved": (GaussianPolicy(RadialFeatures([(0,), (1,)], [(1,), (0.5,)]), 0.4, [-1], [2], -1, 1.5), [2, -1], (1, 1)),
}


@pytest.mark.parametrize("truncated", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_no_pair_of_states_exceeds_the_constant_and_one_nearly_attains_it(case, truncated):
    policy, theta, gains = CASES[case]
    constant = float(closed_loop_on_line(policy, theta, *gains, truncated=truncated))
    low, high = policy.state_low[0], policy.state_high[0]
    near = np.linspace(low, high - 1e-3, 100)
    far = np.random.default_rng(0).uniform(low, high, (100, 2))
    pairs = np.concatenate([np.stack([near, near + 1e-3], axis=1), far])
    ratios = [distance(policy, theta, gains, truncated, *pair) / np.ptp(pair) for pair in pairs]
    assert 0.99 * constant <= max(ratios) <= constant * (1 + 1e-3)


@pytest.mark.parametrize("truncated", [True, False])
def test_where_no_limit_is_met_it_is_the_slope_of_the_closed_loop(truncated):
    policy = GaussianPolicy(LINEAR, 0.1, [-1], [1], -3, 3)
    for theta in (-1.4, -0.6, 0.0, 0.3):
        constant = closed_loop_on_line(policy, [theta], 0.5, 0.4, truncated=truncated)
        assert constant == pytest.approx(abs(0.5 + 0.4 * theta), rel=1e-9)


@pytest.mark.parametrize("truncated", [True, False])
@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
def test_it_is_at_most_what_the_paper_bounds_it_by(a, sigma, truncated):
    domain, theta = LQG(a, standard_deviation=sigma), np.linspace(-1, 0.5, 7)[:, None]
    constant = closed_loop_on_line(domain.policy(), theta, a, a, truncated=truncated)
    bound = domain.policy().constants(theta).closed_loop(domain.constants())
    assert constant.shape == bound.shape == (7,)
    assert (constant <= bound * (1 + 1e-12)).all() and (constant[:4] < 0.95 * bound[:4]).all()


def test_a_state_of_several_coordinates_and_an_idle_action_are_refused():
    with pytest.raises(ValueError, match="one coordinate"):
        closed_loop_on_line(MassSpringDamper(1.0, 1.0, 1.0).policy(), [0, 0, 0], 1.0, 1.0)
    with pytest.raises(ValueError, match="action_gain"):
        closed_loop_on_line(LQG(0.5).policy(), [0.0], 1.0, 0.0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_with_the_papers_bound_as_its_constant_the_chain_is_the_papers(function):
    known = ClosedLoopConstants.of(POLICY, POLICY.closed_loop(MDP))
    assert np.allclose(function(MDP, known), BY_HAND[function], rtol=1e-14)


def test_the_chain_with_a_known_closed_loop_constant_worked_out_by_hand():
    known = ClosedLoopConstants.of(POLICY, 0.25)  # margin 0.8; L_R = 2, gamma L_P = 0.4, 1 + L_pi = 1.25
    value = 2 * 1.25 / 0.8
    assert chain.contraction_margin(MDP, known) == pytest.approx(0.8)
    assert chain.state_value_lipschitz(MDP, known) == pytest.approx(value)
    assert chain.action_value_lipschitz(MDP, known) == pytest.approx(2 + 0.4 * value)
    assert chain.future_state_lipschitz(MDP, known) == pytest.approx(0.4 * 1.5 / 0.8)
    assert chain.joint_lipschitz(MDP, known) == pytest.approx(1.5 + 1.25 * 0.75)
    assert chain.return_lipschitz(MDP, known) == pytest.approx(10 * (1.5 + 1.25 * 0.75))
    assert chain.state_value_parameter_lipschitz(MDP, known) == pytest.approx(5 * 1.5 * (2 + 0.4 * value))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_known_constant_serves_where_the_papers_condition_fails(function):
    mdp = dataclasses.replace(MDP, transition=1.6)
    with pytest.raises(chain.NotAContraction):
        function(mdp, POLICY)
    assert np.isfinite(function(mdp, ClosedLoopConstants.of(POLICY, 1.0))).all()
    with pytest.raises(chain.NotAContraction, match="gamma below 0.5 "):
        function(mdp, ClosedLoopConstants.of(POLICY, 2.0))


def test_part_of_a_batch_keeps_its_closed_loop_constants():
    generator = np.random.default_rng(0)
    policy = chain.PolicyConstants(*generator.random((2, 3)), *generator.random((3, 3, 2)))
    known, mask = ClosedLoopConstants.of(policy, [0.1, 0.2, 0.3]), np.array([True, False, True])
    part = known.of_batch(mask)
    assert part.kernel.tolist() == [0.1, 0.3]
    assert np.array_equal(chain.gradient_lipschitz(MDP, part), chain.gradient_lipschitz(MDP, known)[mask])


def test_an_impossible_closed_loop_constant_is_an_error():
    with pytest.raises(ValueError, match="kernel"):
        ClosedLoopConstants.of(POLICY, np.nan)
