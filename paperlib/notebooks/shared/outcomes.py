"""How the outcomes of many cases, or of many runs, become what a claim's rule takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from paperlib.repro.statistics import bootstrap_interval


def count(outcomes: Iterable) -> dict[str, int]:
    """{cases, failures} of an iterable of "does it hold"."""
    outcomes = [bool(outcome) for outcome in outcomes]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def ratio_of_means(one: ArrayLike, other: ArrayLike) -> dict[str, float]:
    """{mean, low, high}: the mean over runs (R,) of one over that of the other, with its 95 % interval.

    Runs of the two are resampled independently.
    """
    means = bootstrap_interval(np.stack([one, other], axis=1), _ratio, seed=0)
    return {"mean": means["estimate"], "low": means["low"], "high": means["high"]}


def _ratio(runs: np.ndarray) -> float:
    first, second = runs.mean(axis=0)
    return float(first / second)
