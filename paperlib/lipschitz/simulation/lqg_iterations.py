"""How many iterations a step-size rule needs on LQG (Table 2): with the exact gradient and with GPOMDP.

LQG has one parameter, so the step size of every rule is a function of theta alone (the size of the gradient cancels);
tabulated once, it lets the whole ascent run compiled, which millions of steps of 1e-5 need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev

from paperlib.lipschitz.gradient_estimates import BASELINES
from paperlib.lipschitz.simulation.ascent import Problem, take_step
from paperlib.lipschitz.simulation.compiled_rollouts import kernel, one_gradient
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG

LOW, HIGH = -1.0, 0.5
"""The parameters that the tables cover."""

_POINTS = 3001
_NODES = 80  # of the interpolated gradient
_CHUNK = 10_000  # iterations between two looks at the clock

_compile = njit(error_model="numpy", nogil=True)


@dataclass(frozen=True, eq=False)
class StepTable:
    """Of one rule on one LQG, at evenly spaced parameters from LOW to HIGH: step size (n,), zero where the rule has
    none, exact gradient (n,), contraction margin (n,); and the optimal parameter.
    """

    step_sizes: np.ndarray
    gradients: np.ndarray
    margins: np.ndarray
    optimum: float

    @property
    def parameters(self) -> np.ndarray:
        """Shape (n,)."""
        return np.linspace(LOW, HIGH, _POINTS)

    def between(self, start: float) -> np.ndarray:
        """Which parameters lie on the way from a start to the optimum: shape (n,)."""
        low, high = sorted((start, self.optimum))
        return (self.parameters >= low) & (self.parameters <= high)


def problem_of(domain: LQG) -> Problem:
    """The domain with its exact gradient and derived constants."""
    return Problem(ExactLQG(domain), domain.constants(), domain.policy())


def tabulate(domain: LQG, rule: str) -> StepTable:
    """The table of a rule; the gradient by Chebyshev interpolation, exact to 1e-6 of its size."""
    problem, theta = problem_of(domain), np.linspace(LOW, HIGH, _POINTS)[:, None]
    nodes, middle, half = chebyshev.chebpts2(_NODES), (LOW + HIGH) / 2, (HIGH - LOW) / 2
    gradients = problem.returns.estimate(middle + half * nodes[:, None]).gradient[:, 0]
    coefficients = chebyshev.chebfit(nodes, gradients, _NODES - 1)
    gradient = chebyshev.chebval((theta[:, 0] - middle) / half, coefficients)
    step = take_step(problem, rule, theta, np.ones_like(theta))
    return StepTable(step.step_size, gradient, step.margin, problem.returns.optimum(LOW, HIGH))


@_compile
def _at(table, theta):
    """The table at theta, linear between its points; zero outside."""
    position = (theta - LOW) / (HIGH - LOW) * (table.size - 1)
    if not 0 <= position < table.size - 1:
        return 0.0
    i = int(position)
    return table[i] + (position - i) * (table[i + 1] - table[i])


@_compile
def _exact(update, theta, optimum, tolerance, limit):
    for k in range(limit + 1):
        if abs(theta - optimum) <= tolerance:
            return k
        theta += _at(update, theta)
    return -1


def exact_iterations(table: StepTable, start: float, tolerance: float = 0.01, limit: int = 100_000_000) -> int:
    """Updates with the exact gradient until theta is within the tolerance of the optimum; -1 if `limit` are too few."""
    return _exact(table.step_sizes * table.gradients, start, table.optimum, tolerance, limit)


@_compile
def _estimated(
    advance, parameters, policy, table, generator, step_sizes, theta, optimum, tolerance, noise, settings, limit
):
    """Some iterations of one run: the parameter, how many were made, and whether it is on target."""
    start_limit, discount, baseline = settings
    steps, episodes = noise.shape
    here, gradient, x, y = np.empty(1), np.empty(1), np.empty(episodes), np.zeros(episodes)
    for k in range(limit):
        if abs(theta - optimum) <= tolerance:
            return theta, k, True
        for e in range(episodes):
            x[e] = start_limit * (2 * generator.random() - 1)
        for t in range(steps):
            for e in range(episodes):
                noise[t, e] = generator.standard_normal()
        here[0] = theta
        one_gradient(advance, here, noise, x, y, discount, baseline, parameters, policy, table, gradient)
        theta += _at(step_sizes, theta) * gradient[0]
    return theta, limit, False


def horizon(discount: float, share: float = 0.01) -> int:
    """Steps beyond which a share of the discounted weight lies."""
    return max(1, math.ceil(math.log(share) / math.log(discount))) if discount > 0 else 1


def estimated_iterations(
    domain: LQG,
    table: StepTable,
    start: float,
    *,
    episodes: int,
    seed: tuple[int, ...],
    tolerance: float = 0.01,
    limit: int = 100_000_000,
    baseline: str = "leave_one_out",
    progress: Callable[[int], None] = lambda iterations: None,
) -> int:
    """Updates of one run by GPOMDP until theta is within the tolerance of the optimum; -1 if `limit` are too few.

    Each estimate is of `episodes` new episodes of `horizon(discount)` steps; baseline: one of `gpomdp.BASELINES`.
    """
    generator = np.random.Generator(np.random.SFC64(list(seed)))
    noise = np.empty((horizon(domain.discount), episodes))
    settings = (domain.limit, domain.discount, BASELINES.index(baseline))
    theta, done = start, 0
    while done < limit:
        count = min(_CHUNK, limit - done)
        theta, made, on_target = _estimated(
            *kernel(domain), generator, table.step_sizes, theta, table.optimum, tolerance, noise, settings, count
        )
        done += made
        progress(done)
        if on_target:
            return done
    return done if abs(theta - table.optimum) <= tolerance else -1
