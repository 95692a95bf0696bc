"""What notebook 07 measures along the episodes of recorded Pendulum networks, played here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import Episode, episode_table, play_episodes, policy_jacobian, visited_geometry
from paperlib.pave.smoothness import (
    AveragedActions,
    action_difference,
    high_band_power,
    smoothness,
    spectral_arc_length,
)

STEPS_PER_SECOND = 20.0  # of Pendulum
VELOCITY = 2  # coordinate of its observations

USERS_MEASURES: dict[str, Callable[[Episode], float]] = {
    "published score": lambda e: smoothness(e.environment_actions),
    "first difference": lambda e: action_difference(e.environment_actions),
    "second difference": lambda e: action_difference(e.environment_actions, order=2),
    "high-band power": lambda e: high_band_power(e.environment_actions),
    "arc length (SPARC)": lambda e: -spectral_arc_length(np.abs(e.observations[:, VELOCITY]), STEPS_PER_SECOND),
}
"""Of one episode, lower is smoother: of the actions, and of the movement, whose speed SPARC reads (its sign turned)."""


def play(act: Callable[[torch.Tensor], torch.Tensor], episodes: int) -> list[Episode]:
    """Episodes of Pendulum from starts that all policies share."""
    return play_episodes(act, "pendulum", [range(1000, 1000 + episodes)], backend="gymnasium")[0]


def measured(episodes: Sequence[Episode]) -> pd.DataFrame:
    """A row per episode: its return and every measure of users."""
    measures = [{name: of(e) for name, of in USERS_MEASURES.items()} for e in episodes]
    return pd.concat([episode_table(episodes)[["return"]], pd.DataFrame(measures)], axis=1)


def averaged(networks: TrainedNetworks, weights: Sequence[float], episodes: int) -> pd.DataFrame:
    """A policy with actions averaged exponentially: the means of `measured`, a row per weight of the new action."""
    rows = [
        {"weight": weight} | measured(play(AveragedActions(networks.act, weight), episodes)).mean().to_dict()
        for weight in weights
    ]
    return pd.DataFrame(rows)


def smoothest_without_loss(table: pd.DataFrame, loss: float = 0.02) -> pd.Series:
    """The smoothest row of `averaged` whose return is at most `loss` below that of weight 1, relative to its size."""
    whole = table.loc[table["weight"] == 1.0, "return"].item()
    kept = table[table["return"] >= whole - loss * abs(whole)]
    return kept.loc[kept["published score"].idxmin()]


# The chain from the critic to the actions, at every visited state


def chain(networks: TrainedNetworks, episodes: Sequence[Episode]) -> pd.DataFrame:
    """Visited states at which the policy moves, its action is not at its bound and mu > 0, actions in [-1, 1].

    bound: ||H_sa|| / mu; greedy: ||H_aa^{-1} H_as||, the slope of the greedy policy (equal to the bound with one
    action); actor: ||d pi/d s||; change: |a_{t+1} - a_t|; moved: ||s_{t+1} - s_t||; followed: change / moved.
    """
    visited = visited_geometry(networks.critics[0], episodes, action_units="scaled")
    table = pd.DataFrame(
        {
            "bound": visited["mixed_hessian"] / visited["curvature"],
            "greedy": visited["implicit_jacobian"],
            "actor": policy_jacobian(networks, episodes),
            "change": np.concatenate([_steps(e.scaled_actions) for e in episodes]),
            "moved": np.concatenate([_steps(e.observations) for e in episodes]),
        }
    )
    inside = np.concatenate([np.abs(e.scaled_actions).max(axis=1) <= 0.95 for e in episodes])
    kept = table[(visited["curvature"] > 0) & inside & (table["moved"] >= 0.01)]
    return kept.assign(followed=kept["change"] / kept["moved"]).reset_index(drop=True)


def _steps(values: np.ndarray) -> np.ndarray:
    """Size of the change from each step to the next one; NaN at the last step."""
    return np.append(np.linalg.norm(np.diff(values.astype(np.float64), axis=0), axis=1), np.nan)


LINKS = {
    "greedy_to_actor": ("greedy", "actor"),
    "actor_to_actions": ("actor", "followed"),
    "bound_to_actions": ("bound", "change"),
}


def rank_correlation(tables: Mapping[str, pd.DataFrame], link: str, *, shuffled: bool = False) -> dict[str, float]:
    """Spearman's correlation of the two ends of a link over the states of `chain`, by method.

    shuffled: the wrong formula that pairs states at random.
    """
    one, two = LINKS[link]
    found = {}
    for method, table in tables.items():
        other = table[two].sample(frac=1.0, random_state=0) if shuffled else table[two]
        found[method] = float(spearmanr(table[one], other.to_numpy()).statistic)
    return found
