"""Critics fitted as one stack to fixed targets, each under its own weights of PAVE's losses.

All critics of a stack see the same minibatches, state noise and probes. The engine's closed form computes the losses:
this is training as it is published, on a fixed data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.engine.settings import Coefficients, published_settings
from paperlib.pave.example_critics import NetworkCritic

BATCH = 64
SIGMA, DELTA = Coefficients().sigma, Coefficients().delta


class Weights(NamedTuple):
    """Weights of MPR, VFC and Curv beside the squared error."""

    mpr: float = 0.0
    vfc: float = 0.0
    curv: float = 0.0


def fit(
    stack: StackedMLP,
    weights: Sequence[Weights],
    data: tuple[Tensor, Tensor, Tensor],
    targets: Tensor,
    *,
    updates: int,
    learning_rate: float,
    seed: int,
    losses: Callable = closed_form_pave,
) -> list[NetworkCritic]:
    """Train each critic of the stack by Adam on mean squared error plus its weighted losses; returned in float64.

    data: states, actions, next states, (N, d) each in float32; targets (N,). losses: as `closed_form_pave`.
    """
    runs = len(weights)
    table = torch.tensor(weights)
    optimiser = torch.optim.Adam(stack.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        rows = torch.randint(len(targets), (BATCH,), generator=generator)
        states, actions, after = (column[rows] for column in data)
        noise = SIGMA * torch.randn(states.shape, generator=generator)
        probes = torch.ones_like(actions)
        if table[:, 2].any():
            probes = torch.randint(0, 2, actions.shape, generator=generator) * 2.0 - 1
        s, a, n, eps, v = (x.expand(runs, -1, -1) for x in (states, actions, after, noise, probes))
        values, terms = losses(stack, s, a, n, state_noise=eps, probes=v, delta=torch.full((runs,), DELTA))
        loss = (values - targets[rows]).square().mean(1)
        loss = loss + sum(table[:, i] * term for i, term in enumerate(terms))
        optimiser.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimiser.step()
    return [NetworkCritic(stack.unstack(index)) for index in range(runs)]


def td_targets(networks: TrainedNetworks, environment: str, transitions: Transitions) -> Tensor:
    """r + gamma min_i Q_i(s', pi(s')) of the recorded networks, (B,) float32: fixed targets to fit critics to."""
    with torch.no_grad():
        states = transitions.next_states.float()
        inputs = torch.cat([states, networks.act(states)], dim=1)
        values = torch.minimum(*(critic(inputs) for critic in networks.critics)).squeeze(1)
    return transitions.rewards.float() + published_settings("td3", environment).gamma * values


def train_on(
    networks: TrainedNetworks,
    environment: str,
    transitions: Transitions,
    weights: Sequence[Weights],
    *,
    updates: int,
    seed: int = 0,
    losses: Callable = closed_form_pave,
) -> list[NetworkCritic]:
    """Copies of the recorded first critic, each trained on to the same TD targets under its own weights.

    `networks` is left as it is. The targets come from the recorded networks and stay fixed. seed: of minibatches, noise
    and probes, which all copies share.
    """
    linears = [layer for layer in networks.critics[0] if isinstance(layer, torch.nn.Linear)]
    sizes = [linears[0].in_features, *(layer.out_features for layer in linears)]
    stack = StackedMLP(sizes, [torch.Generator() for _ in weights])
    for index in range(len(weights)):
        stack.load(index, networks.critics[0])
    data = transitions.states.float(), transitions.actions.float(), transitions.next_states.float()
    targets = td_targets(networks, environment, transitions)
    rate = published_settings("td3", environment).learning_rate
    return fit(stack, weights, data, targets, updates=updates, learning_rate=rate, seed=seed, losses=losses)


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
