"""Critics fitted to the same TD targets from the same weights, with and without MPR."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from paperlib.notebooks.nb03_mixed_partial_regularization.measures import (
    PUBLISHED_SIGMA,
    Transitions,
    replay_transitions,
)
from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.engine.settings import published_coefficients, published_settings
from paperlib.pave.example_critics import NetworkCritic

_BATCH = 64
_TRAINING_ROWS, _HELD_OUT_ROWS = 500, 250
_EPISODES = 12


@dataclass(frozen=True, eq=False)
class Fits:
    """`table`: one row per weight of MPR, as multiple of the published one: environment, multiple, td, mean_square (of
    ||H_sa||_F, training states), held_out_rms and held_out_sup (of ||H_sa||_F, held-out states)."""

    table: pd.DataFrame

    def multiple_that_halves_the_mean(self) -> float:
        """Smallest multiple with which the mean square on training states is at most half of that without MPR.

        Raises ValueError if no multiple does it.
        """
        plain = self._row(0.0)["mean_square"]
        enough = self.table[(self.table["multiple"] > 0) & (self.table["mean_square"] <= 0.5 * plain)]
        if enough.empty:
            raise ValueError("no weight tried halves the mean: MPR is not minimised, and nothing follows about its sup")
        return float(enough["multiple"].min())

    def sup_ratio(self, multiple: float) -> float:
        """sup ||H_sa||_F over held-out states with MPR at this multiple, over that without."""
        return float(self._row(multiple)["held_out_sup"] / self._row(0.0)["held_out_sup"])

    def _row(self, multiple: float) -> pd.Series:
        rows = self.table[self.table["multiple"] == multiple]
        if rows.empty:
            raise ValueError(f"no fit with multiple {multiple}; there are {list(self.table['multiple'])}")
        return rows.iloc[0]


def fit_with_mpr(
    networks: TrainedNetworks,
    environment: str,
    multiples: Sequence[float],
    steps: int,
    *,
    sigma: float = PUBLISHED_SIGMA,
) -> Fits:
    """Train copies of the first critic on its own TD targets, one copy per weight of MPR.

    All copies see the same minibatches and the same noise; they differ in the weight only, `multiples` of the published
    TD3 weight (0: plain TD). Targets r + gamma min_i Q_i(s', pi(s')) come from the recorded networks and stay fixed.
    """
    if 0.0 not in multiples:
        raise ValueError(f"multiples must include 0, the critic without MPR; they are {list(multiples)}")
    training = _single(replay_transitions(networks, environment, _TRAINING_ROWS, episodes=_EPISODES))
    held_out = replay_transitions(networks, environment, _HELD_OUT_ROWS, episodes=_EPISODES, first_seed=1000)
    targets = _td_targets(networks, training, published_settings("td3", environment).gamma)
    critics = _train(networks, environment, training, targets, multiples, steps, sigma)
    rows = []
    for multiple, critic in zip(multiples, critics, strict=True):
        seen, unseen = (_frobenius(critic, data) for data in (training, held_out))
        with torch.no_grad():
            errors = critic(training.states.double(), training.actions.double()) - targets
        row = {"environment": environment, "multiple": float(multiple), "td": errors.square().mean().item()}
        row |= {"mean_square": seen.square().mean().item()}
        row |= {"held_out_rms": unseen.square().mean().sqrt().item(), "held_out_sup": unseen.max().item()}
        rows.append(row)
    return Fits(pd.DataFrame(rows))


def _train(
    networks: TrainedNetworks,
    environment: str,
    data: Transitions,
    targets: torch.Tensor,
    multiples: Sequence[float],
    steps: int,
    sigma: float,
) -> list[NetworkCritic]:
    """The trained critics, one per multiple."""
    copies = len(multiples)
    settings = published_settings("td3", environment)
    weights = published_coefficients("pave", "td3", environment).mpr * torch.tensor(multiples, dtype=torch.float32)
    linears = [layer for layer in networks.critics[0] if hasattr(layer, "in_features")]
    sizes = [linears[0].in_features] + [layer.out_features for layer in linears]
    stack = StackedMLP(sizes, [torch.Generator() for _ in multiples])
    for index in range(copies):
        stack.load(index, networks.critics[0])
    optimiser = torch.optim.Adam(stack.parameters(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(targets), (_BATCH,), generator=generator)
        states, actions = (x[rows].expand(copies, -1, -1) for x in (data.states, data.actions))
        noise = sigma * torch.randn(data.states[rows].shape, generator=generator).expand(copies, -1, -1)
        inert = {"probes": torch.ones_like(actions), "delta": torch.ones(copies)}
        values, losses = closed_form_pave(stack, states, actions, states, state_noise=noise, **inert)
        td = (values - targets[rows]).square().mean(dim=1)
        optimiser.zero_grad()
        (td + weights * losses.mpr).sum().backward()
        optimiser.step()
    return [NetworkCritic(stack.unstack(index)) for index in range(copies)]


def _td_targets(networks: TrainedNetworks, data: Transitions, gamma: float) -> torch.Tensor:
    with torch.no_grad():
        after = torch.cat([data.next_states, networks.act(data.next_states)], dim=1)
        critics = (copy.deepcopy(critic).float() for critic in networks.critics)
        values = torch.minimum(*(critic(after).squeeze(1) for critic in critics))
    return data.rewards + gamma * values


def _single(data: Transitions) -> Transitions:
    return Transitions(*(column.float() for column in data))


def _frobenius(critic: NetworkCritic, data: Transitions) -> torch.Tensor:
    return torch.linalg.matrix_norm(mixed_hessian(critic, data.states.double(), data.actions.double()))
