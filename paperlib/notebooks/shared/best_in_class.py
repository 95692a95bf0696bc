"""The best policy of a domain's class, against which notebooks 15 and 16 measure what the step-size rules reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from paperlib.lipschitz.simulation.domains import Domain
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns

_SEED = 1  # recorded runs use 0
_BATCHES = 100


class BestPolicy(NamedTuple):
    """Parameters (d,), and the return on episodes that had no part in the search, with its standard error."""

    theta: np.ndarray
    score: float
    standard_error: float


def best_policy(
    domain: Domain,
    steps: int,
    *,
    episodes: int,
    starts: int = 4,
    allowed: Callable[[np.ndarray], bool] = lambda theta: True,
) -> BestPolicy:
    """The parameters of the largest return of `steps` steps: Nelder-Mead on common random numbers.

    episodes: of the search, and a hundred times as many of the evaluation. starts: zero and random ones, the best of
    whose ends is searched from once more. allowed: of parameters (d,), zero among them. Deterministic. A local search
    proves no optimum: a better policy may exist.
    """
    returns = SimulatedReturns(domain, episodes, steps, _SEED)

    def loss(theta: np.ndarray) -> float:
        return -float(returns.score(theta[None], 0)[0]) if allowed(theta) else math.inf

    scale, zero = _scale(domain), np.zeros(domain.features.dimension)
    random = scale * np.random.default_rng(_SEED).standard_normal((starts - 1, len(scale)))
    first = [zero, *(theta if allowed(theta) else zero for theta in random)]
    ends = [_search(loss, theta, scale / 2**k) for k, theta in enumerate(first, start=1)]
    theta = _search(loss, min(ends, key=loss), scale / 20)
    scores = returns.score(np.tile(theta, (_BATCHES, 1)), 1)
    return BestPolicy(theta, float(scores.mean()), float(scores.std(ddof=1) / math.sqrt(_BATCHES)))


def _scale(domain: Domain) -> np.ndarray:
    """By which parameters, one at a time, the mean action can be moved as far as the largest action: shape (d,)."""
    at_zero = domain.policy().constants(np.zeros(domain.features.dimension))
    return domain.action_high**2 / (np.asarray(at_zero.score_bound) * domain.standard_deviation**2)


def _search(loss: Callable[[np.ndarray], float], theta: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Nelder-Mead from theta, the first steps as large as `spread`."""
    simplex = np.vstack([theta, theta + np.diag(spread)])
    options = {"initial_simplex": simplex, "xatol": 1e-3 * spread.min(), "fatol": 1e-6, "maxfev": 300}
    return minimize(loss, theta, method="Nelder-Mead", options=options).x
