"""The rollouts of `gpomdp` compiled for the three domains: one pass over the episodes per time step.

Their NumPy form is the definition and the test oracle, and serves every other domain; this form is faster, as it keeps
one run's episodes in the cache and makes no temporaries. Kernels of one domain differ only in `advance`, which
takes all episodes of a run one time step on. They are written so that the compiler turns their loops over episodes into
vector instructions, with elementary functions of arithmetic alone, as calls to the C library would stay one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from paperlib.lipschitz.simulation.ascent import Estimate
from paperlib.lipschitz.simulation.domains import LQG, Domain, MassSpringDamper, ShipSteering, State

_compile = njit(fastmath={"reassoc", "contract"}, error_model="numpy", nogil=True)
"""Sums may be taken in any order, as NumPy does; not a number and infinities keep their meaning."""


@_compile
def _clip(value, low, high):
    return min(max(value, low), high)


@_compile
def _advance_lqg(theta, z, x, y, phi, reward, p):
    """p: A, standard deviation, reward weight, limit."""
    a, sigma, cost, limit, weight = p[0], p[1], p[2], p[3], theta[0]
    phi[0, :] = x
    for e in range(z.size):
        action = _clip(weight * x[e] + sigma * z[e], -limit, limit)
        reward[e] = -cost * (x[e] * x[e] + action * action)
        x[e] = _clip(a * (x[e] + action), -limit, limit)


@_compile
def _advance_mass_spring_damper(theta, z, x, v, phi, reward, p):
    """p: standard deviation, goal, weights of distance and action, limits of x, v and a, rows of the flow."""
    sigma, goal, distance_weight, action_weight, x_limit, v_limit, limit = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    xx, xv, xa, vx, vv, va = p[7], p[8], p[9], p[10], p[11], p[12]
    offset, on_x, on_v = theta[0], theta[1], theta[2]
    phi[0, :] = 1.0
    phi[1, :] = x
    phi[2, :] = v
    for e in range(z.size):
        position, velocity = x[e], v[e]
        action = _clip(offset + on_x * position + on_v * velocity + sigma * z[e], -limit, limit)
        reward[e] = -distance_weight * abs(position - goal) - action_weight * abs(action)
        x[e] = _clip(xx * position + xv * velocity + xa * action, -x_limit, x_limit)
        v[e] = _clip(vx * position + vv * velocity + va * action, -v_limit, v_limit)


@_compile
def _exp_of_negative(x):
    """exp(x) for x <= 0 to 1e-12: the exponential of x / 1024 by its series, squared ten times."""
    h = max(x, -600.0) * (1 / 1024)
    y = 1 + h * (1 + h * (1 / 2 + h * (1 / 6 + h * (1 / 24 + h * (1 / 120 + h * (1 / 720 + h * (1 / 5040)))))))
    for _ in range(10):
        y *= y
    return y


@_compile
def _sine_and_cosine(x):
    """For |x| <= 2 pi to 1e-13: the series at x / 16, the angle doubled four times; c is one minus the cosine."""
    h = x * (1 / 16)
    q = h * h
    s = h * (1 - q * (1 / 6 - q * (1 / 120 - q * (1 / 5040 - q * (1 / 362880 - q * (1 / 39916800))))))
    c = q * (1 / 2 - q * (1 / 24 - q * (1 / 720 - q * (1 / 40320 - q * (1 / 3628800 - q * (1 / 479001600))))))
    for _ in range(4):
        s, c = 2 * s * (1 - c), 2 * s * s
    return s, 1 - c


@_compile
def _advance_ship(theta, z, x, y, phi, reward, p):
    """p: standard deviation, reference heading, speed times interval, goal radius, stray factor (0 or 1), limits of x,
    y and the heading, then centre (2), inverse variances (2) and height of each feature.
    """
    mean = reward  # until the rewards are known
    mean[:] = 0.0
    for i in range(theta.size):
        k, row, weight = 11 + 5 * i, phi[i], theta[i]
        centre_x, centre_y, over_x, over_y, height = p[k], p[k + 1], -0.5 * p[k + 2], -0.5 * p[k + 3], p[k + 4]
        for e in range(z.size):
            dx, dy = x[e] - centre_x, y[e] - centre_y
            row[e] = height * _exp_of_negative(over_x * dx * dx + over_y * dy * dy)
            mean[e] += weight * row[e]
    sigma, reference, reach, radius, stray = p[0], p[1], p[2], p[3], p[4]
    x_low, x_high, y_low, y_high, low, high = p[5], p[6], p[7], p[8], p[9], p[10]
    for e in range(z.size):
        east, north = x[e], y[e]
        action = _clip(mean[e] + sigma * z[e], low, high)
        sine, cosine = _sine_and_cosine(action + reference)
        reward[e] = min(radius - np.sqrt(east * east + north * north), 0.0)
        x[e] = _clip(east + reach * (cosine - north), x_low, x_high)
        y[e] = _clip(north + reach * sine * (1 + stray * (action - 1)), y_low, y_high)


@_compile
def one_gradient(advance, theta, noise, x, y, deviation, discount, baseline, parameters, gradient):
    """One run: fills gradient (d,) and returns the return; x and y (E,) are used up."""
    episodes, d = x.size, theta.size
    phi, reward, scores = np.empty((d, episodes)), np.empty(episodes), np.zeros((d, episodes))
    gradient[:] = 0.0
    score, weight = 0.0, 1.0
    for t in range(len(noise)):
        z = noise[t]
        advance(theta, z, x, y, phi, reward, parameters)
        score += weight * reward.sum() / episodes
        for i in range(d):
            product, weighted, size, total = 0.0, 0.0, 0.0, 0.0
            row, feature = scores[i], phi[i]
            for e in range(episodes):
                s = row[e] + z[e] / deviation * feature[e]
                row[e] = s
                product += s * reward[e]
                weighted += s * s * reward[e]
                size += s * s
                total += s
            if baseline and size > 0:
                product -= weighted / size * total
            gradient[i] += weight * product / episodes
        weight *= discount
    return score


@_compile
def _one_return(advance, theta, noise, x, y, discount, parameters):
    """One run: the return; x and y (E,) are used up."""
    phi, reward = np.empty((theta.size, x.size)), np.empty(x.size)
    score, weight = 0.0, 1.0
    for t in range(len(noise)):
        advance(theta, noise[t], x, y, phi, reward, parameters)
        score += weight * reward.sum() / x.size
        weight *= discount
    return score


@_compile
def _gradients(advance, theta, noise, x, y, deviation, discount, baseline, parameters, gradient, score):
    for run in range(len(theta)):
        score[run] = one_gradient(
            advance, theta[run], noise[run], x[run], y[run], deviation, discount, baseline, parameters, gradient[run]
        )


@_compile
def _returns(advance, theta, noise, x, y, discount, parameters, score):
    for run in range(len(theta)):
        score[run] = _one_return(advance, theta[run], noise[run], x[run], y[run], discount, parameters)


def _lqg(domain: LQG) -> list[float]:
    return [domain.a, domain.standard_deviation, domain.reward_weight, domain.limit]


def _mass_spring_damper(domain: MassSpringDamper) -> list[float]:
    weights = domain.distance_weight, domain.action_weight * domain.force_gain
    limits = domain.position_limit, domain.velocity_limit, domain.action_limit
    return [domain.standard_deviation, domain.goal, *weights, *limits, *domain.transition_matrix.ravel()]


def _ship(domain: ShipSteering) -> list[float]:
    limits = zip(domain.state_low, domain.state_high, strict=True)
    values = [domain.standard_deviation, domain.reference_heading, domain.speed * domain.interval, domain.goal_radius]
    values += [float(domain.stray_factor), *(bound for pair in limits for bound in pair)]
    values += [domain.action_low, domain.action_high]
    for centre, variance in zip(domain.features.centres, domain.features.variances, strict=True):
        values += [*centre, *(1 / variance), 1 / (2 * np.pi * np.sqrt(variance.prod()))]
    return values


_DOMAINS: dict[type[Domain], tuple[Callable, Callable[[Domain], list[float]]]] = {
    LQG: (_advance_lqg, _lqg),
    MassSpringDamper: (_advance_mass_spring_damper, _mass_spring_damper),
    ShipSteering: (_advance_ship, _ship),
}


def is_compiled(domain: Domain) -> bool:
    """Whether the functions below serve the domain."""
    return type(domain) in _DOMAINS


def gradient_estimate(
    domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray, *, baseline: bool = True
) -> Estimate:
    """As `paperlib.lipschitz.simulation.gpomdp.gradient_estimate`, but for the order of the noise, here (R, T, E)."""
    advance, parameters = kernel(domain)
    x, y = _coordinates(start)
    gradient, score, sigma = np.empty(theta.shape), np.empty(len(theta)), domain.standard_deviation
    _gradients(advance, theta, noise, x, y, sigma, domain.discount, baseline, parameters, gradient, score)
    return Estimate(gradient, score)


def expected_return(domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray) -> np.ndarray:
    """As `paperlib.lipschitz.simulation.gpomdp.expected_return`, but for the order of the noise, here (R, T, E)."""
    advance, parameters = kernel(domain)
    score = np.empty(len(theta))
    _returns(advance, theta, noise, *_coordinates(start), domain.discount, parameters, score)
    return score


@cache
def kernel(domain: Domain) -> tuple[Callable, np.ndarray]:
    """`advance` of a domain and its parameters."""
    advance, parameters = _DOMAINS[type(domain)]
    return advance, np.array(parameters(domain))


def _coordinates(start: State) -> tuple[np.ndarray, np.ndarray]:
    """Two coordinates, the second unused where the state has one: copies, as the kernels write into them."""
    return start[0].copy(), (start[-1].copy() if len(start) > 1 else np.zeros_like(start[0]))
