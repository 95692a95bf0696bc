"""Policy iteration, contraction margins and step sizes on LQG, for experiment E1 of notebook 17."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import solve_discrete_are

from paperlib.lipschitz import contraction_margin, gradient_norm_lipschitz
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.notebooks.shared.unlimited_lqg import UnlimitedLQG


def policy_iteration(a: float, gamma: float, steps: int = 30, start: float = 0.0) -> list[UnlimitedLQG]:
    """The critics of theta_0 = start and of the greedy policies that follow, theta_{k+1} = -Q_sa / -Q_aa."""
    critics = [UnlimitedLQG(a, start, 0.0, gamma)]
    for _ in range(steps):
        last = critics[-1]
        critics.append(UnlimitedLQG(a, -last.mixed / last.mu, 0.0, gamma))
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
    constants, mdp = dataclasses.replace(domain.policy().constants([theta]), state=policy_slope), domain.constants()
    if contraction_margin(mdp, constants) <= 0:
        return 0.0
    return float(1 / gradient_norm_lipschitz(mdp, constants))
