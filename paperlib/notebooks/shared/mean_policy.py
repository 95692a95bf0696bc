"""A domain steered by the mean of its policy, without noise."""

from __future__ import annotations

import numpy as np

from paperlib.lipschitz.simulation import truncated_normal
from paperlib.lipschitz.simulation.domains import Domain


def mean_action(domain: Domain, theta: np.ndarray, state: tuple[np.ndarray, ...]) -> np.ndarray:
    """E[a|s] of the restricted policy; of one that is not restricted the admissible action nearest to theta'phi(s)."""
    centre = sum(t * phi for t, phi in zip(theta, domain.feature_values(state), strict=True))
    if not domain.truncated:
        return domain.applied(centre)
    limits = domain.standard_deviation, domain.action_low, domain.action_high
    return centre + truncated_normal.mean_offset(centre, *limits)


def noiseless(domain: Domain, theta: np.ndarray, start: tuple[np.ndarray, ...], steps: int) -> np.ndarray:
    """States under the mean action: shape (steps + 1, coordinates, episodes)."""
    state, states = start, [np.array(start)]
    for _ in range(steps):
        state = domain.step(state, mean_action(domain, theta, state))
        states.append(np.array(state))
    return np.array(states)
