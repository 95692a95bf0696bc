"""What notebook 08 measures: the critic's geometry along visited points, from recorded runs and from print.

Measures take recorded runs, or scores by cell, which are recorded or printed ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.scores import ACTOR_SIDE, Scores, complete_settings, of_cells, ratio
from paperlib.pave.records.scores import RecordedRuns, where_recorded

TD3 = "td3"
M_SUP = "mixed_hessian_sup"


# Sentences


def correlation_with_smoothness(runs: RecordedRuns, environment: str) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation between M_sup and smoothness over the runs of Base and PAVE."""
    cells = [(environment, TD3, m) for m in ("base", "pave")]
    runs.require(cells)
    return _rank_correlation([(_scores(runs, cells, M_SUP), _scores(runs, cells, "smoothness"))])


def goes_with_smoothness(runs: RecordedRuns, measure: str) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation between a measure at actions as trained and smoothness over the runs
    of all methods of an environment and algorithm, averaged over those that are recorded.
    """
    complete = complete_settings(runs)
    return _rank_correlation([(_scores(runs, c, measure), _scores(runs, c, "smoothness")) for c in complete])


def _scores(runs: RecordedRuns, cells: Iterable[tuple[str, str, str]], measure: str) -> np.ndarray:
    """(runs, cells)."""
    return np.stack([runs.scores(*cell, measure, "scaled") for cell in cells], axis=1)


def _rank_correlation(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation within each pair of measures, averaged over the pairs.

    Averaged and given its 95 % interval as Fisher's z, whose variance is 1.06 / (n - 3) for n runs (Fieller, Hartley
    and Pearson 1957): drawing five runs per method anew would make the interval too narrow.
    """
    found = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in pairs]
    z = np.arctanh(np.clip(np.nan_to_num(found), -_ALMOST_ONE, _ALMOST_ONE))
    error = np.sqrt(sum(1.06 / (x.size - 3) for x, _ in pairs)) / len(pairs)
    low, mean, high = np.tanh(z.mean() + np.array([-1, 0, 1]) * norm.ppf(0.975) * error)
    return {"mean": float(mean), "low": float(low), "high": float(high)}


_ALMOST_ONE = 0.999  # a correlation of one has no z


def mean_of(scores: Scores, environment: str, method: str) -> float:
    """Mean over runs, or as printed."""
    return float(np.mean(scores[environment, method]))


def actor_side_over_base(scores: Scores, environment: str) -> dict[str, float | None]:
    """Mean of each actor-side method over Base's."""
    return where_recorded(ACTOR_SIDE, lambda m: ratio(scores, environment, m, "base"))


# During training: scores by environment, method and step; steps: those printed of an environment


def printed_steps(printed: pd.DataFrame) -> dict[str, list[int]]:
    """The checkpoints of table (f), by environment, in order."""
    return {e: sorted(set(part["step"])) for e, part in printed.groupby("environment")}


def growth(scores: Scores, steps: Mapping[str, list[int]], method: str, environment: str) -> float:
    """Mean at the last checkpoint over that at the first."""
    ends = steps[environment][0], steps[environment][-1]
    first, last = of_cells(scores, [(environment, method, step) for step in ends])
    return float(np.mean(last) / np.mean(first))


def base_over_pave(scores: Scores, steps: Mapping[str, list[int]], environment: str) -> dict[str, float]:
    """Base's mean over PAVE's at each checkpoint."""
    cells = [(environment, m, step) for step in steps[environment] for m in ("base", "pave")]
    found = iter(of_cells(scores, cells))
    return {str(step): float(np.mean(next(found)) / np.mean(next(found))) for step in steps[environment]}


def falls(scores: Scores, steps: Mapping[str, list[int]], method: str = "pave") -> dict[str, int]:
    """{cases, failures}: neighbouring checkpoints, and those between which the mean falls, where recorded."""

    def rises(environment: str) -> list[bool]:
        cells = [(environment, method, step) for step in steps[environment]]
        return [bool(np.mean(later) >= np.mean(earlier)) for earlier, later in pairwise(of_cells(scores, cells))]

    return count(itertools.chain.from_iterable(of or [] for of in where_recorded(steps, rises).values()))
