"""What the curvature loss asks of a critic, how exact the losses are, and what flatness does to the policy Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paperlib.notebooks.shared.interior_maxima import InteriorMaxima, finite_difference_jacobian
from paperlib.notebooks.shared.numerics import log_log_slope
from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave.critic_geometry import Critic, action_gradient, action_hessian, mixed_hessian
from paperlib.pave.example_critics import ConcaveCritic, NetworkCritic, random_network
from paperlib.pave.losses import PaveLosses, pave_losses

Jacobian = Callable[[InteriorMaxima, float], Tensor]


# Twice continuously differentiable, or not


def largest_jump(activation: Callable[[Tensor], Tensor], *, step: float = 1e-8) -> float:
    """Largest |f''(x + step) - f''(x - step)| over a grid of [-5, 5] through zero, f'' by autograd in float64."""

    def second_derivative(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(activation(x).sum(), x, create_graph=True)
        return torch.autograd.grad(first.sum(), x)[0]

    grid = torch.linspace(-5.0, 5.0, 1001, dtype=torch.float64)
    return (second_derivative(grid + step) - second_derivative(grid - step)).abs().max().item()


class SecondDifferences(NamedTuple):
    """largest: of |second difference| over ||grad_a Q|| at the points kept; kept: share of points with no kink near."""

    largest: float
    kept: float


def second_differences(critics: Sequence[NetworkCritic], *, points: int, step: float = 1e-4) -> SecondDifferences:
    """All second differences of Q in the action, at random points away from the hidden layers' sign changes.

    A point is kept if no hidden unit changes sign between it and any node of the difference stencils.
    """
    largest, kept = 0.0, []
    for seed, critic in enumerate(critics):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.rand(points, critic.layers[0].in_features, generator=generator, dtype=torch.float64) * 2 - 1
        states, actions = inputs.split([inputs.shape[1] - 2, 2], dim=1)
        nodes = [actions + step * torch.tensor([i, j]) for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0)]
        with torch.no_grad():
            patterns = torch.stack([_signs(critic, states, node) for node in nodes])
            q = torch.stack([critic(states, node) for node in nodes]).view(3, 3, points)
        same = (patterns == patterns[4]).all(dim=2).all(dim=0)
        diagonal = torch.stack([q[2, 1] - 2 * q[1, 1] + q[0, 1], q[1, 2] - 2 * q[1, 1] + q[1, 0]])
        mixed = (q[2, 2] - q[2, 0] - q[0, 2] + q[0, 0]) / 4
        size = torch.cat([diagonal, mixed[None]]).abs().amax(0) / step**2
        ratio = size / action_gradient(critic, states, actions).norm(dim=1)
        kept.append(same.double().mean().item())
        largest = max(largest, ratio[same].max().item() if same.any() else 0.0)
    return SecondDifferences(largest, sum(kept) / len(kept))


def relu_critics(count: int) -> list[NetworkCritic]:
    """Random ReLU networks of the published sizes with three state and two action inputs."""
    return [random_network(3, 2, seed=seed, activation=nn.ReLU) for seed in range(count)]


def _signs(critic: NetworkCritic, states: Tensor, actions: Tensor) -> Tensor:
    """Which pre-activations of the hidden layers are positive, (B, units)."""
    hidden, signs = torch.cat([states, actions], dim=1), []
    for layer in critic.layers[:-1]:
        hidden = layer(hidden)
        if isinstance(layer, nn.Linear):
            signs.append(hidden > 0)
    return torch.cat(signs, dim=1)


# Finite differences, or exact derivatives


Losses = Callable[..., PaveLosses]


def truncation_errors(
    critic: Critic, transitions: Transitions, *, sigma: float, delta: float, losses: Losses = pave_losses
) -> dict[str, float]:
    """Largest relative difference of each loss's inner term from the derivative it stands for, over the rows.

    The losses are evaluated row by row, which undoes their means: ||difference of gradients|| against ||H_sa eps||
    and ||H_sa ds||, and the open hinge less delta against v'H_aa v from the whole Hessian.
    """
    states, actions = transitions.states, transitions.actions
    generator = torch.Generator().manual_seed(0)
    noise = sigma * torch.randn(states.shape, generator=generator, dtype=states.dtype)
    probes = torch.randint(0, 2, actions.shape, generator=generator).to(actions) * 2 - 1
    mixed = mixed_hessian(critic, states, actions)
    curvature = torch.einsum("bi,bij,bj->b", probes, action_hessian(critic, states, actions), probes)
    errors: dict[str, list[float]] = {"mpr": [], "vfc": [], "curv": []}
    for row in range(len(transitions)):
        at = slice(row, row + 1)
        step = {"state_noise": noise[at], "probes": probes[at], "delta": delta}
        terms = losses(critic, states[at], actions[at], transitions.next_states[at], **step)
        for name, moved in (("mpr", noise[row]), ("vfc", transitions.steps[row])):
            exact = (mixed[row] @ moved).norm()
            errors[name].append(((getattr(terms, name) * actions.shape[1]).sqrt() / exact - 1).abs().item())
        if curvature[row] > -delta:
            errors["curv"].append(((terms.curv - delta) / curvature[row] - 1).abs().item())
    if not errors["curv"]:
        raise ValueError("the hinge is closed at every row, so the curvature loss shows nothing: raise delta")
    return {name: max(values) for name, values in errors.items()}


def proxy_order(
    critic: Critic, transitions: Transitions, *, sigma: float, delta: float, losses: Losses = pave_losses
) -> dict[str, float]:
    """Log-log slopes of the errors of MPR and VFC against the scale of noise and transition, and the error of Curv.

    Scales 1, 0.1 and 0.01: a finite difference of first order has slope 1; an exact derivative has no step to scale.
    """
    scales, errors = (1.0, 0.1, 0.01), []
    for scale in scales:
        shorter = replace(transitions, next_states=transitions.states + scale * transitions.steps)
        errors.append(truncation_errors(critic, shorter, sigma=scale * sigma, delta=delta, losses=losses))
    slopes = {name: log_log_slope(scales, [at[name] for at in errors]) for name in ("mpr", "vfc")}
    return slopes | {"curv": max(at["curv"] for at in errors)}


# What flatness does to the policy


def concave_maxima(count: int, *, state_dim: int = 3, action_dim: int = 2) -> list[InteriorMaxima]:
    """Maximisers of random concave critics, one state each."""
    cases = []
    for seed in range(count):
        critic = ConcaveCritic(state_dim, action_dim, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        states = torch.randn(1, state_dim, generator=generator, dtype=torch.float64)
        cases.append(InteriorMaxima("concave", critic, states, critic.maximiser(states).detach(), torch.inf))
    return cases


def growth_when_scaled(maxima: InteriorMaxima, factor: float, jacobian: Jacobian = finite_difference_jacobian) -> float:
    """||J||_2 of `factor` times the critic over ||J||_2 of the critic.

    jacobian: (maxima, step) to (B, d_a, d_s); by default central differences of the Newton-solved maximiser.
    """
    return _growth(maxima, lambda s, a: factor * maxima.critic(s, a), 1e-5, jacobian)


def growth_when_curvature_is_scaled(
    maxima: InteriorMaxima, factor: float, jacobian: Jacobian = finite_difference_jacobian
) -> float:
    """Growth of ||J||_2 when H_aa is multiplied by `factor` at fixed H_sa.

    At s0, factor Q(s0 + (s - s0) / factor, a) has the H_sa of Q and factor times its H_aa.
    """
    centre = maxima.states
    return _growth(
        maxima, lambda s, a: factor * maxima.critic(centre + (s - centre) / factor, a), 1e-5 * factor, jacobian
    )


def _growth(maxima: InteriorMaxima, changed: Critic, step: float, jacobian: Jacobian) -> float:
    after = jacobian(InteriorMaxima(maxima.label, changed, maxima.states, maxima.actions, maxima.bound), step)
    return (torch.linalg.matrix_norm(after, ord=2) / torch.linalg.matrix_norm(jacobian(maxima, 1e-5), ord=2)).item()
