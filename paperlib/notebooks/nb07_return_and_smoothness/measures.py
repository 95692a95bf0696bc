"""What notebook 07 measures: Tables 1 and 2, and the sentences about them, from recorded runs and from print.

Measures take recorded runs, or scores by cell, which are recorded or printed ones.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from paperlib.notebooks.shared.scores import Scores, complete_settings, of_cells, over_lowest, over_runs, run_table
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS, values
from paperlib.pave.records.scores import NotRecorded, RecordedRuns, where_recorded
from paperlib.repro.checks import judge
from paperlib.repro.claims import load_claims
from paperlib.repro.statistics import interquartile_mean, mean_interval, probability_of_improvement

PRINTED_EPISODES = 50
"""Of one printed mean: ten of each of five runs."""

LOWER_IS_BETTER = "smoothness"


def others(method: str) -> tuple[str, ...]:
    """The methods but one."""
    return tuple(m for m in METHODS if m != method)


# Recorded against printed


def cell_means(
    runs: RecordedRuns, printed: pd.DataFrame, algorithm: str, measure: str, environment: str
) -> dict[str, dict[str, float] | None]:
    """Per method our mean with its interval, the printed mean with its error, as the check `mean_agrees` takes them.

    Of the return, the difference to Base for every other method: runs of one seed share their start states.
    """
    return where_recorded(METHODS, lambda m: beside_print(runs, printed, (environment, algorithm, m), measure))


def beside_print(
    runs: RecordedRuns, printed: pd.DataFrame, cell: tuple[str, str, str], measure: str
) -> dict[str, float]:
    """One case of `cell_means`."""
    environment, algorithm, method = cell
    table = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index("method")
    means, deviations = table[f"{measure}_mean"], table[f"{measure}_std"]
    error, ours = _errors(runs, cell, measure, deviations[method])
    scores, value = runs.scores(*cell, measure), means[method]
    if measure == "return" and method != "base":
        base_error, base_ours = _errors(runs, (environment, algorithm, "base"), measure, deviations["base"])
        scores = scores - runs.scores(environment, algorithm, "base", measure)
        value = value - means["base"]
        shared = scores.std(ddof=1) / math.sqrt(len(scores)) / math.hypot(ours, base_ours)
        error = math.hypot(error, base_error) * shared
    interval = mean_interval(scores, seed=0)
    scale = means["base"] if measure == "return" else means[method]
    found = {name: interval[name] for name in ("mean", "low", "high")}
    return found | {"printed": float(value), "printed_error": float(error), "scale": float(abs(scale))}


def _errors(runs: RecordedRuns, cell: tuple[str, str, str], measure: str, deviation: float) -> tuple[float, float]:
    """Standard error of a printed mean from its deviation pooled over episodes, and that of ours over runs."""
    scores = runs.scores(*cell, measure)
    ours = scores.std(ddof=1) / math.sqrt(len(scores))
    pooled = runs.episodes(*cell)[measure].std(ddof=0)
    return deviation * max(1 / math.sqrt(PRINTED_EPISODES), ours / pooled), ours


def ratio_of_spreads(runs: RecordedRuns, printed: pd.DataFrame, *, pooled: bool) -> float:
    """Median over recorded cells of the printed standard deviation of the return over ours: over runs, or pooled over
    episodes and runs.
    """
    ratios = []
    for row in printed.itertuples():
        if runs.has(row.environment, row.algorithm, row.method):
            episodes = runs.episodes(row.environment, row.algorithm, row.method)
            per_run = episodes.groupby("seed")["return"].mean()
            ours = episodes["return"].std(ddof=0) if pooled else per_run.std(ddof=1)
            ratios.append(row.return_std / ours)
    if not ratios:
        runs.require([("pendulum", "sac", "base")])
    return float(np.median(ratios))


def return_change(returns: Scores, environment: str) -> dict[str, float] | float:
    """(return of PAVE - that of Base) / |mean return of Base|: over runs, paired by seed, or as printed."""
    pave, base = of_cells(returns, [(environment, m) for m in ("pave", "base")])
    return over_runs((pave - base) / abs(np.mean(base)))


def best_of_all(
    runs: RecordedRuns, environment: str, algorithm: str, measure: str, method: str = "pave"
) -> dict[str, dict[str, float] | None]:
    """Probability that the method is better than each other one: above in return, below in smoothness."""
    compare = runs.below if measure == LOWER_IS_BETTER else runs.above
    return where_recorded(others(method), lambda other: compare(environment, algorithm, method, other, measure))


def actor_side_over_pave(smoothness: Scores, environment: str) -> dict[str, dict[str, float] | float | None]:
    """Mean smoothness of GRAD and ASAP over PAVE's, with its interval where it is over runs."""
    return where_recorded(("grad", "asap"), lambda m: over_lowest(smoothness, environment, m, ["pave"]))


def ahead_of_pave(returns: Scores, smoothness: Scores, environment: str) -> list[str]:
    """Methods with a higher mean return and a lower mean smoothness score than PAVE."""
    cells = [(environment, m) for m in METHODS]
    of_return, of_smoothness = (
        {m: np.mean(found) for m, found in zip(METHODS, of_cells(scores, cells), strict=True)}
        for scores in (returns, smoothness)
    )
    return [m for m in METHODS if of_return[m] > of_return["pave"] and of_smoothness[m] < of_smoothness["pave"]]


def lead_over_error(printed: pd.DataFrame, environment: str, algorithm: str) -> float:
    """Of the methods ahead of PAVE in both printed means, the largest lead in the measure where it leads less, over the
    standard error of that difference; 0 if there is none.
    """
    table = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index("method")
    means = (values(printed, measure, algorithm) for measure in ("return", "smoothness"))
    ahead = ahead_of_pave(*means, environment)

    def lead(method: str, measure: str) -> float:
        difference = abs(table.loc[method, f"{measure}_mean"] - table.loc["pave", f"{measure}_mean"])
        deviations = table.loc[[method, "pave"], f"{measure}_std"]
        return float(difference / (np.hypot(*deviations) / math.sqrt(PRINTED_EPISODES)))

    return max((min(lead(m, "return"), lead(m, "smoothness")) for m in ahead), default=0.0)


# Tables to show


def against_print(runs: RecordedRuns, printed: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Tables 1 and 2 in one measure: a row per cell, printed and ours, or "not run at this budget".

    rule: what the rule of the cell's claim says of this method.
    """
    rows = []
    for row in printed.itertuples():
        cell, value = (row.environment, row.algorithm, row.method), getattr(row, f"{measure}_mean")
        line = {"table": row.table, "algorithm": row.algorithm, "environment": row.environment, "method": row.method}
        line |= {"printed": f"{value:g} ± {getattr(row, f'{measure}_std'):g}"}
        if not runs.has(*cell):
            rows.append(
                line | dict.fromkeys(("ours [95 %]", "IQM", "sd over runs", "sd pooled", "runs", "rule"), "not run")
            )
            continue
        interval, scores = runs.interval(*cell, measure), runs.scores(*cell, measure)
        rows.append(
            line
            | {
                "ours [95 %]": f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]",
                "IQM": f"{interquartile_mean(scores):.3f}",
                "sd over runs": f"{scores.std(ddof=1):.3f}",
                "sd pooled": f"{runs.episodes(*cell)[measure].std(ddof=0):.3f}",
                "runs": str(interval["runs"]),
                "rule": _verdict_on_cell(runs, printed, row, measure),
            }
        )
    return pd.DataFrame(rows)


_WORDS = {"passes": "agrees", "fails": "differs", "undecided": "undecided"}


def _verdict_on_cell(runs: RecordedRuns, printed: pd.DataFrame, row, measure: str) -> str:
    claim = load_claims()[f"pave.table{row.table}.{row.algorithm}_{measure}.{row.environment}"]
    try:
        case = beside_print(runs, printed, (row.environment, row.algorithm, row.method), measure)
    except NotRecorded:
        return "Base is not run"
    word = _WORDS[judge(claim.rule.check, claim.rule.parameters, case).result]
    error = math.hypot(case["printed_error"], (case["high"] - case["low"]) / (2 * 1.96))
    return f"{word}: {(case['mean'] - case['printed']) / error:+.1f} standard errors"


def improvement_over_base(runs: RecordedRuns) -> pd.DataFrame:
    """Probability of improvement over Base by cell and measure, and averaged over environments if there are several.

    Columns: algorithm, environment ("all recorded" for the average), method, measure, probability, low, high.
    """
    rows = []
    for algorithm in ("td3", "sac"):
        for method in others("base"):
            for measure in ("return", "smoothness"):
                sign = -1 if measure == LOWER_IS_BETTER else 1
                both = [e for e in ENVIRONMENTS if all(runs.has(e, algorithm, m) for m in ("base", method))]
                groups = {e: [e] for e in both} | ({"all recorded": both} if len(both) > 1 else {})
                for name, environments in groups.items():
                    x, y = (
                        np.stack([sign * runs.scores(e, algorithm, m, measure) for e in environments], axis=1)
                        for m in (method, "base")
                    )
                    row = {"algorithm": algorithm, "environment": name, "method": method, "measure": measure}
                    rows.append(row | probability_of_improvement(x, y, seed=0))
    return pd.DataFrame(rows)


# What smoothness goes with


def curvature_rather_than_mixed_hessian(runs: RecordedRuns) -> dict[str, float]:
    """{mean, low, high}: how much closer smoothness goes with -mu than with M_sup over the runs of all methods.

    The difference of Fisher's z of the two rank correlations, averaged over the recorded settings, with its 95 %
    interval for correlations that share a variable (Meng, Rosenthal and Rubin 1992).
    """
    differences, variances = [], []
    for cells in complete_settings(runs):
        table = run_table(runs, cells, ("curvature_median", "mixed_hessian_sup"))
        x, y, smooth = -table["curvature_median"], table["mixed_hessian_sup"], table["smoothness"]
        found = [spearmanr(*pair).statistic for pair in ((x, y), (x, smooth), (y, smooth))]
        between, one, two = np.clip(found, -_ALMOST_ONE, _ALMOST_ONE)
        squared = (one**2 + two**2) / 2
        f = min((1 - between) / (2 * (1 - squared)), 1.0)
        differences.append(np.arctanh(one) - np.arctanh(two))
        variances.append(2 * (1 - between) * (1 - f * squared) / (1 - squared) / (len(table) - 3))
    mean, half = np.mean(differences), norm.ppf(0.975) * np.sqrt(np.sum(variances)) / len(variances)
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half)}


_ALMOST_ONE = 0.999  # a correlation of one has no z
