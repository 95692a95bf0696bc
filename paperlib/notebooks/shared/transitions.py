"""Transitions of recorded policies: with TD3's exploration noise, as a replay buffer holds them, without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.engine.settings import published_settings

RANDOM_SHARE = 1 / 12
"""Share of a replay sample with uniformly random actions: the warm-up's share of the recorded runs' steps."""


@dataclass(frozen=True, eq=False)
class Transitions:
    """B transitions (s_t, a_t, s_{t+1}) with their rewards (B,): float64, actions in [-1, 1], none of them terminal."""

    states: Tensor
    actions: Tensor
    next_states: Tensor
    rewards: Tensor

    def __post_init__(self):
        rows = {name: len(getattr(self, name)) for name in ("states", "actions", "next_states", "rewards")}
        if len(set(rows.values())) != 1 or rows["states"] == 0:
            raise ValueError(f"transitions must have the same number of rows, at least one; have {rows}")
        if self.states.shape != self.next_states.shape:
            raise ValueError(f"states are {tuple(self.states.shape)}, next_states {tuple(self.next_states.shape)}")

    def __len__(self) -> int:
        return len(self.states)

    @property
    def steps(self) -> Tensor:
        """s_{t+1} - s_t, (B, d_s)."""
        return self.next_states - self.states

    def sample(self, count: int, seed: int) -> Transitions:
        """`count` of them without replacement; ValueError if there are fewer."""
        return self._drawn(count, torch.Generator().manual_seed(seed))

    def rows(self, which: Tensor | slice) -> Transitions:
        """Those at the given indices, in a slice, or where a mask is true."""
        return Transitions(self.states[which], self.actions[which], self.next_states[which], self.rewards[which])

    def _drawn(self, count: int, generator: torch.Generator) -> Transitions:
        if not 1 <= count <= len(self):
            raise ValueError(f"cannot sample {count} of {len(self)} transitions")
        return self.rows(torch.randperm(len(self), generator=generator)[:count])


def explored_transitions(networks: TrainedNetworks, environment: str, *, episodes: int, seed: int) -> Transitions:
    """All transitions of `episodes` episodes of the policy with TD3's published exploration noise."""
    generator = torch.Generator().manual_seed(seed)
    return _play(_exploring(networks, environment, generator), environment, seed, episodes)


def replay_transitions(
    networks: TrainedNetworks, environment: str, count: int, *, episodes: int = 8, first_seed: int = 0
) -> Transitions:
    """`count` transitions as a replay buffer has them, drawn without replacement.

    They come from `episodes` episodes of the policy with TD3's exploration noise, and as many of uniformly random
    actions, which give a RANDOM_SHARE of the rows. ValueError if the episodes hold too few transitions.
    """
    generator = torch.Generator().manual_seed(first_seed)

    def guess(states: Tensor) -> Tensor:
        return 2 * torch.rand(*states.shape[:-1], networks.action_dim, generator=generator) - 1

    random_rows = max(1, round(RANDOM_SHARE * count))
    parts = [
        _play(act, environment, first_seed, episodes)._drawn(rows, generator)
        for act, rows in (
            (_exploring(networks, environment, generator), count - random_rows),
            (guess, random_rows),
        )
    ]
    return Transitions(*(torch.cat(columns) for columns in zip(*map(_columns, parts), strict=True)))


def visited_transitions(networks: TrainedNetworks, environment: str, *, most: int) -> Transitions:
    """The first transitions, at most `most`, of one episode of the policy without noise."""
    return _play(networks.act, environment, 0, 1).rows(slice(most))


def _exploring(networks: TrainedNetworks, environment: str, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    noise = published_settings("td3", environment).exploration_noise_std

    def act(states: Tensor) -> Tensor:
        actions = networks.act(states)
        return (actions + noise * torch.randn(actions.shape, generator=generator)).clamp(-1, 1)

    return act


def _play(act: Callable[[Tensor], Tensor], environment: str, first_seed: int, episodes: int) -> Transitions:
    """Every transition of the episodes but each one's last, whose successor is not recorded."""
    if episodes < 1:
        raise ValueError(f"needs at least one episode, got {episodes}")
    seeds = [list(range(first_seed, first_seed + episodes))]
    with torch.no_grad():
        played = play_episodes(act, environment, seeds, backend="gymnasium")[0]

    def joined(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.concatenate(arrays)).double()

    return Transitions(
        states=joined([e.observations[:-1] for e in played]),
        actions=joined([e.scaled_actions[:-1] for e in played]),
        next_states=joined([e.observations[1:] for e in played]),
        rewards=joined([e.rewards[:-1] for e in played]),
    )


def _columns(transitions: Transitions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return transitions.states, transitions.actions, transitions.next_states, transitions.rewards
