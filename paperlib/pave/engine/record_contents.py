"""What a finished run keeps, so that every claim about it can be decided from its record alone.

data/README.md explains every column. Summaries are exact over all visited states; single states and actions are thinned
and rounded, so that five runs of the largest environment stay below 1 MB in git.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes, networks_to_bytes
from paperlib.pave.engine.environments import environment_spec
from paperlib.pave.engine.evaluation import (
    ACTION_UNITS,
    UNDEFINED,
    Episode,
    episode_table,
    geometry_summary,
    policy_jacobian,
    policy_summary,
    visited_geometry,
)

STATES_KEPT = 1000
"""Rows of `visited` per run and action units at most: every k-th step of each episode, k as small as that allows."""
ACTION_NUMBERS_KEPT = 8000
"""Numbers in `actions` (steps times dimensions) at most: whole episodes from the first on, and always the first."""
NETWORKS_FILE = "networks.pt"
WITH_ACTOR = {(environment, method) for environment in ("walker", "lunar", "pendulum") for method in ("base", "pave")}
"""Whose actor is kept too: policies that notebook 09 tests under observation noise, and that can be watched."""

_FLOAT32_DIGITS = 7
_STATE_DIGITS = 5
_ACTION_DECIMALS = 4


def final_tables(networks: TrainedNetworks, episodes: Sequence[Episode]) -> dict[str, pd.DataFrame]:
    """Tables of a run's final evaluation: episodes, geometry, policy, visited, actions, point."""
    visited = {units: visited_geometry(networks.critics[0], episodes, action_units=units) for units in ACTION_UNITS}
    summaries = [{"action_units": units} | geometry_summary(table) for units, table in visited.items()]
    slopes = policy_jacobian(networks, episodes)
    return {
        "episodes": episode_table(episodes),
        "geometry": rounded(pd.DataFrame(summaries)),
        "policy": rounded(pd.DataFrame([policy_summary(networks, episodes)])),
        "visited": _visited_table(visited, slopes, networks.description["environment"]),
        "actions": _actions_table(episodes),
        "point": _point_table(episodes[0]),
    }


def rounded(table: pd.DataFrame, digits: int = _FLOAT32_DIGITS) -> pd.DataFrame:
    """The table with its floating columns at so many significant digits; float32 has no more than seven."""
    chosen = [c for c in table.columns if table[c].dtype.kind == "f"]
    return table.assign(**{c: [float(f"{value:.{digits - 1}e}") for value in table[c]] for c in chosen})


def _visited_table(visited: dict[str, pd.DataFrame], slopes: np.ndarray, environment: str) -> pd.DataFrame:
    spec = environment_spec(environment)
    differ = not (np.all(spec.action_low == -1) and np.all(spec.action_high == 1))
    parts = []
    for units in ACTION_UNITS if differ else ACTION_UNITS[:1]:
        table = visited[units].assign(actor_jacobian=slopes)
        table.insert(0, "action_units", units)
        parts.append(table[table["step"] % _every(table["episode"]) == 0])
    return rounded(pd.concat(parts, ignore_index=True).fillna(UNDEFINED), _STATE_DIGITS)


def _every(episode_of_state: pd.Series) -> int:
    """The smallest k for which every k-th step of each episode makes no more than STATES_KEPT rows."""
    lengths, k = episode_of_state.value_counts(), 1
    while np.ceil(lengths / k).sum() > STATES_KEPT and k < lengths.max():
        k += 1
    return k


def _actions_table(episodes: Sequence[Episode]) -> pd.DataFrame:
    numbers = np.cumsum([e.scaled_actions.size for e in episodes])
    parts = []
    for number, episode in enumerate(episodes[: max(1, int((numbers <= ACTION_NUMBERS_KEPT).sum()))]):
        actions = np.round(episode.scaled_actions.astype(np.float64), _ACTION_DECIMALS)
        part = pd.DataFrame(actions, columns=[f"action_{i}" for i in range(actions.shape[1])])
        part.insert(0, "episode", number)
        part.insert(1, "step", range(len(part)))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _point_table(episode: Episode) -> pd.DataFrame:
    """The state and scaled action in the middle of an episode, around which surfaces are drawn."""
    middle = len(episode.rewards) // 2
    parts = {"state": episode.observations[middle], "action": episode.scaled_actions[middle]}
    rows = [
        {"of": of, "coordinate": i, "value": float(value)}
        for of, values in parts.items()
        for i, value in enumerate(values)
    ]
    return rounded(pd.DataFrame(rows))


def with_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """A recorded table with NaN where it says UNDEFINED, and M/mu at single states as column `pointwise_bound`."""
    bounded = [c for c in table.columns if c.startswith(("pointwise_bound", "implicit_jacobian", "cosine"))]
    table = table.assign(**{c: table[c].where(table[c] != UNDEFINED) for c in bounded})
    if {"mixed_hessian", "curvature"} <= set(table.columns):
        table["pointwise_bound"] = (table["mixed_hessian"] / table["curvature"]).where(table["curvature"] > 0)
    return table


def kept_networks(content: bytes, environment: str, method: str) -> bytes:
    """Of a run's networks, those its record keeps: the first critic, of some also the actor, weights in float16.

    All that surfaces need: with one run's critic kept for every method, any point and pair of coordinates can be drawn.
    Rounding moves a weight by at most 1 part in 2048.
    """
    networks = networks_from_bytes(content)
    actor = networks.actor.half() if (environment, method) in WITH_ACTOR else None
    critic = networks.critics[0].half()
    return networks_to_bytes(TrainedNetworks(actor, (critic,), networks.action_dim, networks.description))
