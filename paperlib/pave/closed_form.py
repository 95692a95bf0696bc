"""PAVE's losses for MLP critics with SiLU in closed form: no nested differentiation, one ordinary backward pass.

MPR and VFC compare the action gradient g(s) = grad_a Q(s, a), a held fixed, with g(s + eps) and g(s'). Subtracting two
nearly equal gradients leaves little but their rounding, so here the *differences* from the point s travel through the
network, forward and back. For one critic with hidden layers z_l = h_{l-1} W_l + b_l, h_l = silu(z_l), h_0 = (s, a), and
value Q = h_L w + b, let D be the difference of a quantity at s + eps, or at s', from the same quantity at s.

Forward. Curv's probe v has the tangent t. Products are linear, so a single one takes four blocks of rows up a layer:

    (h_{l-1}, silu'(z_{l-1}) t_{l-1}, D_eps h_{l-1}, D_s' h_{l-1}) W_l = (z_l - b_l, t_l, D_eps z_l, D_s' z_l)
    D h_l = silu(z_l + D z_l) - silu(z_l)
    at the input: (s, a), (0, v), (eps, 0), (s' - s, 0)

Pull-back of p_l = dQ/dh_l. With f = silu'(z_l) at s, a single product takes three blocks of rows down a layer:

    p_L = w, D p_L = 0
    q_l = f p_l,  D q_l = (f + D f) D p_l + (D f) p_l
    (q_l, D_eps q_l, D_s' q_l) W_l' = (p_{l-1}, D_eps p_{l-1}, D_s' p_{l-1})

What the losses read, W_1a being the rows of W_1 that meet the action:

    g(s + eps) - g(s) = (D_eps q_1) W_1a',  g(s') - g(s) = (D_s' q_1) W_1a'
    v' H_aa v = sum_l <p_l, silu''(z_l) t_l^2>

In exact arithmetic these are the losses that `paperlib.pave.losses.pave_losses` computes for any critic by nested
differentiation, this module's test oracle. That function comes here with critics that are torch.nn.Sequential.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from paperlib.pave.critic_geometry import sequential_networks
from paperlib.pave.engine.networks import StackedMLP, row_product


class PaveLosses(NamedTuple):
    """Mixed-partial, vector-field and curvature loss: 0-d tensors, or `(n_critics,)` for several critics."""

    mpr: torch.Tensor
    vfc: torch.Tensor
    curv: torch.Tensor


def silu_derivatives(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """silu(z), silu'(z) and sigmoid(z), elementwise."""
    gate = torch.sigmoid(z)
    value = z * gate
    return value, gate + value * (1 - gate), gate


def silu_second_derivative(z: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """silu''(z), elementwise, from z and sigmoid(z)."""
    return gate * (1 - gate) * (2 + z * (1 - 2 * gate))


class _HiddenLayer:
    """One hidden layer at s, s + eps and s', and the tangent at s.

    Args:
        rows: (N, 4, B, H): z_l - b_l, t_l, D_eps z_l, D_s' z_l.
        bias: (N, 1, H): b_l.
    """

    def __init__(self, rows: torch.Tensor, bias: torch.Tensor):
        here, self.tangent, by_noise, by_step = rows.unbind(dim=1)
        here = here + bias
        self.z = torch.stack([here, here + by_noise, here + by_step], dim=1)
        self.value, self.slope, self.gate = silu_derivatives(self.z)

    def forward_rows(self) -> torch.Tensor:
        """h_l, silu'(z_l) t_l, D_eps h_l, D_s' h_l: (N, 4, B, H)."""
        here, elsewhere = self.value[:, :1], self.value[:, 1:]
        return torch.cat([here, self.slope[:, :1] * self.tangent[:, None], elsewhere - here], dim=1)

    def curvature(self, cotangent: torch.Tensor) -> torch.Tensor:
        """<p_l, silu''(z_l) t_l^2>, (N, B), from p_l, (N, 1, B or 1, H)."""
        bend = silu_second_derivative(self.z[:, 0], self.gate[:, 0])
        return (cotangent[:, 0] * bend * self.tangent.square()).sum(dim=2)

    def pulled(self, cotangent: torch.Tensor) -> torch.Tensor:
        """q_l, (N, 1, B, H), from p_l."""
        return self.slope[:, :1] * cotangent

    def pulled_differences(self, cotangent: torch.Tensor, differences: torch.Tensor | None) -> torch.Tensor:
        """D_eps q_l and D_s' q_l, (N, 2, B, H), from p_l and its differences; None where these are zero."""
        here, elsewhere = self.slope[:, :1], self.slope[:, 1:]
        by_slope = (elsewhere - here) * cotangent
        return by_slope if differences is None else by_slope + elsewhere * differences


def closed_form_pave(
    critic: StackedMLP,
    states: torch.Tensor,
    actions: torch.Tensor,
    next_states: torch.Tensor,
    *,
    state_noise: torch.Tensor,
    probes: torch.Tensor,
    delta: torch.Tensor,
    precision: str = "float32",
    at_once: int | None = None,
) -> tuple[torch.Tensor, PaveLosses]:
    """Critic values and PAVE's losses at one minibatch per network (PAVE, L_MPR, L_VFC and L_Curv).

    Args:
        critic: N networks that read (state, action).
        states, next_states: (N, B, d_s).
        actions, probes: (N, B, d_a); actions in [-1, 1].
        state_noise: (N, B, d_s), already scaled by sigma.
        delta: (N,), the curvature floor of each network.
        precision: of the matrix products; "mixed" multiplies values and tangents at s in full and the differences in
            bfloat16, see `row_product`.
        at_once: networks that are passed through together; all, unless given. Uncompiled on a CPU a few are faster:
            every elementwise pass over a large stack fetches it anew from beyond the cache.

    Returns:
        Values Q(s, a), (N, B), and the three losses, each (N,). MPR and VFC are means over the batch and the action
        dimensions, as published.
    """
    parameters, inputs = (*critic.weights, *critic.biases), (states, actions, next_states, state_noise, probes, delta)
    size, layers = at_once or len(states), len(critic.weights)
    parts = [
        _values_and_losses(part[:layers], part[layers : 2 * layers], *part[2 * layers :], precision=precision)
        for part in zip(*(tensor.split(size) for tensor in (*parameters, *inputs)), strict=True)
    ]
    values, *losses = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    return values, PaveLosses(*losses)


def silu_networks(critic: Any) -> list[list[nn.Linear]] | None:
    """The Linear layers of each network of a critic, if the closed form is that critic's; else None.

    It is where every network is a torch.nn.Sequential of Linear layers, the last with one output, with SiLU between
    them, and nothing acts on these from outside (hooks, parametrisations such as spectral normalisation).
    """
    networks = sequential_networks(critic)
    layers = [_silu_layers(network) for network in networks or []]
    return [some for some in layers if some is not None] if layers and None not in layers else None


def _silu_layers(network: nn.Sequential) -> list[nn.Linear] | None:
    parts = list(network)
    linear = [part for part in parts[0::2] if type(part) is nn.Linear]
    between = [part for part in parts[1::2] if type(part) is nn.SiLU]
    plain = type(network) is nn.Sequential and not any(_has_hooks(part) for part in (network, *parts))
    if not plain or not between or len(linear) != len(between) + 1 or len(linear) + len(between) != len(parts):
        return None
    return linear if linear[-1].out_features == 1 else None


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def network_losses(
    layers: Sequence[nn.Linear],
    states: torch.Tensor,
    actions: torch.Tensor,
    next_states: torch.Tensor,
    *,
    state_noise: torch.Tensor,
    probes: torch.Tensor,
    delta: float,
) -> tuple[torch.Tensor, PaveLosses]:
    """Values (B,) and the losses of one network of `silu_networks`; arguments as in `losses.pave_losses`."""
    weights = [layer.weight.mT[None] for layer in layers]
    biases = [
        weight.new_zeros(1, 1, weight.shape[2]) if layer.bias is None else layer.bias[None, None]
        for layer, weight in zip(layers, weights, strict=True)
    ]
    stacks = [rows[None] for rows in (states, actions, next_states, state_noise, probes)]
    inputs = (*stacks, states.new_tensor([delta]))
    values, *losses = _values_and_losses(weights, biases, *inputs, precision="float32")
    return values[0], PaveLosses(*(loss[0] for loss in losses))


def _values_and_losses(
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    states: torch.Tensor,
    actions: torch.Tensor,
    next_states: torch.Tensor,
    state_noise: torch.Tensor,
    probes: torch.Tensor,
    delta: torch.Tensor,
    *,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values and the three losses of some networks, the arguments as in `closed_form_pave`."""
    same_state, same_action = torch.zeros_like(states), torch.zeros_like(actions)
    blocks = (states, actions), (same_state, probes), (state_noise, same_action), (next_states - states, same_action)
    rows = torch.stack([torch.cat(block, dim=2) for block in blocks], dim=1)
    layers: list[_HiddenLayer] = []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        rows = layers[-1].forward_rows() if layers else rows
        layers.append(_HiddenLayer(row_product(rows, weight, precision, in_full=2), bias))
    last, head = layers[-1], weights[-1].mT
    values = (last.value[:, 0] * head).sum(dim=2) + biases[-1].squeeze(2)

    cotangent, differences = head[:, None], None
    curvature = last.curvature(cotangent)
    for above, below, weight in zip(layers[:0:-1], layers[-2::-1], weights[-2:0:-1], strict=True):
        pulled = torch.cat([above.pulled(cotangent), above.pulled_differences(cotangent, differences)], dim=1)
        cotangent, differences = row_product(pulled, weight.mT, precision, in_full=1).tensor_split([1], dim=1)
        curvature = curvature + below.curvature(cotangent)
    action_weight = weights[0][:, states.shape[2] :]
    pulled = layers[0].pulled_differences(cotangent, differences)
    by_noise, by_step = row_product(pulled, action_weight.mT, precision, in_full=0).unbind(dim=1)
    mpr, vfc = (differences.square().mean(dim=(1, 2)) for differences in (by_noise, by_step))
    return values, mpr, vfc, (curvature + delta[:, None]).clamp(min=0).mean(dim=1)
