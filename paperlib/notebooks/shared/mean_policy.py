"""A domain steered by the mean of its Gaussian policy, without noise."""

from __future__ import annotations

import numpy as np

from paperlib.lipschitz.simulation.domains import Domain


def mean_action(domain: Domain, theta: np.ndarray, state: tuple[np.ndarray, ...]) -> np.ndarray:
    """The admissible action nearest to theta'phi(s)."""
    return domain.applied(sum(t * phi for t, phi in zip(theta, domain.feature_values(state), strict=True)))


def noiseless(domain: Domain, theta: np.ndarray, start: tuple[np.ndarray, ...], steps: int) -> np.ndarray:
    """States under the mean action: shape (steps + 1, coordinates, episodes)."""
    state, states = start, [np.array(start)]
    for _ in range(steps):
        state = domain.step(state, mean_action(domain, theta, state))
        states.append(np.array(state))
    return np.array(states)
