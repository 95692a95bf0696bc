"""Evaluation by the published protocol: deterministic episodes, their return and smoothness, the critic along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.critic_geometry import action_gradient, action_hessian, mixed_hessian
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.environments import EnvironmentBatch
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.engine.replay import ReplayBuffer
from paperlib.pave.engine.settings import Coefficients
from paperlib.pave.engine.streams import derive_seed
from paperlib.pave.smoothness import smoothness

ACTION_UNITS = ("scaled", "environment")
LOSS_BATCH = 256  # transitions on which the losses of an evaluation are computed, for every method
UNDEFINED = -2.0
"""Stands in recorded tables, which hold finite numbers only, where a norm, a ratio or a cosine is not defined."""
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
    """`geometry_summary` of `visited_geometry`: one critic along the visited points of one run's episodes."""
    return geometry_summary(visited_geometry(critic, episodes, action_units=action_units))


def visited_geometry(critic: nn.Sequential, episodes: Sequence[Episode], *, action_units: str) -> pd.DataFrame:
    """Geometry of one critic at every visited point (s, pi(s)) of one run's episodes (PAVE, Section on geometry).

    Args:
        critic: reads the concatenation of state and action.
        action_units: "scaled" evaluates at actions in [-1, 1], as the critic was trained; "environment" at actions in
            the environment's units, as the published numbers were made. They differ on Pendulum only.

    Returns:
        A row per point: episode, step; mixed_hessian: ||H_sa||_2; curvature: mu = -lambda_max(H_aa), so that
        |curvature| is |lambda_max|; smallest_eigenvalue of H_aa; condition_number: largest over smallest absolute
        eigenvalue; implicit_jacobian: ||H_aa^{-1} H_as||_2, the slope of the greedy policy (Lemma 1), NaN where
        mu <= 0; cosine: of the action gradient with that of the step before, NaN at an episode's first step.
    """
    if action_units not in ACTION_UNITS:
        raise ValueError(f"action_units is {action_units!r}; choose one of {', '.join(ACTION_UNITS)}")
    on = next(critic.parameters())

    def q(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return critic(torch.cat([states, actions], dim=1))

    kind = "scaled_actions" if action_units == "scaled" else "environment_actions"
    states = torch.as_tensor(np.concatenate([e.observations for e in episodes])).to(on)
    actions = torch.as_tensor(np.concatenate([getattr(e, kind) for e in episodes])).to(on)
    parts, gradients = [], []
    for s, a in zip(states.split(_CHUNK), actions.split(_CHUNK), strict=True):
        parts.append(_point_geometry(mixed_hessian(q, s, a).double(), action_hessian(q, s, a).double()))
        gradients.append(action_gradient(q, s, a))
    gradient = torch.cat(gradients)
    cosine = torch.cosine_similarity(gradient[1:], gradient[:-1], dim=1).double().cpu().numpy()
    table = _episode_and_step(episodes)
    table = table.assign(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    table["cosine"] = np.where(table["step"] == 0, np.nan, np.concatenate([[np.nan], cosine]))
    return table


def _point_geometry(mixed: torch.Tensor, action: torch.Tensor) -> dict[str, np.ndarray]:
    eigenvalues, vectors = torch.linalg.eigh(action)
    sizes = eigenvalues.abs()
    curvature = -eigenvalues[:, -1]
    # Where mu <= 0 there is no greedy maximum; the division may be by zero there and is not used.
    implicit = vectors @ ((vectors.mT @ mixed) / eigenvalues[:, :, None])
    implicit = torch.where((curvature > 0)[:, None, None], implicit, 0.0)
    columns = {
        "mixed_hessian": _spectral_norm(mixed),
        "curvature": curvature,
        "smallest_eigenvalue": eigenvalues[:, 0],
        "condition_number": sizes.amax(1) / sizes.amin(1).clamp_min(torch.finfo(torch.float32).tiny),
        "implicit_jacobian": torch.where(curvature > 0, _spectral_norm(implicit), torch.nan),
    }
    return {name: values.cpu().numpy() for name, values in columns.items()}


def _spectral_norm(matrices: torch.Tensor) -> torch.Tensor:
    """Of (B, d_a, d_s) in float64, from the small Gram matrices, which is cheaper than singular values."""
    return torch.linalg.eigvalsh(matrices @ matrices.mT)[:, -1].clamp_min(0).sqrt()


def _episode_and_step(episodes: Sequence[Episode]) -> pd.DataFrame:
    lengths = [len(e.rewards) for e in episodes]
    return pd.DataFrame(
        {
            "episode": np.repeat(np.arange(len(episodes)), lengths),
            "step": np.concatenate([np.arange(n) for n in lengths]),
        }
    )


def geometry_summary(visited: pd.DataFrame) -> dict[str, float]:
    """What a table of `visited_geometry` comes to; UNDEFINED where no visited point has mu > 0.

    mixed_hessian_sup, _median, _95: of ||H_sa||_2; curvature_inf, _05, _median, _95, _sup: of mu;
    curvature_size_median: of |lambda_max(H_aa)|; negative_definite_rate: share of points with mu > 0;
    condition_number_median; pointwise_bound_median, _95, _sup: of ||H_sa||_2 / mu over the points with mu > 0;
    implicit_jacobian_median, _95, _sup: over the same; cosine_mean, flip_rate: of consecutive action gradients within
    an episode, and the share below zero.
    """
    mixed, curvature, cosine = visited["mixed_hessian"], visited["curvature"], visited["cosine"].dropna()
    concave = visited[curvature > 0]
    return {
        **_quantiles("mixed_hessian", mixed, ("median", "95", "sup")),
        **_quantiles("curvature", curvature, ("inf", "05", "median", "95", "sup")),
        "curvature_size_median": float(curvature.abs().median()),
        "negative_definite_rate": float((curvature > 0).mean()),
        "condition_number_median": float(visited["condition_number"].median()),
        **_quantiles("pointwise_bound", concave["mixed_hessian"] / concave["curvature"], ("median", "95", "sup")),
        **_quantiles("implicit_jacobian", concave["implicit_jacobian"], ("median", "95", "sup")),
        "cosine_mean": float(cosine.mean()),
        "flip_rate": float((cosine < 0).mean()),
    }


_LEVELS = {"inf": 0.0, "05": 0.05, "median": 0.5, "95": 0.95, "sup": 1.0}


def _quantiles(name: str, values: pd.Series, which: Sequence[str]) -> dict[str, float]:
    return {f"{name}_{q}": float(values.quantile(_LEVELS[q])) if len(values) else UNDEFINED for q in which}


def policy_jacobian(networks: TrainedNetworks, episodes: Sequence[Episode]) -> np.ndarray:
    """Spectral norm of d pi/d s of the actor at every visited state, actions in [-1, 1]: (points,)."""
    on = next(networks.actor.parameters())
    norms = []
    for states in torch.as_tensor(np.concatenate([e.observations for e in episodes])).to(on).split(_CHUNK):
        states.requires_grad_()
        actions = torch.tanh(networks.actor(states)[:, : networks.action_dim])
        rows = [torch.autograd.grad(column.sum(), states, retain_graph=True)[0] for column in actions.unbind(1)]
        norms.append(_spectral_norm(torch.stack(rows, dim=1).double()).cpu().numpy())
    return np.concatenate(norms)


def policy_summary(networks: TrainedNetworks, episodes: Sequence[Episode]) -> dict[str, float]:
    """Of the deterministic policy, actions in [-1, 1]: how far its actions spread, and how steep it is in the state.

    action_sd: standard deviation within an episode, mean over action dimensions and episodes; action_sd_largest: over
    all visited states, the largest of the action dimensions; actor_jacobian_median, _95, _sup: of `policy_jacobian`.
    """
    pooled = np.concatenate([e.scaled_actions for e in episodes]).astype(np.float64)
    within = [e.scaled_actions.astype(np.float64).std(axis=0).mean() for e in episodes]
    slopes = pd.Series(policy_jacobian(networks, episodes))
    return {
        "action_sd": float(np.mean(within)),
        "action_sd_largest": float(pooled.std(axis=0).max()),
        **_quantiles("actor_jacobian", slopes, ("median", "95", "sup")),
    }


def unweighted_losses(
    critic: StackedMLP, replay: ReplayBuffer, seeds: Sequence[int], step: int
) -> list[dict[str, float]]:
    """PAVE's three losses and GP-Critic's without weights, of every run on one minibatch: comparable over methods.

    mpr, vfc, curv: with sign probes and the published sigma and delta, whatever the run trains with; gp: mean of
    ||grad_a Q||^2. Each is summed over the two critics, as in training. The minibatch and the noise of a run depend on
    its seed and the step alone, and on no random number of the training.
    """
    published = Coefficients()
    d_s, d_a = replay.widths[0], replay.widths[1]
    draws = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(derive_seed(seed, "unweighted losses", step))
        uniforms = torch.rand(LOSS_BATCH, dtype=torch.float64, generator=generator)
        noise = torch.randn(LOSS_BATCH, d_s, generator=generator)
        draws.append((uniforms, noise, torch.randint(0, 2, (LOSS_BATCH, d_a), generator=generator) * 2.0 - 1))
    uniforms, noise, probes = (torch.stack(column).to(replay.rows.device) for column in zip(*draws, strict=True))
    batch = replay.sample(uniforms)
    states, actions, next_states, noise, probes = (
        x.to(replay.rows.dtype).repeat_interleave(2, dim=0)
        for x in (batch.states, batch.actions, batch.next_states, published.sigma * noise, probes)
    )
    delta = torch.full((len(states),), published.delta).to(states)
    with torch.no_grad():
        _, losses = closed_form_pave(
            critic, states, actions, next_states, state_noise=noise, probes=probes, delta=delta
        )
    actions.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(torch.cat([states, actions], dim=2)).sum(), actions)
    found = losses._asdict() | {"gp": gradient.square().sum(dim=2).mean(dim=1)}
    table = pd.DataFrame({name: values.view(-1, 2).sum(dim=1).tolist() for name, values in found.items()})
    return table.to_dict("records")
