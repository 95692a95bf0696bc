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

from paperlib.lipschitz.gradient_estimates import BASELINES, Estimate
from paperlib.lipschitz.simulation.domains import LQG, Domain, MassSpringDamper, ShipSteering, State
from paperlib.lipschitz.simulation.truncated_normal import compiled_redraw, offset_table, subtract_offsets

_compile = njit(fastmath={"reassoc", "contract"}, error_model="numpy", nogil=True)
"""Sums may be taken in any order, as NumPy does; not a number and infinities keep their meaning."""


@_compile
def _clip(value, low, high):
    return min(max(value, low), high)


@_compile
def _act(z, action, score, policy, table):
    """Turns the means in `action` (E,) into applied actions, and fills the score per feature, `Domain.act`.

    policy: standard deviation, action's limits, whether it is truncated; table: of its mean where it is.
    """
    sigma, low, high = policy[0], policy[1], policy[2]
    if policy[3] == 0.0:
        for e in range(z.size):
            action[e] = _clip(action[e] + sigma * z[e], low, high)
            score[e] = z[e] / sigma
        return
    over = 1 / (sigma * sigma)
    lowest, highest, outside = np.inf, -np.inf, 0
    for e in range(z.size):
        mean = action[e]
        lowest, highest = min(lowest, mean), max(highest, mean)
        action[e] = mean + sigma * z[e]
        score[e] = z[e] / sigma
        outside += (action[e] < low) or (action[e] > high)
    if outside:
        for e in range(z.size):
            if action[e] < low or action[e] > high:
                mean = action[e] - sigma * z[e]
                action[e] = compiled_redraw(mean, z[e], sigma, low, high)
                score[e] = (action[e] - mean) * over
    subtract_offsets(score, action, lowest, highest, sigma, low, high, table)


@_compile
def _advance_lqg(theta, z, x, y, phi, reward, action, score, p, policy, table):
    """p: A, reward weight, limit."""
    a, cost, limit, weight = p[0], p[1], p[2], theta[0]
    phi[0, :] = x
    for e in range(z.size):
        action[e] = weight * x[e]
    _act(z, action, score, policy, table)
    for e in range(z.size):
        reward[e] = -cost * (x[e] * x[e] + action[e] * action[e])
        x[e] = _clip(a * (x[e] + action[e]), -limit, limit)


@_compile
def _advance_mass_spring_damper(theta, z, x, v, phi, reward, action, score, p, policy, table):
    """p: goal, weights of distance and action, limits of x and v, rows of the flow."""
    goal, distance_weight, action_weight, x_limit, v_limit = p[0], p[1], p[2], p[3], p[4]
    xx, xv, xa, vx, vv, va = p[5], p[6], p[7], p[8], p[9], p[10]
    offset, on_x, on_v = theta[0], theta[1], theta[2]
    phi[0, :] = 1.0
    phi[1, :] = x
    phi[2, :] = v
    for e in range(z.size):
        action[e] = offset + on_x * x[e] + on_v * v[e]
    _act(z, action, score, policy, table)
    for e in range(z.size):
        position, velocity, pushed = x[e], v[e], action[e]
        reward[e] = -distance_weight * abs(position - goal) - action_weight * abs(pushed)
        x[e] = _clip(xx * position + xv * velocity + xa * pushed, -x_limit, x_limit)
        v[e] = _clip(vx * position + vv * velocity + va * pushed, -v_limit, v_limit)


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
def _advance_ship(theta, z, x, y, phi, reward, action, score, p, policy, table):
    """p: reference heading, speed times interval, goal radius, stray factor (0 or 1), limits of x and y, then centre
    (2), inverse variances (2) and height of each feature.
    """
    action[:] = 0.0
    for i in range(theta.size):
        k, row, weight = 8 + 5 * i, phi[i], theta[i]
        centre_x, centre_y, over_x, over_y, height = p[k], p[k + 1], -0.5 * p[k + 2], -0.5 * p[k + 3], p[k + 4]
        for e in range(z.size):
            dx, dy = x[e] - centre_x, y[e] - centre_y
            row[e] = height * _exp_of_negative(over_x * dx * dx + over_y * dy * dy)
            action[e] += weight * row[e]
    _act(z, action, score, policy, table)
    reference, reach, radius, stray = p[0], p[1], p[2], p[3]
    x_low, x_high, y_low, y_high = p[4], p[5], p[6], p[7]
    for e in range(z.size):
        east, north = x[e], y[e]
        sine, cosine = _sine_and_cosine(action[e] + reference)
        reward[e] = min(radius - np.sqrt(east * east + north * north), 0.0)
        x[e] = _clip(east + reach * (cosine - north), x_low, x_high)
        y[e] = _clip(north + reach * sine * (1 + stray * (action[e] - 1)), y_low, y_high)


@_compile
def one_gradient(advance, theta, noise, x, y, discount, baseline, parameters, policy, table, gradient):
    """One run: fills gradient (d,) and returns the return; x and y (E,) are used up. baseline: index in BASELINES."""
    episodes, d = x.size, theta.size
    phi, reward, scores = np.empty((d, episodes)), np.empty(episodes), np.zeros((d, episodes))
    action, score = np.empty(episodes), np.empty(episodes)
    gradient[:] = 0.0
    value, weight = 0.0, 1.0
    for t in range(len(noise)):
        advance(theta, noise[t], x, y, phi, reward, action, score, parameters, policy, table)
        value += weight * reward.sum() / episodes
        for i in range(d):
            gradient[i] += weight * _covariance(scores[i], phi[i], score, reward, baseline) / episodes
        weight *= discount
    return value


@_compile
def _covariance(total, feature, score, reward, baseline):
    """Adds score times feature to the running sums `total` (E,); the sum over episodes of S (r - b)."""
    product, weighted, size, sum_of_scores = 0.0, 0.0, 0.0, 0.0
    for e in range(total.size):
        s = total[e] + score[e] * feature[e]
        total[e] = s
        product += s * reward[e]
        weighted += s * s * reward[e]
        size += s * s
        sum_of_scores += s
    if baseline == 1 and size > 0:
        product -= weighted / size * sum_of_scores
    elif baseline == 2:
        for e in range(total.size):
            s = total[e]
            others = size - s * s
            product -= s * ((weighted - s * s * reward[e]) / others if others > 0 else 0.0)
    return product


@_compile
def _one_return(advance, theta, noise, x, y, discount, parameters, policy, table):
    """One run: the return; x and y (E,) are used up."""
    phi, reward, action, score = np.empty((theta.size, x.size)), np.empty(x.size), np.empty(x.size), np.empty(x.size)
    value, weight = 0.0, 1.0
    for t in range(len(noise)):
        advance(theta, noise[t], x, y, phi, reward, action, score, parameters, policy, table)
        value += weight * reward.sum() / x.size
        weight *= discount
    return value


@_compile
def _gradients(advance, theta, noise, x, y, discount, baseline, parameters, policy, table, gradient, value):
    for run in range(len(theta)):
        value[run] = one_gradient(
            advance,
            theta[run],
            noise[run],
            x[run],
            y[run],
            discount,
            baseline,
            parameters,
            policy,
            table,
            gradient[run],
        )


@_compile
def _returns(advance, theta, noise, x, y, discount, parameters, policy, table, value):
    for run in range(len(theta)):
        value[run] = _one_return(advance, theta[run], noise[run], x[run], y[run], discount, parameters, policy, table)


def _lqg(domain: LQG) -> list[float]:
    return [domain.a, domain.reward_weight, domain.limit]


def _mass_spring_damper(domain: MassSpringDamper) -> list[float]:
    weights = domain.distance_weight, domain.action_weight * domain.force_gain
    limits = domain.position_limit, domain.velocity_limit
    return [domain.goal, *weights, *limits, *domain.transition_matrix.ravel()]


def _ship(domain: ShipSteering) -> list[float]:
    limits = zip(domain.state_low, domain.state_high, strict=True)
    values = [domain.reference_heading, domain.speed * domain.interval, domain.goal_radius]
    values += [float(domain.stray_factor), *(bound for pair in limits for bound in pair)]
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
    domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray, *, baseline: str = "leave_one_out"
) -> Estimate:
    """As `paperlib.lipschitz.simulation.gpomdp.gradient_estimate`, but for the order of the noise, here (R, T, E)."""
    advance, *settings = kernel(domain)
    x, y = _coordinates(start)
    gradient, value = np.empty(theta.shape), np.empty(len(theta))
    kind = BASELINES.index(baseline)
    _gradients(advance, theta, noise, x, y, domain.discount, kind, *settings, gradient, value)
    return Estimate(gradient, value)


def expected_return(domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray) -> np.ndarray:
    """As `paperlib.lipschitz.simulation.gpomdp.expected_return`, but for the order of the noise, here (R, T, E)."""
    advance, *settings = kernel(domain)
    value = np.empty(len(theta))
    _returns(advance, theta, noise, *_coordinates(start), domain.discount, *settings, value)
    return value


@cache
def kernel(domain: Domain) -> tuple[Callable, np.ndarray, np.ndarray, np.ndarray]:
    """`advance` of a domain, its parameters, those of the policy, and the table of the policy's mean."""
    advance, parameters = _DOMAINS[type(domain)]
    policy = domain.standard_deviation, domain.action_low, domain.action_high
    table = offset_table(*policy) if domain.truncated else np.zeros((0, 2))
    return advance, np.array(parameters(domain)), np.array([*policy, float(domain.truncated)]), table


def _coordinates(start: State) -> tuple[np.ndarray, np.ndarray]:
    """Two coordinates, the second unused where the state has one: copies, as the kernels write into them."""
    return start[0].copy(), (start[-1].copy() if len(start) > 1 else np.zeros_like(start[0]))
