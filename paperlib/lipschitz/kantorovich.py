"""The Kantorovich (L1-Wasserstein) distance of probability distributions with finite support (paper, equation 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_MASS_TOLERANCE = 1e-9


def kantorovich_on_line(points: ArrayLike, p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Distance of distributions on the real line: the area between their distribution functions, exact.

    points: the common support, ascending, shape (n,).
    p, q: probabilities, shapes (..., n), broadcast against each other.

    Returns shape (...). ValueError on points out of order or masses that are not probabilities.
    """
    points, p, q = (np.asarray(array, dtype=float) for array in (points, p, q))
    if not (np.diff(points) > 0).all():
        raise ValueError("points must be numbers in strictly ascending order")
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
    return kantorovich_by_cost(np.abs(points[:, None] - other_points).sum(axis=-1), p, q)


def kantorovich_by_cost(distances: ArrayLike, p: ArrayLike, q: ArrayLike) -> float:
    """Distance of two distributions from the matrix of ground distances (n, m), by exact optimal transport."""
    distances, p, q = (np.ascontiguousarray(array, dtype=float) for array in (distances, p, q))
    _require_probabilities(p, q)
    if not np.isfinite(distances).all():
        raise ValueError("distances must be finite: a point or a distance is not a number")
    import ot  # here, as it takes most of a second and only this needs it

    return float(ot.emd2(p, q, distances, numItermax=10_000_000))


def _require_probabilities(*masses: np.ndarray) -> None:
    for mass in masses:
        # Written so that not a number, which compares false with everything, is refused.
        if not ((mass >= -_MASS_TOLERANCE).all() and (np.abs(mass.sum(axis=-1) - 1) <= _MASS_TOLERANCE).all()):
            raise ValueError("masses must be non-negative and sum to 1")
