"""Lipschitz constants of an MDP estimated from transitions, where they are not known (Section 7, last sentence).

The largest ratio over pairs of observed transitions never exceeds the constant and approaches it from below as the
transitions fill the space: an estimate to start from, not a bound.
"""

from __future__ import annotations

import numpy as np

from paperlib.lipschitz.constants import MDPConstants
from paperlib.lipschitz.simulation.domains import Domain


def estimate_constants(
    states: np.ndarray, actions: np.ndarray, following: np.ndarray, rewards: np.ndarray, discount: float
) -> MDPConstants:
    """L_P, L_R (taxicab metric over state and action, Euclidean over states) and R from n deterministic transitions.

    states, following: (n, dim). actions, rewards: (n,). All n^2 / 2 pairs are compared. ValueError for fewer than two.
    """
    if len(states) < 2:
        raise ValueError(f"constants need at least two transitions, got {len(states)}")
    transition, reward = 0.0, 0.0
    for i in range(1, len(states)):
        apart = np.linalg.norm(states[:i] - states[i], axis=1) + np.abs(actions[:i] - actions[i])
        different = apart > 0
        moved = np.linalg.norm(following[:i] - following[i], axis=1)[different] / apart[different]
        paid = np.abs(rewards[:i] - rewards[i])[different] / apart[different]
        transition, reward = max(transition, moved.max(initial=0.0)), max(reward, paid.max(initial=0.0))
    return MDPConstants(float(transition), float(reward), float(np.abs(rewards).max()), discount)


def random_transitions(
    domain: Domain, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """States, actions, next states and rewards of a domain at points drawn evenly from its limits."""
    state = tuple(generator.uniform(*limits, count) for limits in zip(domain.state_low, domain.state_high, strict=True))
    action = generator.uniform(domain.action_low, domain.action_high, count)
    following, reward = domain.step(state, action), domain.reward(state, action)
    return np.stack(state, axis=1), action, np.stack(following, axis=1), reward
