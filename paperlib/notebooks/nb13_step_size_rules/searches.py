"""The searches behind notebook 13: maxima found without the formulas under test, and cases made for one statement."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import minimize_scalar

from paperlib.lipschitz.constants import PolicyConstants
from paperlib.lipschitz.step_sizes import improvement_bound, sss_slc
from paperlib.notebooks.nb13_step_size_rules import algorithm1
from paperlib.notebooks.nb13_step_size_rules.problems import Candidate, random_problem
from paperlib.notebooks.nb13_step_size_rules.smooth_returns import SmoothReturn
from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.random_constants import draw_constants

Bound = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def best_alpha(bound: Bound, g: np.ndarray, lipschitz: np.ndarray) -> float:
    """The alpha at which bound(g, L, alpha g) is largest, found without a formula; the bound is a parabola in alpha."""
    scale = 1 / np.linalg.norm(lipschitz)
    found = minimize_scalar(
        lambda a: -bound(g, lipschitz, a * scale * g), bounds=(0, 1e3), method="bounded", options={"xatol": 1e-12}
    )
    return _parabola_vertex(lambda a: bound(g, lipschitz, a * g), found.x * scale)


def _parabola_vertex(f: Callable, near: float) -> float:
    """The maximiser of a parabola through three points around a rough one: rounding hides it from a plain search."""
    low, mid, high = 0.5 * near, near, 1.5 * near
    first, second = (f(mid) - f(low)) / (mid - low), (f(high) - f(mid)) / (high - mid)
    curvature = (second - first) / (high - low)
    return (low + mid) / 2 - first / (2 * curvature)


def vertex(one: float, two: float) -> float:
    """The maximiser of a parabola that is zero at 0, from its values at 1 and 2."""
    slope, curvature = 2 * one - two / 2, two / 2 - one
    return -slope / (2 * curvature)


def best_length(g: np.ndarray, lipschitz: np.ndarray, u: np.ndarray) -> float:
    """The length at which Lemma 8's bound is largest in the direction u (d,), a unit vector, found by a search."""
    rough = minimize_scalar(
        lambda r: -improvement_bound(g, lipschitz, np.exp(r) * u), bounds=(-30, 30), method="bounded"
    )
    # Half of the parabola's other zero, which no rounding hides, is its vertex.
    length = np.exp(rough.x)
    first = improvement_bound(g, lipschitz, length * u)
    return float(length * (g @ u) / (2 * ((g @ u) - first / length)))


def steepest_direction(j: SmoothReturn, theta: np.ndarray, norm: float, length: float = 1e-5) -> np.ndarray:
    """The update (2,) of p-norm `length` that raises a function of two parameters most, of 7,200 directions."""
    angles = np.linspace(0, 2 * np.pi, 7200, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    updates = length * directions / np.linalg.norm(directions, ord=norm, axis=1, keepdims=True)
    return updates[np.argmax([j.value(theta + update) for update in updates])]


def smaller_constants_failures(number: int, constant: Callable) -> dict[str, int]:
    """Cases where lowering one constant of MDP or policy raises a component's constant, or lowers SSS-SLC's step or
    guarantee. constant: of MDP's and policy's constants, the components' ones (d,).
    """
    generator, outcomes = np.random.default_rng(0), []
    mdp_names, policy_names = ("transition", "reward", "reward_bound"), tuple(PolicyConstants.__dataclass_fields__)
    for index in range(number):
        mdp, policy = draw_constants(generator)
        g = generator.standard_normal(policy.score_bound.shape)
        name, share = (*mdp_names, *policy_names)[index % 8], generator.random()
        if name in mdp_names:
            lowered = dataclasses.replace(mdp, **{name: share * getattr(mdp, name)}), policy
        else:
            lowered = mdp, dataclasses.replace(policy, **{name: share * getattr(policy, name)})
        before, after = constant(mdp, policy), constant(*lowered)
        step, new = sss_slc(g, before), sss_slc(g, after)
        larger = new.step_sizes[0] >= step.step_sizes[0] and new.guaranteed_improvement >= step.guaranteed_improvement
        outcomes.append(bool((after <= before * (1 + 1e-12)).all() and larger))
    return count(outcomes)


def positive_optima(
    number: int, optimum: Callable[[np.ndarray, np.ndarray], Candidate]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """|g|, L and optimum of problems whose optimum has no step size of zero."""
    made, index = 0, 0
    while made < number:
        generator = np.random.default_rng([0, index])
        index += 1
        d = int(generator.integers(2, 6))
        lipschitz = generator.uniform(0.5, 1.5, d)
        g = lipschitz * generator.uniform(0.75, 1.25, d)  # nearly parallel, so that no step size vanishes
        x = optimum(g, lipschitz).size
        if (x > 1e-9 * x.max()).all():
            made += 1
            yield g, lipschitz, x


def vanishes_first(g: np.ndarray, lipschitz: np.ndarray) -> int:
    """The component of the update turned in the plane of g and L that reaches zero at the smallest psi.

    Found by walking psi on a fine grid, without the ratio.
    """
    for psi in np.linspace(0, math.pi / 2, 4001)[1:]:
        direction = algorithm1.turned(g, lipschitz, psi)
        if (direction <= 0).any():
            return int(np.argmin(direction))
    raise AssertionError("a component vanishes before a right angle")


def with_a_smallest_ratio(number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """|g| and L of several parameters, the two smallest |g_i| / L_i more than 1 % apart."""
    made, index = 0, 0
    while made < number:
        g, lipschitz = random_problem(np.random.default_rng([0, index]))
        index, g = index + 1, np.abs(g)
        ratios = np.sort(g / lipschitz)
        if len(g) >= 2 and ratios[1] > 1.01 * ratios[0]:
            made += 1
            yield g, lipschitz


def above_the_threshold(number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """|g| and L of three parameters with phi above arctan(1/sqrt 8) and all |g_i| / L_i more than 1 % apart."""
    made, index = 0, 0
    while made < number:
        generator = np.random.default_rng([0, index])
        index += 1
        g, lipschitz = generator.random(3) + 0.05, generator.random(3) + 0.05
        ratios = np.sort(g / lipschitz)
        if algorithm1.angle(g, lipschitz) > algorithm1.THRESHOLD and (ratios[1:] >= 1.01 * ratios[:-1]).all():
            made += 1
            yield g, lipschitz


def turning_path(generator: np.random.Generator, points: int, *, to_axis: bool) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (points, d) turning away from constants L, in one plane, until the orthant or an axis ends it.

    L is repeated for each: shape (points, d).
    """
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
    g = start + share * (end / np.linalg.norm(end) - start)
    return g, np.broadcast_to(lipschitz, g.shape)


def first_zero(updates: np.ndarray) -> int:
    """How many updates (n, d) of a path come before the first with a component of zero; one at least."""
    positive = (updates > 0).all(axis=1)
    return len(updates) if positive.all() else max(1, int(np.argmin(positive)))
