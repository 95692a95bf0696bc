"""Q-gradient surfaces ||H_sa||_2 over one state and one action coordinate: as published, and over states that exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from paperlib.notebooks.shared.scores import ACTOR_SIDE
from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.engine.environments import environment_spec
from paperlib.pave.engine.evaluation import to_environment_units
from paperlib.pave.example_critics import NetworkCritic
from paperlib.pave.records.printed_tables import METHODS
from paperlib.pave.records.scores import RecordedRuns

HALF_WIDTHS = (1.0, 1.5)
"""Of a published surface, in the state and in the action coordinate."""
GRIDS = (50, 100, 200, 400, 800)
"""Points along each axis: as published, and doubled until the roughness stays."""
GRIDS_OF_CLAIMS = GRIDS[:-1]
"""Those that the claims about thirty surfaces are given."""
CONVERGED = 0.05
"""Largest relative change of the roughness at a doubling that counts as none."""
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class Sweep:
    """A rectangle of points (s, a): `at` takes (n, 2) of its coordinates to states (n, d_s) and actions (n, d_a)."""

    state: tuple[float, float]
    action: tuple[float, float]
    at: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def coordinate_sweep(state: torch.Tensor, action: torch.Tensor, pair: tuple[int, int]) -> Sweep:
    """As published: one coordinate of a visited state +-1.0, one of its action +-1.5, all others fixed."""

    def at(moved: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, actions = state.repeat(len(moved), 1), action.repeat(len(moved), 1)
        states[:, pair[0]] += moved[:, 0]
        actions[:, pair[1]] += moved[:, 1]
        return states, actions

    half_state, half_action = HALF_WIDTHS
    return Sweep((-half_state, half_state), (-half_action, half_action), at)


def angle_sweep(velocity: float, half_width: float = 1.0) -> Sweep:
    """States of Pendulum, (cos, sin, velocity) of angles around upright, and every action that is allowed."""

    def at(moved: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angle = moved[:, 0]
        return torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, velocity)], dim=1), moved[:, 1:]

    return Sweep((-half_width, half_width), (-1.0, 1.0), at)


def steepest_pair(critic: nn.Module, state: torch.Tensor, action: torch.Tensor) -> tuple[int, int]:
    """The state and action coordinate with the largest |d2Q/ds da| at a point, d_s and d_a."""
    mixed = mixed_hessian(critic, state[None], action[None])[0].abs()  # (d_a, d_s)
    j, i = divmod(int(mixed.argmax()), mixed.shape[1])
    return i, j


def axes_of(sweep: Sweep, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The state's and the action's places of a grid."""
    return np.linspace(*sweep.state, points), np.linspace(*sweep.action, points)


def surface(critic: nn.Module, sweep: Sweep, points: int) -> np.ndarray:
    """||H_sa||_2 on a grid: (points, points), the state first."""
    grid = np.stack(np.meshgrid(*axes_of(sweep, points), indexing="ij"), axis=-1).reshape(-1, 2)
    heights = []
    for part in torch.as_tensor(grid).split(_CHUNK):
        heights.append(torch.linalg.matrix_norm(mixed_hessian(critic, *sweep.at(part)), ord=2).detach())
    return torch.cat(heights).numpy().reshape(points, points)


def roughness(height: np.ndarray, sweep: Sweep) -> float:
    """Mean absolute Laplacian over the interior of a surface, in height per squared unit of a coordinate.

    Second differences are divided by the grid's squared spacing, so that grids of different fineness compare.
    """
    state, action = (np.diff(axis[:2]).item() for axis in axes_of(sweep, len(height)))
    inner = 2 * height[1:-1, 1:-1]
    along_state = (height[2:, 1:-1] + height[:-2, 1:-1] - inner) / state**2
    along_action = (height[1:-1, 2:] + height[1:-1, :-2] - inner) / action**2
    return float(np.abs(along_state + along_action).mean())


def refinement(critic: nn.Module, sweep: Sweep, grids: Sequence[int] = GRIDS) -> tuple[pd.DataFrame, np.ndarray]:
    """A surface on grids doubled until its roughness changes by less than 5 %, and its heights on the last of them.

    A row per grid: points, height (mean), roughness, change (of the roughness, relative to this grid's), teeth.
    """
    rows = []
    for points in grids:
        heights = surface(critic, sweep, points)
        rough = roughness(heights, sweep)
        change = abs(rough - rows[-1]["roughness"]) / rough if rows else np.inf
        found = {"points": points, "height": float(heights.mean()), "roughness": rough}
        rows.append(found | {"change": change, "teeth": teeth(heights)})
        if change <= CONVERGED:
            break
    return pd.DataFrame(rows), heights


def crest(height: np.ndarray) -> np.ndarray:
    """The largest height at each action: a ridge that crosses the grid obliquely, seen along the action."""
    return height.max(axis=0)


def teeth(height: np.ndarray) -> int:
    """Local maxima of the crest."""
    along = crest(height)
    return int(((along[1:-1] > along[:-2]) & (along[1:-1] > along[2:])).sum())


def teeth_per_point(table: pd.DataFrame) -> float:
    """The power of the number of points with which the number of teeth grows: 1 if the grid makes them, 0 if not."""
    return float(np.polyfit(np.log(table["points"]), np.log(table["teeth"].clip(lower=1)), 1)[0])


def ridge_width(height: np.ndarray, sweep: Sweep) -> float:
    """Full width at half maximum of the ridge along the state: median over the actions at which it is tall.

    Tall is at least half of the largest height; the width is counted in points of a fine grid.
    """
    step = np.diff(axes_of(sweep, len(height))[0][:2]).item()
    widths = []
    for column in height.T[crest(height) >= height.max() / 2]:
        top = int(column.argmax())
        low = column < column[top] / 2
        left = top - np.argmax(low[top::-1]) if low[: top + 1].any() else 0
        right = top + np.argmax(low[top:]) if low[top:].any() else len(column)
        widths.append((right - left - 1) * step)
    return float(np.median(widths))


# Surfaces of recorded critics, as published


def surfaces_of(runs: RecordedRuns, environment: str, algorithm: str = "td3") -> dict[str, dict[str, float]]:
    """Per method the mean height and roughness of the surface around Base's point, over Base's steepest pair of
    coordinates, at actions in environment units as published; NotRecorded where a critic or the point is not kept.
    """
    critics = {m: NetworkCritic(runs.networks(environment, algorithm, m).critics[0]) for m in METHODS}
    state, scaled = runs.point(environment, algorithm, "base")
    spec = environment_spec(environment)
    at = (torch.as_tensor(x).double() for x in (state, to_environment_units(scaled, spec.action_low, spec.action_high)))
    state, action = at
    sweep = coordinate_sweep(state, action, steepest_pair(critics["base"], state, action))
    return {m: surface_measures(critic, sweep) for m, critic in critics.items()}


def surface_measures(critic: nn.Module, sweep: Sweep) -> dict[str, float | None]:
    """A surface's mean height and roughness on the last grid; no roughness if it has not converged there."""
    last = refinement(critic, sweep, GRIDS_OF_CLAIMS)[0].iloc[-1]
    return {"height": last["height"], "roughness": last["roughness"] if last["change"] <= CONVERGED else None}


def surface_claims(measures: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | dict[str, float | None]]:
    """What each claim about surfaces measures in one environment, from {height, roughness} by method."""
    others = [m for m in METHODS if m != "pave"]
    height, rough = ({m: of[name] for m, of in measures.items()} for name in ("height", "roughness"))

    def roughness_over(one: str, other: str) -> float | None:
        return None if None in (rough[one], rough[other]) else rough[one] / rough[other]

    return {
        "pave_lowest": height["pave"] / min(height[m] for m in others),
        "pave_smoothest": {m: roughness_over("pave", m) for m in others},
        "others_alike": {m: height[m] / height["base"] for m in ACTOR_SIDE},
        "others_jagged": {m: roughness_over(m, "pave") for m in others},
    }
