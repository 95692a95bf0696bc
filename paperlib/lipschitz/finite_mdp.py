"""MDPs on grids of the line, where every quantity of the paper is exact: the test bed of notebooks 10 to 12.

States are S points of the line, actions A points of the line, both ascending. Every theorem of the paper is about
Polish spaces, and these are such spaces, so on them the bounds must hold without any discretisation error. A function
on the grid is Lipschitz under the taxicab distance with the largest ratio over *neighbours* as its constant, because
the distance of two pairs is the sum over the neighbours on a path between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants
from paperlib.lipschitz.kantorovich import kantorovich_on_line


def lipschitz_over_states(states: np.ndarray, values: np.ndarray) -> float:
    """Lipschitz constant over states of a function with values (S, ...); the largest over the trailing axes."""
    return _largest_slope(states, values, axis=0)


def lipschitz_over_pairs(states: np.ndarray, actions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lipschitz constants over state-action pairs of functions with values (S, A, ...): shape (...), exact."""
    along_states = np.abs(np.diff(values, axis=0)) / _column(np.diff(states), values.ndim)
    along_actions = np.abs(np.diff(values, axis=1)) / _column(np.diff(actions), values.ndim - 1)
    return np.maximum(along_states.max(axis=(0, 1)), along_actions.max(axis=(0, 1)))


def _largest_slope(points: np.ndarray, values: np.ndarray, axis: int) -> float:
    steps = np.abs(np.diff(values, axis=axis))
    return float((steps / _column(np.diff(points), values.ndim)).max())


def _column(vector: np.ndarray, ndim: int) -> np.ndarray:
    return vector.reshape(-1, *[1] * (ndim - 1))


@dataclass(frozen=True, eq=False)
class GridMDP:
    """A finite MDP on two grids of the line.

    states (S,), actions (A,): ascending. transitions: P(s'|s, a), shape (S, A, S). rewards: R(s, a), shape (S, A).
    start: mu, shape (S,). discount: gamma in [0, 1).
    """

    states: np.ndarray
    actions: np.ndarray
    transitions: np.ndarray
    rewards: np.ndarray
    start: np.ndarray
    discount: float

    def constants(self) -> MDPConstants:
        """L_P, L_R and R, exact (Assumption 1)."""
        between_states = kantorovich_on_line(self.states, self.transitions[1:], self.transitions[:-1])
        between_actions = kantorovich_on_line(self.states, self.transitions[:, 1:], self.transitions[:, :-1])
        along_states = (between_states / np.diff(self.states)[:, None]).max()
        along_actions = (between_actions / np.diff(self.actions)).max()
        return MDPConstants(
            transition=float(max(along_states, along_actions)),
            reward=float(lipschitz_over_pairs(self.states, self.actions, self.rewards)),
            reward_bound=float(np.abs(self.rewards).max()),
            discount=self.discount,
        )

    def pairs(self) -> np.ndarray:
        """All state-action pairs, shape (S A, 2), in the order of a flattened (S, A) array."""
        return np.stack(np.meshgrid(self.states, self.actions, indexing="ij"), axis=-1).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class GridGaussianPolicy:
    """A Gaussian policy on the action grid: pi(a|s) ~ exp(-(a - mean)^2 / (2 sigma^2)), mean = theta'phi(s).

    An exponential family: the score is (a - E[a]) phi(s) / sigma^2 and E[a] grows with the mean at the rate
    Var[a] / sigma^2, so its constants are those of a Gaussian policy with bounded actions, exactly.

    states (S,), actions (A,); features: phi, shape (S, d); standard_deviation: sigma;
    radius: the parameter space is the ball |theta| <= radius, over which pointwise constants are taken.
    """

    states: np.ndarray
    actions: np.ndarray
    features: np.ndarray
    standard_deviation: float
    radius: float
    largest_variance_ratio: float = field(init=False)
    """The supremum of Var[a] / sigma^2 over all means that the parameter space allows."""

    def __post_init__(self):
        object.__setattr__(self, "largest_variance_ratio", self._largest_variance_ratio())

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """pi^theta(a|s), shape (S, A)."""
        return self._family(self.features @ theta)

    def score(self, theta: np.ndarray) -> np.ndarray:
        """grad_theta log pi^theta(a|s), shape (S, A, d)."""
        mean_action = self.probabilities(theta) @ self.actions
        deviation = self.actions - mean_action[:, None]
        return deviation[:, :, None] * self.features[:, None, :] / self.standard_deviation**2

    def constants(self, theta: np.ndarray) -> PolicyConstants:
        """The constants of Assumptions 2 and 3 at theta, against every policy of the parameter space.

        Over states and actions they are exact. Over parameters they are the closed forms
        sup Var/sigma^2 sup |phi| and sup Var/sigma^4 sup |phi_i| |phi|.
        """
        score = self.score(theta)
        norms = np.linalg.norm(self.features, axis=1)
        over_states = kantorovich_on_line(self.actions, *self._neighbours(theta)) / np.diff(self.states)
        products = (np.abs(self.features) * norms[:, None]).max(axis=0)
        return PolicyConstants(
            state=over_states.max(),
            parameters=self.largest_variance_ratio * norms.max(),
            score_bound=np.abs(score).max(axis=(0, 1)),
            score_state_action=lipschitz_over_pairs(self.states, self.actions, score),
            score_parameters=self.largest_variance_ratio * products / self.standard_deviation**2,
        )

    def _neighbours(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities = self.probabilities(theta)
        return probabilities[1:], probabilities[:-1]

    def _family(self, mean: np.ndarray) -> np.ndarray:
        exponent = -((self.actions - mean[:, None]) ** 2) / (2 * self.standard_deviation**2)
        weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _largest_variance_ratio(self) -> float:
        """Maximum over a fine grid of means, plus what the variance can gain between two of them.

        The variance changes with the mean at the rate of the third central moment over sigma^2, which is at most the
        range of the actions times the variance.
        """
        largest_mean = self.radius * np.linalg.norm(self.features, axis=1).max()
        means = np.linspace(-largest_mean, largest_mean, 10_001)
        p = self._family(means)
        average = p @ self.actions
        variance = (p * (self.actions - average[:, None]) ** 2).sum(axis=1).max()
        rate = np.ptp(self.actions) / self.standard_deviation**2
        half_step = (means[1] - means[0]) / 2
        return float(variance / self.standard_deviation**2 * np.exp(rate * half_step))


# Exact quantities of a policy, given as probabilities pi(a|s) of shape (S, A)


def state_transitions(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """P^pi(s'|s), shape (S, S)."""
    return np.einsum("sa,sat->st", policy, mdp.transitions)


def state_values(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """V^pi, shape (S,), from the Bellman equation (Section 2.1)."""
    expected_reward = (policy * mdp.rewards).sum(axis=1)
    return np.linalg.solve(np.eye(len(mdp.states)) - mdp.discount * state_transitions(mdp, policy), expected_reward)


def action_values(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """Q^pi, shape (S, A) (Section 2.1)."""
    return mdp.rewards + mdp.discount * mdp.transitions @ state_values(mdp, policy)


def future_state_distribution(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """delta_mu^pi = (1 - gamma) sum_t gamma^t Pr(s_t = .), shape (S,) (Section 2.1)."""
    kernel = np.eye(len(mdp.states)) - mdp.discount * state_transitions(mdp, policy)
    return np.linalg.solve(kernel.T, (1 - mdp.discount) * mdp.start)


def joint_distribution(mdp: GridMDP, policy: np.ndarray) -> np.ndarray:
    """zeta_mu^pi(s, a) = delta(s) pi(a|s), shape (S, A) (Section 2.1)."""
    return future_state_distribution(mdp, policy)[:, None] * policy


def expected_return(mdp: GridMDP, policy: np.ndarray) -> float:
    """J_mu^pi, the value function averaged over mu (Section 2.1)."""
    return float(mdp.start @ state_values(mdp, policy))


def policy_gradient(mdp: GridMDP, policy: GridGaussianPolicy, theta: np.ndarray) -> np.ndarray:
    """grad J, shape (d,), by the policy gradient theorem (equation 3)."""
    probabilities = policy.probabilities(theta)
    weights = joint_distribution(mdp, probabilities) * action_values(mdp, probabilities)
    return np.einsum("sa,sai->i", weights, policy.score(theta)) / (1 - mdp.discount)
