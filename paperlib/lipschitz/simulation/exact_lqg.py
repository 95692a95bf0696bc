"""LQG with its limits solved to rounding: value function, return, gradient and optimum of the system that is simulated.

The value function is a polynomial on Chebyshev points. The applied action has a density inside the limits, integrated
by Gauss-Legendre: of the truncated policy, or of the drawn action where that is clipped, which puts an atom at each
limit too. Where clipping of the next state puts a kink into the integrand, the integral is split there.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from scipy.optimize import brentq
from scipy.stats import norm

from paperlib.lipschitz.gradient_estimates import Estimate
from paperlib.lipschitz.restricted_normal import mean_offset
from paperlib.lipschitz.simulation.domains import LQG

_POINTS = 40  # of the value function
_NODES = 48  # of each piece of an integral


class ExactLQG:
    """Exact `ascent.Returns` of an LQG domain with limits: infinite horizon, start as the domain's.

    Accurate to about 1e-9 as long as the policy's deviation is not small against the limits (0.1 of them, say).
    """

    def __init__(self, domain: LQG):
        self.domain = domain
        limit = domain.limit
        self._states = limit * chebyshev.chebpts2(_POINTS)
        self._to_coefficients = np.linalg.inv(chebyshev.chebvander(self._states / limit, _POINTS - 1))
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        self._start = limit * nodes, weights / 2
        pieces = [self._action_pieces(s) for s in self._states]
        self._actions = np.array([np.concatenate([_scale(nodes, *piece) for piece in row]) for row in pieces])
        self._weights = np.array([np.concatenate([weights * (b - a) / 2 for a, b in row]) for row in pieces])

    def _action_pieces(self, state: float) -> list[tuple[float, float]]:
        """The action interval cut where the next state meets a limit: always three pieces, some of them empty."""
        limit, a = self.domain.limit, self.domain.a
        meets = np.array([-limit / a, limit / a]) - state if a else np.full(2, limit)
        ends = [-limit, *sorted(np.clip(meets, -limit, limit)), limit]
        return list(zip(ends[:-1], ends[1:], strict=True))

    def estimate(self, theta: np.ndarray, iteration: int = 0) -> Estimate:
        """Gradient (R, 1) and return (R,) at theta (R, 1)."""
        solved = [self._solve(float(one)) for one in np.ravel(theta)]
        return Estimate(np.array([[gradient] for _, gradient in solved]), np.array([value for value, _ in solved]))

    def score(self, theta: np.ndarray, iteration: int = 0) -> np.ndarray:
        """The return (R,) at theta (R, 1)."""
        return self.estimate(theta).score

    def optimum(self, low: float = -1.0, high: float = 0.5) -> float:
        """The parameter at which the gradient vanishes; ValueError if it does not change sign in [low, high]."""
        return float(brentq(lambda theta: self._solve(theta)[1], low, high, xtol=1e-12))

    def _solve(self, theta: float) -> tuple[float, float]:
        """J and dJ / dtheta: (I - gamma P) V = R, differentiated."""
        basis, basis_slope, reward, reward_slope = self._averages(theta)
        gamma = self.domain.discount
        system = np.eye(_POINTS) - gamma * basis @ self._to_coefficients
        values = np.linalg.solve(system, reward)
        coefficients = self._to_coefficients @ values
        slopes = np.linalg.solve(system, reward_slope + gamma * basis_slope @ coefficients)
        points, weights = self._start
        start = weights @ chebyshev.chebvander(points / self.domain.limit, _POINTS - 1)
        return float(start @ coefficients), float(start @ (self._to_coefficients @ slopes))

    def _averages(self, theta: float) -> tuple[np.ndarray, ...]:
        """Over actions at each point: basis at the next state (N, N) and reward (N,), each with its slope in theta."""
        limit = self.domain.limit
        distribution = self._truncated if self.domain.truncated else self._clipped
        actions, mass, mass_slope = distribution(theta * self._states[:, None])
        mass_slope = mass_slope * self._states[:, None]  # in theta, through the mean
        state = (np.broadcast_to(self._states[:, None], actions.shape),)
        following = self.domain.step(state, actions)[0]
        basis = chebyshev.chebvander(following / limit, _POINTS - 1)
        reward = self.domain.reward(state, actions)
        average = [np.einsum("sa,sak->sk", m, basis) for m in (mass, mass_slope)]
        return *average, (mass * reward).sum(axis=1), (mass_slope * reward).sum(axis=1)

    def _truncated(self, mean: np.ndarray) -> tuple[np.ndarray, ...]:
        """Actions (N, A) and, from the means (N, 1), their masses and the slopes of these by the mean."""
        limits = self.domain.standard_deviation, -self.domain.limit, self.domain.limit
        density = self._weights * norm.pdf((self._actions - mean) / limits[0])
        mass = density / density.sum(axis=1, keepdims=True)
        score = (self._actions - mean - mean_offset(mean, *limits)) / limits[0] ** 2
        return self._actions, mass, mass * score

    def _clipped(self, mean: np.ndarray) -> tuple[np.ndarray, ...]:
        """As `_truncated`, of the clipped normal action, with an atom at each limit."""
        sigma, ends = self.domain.standard_deviation, np.array([-self.domain.limit, self.domain.limit])
        z, outside = (self._actions - mean) / sigma, (ends - mean) / sigma
        mass = self._weights * norm.pdf(z) / sigma
        atoms = np.stack([norm.cdf(outside[:, 0]), norm.sf(outside[:, 1])], axis=1)
        atom_slope = norm.pdf(outside) / sigma * np.array([-1, 1])
        actions = np.concatenate([self._actions, np.broadcast_to(ends, atoms.shape)], axis=1)
        return actions, np.concatenate([mass, atoms], axis=1), np.concatenate([mass * z / sigma, atom_slope], axis=1)


def _scale(nodes: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + (nodes + 1) / 2 * (high - low)
