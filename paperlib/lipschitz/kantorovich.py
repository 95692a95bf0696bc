"""The Kantorovich (L1-Wasserstein) distance of probability distributions with finite support (paper, equation 2)."""

from __future__ import annotations

import numpy as np
import ot
from numpy.typing import ArrayLike

_MASS_TOLERANCE = 1e-9


def kantorovich_on_line(points: ArrayLike, p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Distance of distributions on the real line: the area between their distribution functions, exact.

    points: the common support, ascending, shape (n,).
    p, q: probabilities, shapes (..., n), broadcast against each other.

    Returns shape (...). ValueError on points out of order or masses that are not probabilities.
    """
    points, p, q = (np.asarray(array, dtype=float) for array in (points, p, q))
    if (np.diff(points) <= 0).any():
        raise ValueError("points must be strictly ascending")
    _require_probabilities(p, q)
    between = np.abs(np.cumsum(p - q, axis=-1)[..., :-1])
    return between @ np.diff(points)


def kantorovich(points: ArrayLike, p: ArrayLike, other_points: ArrayLike, q: ArrayLike) -> float:
    """Distance of two distributions in space under the taxicab ground metric, by exact optimal transport.

    points, other_points: supports, shapes (n, k) and (m, k); a state-action pair is one row. Where state or action has
        more than one coordinate the paper's ground metric is another: give its matrix to `kantorovich_by_cost`.
    p, q: probabilities, shapes (n,) and (m,).
    """
    points, other_points = np.asarray(points, dtype=float), np.asarray(other_points, dtype=float)
    return kantorovich_by_cost(ot.dist(points, other_points, metric="cityblock"), p, q)


def kantorovich_by_cost(distances: ArrayLike, p: ArrayLike, q: ArrayLike) -> float:
    """Distance of two distributions from the matrix of ground distances (n, m), by exact optimal transport."""
    distances, p, q = (np.ascontiguousarray(array, dtype=float) for array in (distances, p, q))
    _require_probabilities(p, q)
    return float(ot.emd2(p, q, distances, numItermax=10_000_000))


def _require_probabilities(*masses: np.ndarray) -> None:
    for mass in masses:
        if (mass < -_MASS_TOLERANCE).any() or (np.abs(mass.sum(axis=-1) - 1) > _MASS_TOLERANCE).any():
            raise ValueError("masses must be non-negative and sum to 1")
