"""Evaluation by the published protocol: deterministic episodes, their return and smoothness, the critic along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from paperlib.pave.critic_geometry import action_gradient, action_hessian, mixed_hessian
from paperlib.pave.environments import EnvironmentBatch
from paperlib.pave.smoothness import smoothness

ACTION_UNITS = ("scaled", "environment")
_CHUNK = 4096  # points whose Hessians are held in memory at a time


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps: observations (T, d_s), actions (T, d_a) in both units, rewards (T,)."""

    observations: np.ndarray
    scaled_actions: np.ndarray
    environment_actions: np.ndarray
    rewards: np.ndarray


def to_environment_units(scaled: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Actions in [-1, 1] to the environment's box."""
    return np.clip(low + 0.5 * (scaled + 1.0) * (high - low), low, high)


def play_episodes(
    act: Callable[[torch.Tensor], torch.Tensor],
    environment: str,
    seeds: Sequence[Sequence[int]],
    *,
    backend: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[list[Episode]]:
    """One episode per seed: seeds[r][e] starts episode e of run r; all episodes step together.

    Args:
        act: deterministic policy of all runs, (R, E, d_s) to (R, E, d_a) in [-1, 1].

    Returns:
        Episodes [r][e].
    """
    runs, each = len(seeds), len(seeds[0])
    batch = EnvironmentBatch(environment, [seed for row in seeds for seed in row], backend=backend)
    low, high = batch.spec.action_low, batch.spec.action_high
    observations = batch.reset()
    running = np.ones(runs * each, dtype=bool)
    lengths = np.zeros(runs * each, dtype=int)
    steps: list[tuple[np.ndarray, ...]] = []
    while running.any():
        states = torch.as_tensor(observations, device=device, dtype=dtype).view(runs, each, -1)
        with torch.no_grad():
            scaled = torch.nan_to_num(act(states)).reshape(runs * each, -1).cpu().numpy()
        result = batch.step(to_environment_units(scaled, low, high))
        steps.append((observations, scaled, result.rewards))
        lengths += running
        running &= ~(result.terminated | result.truncated)
        observations = result.observations
    batch.close()
    seen, scaled, rewards = (np.stack(column) for column in zip(*steps, strict=True))
    episodes = [
        Episode(seen[:n, i], scaled[:n, i], to_environment_units(scaled[:n, i], low, high), rewards[:n, i])
        for i, n in enumerate(lengths)
    ]
    return [episodes[r * each : (r + 1) * each] for r in range(runs)]


def episode_table(episodes: Sequence[Episode]) -> pd.DataFrame:
    """Return, length and smoothness (actions in environment units) of one run's episodes, a row each."""
    return pd.DataFrame(
        {
            "episode": range(len(episodes)),
            "return": [float(e.rewards.sum(dtype=np.float64)) for e in episodes],
            "length": [len(e.rewards) for e in episodes],
            "smoothness": [smoothness(e.environment_actions) for e in episodes],
        }
    )


def critic_geometry(critic: nn.Sequential, episodes: Sequence[Episode], *, action_units: str) -> dict[str, float]:
    """Geometry of one critic along the visited points (s, pi(s)) of one run's episodes (PAVE, Section on geometry).

    Args:
        critic: reads the concatenation of state and action.
        action_units: "scaled" evaluates at actions in [-1, 1], as the critic was trained; "environment" at actions in
            the environment's units, as the published numbers were made. They differ on Pendulum only.

    Returns:
        mixed_hessian_sup: largest ||H_sa||_2; mixed_hessian_median;
        curvature_median: median of mu = -lambda_max(H_aa); negative_definite_rate: share of points with mu > 0;
        cosine_mean, flip_rate: cosine of consecutive action gradients within an episode, and its share below zero.
    """
    if action_units not in ACTION_UNITS:
        raise ValueError(f"action_units is {action_units!r}; choose one of {', '.join(ACTION_UNITS)}")
    on = next(critic.parameters())

    def q(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return critic(torch.cat([states, actions], dim=1))

    norms, curvatures, cosines = [], [], []
    for episode in episodes:
        actions = episode.scaled_actions if action_units == "scaled" else episode.environment_actions
        s, a = torch.as_tensor(episode.observations).to(on), torch.as_tensor(actions).to(on)
        for states, at in zip(s.split(_CHUNK), a.split(_CHUNK), strict=True):
            norms.append(torch.linalg.matrix_norm(mixed_hessian(q, states, at), ord=2))
            curvatures.append(-torch.linalg.eigvalsh(action_hessian(q, states, at))[:, -1])
        gradients = action_gradient(q, s, a)
        cosines.append(torch.cosine_similarity(gradients[1:], gradients[:-1], dim=1))
    norm, curvature, cosine = torch.cat(norms), torch.cat(curvatures), torch.cat(cosines)
    return {
        "mixed_hessian_sup": norm.max().item(),
        "mixed_hessian_median": norm.median().item(),
        "curvature_median": curvature.median().item(),
        "negative_definite_rate": (curvature > 0).double().mean().item(),
        "cosine_mean": cosine.mean().item(),
        "flip_rate": (cosine < 0).double().mean().item(),
    }
