"""What notebook 08 measures: the critic's geometry along visited points, from recorded runs and from print.

Measures take recorded runs, or a printed table, as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.environments import environment_spec
from paperlib.pave.evaluation import to_environment_units
from paperlib.pave.example_critics import NetworkCritic
from paperlib.pave.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.recorded_runs import NotRecorded, RecordedRuns
from paperlib.repro.statistics import mean_interval

TD3 = "td3"
ACTOR_SIDE = ("caps", "grad", "asap")


def _keep(leave_out: Iterable[str]) -> list[str]:
    return [environment for environment in ENVIRONMENTS if environment not in set(leave_out)]


def _require(runs: RecordedRuns, environments: Iterable[str], methods: Iterable[str]) -> None:
    runs.require((e, TD3, m) for e in environments for m in methods)


def _means(runs: RecordedRuns, measure: str, methods: Iterable[str]) -> dict[str, dict[str, float]]:
    """Mean over runs by environment and method, all environments."""
    methods = list(methods)
    _require(runs, ENVIRONMENTS, methods)
    return {e: {m: float(runs.scores(e, TD3, m, measure).mean()) for m in methods} for e in ENVIRONMENTS}


# Recorded against printed


def cell_means(runs: RecordedRuns, printed: pd.DataFrame, environment: str, measures: Iterable[str]) -> dict[str, dict]:
    """Tables (a) and (b): per method and measure printed, our interval over runs beside the printed mean."""
    table = printed[printed["environment"] == environment].set_index("method")
    _require(runs, [environment], table.index)
    found = {}
    for measure in measures:
        for method, value in table[measure].dropna().items():
            interval = runs.interval(environment, TD3, method, measure)
            found[f"{method}, {measure}"] = {k: interval[k] for k in ("mean", "low", "high")} | {
                "printed": float(value)
            }
    return found


def checkpoint_means(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, dict]:
    """Table (f): per checkpoint, method and measure, our interval over runs beside the printed mean."""
    found = {}
    for row in printed[printed["environment"] == environment].itertuples():
        for measure in ("mixed_hessian_sup", "negative_definite_rate"):
            scores = _at_step(runs, environment, row.method, row.step, measure)
            interval = mean_interval(scores, seed=0)
            name = f"{row.step}, {row.method}, {measure}"
            found[name] = {k: interval[k] for k in ("mean", "low", "high")} | {"printed": float(getattr(row, measure))}
    return found


def _at_step(runs: RecordedRuns, environment: str, method: str, step: int, measure: str) -> np.ndarray:
    """A measure of each run at a training step, which evaluations were made at."""
    tables = [record.table("evaluations").set_index("step") for record in runs.runs(environment, TD3, method)]
    if step not in tables[0].index:
        raise NotRecorded([(environment, TD3, f"{method} at step {step}")])
    return np.array([table.loc[step, measure] for table in tables])


# Sentences


def correlation_with_smoothness(runs: RecordedRuns, measure: str = "mixed_hessian_sup") -> float:
    """Spearman's between M_sup and smoothness over runs of Base and PAVE, within each environment, averaged."""
    _require(runs, ENVIRONMENTS, ("base", "pave"))
    found = []
    for environment in ENVIRONMENTS:
        pooled = [
            np.concatenate([runs.scores(environment, TD3, m, q) for m in ("base", "pave")])
            for q in (measure, "smoothness")
        ]
        found.append(spearmanr(*pooled).statistic)
    return float(np.mean(found))


def environments_with_lowest(means: Mapping[str, Mapping[str, float]], method: str = "pave") -> int:
    """Environments in which the method has the lowest mean."""
    return sum(of[method] == min(of.values()) for of in means.values())


def environments_with_factor(means: Mapping[str, Mapping[str, float]], low: float, high: float = np.inf) -> int:
    """Environments in which Base's mean over PAVE's lies in a range."""
    return sum(low <= of["base"] / of["pave"] <= high for of in means.values())


def rate_raised(runs: RecordedRuns, leave_out: Iterable[str] = ()) -> dict[str, dict[str, float]]:
    """Probability that PAVE's negative-definite rate is above Base's, per environment."""
    _require(runs, _keep(leave_out), ("base", "pave"))
    return {e: runs.above(e, TD3, "pave", "base", "negative_definite_rate") for e in _keep(leave_out)}


def rates(runs: RecordedRuns, method: str, leave_out: Iterable[str] = ()) -> dict[str, float]:
    """Mean negative-definite rate of a method, per environment."""
    _require(runs, _keep(leave_out), [method])
    return {e: float(runs.scores(e, TD3, method, "negative_definite_rate").mean()) for e in _keep(leave_out)}


def over_base(means: Mapping[str, Mapping[str, float]], leave_out: Iterable[str] = ()) -> dict[str, float]:
    """Mean M_sup of each actor-side method over Base's, per method and environment."""
    return {f"{m}, {e}": means[e][m] / means[e]["base"] for e in _keep(leave_out) for m in ACTOR_SIDE}


def growth(runs: RecordedRuns, printed: pd.DataFrame, method: str, environment: str) -> float:
    """Mean M_sup at the last printed checkpoint over that at the first."""
    steps = printed.loc[printed["environment"] == environment, "step"]
    first, last = (
        _at_step(runs, environment, method, s, "mixed_hessian_sup").mean() for s in (steps.min(), steps.max())
    )
    return float(last / first)


def base_over_pave_at_checkpoints(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, float]:
    """Base's mean M_sup over PAVE's at each printed checkpoint."""
    steps = sorted(set(printed.loc[printed["environment"] == environment, "step"]))
    at = {s: [_at_step(runs, environment, m, s, "mixed_hessian_sup").mean() for m in ("base", "pave")] for s in steps}
    return {str(step): float(base / pave) for step, (base, pave) in at.items()}


def rate_rise_failures(runs: RecordedRuns, printed: pd.DataFrame) -> dict[str, int]:
    """Consecutive printed checkpoints between which PAVE's mean negative-definite rate falls."""
    means = {
        (e, s): _at_step(runs, e, "pave", s, "negative_definite_rate").mean()
        for e, s in {(row.environment, row.step) for row in printed.itertuples()}
    }
    return rises(means)


def rises(means: Mapping[tuple[str, int], float]) -> dict[str, int]:
    """{cases, failures} of consecutive steps of each environment; means by (environment, step)."""
    outcomes = []
    for environment in {e for e, _ in means}:
        values = [means[e, s] for e, s in sorted(means) if e == environment]
        outcomes += [bool(later >= earlier) for earlier, later in zip(values[:-1], values[1:], strict=True)]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def mean_by_method(runs: RecordedRuns, measure: str, methods: Iterable[str] = METHODS) -> dict[str, dict[str, float]]:
    """Means over runs by environment and method; NotRecorded unless all environments are."""
    return _means(runs, measure, methods)


def pointwise_bound_lower(runs: RecordedRuns) -> dict[str, dict[str, float]]:
    """Probability that the median of ||H_sa||_2 / mu over PAVE's visited states with mu > 0 is below Base's, per
    environment; where a run has no such state its bound is infinite.
    """
    _require(runs, ENVIRONMENTS, ("base", "pave"))
    return {e: runs.below(e, TD3, "pave", "base", "pointwise_bound_median") for e in ENVIRONMENTS}


def surfaces_of_all(runs: RecordedRuns) -> dict[str, int]:
    """What the claims about surfaces count, from the first seed's critic of each method in each environment."""
    return count_surfaces({e: surfaces_of(runs, e) for e in ENVIRONMENTS})


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


def count_surfaces(surfaces: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, int]:
    """Environments or surfaces that behave as claimed; {height, roughness} by environment and method."""
    mean = {e: {m: measures["height"] for m, measures in of.items()} for e, of in surfaces.items()}
    rough = {e: {m: measures["roughness"] for m, measures in of.items()} for e, of in surfaces.items()}
    alike = [0.5 <= mean[e][m] / mean[e]["base"] <= 2 for e in surfaces for m in ACTOR_SIDE]
    jagged = [rough[e][m] >= 2 * rough[e]["pave"] for e in surfaces for m in METHODS if m != "pave"]
    return {
        "pave_lowest": environments_with_lowest(mean),
        "pave_smoothest": environments_with_lowest(rough),
        "others_alike": sum(alike),
        "others_jagged": sum(jagged),
    }


# The printed tables by themselves


def printed_means(printed: pd.DataFrame, measure: str) -> dict[str, dict[str, float]]:
    """By environment and method."""
    return {
        e: printed[printed["environment"] == e].set_index("method")[measure].dropna().to_dict() for e in ENVIRONMENTS
    }


def printed_factors(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Base's M_sup over PAVE's where PAVE's is the lowest."""
    return {e: of["base"] / of["pave"] for e, of in means.items() if of["pave"] == min(of.values())}


def printed_rate_failures(means: Mapping[str, Mapping[str, float]], leave_out: Iterable[str] = ()) -> dict[str, int]:
    """Environments whose rate does not rise from Base to PAVE or ends outside 63.5 to 100 %."""
    outcomes = [means[e]["pave"] > means[e]["base"] and 0.635 <= means[e]["pave"] <= 1 for e in _keep(leave_out)]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_growth(printed: pd.DataFrame, method: str, environments: Iterable[str]) -> dict[str, float]:
    """M_sup at the last printed checkpoint over that at the first."""
    found = {}
    for environment in environments:
        part = printed[(printed["environment"] == environment) & (printed["method"] == method)].sort_values("step")
        found[environment] = float(part["mixed_hessian_sup"].iloc[-1] / part["mixed_hessian_sup"].iloc[0])
    return found


def printed_rises(printed: pd.DataFrame, method: str = "pave") -> dict[str, int]:
    """Consecutive printed checkpoints between which the rate falls."""
    part = printed[printed["method"] == method]
    return rises({(row.environment, row.step): row.negative_definite_rate for row in part.itertuples()})


def final_over_table_a(during: pd.DataFrame, final: pd.DataFrame, measure: str) -> dict[str, float]:
    """The last checkpoint of table (f) over table (a), per environment and method."""
    last = during.loc[during.groupby(["environment", "method"])["step"].idxmax()]
    both = last.merge(final, on=["environment", "method"], suffixes=("_f", "_a"))
    return {f"{row.environment}, {row.method}": float(getattr(row, f"{measure}_f") / getattr(row, f"{measure}_a"))
            for row in both.itertuples()}  # fmt: skip


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
