"""PAVE Proposition 2 measured: the greedy policy found by maximisation, its Jacobian by finite differences, and the
inequalities that lead to L <= M / mu.

Actions live in the box [-1, 1]^d_a, critics are in float64. Every measurement takes the formula it tests as an
argument, the paper's by default, so that a test can put a wrong one in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, max_pool2d, max_pool3d

from paperlib.pave.critic_geometry import (
    Critic,
    action_gradient,
    action_hessian,
    implicit_policy_jacobian,
    mixed_hessian,
    policy_lipschitz_bound,
)
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.example_critics import NetworkCritic, QuadraticCritic, random_network

_MAX_POOL = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
_POINTS_PER_AXIS = {1: 101, 2: 15, 3: 9}
_SIXTH_ORDER = {-3: -1 / 60, -2: 3 / 20, -1: -3 / 4, 1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
_SAME_ACTION = 1e-6


class NoStrictMaximum(ValueError):
    """At no state given does the critic have its maximum inside the box with H_aa < 0."""


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


# The greedy policy


@dataclass(frozen=True, eq=False)
class GreedyActions:
    """Maximisers over the box: actions (B, d_a); strict (B,), true where one lies inside with H_aa < 0."""

    actions: Tensor
    strict: Tensor


def greedy_actions(critic: Critic, states: Tensor, d_a: int) -> GreedyActions:
    """The global maximiser of Q(s, .) over [-1, 1]^d_a, from every local maximum of a grid of actions.

    states (B, d_s). Grids exist for d_a of 1 to 3; ValueError otherwise.
    """
    if d_a not in _MAX_POOL:
        raise ValueError(f"the grid search is for 1 to 3 action dimensions, got {d_a}")
    rows, starts = _grid_maxima(critic, states, d_a)
    actions = _ascend(critic, states[rows], starts)
    with torch.no_grad():
        values = critic(states[rows], actions)
    order = np.lexsort((-values.numpy(), rows.numpy()))
    best = actions[order[np.unique(rows.numpy()[order], return_index=True)[1]]]
    strict = (best.abs() < 1).all(dim=1) & (curvature(action_hessian(critic, states, best)) > 0)
    if strict.any():
        best[strict], arrived = newton(critic, states[strict], best[strict])
        strict[strict.clone()] = arrived & (best[strict].abs() < 1).all(dim=1)
    return GreedyActions(best, strict)


def _grid_maxima(critic: Critic, states: Tensor, d_a: int) -> tuple[Tensor, Tensor]:
    """Rows and actions, (N,) and (N, d_a), at which a grid of actions has a local maximum."""
    axis = torch.linspace(-1, 1, _POINTS_PER_AXIS[d_a], dtype=states.dtype)
    grid = torch.cartesian_prod(*[axis] * d_a).reshape(-1, d_a)
    with torch.no_grad():
        values = torch.stack([critic(state.expand(len(grid), -1), grid) for state in states])
    lattice = values.view(len(states), 1, *[len(axis)] * d_a)
    highest = _MAX_POOL[d_a](lattice, 3, stride=1, padding=1) == lattice
    rows, points = highest.flatten(1).nonzero(as_tuple=True)
    return rows, grid[points]


def _ascend(critic: Critic, states: Tensor, actions: Tensor, *, iterations: int = 20) -> Tensor:
    """Projected Newton ascent in the box: curvature made negative, steps shortened until the value rises."""
    actions, moving = actions.clone(), torch.arange(len(actions))
    for _ in range(iterations):
        at = states[moving], actions[moving]
        gradient = action_gradient(critic, *at)
        held = ((at[1] >= 1) & (gradient > 0)) | ((at[1] <= -1) & (gradient < 0))
        free = (~held).to(gradient)
        hessian = action_hessian(critic, *at) * free[:, :, None] * free[:, None, :]
        values, vectors = torch.linalg.eigh(hessian - torch.diag_embed(1 - free))
        inverse = vectors / values.abs().clamp_min(1e-3)[:, None, :] @ vectors.mT
        step = free * (inverse @ (gradient * free)[:, :, None])[..., 0]
        actions[moving] = _uphill(critic, *at, step)
        moving = moving[(actions[moving] - at[1]).abs().amax(dim=1) > 1e-9]
        if len(moving) == 0:
            break
    return actions


def _uphill(critic: Critic, states: Tensor, actions: Tensor, step: Tensor) -> Tensor:
    with torch.no_grad():
        start = critic(states, actions)
        for _ in range(12):
            moved = (actions + step).clamp(-1, 1)
            worse = critic(states, moved) < start
            if not worse.any():
                break
            step = torch.where(worse[:, None], step / 4, step)
    return torch.where(worse[:, None], actions, moved)


def newton(critic: Critic, states: Tensor, actions: Tensor, *, iterations: int = 12) -> tuple[Tensor, Tensor]:
    """Newton's method for grad_a Q = 0 from `actions`: the actions reached, and where the gradient vanished, (B,).

    Unlike an ascent on values it is good to rounding of the gradient, which finite differences of the result need.
    """
    for _ in range(iterations):
        gradient, hessian = action_gradient(critic, states, actions), action_hessian(critic, states, actions)
        # Least squares survives a singular Hessian, and the limit keeps a row that goes astray finite.
        step = torch.linalg.lstsq(hessian, gradient[:, :, None]).solution[..., 0].clamp(-1, 1)
        actions = actions - step
        if step.abs().max() < 1e-14:
            break
    return actions, step.abs().amax(dim=1) < 1e-10


def measured_jacobian(critic: Critic, states: Tensor, actions: Tensor, *, step: float = 2.5e-4) -> Tensor:
    """Jacobian of a*(s) without Lemma 1, (B, d_a, d_s): sixth-order differences of the maximiser found anew.

    actions (B, d_a): the maximisers at `states`, from which Newton's method follows the branch.
    Raises ValueError where it does not arrive.
    """
    if len(states) != len(actions):
        raise ValueError(f"one maximiser per state: got {len(states)} states and {len(actions)} actions")
    d_s = states.shape[1]
    offsets = torch.tensor(list(_SIXTH_ORDER), dtype=states.dtype)
    weights = torch.tensor(list(_SIXTH_ORDER.values()), dtype=states.dtype)
    shifts = step * offsets[:, None, None] * torch.eye(d_s, dtype=states.dtype)
    moved = (states[:, None, None, :] + shifts).flatten(0, 2)
    found, arrived = newton(critic, moved, actions.repeat_interleave(len(offsets) * d_s, dim=0))
    if not arrived.all():
        row = int((~arrived).nonzero()[0]) // (len(offsets) * d_s)
        raise ValueError(f"Newton's method lost the maximum next to row {row}: is the action there a strict maximum?")
    return torch.einsum("k,bkja->baj", weights, found.view(len(states), len(offsets), d_s, -1)) / step


# Points at which the hypotheses hold


@dataclass(frozen=True, eq=False)
class Maxima:
    """Strict interior maxima of one critic: states (B, d_s), actions (B, d_a), H_sa (B, d_a, d_s), H_aa (B, d_a, d_a),
    the measured Jacobian (B, d_a, d_s), and the share of the states asked for that have such a maximum."""

    states: Tensor
    actions: Tensor
    mixed: Tensor
    action: Tensor
    jacobian: Tensor
    share: float


def maxima(critic: Critic, states: Tensor, d_a: int) -> Maxima:
    """The greedy policy at those of `states` (B, d_s) whose global maximiser is strict; NoStrictMaximum if none is."""
    greedy = greedy_actions(critic, states, d_a)
    if not greedy.strict.any():
        raise NoStrictMaximum(f"none of {len(states)} states has a strict maximum inside the box")
    s, a = states[greedy.strict], greedy.actions[greedy.strict]
    hessians = mixed_hessian(critic, s, a), action_hessian(critic, s, a)
    return Maxima(s, a, *hessians, measured_jacobian(critic, s, a), greedy.strict.double().mean().item())


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
    Raises NoStrictMaximum if no segment qualifies.
    """
    if begin.shape != end.shape or points < 3:
        raise ValueError(f"segments need ends alike and 3 points, got {begin.shape}, {end.shape}, {points} points")
    share = torch.linspace(0, 1, points, dtype=begin.dtype)[:, None]
    states = begin[:, None, :] + share * (end - begin)[:, None, :]
    greedy = greedy_actions(critic, states.flatten(0, 1), d_a)
    whole = greedy.strict.view(-1, points).all(dim=1)
    if not whole.any():
        raise NoStrictMaximum(f"none of {len(begin)} segments has strict maxima throughout")
    states, actions = states[whole], greedy.actions.view(len(begin), points, d_a)[whole]
    followed, arrived = newton(critic, states[:, 1:].flatten(0, 1), actions[:, :-1].flatten(0, 1))
    same = arrived & ((followed - actions[:, 1:].flatten(0, 1)).abs().amax(dim=1) < _SAME_ACTION)
    breaks = (~same).view(-1, points - 1).long().cumsum(dim=1)
    flat = states.flatten(0, 1), actions.flatten(0, 1)
    mixed, action = mixed_hessian(critic, *flat), action_hessian(critic, *flat)
    branch = torch.cat([torch.zeros_like(breaks[:, :1]), breaks], dim=1)
    shape = (len(states), points)
    return Segments(states, actions, mixed.unflatten(0, shape), action.unflatten(0, shape), branch)


# The inequalities of the proof, as ratios that must not exceed 1


def spectral_norm(matrices: Tensor) -> Tensor:
    """Largest singular value, (..., m, n) to (...)."""
    return torch.linalg.matrix_norm(matrices, ord=2)


def curvature(action: Tensor) -> Tensor:
    """-lambda_max(H_aa), (..., d_a, d_a) to (...): the mu of one point, positive where the hypothesis holds."""
    return -torch.linalg.eigvalsh(action)[..., -1]


def norm_product(mixed: Tensor, action: Tensor) -> Tensor:
    """||H_aa^-1||_2 ||H_sa||_2, the right side of sub-multiplicativity, (...)."""
    return spectral_norm(torch.linalg.inv(action)) * spectral_norm(mixed)


def inverse_norm_bound(action: Tensor) -> Tensor:
    """1 / mu, step (i) of the proof, (...)."""
    return 1 / curvature(action)


def lipschitz_bound(mixed: Tensor, action: Tensor) -> Tensor:
    """M / mu over a batch, H_sa (..., B, d_a, d_s) and H_aa (..., B, d_a, d_a) to (...)."""
    return policy_lipschitz_bound(mixed, action).bound


def submultiplicativity_ratio(at: Maxima, *, product: Callable[[Tensor, Tensor], Tensor] = norm_product) -> Tensor:
    """||J||_2 over the product of norms at each point, (B,); J is the measured one."""
    return spectral_norm(at.jacobian) / _positive(product(at.mixed, at.action))


def inverse_hessian_ratio(action: Tensor, *, bound: Callable[[Tensor], Tensor] = inverse_norm_bound) -> Tensor:
    """||H_aa^-1||_2, as the reciprocal of the smallest singular value, over its bound, (B,)."""
    return 1 / torch.linalg.svdvals(action)[..., -1] / _positive(bound(action))


def supremum_ratio(at: Maxima, *, bound: Callable[[Tensor, Tensor], Tensor] = lipschitz_bound) -> float:
    """sup ||J||_2 over M / mu, J the measured one, suprema over the points."""
    return (spectral_norm(at.jacobian).max() / _positive(bound(at.mixed, at.action))).item()


def pair_ratio(
    along: Segments, *, same_branch: bool, bound: Callable[[Tensor, Tensor], Tensor] = lipschitz_bound
) -> float:
    """Largest ||a*(s) - a*(s')|| / ((M / mu) ||s - s'||) over pairs of each segment, M and mu over all its points.

    The pairs are those of every second point, so that M and mu have seen the middle of the shortest pair.

    same_branch: only pairs joined by one continuous branch of maximisers.
    """
    limit = _positive(bound(along.mixed, along.action))[:, None, None]
    actions, states, branch = along.actions[:, ::2], along.states[:, ::2], along.branch[:, ::2]
    moved, apart = torch.cdist(actions, actions), torch.cdist(states, states)
    counted = apart > 0
    if same_branch:
        counted &= branch[:, :, None] == branch[:, None, :]
    return (moved / (limit * apart))[counted].max().item()


def _positive(bound: Tensor) -> Tensor:
    if not (bound > 0).all():
        raise ValueError(f"a bound on a norm must be positive, got {bound.min().item():.3g}")
    return bound


def mean_value_defect(
    critic: Critic,
    begin: Tensor,
    end: Tensor,
    d_a: int,
    *,
    jacobian: Callable[[Tensor, Tensor], Tensor] = implicit_policy_jacobian,
) -> Tensor:
    """||a*(s') - a*(s) - int_0^1 J(s + t (s' - s)) (s' - s) dt|| for s = begin, s' = end, both (K, d_s); (K,).

    The integral is Gauss-Legendre with 32 nodes, J at the global maximiser of each node.
    """
    nodes, weights = np.polynomial.legendre.leggauss(32)
    share, weight = torch.as_tensor((nodes + 1) / 2)[:, None], torch.as_tensor(weights / 2)
    states = (begin[:, None, :] + share * (end - begin)[:, None, :]).flatten(0, 1)
    at = states, greedy_actions(critic, states, d_a).actions
    slopes = jacobian(mixed_hessian(critic, *at), action_hessian(critic, *at)).unflatten(0, (len(begin), -1))
    integral = torch.einsum("n,knas,ks->ka", weight, slopes, end - begin)
    moved = greedy_actions(critic, end, d_a).actions - greedy_actions(critic, begin, d_a).actions
    return torch.linalg.vector_norm(moved - integral, dim=1)


def measured_sensitivity(critic: Critic, d_s: int, d_a: int) -> float:
    """||J||_2 of the maximiser at the zero state, by finite differences and Newton's method from a = 0."""
    states = torch.zeros(1, d_s, dtype=torch.float64)
    actions, _ = newton(critic, states, torch.zeros(1, d_a, dtype=torch.float64))
    return spectral_norm(measured_jacobian(critic, states, actions)).item()


# Trained critics where their policies go


@dataclass(frozen=True, eq=False)
class Visited:
    """States (B, d_s) and the policy's actions (B, d_a) of whole episodes, in float64, and the trained critic."""

    states: Tensor
    actions: Tensor
    critic: NetworkCritic

    def spread(self, count: int) -> Tensor:
        """At most `count` of the states, evenly spread over the episodes."""
        if count < 1:
            raise ValueError(f"ask for at least one state, not {count}")
        keep = np.linspace(0, len(self.states) - 1, min(count, len(self.states))).round()
        return self.states[torch.as_tensor(keep, dtype=torch.long)]


def visited(networks: TrainedNetworks, environment: str, *, episodes: int) -> Visited:
    """Play the trained policy and keep where it went; the critic is the first of the two."""
    if episodes < 1:
        raise ValueError(f"play at least one episode, not {episodes}")
    with torch.no_grad():
        played = play_episodes(networks.act, environment, [list(range(1, episodes + 1))], backend="gymnasium")
    flat = list(chain.from_iterable(played))
    states, actions = ([getattr(e, name) for e in flat] for name in ("observations", "scaled_actions"))
    on = {"dtype": torch.float64}
    critic = NetworkCritic(networks.critics[0])
    return Visited(
        torch.as_tensor(np.concatenate(states), **on), torch.as_tensor(np.concatenate(actions), **on), critic
    )


def visited_curvature(at: Visited, *, mu: Callable[[Tensor], Tensor] = curvature) -> Tensor:
    """-lambda_max(H_aa) at every visited (s, pi(s)), (B,)."""
    return mu(action_hessian(at.critic, at.states, at.actions))


def negative_definite_rate(curvatures: Tensor) -> float:
    """Share of points with -lambda_max(H_aa) > 0."""
    return (curvatures > 0).double().mean().item()


def rate_beyond_what_is_asked(rate: float, base: float, *, ceiling: float = 0.99, gain: float = 0.01) -> float:
    """A method's rate minus what is asked of it: Base's rate, plus `gain` where Base is below `ceiling`.

    Where Base's hypothesis holds at nearly all states there is nothing left to gain, and a tie is enough.
    """
    return rate - base - (gain if base < ceiling else 0.0)


def pointwise_bounds(at: Visited, *, bound: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
    """M(s) / mu(s) at every visited (s, pi(s)), (B,); infinite where mu(s) <= 0, for there is no bound there.

    bound: (H_sa, mu) to the ratio where mu > 0, by default ||H_sa||_2 / mu.
    """
    ratio = bound or (lambda mixed, mu: spectral_norm(mixed) / mu)
    mu = visited_curvature(at)
    ratios = ratio(mixed_hessian(at.critic, at.states, at.actions), mu)
    return torch.where(mu > 0, ratios, torch.inf)


def share_below(one: Tensor, other: Tensor) -> float:
    """Share of pairs, one value from `one` (m,) and one from `other` (n,), with the first smaller; ties count half."""
    smaller, equal = one[:, None] < other, one[:, None] == other
    return (smaller.double() + 0.5 * equal.double()).mean().item()
