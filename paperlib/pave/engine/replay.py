"""Replay: one ring buffer per run, all of the same length, in one tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Minibatch(NamedTuple):
    """Transitions for R runs. Actions are scaled to [-1, 1]."""

    states: torch.Tensor  # (R, B, d_s)
    actions: torch.Tensor  # (R, B, d_a)
    rewards: torch.Tensor  # (R, B)
    next_states: torch.Tensor  # (R, B, d_s)
    continues: torch.Tensor  # (R, B): 0 where the episode terminated, 1 elsewhere (time limits are bootstrapped)
    previous_states: torch.Tensor | None = None  # (R, B, d_s), where asked for
    has_previous: torch.Tensor | None = None  # (R, B): 0 at an episode's start, or where the predecessor is overwritten


class ReplayBuffer:
    """R ring buffers that fill in lockstep.

    A transition is one row (state, action, next state, reward, continues, has_previous), so a minibatch is one gather.
    The previous state of row i is the state in row i - 1 of the same run; `has_previous` says whether there is one.
    """

    def __init__(
        self,
        runs: int,
        capacity: int,
        observation_dim: int,
        action_dim: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.runs, self.capacity = runs, capacity
        self.widths = (observation_dim, action_dim, observation_dim, 1, 1, 1)
        self.rows = torch.zeros(runs, capacity, sum(self.widths), device=device, dtype=dtype)
        self.stored = 0  # transitions ever stored, per run
        self._offsets = capacity * torch.arange(runs, device=device)[:, None]
        self._opens_episode = torch.ones(runs, 1, device=device, dtype=dtype)

    def __len__(self) -> int:
        return min(self.stored, self.capacity)

    def add(self, states, actions, rewards, next_states, terminated, episode_ended) -> None:
        """Store one transition per run: (R, d_s), (R, d_a), (R,), (R, d_s), (R,), (R,)."""
        row = self.rows[:, self.stored % self.capacity]
        columns = (states, actions, next_states, rewards[:, None], 1 - terminated[:, None], 1 - self._opens_episode)
        torch.cat([column.to(row.dtype) for column in columns], dim=1, out=row)
        self._opens_episode = episode_ended[:, None].to(row.dtype)
        self.stored += 1

    def sample(self, uniforms: torch.Tensor, *, previous: bool = False) -> Minibatch:
        """The minibatch that uniform draws in [0, 1), (R, B), pick: with replacement, every stored row equally likely.

        `previous` adds each transition's previous state, which GRAD and ASAP read.
        """
        index = (uniforms * len(self)).long()
        runs, size = index.shape
        flat = self.rows.view(runs * self.capacity, -1)
        picked = flat.index_select(0, (index + self._offsets).flatten()).view(runs, size, -1)
        states, actions, next_states, rewards, continues, has_previous = picked.split(self.widths, dim=2)
        batch = Minibatch(states, actions, rewards.squeeze(2), next_states, continues.squeeze(2))
        if not previous:
            return batch
        before = (index - 1) % self.capacity
        earlier = flat.index_select(0, (before + self._offsets).flatten()).view(runs, size, -1)
        oldest = self.stored % self.capacity if self.stored > self.capacity else 0
        return batch._replace(
            previous_states=earlier[..., : self.widths[0]],
            has_previous=has_previous.squeeze(2) * (index != oldest),
        )

    def state_dict(self) -> dict:
        """The filled part of the buffer and where the next transition goes."""
        return {
            "rows": self.rows[:, : len(self)].clone(),
            "stored": self.stored,
            "opens_episode": self._opens_episode.clone(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` saved."""
        self.stored = state["stored"]
        self.rows[:, : len(self)] = state["rows"]
        self._opens_episode = state["opens_episode"].to(self.rows)
