"""Pairs of policies on grid MDPs, links between their quantities, and the search for a link's worst pair."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.finite_mdp import lipschitz_over_pairs, lipschitz_over_states
from paperlib.lipschitz.kantorovich import kantorovich
from paperlib.notebooks.shared.grid_family import CUBE_DIMENSION, Family, pair_from, small_pair_from
from paperlib.notebooks.shared.link import Link
from paperlib.notebooks.shared.policy_pair import change, differentiated_return, future_states_by_series, transport
from paperlib.notebooks.shared.random_constants import random_constants
from paperlib.notebooks.shared.symbols import Symbols

POINTS = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)
PAIRS = Family(10).pairs


def bounded_by(constant, actual, *, over_parameters=True):
    """A link with the library's constant."""
    return Link(actual, lambda p: constant(*p.constants.as_library()) * (p.d if over_parameters else 1))


def over_pairs(quantity):
    return lambda p: lipschitz_over_pairs(p.mdp.states, p.mdp.actions, quantity(p))


CHAIN = {
    "Lemma 1, Q": bounded_by(chain.action_value_lipschitz, over_pairs(lambda p: p.Q[0]), over_parameters=False),
    "Lemma 1, V": bounded_by(
        chain.state_value_lipschitz, lambda p: lipschitz_over_states(p.mdp.states, p.V[0]), over_parameters=False
    ),
    "Lemma 3": bounded_by(chain.future_state_lipschitz, lambda p: p.K_delta),
    "Lemma 4": bounded_by(chain.joint_lipschitz, lambda p: p.K_zeta),
    "Theorem 1": bounded_by(chain.return_lipschitz, lambda p: change(p.J)),
    "Lemma 5": bounded_by(chain.eta_lipschitz, over_pairs(lambda p: p.eta[0]), over_parameters=False),
    "Theorem 2, V": bounded_by(chain.state_value_parameter_lipschitz, lambda p: change(p.V)),
    "Theorem 2, Q": bounded_by(chain.action_value_parameter_lipschitz, lambda p: change(p.Q)),
    "Lemma 7": bounded_by(chain.eta_parameter_lipschitz, lambda p: change(p.eta)),
    "Theorem 3": bounded_by(chain.gradient_lipschitz, lambda p: change(p.grad_J)),
    "Theorem 3, norm": bounded_by(chain.gradient_norm_lipschitz, lambda p: np.linalg.norm(change(p.grad_J))),
}


def expectation(zeta, f):
    return np.einsum("sa,sai->i", zeta, f)


def distribution_term(p):
    """The change of the distribution under a fixed integrand, in Proposition 2."""
    return np.abs(expectation(p.zeta[0] - p.zeta[1], p.eta[0]))


def recursion_of_values(p):
    """The right side of Theorem 2's recursion, and that of the recursion solved."""
    mdp, policy = p.constants.as_library()
    source = mdp.reward + mdp.discount * chain.state_value_lipschitz(mdp, policy) * mdp.transition
    source = source * policy.parameters * p.d
    return np.array([source + mdp.discount * change(p.V).max(), source / (1 - mdp.discount)])


STEPS = {
    "Proposition 2": Link(
        lambda p: (1 - p.constants.gamma) * change(p.grad_J),
        lambda p: distribution_term(p) + np.abs(expectation(p.zeta[1], p.eta[0] - p.eta[1])),
    ),
    "display after Lemma 5": Link(
        distribution_term,
        lambda p: chain.eta_lipschitz(*p.constants.as_library()) * p.K_zeta,
        lambda p: (
            np.multiply(*(f(*p.constants.as_library()) for f in (chain.eta_lipschitz, chain.joint_lipschitz))) * p.d
        ),
    ),
    "recursion of values": Link(lambda p: change(p.V).max(), recursion_of_values),
    "Proposition 1": Link(lambda p: change(p.J), lambda p: p.constants.L_R / (1 - p.constants.gamma) * p.K_zeta),
    "Lemma 2": Link(
        lambda p: p.K_zeta,
        lambda p: p.K_pi.max() + (1 + p.constants.L_pi) * p.K_delta,
        lambda p: p.constants.L_pi_at_theta * p.d + (1 + p.constants.L_pi) * p.K_delta,
    ),
    "recursion (20)": Link(
        lambda p: p.K_delta,
        lambda p: p.constants.gamma * p.constants.L_P * (p.K_pi.max() + (1 + p.constants.L_pi) * p.K_delta),
    ),
    "Lemma 6": Link(
        lambda p: change(p.eta),
        lambda p: p.constants.R / (1 - p.constants.gamma) * change(p.score) + p.constants.M * change(p.Q)[..., None],
    ),
    "expected reward": Link(
        lambda p: np.abs(((p.pi[0] - p.pi[1]) * p.mdp.rewards).sum(axis=1)),
        lambda p: p.constants.L_R * p.K_pi,
        lambda p: p.constants.L_R * p.constants.L_pi_at_theta * p.d,
    ),
}


@pytest.mark.parametrize("link", (CHAIN | STEPS).values(), ids=CHAIN | STEPS)
@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_no_bound_is_ever_violated(link, point):
    assert link.ratio(small_pair_from(point)) <= 1.000001


def test_the_quantities_of_a_pair_agree_with_other_routes():
    for pair in PAIRS[:4]:
        for pi, delta, theta, grad_J in zip(pair.pi, pair.delta, (pair.theta, pair.other), pair.grad_J, strict=True):
            assert np.allclose(future_states_by_series(pair.mdp, pi), delta, atol=1e-12)
            assert np.allclose(differentiated_return(pair, theta), grad_J, rtol=1e-7, atol=1e-9)
        points = pair.mdp.pairs()
        zeta, other = (zeta.ravel() for zeta in pair.zeta)
        assert pair.K_zeta == pytest.approx(kantorovich(points, zeta, points, other), rel=1e-12)
        assert pair.K_delta <= pair.K_zeta + 1e-12
        assert transport(pair.mdp, pair.zeta[0], pair.zeta[0]) == pytest.approx(0, abs=1e-15)


def test_a_link_compares_each_side_with_the_next_component_by_component():
    link = Link(lambda p: np.array([[1.0, 2.0]]), lambda p: np.array([[4.0], [2.0]]), lambda p: 8.0)
    assert link.ratios(PAIRS[0]) == [1.0, 0.5]
    assert link.ratio(PAIRS[0]) == 1.0


def test_scaling_changes_one_side_only():
    link = Link(lambda p: 1.0, lambda p: 2.0, lambda p: 4.0)
    assert link.scaled(0.25).ratios(PAIRS[0]) == [0.5, 2.0]
    assert link.scaled(0.25, side=1).ratios(PAIRS[0]) == [2.0, 0.125]
    assert link.ratios(PAIRS[0]) == [0.5, 0.5]


def test_rounding_is_no_violation_and_a_bound_that_is_not_positive_is_one():
    assert Link(lambda p: 1e-9, lambda p: 0.0).ratio(PAIRS[0]) == 0
    assert Link(lambda p: 1e-3, lambda p: 0.0).ratio(PAIRS[0]) == np.inf
    assert Link(lambda p: np.array([1e-3, 1.0]), lambda p: np.array([-1.0, 2.0])).ratio(PAIRS[0]) == np.inf


def test_an_inequality_has_two_sides():
    with pytest.raises(ValueError, match="two sides"):
        Link(lambda p: 1.0)


def test_the_search_is_never_below_the_random_pairs_and_finds_the_same_again():
    family, link = Family(5, make=small_pair_from), CHAIN["Theorem 1"]
    search, again = (family.search(link, climb=20) for _ in range(2))
    assert search.largest == again.largest > search.random_ratios.max()
    assert link.ratio(search.pair) == search.largest
    assert [link.ratio(pair) for pair in family.pairs] == search.random_ratios.tolist()


def test_symbols_are_the_constants_of_the_library():
    for pair in PAIRS:
        mdp, policy = pair.mdp.constants(), pair.policy.constants(pair.theta)
        assert pair.constants.margin == pytest.approx(float(chain.contraction_margin(mdp, policy)), rel=1e-12)
        assert pair.constants.as_library()[0] == mdp
        assert np.array_equal(
            chain.gradient_lipschitz(mdp, policy), chain.gradient_lipschitz(*pair.constants.as_library())
        )


def test_symbols_can_be_symbols():
    c = Symbols.symbolic()
    assert str(c.margin) == "-L_P*gamma*(L_pi + 1) + 1"


def test_random_constants_have_the_products_asked_for():
    assert all(-2.0001 <= c.margin <= -0.04999 for c in random_constants(50, seed=0, products=(1.05, 3.0)))
    assert all(c.margin > 0 for c in random_constants(50, seed=0))


def test_pairs_with_products_above_one_may_have_a_negative_margin():
    either = Family(30, seed=1, make=partial(pair_from, contraction=(0.5, 2.5)))
    margins = [pair.constants.margin for pair in either.pairs]
    assert min(margins) < 0 < max(margins)
