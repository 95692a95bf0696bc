"""LQG without limits, solved on paper: critics, greedy policies and their margins along policy iteration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_discrete_are

from paperlib.lipschitz import PolicyConstants, contraction_margin, gradient_norm_lipschitz
from paperlib.lipschitz.simulation.domains import LQG


@dataclass(frozen=True)
class QuadraticCritic:
    """Q of the policy N(theta s, sigma^2) where s' = A (s + a) and r = -B (s^2 + a^2), up to a constant.

    Q(s, a) = -B (s^2 + a^2) - gamma p A^2 (s + a)^2, and V(s) = -p s^2 + constant.
    """

    a: float
    gamma: float
    theta: float
    b: float = 0.5

    @property
    def p(self) -> float:
        """From p = B (1 + theta^2) + gamma p A^2 (1 + theta)^2; ValueError if the return is not finite."""
        shrink = self.gamma * self.a**2 * (1 + self.theta) ** 2
        if shrink >= 1:
            raise ValueError(f"theta = {self.theta:g} does not have a finite return")
        return self.b * (1 + self.theta**2) / (1 - shrink)

    @property
    def mixed(self) -> float:
        """M = |Q_sa|."""
        return 2 * self.gamma * self.p * self.a**2

    @property
    def mu(self) -> float:
        """-Q_aa."""
        return 2 * (self.b + self.gamma * self.p * self.a**2)


def policy_iteration(a: float, gamma: float, steps: int = 30, start: float = 0.0) -> list[QuadraticCritic]:
    """The critics of theta_0 = start and of the greedy policies that follow, theta_{k+1} = -Q_sa / -Q_aa."""
    critics = [QuadraticCritic(a, gamma, start)]
    for _ in range(steps):
        last = critics[-1]
        critics.append(QuadraticCritic(a, gamma, -last.mixed / last.mu))
    return critics


def riccati_gain(a: float, gamma: float, b: float = 0.5) -> float:
    """The optimal theta by the discrete algebraic Riccati equation of the discounted system."""
    scaled = np.array([[np.sqrt(gamma) * a]])
    p = solve_discrete_are(scaled, scaled, [[b]], [[b]])[0, 0]
    return float(-gamma * p * a**2 / (b + gamma * p * a**2))


def margin(a: float, gamma: float, policy_slope: float) -> float:
    """1 - gamma L_P (1 + L_pi) with L_P = |A|."""
    return 1 - gamma * abs(a) * (1 + policy_slope)


def step_size(a: float, gamma: float, theta: float, policy_slope: float, sigma: float = 0.5) -> float:
    """SSS-SLC's step 1 / |L_gradJ| on the LQG with limits, of a policy with the constants of theta s but for its L_pi.

    Zero without a margin.
    """
    domain = LQG(a, discount=gamma, standard_deviation=sigma)
    constants, mdp = _with_slope(domain.policy().constants([theta]), policy_slope), domain.constants()
    if contraction_margin(mdp, constants) <= 0:
        return 0.0
    return float(1 / gradient_norm_lipschitz(mdp, constants))


def _with_slope(constants: PolicyConstants, policy_slope: float) -> PolicyConstants:
    fields = {name: getattr(constants, name) for name in PolicyConstants.__dataclass_fields__}
    return PolicyConstants(**fields | {"state": policy_slope})
