"""How biased GPOMDP is on LQG: the mean of many estimates against the exact gradient, and what a bias does to a run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from paperlib.lipschitz.simulation import compiled_rollouts
from paperlib.lipschitz.simulation.compiled_rollouts import BASELINES
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.lqg_iterations import estimated_iterations, exact_iterations, horizon
from paperlib.notebooks.nb14_lqg.steps import START, Cell, domain_of, table_of
from paperlib.repro.statistics import mean_interval

EPISODES = 20
_BLOCK = 500  # estimates from one set of random numbers
_NORMAL_QUANTILE = 1.96

Point = tuple[LQG, float]
"""A domain and a parameter."""


def mean_estimates(points: Sequence[Point], baseline: str, estimates: int | Sequence[int]) -> np.ndarray:
    """Mean and standard error (P, 2) of GPOMDP estimates of 20 episodes of `horizon` steps, so many at each point.

    Points of one discount share their random numbers, which take longer to make than an estimate: errors at different
    points are not independent.
    """
    blocks = np.ceil(np.broadcast_to(estimates, len(points)) / _BLOCK).astype(int)
    sums = np.zeros((len(points), 2))
    with ThreadPoolExecutor() as pool:
        for discount in sorted({lqg.discount for lqg, _ in points}):
            members = np.array([k for k, (lqg, _) in enumerate(points) if lqg.discount == discount])
            for number in range(blocks[members].max()):
                numbers, left = _random_numbers(points[members[0]][0], number), members[blocks[members] > number]
                sums[left] += list(pool.map(lambda k, numbers=numbers: _moments(points[k], *numbers, baseline), left))
    mean, square = sums.T / (blocks * _BLOCK)
    return np.stack([mean, np.sqrt((square - mean**2) / (blocks * _BLOCK - 1))], axis=1)


def _moments(point: Point, start: tuple[np.ndarray, ...], noise: np.ndarray, baseline: str) -> tuple[float, float]:
    """Sum and sum of squares of a block of estimates."""
    lqg, theta = point
    at = np.full((_BLOCK, 1), theta)
    made = compiled_rollouts.gradient_estimate(lqg, at, start, noise, baseline=baseline).gradient
    return float(made.sum()), float(np.square(made).sum())


def _random_numbers(lqg: LQG, number: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    generator = np.random.Generator(np.random.SFC64([14, number]))
    start = lqg.start(generator, (_BLOCK, EPISODES))
    return start, generator.standard_normal((_BLOCK, horizon(lqg.discount), EPISODES))


def against_exact(grid: Sequence[Cell], baseline: str, half_width: float = 0.004) -> dict[str, dict[str, float]]:
    """By cell: the mean estimate at the start with its 95 % interval, the exact gradient as `printed`, and as `scale`
    its size, or the mean size over the parameters of the tables where that is larger.

    half_width: of the intervals, in that scale; a pilot of 2,000 estimates says how many it takes.
    """
    points = [(domain_of(cell), START) for cell in grid]
    exact = [float(ExactLQG(lqg).estimate(np.array([[theta]])).gradient[0, 0]) for lqg, theta in points]
    typical = [float(np.abs(table_of(cell, "agss").gradients).mean()) for cell in grid]
    scale = np.maximum(np.abs(exact), typical)
    error_of_one = mean_estimates(points, baseline, 2000)[:, 1] * np.sqrt(2000)
    needed = np.ceil((_NORMAL_QUANTILE * error_of_one / (half_width * scale)) ** 2).astype(int)
    found = mean_estimates(points, baseline, needed)
    return {
        "A = {:g}, gamma = {:g}, sigma = {:g}".format(*cell): {
            "mean": float(mean),
            "low": float(mean - _NORMAL_QUANTILE * error),
            "high": float(mean + _NORMAL_QUANTILE * error),
            "printed": one,
            "printed_error": 0.0,
            "scale": float(of_cell),
        }
        for cell, (mean, error), one, of_cell in zip(grid, found, exact, scale, strict=True)
    }


def expected_estimates(cell: Cell, offsets: Sequence[float], estimates: int) -> pd.DataFrame:
    """Mean estimates at parameters so far from the optimum: baseline, offset, mean, error, exact."""
    lqg, optimum = domain_of(cell), table_of(cell, "agss").optimum
    exact = ExactLQG(lqg).estimate(optimum + np.array(offsets)[:, None]).gradient[:, 0]
    parts = []
    for baseline in BASELINES:
        mean, error = mean_estimates([(lqg, optimum + offset) for offset in offsets], baseline, estimates).T
        columns = {"baseline": baseline, "offset": offsets, "mean": mean, "error": error, "exact": exact}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def displaced_zero(curve: pd.DataFrame, near: float = 0.06) -> dict[str, float]:
    """{mean, low, high}: where the expected estimate of one baseline vanishes, as a distance from the optimum.

    A line through the points within `near` of the optimum, weighted by their errors.
    """
    part = curve[curve["offset"].abs() <= near]
    (slope, value), covariance = np.polyfit(part["offset"], part["mean"], 1, w=1 / part["error"], cov="unscaled")
    zero = -value / slope
    at_zero = np.array([zero, 1.0])
    reach = _NORMAL_QUANTILE * float(np.sqrt(at_zero @ covariance @ at_zero) / abs(slope))
    return {"mean": float(zero), "low": float(zero) - reach, "high": float(zero) + reach}


def iterations_by_baseline(cell: Cell, baseline: str, runs: int) -> dict[str, float]:
    """{mean, low, high}: iterations of the Lipschitz rule over runs; one that does not arrive counts ten times the
    exact ascent's.
    """
    table = table_of(cell, "sss_slc")
    limit = 10 * exact_iterations(table, START)
    asked = {"episodes": EPISODES, "limit": limit, "baseline": baseline}
    made = [estimated_iterations(domain_of(cell), table, START, seed=(14, run), **asked) for run in range(runs)]
    return mean_interval([limit if n < 0 else n for n in made], seed=0)
