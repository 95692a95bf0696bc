"""What the notebook on PAVE's Proposition 2 needs beyond a cell: its critics, and segments of states.

Actions live in the box [-1, 1]^d_a, critics are in float64. The inequalities of the proof stand in the notebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paperlib.pave.critic_geometry import Critic, action_hessian, mixed_hessian
from paperlib.pave.example_critics import QuadraticCritic, random_network
from paperlib.pave.greedy_policy import NoMaximumError, greedy_actions, refine_maximisers

_SAME_ACTION = 1e-6


class TwoPeakCritic(nn.Module):
    """Q(s, a) = -k (a^2 - w^2)^2 / 4 + c a s, one state, one action: maxima near +w and -w, the higher one at s's sign.

    Both hypotheses of Proposition 2 hold at the global maximiser of every state: H_sa = c and H_aa <= -2 k w^2. It
    jumps from -w to w at s = 0 all the same.
    """

    def __init__(self, *, stiffness: float = 8.0, peak: float = 0.5, coupling: float = 1.0):
        super().__init__()
        if min(stiffness, peak, coupling) <= 0 or peak >= 1:
            raise ValueError(f"need stiffness, coupling > 0 and 0 < peak < 1, got {stiffness}, {coupling}, {peak}")
        self.stiffness, self.peak, self.coupling = stiffness, peak, coupling

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        wells = (actions.square() - self.peak**2).square()
        return (-0.25 * self.stiffness * wells + self.coupling * actions * states).squeeze(1)

    @property
    def bound(self) -> float:
        """c / (2 k w^2), M / mu over all states."""
        return self.coupling / (2 * self.stiffness * self.peak**2)


class BowlCritic(nn.Module):
    """A critic minus `depth` ||a||^2 / 2, so that its maxima lie inside the box more often."""

    def __init__(self, critic: nn.Module, depth: float):
        super().__init__()
        if depth < 0:
            raise ValueError(f"depth is {depth}: below 0 it pushes the maxima to the boundary")
        self.critic, self.depth = critic, depth

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        return self.critic(states, actions) - 0.5 * self.depth * actions.square().sum(dim=1)


def random_landscape(d_s: int, d_a: int, *, depth: float, seed: int) -> BowlCritic:
    """A random network of the published size with weights three times the initial ones, on a bowl.

    A fresh network is nearly linear in the action. Three times the weights make it curved, both ways; for d_a > 1 it
    then needs the bowl to have maxima inside the box at all.
    """
    network = random_network(d_s, d_a, seed=seed)
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3.0)
    return BowlCritic(network, depth)


def quadratic_family(scale: float, *, curvature_exponent: int, d_s: int = 6, d_a: int = 3) -> QuadraticCritic:
    """A fixed random quadratic critic with coupling times `scale`, curvature times `scale`^`curvature_exponent`."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(d_a, d_a, generator=generator, dtype=torch.float64)
    curvature = torch.eye(d_a, dtype=torch.float64) + factor @ factor.mT / d_a
    coupling = torch.randn(d_a, d_s, generator=generator, dtype=torch.float64)
    return QuadraticCritic(scale**curvature_exponent * curvature, scale * coupling)


# Segments of states


@dataclass(frozen=True, eq=False)
class Segments:
    """Straight segments of states along which every global maximiser is strict: n points on each of K segments.

    states (K, n, d_s), actions (K, n, d_a), H_sa, H_aa, and `branch` (K, n): points of one segment with equal numbers
    are joined by one continuous branch of maximisers.
    """

    states: Tensor
    actions: Tensor
    mixed: Tensor
    action: Tensor
    branch: Tensor


def segments(critic: Critic, begin: Tensor, end: Tensor, d_a: int, *, points: int = 21) -> Segments:
    """The segments from `begin` to `end`, both (K, d_s), on which the hypotheses hold at all points.

    Two neighbours are on one branch if Newton's method started at the one's maximiser finds the other's.
    Raises NoMaximumError if no segment qualifies.
    """
    if begin.shape != end.shape or points < 3:
        raise ValueError(f"segments need ends alike and 3 points, got {begin.shape}, {end.shape}, {points} points")
    share = torch.linspace(0, 1, points, dtype=begin.dtype)[:, None]
    states = begin[:, None, :] + share * (end - begin)[:, None, :]
    greedy = greedy_actions(critic, states.flatten(0, 1), d_a)
    whole = greedy.interior.view(-1, points).all(dim=1)
    if not whole.any():
        raise NoMaximumError(f"none of {len(begin)} segments has strict maxima throughout")
    states, actions = states[whole], greedy.actions.view(len(begin), points, d_a)[whole]
    followed, arrived = refine_maximisers(critic, states[:, 1:].flatten(0, 1), actions[:, :-1].flatten(0, 1))
    same = arrived & ((followed - actions[:, 1:].flatten(0, 1)).abs().amax(dim=1) < _SAME_ACTION)
    breaks = (~same).view(-1, points - 1).long().cumsum(dim=1)
    flat = states.flatten(0, 1), actions.flatten(0, 1)
    mixed, action = mixed_hessian(critic, *flat), action_hessian(critic, *flat)
    branch = torch.cat([torch.zeros_like(breaks[:, :1]), breaks], dim=1)
    shape = (len(states), points)
    return Segments(states, actions, mixed.unflatten(0, shape), action.unflatten(0, shape), branch)


def at_quadrature_nodes(critic: Critic, begin: Tensor, end: Tensor, d_a: int) -> tuple[Tensor, Tensor, Tensor]:
    """H_sa (K, n, d_a, d_s) and H_aa (K, n, d_a, d_a) at the global maximisers along the segments from `begin` to
    `end`, both (K, d_s), and the weights (n,) of the 32 Gauss-Legendre nodes.
    """
    nodes, weights = np.polynomial.legendre.leggauss(32)
    share, weight = torch.as_tensor((nodes + 1) / 2)[:, None], torch.as_tensor(weights / 2)
    states = (begin[:, None, :] + share * (end - begin)[:, None, :]).flatten(0, 1)
    at = states, greedy_actions(critic, states, d_a).actions
    shape = (len(begin), len(nodes))
    return mixed_hessian(critic, *at).unflatten(0, shape), action_hessian(critic, *at).unflatten(0, shape), weight
