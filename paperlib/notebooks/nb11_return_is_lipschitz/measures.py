"""What notebook 11 measures: how far joint distribution, future states and return move with the policy's parameters.

Each measure takes the formula under test as an argument whose default is the right one, so that a wrong one can be
shown to fail. Measures of a bound are ratios of the actual quantity to the bound: above 1, the bound is violated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import ot
import sympy as sp
from scipy.stats import spearmanr, wasserstein_distance

from paperlib.lipschitz import constants
from paperlib.lipschitz.constants import MDPConstants, NotAContraction, PolicyConstants
from paperlib.lipschitz.finite_mdp import (
    GridMDP,
    expected_return,
    future_state_distribution,
    joint_distribution,
    lipschitz_over_states,
    state_transitions,
)
from paperlib.lipschitz.kantorovich import kantorovich_by_cost, kantorovich_on_line
from paperlib.notebooks.nb10_lipschitz_mdps.measures import future_states_by_series
from paperlib.notebooks.shared.grid_family import (
    CUBE_DIMENSION,
    Case,
    case_from,
    random_points,
    round_at_random,
)
from paperlib.notebooks.shared.outcomes import count as counted
from paperlib.notebooks.shared.random_constants import POSITIVE_MARGIN, draw_constants

Constant = Callable[[MDPConstants, PolicyConstants], np.ndarray]

small_case = partial(case_from, states=11, actions=7)
"""Cases on a grid small enough for thousands of exact transport problems between joint distributions."""
any_margin_case = partial(small_case, contraction=(0.05, 3.0))
"""Cases for statements that need no contraction: the margin may be negative."""

_ROUNDING = 1e-13
"""Subtracted from an actual distance before it is divided by its bound: a few times the rounding error of a solve."""


def ratio(actual: float, bound: float) -> float:
    """actual / bound, after an allowance for rounding; infinite where a bound of zero is violated."""
    excess = max(float(actual) - _ROUNDING, 0.0)
    if bound <= 0:
        return np.inf if excess > 0 else 0.0
    return excess / float(bound)


def family(count: int, *, seed: int, make: Callable[[np.ndarray], Case] = small_case) -> list[Case]:
    """Random cases of the family."""
    return [make(point) for point in random_points(count, seed=seed)]


# Exact distances between the two policies of a case


class Comparison:
    """Two policies on one MDP, as probabilities (S, A): their distributions, and the exact distances of these."""

    def __init__(self, mdp: GridMDP, policy: np.ndarray, other: np.ndarray):
        self.mdp, self.policy, self.other = mdp, policy, other

    @classmethod
    def of(cls, case: Case) -> Comparison:
        """The policies of a case: theta first."""
        return cls(case.mdp, case.policy.probabilities(case.theta), case.policy.probabilities(case.other))

    @cached_property
    def future_states(self) -> tuple[np.ndarray, np.ndarray]:
        """delta of both, each (S,)."""
        return future_state_distribution(self.mdp, self.policy), future_state_distribution(self.mdp, self.other)

    @cached_property
    def joint(self) -> tuple[np.ndarray, np.ndarray]:
        """zeta of both, each (S, A)."""
        return joint_distribution(self.mdp, self.policy), joint_distribution(self.mdp, self.other)

    @cached_property
    def mixed(self) -> np.ndarray:
        """The term added and subtracted in (6): future states of the second policy, actions of the first, (S, A)."""
        return self.future_states[1][:, None] * self.policy

    @cached_property
    def ground_distances(self) -> np.ndarray:
        """Taxicab distances of all pairs of state-action pairs, (S A, S A)."""
        return taxicab(self.mdp)

    @cached_property
    def joint_distance(self) -> float:
        """K(zeta, zeta'), by optimal transport."""
        return self.transport(*self.joint)

    @cached_property
    def future_state_distance(self) -> float:
        """K(delta, delta')."""
        return float(kantorovich_on_line(self.mdp.states, *self.future_states))

    @cached_property
    def policy_distances(self) -> np.ndarray:
        """K(pi(.|s), pi'(.|s)), shape (S,)."""
        return kantorovich_on_line(self.mdp.actions, self.policy, self.other)

    @cached_property
    def return_difference(self) -> float:
        """|J - J'|, from the values of the states."""
        return abs(expected_return(self.mdp, self.policy) - expected_return(self.mdp, self.other))

    def transport(self, p: np.ndarray, q: np.ndarray) -> float:
        """Kantorovich distance of two distributions over state-action pairs, each (S, A)."""
        return kantorovich_by_cost(self.ground_distances, p.ravel(), q.ravel())


def taxicab(mdp: GridMDP) -> np.ndarray:
    """d_S + d_A between all state-action pairs, (S A, S A)."""
    pairs = mdp.pairs()
    return np.abs(pairs[:, None] - pairs[None]).sum(axis=-1)


# 1-Lipschitz test functions


def random_test_functions(distances: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Random 1-Lipschitz functions on points with these distances (n, n): shape (count, n).

    Lower envelopes of cones whose tips have random heights (McShane's extension).
    """
    heights = distances.max() * np.random.default_rng(seed).normal(size=(count, len(distances)))
    heights *= np.random.default_rng([seed, 1]).choice([0.05, 0.3, 1.0], size=(count, 1))
    return (distances[None] + heights[:, None, :]).min(axis=-1)


def extremal_test_function(distances: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """A 1-Lipschitz function (n,) whose integrals under p and q (n,) differ by K(p, q): the dual of the transport."""
    log = ot.emd2(p, q, np.ascontiguousarray(distances), log=True)[1]
    return (distances - log["v"]).min(axis=-1)


def extremal_on_line(points: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The same on the line, for distributions (..., n): slope +1 or -1 by the sign of the difference in mass left."""
    slopes = -np.sign(np.cumsum(p - q, axis=-1)[..., :-1])
    values = np.cumsum(slopes * np.diff(points), axis=-1)
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def line_functions(points: np.ndarray, p: np.ndarray, q: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Random and extremal 1-Lipschitz functions on the line: shape (functions, n); p and q as in `extremal_on_line`."""
    extremal = extremal_on_line(points, p, q).reshape(-1, len(points))
    return np.concatenate([random_test_functions(np.abs(points[:, None] - points), count, seed=seed), extremal])


# Performance distance and Proposition 1


def performance_distance(comparison: Comparison) -> float:
    """The difference of expected rewards under the two joint distributions, over 1 - gamma (Section 3)."""
    zeta, other = comparison.joint
    return abs(((zeta - other) * comparison.mdp.rewards).sum()) / (1 - comparison.mdp.discount)


def performance_distance_error(
    pairs: Iterable[Comparison], expected: Callable[[Comparison], float] = performance_distance
) -> float:
    """Largest relative difference of |J - J'| and the difference of expected rewards."""
    return max(abs(expected(pair) - pair.return_difference) / pair.return_difference for pair in pairs)


def distant_pairs(cases: Sequence[Case], *, seed: int) -> list[Comparison]:
    """The cases with a second policy drawn independently, so that the returns differ by more than rounding."""
    generator = np.random.default_rng(seed)
    others = [generator.normal(size=case.theta.shape) for case in cases]
    return [Comparison.of(case._replace(other=other)) for case, other in zip(cases, others, strict=True)]


def unit_reward_ratio(case: Case, factor: Callable[[float], float] = lambda discount: 1.0) -> float:
    """Performance distance over factor(gamma) times K(zeta, zeta'), rewards divided by their Lipschitz constant."""
    comparison = Comparison.of(case)
    scaled = comparison.return_difference / case.mdp.constants().reward
    return ratio(scaled, factor(case.mdp.discount) * comparison.joint_distance)


def corrected_factor(discount: float) -> float:
    """1 / (1 - gamma), missing in the sentence before Proposition 1."""
    return 1 / (1 - discount)


def proposition_1_factor(mdp: MDPConstants) -> float:
    """L_R / (1 - gamma)."""
    return mdp.reward / (1 - mdp.discount)


def proposition_1(case: Case, factor: Callable[[MDPConstants], float] = proposition_1_factor) -> float:
    """|J - J'| over factor times K(zeta, zeta')."""
    comparison = Comparison.of(case)
    return ratio(comparison.return_difference, factor(case.mdp.constants()) * comparison.joint_distance)


# Lemma 2


def joint_over_sum(case: Case) -> float:
    """K(zeta, zeta') over K(delta, delta') + sup_s K(pi, pi'), which is no bound."""
    comparison = Comparison.of(case)
    return ratio(comparison.joint_distance, comparison.future_state_distance + comparison.policy_distances.max())


def lemma_2_bound(policy: PolicyConstants, distance: float, future_states: float) -> float:
    """L_pi(theta) d(theta, theta') + (1 + L_{pi^theta}) K(delta, delta')."""
    return float(policy.parameters * distance + (1 + policy.state) * future_states)


def lemma_2(case: Case, bound: Callable[[PolicyConstants, float, float], float] = lemma_2_bound) -> float:
    """K(zeta, zeta') over the bound of Lemma 2."""
    comparison = Comparison.of(case)
    largest = bound(case.constants()[1], case.distance(), comparison.future_state_distance)
    return ratio(comparison.joint_distance, largest)


def averaged_constant(policy: PolicyConstants) -> float:
    """1 + L_{pi^theta}, of equation (4)."""
    return float(1 + policy.state)


def averaged_test_function(
    case: Case, *, count: int, seed: int, constant: Callable[[PolicyConstants], float] = averaged_constant
) -> float:
    """Variation of b_f(s) = E_{a ~ pi(.|s)} f(s, a) over its bound, for random and extremal 1-Lipschitz f.

    The extremal ones are f(s, a) = phi(a) - s, where phi attains the distance of the policies of two neighbours.
    """
    mdp, policy = case.mdp, case.policy.probabilities(case.theta)
    extremal = extremal_on_line(mdp.actions, policy[:-1], policy[1:])[:, None, :] - mdp.states[:, None]
    functions = random_test_functions(taxicab(mdp), count, seed=seed).reshape(count, *policy.shape)
    averages = np.einsum("sa,fsa->sf", policy, np.concatenate([functions, extremal]))
    return ratio(lipschitz_over_states(mdp.states, averages), constant(case.constants()[1]))


def single_variable(
    mdp: GridMDP, *, count: int, seed: int, distances: Callable[[GridMDP], np.ndarray] = taxicab
) -> float:
    """Largest semi-norm in the state or the action alone of functions with joint semi-norm one.

    Random functions are scaled to semi-norm one over all pairs of points; the extremal ones are s and a themselves.
    """
    ground = distances(mdp)
    functions = random_test_functions(ground, count, seed=seed)
    functions = np.concatenate([functions, mdp.pairs().T])
    differences = np.abs(functions[:, :, None] - functions[:, None, :])
    joint = (differences / np.where(ground > 0, ground, np.inf)).max(axis=(1, 2))
    grids = (functions / joint[:, None]).reshape(-1, len(mdp.states), len(mdp.actions))
    in_state = lipschitz_over_states(mdp.states, np.moveaxis(grids, 0, -1))
    in_action = lipschitz_over_states(mdp.actions, grids.transpose(2, 0, 1))
    return max(in_state, in_action)


def equation_6(comparison: Comparison, functions: np.ndarray) -> np.ndarray:
    """The integrals of (6), for test functions (F, S, A): shape (F,)."""
    delta, other = comparison.future_states
    first = np.einsum("s,sa,fsa->f", delta - other, comparison.policy, functions)
    return first + np.einsum("s,sa,fsa->f", other, comparison.policy - comparison.other, functions)


def equation_7(comparison: Comparison) -> float:
    """The two suprema of (7), each a transport between a joint distribution and the mixed term."""
    zeta, other = comparison.joint
    return comparison.transport(zeta, comparison.mixed) + comparison.transport(comparison.mixed, other)


def add_and_subtract(
    pairs: Sequence[Comparison],
    *,
    count: int,
    seed: int,
    mixed: Callable[[Comparison, np.ndarray], np.ndarray] = equation_6,
    split: Callable[[Comparison], float] = equation_7,
) -> dict[str, int]:
    """Cases and failures of (5) = (6), for random test functions and the one that attains (5), and of (5) <= (7)."""
    failures = 0
    for number, pair in enumerate(pairs):
        zeta, other = pair.joint
        attaining = extremal_test_function(pair.ground_distances, zeta.ravel(), other.ravel())
        functions = np.vstack([random_test_functions(pair.ground_distances, count, seed=seed + number), attaining])
        functions = functions.reshape(-1, *zeta.shape)
        printed_5 = np.einsum("sa,fsa->f", zeta - other, functions)
        differs = np.abs(mixed(pair, functions) - printed_5).max() > 1e-10
        failures += differs or split(pair) < pair.joint_distance - 1e-8
    return {"cases": len(pairs), "failures": int(failures)}


def supremum_inside(case: Case, bound: Callable[[PolicyConstants, float, float], float] = lemma_2_bound) -> np.ndarray:
    """Ratios of each side to the next along (7), (9) and the two lines of (10): shape (3,).

    `bound` is the last line; (9) and the first line of (10) have its second term beside their own first.
    """
    comparison, policy = Comparison.of(case), case.constants()[1]
    future = bound(policy, 0.0, comparison.future_state_distance)
    averaged = comparison.future_states[1] @ comparison.policy_distances
    lines = [
        equation_7(comparison),
        averaged + future,
        comparison.policy_distances.max() + future,
        bound(policy, case.distance(), comparison.future_state_distance),
    ]
    return np.array([ratio(a, b) for a, b in zip(lines[:-1], lines[1:], strict=True)])


def state_independent_pairs(cases: Sequence[Case]) -> list[Comparison]:
    """The policies of the cases at the middle state, used in every state."""
    pairs = [Comparison.of(case) for case in cases]
    return [Comparison(pair.mdp, _everywhere(pair.policy), _everywhere(pair.other)) for pair in pairs]


def _everywhere(policy: np.ndarray) -> np.ndarray:
    return np.broadcast_to(policy[len(policy) // 2], policy.shape)


def sum_of_distances(future_states: float, actions: float) -> float:
    """What Lemma 2 gives without dependence on the state."""
    return future_states + actions


def state_independent_error(
    pairs: Iterable[Comparison], total: Callable[[float, float], float] = sum_of_distances
) -> float:
    """Largest relative difference of K(zeta, zeta') and the sum of the distances of future states and of actions."""
    errors = []
    for pair in pairs:
        expected = total(pair.future_state_distance, pair.policy_distances[0])
        errors.append(max(abs(pair.joint_distance - expected) - _ROUNDING, 0.0) / expected)
    return max(errors)


def dependence(case: Case) -> float:
    """How much actions depend on states: K between the joint distribution and the product of its two marginals."""
    comparison = Comparison.of(case)
    zeta = comparison.joint[0]
    return comparison.transport(zeta, np.outer(zeta.sum(axis=1), zeta.sum(axis=0)))


def dependence_correlation(cases: Sequence[Case], measure: Callable[[Case], float] = dependence) -> float:
    """Rank correlation over cases between L_{pi^theta} and how much actions depend on states."""
    constants_of = [float(case.constants()[1].state) for case in cases]
    return float(spearmanr(constants_of, [measure(case) for case in cases]).statistic)


# Lemma 3


def lemma_3(case: Case, constant: Constant = constants.future_state_lipschitz) -> float:
    """K(delta, delta') over L_delta(theta) d(theta, theta')."""
    return ratio(Comparison.of(case).future_state_distance, float(constant(*case.constants())) * case.distance())


def action_continuity(
    case: Case, *, count: int, seed: int, constant: Callable[[MDPConstants], float] = lambda mdp: mdp.transition
) -> float:
    """Variation of g_f(s, a) = E f(s') in the action over its bound, for random and extremal 1-Lipschitz f."""
    mdp, p = case.mdp, case.mdp.transitions
    functions = line_functions(mdp.states, p[:, 1:], p[:, :-1], count=count, seed=seed)
    expectations = np.einsum("sat,ft->asf", p, functions)
    return ratio(lipschitz_over_states(mdp.actions, expectations), constant(mdp.constants()))


def kernel_constant(mdp: MDPConstants, policy: PolicyConstants) -> float:
    """L_P (1 + L_{pi^theta}), of equation (15)."""
    return float(mdp.transition * (1 + policy.state))


def state_continuity(case: Case, *, count: int, seed: int, constant: Constant = kernel_constant) -> float:
    """Variation of h_f(s) = E f(s') under the policy over its bound, for random and extremal 1-Lipschitz f."""
    mdp, kernel = case.mdp, state_transitions(case.mdp, case.policy.probabilities(case.theta))
    functions = line_functions(mdp.states, kernel[1:], kernel[:-1], count=count, seed=seed)
    return ratio(lipschitz_over_states(mdp.states, kernel @ functions.T), constant(*case.constants()))


def future_states_by_sampling(mdp: GridMDP, policy: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Shares of the states in which `count` episodes stop, each step being the last with probability 1 - gamma: (S,).

    The length is geometric, so the last state is a draw from delta.
    """
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(state_transitions(mdp, policy), axis=1)
    state = generator.choice(len(mdp.states), size=count, p=mdp.start)
    running = np.flatnonzero(generator.random(count) < mdp.discount)
    while len(running):
        draws = generator.random(len(running))[:, None]
        state[running] = np.minimum((cumulative[state[running]] < draws).sum(axis=1), len(mdp.states) - 1)
        running = running[generator.random(len(running)) < mdp.discount]
    return np.bincount(state, minlength=len(mdp.states)) / count


def printed_start_weight(discount: float) -> float:
    """The factor of mu in equation (16)."""
    return 1.0


def normalised_start_weight(discount: float) -> float:
    """The factor of mu under the definition of Section 2.1."""
    return 1 - discount


def definition_error(pairs: Iterable[Comparison], start_weight: Callable[[float], float]) -> float:
    """Largest total mass between delta and start_weight(gamma) mu + gamma delta P, delta summed from its definition."""
    errors = []
    for pair in pairs:
        delta = future_states_by_series(pair.mdp, pair.policy)
        step = pair.mdp.discount * delta @ state_transitions(pair.mdp, pair.policy)
        errors.append(np.abs(delta - start_weight(pair.mdp.discount) * pair.mdp.start - step).sum())
    return float(max(errors))


def recursive_right_side(mdp: MDPConstants, policy: PolicyConstants, policies: float, future_states: float) -> float:
    """gamma L_P sup_s K(pi, pi') + gamma L_P (1 + L_{pi^theta}) K(delta, delta'), of equation (20)."""
    return float(mdp.discount * mdp.transition * (policies + (1 + policy.state) * future_states))


def recursive_bound(
    case: Case,
    right_side: Callable[[MDPConstants, PolicyConstants, float, float], float] = recursive_right_side,
) -> float:
    """K(delta, delta') over the right side of (20)."""
    comparison = Comparison.of(case)
    distance = comparison.future_state_distance
    return ratio(distance, right_side(*case.constants(), comparison.policy_distances.max(), distance))


def contraction_factor(mdp: MDPConstants, policy: PolicyConstants) -> float:
    """gamma L_P (1 + L_{pi^theta})."""
    return float(1 - constants.contraction_margin(mdp, policy))


def contraction(case: Case, *, count: int, seed: int, factor: Constant = contraction_factor) -> float:
    """gamma K(p P, q P) over factor K(p, q), for random distributions and for all neighbouring point masses."""
    mdp, kernel = case.mdp, state_transitions(case.mdp, case.policy.probabilities(case.theta))
    points = np.eye(len(mdp.states))
    drawn = np.random.default_rng(seed).dirichlet(np.full(len(points), 0.3), size=(2, count))
    p, q = np.concatenate([drawn[0], points[1:]]), np.concatenate([drawn[1], points[:-1]])
    after = mdp.discount * kantorovich_on_line(mdp.states, p @ kernel, q @ kernel)
    before = factor(*case.constants()) * kantorovich_on_line(mdp.states, p, q)
    return max(ratio(a, b) for a, b in zip(after, before, strict=True))


def expanding_ratios(steps: Sequence[float], *, slope: float = 1.5, discount: float = 0.9) -> np.ndarray:
    """K(delta, delta') / |theta - theta'| on s' = clip(slope (s + a), -1, 1) from s = 0: theta = 0 against each step.

    The policy always takes the action theta, so L_{pi^theta} = 0 and L_P = slope. Shape (steps,).
    """
    horizon = int(np.ceil(np.log(1e-17) / np.log(discount)))
    weights = (1 - discount) * discount ** np.arange(horizon)
    rest = _orbit(0.0, slope, horizon)
    moved = [wasserstein_distance(_orbit(step, slope, horizon), rest, weights, weights) for step in steps]
    return np.array(moved) / np.asarray(steps)


def _orbit(action: float, slope: float, horizon: int) -> np.ndarray:
    states = np.zeros(horizon)
    for t in range(1, horizon):
        states[t] = np.clip(slope * (states[t - 1] + action), -1, 1)
    return states


def growth_beyond_the_condition(slope: float = 1.5) -> float:
    """How much K(delta, delta') / |theta - theta'| grows as |theta - theta'| shrinks from 1e-2 to 1e-8."""
    large, small = expanding_ratios([1e-2, 1e-8], slope=slope)
    return float(small / large)


# Lemma 4, Theorem 1 and the algebra of the constants


def lemma_4(case: Case, constant: Constant = constants.joint_lipschitz) -> float:
    """K(zeta, zeta') over L_zeta(theta) d(theta, theta')."""
    return ratio(Comparison.of(case).joint_distance, float(constant(*case.constants())) * case.distance())


def theorem_1(case: Case, constant: Constant = constants.return_lipschitz) -> float:
    """|J - J'| over L_J(theta) d(theta, theta')."""
    return ratio(Comparison.of(case).return_difference, float(constant(*case.constants())) * case.distance())


class RoundedPolicy(NamedTuple):
    """The action theta'phi(s), clipped, and rounded at random to its two neighbours on the grid so that means are kept.

    Kantorovich distances of its actions are those of the means (Assumption 2). Its score has no bound: the probability
    of a neighbour changes with the mean at a constant rate, however small it is (no Assumption 3).
    """

    mdp: GridMDP
    features: np.ndarray

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """pi^theta(a|s), shape (S, A)."""
        return round_at_random(self.mdp.actions, self._mean(theta))

    def constants(self, theta: np.ndarray) -> PolicyConstants:
        """Those of Assumption 2; the others, which do not exist, are zero."""
        slopes = np.abs(np.diff(self._mean(theta))) / np.diff(self.mdp.states)
        none = np.zeros((3, len(theta)))
        return PolicyConstants(slopes.max(), np.linalg.norm(self.features, axis=1).max(), *none)

    def with_large_score(self, theta: np.ndarray, gap: float = 1e-7) -> tuple[np.ndarray, float]:
        """theta with its constant feature shifted until the mean in the middle state is `gap` above the middle action,
        and the largest score component of that feature there.
        """
        s, a = len(self.mdp.states) // 2, len(self.mdp.actions) // 2
        moved = theta + np.eye(len(theta))[0] * (self.mdp.actions[a] + gap - self.features[s] @ theta)
        probability = self.probabilities(moved)[s]
        slope = 1 / np.diff(self.mdp.actions)[a]  # of the neighbours' probabilities in the mean
        return moved, float((slope / probability[probability > 0]).max())

    def _mean(self, theta: np.ndarray) -> np.ndarray:
        return np.clip(self.features @ theta, self.mdp.actions[0], self.mdp.actions[-1])


def without_assumption_3_failures(
    cases: Iterable[Case], constant: Constant = constants.return_lipschitz, score: float = 1e6
) -> dict[str, int]:
    """Policies with a score above `score` whose returns differ by more than the constant allows, margins positive."""
    outcomes = []
    for case in cases:
        policy, mdp = RoundedPolicy(case.mdp, case.policy.features), case.mdp.constants()
        theta, largest_score = policy.with_large_score(case.theta)
        of_policy = policy.constants(theta)
        if constants.contraction_margin(mdp, of_policy) <= 0:
            continue
        pair = Comparison(case.mdp, policy.probabilities(theta), policy.probabilities(case.other))
        bound = float(constant(mdp, of_policy)) * float(np.linalg.norm(theta - case.other))
        outcomes.append(largest_score >= score and pair.return_difference <= bound * (1 + 1e-9))
    return counted(outcomes)


class Symbols(NamedTuple):
    """The constants as non-negative symbols: gamma, L_P, L_R, L_{pi^theta} and L_pi(theta)."""

    discount: sp.Symbol
    transition: sp.Symbol
    reward: sp.Symbol
    state: sp.Symbol
    parameters: sp.Symbol


SYMBOLS = Symbols(*sp.symbols("gamma L_P L_R L_pi L_pi(theta)", nonnegative=True))
_MARGIN = 1 - SYMBOLS.discount * SYMBOLS.transition * (1 + SYMBOLS.state)
PRINTED = {
    "L_Q": SYMBOLS.reward / _MARGIN,
    "L_delta": SYMBOLS.discount * SYMBOLS.transition * SYMBOLS.parameters / _MARGIN,
    "L_zeta": SYMBOLS.parameters / _MARGIN,
    "L_J": SYMBOLS.reward * SYMBOLS.parameters / ((1 - SYMBOLS.discount) * _MARGIN),
}
"""The constants as Lemma 1, Lemma 3, Lemma 4 and Theorem 1 print them."""
COMPOSED = {
    "Lemma 3 in Lemma 2": SYMBOLS.parameters + (1 + SYMBOLS.state) * PRINTED["L_delta"],
    "Lemma 4 in Proposition 1": SYMBOLS.reward / (1 - SYMBOLS.discount) * PRINTED["L_zeta"],
    "L_J from L_Q, as printed": SYMBOLS.reward / (1 - SYMBOLS.discount) * PRINTED["L_Q"],
    "L_J from L_Q, corrected": SYMBOLS.parameters / (1 - SYMBOLS.discount) * PRINTED["L_Q"],
}
"""What the remarks after Lemma 4 and Theorem 1 put together."""

Constants = list[tuple[MDPConstants, PolicyConstants]]


def values(expression: sp.Expr, drawn: Constants) -> np.ndarray:
    """An expression in SYMBOLS at each of the constants: shape (n,)."""
    function = sp.lambdify(SYMBOLS, expression)
    return np.array(
        [function(m.discount, m.transition, m.reward, float(p.state), float(p.parameters)) for m, p in drawn]
    )


def composition_error(left: sp.Expr, right: sp.Expr, drawn: Constants) -> float:
    """Largest relative difference of two expressions in SYMBOLS."""
    first, second = values(left, drawn), values(right, drawn)
    return float((np.abs(first - second) / np.abs(second)).max())


def random_constants(count: int, *, seed: int, products: tuple[float, float] = POSITIVE_MARGIN) -> Constants:
    """Constants with gamma L_P (1 + L_{pi^theta}) drawn from `products`; above 1 the margin is negative."""
    generator = np.random.default_rng(seed)
    return [draw_constants(generator, products) for _ in range(count)]


def fixed_point_right_side(mdp: MDPConstants, policy: PolicyConstants, constant: float) -> float:
    """gamma L_P [L_pi(theta) + (1 + L_{pi^theta}) L_delta]."""
    return float(mdp.discount * mdp.transition * (policy.parameters + (1 + policy.state) * constant))


def fixed_point_failures(
    drawn: Constants,
    *,
    formula: Constant = constants.future_state_lipschitz,
    right_side: Callable[[MDPConstants, PolicyConstants, float], float] = fixed_point_right_side,
) -> dict[str, int]:
    """Constants for which the equation's solution is not the formula's, or is feasible where the formula is not.

    The right side is affine in L_delta, so two of its values give the solution.
    """
    failures = 0
    for mdp, policy in drawn:
        offset = right_side(mdp, policy, 0.0)
        rate = right_side(mdp, policy, 1.0) - offset
        solution = offset / (1 - rate) if rate != 1 else np.inf
        feasible = bool(np.isfinite(solution) and solution >= 0)
        try:
            stated = float(formula(mdp, policy))
        except NotAContraction:
            failures += feasible
        else:
            failures += not feasible or abs(solution - stated) > 1e-9 * abs(stated)
    return {"cases": len(drawn), "failures": int(failures)}


def transition_pairs(count: int, *, seed: int) -> list[tuple[MDPConstants, MDPConstants, PolicyConstants]]:
    """Constants that differ in L_P only, the smaller first; both margins are positive."""
    shrink = np.random.default_rng([seed, 1]).uniform(0.01, 0.99, size=count)
    drawn = random_constants(count, seed=seed)
    return [
        (MDPConstants(factor * mdp.transition, mdp.reward, mdp.reward_bound, mdp.discount), mdp, policy)
        for factor, (mdp, policy) in zip(shrink, drawn, strict=True)
    ]


def monotone_failures(
    pairs: Sequence[tuple[MDPConstants, MDPConstants, PolicyConstants]],
    *,
    formula: Constant = constants.future_state_lipschitz,
    denominator: Constant = constants.contraction_margin,
) -> dict[str, int]:
    """Pairs for which a smaller L_P does not lower L_delta and its numerator and raise its denominator."""
    failures = 0
    for small, large, policy in pairs:
        low, high = float(formula(small, policy)), float(formula(large, policy))
        low_denominator, high_denominator = float(denominator(small, policy)), float(denominator(large, policy))
        falls = low < high and low * low_denominator < high * high_denominator
        failures += not (falls and low_denominator > high_denominator)
    return {"cases": len(pairs), "failures": int(failures)}


def example_case() -> Case:
    """A case for pictures, with a start in one place and a policy that moves away from it; margin positive."""
    return case_from(np.full(CUBE_DIMENSION, 0.6))
