"""What notebook 13 measures of MSS-MLC and AGSS (Section 5.3, equations 22 and 23).

`Rule` arguments are the rule or formula under test, the right one by default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from paperlib.lipschitz.constants import PolicyConstants, gradient_lipschitz
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.step_sizes import StepSize, agss, improvement_bound, mss_mlc, sss_mlc, sss_slc
from paperlib.notebooks.nb13_step_size_rules import algorithm1
from paperlib.notebooks.nb13_step_size_rules.lemma8 import cases, random_problem
from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.random_constants import draw_constants

Rule = Callable[[np.ndarray, np.ndarray], StepSize]
Guarantee = Callable[[np.ndarray, np.ndarray], float]


def guarantee_of(rule: Rule) -> Guarantee:
    """A rule's guarantee, recomputed from its update by Lemma 8."""
    return lambda g, lipschitz: float(improvement_bound(g, lipschitz, rule(g, lipschitz).update))


def problems(number: int, *, seed: int = 0, largest_dimension: int = 8, smallest_dimension: int = 1):
    """Random gradients and constants, many of them sparse, parallel or tied."""
    generator, made = np.random.default_rng(seed), []
    while len(made) < number:
        g, lipschitz = random_problem(generator, largest_dimension)
        kind = len(made) % 5
        if kind == 1:
            lipschitz = np.abs(g) * generator.random() + 1e-9  # parallel
        elif kind == 2:
            g = np.where(generator.random(len(g)) < 0.5, 0.0, g)  # sparse
        elif kind == 3:
            lipschitz = lipschitz * 0 + lipschitz[0]  # ties in the constants
        if len(g) >= smallest_dimension and (g != 0).any():
            made.append((g, lipschitz))
    return made


@cache
def best_guarantees(number: int, *, seed: int = 0) -> np.ndarray:
    """The best guarantees of the first problems, by brute force: shape (number,)."""
    return np.array([algorithm1.brute_force(g, b).guarantee for g, b in problems(number, seed=seed)])


def shortfalls(guarantee: Guarantee, number: int, *, seed: int = 0) -> np.ndarray:
    """The share of the best guarantee that is missed in each problem: shape (number,)."""
    found = np.array([guarantee(g, b) for g, b in problems(number, seed=seed)])
    return 1 - found / best_guarantees(number, seed=seed)


def local_solver_guarantee(gradient: np.ndarray, lipschitz: np.ndarray) -> float:
    """SciPy's SLSQP on the bound, from the step of SSS-MLC, over non-negative step sizes."""
    g = np.abs(gradient)
    start = sss_mlc(g, lipschitz).update
    scale = improvement_bound(g, lipschitz, start)

    def negative(x):
        size = np.maximum(np.linalg.norm(x), 1e-300)
        value = -(g @ x - 0.5 * size * (lipschitz @ x))
        return value / scale, -(g - 0.5 * (x / size * (lipschitz @ x) + size * lipschitz)) / scale

    found = minimize(negative, start, jac=True, bounds=[(0, None)] * len(g), method="SLSQP", options={"maxiter": 500})
    return -float(found.fun) * scale


def no_worse_than(better: Guarantee, other: Guarantee, number: int, *, seed: int = 0) -> dict[str, int]:
    """Problems where the first guarantee is below the second."""
    return count(
        better(g, lipschitz) >= other(g, lipschitz) * (1 - 1e-9) for g, lipschitz in problems(number, seed=seed)
    )


def several_step_sizes_bound(gradient: np.ndarray, lipschitz: np.ndarray, alpha: np.ndarray) -> float:
    """Equation (22), p = 2: g'A g - |A g| L'A|g| / 2 with A = diag(alpha)."""
    moved = alpha * gradient
    return float(gradient @ moved - 0.5 * np.linalg.norm(moved) * (lipschitz @ (alpha * np.abs(gradient))))


def several_step_sizes_violations(number: int, *, bound=several_step_sizes_bound, seed: int = 0) -> dict[str, int]:
    """Functions and step sizes where the improvement is below (22), or (22) is not Lemma 8's bound."""
    generator = np.random.default_rng(seed)

    def holds(j, theta):
        gradient, alpha = j.gradient(theta), generator.exponential(size=j.dimension)
        lower, update = bound(gradient, j.constants(theta), alpha), alpha * gradient
        same = abs(lower - improvement_bound(gradient, j.constants(theta), update)) <= 1e-12 * (1 + abs(lower))
        return bool(same and j.value(theta + update) - j.value(theta) >= lower - 1e-9 * (1 + abs(lower)))

    return count(holds(j, theta) for j, theta, _ in cases(number, seed=seed))


# Concavity of (22), in x = A|g|


def midpoint_failures(number: int, *, norm: float = 2, bound=improvement_bound, seed: int = 0) -> dict[str, int]:
    """Pairs of updates whose midpoint lies below the chord; the first pair is around the first axis, L2 = 2 L1."""
    generator = np.random.default_rng(seed)

    def above_chord(g, lipschitz, x, y):
        ends = bound(g, lipschitz, x, norm) + bound(g, lipschitz, y, norm)
        return bool(bound(g, lipschitz, (x + y) / 2, norm) >= ends / 2 - 1e-9 * (1 + abs(ends)))

    def pair():
        g, lipschitz = random_problem(generator)
        x, y = generator.exponential(size=(2, len(g)))
        return above_chord(np.abs(g), lipschitz, x, y)

    axis = above_chord(np.ones(2), np.array([1.0, 2.0]), np.array([1.0, 0.0]), np.array([1.0, 0.2]))
    return count([axis, *(pair() for _ in range(number))])


def hessian_of_bound(lipschitz: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Second derivatives of -|x| L'x / 2 over x (d,) in the positive orthant: shape (d, d)."""
    length = np.linalg.norm(x)
    unit = x / length
    outer = np.outer(unit, lipschitz)
    return -0.5 * (outer + outer.T + (lipschitz @ unit) * (np.eye(len(x)) - np.outer(unit, unit)))


def concave_where(number: int, *, largest_angle: float = math.atan(math.sqrt(2)), seed: int = 0) -> dict[str, int]:
    """Points where "the Hessian is negative semidefinite" and "the angle to L is at most arctan sqrt 2" disagree,

    or where the bound is not concave along the ray.
    """
    generator, outcomes = np.random.default_rng(seed), []
    while len(outcomes) < number:
        _, lipschitz = random_problem(generator)
        x = generator.exponential(size=len(lipschitz)) ** 3
        if len(x) < 2 or abs(gap := algorithm1.angle(x, lipschitz) - largest_angle) < 1e-6:
            continue
        hessian = hessian_of_bound(lipschitz, x)
        concave = np.linalg.eigvalsh(hessian)[-1] <= 1e-9 * np.abs(hessian).max()
        outcomes.append(bool(concave == (gap < 0) and x @ hessian @ x < 0))
    return count(outcomes)


# Geometry


def angles_error(number: int, *, factor: float = 0.5, seed: int = 0) -> float:
    """Largest relative difference between the bound and |g||x| cos - factor |L| |x|^2 cos, x >= 0."""
    generator, worst = np.random.default_rng(seed), 0.0
    for g, lipschitz in problems(number, seed=seed):
        g, x = np.abs(g), generator.exponential(size=len(g))
        length = np.linalg.norm(x)
        first = np.linalg.norm(g) * length * math.cos(algorithm1.angle(g, x))
        second = factor * np.linalg.norm(lipschitz) * length**2 * math.cos(algorithm1.angle(lipschitz, x))
        worst = max(worst, abs(first - second - improvement_bound(g, lipschitz, x)) / (first + second))
    return worst


def optimal_length_error(number: int, *, best_along=algorithm1.best_along, seed: int = 0) -> float:
    """Largest relative error of the best length and guarantee along random directions against a numerical maximum."""
    generator, worst = np.random.default_rng(seed), 0.0
    for g, lipschitz in problems(number, seed=seed):
        g, u = np.abs(g), generator.exponential(size=len(g))
        found = best_along(u, g, lipschitz)
        u = u / np.linalg.norm(u)
        slope = minimize_scalar(
            lambda r, g=g, b=lipschitz, u=u: -improvement_bound(g, b, np.exp(r) * u), bounds=(-30, 30), method="bounded"
        )
        # Half of the parabola's other zero, which no rounding hides, is its vertex.
        length = np.exp(slope.x)
        first = improvement_bound(g, lipschitz, length * u)
        vertex = length * (g @ u) / (2 * ((g @ u) - first / length))
        best = improvement_bound(g, lipschitz, vertex * u)
        worst = max(worst, abs(np.linalg.norm(found.size) / vertex - 1), abs(found.guarantee / best - 1))
    return worst


def out_of_plane(number: int, *, optimum=algorithm1.brute_force, seed: int = 0) -> dict[str, int]:
    """Problems whose positive optimum is over 1e-4 rad out of the plane of |g| and L, or nearer to L than to |g|."""
    outcomes, index = [], 0
    while len(outcomes) < number:
        generator = np.random.default_rng([seed, index])
        index += 1
        d = int(generator.integers(2, 6))
        lipschitz = generator.uniform(0.5, 1.5, d)
        g = lipschitz * generator.uniform(0.75, 1.25, d)  # nearly parallel, so that no step size vanishes
        x = optimum(g, lipschitz).size
        if (x <= 1e-9 * x.max()).any():
            continue
        plane = np.linalg.qr(np.stack([g, lipschitz], axis=1))[0]
        outside = np.linalg.norm(x - plane @ (plane.T @ x)) / np.linalg.norm(x)
        outcomes.append(bool(outside <= 1e-4 and algorithm1.angle(x, g) <= algorithm1.angle(x, lipschitz)))
    return count(outcomes)


def stationary_angle_error(number: int, *, formula=algorithm1.stationary_angle) -> float:
    """Largest distance in rad between a formula for psi and the numerical local maximum, phi below arctan(1/sqrt 8)."""
    phis = np.linspace(0.005, algorithm1.THRESHOLD - 1e-4, number)
    return max(abs(formula(phi) - algorithm1.local_maximum(phi)) for phi in phis)


def shape_failures(low: float, high: float, expected: str, number: int) -> dict[str, int]:
    """Angles phi strictly inside (low, high) whose bound does not rise and fall in psi as expected."""
    return count(algorithm1.rises_and_falls(phi) == expected for phi in np.linspace(low, high, number + 2)[1:-1])


def smallest_ratio(g: np.ndarray, lipschitz: np.ndarray) -> int:
    """The parameter with the smallest |g_i| / L_i."""
    return int(np.argmin(g / lipschitz))


def vanishes_first(g: np.ndarray, lipschitz: np.ndarray) -> int:
    """The component of the update turned in the plane of g and L that reaches zero at the smallest psi.

    Found by walking psi on a fine grid, without the ratio.
    """
    for psi in np.linspace(0, math.pi / 2, 4001)[1:]:
        direction = algorithm1.turned(g, lipschitz, psi)
        if (direction <= 0).any():
            return int(np.argmin(direction))
    raise AssertionError("a component vanishes before a right angle")


def first_to_vanish_failures(number: int, *, expected=smallest_ratio, seed: int = 0) -> dict[str, int]:
    """Problems where another component than expected vanishes first; ratios within 1 % of each other are left out."""
    outcomes, index = [], 0
    while len(outcomes) < number:
        g, lipschitz = random_problem(np.random.default_rng([seed, index]))
        index, g = index + 1, np.abs(g)
        ratios = np.sort(g / lipschitz)
        if len(g) >= 2 and ratios[1] > 1.01 * ratios[0]:
            outcomes.append(vanishes_first(g, lipschitz) == expected(g, lipschitz))
    return count(outcomes)


def figure1_failures(number: int, *, seed: int = 0) -> dict[str, int]:
    """Problems of three parameters above the threshold where following the plane does not end on the coordinate plane

    of the smallest ratio, or ends with a smaller guarantee than at the gradient.
    """
    outcomes, index = [], 0
    while len(outcomes) < number:
        generator = np.random.default_rng([seed, index])
        index += 1
        g, lipschitz = generator.random(3) + 0.05, generator.random(3) + 0.05
        ratios = np.sort(g / lipschitz)
        if algorithm1.angle(g, lipschitz) <= algorithm1.THRESHOLD or (ratios[1:] < 1.01 * ratios[:-1]).any():
            continue
        end = vanishes_first(g, lipschitz)
        boundary = g - g[end] / lipschitz[end] * lipschitz
        rises = algorithm1.best_along(np.maximum(boundary, 0), g, lipschitz).guarantee
        starts = algorithm1.best_along(g, g, lipschitz).guarantee
        outcomes.append(bool(end == smallest_ratio(g, lipschitz) and rises > starts))
    return count(outcomes)


# Step sizes and their use


def printed_ratio(update: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Step sizes as printed: the update over the gradient's absolute values."""
    return update / np.abs(gradient)


def corrected_ratio(update: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Step sizes: the update over the gradient."""
    return update / gradient


def step_size_failures(number: int, ratio: Callable, *, returns_update: bool, seed: int = 0) -> dict[str, int]:
    """Problems with a negative step size by the ratio, or (`returns_update`) step sizes that do not give the update."""
    generator, outcomes = np.random.default_rng(seed), []
    for _ in range(number):
        g, lipschitz = random_problem(generator)
        step = mss_mlc(g, lipschitz)
        alpha = ratio(step.update, g)
        same = np.allclose(alpha * g, step.update, rtol=1e-12, atol=0) and np.allclose(
            alpha, step.step_sizes, rtol=1e-9
        )
        outcomes.append(bool((alpha >= 0).all() and (same or not returns_update)))
    return count(outcomes)


def random_step_sizes_lose(number: int, *, seed: int = 0) -> dict[str, int]:
    """Random sparse non-negative step sizes that guarantee, at their best length, under 1 % of SSS-SLC."""
    generator, outcomes = np.random.default_rng(seed), []
    for g, lipschitz in problems(number, seed=seed):
        alpha = generator.exponential(size=len(g)) * (generator.random(len(g)) < 0.5)
        alpha[generator.integers(len(g))] += 1.0
        x = alpha * np.abs(g)
        guarantee = algorithm1.best_along(x, np.abs(g), lipschitz).guarantee if x.any() else 0.0
        outcomes.append(bool(guarantee >= 0.01 * sss_slc(g, lipschitz).guaranteed_improvement))
    return count(outcomes)


def advantage(g: np.ndarray, lipschitz: np.ndarray, rule: Rule = mss_mlc) -> np.ndarray:
    """A rule's guarantee over SSS-MLC's, batched: (..., d) to (...)."""
    return rule(g, lipschitz).guaranteed_improvement / sss_mlc(g, lipschitz).guaranteed_improvement


def turning_path(generator: np.random.Generator, points: int, *, to_axis: bool) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (points, d) turning away from constants L (d,) in one plane, until the orthant or an axis ends it."""
    d = int(generator.integers(2, 6))
    lipschitz = generator.random(d) + 0.2
    end = np.eye(d)[int(generator.integers(d))] if to_axis else np.zeros(d)
    if not to_axis:
        away = generator.standard_normal(d)
        away -= lipschitz * (away @ lipschitz) / (lipschitz @ lipschitz)
        reach = np.min(np.where(away < 0, -lipschitz / np.where(away < 0, away, -1), np.inf))
        end = np.maximum(lipschitz + reach * away, 0)
    share = np.linspace(0, 1, points)[:, None]
    start = lipschitz / np.linalg.norm(lipschitz)
    return start + share * (end / np.linalg.norm(end) - start), lipschitz


def advantage_falls(number: int, *, cut: bool, rule: Rule = mss_mlc, seed: int = 0) -> dict[str, int]:
    """Turning paths along which the advantage falls somewhere; `cut`: up to where a step size first vanishes."""
    generator, outcomes = np.random.default_rng(seed), []
    for index in range(number):
        g, lipschitz = turning_path(generator, 400, to_axis=index % 2 == 0)
        ratio = advantage(g, np.broadcast_to(lipschitz, g.shape), rule)
        if cut:
            positive = (mss_mlc(g, np.broadcast_to(lipschitz, g.shape)).update > 0).all(axis=1)
            ratio = ratio[: len(g) if positive.all() else max(1, int(np.argmin(positive)))]
        outcomes.append(bool((np.diff(ratio) >= -1e-9 * ratio[:-1]).all()))
    return count(outcomes)


def gain_left_along_gradient(number: int, *, direction=np.abs, seed: int = 0) -> float:
    """Largest share of MSS-MLC's guarantee beyond SSS-MLC's that is left in the gradient's direction, at the best
    length there. direction: of |g| what is taken for that of the update.
    """
    shares = [0.0]
    for g, lipschitz in problems(number, seed=seed):
        several, single = guarantee_of(mss_mlc)(g, lipschitz), guarantee_of(sss_mlc)(g, lipschitz)
        if several > single * (1 + 1e-6):
            left = algorithm1.best_along(direction(g), np.abs(g), lipschitz).guarantee - single
            shares.append(left / (several - single))
    return float(max(shares))


def parallel_difference(number: int, *, rule: Rule = mss_mlc, seed: int = 0) -> float:
    """Largest relative difference between the updates of a rule and SSS-MLC where L is proportional to |g|."""
    generator, worst = np.random.default_rng(seed), 0.0
    for _ in range(number):
        g, _ = random_problem(generator)
        lipschitz = np.abs(g) * generator.exponential()
        one, other = rule(g, lipschitz).update, sss_mlc(g, lipschitz).update
        worst = max(worst, np.linalg.norm(one - other) / np.linalg.norm(other))
    return float(worst)


# AGSS


def agss_bound(alpha, g, *, discount, standard_deviation, action_volume, reward_bound, feature_bound) -> float:
    """The second-order lower bound that (23) maximises: the simplified bound of Pirotta et al. (2013)."""
    slope, square = (g**2).sum(), np.abs(g).sum() ** 2
    spread = action_volume / (math.sqrt(2 * math.pi) * standard_deviation) + discount / (2 * (1 - discount))
    weight = reward_bound * feature_bound**2 * square / ((1 - discount) ** 2 * standard_deviation**2)
    return alpha * slope - alpha**2 * weight * spread


def agss_error(number: int, *, rule=agss, seed: int = 0) -> dict[str, float]:
    """Largest relative error of (23), and of its guarantee, against the numerical maximum of the bound."""
    generator, worst = np.random.default_rng(seed), {"step": 0.0, "guarantee": 0.0}
    for _ in range(number):
        g, _ = random_problem(generator)
        names = ("standard_deviation", "action_volume", "reward_bound", "feature_bound")
        constants = dict(zip(names, generator.uniform(0.2, 5, 4), strict=True)) | {
            "discount": generator.uniform(0, 0.99)
        }
        step = rule(g, **constants)
        bound = [agss_bound(a, g, **constants) for a in (0.0, 1.0, 2.0)]
        slope, curvature = 2 * bound[1] - bound[2] / 2, bound[2] / 2 - bound[1]
        best = -slope / (2 * curvature)
        worst["step"] = max(worst["step"], abs(step.step_sizes[0] / best - 1))
        largest = agss_bound(best, g, **constants)
        worst["guarantee"] = max(worst["guarantee"], abs(step.guaranteed_improvement / largest - 1))
    return worst


def exponent_of_feature_bound(rule=agss, largest: float = 10.0) -> float:
    """Slope of the logarithm of the AGSS step on that of M_phi, from 1 to `largest`."""
    others = {"discount": 0.9, "standard_deviation": 0.5, "action_volume": 4.0, "reward_bound": 4.0}
    steps = [rule(np.array([1.0, -0.5]), feature_bound=m, **others).step_sizes[0] for m in (1.0, largest)]
    return float(np.log(steps[1] / steps[0]) / np.log(largest))


# The constants behind the step size


def growth_towards_the_edge(*, formula=gradient_lipschitz) -> float:
    """Growth of Theorem 3's constant on LQG from where the margin is a tenth of that at theta = 0 to where it is a
    millionth, gamma = 0.9, sigma = 0.5: smallest over A.
    """
    growths = []
    for a in (0.1, 0.3, 0.5):
        domain = LQG(a, discount=0.9, standard_deviation=0.5)
        product = domain.discount * a
        constants = []
        for share in (0.1, 1e-6):
            theta = -(1 - product) * (1 - share) / product  # where the margin is this share of 1 - gamma L_P
            constants.append(float(formula(domain.constants(), domain.policy().constants([theta]))[0]))
        growths.append(constants[1] / constants[0])
    return float(min(growths))


def smaller_constants_failures(number: int, *, formula=gradient_lipschitz, seed: int = 0) -> dict[str, int]:
    """Cases where lowering one constant of MDP or policy raises a component constant, or lowers SSS-SLC's step."""
    generator, outcomes = np.random.default_rng(seed), []
    mdp_names, policy_names = ("transition", "reward", "reward_bound"), tuple(PolicyConstants.__dataclass_fields__)
    for index in range(number):
        mdp, policy = draw_constants(generator)
        g = generator.standard_normal(policy.score_bound.shape)
        name, share = (*mdp_names, *policy_names)[index % 8], generator.random()
        if name in mdp_names:
            lowered = dataclasses.replace(mdp, **{name: share * getattr(mdp, name)}), policy
        else:
            lowered = mdp, dataclasses.replace(policy, **{name: share * getattr(policy, name)})
        before, after = formula(mdp, policy), formula(*lowered)
        step, new = sss_slc(g, before), sss_slc(g, after)
        larger = new.step_sizes[0] >= step.step_sizes[0] and new.guaranteed_improvement >= step.guaranteed_improvement
        outcomes.append(bool((after <= before * (1 + 1e-12)).all() and larger))
    return count(outcomes)
