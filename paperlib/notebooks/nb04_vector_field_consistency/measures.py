"""What notebook 04 needs beyond a cell: independent routes to its two readings of VFC, and quadrature over actions.

Everything is in float64 and for one critic `Q(states (B, d_s), actions (B, d_a)) -> (B,)`, actions in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev, legendre
from scipy import stats
from torch import Tensor

from paperlib.notebooks.shared.numerics import log_log_slope
from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave.critic_geometry import Critic, action_gradient, mixed_hessian
from paperlib.repro.statistics import bootstrap_interval

_CHUNK = 2**13  # rows of (state, action) evaluated at a time


def vfc_terms(critic: Critic, transitions: Transitions) -> Tensor:
    """||grad_a Q(s_t, a_t) - grad_a Q(s_{t+1}, a_t)||^2 of each transition, (B,) (PAVE, L_VFC)."""
    here = action_gradient(critic, transitions.states, transitions.actions)
    there = action_gradient(critic, transitions.next_states, transitions.actions)
    return (here - there).square().sum(dim=1)


# --- the first-order form -------------------------------------------------------------------------------------------


def slope_over_transitions(fractions: Sequence[float], errors: Tensor) -> dict[str, float]:
    """Log-log slope of the median error (F, B) against the F fractions, against 1: as the check mean_agrees takes it.

    The 95 % interval is a bootstrap over the B transitions.
    """
    values = errors.numpy()

    def slope(transitions: np.ndarray) -> float:
        return log_log_slope(fractions, np.median(values[:, transitions[:, 0].astype(int)], axis=1))

    interval = bootstrap_interval(np.arange(values.shape[1]), slope, seed=0)
    mean = interval.pop("estimate")
    return {"mean": mean, **interval, "printed": 1.0, "printed_error": 0.0}


def leading_error_coefficient(critic: Critic, transitions: Transitions) -> Tensor:
    """|<H_sa ds, D^2_s grad_a Q [ds, ds]>| / ||H_sa ds||^2, (B,): the relative error per unit of t, as t -> 0.

    Directional derivatives along ds by nested forward mode, apart from `action_gradient` and `mixed_hessian`.
    """
    steps = transitions.steps

    def gradient(t: Tensor) -> Tensor:
        states = transitions.states + t * steps
        return torch.func.grad(lambda actions: critic(states, actions).sum())(transitions.actions)

    def first(t: Tensor) -> Tensor:
        return torch.func.jvp(gradient, (t,), (torch.ones_like(t),))[1]

    zero = torch.zeros((), dtype=steps.dtype)
    slope, bend = torch.func.jvp(first, (zero,), (torch.ones_like(zero),))
    return ((slope * bend).sum(dim=1).abs() / slope.square().sum(dim=1)).detach()


def chord_average_product(critic: Critic, transitions: Transitions, nodes: int) -> Tensor:
    """int_0^1 H_sa(s_t + tau ds, a_t) ds dtau by Gauss-Legendre quadrature, (B, d_a): the exact gradient difference."""
    points, weights = legendre.leggauss(nodes)
    total = torch.zeros_like(transitions.actions)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        mixed = mixed_hessian(critic, transitions.states + point * transitions.steps, transitions.actions)
        total += weight * torch.einsum("bij,bj->bi", mixed, transitions.steps)
    return total


# --- the implied Boltzmann policy -----------------------------------------------------------------------------------


class ActionGrid(NamedTuple):
    """Quadrature on the box [-1, 1]^{d_a}: points (K, d_a), positive weights (K,) summing to 2^{d_a}."""

    points: Tensor
    weights: Tensor

    @property
    def action_dim(self) -> int:
        return self.points.shape[1]


def gauss_legendre_grid(d_a: int, nodes: int) -> ActionGrid:
    """The tensor product of `nodes` Gauss-Legendre points per dimension."""
    return _tensor_product(*legendre.leggauss(nodes), d_a)


def clenshaw_curtis_grid(d_a: int, nodes: int) -> ActionGrid:
    """The tensor product of `nodes` Chebyshev extrema per dimension: nodes on which one can differentiate as well."""
    points = _chebyshev_points(nodes)
    moments = [0.0 if k % 2 else 2 / (1 - k * k) for k in range(nodes)]
    return _tensor_product(points, np.linalg.solve(chebyshev.chebvander(points, nodes - 1).T, moments), d_a)


def log_boltzmann(critic: Critic, states: Tensor, grid: ActionGrid) -> Tensor:
    """log p(a|s) of p proportional to exp Q on the box, normalised by quadrature, (B, K)."""
    with torch.no_grad():
        values = _on_grid(critic, states, grid.points)
    return values - torch.logsumexp(values + grid.weights.log(), dim=1, keepdim=True)


def spectral_score(critic: Critic, states: Tensor, nodes: int, d_a: int) -> tuple[ActionGrid, Tensor, Tensor]:
    """Grid, log p (B, K) and grad_a log p (B, K, d_a), the gradient by differentiating interpolating polynomials."""
    grid = clenshaw_curtis_grid(d_a, nodes)
    logs = log_boltzmann(critic, states, grid)
    points = _chebyshev_points(nodes)
    vander = chebyshev.chebvander(points, nodes - 1)
    columns = [chebyshev.chebval(points, chebyshev.chebder(row)) for row in np.eye(nodes)]
    matrix = torch.as_tensor(np.stack(columns, axis=1) @ np.linalg.inv(vander))
    cube = logs.view(len(states), *[nodes] * d_a)
    slopes = [torch.movedim(torch.tensordot(cube, matrix, ([axis + 1], [1])), -1, axis + 1) for axis in range(d_a)]
    return grid, logs, torch.stack([slope.reshape(logs.shape) for slope in slopes], dim=2)


def gradients_on_grid(critic: Critic, states: Tensor, grid: ActionGrid) -> Tensor:
    """grad_a Q at every state and point of the grid, (B, K, d_a), by automatic differentiation."""
    return _on_grid(lambda s, a: action_gradient(critic, s, a), states, grid.points)


def fisher_divergence(critic: Critic, transitions: Transitions, *, nodes: int) -> Tensor:
    """int p(a|s_t) ||grad log p(a|s_t) - grad log p(a|s_{t+1})||^2 da of each transition, (B,).

    From the normalised densities alone: values of Q, spectral differentiation, Clenshaw-Curtis quadrature.
    """
    d_a = transitions.actions.shape[1]
    grid, logs, here = spectral_score(critic, transitions.states, nodes, d_a)
    _, _, there = spectral_score(critic, transitions.next_states, nodes, d_a)
    return (logs.exp() * (here - there).square().sum(-1)) @ grid.weights


def boltzmann_divergence(critic: Critic, transitions: Transitions, *, nodes: int) -> Tensor:
    """KL(p(.|s_t) || p(.|s_{t+1})) of each transition by quadrature, (B,)."""
    grid = gauss_legendre_grid(transitions.actions.shape[1], nodes)
    here = log_boltzmann(critic, transitions.states, grid)
    there = log_boltzmann(critic, transitions.next_states, grid)
    return (here.exp() * (here - there)) @ grid.weights


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two (B,) tensors; ValueError where one of them is constant."""
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"needs two tensors (B,), got {tuple(x.shape)} and {tuple(y.shape)}")
    if x.unique().numel() < 2 or y.unique().numel() < 2:
        raise ValueError("a constant has no ranks to correlate")
    return float(stats.spearmanr(x.numpy(), y.numpy()).statistic)


# --- directions -----------------------------------------------------------------------------------------------------


def direction_spectrum(steps: Tensor) -> Tensor:
    """Eigenvalues of E[u u'] over unit vectors u along `steps`, descending, (d_s,); they sum to 1."""
    moving = steps[steps.norm(dim=1) > 0]
    if len(moving) == 0:
        raise ValueError("all steps are zero vectors")
    unit = moving / moving.norm(dim=1, keepdim=True)
    return torch.linalg.eigvalsh(unit.mT @ unit / len(unit)).flip(0).clamp_min(0)


# --- inner workings --------------------------------------------------------------------------------------------------


def _chebyshev_points(nodes: int) -> np.ndarray:
    if nodes < 2:
        raise ValueError(f"needs at least 2 nodes per dimension, got {nodes}")
    return np.cos(np.pi * np.arange(nodes) / (nodes - 1))


def _tensor_product(points: np.ndarray, weights: np.ndarray, d_a: int) -> ActionGrid:
    if d_a < 1:
        raise ValueError(f"actions need at least one dimension, got {d_a}")
    axes, masses = torch.as_tensor(points), torch.as_tensor(weights)
    every = torch.cartesian_prod(*[axes] * d_a).view(-1, d_a)
    mass = torch.cartesian_prod(*[masses] * d_a).view(-1, d_a).prod(dim=1)
    return ActionGrid(every, mass)


def _on_grid(function: Callable[[Tensor, Tensor], Tensor], states: Tensor, points: Tensor) -> Tensor:
    """`function` at every (state, point), (B, K, ...), a bounded number of rows at a time."""
    at_once = max(1, _CHUNK // len(points))
    parts = []
    for some in states.split(at_once):
        rows = function(some.repeat_interleave(len(points), dim=0), points.repeat(len(some), 1))
        parts.append(rows.view(len(some), len(points), *rows.shape[1:]))
    return torch.cat(parts)
