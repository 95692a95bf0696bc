"""What the mixed Hessian costs, exactly and by MPR's difference: multiplications counted, bytes held, time taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from paperlib.notebooks.nb03_mixed_partial_regularization.measures import PUBLISHED_SIGMA, printed_loss, random_points
from paperlib.notebooks.nb06_training_with_pave.update_audit import matrix_flops
from paperlib.pave.critic_geometry import Critic, action_gradient, mixed_hessian
from paperlib.pave.engine.environments import environment_spec
from paperlib.pave.example_critics import NetworkCritic, random_network

ENVIRONMENTS = ("pendulum", "reacher", "lunar", "hopper", "walker", "ant")
Penalty = Callable[[Critic, Tensor, Tensor, Tensor], Tensor]


def exact_loss(critic: Critic, states: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """sigma^2 E||H_sa||_F^2 with the mixed Hessian built, 0-d with a graph; the noise is not used."""
    return PUBLISHED_SIGMA**2 * mixed_hessian(critic, states, actions, create_graph=True).square().sum((1, 2)).mean()


class Bench:
    """A random critic of the published hidden sizes and a batch; every count is in units of one action gradient.

    Args:
        d_s, d_a: dimensions. batch: rows.
    """

    def __init__(self, d_s: int, d_a: int, *, batch: int = 8):
        if min(d_s, d_a, batch) < 1:
            raise ValueError(f"d_s, d_a and batch must be at least 1, are {d_s}, {d_a}, {batch}")
        network = random_network(d_s, d_a)
        self.critic = _as_function(network)
        self.parameters = list(network.parameters())
        self.states, self.actions = random_points(d_s, d_a, batch)
        self.noise = PUBLISHED_SIGMA * random_points(d_s, 1, batch, seed=1)[0]

    def gradient_flops(self) -> int:
        """Matrix-product FLOPs of one action gradient of the batch."""
        return matrix_flops(lambda: action_gradient(self.critic, self.states, self.actions))

    def hessian_work(self, build: Callable[..., Tensor] = mixed_hessian) -> float:
        """FLOPs of building the mixed Hessian."""
        return matrix_flops(lambda: build(self.critic, self.states, self.actions)) / self.gradient_flops()

    def hessian_entries(self) -> int:
        """Numbers stored by the mixed Hessian at one point."""
        return mixed_hessian(self.critic, self.states, self.actions)[0].numel()

    def loss_work(self, penalty: Penalty = printed_loss) -> float:
        """FLOPs of a penalty and its parameter gradient."""
        return matrix_flops(lambda: self._differentiate(penalty)) / self.gradient_flops()

    def loss_bytes(self, penalty: Penalty) -> int:
        """Bytes of the batch's tensors that a penalty keeps for its parameter gradient, parameters not counted."""
        parameters = {parameter.untyped_storage().data_ptr() for parameter in self.parameters}
        held: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.detach()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = penalty(self.critic, self.states, self.actions, self.noise)
            held_bytes = sum(t.untyped_storage().nbytes() for pointer, t in held.items() if pointer not in parameters)
        del loss
        return held_bytes

    def loss_seconds(self, penalty: Penalty, repeats: int) -> float:
        """Wall time of a penalty and its parameter gradient: the fastest of `repeats`, after one to warm up."""
        taken = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            self._differentiate(penalty)
            taken.append(time.perf_counter() - start)
        return min(taken[1:])

    def _differentiate(self, penalty: Penalty) -> tuple[Tensor, ...]:
        loss = penalty(self.critic, self.states, self.actions, self.noise)
        return torch.autograd.grad(loss, self.parameters, allow_unused=True)


def entrywise_hessian(critic: Critic, states: Tensor, actions: Tensor) -> Tensor:
    """The mixed Hessian by d_a d_s separate backward passes, one per entry: what quadratic work would be."""
    rows = [mixed_hessian(critic, states, actions) for _ in range(states.shape[1])]
    return torch.stack([row[:, :, j] for j, row in enumerate(rows)], dim=2)


def cost_per_environment() -> pd.DataFrame:
    """For each published environment: dimensions, work of both penalties in action gradients, and their ratio."""
    rows = []
    for environment in ENVIRONMENTS:
        spec = environment_spec(environment)
        bench = Bench(spec.observation_dim, spec.action_dim)
        difference, exact = bench.loss_work(printed_loss), bench.loss_work(exact_loss)
        sizes = {"environment": environment, "d_s": spec.observation_dim, "d_a": spec.action_dim}
        rows.append(sizes | {"difference": difference, "exact": exact, "ratio": exact / difference})
    return pd.DataFrame(rows)


def cost_growth(action_dims: Sequence[int], d_s: int, *, batch: int = 256, repeats: int = 2) -> pd.DataFrame:
    """Work, bytes held and seconds of both penalties as d_a grows: rows (d_a, penalty, work, bytes, seconds)."""
    rows = []
    for d_a in action_dims:
        bench = Bench(d_s, d_a, batch=batch)
        for name, penalty in (("difference", printed_loss), ("exact", exact_loss)):
            measured = {"work": bench.loss_work(penalty), "bytes": bench.loss_bytes(penalty)}
            rows.append({"d_a": d_a, "penalty": name} | measured | {"seconds": bench.loss_seconds(penalty, repeats)})
    return pd.DataFrame(rows)


def _as_function(network: NetworkCritic) -> Critic:
    """The network without its modules: PyTorch's operation counter cannot follow gradients by inputs through them."""

    def q(states: Tensor, actions: Tensor) -> Tensor:
        hidden = torch.cat([states, actions], dim=1)
        for layer in network.layers:
            is_linear = isinstance(layer, nn.Linear)
            hidden = nn.functional.linear(hidden, layer.weight, layer.bias) if is_linear else nn.functional.silu(hidden)
        return hidden.squeeze(1)

    return q
