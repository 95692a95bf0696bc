"""A normal distribution restricted to an interval: its mean, and draws from it that standard normal numbers decide.

A draw z is kept where mean + sigma z lies in the interval. Where it does not, how far out it lies is, given that, as
good as a new uniform number, and the inverse distribution function at it is the draw. So one normal number makes one
exact draw, and most draws are those of the unrestricted distribution: common random numbers stay common.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri_exp


def mean_offset(mean: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
    """E[a] - mean of N(mean, sigma^2) restricted to [low, high]: sigma (phi(l) - phi(h)) / (Phi(h) - Phi(l)).

    l and h are the limits in deviations from the mean. Stable however far the mean lies outside.
    """
    lower, upper, sign = towards_lower_tail(np.asarray(mean, dtype=float), sigma, low, high)
    log_mass = log_ndtr(upper) + np.log1p(-np.exp(log_ndtr(lower) - log_ndtr(upper)))
    density_of_lower, density_of_upper = (-0.5 * x**2 - 0.5 * math.log(2 * math.pi) for x in (lower, upper))
    return sign * sigma * (np.exp(density_of_lower - log_mass) - np.exp(density_of_upper - log_mass))


def draw(mean: np.ndarray, z: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
    """Draws from N(mean, sigma^2) restricted to [low, high] that the standard normal numbers z decide."""
    mean, z = np.broadcast_arrays(np.asarray(mean, dtype=float), z)
    action = mean + sigma * z
    outside = (action < low) | (action > high)
    if not outside.any():
        return action
    lower, upper, sign = towards_lower_tail(mean[outside], sigma, low, high)
    beyond = sign * z[outside]
    below, above = ndtr(lower), ndtr(-upper)
    share = np.where(beyond < lower, ndtr(beyond), below + above - ndtr(-beyond)) / (below + above)
    of_lower = np.exp(log_ndtr(lower) - log_ndtr(upper))
    restricted = sign * ndtri_exp(log_ndtr(upper) + np.log(of_lower + share * (1 - of_lower)))
    action[outside] = np.clip(mean[outside] + sigma * restricted, low, high)
    return action


def towards_lower_tail(mean: np.ndarray, sigma: float, low: float, high: float) -> tuple[np.ndarray, ...]:
    """The limits in deviations, mirrored where the mean lies below the middle, so that tails stay small numbers."""
    sign = np.where(mean >= (low + high) / 2, 1.0, -1.0)
    lower, upper = (low - mean) / sigma, (high - mean) / sigma
    return np.where(sign > 0, lower, -upper), np.where(sign > 0, upper, -lower), sign
