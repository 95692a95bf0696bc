"""The step-size rules: what they guarantee, and their corner cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import StepSize, UnboundedImprovement, agss, improvement_bound, mss_mlc, sss_mlc, sss_slc
from paperlib.notebooks.nb13_step_size_rules.algorithm1 import brute_force
from paperlib.notebooks.nb13_step_size_rules.problems import problems

RULES = [sss_slc, sss_mlc, mss_mlc]
sizes = st.floats(0.001, 1000.0)
vectors = st.integers(1, 8).flatmap(
    lambda d: st.tuples(
        st.lists(st.one_of(st.just(0.0), sizes, sizes.map(lambda x: -x)), min_size=d, max_size=d).map(np.array),
        st.lists(sizes, min_size=d, max_size=d).map(np.array),
    )
)
AGSS = {"discount": 0.9, "standard_deviation": 0.5, "action_volume": 6.0, "reward_bound": 2.0, "feature_bound": 2.0}


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=150, deadline=None)
@given(vectors)
def test_the_guarantee_is_lemma_8_at_the_update(rule, problem):
    g, bound = problem
    step = rule(g, bound)
    lower = improvement_bound(g, bound, step.update)
    assert step.guaranteed_improvement <= lower * (1 + 1e-9) + 1e-300
    assert np.allclose(step.step_sizes * g, step.update, rtol=1e-12, atol=0)
    if rule is not sss_slc:  # which is content with the quadratic bound
        assert step.guaranteed_improvement == pytest.approx(lower, rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(vectors)
def test_each_rule_guarantees_at_least_what_the_simpler_one_does(problem):
    g, bound = problem
    slc, mlc, mss = (rule(g, bound).guaranteed_improvement for rule in RULES)
    assert slc <= mlc * (1 + 1e-12)
    assert mlc <= mss * (1 + 1e-12)


def test_mss_mlc_equals_brute_force_up_to_eight_parameters():
    for g, bound in problems(150, seed=7):
        best, found = brute_force(g, bound).guarantee, mss_mlc(g, bound).guaranteed_improvement
        assert best * (1 - 1e-9) <= found <= best * (1 + 1e-3)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(vectors, sizes, sizes)
def test_units_of_gradient_and_constants_carry_over(rule, problem, a, b):
    g, bound = problem
    one, other = rule(g, bound), rule(a * g, b * bound)
    assert np.allclose(other.update, a / b * one.update, rtol=1e-9, atol=0)
    assert np.isclose(other.guaranteed_improvement, a**2 / b * one.guaranteed_improvement, rtol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_parameters_does_not_matter(rule):
    generator = np.random.default_rng(0)
    for g, bound in problems(50):
        order = generator.permutation(len(g))
        assert np.allclose(rule(g[order], bound[order]).update, rule(g, bound).update[order], rtol=1e-9)


@pytest.mark.parametrize("rule", [*RULES, lambda g, _: agss(g, **AGSS)], ids=["slc", "mlc", "mss", "agss"])
def test_a_batch_equals_a_loop(rule):
    generator = np.random.default_rng(1)
    g, bound = generator.standard_normal((2, 4, 5)), generator.random((2, 4, 5)) + 0.1
    g[0, 1] = 0  # a run without gradient must not disturb the others
    batch = rule(g, bound)
    for index in np.ndindex(2, 4):
        single = rule(g[index], bound[index])
        for name in StepSize.__dataclass_fields__:
            assert np.allclose(getattr(batch, name)[index], getattr(single, name), rtol=1e-12), name


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_stays_where_it_is(rule):
    for bound in ([1.0, 2.0], [0.0, 0.0]):
        step = rule([0.0, 0.0], bound)
        assert step.update.tolist() == [0, 0] and step.guaranteed_improvement == 0


@pytest.mark.parametrize("rule", RULES)
def test_with_one_parameter_all_rules_step_by_the_gradient_over_the_constant(rule):
    step = rule([-3.0], [2.0])
    assert step.update == pytest.approx([-1.5]) and step.guaranteed_improvement == pytest.approx(9 / 4)


@pytest.mark.parametrize("rule", RULES)
def test_zero_constants_leave_the_improvement_unbounded(rule):
    with pytest.raises(UnboundedImprovement, match="component"):
        rule([1.0, 0.0], [0.0, 0.0])


def test_one_component_with_a_gradient_and_no_constant_is_enough_for_mss_mlc():
    with pytest.raises(UnboundedImprovement):
        mss_mlc([1.0, 1.0], [0.0, 1.0])
    assert np.isfinite(sss_mlc([1.0, 1.0], [0.0, 1.0]).update).all()


def test_a_component_with_neither_gradient_nor_constant_is_left_alone():
    step = mss_mlc([0.0, 2.0], [0.0, 1.0])
    assert step.update.tolist() == [0, 2]


def test_ties_share_the_step():
    step = mss_mlc([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert np.allclose(step.update, step.update[0]) and (step.update > 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_values_whose_squares_overflow_or_underflow_are_no_trouble(rule):
    for scale in (1e200, 1e-200):
        step = rule([scale, -0.5 * scale], [scale, 2 * scale])
        usual = rule([1.0, -0.5], [1.0, 2.0])
        assert np.allclose(step.update, usual.update)
    with pytest.raises(OverflowError):
        rule([1e200], [1e-200])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("g, bound", [([np.nan], [1.0]), ([1.0], [np.inf]), ([1.0], [-1.0]), ([], []), (1.0, 1.0)])
def test_bad_input_is_an_error(rule, g, bound):
    with pytest.raises(ValueError):
        rule(g, bound)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("g", "bound"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0]), ([[1.0, 2.0]], [[3.0]])])
def test_gradient_and_constants_of_unequal_length_are_refused(rule, g, bound):
    with pytest.raises(ValueError, match="one component each: gradient has"):
        rule(g, bound)


@pytest.mark.parametrize("rule", RULES)
def test_the_norm_of_the_constants_is_refused_where_the_vector_is_needed(rule):
    g, bound = np.random.default_rng(0).random((2, 4, 3)) + 0.1
    norms = np.linalg.norm(bound, axis=-1)
    for gradient, norm in ((g[0], norms[0]), (g[0], norms[:1]), (g, norms), (g, norms[:, None])):
        with pytest.raises(ValueError, match="must be vectors|one component each"):
            rule(gradient, norm)


def test_the_bound_refuses_constants_that_are_none_and_vectors_of_unequal_length():
    with pytest.raises(ValueError, match="not negative"):
        improvement_bound([1.0, 1.0], [1.0, -1.0], [0.1, 0.1])
    with pytest.raises(ValueError, match="update has 1"):
        improvement_bound([1.0, 1.0], [1.0, 1.0], [0.1])


@pytest.mark.parametrize(("name", "value"), [("gradient", [np.nan, 1.0]), ("update", [np.inf, 1.0]), ("norm", 0.5)])
def test_the_bound_refuses_what_is_not_finite_and_what_is_no_norm(name, value):
    arguments = {"gradient": [1.0, 1.0], "lipschitz": [1.0, 1.0], "update": [0.1, 0.1], "norm": 1}
    assert improvement_bound(**arguments) == pytest.approx(0.18)
    with pytest.raises(ValueError, match=name):
        improvement_bound(**arguments | {name: value})


def test_agss_is_equation_23():
    g = np.array([1.0, -2.0])
    normal = np.sqrt(2 * np.pi) * 0.5
    expected = 0.1**3 * normal * 0.25 * 5 / ((0.9 * normal + 0.2 * 6) * 2 * 4 * 9)
    assert agss(g, **AGSS).step_sizes == pytest.approx([expected, expected])


def test_agss_takes_the_step_of_another_implementation_of_it():
    """`adastep` of potion, the policy-gradient library of M. Papini (github.com/T3p/potion), at an exact gradient.

    potion/meta/smoothing_constants.py, `pirotta_coeff`:
        max_rew * max_feat**2 / ((1 - disc)**2 * std**2) * (action_vol / (sqrt(2 pi) * std) + disc / (2 * (1 - disc)))
    potion/algorithms/semisafe.py, `adastep`: stepsize = 1 / (2 * penalty_coeff) * lower / upper, where without an error
    of estimation lower = |grad|_2^2 and upper = |grad|_1^2.
    """
    generator = np.random.default_rng(0)
    for _ in range(200):
        g = generator.standard_normal(int(generator.integers(1, 7))) * 10 ** generator.uniform(-3, 3)
        gamma, sigma, volume, reward, feature = generator.uniform(0, 0.999), *10 ** generator.uniform(-1, 1, 4)
        of_actions, of_states = volume / (math.sqrt(2 * math.pi) * sigma), gamma / (2 * (1 - gamma))
        coefficient = reward * feature**2 / ((1 - gamma) * sigma) ** 2 * (of_actions + of_states)
        step = agss(g, discount=gamma, standard_deviation=sigma, action_volume=volume, reward_bound=reward,
                    feature_bound=feature)  # fmt: skip
        expected = (g @ g) / np.abs(g).sum() ** 2 / (2 * coefficient)
        assert step.step_sizes == pytest.approx(np.full(len(g), expected), rel=1e-13)
        assert step.guaranteed_improvement == pytest.approx(expected * (g @ g) / 2, rel=1e-13)


@pytest.mark.parametrize("name, value", [("discount", 1.0), ("standard_deviation", 0.0), ("reward_bound", np.inf)])
def test_agss_refuses_constants_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        agss([1.0], **AGSS | {name: value})
