"""What notebook 09 measures: which loss does what, other critic regularisers, CAPS with PAVE, observation noise.

Measures take recorded runs, or a printed table, as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from paperlib.pave.checkpoints import TrainedNetworks
from paperlib.pave.evaluation import episode_table, play_episodes
from paperlib.pave.experiments import tidy
from paperlib.pave.recorded_runs import RecordedRuns
from paperlib.repro.statistics import mean_interval
from paperlib.repro.store import Record

WITHOUT_CURV = ("mpr", "vfc", "mpr_vfc")
CONFIGURATIONS = ("base", "mpr", "vfc", "mpr_vfc", "curv", "mpr_curv", "vfc_curv", "pave")
LOSSES = ("mpr", "vfc", "curv")
WALKER, LUNAR = ("walker", "td3"), ("lunar", "td3")
CRITIC_SIDE = ("sn_critic", "gp_critic")
GEOMETRY = ("mixed_hessian_sup", "negative_definite_rate")


def key(printed: str) -> str:
    """A printed configuration or method as our runs spell it: "MPR+VFC" is mpr_vfc, "SN-Critic" sn_critic."""
    return printed.lower().replace("+", "_").replace("-", "_")


def _beside(runs: RecordedRuns, cell: tuple[str, str, str], measure: str, printed: float) -> dict[str, float]:
    interval = runs.interval(*cell, measure)
    return {name: interval[name] for name in ("mean", "low", "high")} | {"printed": float(printed)}


# Table (d): the factorial


def factorial_means(runs: RecordedRuns, printed: pd.DataFrame, measure: str) -> dict[str, dict[str, float]]:
    """Per combination, our interval over runs beside the printed mean."""
    runs.require((*WALKER, m) for m in CONFIGURATIONS)
    rows = {key(row.configuration): getattr(row, f"{measure}_mean") for row in printed.itertuples()}
    return {m: _beside(runs, (*WALKER, m), measure, rows[m]) for m in CONFIGURATIONS}


def less_smooth_without_curv(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the score of MPR + VFC is above Base's."""
    return runs.above(*WALKER, "mpr_vfc", "base", "smoothness")


def all_three_smoothest(runs: RecordedRuns) -> dict[str, dict[str, float]]:
    """Probability that the score with all three is below the other combination's."""
    runs.require((*WALKER, m) for m in CONFIGURATIONS)
    return {m: runs.below(*WALKER, "pave", m, "smoothness") for m in CONFIGURATIONS if m != "pave"}


def score_over_base(runs: RecordedRuns) -> dict[str, float]:
    """Mean smoothness score over Base's of the combinations without Curv."""
    runs.require((*WALKER, m) for m in ("base", *WITHOUT_CURV))
    base = runs.scores(*WALKER, "base", "smoothness").mean()
    return {m: float(runs.scores(*WALKER, m, "smoothness").mean() / base) for m in WITHOUT_CURV}


def curv_rescues(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the score with all three is below that of MPR + VFC."""
    return runs.below(*WALKER, "pave", "mpr_vfc", "smoothness")


def fewer_flips_with_vfc(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the flip rate with VFC alone is below Base's."""
    return runs.below(*WALKER, "vfc", "base", "flip_rate")


def effects(scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Main effects and interactions of the losses on a score, run by run; scores by configuration, each (seeds,).

    An effect is the mean score of the configurations where the product of the signs (+1 with a loss, -1 without) is
    positive minus that of the others: columns effect, mean, low, high (95 % over seeds).
    """
    signs = {m: {loss: 1 if m == "pave" or loss in m.split("_") else -1 for loss in LOSSES} for m in CONFIGURATIONS}
    rows = []
    for chosen in range(1, 8):
        losses = [loss for k, loss in enumerate(LOSSES) if chosen >> k & 1]
        contrast = sum(np.prod([signs[m][loss] for loss in losses]) * scores[m] for m in CONFIGURATIONS) / 4
        interval = mean_interval(contrast, seed=0)
        rows.append(
            {"effect": " x ".join(loss.upper() for loss in losses), **{k: interval[k] for k in ("mean", "low", "high")}}
        )
    return pd.DataFrame(rows)


# Table (c): other ways to regularise a critic


def critic_side_means(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, dict[str, float]]:
    """Per method and measure printed, our interval over runs beside the printed mean."""
    cell = environment, "td3"
    runs.require((*cell, m) for m in CRITIC_SIDE)
    table = printed.set_index(printed["method"].map(key))
    table, found = table[table["environment"] == environment], {}
    columns = {"smoothness": "smoothness", "return": "return_mean", **{name: name for name in GEOMETRY}}
    for method in CRITIC_SIDE:
        for measure, column in columns.items():
            if not np.isnan(table.loc[method, column]):
                found[f"{method}, {measure}"] = _beside(runs, (*cell, method), measure, table.loc[method, column])
    return found


def flatter_than_base(runs: RecordedRuns) -> dict[str, dict[str, float]]:
    """Probability that a run's median |lambda_max(H_aa)| is below one of Base's, per method and environment."""
    runs.require((*cell, m) for cell in (LUNAR, WALKER) for m in ("base", *CRITIC_SIDE))
    return {
        f"{m}, {cell[0]}": runs.below(*cell, m, "base", "curvature_size_median")
        for cell in (LUNAR, WALKER)
        for m in CRITIC_SIDE
    }


def flattened_by_sn(runs: RecordedRuns) -> dict[str, float]:
    """SN-Critic's mean M_sup and mean median |lambda_max(H_aa)| over Base's, per environment."""
    return {
        f"{measure}, {environment}": value
        for measure in ("mixed_hessian_sup", "curvature_size_median")
        for environment, value in ratio_to_base(runs, "sn_critic", measure).items()
    }


def spread_of_actions(runs: RecordedRuns, method: str = "sn_critic") -> dict[str, float]:
    """Standard deviation of the action over visited states over half the action range, of the dimension where it is
    largest, mean over runs, per environment.
    """
    runs.require((*cell, method) for cell in (LUNAR, WALKER))
    return {cell[0]: float(runs.scores(*cell, method, "action_sd_largest").mean()) for cell in (LUNAR, WALKER)}


def ratio_to_base(runs: RecordedRuns, method: str, measure: str) -> dict[str, float]:
    """Mean of a measure over Base's, per environment."""
    runs.require((*cell, m) for cell in (LUNAR, WALKER) for m in ("base", method))
    return {
        cell[0]: float(runs.scores(*cell, method, measure).mean() / runs.scores(*cell, "base", measure).mean())
        for cell in (LUNAR, WALKER)
    }


def rate_minus_base(runs: RecordedRuns, method: str = "gp_critic") -> dict[str, float]:
    """Mean negative-definite rate minus Base's, per environment."""
    runs.require((*cell, m) for cell in (LUNAR, WALKER) for m in ("base", method))
    measure = "negative_definite_rate"
    return {
        cell[0]: float(runs.scores(*cell, method, measure).mean() - runs.scores(*cell, "base", measure).mean())
        for cell in (LUNAR, WALKER)
    }


# Table (e): CAPS with PAVE


def combination_means(runs: RecordedRuns, printed: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Per method and measure, our interval over runs beside the printed mean."""
    methods = {key(row.method): row for row in printed.itertuples()}
    runs.require((*LUNAR, m) for m in methods)
    return {
        f"{m}, {measure}": _beside(runs, (*LUNAR, m), measure, getattr(row, column))
        for m, row in methods.items()
        for measure, column in (("return", "return_mean"), ("smoothness", "smoothness"))
    }


def change_by_caps(runs: RecordedRuns) -> dict[str, float]:
    """|mean of CAPS + PAVE - mean of PAVE| / |mean of PAVE|."""
    runs.require((*LUNAR, m) for m in ("pave", "caps_pave"))
    changes = {}
    for measure in ("return", "smoothness"):
        pave, both = (runs.scores(*LUNAR, m, measure).mean() for m in ("pave", "caps_pave"))
        changes[measure] = float(abs(both - pave) / abs(pave))
    return changes


# Live runs


def live_scores(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run: method, seed, mean return and smoothness of its last episodes, geometry at scaled actions."""
    keys = ["method", "seed"]
    scores = tidy(records, "episodes").groupby(keys, sort=False)[["return", "smoothness"]].mean().reset_index()
    geometry = tidy(records, "geometry")
    geometry = geometry[geometry["action_units"] == "scaled"]
    return scores.merge(geometry[[*keys, *GEOMETRY, "curvature_median"]], on=keys)


# Sweeps of one coefficient

SWEPT = ("mpr", "vfc", "curv", "sigma", "delta")
SEARCH_ORDER = ("curv", "vfc", "mpr")  # the most sensitive first


def sweeps(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of methods named coefficient=value, with the two as columns."""
    parts = scores["method"].str.split("=", expand=True)
    return scores.assign(coefficient=parts[0], value=parts[1].astype(float))


def out_of_order(runs: RecordedRuns, methods: Sequence[str]) -> dict[str, int]:
    """Neighbours in the search order whose later weight changes the mean smoothness score by the larger factor.

    methods: those of the sweeps, named coefficient=value. By environment.
    """
    runs.require((*cell, m) for cell in (LUNAR, WALKER) for m in methods)
    failures = {}
    for cell in (LUNAR, WALKER):
        means = {m: runs.scores(*cell, m, "smoothness").mean() for m in methods}
        swept = [[mean for m, mean in means.items() if m.split("=")[0] == name] for name in SEARCH_ORDER]
        factors = [max(values) / min(values) for values in swept]
        failures[cell[0]] = sum(later > earlier for earlier, later in pairwise(factors))
    return failures


# The printed tables by themselves


def agreement(ablation: pd.DataFrame, table_one: pd.DataFrame, method: str) -> dict[str, float]:
    """Table (d)'s value over Table 1's for Walker2d with TD3."""
    one = table_one[(table_one["algorithm"] == "td3") & (table_one["environment"] == "walker")].set_index("method")
    of = ablation.set_index(ablation["configuration"].map(key))
    return {m: float(of.loc[method, f"{m}_mean"] / one.loc[method, f"{m}_mean"]) for m in ("return", "smoothness")}


def largest_difference_of_copies(
    table_one: pd.DataFrame, table_a: pd.DataFrame, table_c: pd.DataFrame, table_e: pd.DataFrame
) -> float:
    """Between a value of Base, CAPS or PAVE repeated in tables (c) and (e) and its first printing, relative."""
    one = table_one[table_one["algorithm"] == "td3"].set_index(["environment", "method"])
    geometry, differences = table_a.set_index(["environment", "method"]), []
    first_printed = {
        "smoothness": lambda cell: one.loc[cell, "smoothness_mean"],
        "return_mean": lambda cell: one.loc[cell, "return_mean"],
        "mixed_hessian_sup": lambda cell: geometry.loc[cell, "mixed_hessian_sup"],
        "negative_definite_rate": lambda cell: geometry.loc[cell, "negative_definite_rate"],
    }
    for table in (table_c, table_e.assign(environment="lunar")):
        for row in table.itertuples():
            cell = (row.environment, key(row.method))
            if cell in one.index:
                for column in set(first_printed) & set(table.columns):
                    first = first_printed[column](cell)
                    differences.append(abs(getattr(row, column) - first) / abs(first))
    return float(max(differences))


def printed_factorial_failures(ablation: pd.DataFrame) -> dict[str, int]:
    """Of "MPR + VFC is less smooth than Base, all three together the smoothest"."""
    score = {key(row.configuration): row.smoothness_mean for row in ablation.itertuples()}
    outcomes = [score["mpr_vfc"] > score["base"]]
    outcomes += [score["pave"] < score[m] for m in CONFIGURATIONS if m != "pave"]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_over_base(ablation: pd.DataFrame) -> dict[str, float]:
    """Printed smoothness over Base's of the combinations without Curv."""
    score = {key(row.configuration): row.smoothness_mean for row in ablation.itertuples()}
    return {m: score[m] / score["base"] for m in WITHOUT_CURV}


def printed_rescue(ablation: pd.DataFrame) -> float:
    """Printed smoothness of MPR + VFC minus that of all three."""
    score = {key(row.configuration): row.smoothness_mean for row in ablation.itertuples()}
    return score["mpr_vfc"] - score["pave"]


def printed_critic_side_failures(table_c: pd.DataFrame) -> dict[str, int]:
    """Of the statements on SN-Critic and GP-Critic, in the ranges used for the measured ones."""
    of = {(row.environment, key(row.method)): row for row in table_c.itertuples()}
    outcomes = []
    for environment in ("lunar", "walker"):
        base, sn, gp = (of[environment, m] for m in ("base", *CRITIC_SIDE))
        if not np.isnan(sn.mixed_hessian_sup):
            outcomes.append(sn.mixed_hessian_sup / base.mixed_hessian_sup <= 0.01)
        outcomes.append(sn.smoothness == 0)  # of a constant policy
        outcomes.append(0.4 <= gp.mixed_hessian_sup / base.mixed_hessian_sup <= 0.95)
        outcomes.append(abs(gp.negative_definite_rate - base.negative_definite_rate) <= 0.05)
    outcomes.append(of["lunar", "gp_critic"].smoothness > of["lunar", "base"].smoothness)
    outcomes.append(0.75 <= of["walker", "gp_critic"].smoothness / of["walker", "base"].smoothness <= 0.99)
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_change_by_caps(table_e: pd.DataFrame) -> dict[str, float]:
    """Relative difference of CAPS + PAVE from PAVE."""
    of = table_e.set_index(table_e["method"].map(key))
    return {
        c: float(abs(of.loc["caps_pave", c] - of.loc["pave", c]) / abs(of.loc["pave", c]))
        for c in ("return_mean", "smoothness")
    }


# Observation noise

NOISE_SIZES = (0.0, 0.01, 0.05, 0.1)


def under_observation_noise(
    networks: Mapping[str, TrainedNetworks], environment: str, episodes: int, seed: int = 0
) -> pd.DataFrame:
    """Return and smoothness of policies that see s + U(-k, k) std(s under Base): rows by method, k and episode."""
    starts = [range(1000, 1000 + episodes)]
    calm = play_episodes(networks["base"].act, environment, starts, backend="gymnasium")[0]
    spread = torch.as_tensor(np.concatenate([e.observations for e in calm]).std(axis=0), dtype=torch.float32)
    parts = []
    for method, of in networks.items():
        for size in NOISE_SIZES:
            act = _noisy(of.act, size * spread, seed)
            played = play_episodes(act, environment, starts, backend="gymnasium")[0]
            parts.append(episode_table(played).assign(method=method, noise=size))
    return pd.concat(parts, ignore_index=True)


def _noisy(act: Callable[[torch.Tensor], torch.Tensor], scale: torch.Tensor, seed: int):
    generator = torch.Generator().manual_seed(seed)

    def with_noise(states: torch.Tensor) -> torch.Tensor:
        return act(states + scale * (2 * torch.rand(states.shape, generator=generator) - 1))

    return with_noise
