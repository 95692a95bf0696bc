"""What notebook 14 measures of the step-size rules on LQG with the exact gradient (Section 6.1, Table 2, Section 7).

Measures take what is under test, a table of steps or a rule's step, as an argument whose default is the right one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from scipy.stats import norm

from paperlib.lipschitz.simulation.ascent import LIPSCHITZ_RULES, Ascent, take_step
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.lqg_iterations import StepTable, exact_iterations, problem_of, tabulate
from paperlib.notebooks.shared.outcomes import count

A = (0.1, 0.2, 0.3, 0.4, 0.5)
GAMMA = (0.8, 0.9, 0.95)
SIGMA = (0.25, 0.5, 1.0)
START = -0.5

Cell = tuple[float, float, float]
Tables = Callable[[Cell, str], StepTable]
Grid = list[Cell]
GRID: Grid = list(itertools.product(A, GAMMA, SIGMA))
"""A, gamma, sigma."""


def domain_of(cell: Cell) -> LQG:
    """The LQG of a cell."""
    a, discount, deviation = cell
    return LQG(a, discount=discount, standard_deviation=deviation)


@cache
def table_of(cell: Cell, rule: str) -> StepTable:
    """`tabulate`, once for each cell and rule."""
    return tabulate(domain_of(cell), rule)


def _path(cell: Cell, tables: Tables, start: float = 0.0) -> np.ndarray:
    """Parameters from `start` to the optimum: a mask over those of the table."""
    return tables(cell, "sss_slc").between(start)


def _lower_neighbours(position: int, values: tuple[float, ...], grid: Grid) -> Iterator[tuple[Cell, Cell]]:
    """Pairs of cells that differ in one place only, by neighbouring values: the lower one first."""
    for cell in grid:
        k = values.index(cell[position])
        if k > 0:
            yield (*cell[:position], values[k - 1], *cell[position + 1 :]), cell


# Steps at given parameters


def spread_of_agss_step(grid: Grid = GRID, rule: str = "agss") -> float:
    """Largest relative spread of the step over the parameters between start and optimum."""
    spreads = []
    for cell in grid:
        table = table_of(cell, rule)
        steps = table.step_sizes[table.between(START)]
        spreads.append(np.ptp(steps) / steps.max())
    return float(max(spreads))


def change_of_agss_step_over_a(grid: Grid = GRID, tables: Tables = table_of) -> float:
    """Largest relative change of the AGSS step at the start over A, at fixed gamma and sigma."""
    changes = []
    for _, gamma, sigma in grid:
        steps = [tables((a, gamma, sigma), "agss").step_sizes[0] for a, g, s in grid if (g, s) == (gamma, sigma)]
        changes.append(np.ptp(steps) / max(steps))
    return float(max(changes))


def gain_from_lower_a(grid: Grid = GRID, rule: str = "sss_slc") -> float:
    """Smallest ratio of the step at the next lower A to that at A, over parameters from 0 to the farther optimum."""
    ratios = []
    for lower, cell in _lower_neighbours(0, A, grid):
        on_path = _path(lower, table_of) | _path(cell, table_of)
        ratios.append((table_of(lower, rule).step_sizes[on_path] / table_of(cell, rule).step_sizes[on_path]).min())
    return float(min(ratios))


def change_with_gamma_and_sigma(grid: Grid = GRID, tables: Tables = table_of) -> dict[str, float]:
    """Smallest relative change of the step between neighbouring values, by rule and by gamma or sigma."""
    changes = {}
    for rule in ("sss_slc", "agss"):
        for name, position, values in (("gamma", 1, GAMMA), ("sigma", 2, SIGMA)):
            relative = []
            for lower, cell in _lower_neighbours(position, values, grid):
                on_path = _path(cell, tables)
                one, other = (tables(c, rule).step_sizes[on_path] for c in (lower, cell))
                relative.append((np.abs(one - other) / np.maximum(one, other)).min())
            changes[f"{rule}, {name}"] = float(min(relative))
    return changes


def larger_steps_than_agss(rule: str = "sss_slc") -> dict[str, float]:
    """Smallest ratio of the Lipschitz step to AGSS's from theta = 0 to the optimum, by A at gamma 0.9, sigma 0.5."""
    cells = {f"A = {a:g}": (a, 0.9, 0.5) for a in (0.1, 0.2, 0.3)}
    return {
        name: float((table_of(c, rule).step_sizes / table_of(c, "agss").step_sizes)[_path(c, table_of)].min())
        for name, c in cells.items()
    }


def smallest_margins(cells: Grid, tables: Tables = table_of) -> dict[str, float]:
    """Smallest contraction margin from theta = 0 to the optimum, by A."""
    return {f"A = {c[0]:g}": float(tables(c, "sss_slc").margins[_path(c, tables)].min()) for c in cells}


def difference_of_lipschitz_rules(grid: Grid, step=take_step, seed: int = 0) -> float:
    """Largest relative difference between the updates of the three rules, over parameters and gradients of any size."""
    generator, largest = np.random.default_rng(seed), 0.0
    for cell in grid:
        theta = generator.uniform(START, 0.0, (200, 1))
        gradient = generator.standard_normal((200, 1)) * 10.0 ** generator.uniform(-6, 3, (200, 1))
        updates = np.array(
            [step(problem_of(domain_of(cell)), rule, theta, gradient).update for rule in LIPSCHITZ_RULES]
        )
        largest = max(largest, float((np.ptp(updates, axis=0) / np.abs(updates).max(axis=0)).max()))
    return largest


def difference_over_reward_scale(cell: Cell, iterations: int, problem: Callable = problem_of) -> dict[str, float]:
    """Largest relative difference of parameter trajectories between reward weights B, by rule."""
    differences = {}
    for rule in (*LIPSCHITZ_RULES, "agss"):
        paths = []
        for weight in (0.05, 0.5, 5.0):
            scaled = problem(dataclasses.replace(domain_of(cell), reward_weight=weight))
            ascent, path = Ascent(scaled, rule, np.array([[START]]), iterations, record_at=[0]), []
            while not ascent.done:
                ascent.advance()
                path.append(ascent.theta[0, 0] - START)
            paths.append(path)
        differences[rule] = float(np.abs(np.ptp(paths, axis=0) / paths[0]).max())
    return differences


# Iterations to the target


def iterations(grid: Grid = GRID, tables: Tables = table_of, start: float = START) -> dict[tuple[Cell, str], int]:
    """Updates with the exact gradient to within 0.01 of the optimum, by cell and rule."""
    return {(cell, rule): exact_iterations(tables(cell, rule), start) for cell in grid for rule in ("sss_slc", "agss")}


def advantage_grows_as_a_falls(needed: dict, grid: Grid = GRID) -> dict[str, int]:
    """Pairs of neighbouring A where AGSS's iterations over the Lipschitz rule's are not more at the lower A."""
    pairs = _lower_neighbours(0, A, grid)
    return count(_ratio(needed, lower) > _ratio(needed, cell) for lower, cell in pairs)


def slower_with_smaller_sigma(needed: dict, grid: Grid = GRID) -> dict[str, int]:
    """Pairs of neighbouring sigma and rules where the smaller sigma does not need more iterations."""
    pairs = list(_lower_neighbours(2, SIGMA, grid))
    return count(needed[lower, rule] > needed[cell, rule] for lower, cell in pairs for rule in ("sss_slc", "agss"))


def gap_widens_as_sigma_falls(needed: dict, grid: Grid = GRID) -> dict[str, int]:
    """Pairs of neighbouring sigma, at A = 0.1 to 0.4 and gamma = 0.9, where the ratio is not larger at the smaller."""
    asked = [cell for cell in grid if cell[0] <= 0.4 and cell[1] == 0.9]
    return count(_ratio(needed, lower) > _ratio(needed, cell) for lower, cell in _lower_neighbours(2, SIGMA, asked))


def _ratio(needed: dict, cell: Cell) -> float:
    return needed[cell, "agss"] / needed[cell, "sss_slc"]


def slowest_over_fastest_constant_step(cell: Cell, factors: np.ndarray) -> tuple[float, dict[float, int]]:
    """Constant steps, multiples of the Lipschitz rule's first: slowest over fastest that converge (0 if all up to 1000
    times the fastest do), and the iterations of each (-1: not within the limit).
    """
    table = table_of(cell, "sss_slc")
    first = table.step_sizes[np.argmin(np.abs(table.parameters - START))]
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
    first = table.step_sizes[np.argmin(np.abs(table.parameters - START))]
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


def looseness(rule: str, grid: Grid = GRID, tables: Tables = table_of) -> dict[str, float]:
    """The best step along the exact gradient at the start over the step a rule's bound makes best, by cell.

    With one parameter the best step is the one that ends in the optimum.
    """
    ratios = {}
    for cell in grid:
        table = tables(cell, rule)
        at_start = int(np.argmin(np.abs(table.parameters - START)))
        best = (table.optimum - table.parameters[at_start]) / table.gradients[at_start]
        ratios["A = {:g}, gamma = {:g}, sigma = {:g}".format(*cell)] = float(best / table.step_sizes[at_start])
    return ratios


COMBINATION_GRID: Grid = list(itertools.product((0.2, 0.4, 0.8, 0.9), (0.8, 0.9, 0.95), (0.5, 1.0)))
"""Margins of either sign."""


def combination_failures(
    grid: Grid = COMBINATION_GRID, rule: str = "largest_guarantee", tables: Tables = table_of
) -> dict[str, int]:
    """Cells where the combination stops, needs more updates than AGSS, or guarantees less than a rule somewhere."""
    outcomes = []
    for cell in grid:
        table, budget = tables(cell, rule), exact_iterations(tables(cell, "agss"), START)
        arrives = exact_iterations(table, START, limit=budget) >= 0
        on_path = table.between(START)
        steps = {name: tables(cell, name).step_sizes[on_path] for name in (rule, "mss_mlc", "agss")}
        # with one parameter the guarantee is half the step times the squared gradient, whatever the rule
        never_below = (steps[rule] >= np.maximum(steps["mss_mlc"], steps["agss"])).all()
        outcomes.append(arrives and never_below and (steps[rule] > 0).all())
    return count(outcomes)


# Why the gap widens


def growth_of_score_bound(parameter: float = 0.0) -> float:
    """The score bound M at sigma = 0.25 over that at sigma = 1."""
    bounds = [domain_of((0.4, 0.9, s)).policy().constants([parameter]).score_bound[0] for s in (0.25, 1.0)]
    return float(bounds[0] / bounds[1])


def growth_of_feature_bound() -> float:
    """M_phi of equation (23) at sigma = 0.25 over that at sigma = 1."""
    bounds = [domain_of((0.4, 0.9, s)).policy().largest_feature for s in (0.25, 1.0)]
    return bounds[0] / bounds[1]


def total_variation(shift: float, sigma: float) -> float:
    """Between two normal distributions whose means differ by `shift`."""
    return 2 * norm.cdf(abs(shift) / (2 * sigma)) - 1


def kantorovich(shift: float, sigma: float, points: int = 2001) -> float:
    """Between the same two, from their quantile functions."""
    level = (np.arange(points) + 0.5) / points
    return float(np.abs(norm.ppf(level, shift, sigma) - norm.ppf(level, 0.0, sigma)).mean())


def exponent_of_metric(wide=total_variation, narrow=kantorovich, change: float = 1e-4) -> float:
    """Exponent of 1 / sigma in the policy's constant in theta under the first metric minus that under the second."""

    def exponent(distance):
        return np.log(distance(2 * change, 0.25) / distance(2 * change, 1.0)) / np.log(4)

    return float(exponent(wide) - exponent(narrow))
