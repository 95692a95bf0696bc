"""PAVE's three critic losses for any critic `Q(states, actions)`: by nested autograd, or in closed form.

The critic's contract is that of `paperlib.pave.critic_geometry`. Nested autograd needs nothing from it but two
derivatives, costs more than a form made for one architecture, and serves as the reference for such forms.
"""

import math
import warnings
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from paperlib.pave.closed_form import PaveLosses, network_losses, silu_networks
from paperlib.pave.critic_geometry import (
    Critic,
    action_gradients,
    check_batch,
    check_networks,
    critic_name,
    derivative,
    partial_input,
    require_curvature,
    require_finite,
    sequential_networks,
)

__all__ = ["PaveLosses", "UnlikelyInputWarning", "pave_losses"]

_LARGEST_ACTION = 1.5
"""Beyond it actions are hardly meant to be in [-1, 1]."""
_LARGEST_NOISE = 0.5
"""Of the states' own spread: noise beyond it is hardly meant to be a small step."""
_FEWEST_ROWS = 8
"""Fewer states have no spread to speak of."""


class UnlikelyInputWarning(UserWarning):
    """Input that is allowed and rarely meant."""


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

    states, next_states, state_noise `(B, d_s)`; actions, probes `(B, d_a)`; delta > 0. The three after next_states are
    given by name. Actions are in the units that the critic reads: [-1, 1] for the published weights. state_noise is
    already scaled by sigma; probes are the directions v, of squared length d_a. Terms of several critics are returned
    apart: the training objective sums them. Differentiable by the critic's parameters, once more if need be; under
    torch.no_grad the values are the same and carry no graph.

    A critic that is a torch.nn.Sequential of Linear layers with SiLU between them, or a tuple or list of such, gets the
    closed form of `paperlib.pave.closed_form`, which is cheaper and may be compiled; any other nested autograd.

    Raises TypeError or ValueError on bad input, NoCurvatureError where the critic has no second derivative. Warns with
    UnlikelyInputWarning, once a place, of actions far outside [-1, 1], of noise that looks as if sigma were forgotten,
    and of probes of another length.
    """
    _check_arguments(states, actions, next_states, state_noise, probes, delta)
    rest: dict[str, Any] = {"state_noise": state_noise, "probes": probes, "delta": delta}
    if silu_networks(critic) is not None:
        losses = _in_closed_form(critic, states, actions, next_states, **rest)
    else:
        losses = _by_autograd(critic, states, actions, next_states, **rest)
    _warn_of_what_is_unlikely(states, actions, state_noise, probes)
    return losses


def _in_closed_form(critic: Critic, states: Tensor, actions: Tensor, next_states: Tensor, **rest) -> PaveLosses:
    check_networks(sequential_networks(critic) or [], states, actions)
    stacked, terms = isinstance(critic, tuple | list), []
    for i, layers in enumerate(silu_networks(critic) or []):
        values, losses = network_losses(layers, states, actions, next_states, **rest)
        require_finite(values.detach(), critic_name(i, stacked))
        terms.append(losses)
    return PaveLosses(*map(torch.stack, zip(*terms, strict=True))) if stacked else terms[0]


def _by_autograd(
    critic: Critic,
    states: Tensor,
    actions: Tensor,
    next_states: Tensor,
    *,
    state_noise: Tensor,
    probes: Tensor,
    delta: float,
) -> PaveLosses:
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
    if isinstance(delta, bool) or not (isinstance(delta, Real) and math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be a finite number above 0, got {delta!r}")


def _warn_of_what_is_unlikely(states: Tensor, actions: Tensor, state_noise: Tensor, probes: Tensor) -> None:
    """The texts hold no numbers: Python shows the same warning of the same place once."""
    if actions.abs().max() > _LARGEST_ACTION:
        _warn(f"actions lie beyond +-{_LARGEST_ACTION}: the published weights are for critics of actions in [-1, 1]")
    spread = (states - states.mean(dim=0)).square().mean().sqrt()
    if len(states) >= _FEWEST_ROWS and state_noise.square().mean().sqrt() > _LARGEST_NOISE * spread > 0:
        _warn("state_noise is nearly as large as the states' own spread: is it scaled by sigma (0.01 as published)?")
    d_a = probes.shape[1]
    if ((probes.square().sum(dim=1) / d_a - 1).abs() > 0.01).any():
        _warn(f"probes are not of squared length {d_a}, as entries +-1 are, and for such delta is meant")


def _warn(text: str) -> None:
    warnings.warn(text, UnlikelyInputWarning, stacklevel=4)
