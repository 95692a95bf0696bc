"""PAVE's three critic losses for any critic `Q(states, actions)`, by nested autograd.

The critic's contract is that of `paperlib.pave.critic_geometry`. These losses need nothing from it but two derivatives,
cost more than a form made for one architecture, and serve as the reference for such forms.
"""

import math
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from paperlib.pave.critic_geometry import (
    Critic,
    action_gradients,
    check_batch,
    critic_name,
    derivative,
    partial_input,
    require_curvature,
)


class PaveLosses(NamedTuple):
    """Mixed-partial, vector-field and curvature loss: 0-d tensors, or `(n_critics,)` for several critics."""

    mpr: Tensor
    vfc: Tensor
    curv: Tensor


def pave_losses(
    critic: Critic,
    states: Tensor,
    actions: Tensor,
    next_states: Tensor,
    *,
    state_noise: Tensor,
    probes: Tensor,
    delta: float,
) -> PaveLosses:
    """The losses of PAVE (sections on MPR, VFC and Curv) with the normalisation behind the published numbers.

    mpr: ||grad_a Q(s + noise, a) - grad_a Q(s, a)||^2, mean over batch and action dimensions.
    vfc: ||grad_a Q(s', a) - grad_a Q(s, a)||^2, mean over batch and action dimensions.
    curv: max(0, v' H_aa v + delta), mean over the batch; one Hessian-vector product, no Hessian is built.
    The formulas as printed sum over the d_a action dimensions: d_a times these values of mpr and vfc.

    states, next_states, state_noise `(B, d_s)`; actions, probes `(B, d_a)`; actions in the critic's own units;
    state_noise already scaled by sigma; probes are the directions v; delta > 0. Terms of several critics are returned
    apart: the training objective sums them. Differentiable by the critic's parameters, once more if need be.

    Raises TypeError or ValueError on bad input, NoCurvatureError where the critic has no second derivative.
    """
    _check_arguments(states, actions, next_states, state_noise, probes, delta)
    with torch.enable_grad():
        actions = partial_input(actions, create_graph=True)
        here, stacked = action_gradients(critic, states, actions)
        nearby, _ = action_gradients(critic, states + state_noise, actions)
        later, _ = action_gradients(critic, next_states, actions)
        curvatures = [
            _probed_curvature(gradient, actions, probes, critic_name(i, stacked)) for i, gradient in enumerate(here)
        ]
    mpr = [(b - a).square().mean() for a, b in zip(here, nearby, strict=True)]
    vfc = [(b - a).square().mean() for a, b in zip(here, later, strict=True)]
    curv = [(curvature + delta).clamp_min(0).mean() for curvature in curvatures]
    return PaveLosses(*(torch.stack(terms) if stacked else terms[0] for terms in (mpr, vfc, curv)))


def _probed_curvature(gradient: Tensor, actions: Tensor, probes: Tensor, name: str) -> Tensor:
    """v' H_aa v for each row, `(B,)`."""
    product = require_curvature(gradient, derivative((gradient * probes).sum(), actions, create_graph=True), name)
    return (product * probes).sum(dim=1)


def _check_arguments(
    states: Tensor, actions: Tensor, next_states: Tensor, state_noise: Tensor, probes: Tensor, delta: float
) -> None:
    check_batch(states=states, actions=actions, next_states=next_states, state_noise=state_noise, probes=probes)
    for name, value, other_name, other in (
        ("next_states", next_states, "states", states),
        ("state_noise", state_noise, "states", states),
        ("probes", probes, "actions", actions),
    ):
        if value.shape != other.shape:
            raise ValueError(
                f"{name} must have the shape of {other_name}: got {tuple(value.shape)} and {tuple(other.shape)}"
            )
    zero = ~probes.any(dim=1)
    if zero.any():
        raise ValueError(f"probes has a zero vector at row {zero.nonzero()[0].item()}: it sees no curvature")
    if not (isinstance(delta, Real) and math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be a finite number above 0, got {delta!r}")
