"""Each domain of Section 6 as a Gymnasium environment, so that any agent can train on it."""

from __future__ import annotations

import gymnasium
import numpy as np

from paperlib.lipschitz.simulation.domains import Domain

STEPS = 50
"""Length of an episode unless given; Section 6.2's."""


class DomainEnvironment(gymnasium.Env):
    """One episode of a domain: observations are its states, the action is its scalar action.

    Actions beyond the limits are applied as the nearest admissible one. An episode never terminates; it is truncated
    after `steps` steps. The discount is the agent's affair: rewards are not discounted.

    steps: ValueError if below 1.
    """

    metadata = {"render_modes": []}

    def __init__(self, domain: Domain, *, steps: int = STEPS):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, is {steps}")
        self.domain, self.steps = domain, steps
        low, high = np.array(domain.state_low), np.array(domain.state_high)
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        self.action_space = gymnasium.spaces.Box(domain.action_low, domain.action_high, (1,), dtype=np.float64)
        self._state: tuple[np.ndarray, ...] | None = None
        self._taken = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """A new episode; `options` are ignored."""
        super().reset(seed=seed)
        self._state, self._taken = self.domain.start(self.np_random, ()), 0
        return self._observation(), {}

    def step(self, action: np.ndarray):
        """One step; RuntimeError before the first reset."""
        if self._state is None:
            raise RuntimeError("call reset before step")
        applied = self.domain.applied(np.asarray(action, dtype=float).reshape(()))
        reward = float(self.domain.reward(self._state, applied))
        self._state = self.domain.step(self._state, applied)
        self._taken += 1
        return self._observation(), reward, False, self._taken >= self.steps, {}

    def _observation(self) -> np.ndarray:
        return np.array(self._state, dtype=np.float64)
