"""What notebook 08 measures: the critic's geometry along visited points, from recorded runs and from print.

Measures take recorded runs, or scores by cell, which are recorded or printed ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm, spearmanr
from torch import nn

from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.scores import ACTOR_SIDE, Scores, of_cells, ratio
from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.engine.environments import environment_spec
from paperlib.pave.engine.evaluation import to_environment_units
from paperlib.pave.example_critics import NetworkCritic
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.scores import RecordedRuns, where_recorded

TD3 = "td3"
M_SUP = "mixed_hessian_sup"


# Sentences


def correlation_with_smoothness(runs: RecordedRuns, environment: str) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation between M_sup and smoothness over the runs of Base and PAVE."""
    cells = [(environment, TD3, m) for m in ("base", "pave")]
    runs.require(cells)
    return _rank_correlation([(_scores(runs, cells, M_SUP), _scores(runs, cells, "smoothness"))])


def goes_with_smoothness(runs: RecordedRuns, measure: str) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation between a measure at actions as trained and smoothness over the runs
    of all methods of an environment and algorithm, averaged over those that are recorded.
    """
    settings = [[(e, a, m) for m in METHODS] for e in ENVIRONMENTS for a in ("td3", "sac")]
    complete = [cells for cells in settings if all(runs.has(*cell) for cell in cells)]
    if not complete:
        runs.require(cell for cells in settings for cell in cells)
    return _rank_correlation([(_scores(runs, c, measure), _scores(runs, c, "smoothness")) for c in complete])


def _scores(runs: RecordedRuns, cells: Iterable[tuple[str, str, str]], measure: str) -> np.ndarray:
    """(runs, cells)."""
    return np.stack([runs.scores(*cell, measure, "scaled") for cell in cells], axis=1)


def _rank_correlation(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """{mean, low, high} of Spearman's correlation within each pair of measures, averaged over the pairs.

    Averaged and given its 95 % interval as Fisher's z, whose variance is 1.06 / (n - 3) for n runs (Fieller, Hartley
    and Pearson 1957): drawing five runs per method anew would make the interval too narrow.
    """
    found = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in pairs]
    z = np.arctanh(np.clip(np.nan_to_num(found), -_ALMOST_ONE, _ALMOST_ONE))
    error = np.sqrt(sum(1.06 / (x.size - 3) for x, _ in pairs)) / len(pairs)
    low, mean, high = np.tanh(z.mean() + np.array([-1, 0, 1]) * norm.ppf(0.975) * error)
    return {"mean": float(mean), "low": float(low), "high": float(high)}


_ALMOST_ONE = 0.999  # a correlation of one has no z


def mean_of(scores: Scores, environment: str, method: str) -> float:
    """Mean over runs, or as printed."""
    return float(np.mean(scores[environment, method]))


def actor_side_over_base(scores: Scores, environment: str) -> dict[str, float | None]:
    """Mean of each actor-side method over Base's."""
    return where_recorded(ACTOR_SIDE, lambda m: ratio(scores, environment, m, "base"))


# During training: scores by environment, method and step; steps: those printed of an environment


def printed_steps(printed: pd.DataFrame) -> dict[str, list[int]]:
    """The checkpoints of table (f), by environment, in order."""
    return {e: sorted(set(part["step"])) for e, part in printed.groupby("environment")}


def growth(scores: Scores, steps: Mapping[str, list[int]], method: str, environment: str) -> float:
    """Mean at the last checkpoint over that at the first."""
    ends = steps[environment][0], steps[environment][-1]
    first, last = of_cells(scores, [(environment, method, step) for step in ends])
    return float(np.mean(last) / np.mean(first))


def base_over_pave(scores: Scores, steps: Mapping[str, list[int]], environment: str) -> dict[str, float]:
    """Base's mean over PAVE's at each checkpoint."""
    cells = [(environment, m, step) for step in steps[environment] for m in ("base", "pave")]
    found = iter(of_cells(scores, cells))
    return {str(step): float(np.mean(next(found)) / np.mean(next(found))) for step in steps[environment]}


def falls(scores: Scores, steps: Mapping[str, list[int]], method: str = "pave") -> dict[str, int]:
    """{cases, failures}: neighbouring checkpoints, and those between which the mean falls, where recorded."""

    def rises(environment: str) -> list[bool]:
        cells = [(environment, method, step) for step in steps[environment]]
        return [bool(np.mean(later) >= np.mean(earlier)) for earlier, later in pairwise(of_cells(scores, cells))]

    return count(itertools.chain.from_iterable(of or [] for of in where_recorded(steps, rises).values()))


# Surfaces of recorded critics


def surfaces_of(runs: RecordedRuns, environment: str, algorithm: str = TD3) -> dict[str, dict[str, float]]:
    """Per method the mean height and roughness of the surface around Base's point, over Base's steepest pair of
    coordinates, at actions in environment units as published; NotRecorded where a critic or the point is not kept.
    """
    critics = {m: NetworkCritic(runs.networks(environment, algorithm, m).critics[0]) for m in METHODS}
    state, scaled = runs.point(environment, algorithm, "base")
    spec = environment_spec(environment)
    at = (torch.as_tensor(x).double() for x in (state, to_environment_units(scaled, spec.action_low, spec.action_high)))
    state, action = at
    pair = steepest_pair(critics["base"], state, action)
    return {m: surface_measures(critic, state, action, pair) for m, critic in critics.items()}


def surface_claims(measures: Mapping[str, Mapping[str, float]]) -> dict[str, float | dict[str, float]]:
    """What each claim about surfaces measures in one environment, from {height, roughness} by method."""
    others = [m for m in METHODS if m != "pave"]
    height, rough = ({m: of[name] for m, of in measures.items()} for name in ("height", "roughness"))
    return {
        "pave_lowest": height["pave"] / min(height[m] for m in others),
        "pave_smoothest": rough["pave"] / min(rough[m] for m in others),
        "others_alike": {m: height[m] / height["base"] for m in ACTOR_SIDE},
        "others_jagged": {m: rough[m] / rough["pave"] for m in others},
    }


# Surfaces


def steepest_pair(critic: nn.Module, state: torch.Tensor, action: torch.Tensor) -> tuple[int, int]:
    """The state and action coordinate with the largest |d2Q/ds da| at a point, d_s and d_a."""
    mixed = mixed_hessian(critic, state[None], action[None])[0].abs()  # (d_a, d_s)
    j, i = divmod(int(mixed.argmax()), mixed.shape[1])
    return i, j


def surface(
    critic: nn.Module, state: torch.Tensor, action: torch.Tensor, pair: tuple[int, int], points: int = 50
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """||H_sa||_2 on a grid of +-1.0 in a state coordinate and +-1.5 in an action coordinate: (points, points), axes."""
    axes = {"state": np.linspace(-HALF_WIDTHS[0], HALF_WIDTHS[0], points)}
    axes["action"] = np.linspace(-HALF_WIDTHS[1], HALF_WIDTHS[1], points)
    moved = np.stack(np.meshgrid(axes["state"], axes["action"], indexing="ij"), axis=-1).reshape(-1, 2)
    moved = torch.as_tensor(moved).to(state)
    heights = []
    for part in moved.split(_CHUNK):
        states, actions = state.repeat(len(part), 1), action.repeat(len(part), 1)
        states[:, pair[0]] += part[:, 0]
        actions[:, pair[1]] += part[:, 1]
        heights.append(torch.linalg.matrix_norm(mixed_hessian(critic, states, actions), ord=2).detach())
    return torch.cat(heights).cpu().numpy().reshape(points, points), axes


HALF_WIDTHS = (1.0, 1.5)
"""Of a surface, in the state and in the action coordinate."""
GRIDS = (50, 100, 200, 400)
"""Points along each axis: as published, and doubled until the roughness stays."""
CONVERGED = 0.05
_CHUNK = 10_000


def surface_measures(
    critic: nn.Module, state: torch.Tensor, action: torch.Tensor, pair: tuple[int, int]
) -> dict[str, float]:
    """A surface's mean height and roughness on the first grid whose roughness is within 5 % of the coarser one's, or on
    the finest; `points` says which, `published_roughness` is that on the published grid, which is aliased.
    """
    before = None
    for points in GRIDS:
        height, _ = surface(critic, state, action, pair, points)
        found = {"height": float(height.mean()), "roughness": roughness(height), "points": points}
        if before is None:
            published = found["roughness"]
        elif abs(found["roughness"] - before) <= CONVERGED * found["roughness"]:
            break
        before = found["roughness"]
    return found | {"published_roughness": published}


def roughness(height: np.ndarray) -> float:
    """Mean absolute Laplacian over the interior of a surface, in height per squared unit of a coordinate.

    Second differences are divided by the grid's squared spacing, so that grids of different fineness compare.
    """
    state, action = (2 * half / (points - 1) for half, points in zip(HALF_WIDTHS, height.shape, strict=True))
    inner = 2 * height[1:-1, 1:-1]
    along_state = (height[2:, 1:-1] + height[:-2, 1:-1] - inner) / state**2
    along_action = (height[1:-1, 2:] + height[1:-1, :-2] - inner) / action**2
    return float(np.abs(along_state + along_action).mean())
