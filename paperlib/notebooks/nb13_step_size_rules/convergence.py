"""Where ascent with a single step size ends, and how fast (Sections 1 and 5.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paperlib.notebooks.nb13_step_size_rules.smooth_returns import (
    Quadratic,
    cases,
    concave_returns,
    random_thetas,
)
from paperlib.notebooks.shared.outcomes import count


def ascent_ends(
    number: int, update: Callable, *, iterations: int = 20_000, at_saddles: bool = False
) -> dict[str, float]:
    """Where ascent with global constants ends, largest over random functions: final over initial gradient norm
    (gradient), and largest eigenvalue of the Hessian over the 2-norm of the constants (curvature).

    update: of gradient and constants (d,). at_saddles: start quadratics where their gradient vanishes, mostly a saddle.
    """
    worst = {"gradient": 0.0, "curvature": 0.0}
    for j, theta, _ in cases(number):
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
            theta = theta + update(j.gradient(theta), bound)
        curvature = np.linalg.eigvalsh(j.hessian(theta))[-1] / np.linalg.norm(bound)
        worst["gradient"] = max(worst["gradient"], float(np.linalg.norm(j.gradient(theta)) / first))
        worst["curvature"] = max(worst["curvature"], float(curvature))
    return worst


def convex_functions_miss_the_maximum(number: int, *, iterations: int = 10_000) -> dict[str, int]:
    """Convex quadratics on the box [-1, 1]^d on which projected ascent with 1/L ends 1e-3 of the range too low."""
    generator = np.random.default_rng(0)

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


def concave_rate(number: int, *, iterations: int = 300) -> float:
    """Largest k (J* - J_k) / (L |theta_0 - theta*|^2) over concave functions, starts and iterations k, steps 1/L."""
    worst = 0.0
    returns = concave_returns(number, seed=0)
    for j, theta in zip(returns, random_thetas(returns, seed=1), strict=True):
        best = np.linalg.solve(j.curvature, j.linear)
        largest = np.linalg.norm(j.curvature, 2)
        scale = largest * ((theta - best) ** 2).sum()
        for k in range(1, iterations + 1):
            theta = theta + j.gradient(theta) / largest
            worst = max(worst, k * (j.value(best) - j.value(theta)) / scale)
    return float(worst)
