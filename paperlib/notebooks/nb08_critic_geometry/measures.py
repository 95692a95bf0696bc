"""What notebook 08 measures: the critic's geometry along visited points, from recorded runs and from print.

Measures take recorded runs, or a printed table, as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm, spearmanr
from torch import nn

from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.engine.environments import environment_spec
from paperlib.pave.engine.evaluation import to_environment_units
from paperlib.pave.example_critics import NetworkCritic
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.runs import NotRecorded, RecordedRuns, where_recorded
from paperlib.repro.statistics import mean_interval

TD3 = "td3"
ACTOR_SIDE = ("caps", "grad", "asap")
M_SUP = "mixed_hessian_sup"


def _keep(leave_out: Iterable[str]) -> list[str]:
    return [environment for environment in ENVIRONMENTS if environment not in set(leave_out)]


# Recorded against printed


def beside_print(scores: np.ndarray, printed: float) -> dict[str, float]:
    """Our mean over runs with its interval beside a printed mean, as the check `mean_agrees` takes them.

    Where no deviation is printed, the printed mean's error is taken to be ours.
    """
    interval = mean_interval(scores, seed=0)
    found = {name: interval[name] for name in ("mean", "low", "high")}
    return found | {"printed": float(printed), "printed_error": float(scores.std(ddof=1) / np.sqrt(len(scores)))}


def cell_means(
    runs: RecordedRuns, printed: pd.DataFrame, environment: str, measures: Iterable[str]
) -> dict[str, dict | None]:
    """Tables (a) and (b): per method and measure printed, ours beside it."""
    table = printed[printed["environment"] == environment].set_index("method")
    cells = {f"{m}, {measure}": (m, measure) for measure in measures for m in table[measure].dropna().index}

    def beside(case: str) -> dict[str, float]:
        method, measure = cells[case]
        return beside_print(runs.scores(environment, TD3, method, measure), table.loc[method, measure])

    return where_recorded(cells, beside)


def checkpoint_means(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, dict | None]:
    """Table (f): per checkpoint, method and measure, ours beside the printed mean."""
    rows = printed[printed["environment"] == environment].itertuples()
    cells = {f"{row.step}, {row.method}, {q}": (row, q) for row in rows for q in (M_SUP, "negative_definite_rate")}

    def beside(case: str) -> dict[str, float]:
        row, measure = cells[case]
        return beside_print(_at_step(runs, environment, row.method, row.step, measure), getattr(row, measure))

    return where_recorded(cells, beside)


def _at_step(runs: RecordedRuns, environment: str, method: str, step: int, measure: str) -> np.ndarray:
    """A measure of each run at a training step, which evaluations were made at."""
    tables = [record.table("evaluations").set_index("step") for record in runs.runs(environment, TD3, method)]
    if step not in tables[0].index:
        raise NotRecorded([(environment, TD3, f"{method} at step {step}")])
    return np.array([table.loc[step, measure] for table in tables])


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


def over_lowest(runs: RecordedRuns, environment: str, measure: str = M_SUP) -> dict[str, float]:
    """PAVE's mean over the lowest of the other methods' means, with its interval over runs."""
    return runs.over_lowest(environment, TD3, "pave", [m for m in METHODS if m != "pave"], measure)


def rate(runs: RecordedRuns, environment: str, method: str) -> float:
    """Mean negative-definite rate of a method."""
    return float(runs.scores(environment, TD3, method, "negative_definite_rate").mean())


def actor_side_over_base(runs: RecordedRuns, environment: str) -> dict[str, float | None]:
    """Mean M_sup of each actor-side method over Base's."""
    return where_recorded(ACTOR_SIDE, lambda m: runs.ratio(environment, TD3, m, "base", M_SUP))


def growth(runs: RecordedRuns, printed: pd.DataFrame, method: str, environment: str) -> float:
    """Mean M_sup at the last printed checkpoint over that at the first."""
    steps = printed.loc[printed["environment"] == environment, "step"]
    first, last = (_at_step(runs, environment, method, s, M_SUP).mean() for s in (steps.min(), steps.max()))
    return float(last / first)


def base_over_pave_at_checkpoints(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, float]:
    """Base's mean M_sup over PAVE's at each printed checkpoint."""
    steps = sorted(set(printed.loc[printed["environment"] == environment, "step"]))
    at = {s: [_at_step(runs, environment, m, s, M_SUP).mean() for m in ("base", "pave")] for s in steps}
    return {str(step): float(base / pave) for step, (base, pave) in at.items()}


def rate_rise_failures(runs: RecordedRuns, printed: pd.DataFrame) -> dict[str, int]:
    """Consecutive printed checkpoints between which PAVE's mean negative-definite rate falls, where recorded."""

    def means(environment: str) -> dict[tuple[str, int], float]:
        steps = set(printed.loc[printed["environment"] == environment, "step"])
        rate = "negative_definite_rate"
        return {(environment, s): float(_at_step(runs, environment, "pave", s, rate).mean()) for s in steps}

    found = where_recorded(sorted(set(printed["environment"])), means)
    return rises({key: value for of in found.values() if of is not None for key, value in of.items()})


def rises(means: Mapping[tuple[str, int], float]) -> dict[str, int]:
    """{cases, failures} of consecutive steps of each environment; means by (environment, step)."""
    outcomes = []
    for environment in {e for e, _ in means}:
        values = [means[e, s] for e, s in sorted(means) if e == environment]
        outcomes += [bool(later >= earlier) for earlier, later in zip(values[:-1], values[1:], strict=True)]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


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


# The printed tables by themselves


def printed_means(printed: pd.DataFrame, measure: str) -> dict[str, dict[str, float]]:
    """By environment and method."""
    return {
        e: printed[printed["environment"] == e].set_index("method")[measure].dropna().to_dict() for e in ENVIRONMENTS
    }


def printed_over_lowest(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """PAVE's over the lowest of the other methods', per environment."""
    return {e: of["pave"] / min(value for m, value in of.items() if m != "pave") for e, of in means.items()}


def printed_base_over_pave(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Base's over PAVE's, per environment."""
    return {e: of["base"] / of["pave"] for e, of in means.items()}


def printed_factors(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Base's M_sup over PAVE's where PAVE's is the lowest."""
    return {e: of["base"] / of["pave"] for e, of in means.items() if of["pave"] == min(of.values())}


def printed_rate_change(means: Mapping[str, Mapping[str, float]], leave_out: Iterable[str] = ()) -> dict[str, float]:
    """PAVE's negative-definite rate minus Base's, per environment."""
    return {e: means[e]["pave"] - means[e]["base"] for e in _keep(leave_out)}


def printed_actor_side_over_base(
    means: Mapping[str, Mapping[str, float]], leave_out: Iterable[str] = ()
) -> dict[str, float]:
    """M_sup of each actor-side method over Base's, per method and environment."""
    return {f"{m}, {e}": means[e][m] / means[e]["base"] for e in _keep(leave_out) for m in ACTOR_SIDE}


def printed_base_over_pave_at_checkpoints(printed: pd.DataFrame, environment: str) -> dict[str, float]:
    """Base's M_sup over PAVE's at each printed checkpoint."""
    at = printed[printed["environment"] == environment].pivot(index="step", columns="method", values=M_SUP)
    return {str(step): float(value) for step, value in (at["base"] / at["pave"]).items()}


def printed_growth(printed: pd.DataFrame, method: str, environments: Iterable[str]) -> dict[str, float]:
    """M_sup at the last printed checkpoint over that at the first."""
    found = {}
    for environment in environments:
        part = printed[(printed["environment"] == environment) & (printed["method"] == method)].sort_values("step")
        found[environment] = float(part[M_SUP].iloc[-1] / part[M_SUP].iloc[0])
    return found


def printed_rises(printed: pd.DataFrame, method: str = "pave") -> dict[str, int]:
    """Consecutive printed checkpoints between which the rate falls."""
    part = printed[printed["method"] == method]
    return rises({(row.environment, row.step): row.negative_definite_rate for row in part.itertuples()})


def difference_of_final(during: pd.DataFrame, final: pd.DataFrame, measure: str) -> float:
    """Largest relative difference, over environments and methods, of the last checkpoint of table (f) to table (a)."""
    last = during.loc[during.groupby(["environment", "method"])["step"].idxmax()]
    both = last.merge(final, on=["environment", "method"], suffixes=("_f", "_a"))
    return float((both[f"{measure}_f"] / both[f"{measure}_a"] - 1).abs().max())


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
