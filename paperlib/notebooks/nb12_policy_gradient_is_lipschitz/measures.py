"""What notebook 12 measures: from Proposition 2 to Theorem 3, link by link (Section 4).

Every ratio is of an actual quantity to its bound on one case of the grid family; 1 means the bound is attained. The
bound under test is an argument whose default is the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.constants import MDPConstants, NotAContraction, PolicyConstants
from paperlib.lipschitz.finite_mdp import (
    action_values,
    joint_distribution,
    lipschitz_over_pairs,
    policy_gradient,
    state_transitions,
    state_values,
)
from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_on_line
from paperlib.notebooks.nb10_lipschitz_mdps.measures import differentiated_return
from paperlib.notebooks.shared.grid_family import Case, case_from
from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.random_constants import POSITIVE_MARGIN, draw_constants

Bound = Callable[[MDPConstants, PolicyConstants], np.ndarray]


class Pair:
    """Two policies of one case with everything Section 4 compares; computed when asked for."""

    def __init__(self, case: Case):
        self.case, self.mdp = case, case.mdp
        self.constants = case.constants()
        self.distance = case.distance()
        self.policies = [case.policy.probabilities(theta) for theta in (case.theta, case.other)]
        self.scores = [case.policy.score(theta) for theta in (case.theta, case.other)]
        self.v = [state_values(case.mdp, policy) for policy in self.policies]
        self.q = [action_values(case.mdp, policy) for policy in self.policies]
        self.eta = [score * q[..., None] for score, q in zip(self.scores, self.q, strict=True)]
        self.zeta = [joint_distribution(case.mdp, policy) for policy in self.policies]
        self.gradients = [policy_gradient(case.mdp, case.policy, theta) for theta in (case.theta, case.other)]

    def expectation(self, which_zeta: int, values: np.ndarray) -> np.ndarray:
        """E_zeta[values], values (S, A, d)."""
        return np.einsum("sa,sai->i", self.zeta[which_zeta], values)

    @property
    def gradient_change(self) -> np.ndarray:
        """|grad_i J(theta) - grad_i J(other)|, shape (d,)."""
        return np.abs(self.gradients[0] - self.gradients[1])

    @property
    def distribution_term(self) -> np.ndarray:
        """|E_zeta[eta^theta] - E_zeta'[eta^theta]|, shape (d,): first term of Proposition 2, without its factor."""
        return np.abs(self.expectation(0, self.eta[0]) - self.expectation(1, self.eta[0]))

    @property
    def integrand_term(self) -> np.ndarray:
        """|E_zeta'[eta^theta - eta^other]|, shape (d,): second term of Proposition 2, without its factor."""
        return np.abs(self.expectation(1, self.eta[0] - self.eta[1]))

    @cached_property
    def joint_distance(self) -> float:
        """K(zeta, zeta')."""
        points = self.mdp.pairs()
        return kantorovich(points, self.zeta[0].ravel(), points, self.zeta[1].ravel())


def _over(actual, bound) -> float:
    """Largest actual / bound over components; what moves so little that rounding would decide counts 0."""
    actual, bound = np.broadcast_arrays(np.asarray(actual, dtype=float), np.asarray(bound, dtype=float))
    moves = actual > 1e-7
    return float((actual[moves] / bound[moves]).max()) if moves.any() else 0.0


# One ratio per link


def proposition2_ratio(case: Case, *, terms=(1.0, 1.0)) -> float:
    """Proposition 2; terms: the weights of its two terms."""
    pair = Pair(case)
    bound = terms[0] * pair.distribution_term + terms[1] * pair.integrand_term
    return _over(pair.gradient_change, bound / (1 - case.mdp.discount))


def lemma5_ratio(case: Case, *, bound: Bound = chain.eta_lipschitz) -> float:
    """Lemma 5: eta^theta over states and actions, the exact worst pair."""
    pair = Pair(case)
    return _over(lipschitz_over_pairs(case.mdp.states, case.mdp.actions, pair.eta[0]), bound(*pair.constants))


def expectation_chain_ratios(case: Case, *, bound: Bound = chain.eta_lipschitz) -> float:
    """The display after Lemma 5: first term <= L_eta K(zeta, zeta') <= L_eta L_zeta d(theta, other)."""
    pair = Pair(case)
    second = pair.joint_distance / (chain.joint_lipschitz(*pair.constants) * pair.distance)
    return max(_over(pair.distribution_term, bound(*pair.constants) * pair.joint_distance), second)


def lemma6_bound(pair: Pair) -> np.ndarray:
    """R / (1 - gamma) |change of score| + M^i |change of Q|, shape (S, A, d)."""
    mdp, policy = pair.constants
    scores, values = np.abs(pair.scores[0] - pair.scores[1]), np.abs(pair.q[0] - pair.q[1])
    return mdp.reward_bound / (1 - mdp.discount) * scores + policy.score_bound * values[..., None]


def lemma6_ratio(case: Case, *, bound: Callable[[Pair], np.ndarray] = lemma6_bound) -> float:
    """Lemma 6 over all states and actions."""
    pair = Pair(case)
    return _over(np.abs(pair.eta[0] - pair.eta[1]), bound(pair))


def v_ratio(case: Case, *, bound: Bound = chain.state_value_parameter_lipschitz) -> float:
    """Theorem 2: V over parameters, supremum over states."""
    pair = Pair(case)
    return _over(np.abs(pair.v[0] - pair.v[1]).max(), bound(*pair.constants) * pair.distance)


def q_ratio(case: Case, *, bound: Bound = chain.action_value_parameter_lipschitz) -> float:
    """Theorem 2: Q over parameters, supremum over states and actions."""
    pair = Pair(case)
    return _over(np.abs(pair.q[0] - pair.q[1]).max(), bound(*pair.constants) * pair.distance)


def expected_reward_ratio(case: Case, *, factor: float = 1.0) -> float:
    """Theorem 2, first display: change of R^pi(s) <= L_R K(pi, pi') <= L_R L_pi(theta) d; factor: of L_R."""
    pair = Pair(case)
    mdp, policy = pair.constants
    moved = np.abs(((pair.policies[0] - pair.policies[1]) * case.mdp.rewards).sum(axis=1))
    between = kantorovich_on_line(case.mdp.actions, *pair.policies)
    first = _over(moved, factor * mdp.reward * between)
    return max(first, _over(between, policy.parameters * pair.distance))


def value_recursion_ratio(case: Case, *, factor: float = 1.0) -> float:
    """Theorem 2, second display: sup |V - V'| <= (L_R + gamma L_V L_P) L_pi d + gamma sup |V - V'|, and solved."""
    pair = Pair(case)
    mdp, policy = pair.constants
    change = np.abs(pair.v[0] - pair.v[1]).max()
    source = factor * (mdp.reward + mdp.discount * chain.state_value_lipschitz(mdp, policy) * mdp.transition)
    source = source * policy.parameters * pair.distance
    return max(_over(change, source + mdp.discount * change), _over(change, source / (1 - mdp.discount)))


def lemma7_ratio(case: Case, *, bound: Bound = chain.eta_parameter_lipschitz) -> float:
    """Lemma 7: eta over parameters, supremum over states and actions."""
    pair = Pair(case)
    moved = np.abs(pair.eta[0] - pair.eta[1]).max(axis=(0, 1))
    return _over(moved, bound(*pair.constants) * pair.distance)


def theorem3_ratio(case: Case, *, bound: Bound = chain.gradient_lipschitz) -> float:
    """Theorem 3, component by component."""
    pair = Pair(case)
    return _over(pair.gradient_change, bound(*pair.constants) * pair.distance)


def theorem3_norm_ratio(case: Case, *, bound: Bound = chain.gradient_norm_lipschitz) -> float:
    """Theorem 3, Euclidean norm."""
    pair = Pair(case)
    return _over(np.linalg.norm(pair.gradient_change), bound(*pair.constants) * pair.distance)


# Checks that are not ratios


def expectation_form_error(cases: list[Case], *, scale: float = 1.0, step: float = 2e-3) -> float:
    """Largest relative difference between the change of the return's derivative and that of E[eta] / (1 - gamma).

    The return is differentiated by sixth-order central differences of the exact return.
    """
    worst = 0.0
    for case in cases:
        pair = Pair(case)
        derivative = differentiated_return(case, step) - differentiated_return(case._replace(theta=case.other), step)
        both = [pair.expectation(i, pair.eta[i]) * scale / (1 - case.mdp.discount) for i in (0, 1)]
        size = max(np.abs(both).max(), 1e-3)
        worst = max(worst, np.abs(derivative - (both[0] - both[1])).max() / size)
    return worst


PRODUCTS: dict[str, tuple[Callable, Callable]] = {
    "x, x": (lambda x: x, lambda x: x),
    "x, |x|": (lambda x: x, np.abs),
    "x, sin x": (lambda x: x, np.sin),
    "sin x, cos x": (np.sin, np.cos),
    "tanh x, tanh x": (np.tanh, np.tanh),
    "tanh x, sin x": (np.tanh, np.sin),
    "clip x, |clip x|": (lambda x: np.clip(x, -1, 1), lambda x: np.abs(np.clip(x, -1, 1))),
    "atan x, sin x": (np.arctan, np.sin),
    "1/(1+x^2), sin x": (lambda x: 1 / (1 + x**2), np.sin),
    "1, x": (lambda x: np.ones_like(x), lambda x: x),
    "exp(-x^2), tanh x": (lambda x: np.exp(-(x**2)), np.tanh),
}
"""Pairs of Lipschitz functions on the real line."""


def products_without_bound() -> dict[str, int]:
    """Pairs whose product's steepest slope grows with the range of x without bound."""

    def bounded(f, g):
        slopes = []
        for width in (1e2, 1e4):
            x = np.linspace(-width, width, 400_001)
            slopes.append(np.abs(np.diff(f(x) * g(x)) / np.diff(x)).max())
        return bool(slopes[1] < 10 * slopes[0])

    return count(bounded(*functions) for functions in PRODUCTS.values())


def bounded_product_ratio(number: int, *, terms=(1.0, 1.0), seed: int = 0) -> float:
    """Largest slope of a product over sup|f| L_g + sup|g| L_f, random piecewise linear functions and two lines."""
    generator, worst = np.random.default_rng(seed), 0.0
    x = np.linspace(-1, 1, 60)
    pairs = [generator.standard_normal((2, 60)).cumsum(axis=1) for _ in range(number)]
    for f, g in [*pairs, np.stack([x + 1, x + 1])]:
        slopes = [np.abs(np.diff(values) / np.diff(x)).max() for values in (f, g, f * g)]
        worst = max(
            worst, slopes[2] / (terms[0] * np.abs(f).max() * slopes[1] + terms[1] * np.abs(g).max() * slopes[0])
        )
    return worst


def mixed_margins(points: np.ndarray) -> list[Case]:
    """Cases with contraction margins of either sign."""
    return [case_from(point, contraction=(0.5, 1.6)) for point in points]


def theorem2_stated(mdp: MDPConstants, policy: PolicyConstants) -> float:
    """L_V(theta) as printed, with no condition on the margin."""
    margin = chain.contraction_margin(mdp, policy)
    return float(policy.parameters * mdp.reward / ((1 - mdp.discount) * margin))


def theorem2_failures(cases: list[Case], *, positive_margin: bool, stated=theorem2_stated) -> dict[str, int]:
    """Cases where the stated constant is not positive and finite, or is exceeded; all, or those with a margin."""

    def holds(case):
        pair = Pair(case)
        constant = stated(*pair.constants)
        moved = np.abs(pair.v[0] - pair.v[1]).max()
        return 0 < constant < np.inf and moved <= constant * pair.distance * (1 + 1e-9)

    wanted = (c for c in cases if not positive_margin or chain.contraction_margin(*c.constants()) > 0)
    return count(holds(case) for case in wanted)


def substitution_error(number: int, *, seed: int = 0, numerator=lambda mdp: mdp.reward) -> float:
    """Largest relative difference between L_R + gamma L_V L_P and L_R / margin over random constants."""
    generator, worst = np.random.default_rng(seed), 0.0
    for _ in range(number):
        mdp, policy = draw_constants(generator)
        left = mdp.reward + mdp.discount * chain.state_value_lipschitz(mdp, policy) * mdp.transition
        right = numerator(mdp) / chain.contraction_margin(mdp, policy)
        worst = max(worst, abs(float(left / right) - 1))
    return worst


def q_step_failures(cases: list[Case], *, factor: float = 1.0) -> dict[str, int]:
    """Pairs where the change of Q is not gamma times the expected change of V, or exceeds gamma times its supremum."""

    def holds(case):
        pair = Pair(case)
        change = np.abs(pair.q[0] - pair.q[1])
        expected = factor * case.mdp.discount * np.abs(case.mdp.transitions @ (pair.v[0] - pair.v[1]))
        largest = case.mdp.discount * np.abs(pair.v[0] - pair.v[1]).max()
        return np.abs(change - expected).max() <= 1e-9 and change.max() <= largest + 1e-9

    return count(map(holds, cases))


# The condition of Lemma 1


def constants_as_printed(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_Q (Lemma 1), L_zeta(theta) (Lemma 4) and L_Q(theta) (Theorem 2), with no condition on the margin: (3,)."""
    margin = chain.contraction_margin(mdp, policy)
    in_parameters = mdp.discount * mdp.reward * policy.parameters / ((1 - mdp.discount) * margin)
    return np.array([mdp.reward / margin, policy.parameters / margin, in_parameters])


def gradient_constants_as_printed(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """Theorem 3's constants from the formulas as printed, with no condition on the margin: shape (d,)."""
    l_q, l_zeta, l_q_parameters = constants_as_printed(mdp, policy)
    value = mdp.reward_bound / (1 - mdp.discount)
    eta = value * policy.score_state_action + policy.score_bound * l_q
    eta_parameters = value * policy.score_parameters + policy.score_bound * l_q_parameters
    return (eta * l_zeta + eta_parameters) / (1 - mdp.discount)


def applies(mdp: MDPConstants, policy: PolicyConstants, formula=constants_as_printed) -> tuple[bool, bool]:
    """Whether the constants as printed are finite and positive, and whether the library gives those of the gradient."""
    values = formula(mdp, policy)
    try:
        given = bool((chain.gradient_lipschitz(mdp, policy) > 0).all())
    except NotAContraction:
        given = False
    return bool((np.isfinite(values) & (values > 0)).all()), given


def applicability_failures(number: int, *, formula=constants_as_printed, seed: int = 0) -> dict[str, int]:
    """Settings on both sides of the condition, by turns, where the method applies beyond it, or not within it."""
    generator, outcomes = np.random.default_rng(seed), []
    for index in range(number):
        within = bool(index % 2)
        constants = draw_constants(generator, POSITIVE_MARGIN if within else (1.05, 3.0))
        outcomes.append(applies(*constants, formula) == (within, within))
    return count(outcomes)


def hidden_by_the_formula(number: int, *, seed: int = 0) -> int:
    """Of as many settings beyond the condition, those where Theorem 3's formula returns positive numbers all the same:
    two of its factors are negative there.
    """
    generator, hidden = np.random.default_rng(seed), 0
    for _ in range(number):
        values = gradient_constants_as_printed(*draw_constants(generator, (1.05, 3.0)))
        hidden += bool((np.isfinite(values) & (values > 0)).all())
    return hidden


def kernel_factor(case: Case) -> float:
    """gamma times the largest ratio of Kantorovich distances after and before one step of the policy's kernel, exact.

    Point masses on neighbouring states are the worst pair.
    """
    kernel = state_transitions(case.mdp, case.policy.probabilities(case.theta))
    after = kantorovich_on_line(case.mdp.states, kernel[1:], kernel[:-1])
    return case.mdp.discount * float((after / np.diff(case.mdp.states)).max())


def beyond_and_contracting(cases: list[Case], factor=kernel_factor) -> dict[str, int]:
    """Cases beyond the condition whose discounted kernel contracts."""
    beyond = [case for case in cases if chain.contraction_margin(*case.constants()) <= 0]
    return count(factor(case) >= 1 for case in beyond)


def within_and_not_contracting(cases: list[Case], factor=kernel_factor) -> dict[str, int]:
    """Cases within the condition whose discounted kernel does not contract by gamma L_P (1 + L_pi)."""
    margins = [(case, float(chain.contraction_margin(*case.constants()))) for case in cases]
    return count(factor(case) <= (1 - margin) * (1 + 1e-9) for case, margin in margins if margin > 0)


# Where the slack of Theorem 3 comes from


def slack(case: Case) -> dict[str, float]:
    """The factors, in decades, from the actual change of the gradient to Theorem 3's bound, in the order of the proof.

    Of the component with the largest ratio. Each stage replaces one actual quantity by its bound; the stages multiply
    up to bound / actual.
    """
    pair = Pair(case)
    mdp, policy = pair.constants
    share = 1 / (1 - mdp.discount)
    i = int(np.argmax(pair.gradient_change / (chain.gradient_lipschitz(mdp, policy) * pair.distance)))
    eta_actual = lipschitz_over_pairs(case.mdp.states, case.mdp.actions, pair.eta[0])[i]
    largest_q = max(np.abs(q).max() for q in pair.q)
    score_slope = lipschitz_over_pairs(case.mdp.states, case.mdp.actions, pair.scores[0])[i]
    q_slope = lipschitz_over_pairs(case.mdp.states, case.mdp.actions, pair.q[0])
    score_size, score_change = np.abs(pair.scores[0][..., i]).max(), np.abs(pair.scores[0] - pair.scores[1])[..., i]
    q_change = np.abs(pair.q[0] - pair.q[1])
    eta_change = np.abs(pair.eta[0] - pair.eta[1])[..., i].max()
    joint = pair.joint_distance
    bound_joint = float(chain.joint_lipschitz(mdp, policy)) * pair.distance
    reach = mdp.reward_bound * share
    bound_score = policy.score_parameters[i] * pair.distance
    bound_q = float(chain.action_value_parameter_lipschitz(mdp, policy)) * pair.distance
    bound_q_slope = float(chain.action_value_lipschitz(mdp, policy))
    stages = {
        "actual": pair.gradient_change[i] / share,
        "triangle inequality (Prop. 2)": pair.distribution_term[i] + pair.integrand_term[i],
        "worst test function, worst pair": eta_actual * joint + eta_change,
        "product rule (Lemmas 5, 6)": (largest_q * score_slope + score_size * q_slope) * joint
        + largest_q * score_change.max()
        + score_size * q_change.max(),
        r"$|Q| \leq R/(1-\gamma)$": (reach * score_slope + score_size * q_slope) * joint
        + reach * score_change.max()
        + score_size * q_change.max(),
        r"joint distance: $L_\zeta$": (reach * score_slope + score_size * q_slope) * bound_joint
        + reach * score_change.max()
        + score_size * q_change.max(),
        r"$Q$ over pairs: $L_Q$": (reach * score_slope + score_size * bound_q_slope) * bound_joint
        + reach * score_change.max()
        + score_size * q_change.max(),
        r"$Q$ over $\theta$: $L_Q(\theta)$": (reach * score_slope + score_size * bound_q_slope) * bound_joint
        + reach * score_change.max()
        + score_size * bound_q,
        r"score over $\theta$": (reach * score_slope + score_size * bound_q_slope) * bound_joint
        + reach * bound_score
        + score_size * bound_q,
    }
    values = np.array(list(stages.values()))
    decades = np.diff(np.log10(np.maximum(values, 1e-300)))
    return dict(zip(list(stages)[1:], decades.tolist(), strict=True))


def slack_total(case: Case) -> float:
    """log10 of Theorem 3's bound over the actual change, of the component with the largest ratio."""
    return -float(np.log10(theorem3_ratio(case)))
