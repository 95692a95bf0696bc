"""The constants of an MDP and a policy under the paper's symbols, so that a formula reads as it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants


@dataclass(frozen=True, eq=False)
class Symbols:
    """The constants that the paper's formulas are made of; numbers, component constants (d,), or SymPy's symbols.

    gamma; L_P and L_R (Assumption 1); R, the largest absolute reward; L_pi: L_{pi^theta}, over states, and
    L_pi_at_theta: L_pi(theta), over parameters (Assumption 2); M: M^i_theta; L_score: L^i_{grad log pi^theta}, over
    states and actions, and L_score_at_theta: L^i_{grad log pi}(theta), over parameters (Assumption 3).
    """

    gamma: Any
    L_P: Any
    L_R: Any
    R: Any
    L_pi: Any
    L_pi_at_theta: Any
    M: Any
    L_score: Any
    L_score_at_theta: Any

    @classmethod
    def of(cls, mdp: MDPConstants, policy: PolicyConstants) -> Symbols:
        """The library's constants of one policy."""
        scores = policy.score_bound, policy.score_state_action, policy.score_parameters
        return cls(
            mdp.discount,
            mdp.transition,
            mdp.reward,
            mdp.reward_bound,
            float(policy.state),
            float(policy.parameters),
            *scores,
        )

    @classmethod
    def symbolic(cls) -> Symbols:
        """All of them as non-negative symbols of SymPy."""
        return cls(*sp.symbols(" ".join(cls.__dataclass_fields__), nonnegative=True))

    @property
    def margin(self) -> Any:
        """1 - gamma L_P (1 + L_{pi^theta}), which Lemma 1 needs positive."""
        return 1 - self.gamma * self.L_P * (1 + self.L_pi)

    def as_library(self) -> tuple[MDPConstants, PolicyConstants]:
        """The same as the functions of paperlib.lipschitz.constants take them."""
        policy = PolicyConstants(self.L_pi, self.L_pi_at_theta, self.M, self.L_score, self.L_score_at_theta)
        return MDPConstants(self.L_P, self.L_R, self.R, self.gamma), policy
