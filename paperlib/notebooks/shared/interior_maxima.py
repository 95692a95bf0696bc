"""Interior maximisers of a critic, with the derivatives there that Lemma 1 and Proposition 2 of PAVE are about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from paperlib.pave.critic_geometry import Critic, action_hessian, mixed_hessian
from paperlib.pave.greedy_policy import NoMaximumError, greedy_actions, greedy_jacobian


@dataclass(frozen=True, eq=False)
class InteriorMaxima:
    """Strict interior maximisers of one critic: actions (B, d_a) at states (B, d_s), in the box [-bound, bound]."""

    label: str
    critic: Critic
    states: Tensor
    actions: Tensor
    bound: float

    def __len__(self) -> int:
        return len(self.states)

    @cached_property
    def mixed(self) -> Tensor:
        """H_sa, (B, d_a, d_s)."""
        return mixed_hessian(self.critic, self.states, self.actions)

    @cached_property
    def action(self) -> Tensor:
        """H_aa, (B, d_a, d_a)."""
        return action_hessian(self.critic, self.states, self.actions)

    @cached_property
    def jacobian(self) -> Tensor:
        """J without Lemma 1, (B, d_a, d_s): central differences of the maximiser found anew."""
        return greedy_jacobian(self.critic, self.states, self.actions)

    def thinned(self, count: int) -> InteriorMaxima:
        """At most `count` of them, spread evenly."""
        rows = torch.linspace(0, len(self) - 1, min(count, len(self))).long()
        return replace(self, states=self.states[rows], actions=self.actions[rows])


def interior_maxima(
    label: str, critic: Critic, states: Tensor, action_dim: int, *, bound: float = 1.0
) -> InteriorMaxima:
    """The greedy policy at those of `states` (B, d_s) whose best action lies inside the box with H_aa < 0.

    Raises NoMaximumError if there are none.
    """
    greedy = greedy_actions(critic, states, action_dim, bound=bound)
    if not greedy.interior.any():
        raise NoMaximumError(f"{label}: none of {len(states)} states has an interior maximum in [-{bound}, {bound}]")
    return InteriorMaxima(label, critic, states[greedy.interior], greedy.actions[greedy.interior], bound)


def finite_difference_jacobian(maxima: InteriorMaxima, step: float) -> Tensor:
    """Central differences of the maximiser at `step`, (B, d_a, d_s)."""
    return greedy_jacobian(maxima.critic, maxima.states, maxima.actions, step=step)
