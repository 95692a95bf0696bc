"""What Algorithm 1 (MSS-MLC) is held against, brute force and a local solver, and the geometry of its bound.

The algorithm itself is listed in notebook 13. Gradients are vectors (d,).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.optimize import brentq, minimize

from paperlib.lipschitz.step_sizes import improvement_bound, sss_mlc
from paperlib.notebooks.nb13_step_size_rules.problems import Candidate, Guarantee, best_along, problems

PRINTED_THRESHOLD = math.atan(1 / 8)
THRESHOLD = math.atan(1 / math.sqrt(8))


def angle(first: np.ndarray, second: np.ndarray) -> float:
    """The angle between two vectors (d,), in [0, pi]; accurate for parallel ones."""
    one, two = first / np.linalg.norm(first), second / np.linalg.norm(second)
    return 2 * math.atan2(np.linalg.norm(one - two), np.linalg.norm(one + two))


def turned(g: np.ndarray, lipschitz: np.ndarray, psi: float) -> np.ndarray:
    """The unit vector in the plane of g and L at angle psi from g, away from L: shape (d,)."""
    one, other = g / np.linalg.norm(g), lipschitz / np.linalg.norm(lipschitz)
    across = one * (one @ other) - other
    length = np.linalg.norm(across)
    if length < 1e-12:
        return one
    return math.cos(psi) * one + math.sin(psi) * across / length


def brute_force(gradient: np.ndarray, lipschitz: np.ndarray, *, starts: int = 40, seed: int = 0) -> Candidate:
    """The largest bound found by ascent over directions from many starts: axes, the gradient, random sparse ones.

    Projected gradient ascent of 2 log g'u - log L'u - log |u| over non-negative unit vectors, all starts at once.
    """
    g, d = np.abs(gradient), len(gradient)
    generator = np.random.default_rng(seed)
    scale = g.max(), lipschitz.max()
    p, q = g / scale[0], lipschitz / scale[1]
    u = generator.random((starts, d)) * (generator.random((starts, d)) < generator.random((starts, 1)))
    u = np.concatenate([np.eye(d), p[None] + 1e-12, u + 1e-6])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    value, rate = _log_value(u, p, q), np.full((len(u), 1), 0.5)
    for _ in range(400):
        with np.errstate(divide="ignore", invalid="ignore"):  # a start without gradient stays where it is
            slope = 2 * p / (u @ p)[:, None] - q / (u @ q)[:, None] - u
        moved = np.maximum(u + rate * slope, 0)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        new = _log_value(moved, p, q)
        better = new > value
        u, value = np.where(better[:, None], moved, u), np.where(better, new, value)
        rate = np.where(better[:, None], np.minimum(1.3 * rate, 10.0), 0.5 * rate)
    return best_along(u[value.argmax()], g, lipschitz)


def _log_value(u: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 2 * np.log(u @ p) - np.log(u @ q)


@cache
def best_guarantees(number: int) -> np.ndarray:
    """The best guarantees of the first problems, by brute force: shape (number,)."""
    return np.array([brute_force(g, b).guarantee for g, b in problems(number)])


def shortfalls(guarantee: Guarantee, number: int) -> np.ndarray:
    """The share of the best guarantee that is missed in each problem: shape (number,)."""
    found = np.array([guarantee(g, b) for g, b in problems(number)])
    return 1 - found / best_guarantees(number)


def local_solver_guarantee(gradient: np.ndarray, lipschitz: np.ndarray) -> float:
    """SciPy's SLSQP on the bound, from the step of SSS-MLC, over non-negative step sizes."""
    g = np.abs(gradient)
    start = sss_mlc(g, lipschitz).update
    scale = improvement_bound(g, lipschitz, start)

    def negative(x):
        size = np.maximum(np.linalg.norm(x), 1e-300)
        value = -(g @ x - 0.5 * size * (lipschitz @ x))
        return value / scale, -(g - 0.5 * (x / size * (lipschitz @ x) + size * lipschitz)) / scale

    found = minimize(negative, start, jac=True, bounds=[(0, None)] * len(g), method="SLSQP", options={"maxiter": 500})
    return -float(found.fun) * scale


# The bound as a function of psi


def guarantee_at(psi: np.ndarray, phi: float) -> np.ndarray:
    """cos(psi)^2 / cos(psi + phi): the guarantee at angle psi from g, in units of |g|^2 / (2 |L|)."""
    return np.cos(psi) ** 2 / np.cos(psi + phi)


def _slope(psi: float, phi: float) -> float:
    """Derivative of the logarithm of `guarantee_at`."""
    return -2 * math.tan(psi) + math.tan(psi + phi)


def local_maximum(phi: float) -> float | None:
    """The interior local maximum in psi found on a grid and refined, None if the bound only rises."""
    grid = np.linspace(0, math.pi / 2 - phi, 20_001)[:-1]
    falls = np.flatnonzero(np.diff(guarantee_at(grid, phi)) < 0)
    if not len(falls):
        return None
    low, high = grid[max(falls[0] - 1, 0)], grid[falls[0] + 1]
    return brentq(_slope, low, high, args=(phi,), xtol=1e-14) if _slope(low, phi) * _slope(high, phi) < 0 else low


def rises_and_falls(phi: float) -> str:
    """The sequence of rises (+) and falls (-) of the bound on a fine grid of psi in [0, pi/2 - phi)."""
    grid = np.linspace(0, math.pi / 2 - phi, 40_001)[:-1]
    signs = np.sign(np.diff(guarantee_at(grid, phi)))
    changes = np.flatnonzero(np.diff(signs)) + 1
    return "".join("+" if signs[i] > 0 else "-" for i in (0, *changes))


def largest_angle_with_maximum() -> float:
    """The largest phi at which a local maximum is found, by bisection."""
    low, high = 0.01, math.pi / 3
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if local_maximum(middle) is not None else (low, middle)
    return low


def hessian_of_bound(lipschitz: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Second derivatives of -|x| L'x / 2 over x (d,) in the positive orthant: shape (d, d)."""
    length = np.linalg.norm(x)
    unit = x / length
    outer = np.outer(unit, lipschitz)
    return -0.5 * (outer + outer.T + (lipschitz @ unit) * (np.eye(len(x)) - np.outer(unit, unit)))
