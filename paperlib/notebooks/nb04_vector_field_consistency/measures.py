"""Measurements behind notebook 04: vector field consistency along real transitions (PAVE, section on VFC).

Formulas under test are arguments with the right one as default, so that a test can put a wrong one in their place.
Everything is in float64 and for one critic `Q(states (B, d_s), actions (B, d_a)) -> (B,)`, actions in [-1, 1].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev, legendre
from scipy import stats
from torch import Tensor

from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.critic_geometry import Critic, action_gradient, mixed_hessian
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.example_critics import NetworkCritic
from paperlib.repro.statistics import bootstrap_interval

_CHUNK = 2**13  # rows of (state, action) evaluated at a time
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-3
_DISCOUNT = 0.99


def recorded_critic(networks: TrainedNetworks) -> NetworkCritic:
    """The first recorded critic in float64, a copy: `networks` keeps its own precision."""
    return NetworkCritic(copy.deepcopy(networks.critics[0]))


# --- transitions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Transitions:
    """B transitions (s_t, a_t, s_{t+1}) with their rewards (B,): float64, actions in [-1, 1], none of them terminal."""

    states: Tensor
    actions: Tensor
    next_states: Tensor
    rewards: Tensor

    def __post_init__(self):
        rows = {name: len(getattr(self, name)) for name in ("states", "actions", "next_states", "rewards")}
        if len(set(rows.values())) != 1 or rows["states"] == 0:
            raise ValueError(f"transitions must have the same number of rows, at least one; have {rows}")
        if self.states.shape != self.next_states.shape:
            raise ValueError(f"states are {tuple(self.states.shape)}, next_states {tuple(self.next_states.shape)}")

    def __len__(self) -> int:
        return len(self.states)

    @property
    def steps(self) -> Tensor:
        """s_{t+1} - s_t, (B, d_s)."""
        return self.next_states - self.states

    def sample(self, count: int, seed: int) -> Transitions:
        """`count` of them without replacement; ValueError if there are fewer."""
        if not 1 <= count <= len(self):
            raise ValueError(f"cannot sample {count} of {len(self)} transitions")
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return self.rows(rows)

    def rows(self, which: Tensor) -> Transitions:
        """Those at the given indices, or where a mask is true."""
        return Transitions(self.states[which], self.actions[which], self.next_states[which], self.rewards[which])


def replay_transitions(
    networks: TrainedNetworks, environment: str, *, episodes: int, seed: int, noise: float = 0.1
) -> Transitions:
    """Transitions as TD3 puts them into its replay buffer: the policy plus Gaussian noise, clipped to [-1, 1].

    The default noise is TD3's published exploration noise. The last step of each episode is left out: its successor is
    not recorded.
    """
    if episodes < 1 or noise < 0:
        raise ValueError(f"needs at least one episode and noise >= 0, got {episodes} episodes and noise {noise}")
    generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def act(states: Tensor) -> Tensor:
        actions = networks.act(states)
        return (actions + noise * torch.randn(actions.shape, generator=generator)).clamp(-1, 1)

    seeds = [[seed + episode for episode in range(episodes)]]
    played = play_episodes(act, environment, seeds, backend="gymnasium")[0]

    def stack(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.concatenate(arrays)).double()

    return Transitions(
        states=stack([e.observations[:-1] for e in played]),
        actions=stack([e.scaled_actions[:-1] for e in played]),
        next_states=stack([e.observations[1:] for e in played]),
        rewards=stack([e.rewards[:-1] for e in played]),
    )


# --- the loss and its first-order form ------------------------------------------------------------------------------


def squared_distance(here: Tensor, there: Tensor) -> Tensor:
    """||here - there||_2^2 over the last axis: the integrand of L_VFC as printed."""
    return (here - there).square().sum(dim=-1)


def vfc_terms(critic: Critic, transitions: Transitions, *, integrand: Callable = squared_distance) -> Tensor:
    """||grad_a Q(s_t, a_t) - grad_a Q(s_{t+1}, a_t)||^2 of each transition, (B,) (PAVE, L_VFC)."""
    here = action_gradient(critic, transitions.states, transitions.actions)
    there = action_gradient(critic, transitions.next_states, transitions.actions)
    return integrand(here, there)


def hessian_step_product(mixed: Tensor, steps: Tensor) -> Tensor:
    """H_sa ds, (B, d_a), from mixed Hessians (B, d_a, d_s) and steps (B, d_s)."""
    return torch.einsum("bij,bj->bi", mixed, steps)


def first_order_errors(
    critic: Critic,
    transitions: Transitions,
    fractions: Sequence[float] = (1.0,),
    *,
    product: Callable[[Tensor, Tensor], Tensor] = hessian_step_product,
) -> Tensor:
    """Relative error of ||H_sa t ds||^2 against the squared gradient difference over s_t to s_t + t ds.

    fractions: the values of t; 1 is the environment's own step. Returns (len(fractions), B). Transitions that do not
    move, or along which the gradient does not change, have no relative error and raise ValueError.
    """
    mixed = mixed_hessian(critic, transitions.states, transitions.actions)
    here = action_gradient(critic, transitions.states, transitions.actions)
    errors = []
    for fraction in fractions:
        steps = fraction * transitions.steps
        there = action_gradient(critic, transitions.states + steps, transitions.actions)
        exact = squared_distance(here, there)
        if not exact.all():
            row = int((exact == 0).nonzero()[0])
            raise ValueError(f"the gradient does not change along transition {row} at fraction {fraction:g}")
        errors.append((product(mixed, steps).square().sum(dim=1) - exact).abs() / exact)
    return torch.stack(errors)


def log_log_slope(x: Sequence[float], y: Tensor) -> float:
    """Slope of the least-squares line through (log x, log y); ValueError unless all are positive."""
    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    if len(x) != len(y) or len(x) < 2 or (x <= 0).any() or (y <= 0).any():
        raise ValueError("a slope needs at least two points, all positive, as many x as y")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


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

    Directional derivatives along ds by nested forward mode, none of the code of `first_order_errors`.
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
        total += weight * hessian_step_product(mixed, transitions.steps)
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


def score_error(critic: Critic, states: Tensor, *, nodes: int, score: Callable = action_gradient) -> float:
    """Largest |score - d log p / da| over one-dimensional actions, relative to the state's largest |d log p / da|."""
    grid, _, derivative = spectral_score(critic, states, nodes, 1)
    difference = _on_grid(lambda s, a: score(critic, s, a), states, grid.points) - derivative
    return (difference.abs().amax((1, 2)) / derivative.abs().amax((1, 2))).max().item()


def fisher_divergence(critic: Critic, transitions: Transitions, *, nodes: int) -> Tensor:
    """int p(a|s_t) ||grad log p(a|s_t) - grad log p(a|s_{t+1})||^2 da of each transition, (B,).

    From the normalised densities alone: values of Q, spectral differentiation, Clenshaw-Curtis quadrature.
    """
    d_a = transitions.actions.shape[1]
    grid, logs, here = spectral_score(critic, transitions.states, nodes, d_a)
    _, _, there = spectral_score(critic, transitions.next_states, nodes, d_a)
    return (logs.exp() * squared_distance(here, there)) @ grid.weights


def boltzmann_weighted_vfc(
    critic: Critic,
    transitions: Transitions,
    *,
    nodes: int,
    integrand: Callable = squared_distance,
    weight_states: Callable[[Transitions], Tensor] = lambda transitions: transitions.states,
) -> Tensor:
    """E_{a ~ p(.|s_t)} ||grad_a Q(s_t, a) - grad_a Q(s_{t+1}, a)||^2 of each transition, (B,).

    From automatic differentiation of Q at Gauss-Legendre nodes: shares no node and no derivative with
    `fisher_divergence`. weight_states: whose policy the action is drawn from.
    """
    grid = gauss_legendre_grid(transitions.actions.shape[1], nodes)

    def gradients(states: Tensor) -> Tensor:
        return _on_grid(lambda s, a: action_gradient(critic, s, a), states, grid.points)

    shift = integrand(gradients(transitions.states), gradients(transitions.next_states))
    return (log_boltzmann(critic, weight_states(transitions), grid).exp() * shift) @ grid.weights


def boltzmann_divergence(critic: Critic, transitions: Transitions, *, nodes: int) -> Tensor:
    """KL(p(.|s_t) || p(.|s_{t+1})) of each transition by quadrature, (B,)."""
    grid = gauss_legendre_grid(transitions.actions.shape[1], nodes)
    here = log_boltzmann(critic, transitions.states, grid)
    there = log_boltzmann(critic, transitions.next_states, grid)
    return (here.exp() * (here - there)) @ grid.weights


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """|mean(value) - mean(reference)| / mean(reference); ValueError for a reference that is not positive."""
    if not reference.mean() > 0:
        raise ValueError(f"the reference must be positive, its mean is {reference.mean().item():g}")
    return ((value.mean() - reference.mean()).abs() / reference.mean()).item()


def at_equal_length(values: Tensor, transitions: Transitions) -> Tensor:
    """Values (B,) over ||s_{t+1} - s_t||^2, with which the VFC term and the divergence grow; ValueError at rest."""
    squares = transitions.steps.square().sum(dim=1)
    if not squares.all():
        raise ValueError(f"transition {int((squares == 0).nonzero()[0])} does not move")
    return values / squares


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two (B,) tensors; ValueError where one of them is constant."""
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"needs two tensors (B,), got {tuple(x.shape)} and {tuple(y.shape)}")
    if x.unique().numel() < 2 or y.unique().numel() < 2:
        raise ValueError("a constant has no ranks to correlate")
    return float(stats.spearmanr(x.numpy(), y.numpy()).statistic)


# --- directions and what the loss does along them -------------------------------------------------------------------


def directional_coupling(mixed: Tensor, directions: Tensor) -> float:
    """Root mean square of ||H_sa u|| over unit vectors u along `directions` (B, d_s); zero vectors are left out."""
    lengths = directions.norm(dim=1)
    moving = lengths > 0
    if not moving.any():
        raise ValueError("all directions are zero vectors")
    unit = directions[moving] / lengths[moving, None]
    return hessian_step_product(mixed[moving], unit).square().sum(dim=1).mean().sqrt().item()


def isotropic_coupling(mixed: Tensor) -> float:
    """Root mean square of ||H_sa u|| over u uniform on the sphere: E||Hu||^2 = ||H||_F^2 / d_s, no sampling."""
    return (mixed.square().sum(dim=(1, 2)).mean() / mixed.shape[2]).sqrt().item()


def selectivity(with_loss: Tensor, without: Tensor, steps: Tensor) -> float:
    """How much more a loss lowers the coupling along transitions than in all directions; below 1 means more.

    with_loss, without: mixed Hessians (B, d_a, d_s) of two critics at the same points; steps: s_{t+1} - s_t (B, d_s).
    """
    along = directional_coupling(with_loss, steps) / directional_coupling(without, steps)
    return along / (isotropic_coupling(with_loss) / isotropic_coupling(without))


def direction_spectrum(steps: Tensor) -> Tensor:
    """Eigenvalues of E[u u'] over unit vectors u along `steps`, descending, (d_s,); they sum to 1."""
    moving = steps[steps.norm(dim=1) > 0]
    if len(moving) == 0:
        raise ValueError("all steps are zero vectors")
    unit = moving / moving.norm(dim=1, keepdim=True)
    return torch.linalg.eigvalsh(unit.mT @ unit / len(unit)).flip(0).clamp_min(0)


def td_targets(networks: TrainedNetworks, transitions: Transitions) -> Tensor:
    """r + gamma min_i Q_i(s', pi(s')) of the recorded networks, (B,) float32: fixed targets to fit critics to."""
    with torch.no_grad():
        states = transitions.next_states.float()
        inputs = torch.cat([states, networks.act(states)], dim=1)
        values = torch.minimum(*(critic(inputs) for critic in networks.critics)).squeeze(1)
    return transitions.rewards.float() + _DISCOUNT * values


def fit_critics(
    networks: TrainedNetworks,
    transitions: Transitions,
    *,
    vfc: Sequence[float],
    mpr: Sequence[float],
    updates: int,
    seed: int,
    sigma: float = 0.01,
) -> list[NetworkCritic]:
    """Copies of the recorded first critic, each trained on to the same TD targets under its own regularisation.

    vfc, mpr: weights, one of each per copy. All copies see the same minibatches and state noise; `networks` is left as
    it is. The engine's closed form computes the losses, so this is training as it is published, on a fixed data set.
    """
    if len(vfc) != len(mpr) or not vfc:
        raise ValueError(f"needs as many VFC as MPR weights, at least one; got {len(vfc)} and {len(mpr)}")
    copies = _stacked_copies(networks.critics[0], len(vfc))
    weights = torch.tensor(vfc, dtype=torch.float32), torch.tensor(mpr, dtype=torch.float32)
    columns = [transitions.states.float(), transitions.actions.float(), transitions.next_states.float()]
    targets = td_targets(networks, transitions)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(copies.parameters(), lr=_LEARNING_RATE)
    for _ in range(updates):
        rows = torch.randint(len(transitions), (_BATCH_SIZE,), generator=generator)
        states, actions, after = (column[rows].expand(len(vfc), -1, -1) for column in columns)
        noise = sigma * torch.randn(states.shape[1:], generator=generator)
        values, losses = closed_form_pave(
            copies,
            states,
            actions,
            after,
            state_noise=noise.expand_as(states),
            probes=torch.ones_like(actions),
            delta=torch.ones(len(vfc)),  # Curv is computed along and not used
        )
        td = (values - targets[rows]).square().mean(dim=1)
        optimiser.zero_grad()
        (td + weights[0] * losses.vfc + weights[1] * losses.mpr).sum().backward()
        optimiser.step()
    return [NetworkCritic(copies.unstack(copy)) for copy in range(len(vfc))]


def halving_weight(weights: Sequence[float], losses: Sequence[float]) -> int:
    """Index of the smallest weight of a loss at which the loss is at most half that of weight 0.

    The first entry must be weight 0 and the weights must rise; ValueError otherwise, or if no weight is strong enough.
    """
    if len(weights) != len(losses) or weights[0] != 0 or list(weights) != sorted(set(weights)):
        raise ValueError(f"needs rising weights from 0 and one loss for each, got {list(weights)}")
    for index, loss in enumerate(losses):
        if loss <= 0.5 * losses[0]:
            return index
    raise ValueError(f"no weight up to {weights[-1]:g} halves the loss")


# --- inner workings --------------------------------------------------------------------------------------------------


def _stacked_copies(critic: torch.nn.Sequential, count: int) -> StackedMLP:
    linears = [layer for layer in critic if isinstance(layer, torch.nn.Linear)]
    sizes = [linears[0].in_features, *(layer.out_features for layer in linears)]
    stack = StackedMLP(sizes, [torch.Generator().manual_seed(0)] * count)
    with torch.no_grad():
        for weight, bias, layer in zip(stack.weights, stack.biases, linears, strict=True):
            weight.copy_(layer.weight.mT.expand_as(weight))
            bias.copy_(layer.bias.expand_as(bias))
    return stack


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
