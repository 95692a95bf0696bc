"""Notebook 10's measures: the right formula gives the claim its verdict, a wrong one takes it away."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.finite_mdp import future_state_distribution, policy_gradient
from paperlib.lipschitz.kantorovich import kantorovich
from paperlib.notebooks.nb10_lipschitz_mdps import gaussian_assumptions as gaussian
from paperlib.notebooks.nb10_lipschitz_mdps import measures
from paperlib.notebooks.shared.grid_family import CUBE_DIMENSION, adversarial_search, case_from
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
CASES = measures.family(40)
points = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"lip.{claim}"], measured, corrected, "", "smoke").verdict


def without_policy(mdp, policy):
    """L_R / (1 - gamma L_P): Lemma 1 without the policy."""
    return mdp.reward / (1 - mdp.discount * mdp.transition)


def halved(name):
    """The closed forms with one constant halved."""

    def constants(policy, theta):
        right = policy.constants(theta)
        return dataclasses.replace(right, **{name: getattr(right, name) / 2})

    return constants


def two_forms(mdp, policy):
    """The return's forms, one without its factor."""
    forms = measures.return_forms(mdp, policy)
    return [forms[0], forms[1] * (1 - mdp.discount)]


class WrongLQG(measures.UnlimitedLQG):
    def state_value(self, s):
        return -(self.p * s**2 + 2 * self.c)


WRONG_LQG = [WrongLQG(0.5, -0.3, 0.5, 0.9)]
SEARCH = {"random": 40, "climb": 60, "seed": 0}

MUTATIONS = {
    "mdp.return_forms_agree": (
        lambda: measures.return_forms_difference(CASES),
        lambda: measures.return_forms_difference(CASES, forms=two_forms),
    ),
    "mdp.future_state_distribution": (
        lambda: measures.future_state_error(CASES),
        lambda: measures.future_state_error(CASES, distribution=lambda m, p: 2 * future_state_distribution(m, p)),
    ),
    "mdp.bellman": (
        lambda: measures.bellman_error(measures.lqg_problems(10)),
        lambda: measures.bellman_error(WRONG_LQG),
    ),
    "lipschitz.pointwise_constant": (
        lambda: measures.pointwise_constants(100),
        lambda: measures.pointwise_constants(100, pointwise=np.mean),
    ),
    "kantorovich.dual": (
        lambda: measures.kantorovich_difference(10),
        lambda: measures.kantorovich_difference(10, transport=lambda *a: 0.9 * kantorovich(*a)),
    ),
    "kantorovich.converse_fails": (
        measures.smallest_total_variation_ratio,
        lambda: measures.smallest_total_variation_ratio({"jump": (np.sign, 1.0), "constant": (lambda s: 0 * s, 0.0)}),
    ),
    "assumption1.domains_satisfy": (
        lambda: gaussian.lqg_assumption1_ratio(number=300),
        lambda: gaussian.lqg_assumption1_ratio(number=300, constants=lambda a, b, limit: (a, b * limit)),
    ),
    "assumption2.gaussian_state": (
        lambda: {n: gaussian.state_ratio(n, "clipped", number=300) for n in gaussian.POLICIES},
        lambda: gaussian.state_ratio("radial", "unbounded", number=300, constants=halved("state")),
    ),
    "assumption2.gaussian_parameters": (
        lambda: {n: gaussian.parameter_ratio(n, "truncated", number=300) for n in gaussian.POLICIES},
        lambda: gaussian.parameter_ratio("linear", "unbounded", number=300, constants=halved("parameters")),
    ),
    "assumption3.gaussian_score_state_action": (
        lambda: {n: gaussian.score_state_action_ratio(n, number=300) for n in gaussian.POLICIES},
        lambda: gaussian.score_state_action_ratio("radial", number=300, constants=halved("score_state_action")),
    ),
    "assumption3.gaussian_score_parameters": (
        lambda: {n: gaussian.score_parameter_ratio(n, number=300) for n in gaussian.POLICIES},
        lambda: gaussian.score_parameter_ratio("linear", number=300, constants=halved("score_parameters")),
    ),
    "lemma1.q_lipschitz": (
        lambda: adversarial_search(measures.q_ratio, **SEARCH).largest,
        lambda: adversarial_search(lambda case: measures.q_ratio(case, bound=without_policy), **SEARCH).largest,
    ),
    "lemma1.v_lipschitz": (
        lambda: adversarial_search(measures.v_ratio, **SEARCH).largest,
        lambda: (
            adversarial_search(
                lambda case: measures.v_ratio(case, bound=chain.action_value_lipschitz), **SEARCH | {"climb": 400}
            ).largest
        ),
    ),
    "sec2.gradient_theorem": (
        lambda: {"grid": measures.gradient_error(CASES), "LQG": measures.lqg_gradient_error(measures.lqg_problems(5))},
        lambda: measures.gradient_error(CASES, gradient=lambda m, *a: (1 - m.discount) * policy_gradient(m, *a)),
    ),
    "sec2.which_constants_depend_on_parameters": (
        lambda: measures.parameter_dependence(CASES),
        lambda: measures.parameter_dependence(CASES, value_constants=(without_policy, without_policy)),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_a_wrong_formula_takes_the_verdict_away(claim):
    right, wrong = MUTATIONS[claim]
    assert verdict(claim, right()) == verdicts.HOLDS
    assert verdict(claim, wrong()) == verdicts.DOES_NOT_HOLD


CORRECTED = {
    "mdp.deterministic_optimal_policy": (
        lambda: measures.deterministic_optimum(50, closed=False),
        lambda: measures.deterministic_optimum(50, closed=True),
        lambda: measures.deterministic_optimum(50, closed=False),
    ),
    "kantorovich.weaker_than_total_variation": (
        lambda: measures.weaker_than_total_variation(20),
        lambda: measures.diameter_bound_failures(200),
        lambda: measures.diameter_bound_failures(200, factor=0.5),
    ),
    "kantorovich.deterministic_never_total_variation": (
        measures.never_under_total_variation,
        measures.unbounded_on_an_interval,
        lambda: measures.unbounded_on_an_interval({str(k): (lambda s: 0 * s, 0.0) for k in range(5)}),
    ),
    "assumption3.gaussian_bounded_score": (
        gaussian.score_growth,
        lambda: {n: gaussian.score_bound_ratio(n, number=300) for n in gaussian.POLICIES},
        lambda: gaussian.score_bound_ratio("linear", number=300, constants=halved("score_bound")),
    ),
}


@pytest.mark.parametrize("claim", CORRECTED)
def test_a_wrong_correction_takes_the_verdict_away(claim):
    printed, corrected, wrong = CORRECTED[claim]
    holds = verdicts.EXCEPTION if CLAIMS[f"lip.{claim}"].correction.exception else verdicts.CORRECTED
    assert verdict(claim, printed(), corrected()) == holds
    assert verdict(claim, printed(), wrong()) == verdicts.DOES_NOT_HOLD


@settings(max_examples=150, deadline=None)
@given(points)
def test_lemma_1_is_never_violated(point):
    case = case_from(point)
    assert measures.q_ratio(case) <= 1 + 1e-9
    assert measures.v_ratio(case) <= 1 + 1e-9


def test_lemma_1_is_attained_on_lqg():
    ratios = measures.lqg_ratios(500)
    assert all(0.9 < ratio <= 1 for ratio in ratios.values())


def test_a_diverging_lqg_problem_is_an_error():
    with pytest.raises(ValueError, match="diverges"):
        measures.UnlimitedLQG(1.2, 0.0, 0.5, 0.95)
