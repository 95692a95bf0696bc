"""Notebook 11's measures: the right formula gives the claim its verdict, a wrong one takes it away."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import constants
from paperlib.lipschitz.finite_mdp import future_state_distribution
from paperlib.notebooks.nb11_return_is_lipschitz import measures
from paperlib.notebooks.shared.grid_family import CUBE_DIMENSION, adversarial_search
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
CASES = measures.family(50, seed=0)
PAIRS = [measures.Comparison.of(case) for case in CASES]
MARGINS = measures.random_constants(100, seed=2)
EITHER_SIGN = measures.random_constants(120, seed=0) + measures.random_constants(120, seed=1, products=(1.01, 3.0))
POINTS = st.lists(st.floats(0, 1), min_size=CUBE_DIMENSION, max_size=CUBE_DIMENSION).map(np.array)


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"lip.{claim}"], measured, corrected, "", "smoke").verdict


def largest(ratio, **changes):
    measure = partial(ratio, **changes) if changes else ratio
    return adversarial_search(measure, random=40, climb=80, seed=0, make=measures.small_case).largest


def scaled(function, factor):
    return lambda *arguments: factor * function(*arguments)


FEW = {"count": 5, "seed": 0}
# Each entry: the measure, its usual arguments, and those with a wrong formula.
RATIOS = {
    "proposition1.bound": (measures.proposition_1, {}, {"factor": scaled(measures.proposition_1_factor, 0.5)}),
    "lemma2.bound": (measures.lemma_2, {}, {"bound": lambda policy, d, future: 0.3 * future}),
    "lemma2.averaged_test_function": (measures.averaged_test_function, FEW, {"constant": lambda policy: 0.9}),
    "lemma3.bound": (measures.lemma_3, {}, {"constant": scaled(constants.future_state_lipschitz, 0.3)}),
    "lemma3.action_continuity": (measures.action_continuity, FEW, {"constant": lambda mdp: 0.5 * mdp.transition}),
    "lemma3.state_continuity": (measures.state_continuity, FEW, {"constant": scaled(measures.kernel_constant, 0.5)}),
    "lemma3.recursive_bound": (
        measures.recursive_bound,
        {},
        {"right_side": scaled(measures.recursive_right_side, 0.5)},
    ),
    "lemma3.contraction": (measures.contraction, FEW, {"factor": scaled(measures.contraction_factor, 0.5)}),
    "lemma4.bound": (measures.lemma_4, {}, {"constant": scaled(constants.joint_lipschitz, 0.3)}),
    "theorem1.bound": (measures.theorem_1, {}, {"constant": scaled(constants.return_lipschitz, 0.1)}),
}


@pytest.mark.parametrize("claim", RATIOS)
def test_a_wrong_bound_takes_the_verdict_away(claim):
    ratio, usual, wrong = RATIOS[claim]
    assert verdict(claim, largest(ratio, **usual)) == verdicts.HOLDS
    assert verdict(claim, largest(ratio, **usual, **wrong)) == verdicts.DOES_NOT_HOLD


@pytest.mark.parametrize("claim", RATIOS)
@settings(max_examples=25, deadline=None)
@given(POINTS)
def test_no_bound_is_ever_violated(claim, point):
    ratio, usual, _ = RATIOS[claim]
    assert ratio(measures.small_case(point), **usual) <= 1.000001


def shifted(comparison, functions):
    """Equation (6) with the second difference the other way round."""
    delta, other = comparison.future_states
    first = np.einsum("s,sa,fsa->f", delta - other, comparison.policy, functions)
    return first - np.einsum("s,sa,fsa->f", other, comparison.policy - comparison.other, functions)


MUTATIONS = {
    "sec3.performance_distance": (
        lambda: measures.performance_distance_error(measures.distant_pairs(CASES, seed=1)),
        lambda: measures.performance_distance_error(
            measures.distant_pairs(CASES, seed=1), scaled(measures.performance_distance, 0.9)
        ),
    ),
    "sec3.sum_of_distances_is_not_a_bound": (
        lambda: largest(measures.joint_over_sum),
        lambda: largest(scaled(measures.joint_over_sum, 0.1)),
    ),
    "lemma2.joint_to_single_variable": (
        lambda: measures.single_variable(CASES[0].mdp, count=5, seed=0),
        lambda: measures.single_variable(
            CASES[0].mdp, count=5, seed=0, distances=lambda mdp: 2 * measures.taxicab(mdp)
        ),
    ),
    "lemma2.add_and_subtract": (
        lambda: measures.add_and_subtract(PAIRS, count=2, seed=0),
        lambda: measures.add_and_subtract(PAIRS, count=2, seed=0, mixed=shifted),
    ),
    "lemma2.supremum_inside": (
        lambda: np.max([measures.supremum_inside(case) for case in CASES]),
        lambda: np.max(
            [
                measures.supremum_inside(case, bound=lambda p, d, f: 0.1 * measures.lemma_2_bound(p, d, f))
                for case in CASES
            ]
        ),
    ),
    "lemma2.state_independent_policy": (
        lambda: measures.state_independent_error(measures.state_independent_pairs(CASES[:15])),
        lambda: measures.state_independent_error(
            measures.state_independent_pairs(CASES[:15]), lambda future, actions: max(future, actions)
        ),
    ),
    "lemma2.dependence_grows_with_policy_constant": (
        lambda: measures.dependence_correlation(measures.family(200, seed=0)),
        lambda: measures.dependence_correlation(
            measures.family(200, seed=0), lambda case: -float(case.constants()[1].state)
        ),
    ),
    "theorem1.without_assumption_3": (
        lambda: measures.without_assumption_3_failures(measures.family(100, seed=3)),
        lambda: measures.without_assumption_3_failures(
            measures.family(100, seed=3), constant=scaled(constants.return_lipschitz, 0.01)
        ),
    ),
    "lemma3.fixed_point": (
        lambda: measures.fixed_point_failures(EITHER_SIGN),
        lambda: measures.fixed_point_failures(EITHER_SIGN, formula=constants.joint_lipschitz),
    ),
    "lemma3.monotone_in_transition_constant": (
        lambda: measures.monotone_failures(measures.transition_pairs(200, seed=0)),
        lambda: measures.monotone_failures(
            measures.transition_pairs(200, seed=0), formula=lambda *c: 1 / constants.future_state_lipschitz(*c)
        ),
    ),
    "lemma3.no_guarantee_beyond_the_condition": (
        measures.growth_beyond_the_condition,
        lambda: measures.growth_beyond_the_condition(slope=0.8),
    ),
    "lemma4.follows_from_lemmas_2_and_3": (
        lambda: measures.composition_error(
            measures.COMPOSED["Lemma 3 in Lemma 2"], measures.PRINTED["L_zeta"], MARGINS
        ),
        lambda: measures.composition_error(measures.PRINTED["L_delta"], measures.PRINTED["L_zeta"], MARGINS),
    ),
    "theorem1.follows_from_lemma4": (
        lambda: measures.composition_error(
            measures.COMPOSED["Lemma 4 in Proposition 1"], measures.PRINTED["L_J"], MARGINS
        ),
        lambda: measures.composition_error(measures.PRINTED["L_zeta"], measures.PRINTED["L_J"], MARGINS),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_a_wrong_formula_takes_the_verdict_away(claim):
    right, wrong = MUTATIONS[claim]
    assert verdict(claim, right()) == verdicts.HOLDS
    assert verdict(claim, wrong()) == verdicts.DOES_NOT_HOLD


def test_the_rounded_policy_keeps_assumption_2_and_has_no_largest_score():
    case = CASES[0]
    policy = measures.RoundedPolicy(case.mdp, case.policy.features)
    for theta, other in ((case.theta, case.other), (case.other, case.theta)):
        means = [np.clip(case.policy.features @ t, -1, 1) for t in (theta, other)]
        pair = measures.Comparison(case.mdp, policy.probabilities(theta), policy.probabilities(other))
        assert np.allclose(pair.policy @ case.mdp.actions, means[0])
        assert np.allclose(pair.policy_distances, np.abs(means[0] - means[1]))
        assert (
            pair.policy_distances <= policy.constants(theta).parameters * np.linalg.norm(theta - other) + 1e-12
        ).all()
    assert measures.without_assumption_3_failures(CASES, score=1e8)["failures"] > 0


def composed(name):
    return measures.composition_error(measures.COMPOSED[name], measures.PRINTED["L_J"], MARGINS)


CORRECTED = {
    "sec3.unit_reward_bound": (
        lambda: largest(measures.unit_reward_ratio),
        lambda: largest(measures.unit_reward_ratio, factor=measures.corrected_factor),
        lambda: largest(measures.unit_reward_ratio, factor=lambda discount: 0.5 / (1 - discount)),
    ),
    "lemma3.definition_in_the_proof": (
        lambda: measures.definition_error(PAIRS, measures.printed_start_weight),
        lambda: measures.definition_error(PAIRS, measures.normalised_start_weight),
        lambda: measures.definition_error(PAIRS, lambda discount: discount),
    ),
    "theorem1.relation_to_q_constant": (
        lambda: composed("L_J from L_Q, as printed"),
        lambda: composed("L_J from L_Q, corrected"),
        lambda: composed("L_J from L_Q, as printed"),
    ),
}


@pytest.mark.parametrize("claim", CORRECTED)
def test_a_wrong_correction_takes_the_verdict_away(claim):
    printed, corrected, wrong = CORRECTED[claim]
    assert verdict(claim, printed(), corrected()) == verdicts.CORRECTED
    assert verdict(claim, printed(), wrong()) == verdicts.DOES_NOT_HOLD


def test_future_states_three_ways():
    case = measures.example_case()
    policy = case.policy.probabilities(case.theta)
    exact = future_state_distribution(case.mdp, policy)
    assert np.allclose(measures.future_states_by_series(case.mdp, policy), exact, atol=1e-12)
    sampled = measures.future_states_by_sampling(case.mdp, policy, 100_000, seed=0)
    assert np.abs(sampled - exact).max() < 5 * np.sqrt(0.25 / 100_000)
