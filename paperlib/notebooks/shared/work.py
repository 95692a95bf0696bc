"""Work counted in matrix products, on a random critic of the published sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paperlib.pave.critic_geometry import Critic, action_gradient
from paperlib.pave.example_critics import NetworkCritic, random_network


def matrix_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in a call, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


class Bench:
    """A random critic of the published hidden sizes and a batch; every count is in units of one action gradient.

    Args:
        d_s, d_a: dimensions. batch: rows.
    """

    def __init__(self, d_s: int, d_a: int, *, batch: int = 8):
        if min(d_s, d_a, batch) < 1:
            raise ValueError(f"d_s, d_a and batch must be at least 1, are {d_s}, {d_a}, {batch}")
        network = random_network(d_s, d_a)
        generator = torch.Generator().manual_seed(0)
        self.critic = _as_function(network)
        self.parameters = list(network.parameters())
        self.states, self.noise, self.actions = (
            torch.randn(batch, d, generator=generator, dtype=torch.float64) for d in (d_s, d_s, d_a)
        )

    def work(self, term: Callable[[Critic, Tensor, Tensor], Tensor]) -> float:
        """FLOPs of term(Q, states, actions)."""
        return self._in_gradients(lambda: term(self.critic, self.states, self.actions))

    def loss_work(self, loss: Callable[[Critic, Tensor, Tensor, Tensor], Tensor]) -> float:
        """FLOPs of a loss (Q, states, actions, noise), 0-d with a graph, and its parameter gradient."""

        def differentiate() -> None:
            value = loss(self.critic, self.states, self.actions, self.noise)
            torch.autograd.grad(value, self.parameters, allow_unused=True)

        return self._in_gradients(differentiate)

    def _in_gradients(self, function: Callable[[], object]) -> float:
        gradient = matrix_flops(lambda: action_gradient(self.critic, self.states, self.actions))
        return matrix_flops(function) / gradient


def _as_function(network: NetworkCritic) -> Critic:
    """The network without its modules: PyTorch's operation counter cannot follow gradients by inputs through them."""

    def q(states: Tensor, actions: Tensor) -> Tensor:
        hidden = torch.cat([states, actions], dim=1)
        for layer in network.layers:
            is_linear = isinstance(layer, nn.Linear)
            hidden = nn.functional.linear(hidden, layer.weight, layer.bias) if is_linear else nn.functional.silu(hidden)
        return hidden.squeeze(1)

    return q
