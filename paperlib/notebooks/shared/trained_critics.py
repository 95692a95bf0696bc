"""The recorded critics of the theory notebooks where their own policies go."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.example_critics import NetworkCritic, trained_networks
from paperlib.pave.figures.names import method_name


@dataclass(frozen=True, eq=False)
class TrainedCritic:
    """A recorded run in float64: its deterministic policy, its first critic, and the states (B, d_s) and scaled actions
    (B, d_a) of whole episodes of the policy. `method` as in legends: Base or PAVE."""

    environment: str
    method: str
    policy: nn.Module
    critic: NetworkCritic
    states: Tensor
    actions: Tensor

    @property
    def label(self) -> str:
        """For tables and legends."""
        return f"{self.environment} {self.method}"

    def spread(self, count: int) -> Tensor:
        """At most `count` of the states, evenly spread in time."""
        if count < 1:
            raise ValueError(f"ask for at least one state, not {count}")
        rows = torch.linspace(0, len(self.states) - 1, min(count, len(self.states)), dtype=torch.float64)
        return self.states[rows.round().long()]

    def along_path(self, count: int) -> Tensor:
        """At most `count` of the states, evenly spread over the way the policy went, each coordinate in units of its
        standard deviation. A policy that stands still for most of an episode is not counted for that.
        """
        if count < 2:
            raise ValueError(f"a path has at least two ends, asked for {count}")
        scaled = self.states / self.states.std(dim=0).clamp_min(1e-9)
        gone = torch.cat([torch.zeros(1, dtype=torch.float64), scaled.diff(dim=0).norm(dim=1)]).cumsum(0)
        marks = torch.linspace(0, gone[-1].item(), count, dtype=gone.dtype)
        return self.states[torch.searchsorted(gone, marks).clamp_max(len(gone) - 1).unique()]


def trained_critics(*, episodes: int) -> list[TrainedCritic]:
    """The recorded runs, each with the states of `episodes` episodes of its policy, from seeds 1, 2, ..."""
    if episodes < 1:
        raise ValueError(f"play at least one episode, not {episodes}")
    critics = []
    for (environment, method), networks in sorted(trained_networks().items()):
        with torch.no_grad():
            played = play_episodes(networks.act, environment, [list(range(1, episodes + 1))], backend="gymnasium")
        flat = list(chain.from_iterable(played))
        states, actions = (
            torch.as_tensor(np.concatenate([getattr(episode, name) for episode in flat]), dtype=torch.float64)
            for name in ("observations", "scaled_actions")
        )
        policy = nn.Sequential(*networks.actor, nn.Tanh()).double()
        critic = NetworkCritic(networks.critics[0])
        critics.append(TrainedCritic(environment, method_name(method), policy, critic, states, actions))
    return critics
