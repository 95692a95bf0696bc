"""What notebook 14 measures of the step-size rules on LQG with the exact gradient (Section 6.1, Table 2, Section 7).

Ascents, searches and the grid; the formulas and their checks stand in the notebook.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache

import numpy as np
import pandas as pd

from paperlib.lipschitz.policies import PolynomialFeatures
from paperlib.lipschitz.simulation.ascent import Ascent, Problem, take_step
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.lqg_iterations import StepTable, exact_iterations, problem_of, tabulate
from paperlib.notebooks.shared.outcomes import count

A = (0.1, 0.2, 0.3, 0.4, 0.5)
GAMMA = (0.8, 0.9, 0.95)
SIGMA = (0.25, 0.5, 1.0)
START = -0.5

Cell = tuple[float, float, float]
Grid = list[Cell]
GRID: Grid = list(itertools.product(A, GAMMA, SIGMA))
"""A, gamma, sigma."""


def domain_of(cell: Cell, truncated: bool = True) -> LQG:
    """The LQG of a cell; see `Domain` for the two readings of its policy."""
    a, discount, deviation = cell
    return LQG(a, discount=discount, standard_deviation=deviation, truncated=truncated)


@cache
def table_of(cell: Cell, rule: str, truncated: bool = True) -> StepTable:
    """`tabulate`, once for each cell, rule and reading of the policy."""
    return tabulate(domain_of(cell, truncated), rule)


def at_start(table: StepTable) -> int:
    """The index of the start among the parameters of a table."""
    return int(np.argmin(np.abs(table.parameters - START)))


def lower_neighbours(position: int, values: tuple[float, ...], grid: Grid) -> list[tuple[Cell, Cell]]:
    """Pairs of cells that differ in one place only, by neighbouring values: the lower one first."""
    pairs = []
    for cell in grid:
        k = values.index(cell[position])
        if k > 0:
            pairs.append(((*cell[:position], values[k - 1], *cell[position + 1 :]), cell))
    return pairs


class _ScaledState(PolynomialFeatures):
    """One feature, a multiple of the state."""

    def __init__(self, scale: float):
        super().__init__([(1,)])
        self.scale = scale

    def factors(self, states: np.ndarray, order: int) -> np.ndarray:
        return self.scale * super().factors(states, order)

    def factor_suprema(self, low: np.ndarray, high: np.ndarray, order: int) -> np.ndarray:
        return self.scale * super().factor_suprema(low, high, order)


def step_with_scaled_feature(cell: Cell, rule: str, scale: float) -> float:
    """The step size at the start of the policy whose feature is `scale` times the state: the same policy, the parameter
    being divided by it.
    """
    lqg = domain_of(cell)
    policy = dataclasses.replace(lqg.policy(), features=_ScaledState(scale))
    problem = Problem(ExactLQG(lqg), lqg.constants(), policy)
    return float(take_step(problem, rule, np.array([[START / scale]]), np.ones((1, 1))).step_size[0])


def trajectory(problem: Problem, rule: str, iterations: int) -> list[float]:
    """How far the parameter has moved from the start after each update with the exact gradient."""
    ascent, way = Ascent(problem, rule, np.array([[START]]), iterations, record_at=[0]), []
    while not ascent.done:
        ascent.advance()
        way.append(float(ascent.theta[0, 0] - START))
    return way


# Iterations to the target


def iterations(grid: Grid = GRID, start: float = START, truncated: bool = True) -> dict[tuple[Cell, str], int]:
    """Updates with the exact gradient to within 0.01 of the optimum, by cell and rule."""
    return {
        (cell, rule): exact_iterations(table_of(cell, rule, truncated), start)
        for cell in grid
        for rule in ("sss_slc", "agss")
    }


def change_by_reading(restricted: dict, clipped: dict) -> pd.DataFrame:
    """Of `iterations` in the two readings of the policy: a row per cell, clipped over restricted, of each rule's
    iterations and of the ratio of AGSS's to the Lipschitz rule's.
    """
    rows = []
    for cell in {cell for cell, _ in clipped}:
        ratio = {rule: clipped[cell, rule] / restricted[cell, rule] for rule in ("sss_slc", "agss")}
        both = {
            "Lipschitz rule": ratio["sss_slc"],
            "AGSS": ratio["agss"],
            "AGSS / Lipschitz": ratio["agss"] / ratio["sss_slc"],
        }
        rows.append(dict(zip(("A", "gamma", "sigma"), cell, strict=True)) | both)
    return pd.DataFrame(rows).sort_values(["A", "gamma", "sigma"], ignore_index=True)


def slowest_over_fastest_constant_step(cell: Cell, factors: np.ndarray) -> tuple[float, dict[float, int]]:
    """Constant steps, multiples of the Lipschitz rule's first: slowest over fastest that converge (0 if all up to 1000
    times the fastest do), and the iterations of each (-1: not within the limit).
    """
    table = table_of(cell, "sss_slc")
    first = table.step_sizes[at_start(table)]
    needed = {}
    for factor in factors:
        constant = dataclasses.replace(table, step_sizes=np.full_like(table.step_sizes, factor * first))
        needed[float(factor)] = exact_iterations(constant, START, limit=10_000_000)
    converging = {factor: n for factor, n in needed.items() if n >= 0}
    fastest = min(converging, key=converging.get)
    in_range = [n for factor, n in needed.items() if factor <= 1000 * fastest]
    all_converge = max(factors) >= 1000 * fastest and min(in_range) >= 0
    return (0.0 if all_converge else max(converging.values()) / converging[fastest]), needed


def robbins_monro_slowdown(cell: Cell, exponent: float = 1.0, limit_factor: int = 30) -> float:
    """Iterations with alpha_0 / t^exponent over those with alpha_0, the rule's first step (cut off at a limit)."""
    table = table_of(cell, "sss_slc")
    first = table.step_sizes[at_start(table)]
    constant = dataclasses.replace(table, step_sizes=np.full_like(table.step_sizes, first))
    needed = exact_iterations(constant, START)
    theta, limit = START, limit_factor * needed
    for t in range(1, limit + 1):
        theta += first / t**exponent * np.interp(theta, table.parameters, table.gradients)
        if abs(theta - table.optimum) <= 0.01:
            return t / needed
    return limit / needed


# Guarantees


@dataclasses.dataclass(frozen=True, eq=False)
class Improvements:
    """Of updates of one rule with the exact gradient: |gradient|, guaranteed and exact improvement, each (n,)."""

    gradient: np.ndarray
    guaranteed: np.ndarray
    realised: np.ndarray

    def kept(self, tolerance: float = 1e-10) -> dict[str, int]:
        """Updates that improve by less than guaranteed."""
        return count(self.realised >= self.guaranteed - tolerance)

    def rises(self) -> dict[str, int]:
        """Updates where |gradient| is above 1e-8 that do not improve."""
        return count((self.realised > 0)[self.gradient > 1e-8])


def improvements(rule: str, grid: Grid, per_cell: int, scale: float = 1.0) -> Improvements:
    """Updates at parameters between the start and the optimum, the length of the update times `scale`."""
    parts = []
    for cell in grid:
        problem, optimum = problem_of(domain_of(cell)), table_of(cell, "sss_slc").optimum
        theta = np.linspace(START, optimum, per_cell, endpoint=False)[:, None]
        gradient, before = problem.returns.estimate(theta)
        step = take_step(problem, rule, theta, gradient)
        realised = problem.returns.score(theta + scale * step.update) - before
        parts.append((np.abs(gradient[:, 0]), step.guarantee, realised))
    return Improvements(*(np.concatenate(column) for column in zip(*parts, strict=True)))


COMBINATION_GRID: Grid = list(itertools.product((0.2, 0.4, 0.8, 0.9), (0.8, 0.9, 0.95), (0.5, 1.0)))
"""Margins of either sign."""


def combination_failures(grid: Grid, rule: str) -> dict[str, int]:
    """Cells where the rule stops, needs more updates than AGSS, or guarantees less than MSS-MLC or AGSS somewhere."""
    outcomes = []
    for cell in grid:
        table, budget = table_of(cell, rule), exact_iterations(table_of(cell, "agss"), START)
        arrives = exact_iterations(table, START, limit=budget) >= 0
        on_path = table.between(START)
        steps = {name: table_of(cell, name).step_sizes[on_path] for name in (rule, "mss_mlc", "agss")}
        # with one parameter the guarantee is half the step times the squared gradient, whatever the rule
        never_below = (steps[rule] >= np.maximum(steps["mss_mlc"], steps["agss"])).all()
        outcomes.append(arrives and never_below and (steps[rule] > 0).all())
    return count(outcomes)
