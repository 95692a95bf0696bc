"""What of notebook 10 is longer than a cell: random LQGs, optimal policies, and other routes to distances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from paperlib.lipschitz.finite_mdp import GridMDP, state_values
from paperlib.lipschitz.kantorovich import kantorovich_on_line
from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.unlimited_lqg import UnlimitedLQG

# LQG, and optimal policies


def lqg_problems(number: int) -> list[UnlimitedLQG]:
    """Random stable LQG problems."""
    generator = np.random.default_rng(0)
    return [
        UnlimitedLQG(
            generator.uniform(0.1, 0.95),
            generator.uniform(-1.5, 0),
            generator.uniform(0.1, 1),
            generator.uniform(0, 0.95),
        )
        for _ in range(number)
    ]


def bellman_error(problems: list[UnlimitedLQG]) -> float:
    """Largest difference between LQG's values and the right sides of the Bellman equations, by Gauss-Hermite."""
    points, weights = np.polynomial.hermite_e.hermegauss(20)
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


def small_mdps(number: int) -> list[GridMDP]:
    """Random MDPs of three states and three actions."""
    generator = np.random.default_rng(0)
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


# Distances between distributions


def kantorovich_by_duality(points: np.ndarray, p: np.ndarray, other: np.ndarray, q: np.ndarray) -> float:
    """Equation (2) as a linear programme over the values of f on both supports, taxicab distance."""
    support, mass = np.concatenate([points, other]), np.concatenate([p, -q])
    distance = np.abs(support[:, None] - support).sum(axis=2)
    i, j = np.nonzero(~np.eye(len(support), dtype=bool))
    rows = np.zeros((len(i), len(support)))
    rows[np.arange(len(i)), i], rows[np.arange(len(i)), j] = 1.0, -1.0
    bounds = [(0, 0)] + [(None, None)] * (len(support) - 1)  # f is determined up to a constant
    return -linprog(-mass, A_ub=rows, b_ub=distance[i, j], bounds=bounds).fun


def kantorovich_difference(transport: Callable[..., float], number: int) -> float:
    """Largest relative difference of duality, transport(points, p, other points, q) and, on the line, the area."""
    generator, worst = np.random.default_rng(0), 0.0
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


def distributions_on_bounded_spaces(number: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Random points (9,) of the line and two distributions there (9,); a fifth are point masses at the two ends."""
    generator = np.random.default_rng(0)
    for _ in range(number):
        points = np.sort(generator.standard_normal(9))
        p, q = generator.dirichlet(0.3 * np.ones(9), 2)
        if generator.random() < 0.2:
            p, q = np.eye(9)[0], np.eye(9)[-1]
        yield points, p, q


Maps = Mapping[str, tuple[Callable, float]]
MAPS: Maps = {
    "contraction": (lambda s: 0.5 * s, 0.5),
    "identity": (lambda s: s, 1.0),
    "sine": (np.sin, 1.0),
    "fold": (np.abs, 1.0),
    "parabola": (lambda s: s**2, 2.0),
    "steep": (lambda s: np.tanh(5 * s), 5.0),
}
"""Maps of [-1, 1] to itself with their Lipschitz constants."""


def deterministic_ratios(maps: Maps, distance: float = 1e-6) -> dict[str, dict[str, float]]:
    """Of each map, at pairs of states `distance` apart: the largest ratio under both metrics.

    The Kantorovich distance of point masses is the distance of the points, their total variation 1 unless they are one.
    """
    s, found = np.linspace(-0.9, 0.9, 181) + 1e-3, {}
    for name, (f, _) in maps.items():
        moved = np.abs(f(s + distance) - f(s))
        found[name] = {"kantorovich": moved.max() / distance, "total variation": (moved > 0).max() / distance}
    return found


def smallest_total_variation_ratio(maps: Maps) -> float:
    """Smallest total-variation ratio of the maps; 0 for one whose Kantorovich ratio exceeds its constant."""
    ratios = deterministic_ratios(maps)
    kept = {name: ratios[name]["kantorovich"] <= bound * (1 + 1e-6) for name, (_, bound) in maps.items()}
    return min(ratios[name]["total variation"] * kept[name] for name in maps)


def never_under_total_variation(
    maps: Iterable[tuple[Callable, float]], isolated_points: bool = False
) -> dict[str, int]:
    """Deterministic models, failing those whose total-variation ratio at distance 1e-6 stays below 1e5.

    isolated_points: count the identity on the states 0 and 1 too, a total variation of 1 over a distance of 1.
    """
    ratios = [row["total variation"] for row in deterministic_ratios(dict(enumerate(maps))).values()]
    return count(ratio >= 1e5 for ratio in ratios + [1.0] * isolated_points)


# Lemma 1 and the gradient theorem on LQG


def lqg_ratios(number: int) -> pd.DataFrame:
    """Lemma 1 on LQG without limits, a row per random problem: `product` gamma L_P (1 + L_pi), and the ratios `Q` and
    `V` of the steepest slope, by derivative, to the constant over the states and actions that |s|, |a| <= 2 allow.

    Only problems whose values are those of the limited one count: A (|s| + |a|) <= 2 keeps the states in their box, and
    actions beyond 2 are as rare as sigma <= 0.2 and |theta| <= 0.4 make them.
    """
    generator, rows = np.random.default_rng(0), []
    for _ in range(number):
        lqg = UnlimitedLQG(generator.uniform(0.05, 0.5), generator.uniform(-0.4, 0), 0.2, generator.uniform(0, 0.95))
        product = lqg.discount * lqg.a * (1 + abs(lqg.theta))
        bound = 2 * lqg.b * 2 / (1 - product)
        over_state = 2 * lqg.b * 2 + 2 * lqg.discount * lqg.p * lqg.a**2 * 4  # |dQ/ds| at s = a = 2; in a the same
        over_v = 2 * lqg.p * 2 / (1 + abs(lqg.theta))
        rows.append({"product": product, "Q": over_state / bound, "V": over_v / bound})
    return pd.DataFrame(rows)


def lqg_gradient_error(problems: list[UnlimitedLQG]) -> float:
    """Equation (3) on LQG: the sum over time of score times Q, by quadrature, against the derivative of p and c."""
    points, weights = np.polynomial.hermite_e.hermegauss(30)
    weights, mean_square, worst = weights / weights.sum(), 4 / 3, 0.0
    for lqg in problems:
        # E_a[score Q] is proportional to s^2: score = (a - theta s) s / sigma^2, and Q is quadratic.
        score = points / lqg.sigma
        factor = (score * lqg.action_value(1.0, lqg.theta + lqg.sigma * points)) @ weights
        second_moment, total = mean_square, 0.0
        for t in range(2500):
            total += lqg.discount**t * second_moment
            second_moment = lqg.a**2 * ((1 + lqg.theta) ** 2 * second_moment + lqg.sigma**2)
        exact = lqg.gradient(mean_square)
        worst = max(worst, abs(factor * total - exact) / abs(exact))
    return worst
