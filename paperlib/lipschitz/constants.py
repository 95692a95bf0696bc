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

    transition: L_P, of the transition model under the Kantorovich metric. For a deterministic one with next state
        f(s, a) under Euclidean distances it is the larger of the largest slopes |df/ds|_2 and |df/da|_2, as the
        distance of two state-action pairs is that of the states plus that of the actions (taxicab).
    reward: L_R, under the same distance the larger of the largest slopes in the state and in the action.
    reward_bound: R, the largest absolute reward.
    discount: gamma, in [0, 1).

    `linear_quadratic` has those of a linear system with quadratic reward. ValueError on a constant that is not one
    number, negative or not finite, or a discount outside [0, 1).
    """

    transition: float
    reward: float
    reward_bound: float
    discount: float

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            if np.ndim(getattr(self, name)) > 0:
                raise ValueError(f"{name} must be one number, is {getattr(self, name)!r}")
            _require_non_negative(name, getattr(self, name))
        if not self.discount < 1:
            raise ValueError(f"discount is {self.discount}, must lie in [0, 1)")

    @classmethod
    def linear_quadratic(
        cls,
        A: ArrayLike,
        B: ArrayLike,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        state_limit: ArrayLike,
        action_limit: ArrayLike,
        discount: float,
    ) -> MDPConstants:
        """Those of s' = A s + B a + noise, r = -(s'Qs + a'Ra), with |s_j| <= state_limit_j, |a_k| <= action_limit_k.

        A next state beyond a limit stays at the limit; noise, if any, depends on neither state nor action. Then
        L_P = max(|A|_2, |B|_2), as the same noise moves both next states and limits bring them no farther apart;
        L_R = 2 max(| |Q| l_s |_2, | |R| l_a |_2) and the reward bound l_s'|Q| l_s + l_a'|R| l_a, with l the limits, |Q|
        entry by entry, and Q and R symmetrised: equal to the suprema where no entry is negative, else above them.

        A, B, Q, R: shapes (n, n), (n, m), (n, n), (m, m). state_limit, action_limit: (n,), (m,), or one for all.
        ValueError on other shapes, or limits that are not positive.
        """
        A, B, Q, R = (np.array(matrix, dtype=float) for matrix in (A, B, Q, R))
        n, m = len(A), B.shape[-1]
        for name, matrix, shape in (("A", A, (n, n)), ("B", B, (n, m)), ("Q", Q, (n, n)), ("R", R, (m, m))):
            if matrix.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, has {matrix.shape}")
        limits = np.broadcast_to(state_limit, n), np.broadcast_to(action_limit, m)
        if not all((limit > 0).all() for limit in limits):
            raise ValueError("limits must be positive")
        slopes = [np.abs(C + C.T) / 2 @ limit for C, limit in zip((Q, R), limits, strict=True)]
        return cls(
            transition=float(max(np.linalg.norm(A, 2), np.linalg.norm(B, 2))),
            reward=float(2 * max(np.linalg.norm(slope) for slope in slopes)),
            reward_bound=float(sum(limit @ slope for limit, slope in zip(limits, slopes, strict=True))),
            discount=discount,
        )


@dataclass(frozen=True, eq=False)
class PolicyConstants:
    """Constants of a policy pi^theta with d parameters (Assumptions 2 and 3), the same leading batch in all.

    Arrays, or numbers and lists that make one.

    state: L_{pi^theta}, shape (...).
    parameters: L_pi(theta), shape (...).
    score_bound: M^i_theta, the largest absolute score component, shape (..., d).
    score_state_action: L^i_{grad log pi^theta}, of the score over states and actions, shape (..., d).
    score_parameters: L^i_{grad log pi}(theta), of the score over parameters, shape (..., d).

    ValueError on a constant that is no number, negative or not finite, and where those of the score have unequal
    numbers of components or the batches do not fit together.
    """

    state: np.ndarray
    parameters: np.ndarray
    score_bound: np.ndarray
    score_state_action: np.ndarray
    score_parameters: np.ndarray

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            object.__setattr__(self, name, _require_non_negative(name, getattr(self, name)))
        self._require_fitting_shapes()

    def _require_fitting_shapes(self) -> None:
        shapes = {name: getattr(self, name).shape for name in self.__dataclass_fields__}
        components = {name: shape[-1:] for name, shape in shapes.items() if name.startswith("score")}
        if () in components.values() or len(set(components.values())) > 1:
            sizes = ", ".join(f"{name} has {shape[0] if shape else 'none'}" for name, shape in components.items())
            raise ValueError(f"one component for each parameter: {sizes}")
        try:
            np.broadcast_shapes(*(shape[:-1] if name in components else shape for name, shape in shapes.items()))
        except ValueError:
            raise ValueError(f"the batches of policies do not fit together: {shapes}") from None

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


def _require_non_negative(name: str, value: ArrayLike) -> np.ndarray:
    if np.asarray(value).dtype.kind in "US":
        raise ValueError(f"{name} must be a number, is {value!r}")
    value = np.asarray(value, dtype=float)
    if not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative, is {value}")
    return value


def contraction_margin(mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """1 - gamma K, with K = L_P (1 + L_{pi^theta}) the condition of Lemma 1; shape (...). May be negative."""
    if not (isinstance(mdp, MDPConstants) and isinstance(policy, PolicyConstants)):
        raise TypeError(
            "the MDP's constants come first and the policy's second, "
            f"not a {type(mdp).__name__} and a {type(policy).__name__}"
        )
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
    return _growth(mdp, policy) * policy.parameters


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
