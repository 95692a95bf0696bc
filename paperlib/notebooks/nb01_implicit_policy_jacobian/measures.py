"""What the notebook on PAVE's Lemma 1 needs beyond a cell: its critics, and routes to the lemma that do not use it.

Everything is in float64. The formulas that are checked stand in the notebook, beside their derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacfwd, jacrev, vmap

from paperlib.notebooks.shared.interior_maxima import InteriorMaxima, finite_difference_jacobian, interior_maxima
from paperlib.notebooks.shared.trained_critics import TrainedCritic
from paperlib.pave.critic_geometry import Critic, action_gradient, check_batch
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network
from paperlib.pave.greedy_policy import NoMaximumError, refine_maximisers

_MARGIN = 0.05  # the search by values keeps this share of the box's half-width away from every face


# Routes that do not use the lemma


def maximisers_by_values(critic: Critic, states: Tensor, action_dim: int, *, bound: float) -> InteriorMaxima:
    """Interior maximisers found from values of Q alone: the best of 64 random actions, compass search, and
    steps to the vertex of the quadratic through neighbouring values. Box maxima on a face are left out.
    """
    generator = torch.Generator().manual_seed(0)
    draws = bound * (2 * torch.rand(64, action_dim, generator=generator, dtype=torch.float64) - 1)
    with torch.no_grad():
        values = torch.stack([critic(states, draw.expand(len(states), -1)) for draw in draws])
        actions = _compass_search(critic, states, draws[values.argmax(0)], bound)
        inside = (actions.abs() <= (1 - _MARGIN) * bound).all(1)
        if not inside.any():
            raise NoMaximumError(f"none of {len(states)} states has an interior maximum in [-{bound}, {bound}]")
        states, actions = states[inside], actions[inside]
        for _ in range(6):
            actions = actions + _vertex_step(critic, states, actions, spacing=3e-4)
    return InteriorMaxima("by values", critic, states, actions, bound)


def _compass_search(critic: Critic, states: Tensor, actions: Tensor, bound: float) -> Tensor:
    compass = torch.cat([torch.eye(actions.shape[1], dtype=torch.float64), -torch.eye(actions.shape[1])])
    reach = torch.full((len(states), 1), 0.25 * bound, dtype=torch.float64)
    best = critic(states, actions)
    while reach.max() > 1e-4 * bound:
        trials = torch.stack([(actions + reach * direction).clamp(-bound, bound) for direction in compass])
        values, which = torch.stack([critic(states, trial) for trial in trials]).max(0)
        better = values > best
        actions = torch.where(better[:, None], trials[which, torch.arange(len(states))], actions)
        best = torch.where(better, values, best)
        reach = torch.where(better[:, None], reach, 0.5 * reach)
    return actions


def _vertex_step(critic: Critic, states: Tensor, actions: Tensor, *, spacing: float) -> Tensor:
    """Step to the vertex of the quadratic that interpolates Q on a star of values around `actions`."""
    units = spacing * torch.eye(actions.shape[1], dtype=torch.float64)
    size = len(units)

    def value(offset: Tensor) -> Tensor:
        return critic(states, actions + offset)

    centre = value(torch.zeros(size, dtype=torch.float64))
    slope, curvature = torch.empty_like(actions), torch.empty(len(actions), size, size, dtype=torch.float64)
    for i in range(size):
        above, below = value(units[i]), value(-units[i])
        slope[:, i] = (above - below) / (2 * spacing)
        curvature[:, i, i] = (above - 2 * centre + below) / spacing**2
        for j in range(i):
            corners = value(units[i] + units[j]) + value(-units[i] - units[j])
            corners = corners - value(units[i] - units[j]) - value(units[j] - units[i])
            curvature[:, i, j] = curvature[:, j, i] = corners / (4 * spacing**2)
    return torch.linalg.solve(curvature, -slope)


def unrolled_jacobians(maxima: InteriorMaxima, iterations: int) -> Tensor:
    """torch.func derivative of gradient ascent with momentum after each of its steps, (iterations, B, d_a, d_s).

    Rate and momentum are the best constant ones for the extreme curvatures at the maximiser; the start is 0.01 from it
    in every coordinate. Second derivatives enter only as the derivative of the program.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, is {iterations}")
    eigenvalues = -torch.linalg.eigvalsh(maxima.action)
    low, high = eigenvalues[:, -1].sqrt(), eigenvalues[:, 0].sqrt()
    rates, momenta = (2 / (low + high)).square(), ((high - low) / (high + low)).square()

    def ascent(state: Tensor, start: Tensor, rate: Tensor, momentum: Tensor) -> Tensor:
        gradient = torch.func.grad(lambda action: maxima.critic(state[None], action[None])[0])
        path = [start, start]
        for _ in range(iterations):
            path.append(path[-1] + rate * gradient(path[-1]) + momentum * (path[-1] - path[-2]))
        return torch.stack(path[2:])

    return vmap(jacfwd(ascent), out_dims=1)(maxima.states, maxima.actions + 0.01, rates, momenta).detach()


def extrapolated_jacobian(maxima: InteriorMaxima, step: float) -> Tensor:
    """Richardson's (4 D(h/2) - D(h)) / 3: a reference of order h^4 that knows nothing of the lemma."""
    return (4 * finite_difference_jacobian(maxima, step / 2) - finite_difference_jacobian(maxima, step)) / 3


# The geometric reading


def rescaled(maxima: InteriorMaxima, alpha: float, beta: float) -> InteriorMaxima:
    """The maxima of beta Q(s0 + (alpha / beta)(s - s0), a), s0 the nearest of the states: alpha times the H_sa and beta
    times the H_aa of Q there.
    """

    def critic(states: Tensor, actions: Tensor) -> Tensor:
        centres = maxima.states[torch.cdist(states.detach(), maxima.states).argmin(dim=1)]
        return beta * maxima.critic(centres + (alpha / beta) * (states - centres), actions)

    return replace(maxima, critic=critic)


def displacement(maxima: InteriorMaxima, push: Tensor) -> Tensor:
    """How far the maximisers move when `push` (B, d_a) is added to the action gradient, (B,)."""

    state_dim = maxima.states.shape[1]

    def pushed(states_and_push: Tensor, actions: Tensor) -> Tensor:
        states, push = states_and_push[:, :state_dim], states_and_push[:, state_dim:]
        return maxima.critic(states, actions) + (push * actions).sum(1)

    moved, arrived = refine_maximisers(pushed, torch.cat([maxima.states, push], dim=1), maxima.actions)
    if not arrived.all():
        raise NoMaximumError(f"{maxima.label}: row {int((~arrived).nonzero()[0])} has no maximum left when pushed")
    return (moved - maxima.actions).norm(dim=1)


def flat_quadratic(curvature: float) -> InteriorMaxima:
    """Maximiser of a quadratic with action curvatures `curvature` and 1 in a turned basis, and a fixed H_sa (2 x 2)."""
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    hessian = turn @ torch.diag(torch.tensor([curvature, 1.0], dtype=torch.float64)) @ turn.mT
    mixed = torch.tensor([[1.0, 0.3], [-0.2, 0.5]], dtype=torch.float64)
    critic = QuadraticCritic((hessian + hessian.mT) / 2, mixed)
    states = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    return InteriorMaxima("quadratic", critic, states, critic.maximiser(states).detach(), torch.inf)


def flat_quartic(curvature: float) -> InteriorMaxima:
    """Maximiser, the cube root of s, of s a - a^4/4 at the state where its action curvature is `curvature`."""
    action = torch.tensor([[curvature / 3]], dtype=torch.float64).sqrt()

    def critic(states: Tensor, actions: Tensor) -> Tensor:
        return (states * actions - actions.pow(4) / 4).sum(1)

    return InteriorMaxima("quartic", critic, action.pow(3), action, torch.inf)


def undriven_quadratic(curvature: float) -> InteriorMaxima:
    """Maximiser of a quadratic with H_aa = -diag(`curvature`, 1), H_sa = (0, 1)': nothing drives the flat direction."""
    hessian = torch.diag(torch.tensor([curvature, 1.0], dtype=torch.float64))
    critic = QuadraticCritic(hessian, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    states = torch.tensor([[0.4]], dtype=torch.float64)
    return InteriorMaxima("undriven quadratic", critic, states, critic.maximiser(states).detach(), torch.inf)


# Hypotheses of the lemma


class StationaryPointCritic(nn.Module):
    """Q = u'Su/2 + (k'u)^3/6 - c sum_i u_i^4/4 with u = a - Ws: stationary at a = Ws with action Hessian S there.

    With S negative semidefinite, k = 0 and c > 0 the point is a strict maximum, also where S is singular.

    Args:
        hessian: S, (d_a, d_a), symmetric. location: W, (d_a, d_s). cubic: k, (d_a,). quartic: c.
    """

    def __init__(self, hessian: Tensor, location: Tensor, cubic: Tensor, quartic: float):
        super().__init__()
        if not torch.allclose(hessian, hessian.mT):
            raise ValueError("hessian must be symmetric")
        self.hessian, self.location, self.cubic, self.quartic = hessian, location, cubic, quartic

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        u = actions - states @ self.location.mT
        return 0.5 * (u @ self.hessian * u).sum(1) + (u @ self.cubic).pow(3) / 6 - 0.25 * self.quartic * u.pow(4).sum(1)


def stationary_points(count: int, *, signs: Sequence[float], cubic: float, seed: int) -> list[InteriorMaxima]:
    """`count` random stationary points, one critic each, with d_a = len(signs) and d_s = 2.

    signs: the eigenvalues of S are |N(0, 1)| + 0.1 times these, in a random basis: (-1, 0) gives degenerate strict
    maxima, (1, -3) saddles. cubic: standard deviation of k.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(signs)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points = []
    for i in range(count):
        basis = torch.linalg.qr(normal(size, size)).Q
        eigenvalues = (normal(size).abs() + 0.1) * torch.tensor(signs, dtype=torch.float64)
        hessian = basis @ torch.diag(eigenvalues) @ basis.mT
        location, state = 0.1 * normal(size, 2), normal(1, 2)
        critic = StationaryPointCritic((hessian + hessian.mT) / 2, location, cubic * normal(size), 1.0)
        points.append(InteriorMaxima(f"stationary {i}", critic, state, state @ location.mT, 1.0))
    return points


def beaten_nearby(maxima: InteriorMaxima) -> Tensor:
    """Whether one of 64 random actions at distance 1e-3 has a value no smaller, (B,) bool."""
    directions, radius = 64, 1e-3
    generator = torch.Generator().manual_seed(0)
    size = maxima.actions.shape[1]
    offsets = nn.functional.normalize(torch.randn(directions, size, generator=generator, dtype=torch.float64), dim=1)
    with torch.no_grad():
        here = maxima.critic(maxima.states, maxima.actions)
        around = (maxima.actions + radius * offsets[:, None]).flatten(0, 1)
        values = maxima.critic(maxima.states.repeat(directions, 1), around).view(directions, len(here))
    return (values >= here).any(0)


def curvature_of_strict_maxima(maxima: Sequence[InteriorMaxima]) -> float:
    """Largest eigenvalue of H_aa over strict maxima; ValueError if one is visibly none."""
    for points in maxima:
        if beaten_nearby(points).any():
            raise ValueError(f"{points.label} holds a point that is no strict maximum")
    return max(torch.linalg.eigvalsh(points.action).max().item() for points in maxima)


def box_maximiser(critic: Critic, states: Tensor, starts: Tensor, *, bound: float, rate: float) -> Tensor:
    """Maximiser of a concave critic in the box [-bound, bound], (B, d_a), by at most 1000 projected gradient steps.

    rate: below 2 over the largest curvature. Raises NoMaximumError if the last step still moves by 1e-15.
    """
    check_batch(states=states, starts=starts)
    actions = starts
    for _ in range(1000):
        before, actions = actions, (actions + rate * action_gradient(critic, states, actions)).clamp(-bound, bound)
        if (actions - before).abs().max() < 1e-15:
            return actions
    raise NoMaximumError(f"projected gradient steps of rate {rate} have not settled")


# The learned policy


def policy_jacobian(policy: nn.Module, states: Tensor) -> Tensor:
    """J_pi(s), (B, d_a, d_s), of a network policy."""
    return vmap(jacrev(lambda state: policy(state[None])[0]))(states).detach()


def parameter_jacobian(policy: nn.Module, states: Tensor) -> Tensor:
    """Derivative of the action by all parameters of the policy, by torch.func, (B, d_a, P)."""

    def action(values: dict[str, Tensor], state: Tensor) -> Tensor:
        return functional_call(policy, values, (state[None],))[0]

    parameters = {name: value.detach() for name, value in policy.named_parameters()}
    blocks = vmap(jacrev(action), in_dims=(None, 0))(parameters, states)
    return torch.cat([block.flatten(2) for block in blocks.values()], dim=2)


# The critics of the notebook


def example_maxima(trained: Sequence[TrainedCritic], count: int) -> dict[str, list[InteriorMaxima]]:
    """Interior maxima per kind of critic: quadratic, concave, random network, trained; up to `count` states each.

    A freshly initialised network bends little, so its box is [-10, 10]. Trained critics have the states of their
    policy's path; those without an interior maximum at any of them are left out.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(3, 3)
    quadratic = QuadraticCritic(root @ root.mT + torch.eye(3), normal(3, 4), normal(3))
    concave = ConcaveCritic(4, 3, seed=0)
    states = normal(count, 4)
    kinds = {
        "quadratic": [InteriorMaxima("quadratic", quadratic, states, quadratic.maximiser(states).detach(), 8.0)],
        "concave": [InteriorMaxima("concave", concave, states, concave.maximiser(states).detach(), 1.0)],
        "random network": [
            interior_maxima(f"random network {i}", random_network(3, 1, seed=i), normal(count, 3), 1, bound=10.0)
            for i in (0, 2)
        ],
        "trained": [],
    }
    for case in trained:
        with suppress(NoMaximumError):
            states = case.along_path(count)
            kinds["trained"].append(interior_maxima(case.label, case.critic, states, case.actions.shape[1]))
    return kinds
