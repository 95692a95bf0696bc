"""Notebook 12's measures: the right formula gives the claim its verdict, a wrong one takes it away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import constants as chain
from paperlib.notebooks.nb12_policy_gradient_is_lipschitz import measures
from paperlib.notebooks.shared.grid_family import (
    CUBE_DIMENSION,
    adversarial_search,
    case_from,
    random_points,
)
from paperlib.notebooks.shared.random_constants import draw_constants
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
CASES = [case_from(point) for point in random_points(50, seed=0)]
EITHER_SIGN = measures.mixed_margins(random_points(230, seed=1))
POINTS = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"lip.{claim}"], measured, corrected, "", "smoke").verdict


def largest(ratio, **changes):
    return adversarial_search(lambda case: ratio(case, **changes), random=40, climb=120, seed=0).largest


def scaled(bound, factor):
    return lambda *constants: factor * bound(*constants)


def half_of_lemma6(pair):
    return measures.lemma6_bound(pair) / 2


# Each entry: the measure with the right formula, and with a wrong one.
RATIOS = {
    "proposition2.bound": (measures.proposition2_ratio, {"terms": (1.0, 0.0)}),
    "lemma5.bound": (measures.lemma5_ratio, {"bound": scaled(chain.eta_lipschitz, 0.3)}),
    "lemma5.expectation_chain": (measures.expectation_chain_ratios, {"bound": scaled(chain.eta_lipschitz, 0.1)}),
    "lemma6.bound": (measures.lemma6_ratio, {"bound": half_of_lemma6}),
    "theorem2.v_bound": (measures.v_ratio, {"bound": scaled(chain.state_value_parameter_lipschitz, 0.2)}),
    "theorem2.q_bound": (measures.q_ratio, {"bound": scaled(chain.action_value_parameter_lipschitz, 0.2)}),
    "theorem2.expected_reward": (measures.expected_reward_ratio, {"factor": 0.5}),
    "theorem2.value_recursion": (measures.value_recursion_ratio, {"factor": 0.3}),
    "lemma7.bound": (measures.lemma7_ratio, {"bound": scaled(chain.eta_parameter_lipschitz, 0.2)}),
    "theorem3.component_bound": (measures.theorem3_ratio, {"bound": scaled(chain.gradient_lipschitz, 0.01)}),
    "theorem3.norm_bound": (measures.theorem3_norm_ratio, {"bound": scaled(chain.gradient_norm_lipschitz, 0.01)}),
}


@pytest.mark.parametrize("claim", RATIOS)
def test_a_wrong_bound_takes_the_verdict_away(claim):
    ratio, wrong = RATIOS[claim]
    assert verdict(claim, largest(ratio)) == verdicts.HOLDS
    assert verdict(claim, largest(ratio, **wrong)) == verdicts.DOES_NOT_HOLD


@pytest.mark.parametrize("claim", RATIOS)
@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_no_bound_is_ever_violated(claim, point):
    assert RATIOS[claim][0](case_from(point)) <= 1.000001


MUTATIONS = {
    "sec4.gradient_as_expectation": (
        lambda: measures.expectation_form_error(CASES),
        lambda: measures.expectation_form_error(CASES, scale=0.9),
    ),
    "theorem2.substitution": (
        lambda: measures.substitution_error(100),
        lambda: measures.substitution_error(100, numerator=lambda mdp: 2 * mdp.reward),
    ),
    "theorem2.q_step": (
        lambda: measures.q_step_failures(CASES),
        lambda: measures.q_step_failures(CASES, factor=0.9),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_a_wrong_formula_takes_the_verdict_away(claim):
    right, wrong = MUTATIONS[claim]
    assert verdict(claim, right()) == verdicts.HOLDS
    assert verdict(claim, wrong()) == verdicts.DOES_NOT_HOLD


ON_BOTH_SIDES = [case_from(point, contraction=(0.5, 2.5)) for point in random_points(220, seed=1)]
CORRECTED = {
    "conclusion.condition_means_contraction": (
        lambda: measures.beyond_and_contracting(ON_BOTH_SIDES),
        lambda: measures.within_and_not_contracting(ON_BOTH_SIDES),
        lambda: measures.within_and_not_contracting(ON_BOTH_SIDES, factor=lambda c: 3 * measures.kernel_factor(c)),
    ),
    "sec4.product_of_lipschitz_functions": (
        measures.products_without_bound,
        lambda: measures.bounded_product_ratio(50),
        lambda: measures.bounded_product_ratio(50, terms=(1.0, 0.0)),
    ),
    "theorem2.hypotheses": (
        lambda: measures.theorem2_failures(EITHER_SIGN, positive_margin=False),
        lambda: measures.theorem2_failures(EITHER_SIGN, positive_margin=True),
        lambda: measures.theorem2_failures(
            EITHER_SIGN, positive_margin=True, stated=lambda *c: measures.theorem2_stated(*c) / 100
        ),
    ),
}


@pytest.mark.parametrize("claim", CORRECTED)
def test_a_wrong_correction_takes_the_verdict_away(claim):
    printed, corrected, wrong = CORRECTED[claim]
    holds = verdicts.EXCEPTION if CLAIMS[f"lip.{claim}"].correction.exception else verdicts.CORRECTED
    assert verdict(claim, printed(), corrected()) == holds
    assert verdict(claim, printed(), wrong()) == verdicts.DOES_NOT_HOLD


def test_some_kernels_contract_beyond_the_condition():
    contracting = [case for case in ON_BOTH_SIDES if measures.kernel_factor(case) < 1]
    assert any(chain.contraction_margin(*case.constants()) <= 0 for case in contracting)
    expanding = measures.beyond_and_contracting(ON_BOTH_SIDES, factor=lambda case: 1.0)
    assert verdict("conclusion.condition_means_contraction", expanding, expanding) == verdicts.HOLDS


def test_theorem_3_alone_does_not_show_a_violated_condition_and_the_constants_in_it_do():
    claim = "conclusion.only_for_contractions"
    assert verdict(claim, measures.applicability_failures(200)) == verdicts.HOLDS
    formula = measures.gradient_constants_as_printed
    assert verdict(claim, measures.applicability_failures(200, formula=formula)) == verdicts.DOES_NOT_HOLD
    assert measures.hidden_by_the_formula(100) > 0


def test_the_printed_formula_is_the_chain_where_there_is_a_margin():
    generator = np.random.default_rng(0)
    for _ in range(50):
        constants = draw_constants(generator)
        assert np.allclose(measures.gradient_constants_as_printed(*constants), chain.gradient_lipschitz(*constants))


def test_the_links_of_the_waterfall_multiply_up_to_the_slack_of_theorem_3():
    for case in CASES[:10]:
        assert sum(measures.slack(case).values()) == pytest.approx(measures.slack_total(case), abs=1e-9)
        assert all(decades > -1e-9 for decades in measures.slack(case).values())
