"""What notebook 10 measures of Assumptions 1 to 3: LQG with limits, and Gaussian policies over a box of states.

Ratios are of an observed variation to constant times distance; the search draws random pairs and climbs from the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import norm

from paperlib.lipschitz.constants import PolicyConstants
from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures
from paperlib.lipschitz.simulation.domains import C1, LQG, Domain, MassSpringDamper, ShipSteering

POLICIES = {
    "linear": GaussianPolicy(PolynomialFeatures([(0, 0), (1, 0), (0, 1)]), 0.5, (-1, -2), (1, 2), -3, 3),
    "polynomial": GaussianPolicy(PolynomialFeatures([(1, 0), (0, 1), (2, 0), (1, 1)]), 0.5, (-1, -2), (1, 2), -3, 3),
    "radial": GaussianPolicy(
        RadialFeatures([(2.5, 0), (1.25, 1), (0, 0)], [(10, 5), (3, 1), (10, 5)]),
        0.6,
        (-2, -2),
        (6, 2),
        -np.pi,
        np.pi,
    ),
}
THETA_SCALE = {"linear": 0.6, "polynomial": 0.4, "radial": 20.0}
"""Parameters that make mean actions of the size of the action limits."""
ACTIONS = ("unbounded", "clipped", "truncated")

Constant = Callable[[PolicyConstants], np.ndarray]
"""Which of a policy's constants is tested."""


def policy_distance(policy: GaussianPolicy, mean: np.ndarray, other: np.ndarray, actions: str) -> np.ndarray:
    """Kantorovich distance of the action distributions with two means, shapes (n,).

    unbounded: equal deviations, so the distance of the means. clipped: the area between the distribution functions
    inside the limits. truncated (renormalised inside the limits): ordered by the mean, so the distance of the averages.
    """
    if actions == "unbounded":
        return np.abs(mean - other)
    sigma, low, high = policy.standard_deviation, policy.action_low, policy.action_high
    if actions == "clipped":
        # The integral of the normal distribution function from below is z F(z) + f(z).
        def area(m):
            upper, lower = (high - m) / sigma, (low - m) / sigma
            return sigma * (upper * norm.cdf(upper) + norm.pdf(upper) - lower * norm.cdf(lower) - norm.pdf(lower))

        return np.abs(area(mean) - area(other))

    def average(m):
        upper, lower = (high - m) / sigma, (low - m) / sigma
        return m + sigma * (norm.pdf(lower) - norm.pdf(upper)) / (norm.cdf(upper) - norm.cdf(lower))

    return np.abs(average(mean) - average(other))


def _search(ratio: Callable, low: np.ndarray, high: np.ndarray, number: int) -> float:
    """The largest ratio over a box: random points, then rounds of smaller and smaller moves of the best ones."""
    generator = np.random.default_rng(0)
    points = generator.uniform(low, high, (number, len(low)))
    edges = generator.random(points.shape)
    points = np.where(edges < 0.1, low, np.where(edges > 0.9, high, points))
    values = ratio(points)
    for size in np.geomspace(0.3, 1e-4, 25):
        best = points[np.argsort(values)[-20:]]
        moves = size * (high - low) * generator.standard_normal((len(best), 30, len(low)))
        points = np.clip(np.concatenate([best, (best[:, None] + moves).reshape(-1, len(low))]), low, high)
        values = ratio(points)
    return float(values.max())


def _theta_box(name: str) -> tuple[np.ndarray, np.ndarray]:
    size = np.full(POLICIES[name].features.dimension, 2 * THETA_SCALE[name])
    return -size, size


def state_ratio(name: str, actions: str, constant: Constant, number: int) -> float:
    """Assumption 2.1: distance of policies in two states over L_pi times the states' distance."""
    policy = POLICIES[name]
    n = len(policy.state_low)
    theta = theta_of(name)
    bound = constant(policy.constants(theta))

    def ratio(points):
        means = [policy.features.value(points[:, i : i + n]) @ theta for i in (0, n)]
        distance = np.linalg.norm(points[:, :n] - points[:, n:], axis=1)
        return _over(policy_distance(policy, *means, actions), bound * distance)

    box = np.tile(policy.state_low, 2), np.tile(policy.state_high, 2)
    return _search(ratio, *box, number)


def parameter_ratio(name: str, actions: str, constant: Constant, number: int) -> float:
    """Assumption 2.2: distance of policies with two parameters over L_pi(theta) times the parameters' distance."""
    policy = POLICIES[name]
    n, (low, high) = len(policy.state_low), _theta_box(name)
    theta = low / 3
    bound = constant(policy.constants(theta))

    def ratio(points):
        phi, other = policy.features.value(points[:, :n]), points[:, n:]
        distance = np.linalg.norm(other - theta, axis=1)
        moved = policy_distance(policy, phi @ theta, (phi * other).sum(axis=1), actions)
        return _over(moved, bound * distance)

    box = np.concatenate([policy.state_low, low]), np.concatenate([policy.state_high, high])
    return _search(ratio, *box, number)


def plain_score(policy: GaussianPolicy, states: np.ndarray, actions: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Score components (n, d) of the unlimited normal policy: states (n, k), actions (n,), theta (d,) or (n, d)."""
    phi = policy.features.value(states)
    return (actions - (phi * theta).sum(axis=1))[:, None] * phi / policy.standard_deviation**2


def score_growth() -> float:
    """Growth of the plain score's largest component when actions range over 1000 instead of 10 deviations."""
    policy, generator = POLICIES["linear"], np.random.default_rng(0)
    states = generator.uniform(policy.state_low, policy.state_high, (4000, len(policy.state_low)))
    z, theta = generator.uniform(-1, 1, 4000), np.zeros(policy.features.dimension)
    far = [r * policy.standard_deviation * z for r in (10, 1000)]
    largest = [np.abs(plain_score(policy, states, actions, theta)).max() for actions in far]
    return float(largest[1] / largest[0])


# Assumption 3 for a score, given as a function of policy, states (n, k), actions (n,) and theta (d,) or (n, d)

Score = Callable[[GaussianPolicy, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def score_bound_ratio(name: str, score: Score, constant: Constant, number: int, scale: float = 1.0) -> float:
    """Assumption 3.1: score component over M^i, admissible actions. scale: of the parameters."""
    policy, n, theta = POLICIES[name], len(POLICIES[name].state_low), scale * theta_of(name)
    bound = constant(policy.constants(theta))

    def ratio(points):
        return (np.abs(score(policy, points[:, :n], points[:, n], theta)) / bound).max(axis=1)

    return _search(ratio, *_pair_box(policy), number)


def score_state_action_ratio(name: str, score: Score, constant: Constant, number: int, scale: float = 1.0) -> float:
    """Assumption 3.2: variation of the score over its constant times the taxicab distance of state and action.

    scale: of the parameters.
    """
    policy, n, theta = POLICIES[name], len(POLICIES[name].state_low), scale * theta_of(name)
    bound = constant(policy.constants(theta))

    def ratio(points):
        one, other = points[:, : n + 1], points[:, n + 1 :]
        moved = np.abs(score(policy, one[:, :n], one[:, n], theta) - score(policy, other[:, :n], other[:, n], theta))
        distance = np.linalg.norm(one[:, :n] - other[:, :n], axis=1) + np.abs(one[:, n] - other[:, n])
        return _over((moved / bound).max(axis=1), distance)

    low, high = _pair_box(policy)
    return _search(ratio, np.tile(low, 2), np.tile(high, 2), number)


def gradient_term_ratio(policy: GaussianPolicy, theta: np.ndarray, number: int) -> float:
    """Of sup max(high - mean, mean - low) |grad phi_i| / sigma^2 to L^i_{grad log pi^theta}, largest over i."""
    bound = policy.constants(theta).score_state_action * policy.standard_deviation**2

    def ratio(states):
        mean = policy.features.value(states) @ theta
        deviation = np.maximum(policy.action_high - mean, mean - policy.action_low)
        slopes = np.linalg.norm(policy.features.jacobian(states), axis=-1)
        return (deviation[:, None] * slopes / bound).max(axis=1)

    return _search(ratio, policy.state_low, policy.state_high, number)


def score_parameter_ratio(name: str, score: Score, constant: Constant, number: int) -> float:
    """Assumption 3.3: variation of the score over its constant times the distance of the parameters."""
    policy, n = POLICIES[name], len(POLICIES[name].state_low)
    low, high = _theta_box(name)
    theta = high / 4
    bound = constant(policy.constants(theta))

    def ratio(points):
        states, other = points[:, :n], points[:, n:]
        zero = np.zeros(len(points))  # the action cancels
        moved = np.abs(score(policy, states, zero, theta) - score(policy, states, zero, other))
        return _over((moved / bound).max(axis=1), np.linalg.norm(other - theta, axis=1))

    box = np.concatenate([policy.state_low, low]), np.concatenate([policy.state_high, high])
    return _search(ratio, *box, number)


DOMAINS: dict[str, tuple[Domain, list[float]]] = {
    **{f"LQG, sigma = {sigma}": (LQG(0.5, standard_deviation=sigma), [-0.1]) for sigma in (0.25, 0.5, 1.0)},
    "mass-spring-damper, c1": (MassSpringDamper(**C1), [0.2, -0.3, -0.2]),
    "ship, 0.01 km/s": (ShipSteering(0.01, 0.0), [30.0, 5.0, 15.0]),
}
"""The domains of Section 6, each with parameters as its runs have them."""


def sampled_scores(domain: Domain, theta: Sequence[float], draws: int) -> np.ndarray:
    """Largest |score component| / M^i of each of `draws` actions that the domain's own policy draws: shape (draws,).

    States are uniform in their box, each coordinate at one of its limits with probability 0.2.
    """
    generator = np.random.default_rng(0)
    low, high = np.array(domain.state_low), np.array(domain.state_high)
    states, edge = generator.uniform(low, high, (draws, len(low))), generator.random((draws, len(low)))
    states = np.where(edge < 0.1, low, np.where(edge > 0.9, high, states))
    phi = np.stack(domain.feature_values(tuple(states.T)), axis=-1)
    _, score = domain.act(phi @ np.array(theta), generator.standard_normal(draws))
    return (np.abs(score[:, None] * phi) / domain.policy().constants(theta).score_bound).max(axis=1)


def theta_of(name: str) -> np.ndarray:
    """Random parameters that make mean actions of the size of the action limits."""
    return THETA_SCALE[name] * np.random.default_rng(0).standard_normal(POLICIES[name].features.dimension)


def _pair_box(policy: GaussianPolicy) -> tuple[np.ndarray, np.ndarray]:
    return np.append(policy.state_low, policy.action_low), np.append(policy.state_high, policy.action_high)


def _over(moved: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The quotient; pairs that rounding would decide count 0."""
    far = distance > 1e-6
    return np.where(far, moved / np.where(far, distance, 1), 0.0)


def lqg_assumption1_ratio(a: float, b: float, limit: float, *, L_P: float, L_R: float, number: int) -> dict[str, float]:
    """Assumption 1 on LQG with |s|, |a| <= limit: next states (clipped) and rewards of two pairs over the constants."""

    def distance(points):
        return np.abs(points[:, 0] - points[:, 2]) + np.abs(points[:, 1] - points[:, 3])

    def transitions(points):
        following = [np.clip(a * (points[:, i] + points[:, i + 1]), -limit, limit) for i in (0, 2)]
        return _over(np.abs(following[0] - following[1]), L_P * distance(points))

    def rewards(points):
        of = [-b * (points[:, i] ** 2 + points[:, i + 1] ** 2) for i in (0, 2)]
        return _over(np.abs(of[0] - of[1]), L_R * distance(points))

    box = np.full(4, -limit), np.full(4, limit)
    measures = {"L_P": transitions, "L_R": rewards}
    return {name: _search(f, *box, number) for name, f in measures.items()}
