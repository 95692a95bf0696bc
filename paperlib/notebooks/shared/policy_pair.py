"""Two policies of one family on one grid MDP, with everything that the paper compares of them, exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from paperlib.lipschitz.constants import PolicyConstants
from paperlib.lipschitz.finite_mdp import (
    GridMDP,
    action_values,
    expected_return,
    future_state_distribution,
    joint_distribution,
    policy_gradient,
    state_transitions,
    state_values,
)
from paperlib.lipschitz.kantorovich import kantorovich_by_cost, kantorovich_on_line
from paperlib.notebooks.shared.symbols import Symbols

Both = tuple[np.ndarray, np.ndarray]
"""A quantity of the policy at theta, and that of the other policy."""


class PolicyFamily(Protocol):
    """Policies on a grid, one for each parameter vector theta (d,)."""

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """pi^theta(a|s), shape (S, A)."""

    def constants(self, theta: np.ndarray) -> PolicyConstants:
        """Its Lipschitz constants at theta."""

    def score(self, theta: np.ndarray) -> np.ndarray:
        """grad log pi^theta(a|s), shape (S, A, d)."""


@dataclass(frozen=True, eq=False)
class PolicyPair:
    """An MDP, a family of policies, and two parameter vectors (d,) whose policies are compared: `theta` and `other`.

    Quantities bear the paper's symbols and are computed when they are asked for. Those of both policies are tuples,
    that of `theta` first.
    """

    mdp: GridMDP
    policy: PolicyFamily
    theta: np.ndarray
    other: np.ndarray

    def _of_both(self, function) -> Both:
        return function(self.theta), function(self.other)

    @cached_property
    def constants(self) -> Symbols:
        """Constants of the MDP and of the policy at theta."""
        return Symbols.of(self.mdp.constants(), self.policy.constants(self.theta))

    @cached_property
    def d(self) -> float:
        """d(theta, other)."""
        return float(np.linalg.norm(self.theta - self.other))

    @cached_property
    def pi(self) -> Both:
        """pi(a|s), each (S, A)."""
        return self._of_both(self.policy.probabilities)

    @cached_property
    def P_pi(self) -> Both:
        """Transitions between states under the policies, each (S, S)."""
        return tuple(state_transitions(self.mdp, pi) for pi in self.pi)

    @cached_property
    def V(self) -> Both:
        """State values, each (S,)."""
        return tuple(state_values(self.mdp, pi) for pi in self.pi)

    @cached_property
    def Q(self) -> Both:
        """Action values, each (S, A)."""
        return tuple(action_values(self.mdp, pi) for pi in self.pi)

    @cached_property
    def J(self) -> tuple[float, float]:
        """Returns."""
        return tuple(expected_return(self.mdp, pi) for pi in self.pi)

    @cached_property
    def delta(self) -> Both:
        """Future-state distributions, each (S,)."""
        return tuple(future_state_distribution(self.mdp, pi) for pi in self.pi)

    @cached_property
    def zeta(self) -> Both:
        """Joint distributions of states and actions, each (S, A)."""
        return tuple(joint_distribution(self.mdp, pi) for pi in self.pi)

    @cached_property
    def score(self) -> Both:
        """Gradients of log pi, each (S, A, d)."""
        return self._of_both(self.policy.score)

    @cached_property
    def eta(self) -> Both:
        """Scores times action values, each (S, A, d) (Section 4)."""
        return tuple(score * Q[..., None] for score, Q in zip(self.score, self.Q, strict=True))

    @cached_property
    def grad_J(self) -> Both:
        """Gradients of the return, each (d,)."""
        return self._of_both(lambda theta: policy_gradient(self.mdp, self.policy, theta))

    @cached_property
    def K_pi(self) -> np.ndarray:
        """Kantorovich distances of the actions in each state, (S,)."""
        return kantorovich_on_line(self.mdp.actions, *self.pi)

    @cached_property
    def K_delta(self) -> float:
        """Kantorovich distance of the future-state distributions."""
        return float(kantorovich_on_line(self.mdp.states, *self.delta))

    @cached_property
    def K_zeta(self) -> float:
        """Kantorovich distance of the joint distributions, by optimal transport."""
        return transport(self.mdp, *self.zeta)


def change(both: Both) -> np.ndarray:
    """Absolute difference of a quantity of both policies."""
    return np.abs(both[0] - both[1])


def transport(mdp: GridMDP, p: np.ndarray, q: np.ndarray) -> float:
    """Kantorovich distance of two distributions over state-action pairs, each (S, A)."""
    return kantorovich_by_cost(taxicab(mdp), p.ravel(), q.ravel())


def taxicab(mdp: GridMDP) -> np.ndarray:
    """d_S + d_A between all state-action pairs, (S A, S A)."""
    pairs = mdp.pairs()
    return np.abs(pairs[:, None] - pairs[None]).sum(axis=-1)


# The definitions once more, by routes that share nothing with the linear systems


def future_states_by_series(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """delta as it is defined, (1 - gamma) sum_t gamma^t Pr(s_t = .), summed until the tail is below 1e-13: (S,)."""
    kernel, total, now, weight = state_transitions(mdp, policy), 0.0, mdp.start, 1 - mdp.discount
    while weight > 1e-13 * (1 - mdp.discount):
        total, now, weight = total + weight * now, now @ kernel, weight * mdp.discount
    return total


def differentiated_return(pair: PolicyPair, theta: np.ndarray) -> np.ndarray:
    """Sixth-order central differences of the exact return at theta: shape (d,)."""
    weights, step = {1: 45.0, 2: -9.0, 3: 1.0}, 2e-3

    def at(shift):
        return expected_return(pair.mdp, pair.policy.probabilities(theta + shift))

    axes = step * np.eye(len(theta))
    return np.array([sum(w * (at(k * e) - at(-k * e)) for k, w in weights.items()) / (60 * step) for e in axes])
