"""What notebook 13 measures of Lemma 8 and of ascent with single step sizes (Sections 5, 5.1 and 5.2).

Each measure takes the formula under test as an argument whose default is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.integrate import quad_vec
from scipy.optimize import minimize_scalar

from paperlib.lipschitz.step_sizes import StepSize, improvement_bound, sss_slc
from paperlib.notebooks.nb13_step_size_rules.smooth_returns import (
    NORMS,
    Oscillation,
    Quadratic,
    SmoothReturn,
    concave_returns,
    random_returns,
    random_thetas,
)
from paperlib.notebooks.shared.outcomes import count

Rule = Callable[[np.ndarray, np.ndarray], StepSize]


def cases(count: int, *, seed: int) -> Iterator[tuple[SmoothReturn, np.ndarray, np.ndarray]]:
    """Functions, points and steps of all lengths."""
    generator = np.random.default_rng(seed)
    returns = random_returns(count, seed=seed)
    for j, theta in zip(returns, random_thetas(returns, seed=seed + 1), strict=True):
        yield j, theta, generator.standard_normal(j.dimension) * 10 ** generator.uniform(-2, 0.7)


# Lemma 8


def bound_violations(number: int, *, bound=improvement_bound, seed: int = 0) -> dict[str, int]:
    """Improvements below Lemma 8's bound by more than 1e-9 relatively, p = 1, 2 and infinity."""

    def holds(j, theta, step, norm):
        improvement = j.value(theta + step) - j.value(theta)
        lower = bound(j.gradient(theta), j.constants(theta, norm), step, norm)
        return bool(improvement >= lower - 1e-9 * (1 + abs(lower)))

    return count(holds(*case, norm) for case in cases(number, seed=seed) for norm in NORMS)


def slack_of_bound(number: int, *, seed: int = 0) -> np.ndarray:
    """(improvement - bound) / |x| for p = 2 and each case, beside the length |x|: shape (number, 2)."""
    rows = []
    for j, theta, step in cases(number, seed=seed):
        improvement, length = j.value(theta + step) - j.value(theta), np.linalg.norm(step)
        bound = improvement_bound(j.gradient(theta), j.constants(theta), step)
        rows.append([length, (improvement - bound) / length])
    return np.array(rows)


def _chain_cases(number: int, seed: int):
    yield from cases(number, seed=seed)
    yield Oscillation(40.0), np.zeros(1), np.array([1.0])
    yield Quadratic(np.zeros(2), np.ones((2, 2))), np.zeros(2), np.ones(2)


def mean_value_chain_as_printed(number: int, *, seed: int = 0) -> dict[str, int]:
    """Cases that break |change of component| <= |x|_p average |row of the Hessian|_p <= |x|_p L_i(theta)."""

    def holds(j, theta, step, norm):
        change = np.abs(j.gradient(theta + step) - j.gradient(theta))
        rows = quad_vec(lambda t: np.linalg.norm(j.hessian(theta + t * step), ord=norm, axis=1), 0, 1, limit=400)[0]
        first = change <= np.linalg.norm(step, ord=norm) * rows + 1e-7
        return bool((first & (rows <= j.constants(theta, norm) + 1e-7)).all())

    return count(holds(*case, norm) for case in _chain_cases(number, seed) for norm in NORMS)


def _pointwise_constants(j, theta, norm):
    return j.constants(theta, norm)


def mean_value_chain_ends(number: int, *, constants=_pointwise_constants, seed: int = 0) -> dict[str, int]:
    """Cases that break |change of component i| <= L_i(theta) |x|_p."""

    def holds(j, theta, step, norm):
        change = np.abs(j.gradient(theta + step) - j.gradient(theta))
        return bool((change <= constants(j, theta, norm) * np.linalg.norm(step, ord=norm) + 1e-9).all())

    return count(holds(*case, norm) for case in _chain_cases(number, seed) for norm in NORMS)


def taylor_step_error(number: int, *, factor: float = 0.5, seed: int = 0) -> float:
    """Largest relative error of int |t x|_p dt = |x|_p / 2 and of J(theta + x) - J(theta) = int gradient(t)'x dt."""
    worst = 0.0
    for j, theta, step in cases(number, seed=seed):
        for norm in NORMS:
            integral = quad_vec(lambda t, s=step, p=norm: np.linalg.norm(t * s, ord=p), 0, 1)[0]
            worst = max(worst, abs(integral / (factor * np.linalg.norm(step, ord=norm)) - 1))
        along = quad_vec(lambda t, j=j, x=theta, s=step: j.gradient(x + t * s) @ s, 0, 1, epsrel=1e-12, limit=500)[0]
        change = j.value(theta + step) - j.value(theta)
        worst = max(worst, abs(along - change) / (np.abs(j.gradient(theta)) @ np.abs(step) + abs(change)))
    return worst


def values_against_bound(number: int, *, upper: bool, seed: int = 0) -> dict[str, int]:
    """Cases where the new value is above (`upper`) or below the display's last expression."""
    sign = 1 if upper else -1

    def holds(j, theta, step):
        last = j.value(theta) + improvement_bound(j.gradient(theta), j.constants(theta), step)
        return bool(sign * (last - j.value(theta + step)) >= -1e-9 * (1 + abs(last)))

    return count(holds(*case) for case in cases(number, seed=seed))


# Ascent with a single step size


def improvements_of_rule(number: int, *, rule: Rule = sss_slc, seed: int = 0) -> dict[str, int]:
    """Points with a gradient at which the rule, given the global constants, does not strictly improve."""

    def holds(j, theta):
        step = rule(j.gradient(theta), j.largest_constants())
        return bool(j.value(theta + step.update) > j.value(theta))

    points = ((j, theta) for j, theta, _ in cases(number, seed=seed))
    return count(holds(*point) for point in points if np.linalg.norm(point[0].gradient(point[1])) > 1e-6)


def guaranteed_and_realised(number: int, rule: Rule, *, seed: int = 0) -> np.ndarray:
    """What the rule guarantees with pointwise constants, and what its step gains, of each random function: (n, 2)."""
    pairs = []
    for j, theta, _ in cases(number, seed=seed):
        step = rule(j.gradient(theta), j.constants(theta))
        pairs.append([float(step.guaranteed_improvement), j.value(theta + step.update) - j.value(theta)])
    return np.array(pairs)


def pointwise_against_global(number: int, *, rule: Rule = sss_slc, seed: int = 0) -> dict[str, int]:
    """Points where the pointwise constant gives no improvement, or a step or guarantee below the global one's."""

    def holds(j, theta):
        gradient = j.gradient(theta)
        pointwise, everywhere = rule(gradient, j.constants(theta)), rule(gradient, j.largest_constants())
        larger = pointwise.step_sizes[0] >= everywhere.step_sizes[0] * (1 - 1e-12)
        safer = pointwise.guaranteed_improvement >= everywhere.guaranteed_improvement * (1 - 1e-12)
        return bool(larger and safer and j.value(theta + pointwise.update) > j.value(theta))

    return count(holds(j, theta) for j, theta, _ in cases(number, seed=seed))


def convex_functions_miss_the_maximum(number: int, *, iterations: int = 10_000, seed: int = 0) -> dict[str, int]:
    """Convex quadratics on the box [-1, 1]^d on which projected ascent with 1/L ends 1e-3 of the range too low."""
    generator = np.random.default_rng(seed)

    def holds(d):
        square = generator.standard_normal((d, d))
        j = Quadratic(generator.standard_normal(d), -(square @ square.T))
        corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * d), -1).reshape(-1, d)
        top = max(map(j.value, corners))
        theta, alpha = generator.uniform(-1, 1, d), 1 / np.linalg.norm(j.curvature, 2)
        for _ in range(iterations):
            new = np.clip(theta + alpha * j.gradient(theta), -1, 1)
            if np.array_equal(new, theta):
                break
            theta = new
        bottom = min(j.value(x) for x in generator.uniform(-1, 1, (200, d)))
        return bool(j.value(theta) >= top - 1e-3 * (top - bottom))

    return count(holds(int(generator.integers(2, 6))) for _ in range(number))


def concave_rate(number: int, *, iterations: int = 300, factor: float = 0.5, seed: int = 0) -> float:
    """Largest (J* - J_k) / (factor L |theta_0 - theta*|^2 / k) over concave functions, starts and iterations k."""
    worst = 0.0
    returns = concave_returns(number, seed=seed)
    for j, theta in zip(returns, random_thetas(returns, seed=seed + 1), strict=True):
        best = np.linalg.solve(j.curvature, j.linear)
        largest = np.linalg.norm(j.curvature, 2)
        scale = factor * largest * ((theta - best) ** 2).sum()
        for k in range(1, iterations + 1):
            theta = theta + j.gradient(theta) / largest
            worst = max(worst, (j.value(best) - j.value(theta)) / (scale / k))
    return float(worst)


def quadratic_bound_above_lemma8(number: int, *, norm: float = 2, seed: int = 0) -> dict[str, int]:
    """Random gradients, constants and steps for which Lemma 8's bound is below g'x - |L|_p |x|_2^2 / 2."""
    generator = np.random.default_rng(seed)

    def holds():
        d = int(generator.integers(1, 9))
        g, x, bound = generator.standard_normal(d), generator.standard_normal(d), generator.random(d)
        quadratic = g @ x - 0.5 * np.linalg.norm(bound, ord=norm) * (x @ x)
        return bool(improvement_bound(g, bound, x) >= quadratic - 1e-12 * (1 + abs(quadratic)))

    return count(holds() for _ in range(number))


def random_problem(generator: np.random.Generator, largest_dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A gradient with signs and constants, both spread over orders of magnitude: shapes (d,)."""
    d = int(generator.integers(1, largest_dimension + 1))
    spread = 10 ** generator.normal(0, 0.5, (2, d))
    return generator.standard_normal(d) * spread[0], generator.random(d) * spread[1] + 1e-3


def single_step_error(number: int, rule: Rule, bound: Callable, *, seed: int = 0) -> dict[str, float]:
    """Largest relative error of a rule's step size and guarantee against a numerical maximisation along the gradient.

    bound: (gradient, lipschitz, update) to the lower bound that the rule should maximise.
    """
    generator, worst = np.random.default_rng(seed), {"step": 0.0, "guarantee": 0.0}
    for _ in range(number):
        g, lipschitz = random_problem(generator)
        step = rule(g, lipschitz)
        scale = 1 / np.linalg.norm(lipschitz)
        found = minimize_scalar(
            lambda a, g=g, b=lipschitz, s=scale: -bound(g, b, a * s * g),
            bounds=(0, 1e3),
            method="bounded",
            options={"xatol": 1e-12},
        )
        alpha = _parabola_vertex(lambda a, g=g, b=lipschitz: bound(g, b, a * g), found.x * scale)
        worst["step"] = max(worst["step"], abs(step.step_sizes[0] / alpha - 1))
        worst["guarantee"] = max(
            worst["guarantee"], abs(step.guaranteed_improvement / bound(g, lipschitz, alpha * g) - 1)
        )
    return worst


def _parabola_vertex(f: Callable, near: float) -> float:
    """The maximiser of a parabola through three points around a rough one: rounding hides it from a plain search."""
    low, mid, high = 0.5 * near, near, 1.5 * near
    first, second = (f(mid) - f(low)) / (mid - low), (f(high) - f(mid)) / (high - mid)
    curvature = (second - first) / (high - low)
    return (low + mid) / 2 - first / (2 * curvature)


def quadratic_bound(gradient: np.ndarray, lipschitz: np.ndarray, update: np.ndarray) -> float:
    """Section 5.1: g'x - |L|_2 |x|_2^2 / 2."""
    return float(gradient @ update - 0.5 * np.linalg.norm(lipschitz) * (update @ update))


def ascent_ends(
    number: int, *, rule: Rule = sss_slc, iterations: int = 4000, at_saddles: bool = False, seed: int = 0
) -> dict[str, float]:
    """Where ascent by the rule with global constants ends, largest over random functions: final over initial gradient
    norm (gradient), and largest eigenvalue of the Hessian over the 2-norm of the constants (curvature).

    at_saddles: start quadratics where their gradient vanishes, mostly a saddle, from which nothing moves.
    """
    worst = {"gradient": 0.0, "curvature": 0.0}
    for j, theta, _ in cases(number, seed=seed):
        first = np.linalg.norm(j.gradient(theta))
        if isinstance(j, Quadratic) and not at_saddles:  # the random ones have no maximum
            j = Quadratic(j.linear, j.curvature @ j.curvature + 0.05 * np.eye(j.dimension))
            first = np.linalg.norm(j.gradient(theta))
        elif isinstance(j, Quadratic):
            theta = np.linalg.solve(j.curvature, j.linear)
        bound = j.largest_constants()
        for _ in range(iterations):
            if np.linalg.norm(j.gradient(theta)) < 1e-4 * first:
                break
            theta = theta + rule(j.gradient(theta), bound).update
        curvature = np.linalg.eigvalsh(j.hessian(theta))[-1] / np.linalg.norm(bound)
        worst["gradient"] = max(worst["gradient"], float(np.linalg.norm(j.gradient(theta)) / first))
        worst["curvature"] = max(worst["curvature"], float(curvature))
    return worst


# Steepest ascent


def steepest_direction(j: SmoothReturn, theta: np.ndarray, norm: float, length: float = 1e-5) -> np.ndarray:
    """The update (2,) of p-norm `length` that raises a function of two parameters most, of 7,200 directions."""
    angles = np.linspace(0, 2 * np.pi, 7200, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    updates = length * directions / np.linalg.norm(directions, ord=norm, axis=1, keepdims=True)
    return updates[np.argmax([j.value(theta + update) for update in updates])]


def steepest_against_gradient(number: int, *, direction=steepest_direction, seed: int = 0) -> dict[str, float]:
    """Smallest cosine between the gradient and the steepest update, functions of two parameters, by p."""
    smallest, drawn = {f"p = {norm}": 1.0 for norm in NORMS}, cases(30 * number, seed=seed)
    pairs = [(j, theta) for j, theta, _ in drawn if j.dimension == 2][:number]
    for j, theta in pairs:
        gradient = j.gradient(theta)
        for norm in NORMS:
            update = direction(j, theta, norm)
            cosine = (update @ gradient) / (np.linalg.norm(update) * np.linalg.norm(gradient))
            smallest[f"p = {norm}"] = min(smallest[f"p = {norm}"], float(cosine))
    return smallest
