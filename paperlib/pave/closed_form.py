"""PAVE's losses for stacked MLP critics in closed form: no nested differentiation, one ordinary backward pass.

For one critic with hidden layers z_l = h_{l-1} W_l + b_l, h_l = silu(z_l), h_0 = (s, a), and value q = h_L w + b:

    p_L = w                              dq/dh at the last hidden layer
    p_l = (silu'(z_{l+1}) p_{l+1}) W'    dq/dh one layer further down
    grad_a Q = (silu'(z_1) p_1) W_1a'    W_1a: the rows of W_1 that read the action
    t_1 = v W_1a,  t_{l+1} = (silu'(z_l) t_l) W_{l+1}      the tangent of z along the probe v
    v' H_aa v = sum_l <p_l, silu''(z_l) t_l^2>

All of it is differentiable by autograd in the ordinary way. `paperlib.pave.losses.pave_losses` computes the same
numbers for any critic by nested differentiation and is this module's test oracle.
"""

from __future__ import annotations

import torch

from paperlib.pave.losses import PaveLosses
from paperlib.pave.networks import StackedMLP


def silu_derivatives(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """silu(z), silu'(z) and sigmoid(z), elementwise."""
    gate = torch.sigmoid(z)
    value = z * gate
    return value, gate + value * (1 - gate), gate


def silu_second_derivative(z: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """silu''(z), elementwise, from z and sigmoid(z)."""
    return gate * (1 - gate) * (2 + z * (1 - 2 * gate))


def closed_form_pave(
    critic: StackedMLP,
    states: torch.Tensor,
    actions: torch.Tensor,
    next_states: torch.Tensor,
    *,
    state_noise: torch.Tensor,
    probes: torch.Tensor,
    delta: torch.Tensor,
) -> tuple[torch.Tensor, PaveLosses]:
    """Critic values and PAVE's losses at one minibatch per network (PAVE, L_MPR, L_VFC and L_Curv).

    Args:
        critic: N networks that read (state, action).
        states, next_states: (N, B, d_s).
        actions, probes: (N, B, d_a); actions in [-1, 1].
        state_noise: (N, B, d_s), already scaled by sigma.
        delta: (N,), the curvature floor of each network.

    Returns:
        Values Q(s, a), (N, B), and the three losses, each (N,). MPR and VFC are means over the batch and the action
        dimensions, as published.
    """
    weights, biases = list(critic.weights), list(critic.biases)
    batch, action_weight = states.shape[1], weights[0][:, states.shape[2] :]
    points = torch.cat([states, states + state_noise, next_states], dim=1)
    hidden = torch.cat([points, actions.repeat(1, 3, 1)], dim=2)

    z, slope, gate = [], [], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z.append(torch.baddbmm(bias, hidden, weight))
        hidden, layer_slope, layer_gate = silu_derivatives(z[-1])
        slope.append(layer_slope)
        gate.append(layer_gate)
    values = torch.baddbmm(biases[-1], hidden[:, :batch], weights[-1]).squeeze(2)

    tangents = [torch.bmm(probes, action_weight)]
    for layer_slope, weight in zip(slope[:-1], weights[1:-1], strict=True):
        tangents.append(torch.bmm(layer_slope[:, :batch] * tangents[-1], weight))

    cotangent = weights[-1].mT
    curvature = torch.zeros_like(values)
    for layer in reversed(range(len(z))):
        bend = silu_second_derivative(z[layer][:, :batch], gate[layer][:, :batch])
        curvature = curvature + (cotangent[:, :batch] * bend * tangents[layer].square()).sum(dim=2)
        pulled = slope[layer] * cotangent
        cotangent = torch.bmm(pulled, (weights[layer] if layer else action_weight).mT)

    here, noisy, after = cotangent.split(batch, dim=1)
    return values, PaveLosses(
        mpr=(noisy - here).square().mean(dim=(1, 2)),
        vfc=(after - here).square().mean(dim=(1, 2)),
        curv=(curvature + delta[:, None]).clamp(min=0).mean(dim=1),
    )
