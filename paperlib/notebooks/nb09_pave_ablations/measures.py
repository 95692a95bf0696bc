"""What notebook 09 measures: which loss does what, other critic regularisers, CAPS with PAVE, observation noise.

Measures take recorded runs, or a printed table, as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from paperlib.notebooks.nb08_critic_geometry.measures import beside_print
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import episode_table, play_episodes
from paperlib.pave.experiments import tidy
from paperlib.pave.records.runs import RecordedRuns, where_recorded
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
    return beside_print(runs.scores(*cell, measure), printed)


# Table (d): the factorial


def factorial_means(runs: RecordedRuns, printed: pd.DataFrame, measure: str) -> dict[str, dict | None]:
    """Per combination, our interval over runs beside the printed mean."""
    rows = {key(row.configuration): getattr(row, f"{measure}_mean") for row in printed.itertuples()}
    return where_recorded(CONFIGURATIONS, lambda m: _beside(runs, (*WALKER, m), measure, rows[m]))


def less_smooth_without_curv(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the score of MPR + VFC is above Base's."""
    return runs.above(*WALKER, "mpr_vfc", "base", "smoothness")


def all_three_smoothest(runs: RecordedRuns) -> dict[str, dict[str, float] | None]:
    """Probability that the score with all three is below the other combination's."""
    others = [m for m in CONFIGURATIONS if m != "pave"]
    return where_recorded(others, lambda m: runs.below(*WALKER, "pave", m, "smoothness"))


def score_over_base(runs: RecordedRuns) -> dict[str, float | None]:
    """Mean smoothness score over Base's of the combinations without Curv."""
    return where_recorded(WITHOUT_CURV, lambda m: runs.ratio(*WALKER, m, "base", "smoothness"))


def three_way_synergy(runs: RecordedRuns) -> dict[str, float]:
    """{mean, low, high} of the three-way interaction of the losses on the smoothness score, over runs."""
    runs.require((*WALKER, m) for m in CONFIGURATIONS)
    found = effects({m: runs.scores(*WALKER, m, "smoothness") for m in CONFIGURATIONS}).set_index("effect")
    return found.loc["MPR x VFC x CURV"].to_dict()


def curv_rescues(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the score with all three is below that of MPR + VFC."""
    return runs.below(*WALKER, "pave", "mpr_vfc", "smoothness")


def fewer_flips_with_vfc(runs: RecordedRuns) -> dict[str, float]:
    """Probability that the flip rate with VFC alone is below Base's."""
    return runs.below(*WALKER, "vfc", "base", "flip_rate")


def contrast(scores: Mapping[str, np.ndarray | float], losses: Sequence[str]) -> np.ndarray | float:
    """The effect of losses together on scores by configuration: the mean score of the configurations where the product
    of the losses' signs (+1 with a loss, -1 without) is positive, minus that of the others.
    """
    signs = {m: {loss: 1 if m == "pave" or loss in m.split("_") else -1 for loss in LOSSES} for m in CONFIGURATIONS}
    return sum(np.prod([signs[m][loss] for loss in losses]) * scores[m] for m in CONFIGURATIONS) / 4


def effects(scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Main effects and interactions of the losses on a score, run by run; scores by configuration, each (seeds,).

    Columns effect, mean, low, high (95 % over seeds); see `contrast`.
    """
    rows = []
    for chosen in range(1, 8):
        losses = [loss for k, loss in enumerate(LOSSES) if chosen >> k & 1]
        interval = mean_interval(contrast(scores, losses), seed=0)
        rows.append(
            {"effect": " x ".join(loss.upper() for loss in losses), **{k: interval[k] for k in ("mean", "low", "high")}}
        )
    return pd.DataFrame(rows)


# Table (c): other ways to regularise a critic


def critic_side_means(runs: RecordedRuns, printed: pd.DataFrame, environment: str) -> dict[str, dict | None]:
    """Per method and measure printed, our interval over runs beside the printed mean."""
    table = printed.set_index(printed["method"].map(key))
    table = table[table["environment"] == environment]
    columns = {"smoothness": "smoothness", "return": "return_mean", **{name: name for name in GEOMETRY}}
    cells = {
        f"{method}, {measure}": (method, measure, table.loc[method, column])
        for method in CRITIC_SIDE
        for measure, column in columns.items()
        if not np.isnan(table.loc[method, column])
    }

    def beside(case: str) -> dict[str, float]:
        method, measure, value = cells[case]
        return _beside(runs, (environment, "td3", method), measure, value)

    return where_recorded(cells, beside)


def flatter_than_base(runs: RecordedRuns) -> dict[str, dict[str, float] | None]:
    """Probability that a run's median |lambda_max(H_aa)| is below one of Base's, per method and environment."""
    cells = {f"{m}, {cell[0]}": (*cell, m) for cell in (LUNAR, WALKER) for m in CRITIC_SIDE}
    return where_recorded(cells, lambda case: runs.below(*cells[case], "base", "curvature_size_median"))


def ratio_to_base(runs: RecordedRuns, method: str, measure: str) -> dict[str, float | None]:
    """Mean of a measure over Base's, per environment."""
    cells = {cell[0]: cell for cell in (LUNAR, WALKER)}
    return where_recorded(cells, lambda environment: runs.ratio(*cells[environment], method, "base", measure))


def flattened_by_sn(runs: RecordedRuns) -> dict[str, float | None]:
    """SN-Critic's mean M_sup and mean median |lambda_max(H_aa)| over Base's, per environment."""
    measures = ("mixed_hessian_sup", "curvature_size_median")
    cells = {f"{q}, {cell[0]}": (*cell, "sn_critic", "base", q) for q in measures for cell in (LUNAR, WALKER)}
    return where_recorded(cells, lambda case: runs.ratio(*cells[case]))


def spread_of_actions(runs: RecordedRuns, method: str = "sn_critic") -> dict[str, float | None]:
    """Standard deviation of the action over visited states over half the action range, of the dimension where it is
    largest, mean over runs, per environment.
    """
    cells = {cell[0]: (*cell, method) for cell in (LUNAR, WALKER)}
    return where_recorded(
        cells, lambda environment: float(runs.scores(*cells[environment], "action_sd_largest").mean())
    )


def rate_minus_base(runs: RecordedRuns, method: str = "gp_critic") -> dict[str, float | None]:
    """Mean negative-definite rate minus Base's, per environment."""
    cells = {cell[0]: cell for cell in (LUNAR, WALKER)}

    def difference(environment: str) -> float:
        cell = cells[environment]
        runs.require((*cell, m) for m in ("base", method))
        one, base = (runs.scores(*cell, m, "negative_definite_rate").mean() for m in (method, "base"))
        return float(one - base)

    return where_recorded(cells, difference)


# Table (e): CAPS with PAVE


def combination_means(runs: RecordedRuns, printed: pd.DataFrame) -> dict[str, dict | None]:
    """Per method and measure, our interval over runs beside the printed mean."""
    cells = {
        f"{key(row.method)}, {measure}": (key(row.method), measure, getattr(row, column))
        for row in printed.itertuples()
        for measure, column in (("return", "return_mean"), ("smoothness", "smoothness"))
    }

    def beside(case: str) -> dict[str, float]:
        method, measure, value = cells[case]
        return _beside(runs, (*LUNAR, method), measure, value)

    return where_recorded(cells, beside)


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


def out_of_order(runs: RecordedRuns, methods: Sequence[str]) -> dict[str, int | None]:
    """Neighbours in the search order whose later weight changes the mean smoothness score by the larger factor.

    methods: those of the sweeps, named coefficient=value. By environment.
    """
    cells = {cell[0]: cell for cell in (LUNAR, WALKER)}

    def failures(environment: str) -> int:
        cell = cells[environment]
        runs.require((*cell, m) for m in methods)
        means = {m: runs.scores(*cell, m, "smoothness").mean() for m in methods}
        swept = [[mean for m, mean in means.items() if m.split("=")[0] == name] for name in SEARCH_ORDER]
        factors = [max(values) / min(values) for values in swept]
        return sum(later > earlier for earlier, later in pairwise(factors))

    return where_recorded(cells, failures)


# The printed tables by themselves


def difference_of_tables(ablation: pd.DataFrame, table_one: pd.DataFrame, method: str) -> float:
    """Largest relative difference, of return and smoothness, of table (d) to Table 1 for Walker2d with TD3."""
    one = table_one[(table_one["algorithm"] == "td3") & (table_one["environment"] == "walker")].set_index("method")
    of = ablation.set_index(ablation["configuration"].map(key))
    ratios = [of.loc[method, f"{m}_mean"] / one.loc[method, f"{m}_mean"] for m in ("return", "smoothness")]
    return float(max(abs(ratio - 1) for ratio in ratios))


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


def printed_effect(ablation: pd.DataFrame, losses: Sequence[str]) -> float:
    """The effect of losses together on the printed smoothness score."""
    return float(contrast({key(row.configuration): row.smoothness_mean for row in ablation.itertuples()}, losses))


def printed_critic_side(table_c: pd.DataFrame) -> dict[str, float | dict[str, float]]:
    """What each statement on SN-Critic and GP-Critic measures in the printed table."""
    of = {(row.environment, key(row.method)): row for row in table_c.itertuples()}

    def over_base(method: str, measure: str) -> dict[str, float]:
        pairs = {e: (getattr(of[e, method], measure), getattr(of[e, "base"], measure)) for e in ("lunar", "walker")}
        return {e: value / base for e, (value, base) in pairs.items() if not np.isnan(value)}

    smoothness = over_base("gp_critic", "smoothness")
    rates = {e: [of[e, m].negative_definite_rate for m in ("gp_critic", "base")] for e in ("lunar", "walker")}
    return {
        "sn_flattens": over_base("sn_critic", "mixed_hessian_sup"),
        "sn_constant_policy": {e: of[e, "sn_critic"].smoothness for e in ("lunar", "walker")},
        "gp_lowers_mixed_hessian": over_base("gp_critic", "mixed_hessian_sup"),
        "gp_rate_unchanged": {e: gp - base for e, (gp, base) in rates.items()},
        "gp_smoothness_lunar": smoothness["lunar"],
        "gp_smoothness_walker": smoothness["walker"],
    }


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
