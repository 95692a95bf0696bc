"""`paperlib.lipschitz.restricted_normal` compiled, number by number, for the rollouts."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.special import log_ndtr

from paperlib.lipschitz.restricted_normal import mean_offset, towards_lower_tail

_compile = njit(error_model="numpy", nogil=True)

_BEYOND = 12.0  # deviations by which the table of means goes beyond the interval
_PER_DEVIATION = 200  # points of the table


def offset_table(sigma: float, low: float, high: float) -> np.ndarray:
    """`mean_offset` and its slope at evenly spaced means from 12 deviations below the interval to 12 above, (n, 2).

    The slope is Var[a] / sigma^2 - 1. Interpolated by cubics, the offset errs by less than 1e-10 sigma.
    """
    width = (high - low) / sigma + 2 * _BEYOND
    mean = np.linspace(low - _BEYOND * sigma, high + _BEYOND * sigma, math.ceil(width * _PER_DEVIATION) + 1)
    offset = mean_offset(mean, sigma, low, high)
    return np.stack([offset, _slope(mean, offset, sigma, low, high)], axis=1)


def _slope(mean: np.ndarray, offset: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
    """d offset / d mean = (l phi(l) - h phi(h)) / mass - (offset / sigma)^2."""
    lower, upper, _ = towards_lower_tail(mean, sigma, low, high)
    log_mass = log_ndtr(upper) + np.log1p(-np.exp(log_ndtr(lower) - log_ndtr(upper)))
    shares = (np.exp(-0.5 * x**2 - 0.5 * math.log(2 * math.pi) - log_mass) for x in (lower, upper))
    at_lower, at_upper = shares
    return lower * at_lower - upper * at_upper - (offset / sigma) ** 2


@_compile
def subtract_offsets(score, action, lowest, highest, sigma, low, high, table):
    """score (E,) -= `mean_offset` / sigma^2, of means action - score sigma^2 that lie in [lowest, highest]."""
    variance, points = sigma * sigma, len(table) - 1
    start, per_point = low - _BEYOND * sigma, points / (high - low + 2 * _BEYOND * sigma)
    step, over = 1 / per_point, 1 / variance
    if lowest < start or highest >= high + _BEYOND * sigma - step:
        for e in range(score.size):
            score[e] -= compiled_offset(action[e] - score[e] * variance, sigma, low, high, table) * over
        return
    for e in range(score.size):  # no branch and no call: the compiler makes vector instructions of it
        position = (action[e] - score[e] * variance - start) * per_point
        i = int(position)
        t = position - i
        s = 1 - t
        value = s * s * (1 + 2 * t) * table[i, 0] + t * t * (1 + 2 * s) * table[i + 1, 0]
        score[e] -= (value + step * s * t * (s * table[i, 1] - t * table[i + 1, 1])) * over


@_compile
def compiled_offset(mean, sigma, low, high, table):
    """`mean_offset` of one mean, from its table."""
    start, step = low - _BEYOND * sigma, (high - low + 2 * _BEYOND * sigma) / (len(table) - 1)
    position = (mean - start) / step
    if not 0 <= position < len(table) - 1:
        return _far_offset(mean, sigma, low, high)
    i = int(position)
    t = position - i
    s = 1 - t
    value = s * s * (1 + 2 * t) * table[i, 0] + t * t * (1 + 2 * s) * table[i + 1, 0]
    return value + step * s * t * (s * table[i, 1] - t * table[i + 1, 1])


@_compile
def _far_offset(mean, sigma, low, high):
    """Of a mean more than 12 deviations outside, where densities underflow: all of them over that at the near limit."""
    sign = 1.0 if mean > high else -1.0
    near = (high - mean) / sigma if sign > 0 else (mean - low) / sigma
    far = near - (high - low) / sigma
    ratio = math.exp(0.5 * (near * near - far * far))
    return sign * sigma * (ratio - 1) / (_mills(-near) - ratio * _mills(-far))


@_compile
def _mills(x):
    """(1 - Phi(x)) / phi(x) for x > 12, by its continued fraction, to rounding."""
    fraction = x
    for k in range(20, 0, -1):
        fraction = x + k / fraction
    return 1 / fraction


@_compile
def _log_phi(x):
    """log Phi(x)."""
    if x > -_BEYOND:
        return math.log(_phi(x))
    return -0.5 * x * x - 0.5 * math.log(2 * math.pi) + math.log(_mills(-x))


@_compile
def compiled_redraw(mean, z, sigma, low, high):
    """The draw of `draw` where mean + sigma z lies outside the interval."""
    sign = 1.0 if mean >= (low + high) / 2 else -1.0
    lower, upper = (low - mean) / sigma, (high - mean) / sigma
    if sign < 0:
        lower, upper = -upper, -lower
    beyond = sign * z
    below, above = _phi(lower), _phi(-upper)
    share = (_phi(beyond) if beyond < lower else below + above - _phi(-beyond)) / (below + above)
    if upper > -_BEYOND:
        restricted = _inverse(below + share * (1 - above - below if upper > 0 else _phi(upper) - below))
    else:
        of_lower = math.exp(_log_phi(lower) - _log_phi(upper))
        restricted = _inverse_of_log(_log_phi(upper) + math.log(of_lower + share * (1 - of_lower)))
    return min(max(mean + sigma * sign * restricted, low), high)


@_compile
def _phi(x):
    """Phi(x)."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@_compile
def _rough_inverse(log_p):
    """The negative x with log Phi(x) = log_p, to 5e-4 (Abramowitz and Stegun, 26.2.23)."""
    t = math.sqrt(-2 * log_p)
    return (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t


@_compile
def _inverse(p):
    """Phi^-1(p): two steps of Halley's method, each of which trebles the digits."""
    lower = min(p, 1 - p)
    x = _rough_inverse(math.log(lower))
    for _ in range(2):
        error = (_phi(x) - lower) * math.exp(0.5 * x * x) * math.sqrt(2 * math.pi)
        x -= error / (1 + 0.5 * x * error)
    return x if p < 0.5 else -x


@_compile
def _inverse_of_log(log_p):
    """The x, far in the lower tail, with log Phi(x) = log_p, by Newton's method."""
    x = _rough_inverse(log_p)
    for _ in range(4):
        log_phi = _log_phi(x)
        x -= (log_phi - log_p) * math.exp(log_phi + 0.5 * x * x + 0.5 * math.log(2 * math.pi))
    return x
