"""What notebook 10 measures: the definitions of Section 2, the Kantorovich distance, Assumptions 1 to 3 and Lemma 1.

Each measure takes the formula under test as an argument whose default is the right one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.finite_mdp import (
    GridMDP,
    action_values,
    expected_return,
    future_state_distribution,
    joint_distribution,
    lipschitz_over_pairs,
    lipschitz_over_states,
    policy_gradient,
    state_transitions,
    state_values,
)
from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_on_line
from paperlib.notebooks.shared.grid_family import Case, case_from, random_points
from paperlib.notebooks.shared.outcomes import count


def family(number: int, *, seed: int = 0) -> list[Case]:
    """Random grid MDPs with policies."""
    return [case_from(point) for point in random_points(number, seed=seed)]


# The return, the future-state distribution, the Bellman equations


def return_forms(mdp: GridMDP, policy: np.ndarray) -> list[float]:
    """The three forms of the return (Section 2.1)."""
    delta, zeta = future_state_distribution(mdp, policy), joint_distribution(mdp, policy)
    by_states = delta @ (policy * mdp.rewards).sum(axis=1) / (1 - mdp.discount)
    return [expected_return(mdp, policy), by_states, (zeta * mdp.rewards).sum() / (1 - mdp.discount)]


def return_forms_difference(cases: list[Case], *, forms=return_forms) -> float:
    """Largest relative difference between two of the three forms."""
    worst = 0.0
    for case in cases:
        values = np.array(forms(case.mdp, case.policy.probabilities(case.theta)))
        worst = max(worst, np.ptp(values) / np.abs(values).max())
    return worst


def future_states_by_series(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """delta as it is defined, (1 - gamma) sum_t gamma^t Pr(s_t = .), summed until the tail is below 1e-13: (S,)."""
    kernel, total, now, weight = state_transitions(mdp, policy), 0.0, mdp.start, 1 - mdp.discount
    while weight > 1e-13 * (1 - mdp.discount):
        total, now, weight = total + weight * now, now @ kernel, weight * mdp.discount
    return total


def future_state_error(cases: list[Case], *, distribution=future_state_distribution) -> float:
    """Largest of: mass off 1, negative mass, difference between the series and the fixed point."""
    worst = 0.0
    for case in cases:
        policy = case.policy.probabilities(case.theta)
        delta = distribution(case.mdp, policy)
        series = future_states_by_series(case.mdp, policy)
        worst = max(worst, abs(delta.sum() - 1), -delta.min(), np.abs(delta - series).max())
    return worst


class UnlimitedLQG:
    """LQG without limits: s' = A (s + a), reward -B (s^2 + a^2), a ~ N(theta s, sigma^2): V = -(p s^2 + c), exact.

    p and c solve p = B (1 + theta^2) + gamma A^2 (1 + theta)^2 p and c = B sigma^2 + gamma (A^2 sigma^2 p + c).
    """

    def __init__(self, a: float, theta: float, sigma: float, discount: float, b: float = 0.5):
        self.a, self.b, self.theta, self.sigma, self.discount = a, b, theta, sigma, discount
        growth = discount * a**2 * (1 + theta) ** 2
        if growth >= 1:
            raise ValueError(f"the return diverges: gamma A^2 (1 + theta)^2 = {growth:.3g}")
        self.p = b * (1 + theta**2) / (1 - growth)
        self.c = sigma**2 * (b + discount * a**2 * self.p) / (1 - discount)

    def state_value(self, s):
        """V(s)."""
        return -(self.p * s**2 + self.c)

    def action_value(self, s, a):
        """Q(s, a)."""
        return -self.b * (s**2 + a**2) + self.discount * self.state_value(self.a * (s + a))

    def expected_return(self, mean_square: float) -> float:
        """J for a start with E[s^2] = mean_square."""
        return -(self.p * mean_square + self.c)

    def gradient(self, mean_square: float) -> float:
        """dJ / dtheta, by differentiating p and c."""
        growth_slope = 2 * self.discount * self.a**2 * (1 + self.theta)
        remaining = 1 - growth_slope * (1 + self.theta) / 2
        p_slope = (2 * self.b * self.theta + growth_slope * self.p) / remaining
        c_slope = self.sigma**2 * self.discount * self.a**2 * p_slope / (1 - self.discount)
        return -(p_slope * mean_square + c_slope)


def lqg_problems(number: int, *, seed: int = 0) -> list[UnlimitedLQG]:
    """Random stable LQG problems."""
    generator = np.random.default_rng(seed)
    return [
        UnlimitedLQG(
            generator.uniform(0.1, 0.95),
            generator.uniform(-1.5, 0),
            generator.uniform(0.1, 1),
            generator.uniform(0, 0.95),
        )
        for _ in range(number)
    ]


def bellman_error(problems: list[UnlimitedLQG], *, nodes: int = 20) -> float:
    """Largest difference between LQG's values and the right sides of the Bellman equations, by Gauss-Hermite."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights, s, worst = weights / weights.sum(), np.linspace(-2, 2, 9)[:, None], 0.0
    for lqg in problems:
        actions = lqg.theta * s + lqg.sigma * points
        reward = -lqg.b * (s**2 + actions**2)
        right_v = (reward + lqg.discount * lqg.state_value(lqg.a * (s + actions))) @ weights
        next_s = lqg.a * (s + 0.7)
        next_q = lqg.action_value(next_s, lqg.theta * next_s + lqg.sigma * points) @ weights
        right_q = -lqg.b * (s[:, 0] ** 2 + 0.49) + lqg.discount * next_q
        left_v, left_q = lqg.state_value(s[:, 0]), lqg.action_value(s[:, 0], 0.7)
        scale = np.abs(left_q).max()
        worst = max(worst, np.abs(left_v - right_v).max() / scale, np.abs(left_q - right_q).max() / scale)
    return worst


def _has_deterministic_optimum(mdp: GridMDP) -> bool:
    """All deterministic policies enumerated: one of them is best in every state, and no random one beats it."""
    shape = len(mdp.states), len(mdp.actions)
    values = np.array(
        [
            state_values(mdp, np.eye(shape[1])[list(choice)])
            for choice in itertools.product(*[range(shape[1])] * shape[0])
        ]
    )
    best = values.max(axis=0)
    generator = np.random.default_rng(0)
    others = [state_values(mdp, generator.dirichlet(np.ones(shape[1]), shape[0])) for _ in range(20)]
    return bool((values >= best - 1e-10).all(axis=1).any() and (np.array(others) <= best + 1e-10).all())


def small_mdps(number: int, *, seed: int = 0) -> list[GridMDP]:
    """Random MDPs of three states and three actions."""
    generator = np.random.default_rng(seed)
    return [
        GridMDP(
            np.arange(3.0),
            np.arange(3.0),
            generator.dirichlet(np.ones(3), (3, 3)),
            generator.standard_normal((3, 3)),
            np.ones(3) / 3,
            generator.uniform(0, 0.95),
        )
        for _ in range(number)
    ]


def one_state_has_optimum(*, closed: bool) -> bool:
    """One state, reward a: is any action of (0, 1), or of [0, 1] if `closed`, as good as every other?

    Every candidate is compared with one half-way between it and 1, which is in the set unless the candidate is 1.
    """
    candidates = 1 - 2.0 ** -np.arange(1, 50)
    if closed:
        candidates = np.append(candidates, 1.0)
    better = (candidates + 1) / 2
    return bool((better <= candidates).any())


def deterministic_optimum(number: int, *, closed: bool) -> dict[str, int]:
    """MDPs without a deterministic policy that is best in all states at once."""
    return count([one_state_has_optimum(closed=closed), *map(_has_deterministic_optimum, small_mdps(number))])


# Lipschitz constants and the Kantorovich distance


def pointwise_constants(number: int, *, pointwise=np.max, seed: int = 0) -> dict[str, int]:
    """Functions on random finite metric spaces whose largest pointwise constant is not the largest ratio."""
    generator, outcomes = np.random.default_rng(seed), []
    for _ in range(number):
        points, values = generator.standard_normal((12, 2)), generator.standard_normal(12)
        distance = np.abs(points[:, None] - points).sum(axis=2) + np.eye(12)
        ratios = np.abs(values[:, None] - values) / distance
        at_points = np.array([pointwise(row) for row in ratios])
        outcomes.append(abs(at_points.max() - ratios.max()) <= 1e-12)
    return count(outcomes)


def kantorovich_by_duality(points: np.ndarray, p: np.ndarray, other: np.ndarray, q: np.ndarray) -> float:
    """Equation (2) as a linear programme over the values of f on both supports, taxicab distance."""
    support, mass = np.concatenate([points, other]), np.concatenate([p, -q])
    distance = np.abs(support[:, None] - support).sum(axis=2)
    i, j = np.nonzero(~np.eye(len(support), dtype=bool))
    rows = np.zeros((len(i), len(support)))
    rows[np.arange(len(i)), i], rows[np.arange(len(i)), j] = 1.0, -1.0
    bounds = [(0, 0)] + [(None, None)] * (len(support) - 1)  # f is determined up to a constant
    return -linprog(-mass, A_ub=rows, b_ub=distance[i, j], bounds=bounds).fun


def kantorovich_difference(number: int, *, transport=kantorovich, seed: int = 0) -> float:
    """Largest relative difference between duality, optimal transport and, on the line, the area."""
    generator, worst = np.random.default_rng(seed), 0.0
    for index in range(number):
        dimension = 1 + index % 2
        points, other = generator.standard_normal((2, 8, dimension))
        p, q = generator.dirichlet(np.ones(8), 2)
        found = [kantorovich_by_duality(points, p, other, q), transport(points, p, other, q)]
        if dimension == 1:
            line, order = np.concatenate([points, other])[:, 0], np.argsort(np.concatenate([points, other])[:, 0])
            masses = (np.concatenate([p, 0 * q])[order], np.concatenate([0 * p, q])[order])
            found.append(float(kantorovich_on_line(line[order], *masses)))
        worst = max(worst, np.ptp(found) / max(found))
    return worst


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Half the absolute mass difference, over the last axis."""
    return 0.5 * np.abs(p - q).sum(axis=-1)


def kantorovich_ratio_grows(kernel: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether the Kantorovich ratio of a kernel, given by its range, keeps growing as the range does.

    kernel: width to (states (S,), transitions (S, S)).
    """
    ratios = []
    for width in (1.0, 10.0, 100.0, 1000.0):
        states, transitions = kernel(width)
        between = kantorovich_on_line(states, transitions[1:], transitions[:-1])
        ratios.append((between / np.diff(states)).max())
    return ratios[-1] > 20 * ratios[1] and ratios[-1] > 1


def mass_over_the_whole_range(width: float) -> tuple[np.ndarray, np.ndarray]:
    """From state s in [0, 1] move mass s to the range's far end: Lipschitz with constant 1 under total variation."""
    s = np.linspace(0, 1, 11)
    states = np.append(s, 1.0 + width)
    transitions = np.zeros((12, 12))
    transitions[:, 0], transitions[:, -1] = 1 - np.minimum(states, 1), np.minimum(states, 1)
    return states, transitions


def mass_to_the_neighbourhood(seed: int) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
    """Mixtures of fixed distributions near the origin, with weights that are Lipschitz in the state."""
    mixtures = np.random.default_rng(seed).dirichlet(np.ones(11), 2)

    def kernel(width: float) -> tuple[np.ndarray, np.ndarray]:
        states = np.append(np.linspace(0, 1, 11), 1.0 + width)
        weight = np.minimum(states, 1)[:, None]
        near = (1 - weight) * mixtures[0] + weight * mixtures[1]
        return states, np.concatenate([near, np.zeros((12, 1))], axis=1)

    return kernel


def weaker_than_total_variation(number: int) -> dict[str, int]:
    """Models Lipschitz under total variation whose Kantorovich ratio grows with the range without bound."""
    kernels = [mass_over_the_whole_range, *map(mass_to_the_neighbourhood, range(number))]
    return count(not kantorovich_ratio_grows(kernel) for kernel in kernels)


def diameter_bound_failures(number: int, *, factor: float = 1.0, seed: int = 0) -> dict[str, int]:
    """Random pairs on a bounded space whose Kantorovich distance exceeds diameter times total variation."""
    generator, outcomes = np.random.default_rng(seed), []
    for _ in range(number):
        points = np.sort(generator.standard_normal(9))
        p, q = generator.dirichlet(0.3 * np.ones(9), 2)
        if generator.random() < 0.2:  # the extremal pair: point masses at the two ends
            p, q = np.eye(9)[0], np.eye(9)[-1]
        bound = factor * np.ptp(points) * total_variation(p, q)
        outcomes.append(kantorovich_on_line(points, p, q) <= bound + 1e-9)
    return count(outcomes)


DETERMINISTIC_MAPS: dict[str, tuple[Callable, float]] = {
    "contraction": (lambda s: 0.5 * s, 0.5),
    "identity": (lambda s: s, 1.0),
    "sine": (np.sin, 1.0),
    "fold": (np.abs, 1.0),
    "parabola": (lambda s: s**2, 2.0),
    "steep": (lambda s: np.tanh(5 * s), 5.0),
}
"""Maps of [-1, 1] to itself with their Lipschitz constants."""


def deterministic_ratios(maps=None, *, distance: float = 1e-6) -> dict[str, dict[str, float]]:
    """Of each map, at pairs of states `distance` apart: the largest ratio under both metrics.

    The Kantorovich distance of point masses is the distance of the points, their total variation 1 unless they are one.
    """
    s, found = np.linspace(-0.9, 0.9, 181) + 1e-3, {}
    for name, (f, _) in (maps or DETERMINISTIC_MAPS).items():
        moved = np.abs(f(s + distance) - f(s))
        found[name] = {"kantorovich": moved.max() / distance, "total variation": (moved > 0).max() / distance}
    return found


def smallest_total_variation_ratio(maps=None) -> float:
    """Smallest total-variation ratio of the maps; 0 for one whose Kantorovich ratio exceeds its constant."""
    maps = maps or DETERMINISTIC_MAPS
    ratios = deterministic_ratios(maps)
    kept = {name: ratios[name]["kantorovich"] <= bound * (1 + 1e-6) for name, (_, bound) in maps.items()}
    return min(ratios[name]["total variation"] * kept[name] for name in maps)


def never_under_total_variation() -> dict[str, int]:
    """Deterministic models, with a constant map and a finite space, whose total-variation ratio stays bounded."""
    unbounded = [row["total variation"] >= 1e5 for row in deterministic_ratios().values()]
    constant = deterministic_ratios({"constant": (lambda s: 0.0 * s, 0.0)})["constant"]["total variation"] >= 1e5
    isolated_points = 1.0 / 1.0 >= 1e5  # states 0 and 1, s' = s: a total variation of 1 over a distance of 1
    return count([*unbounded, constant, isolated_points])


def unbounded_on_an_interval(maps=None) -> dict[str, int]:
    """Non-constant continuous maps of an interval whose total-variation ratio at 1e-6 stays below 1e5."""
    return count(row["total variation"] >= 1e5 for row in deterministic_ratios(maps).values())


# Lemma 1


def q_ratio(case: Case, *, bound=chain.action_value_lipschitz) -> float:
    """Variation of Q over L_Q times the taxicab distance, the exact worst over all pairs."""
    values = action_values(case.mdp, case.policy.probabilities(case.theta))
    return float(lipschitz_over_pairs(case.mdp.states, case.mdp.actions, values) / bound(*case.constants()))


def v_ratio(case: Case, *, bound=chain.state_value_lipschitz) -> float:
    """Variation of V over L_V times the distance of states, the exact worst over all pairs."""
    values = state_values(case.mdp, case.policy.probabilities(case.theta))
    return float(lipschitz_over_states(case.mdp.states, values) / bound(*case.constants()))


def lqg_ratios(number: int, *, margin=chain.contraction_margin, seed: int = 0) -> dict[str, float]:
    """The same on LQG without limits, over the states and actions that |s|, |a| <= 2 allow, worst case by derivative.

    Only problems whose values are those of the limited one count: A (|s| + |a|) <= 2 keeps the states in their box, and
    actions beyond 2 are as rare as sigma <= 0.2 and |theta| <= 0.4 make them.
    """
    generator, worst = np.random.default_rng(seed), {"q": 0.0, "v": 0.0}
    for _ in range(number):
        lqg = UnlimitedLQG(generator.uniform(0.05, 0.5), generator.uniform(-0.4, 0), 0.2, generator.uniform(0, 0.95))
        mdp = chain.MDPConstants(lqg.a, 2 * lqg.b * 2, lqg.b * 8, lqg.discount)
        policy = chain.PolicyConstants(abs(lqg.theta), 2, [1.0], [1.0], [1.0])
        if margin(mdp, policy) <= 0:
            continue
        bound = mdp.reward / margin(mdp, policy)
        over_state = 2 * lqg.b * 2 + 2 * lqg.discount * lqg.p * lqg.a**2 * 4  # |dQ/ds| at s = a = 2; in a the same
        worst["q"] = max(worst["q"], float(over_state / bound))
        worst["v"] = max(worst["v"], float(2 * lqg.p * 2 / (bound * (1 + abs(lqg.theta)))))
    return worst


# The gradient theorem, and which constants depend on the parameters


def gradient_error(cases: list[Case], *, gradient=policy_gradient) -> float:
    """Largest relative difference between (3) and the derivative of the exact return, by complex-free central steps."""
    worst = 0.0
    for case in cases:
        formula = gradient(case.mdp, case.policy, case.theta)
        worst = max(worst, np.abs(formula - differentiated_return(case)).max() / max(np.abs(formula).max(), 1e-3))
    return worst


def differentiated_return(case: Case, step: float = 2e-3) -> np.ndarray:
    """Sixth-order central differences of the exact return at theta: shape (d,)."""
    weights = {1: 45.0, 2: -9.0, 3: 1.0}

    def at(shift):
        return expected_return(case.mdp, case.policy.probabilities(case.theta + shift))

    axes = step * np.eye(len(case.theta))
    return np.array([sum(w * (at(k * e) - at(-k * e)) for k, w in weights.items()) / (60 * step) for e in axes])


def lqg_gradient_error(problems: list[UnlimitedLQG], *, nodes: int = 30, horizon: int = 2500) -> float:
    """The same on LQG: the sum over time of score times Q, by quadrature, against the derivative of p and c."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights, mean_square, worst = weights / weights.sum(), 4 / 3, 0.0
    for lqg in problems:
        # E_a[score Q] is proportional to s^2: score = (a - theta s) s / sigma^2, and Q is quadratic.
        score = points / lqg.sigma
        factor = (score * lqg.action_value(1.0, lqg.theta + lqg.sigma * points)) @ weights
        second_moment, total = mean_square, 0.0
        for t in range(horizon):
            total += lqg.discount**t * second_moment
            second_moment = lqg.a**2 * ((1 + lqg.theta) ** 2 * second_moment + lqg.sigma**2)
        exact = lqg.gradient(mean_square)
        worst = max(worst, abs(factor * total - exact) / abs(exact))
    return worst


def parameter_dependence(cases: list[Case], *, value_constants=None) -> dict[str, int]:
    """Pairs of parameters with different L_pi where L_P or L_R changes, or L_Q or L_V does not."""
    value_constants = value_constants or (chain.action_value_lipschitz, chain.state_value_lipschitz)

    def holds(case):
        before, after = case.mdp.constants(), case.mdp.constants()
        one, other = case.policy.constants(case.theta), case.policy.constants(case.other)
        if chain.contraction_margin(before, other) <= 0 or one.state == other.state:
            return None
        moved = all(f(before, one) != f(after, other) for f in value_constants)
        return moved and before == after

    return count(outcome for outcome in map(holds, cases) if outcome is not None)
