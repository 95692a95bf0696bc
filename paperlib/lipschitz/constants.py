"""The chain of Lipschitz constants, from MDP and policy to the gradient of the return (Pirotta et al., 2015).

Every function takes the constants of the MDP (Assumption 1) and of the policy (Assumptions 2 and 3) and returns one
constant of the chain. Leading axes of the policy's constants are a batch of policies and stay in front; the last axis
of component constants is the parameter. Distances are Euclidean in states, actions and parameters, and their sum (the
taxicab distance) in state-action pairs.

The chain rests on K, the Lipschitz constant of the closed-loop kernel P^pi over states. The paper bounds it by
L_P (1 + L_pi) (equation 15), and so do `PolicyConstants`; `closed_loop.ClosedLoopConstants` are told it. The chain
stands here for any K, and is the printed one where K = L_P (1 + L_pi); notebook 11 proves it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike


class NotAContraction(ValueError):
    """The contraction margin is not positive, so the constant does not exist."""


@dataclass(frozen=True)
class MDPConstants:
    """Constants of a Lipschitz MDP (Assumption 1, Sections 2.1 and 2.2).

    transition: L_P, of the transition model under the Kantorovich metric.
    reward: L_R.
    reward_bound: R, the largest absolute reward.
    discount: gamma, in [0, 1).

    ValueError on a constant that is negative or not finite, or a discount outside [0, 1).
    """

    transition: float
    reward: float
    reward_bound: float
    discount: float

    def __post_init__(self):
        for name in ("transition", "reward", "reward_bound"):
            _require_non_negative(name, getattr(self, name))
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount is {self.discount}, must lie in [0, 1)")


@dataclass(frozen=True, eq=False)
class PolicyConstants:
    """Constants of a policy pi^theta with d parameters (Assumptions 2 and 3), the same leading batch in all.

    Arrays, or numbers and lists that make one.

    state: L_{pi^theta}, shape (...).
    parameters: L_pi(theta), shape (...).
    score_bound: M^i_theta, the largest absolute score component, shape (..., d).
    score_state_action: L^i_{grad log pi^theta}, of the score over states and actions, shape (..., d).
    score_parameters: L^i_{grad log pi}(theta), of the score over parameters, shape (..., d).

    ValueError on a constant that is negative or not finite.
    """

    state: np.ndarray
    parameters: np.ndarray
    score_bound: np.ndarray
    score_state_action: np.ndarray
    score_parameters: np.ndarray

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            value = np.asarray(getattr(self, name), dtype=float)
            _require_non_negative(name, value)
            object.__setattr__(self, name, value)

    def closed_loop(self, mdp: MDPConstants) -> np.ndarray:
        """K, of the closed-loop kernel P^pi over states under the Kantorovich metric: at most L_P (1 + L_pi)."""
        return mdp.transition * (1.0 + self.state)

    def of_batch(self, index: ArrayLike) -> PolicyConstants:
        """The constants of the policies of a batch that a mask or indices of its leading axes choose."""
        return replace(self, **{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def _remedy(self, mdp: MDPConstants, worst: tuple[int, ...]) -> str:
        """What would make the margin of the policy at index `worst` positive."""
        state = float(self.state[worst])
        product = mdp.discount * mdp.transition
        lower_policy = f"L_pi below {1 / product - 1:.6g}, " if product < 1 else ""
        return (
            f"lower {lower_policy}L_P below {1 / (mdp.discount * (1 + state)):.6g} "
            f"or gamma below {1 / (mdp.transition * (1 + state)):.6g} "
            f"(now L_pi = {state:.6g}, L_P = {mdp.transition:.6g}, gamma = {mdp.discount:.6g})"
        )


def _require_non_negative(name: str, value: ArrayLike) -> None:
    value = np.asarray(value, dtype=float)
    if not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative, is {value}")


def contraction_margin(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """1 - gamma K, with K = L_P (1 + L_{pi^theta}) the condition of Lemma 1; shape (...). May be negative."""
    return 1.0 - mdp.discount * policy.closed_loop(mdp)


def _positive_margin(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """The contraction margin, or NotAContraction with what would make it positive."""
    margin = contraction_margin(mdp, policy)
    if (margin > 0).all():
        return margin
    worst = tuple(map(int, np.unravel_index(margin.argmin(), margin.shape)))
    remedy = policy._remedy(mdp, worst)
    raise NotAContraction(
        f"gamma K = {1 - margin.min():.6g} exceeds the admissible values below 1 by {-margin.min():.6g}: {remedy}"
    )


def _growth(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_Q / L_R = L_zeta / L_pi(theta) = 1 + gamma L_P (1 + L_pi) / (1 - gamma K); shape (...)."""
    margin = _positive_margin(mdp, policy)
    return (margin + mdp.discount * mdp.transition * (1.0 + policy.state)) / margin


# Values and distributions over states and actions


def action_value_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_Q of Lemma 1: Q^theta over state-action pairs; shape (...). NotAContraction without a positive margin."""
    return mdp.reward * _growth(mdp, policy)


def state_value_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_V of Lemma 1: V^theta over states; shape (...). NotAContraction without a positive margin."""
    return mdp.reward * (1.0 + policy.state) / _positive_margin(mdp, policy)


# The return over parameters


def future_state_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_delta(theta) of Lemma 3: the discounted future-state distribution over parameters; shape (...).

    NotAContraction without a positive margin.
    """
    return mdp.discount * mdp.transition * policy.parameters / _positive_margin(mdp, policy)


def joint_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_zeta(theta) of Lemma 4: the joint state-action distribution over parameters; shape (...).

    NotAContraction without a positive margin.
    """
    return policy.parameters * _growth(mdp, policy)


def return_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_J(theta) of Theorem 1: the return over parameters; shape (...). NotAContraction without a positive margin."""
    return mdp.reward / (1.0 - mdp.discount) * joint_lipschitz(mdp, policy)


# The gradient over parameters; eta^theta = grad log pi^theta Q^theta (Section 4)


def eta_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L^i_{eta^theta} of Lemma 5: eta^theta over state-action pairs; shape (..., d).

    NotAContraction without a positive margin.
    """
    largest_value = mdp.reward_bound / (1.0 - mdp.discount)
    values = action_value_lipschitz(mdp, policy)[..., None]
    return largest_value * policy.score_state_action + policy.score_bound * values


def state_value_parameter_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_V(theta) of Theorem 2: V over parameters; shape (...). NotAContraction without a positive margin."""
    return mdp.reward * policy.parameters / (1.0 - mdp.discount) * _growth(mdp, policy)


def action_value_parameter_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_Q(theta) of Theorem 2: Q over parameters; shape (...). NotAContraction without a positive margin."""
    return mdp.discount * state_value_parameter_lipschitz(mdp, policy)


def eta_parameter_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L^i_eta(theta) of Lemma 7: eta over parameters; shape (..., d). NotAContraction without a positive margin."""
    largest_value = mdp.reward_bound / (1.0 - mdp.discount)
    values = action_value_parameter_lipschitz(mdp, policy)[..., None]
    return largest_value * policy.score_parameters + policy.score_bound * values


def gradient_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L^i_{grad J}(theta) of Theorem 3: the gradient's components over parameters; shape (..., d).

    NotAContraction without a positive margin.
    """
    joint = joint_lipschitz(mdp, policy)[..., None]
    return (eta_lipschitz(mdp, policy) * joint + eta_parameter_lipschitz(mdp, policy)) / (1.0 - mdp.discount)


def gradient_norm_lipschitz(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """L_{grad J}(theta), last sentence of Theorem 3: the gradient in the Euclidean norm; shape (...).

    NotAContraction without a positive margin.
    """
    return np.linalg.norm(gradient_lipschitz(mdp, policy), axis=-1)
