"""What notebook 07 measures: Tables 1 and 2, and the sentences about them, from recorded runs and from print.

Measures take recorded runs, or the printed table, as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.runs import NotRecorded, RecordedRuns, where_recorded
from paperlib.repro.checks import judge
from paperlib.repro.claims import load_claims
from paperlib.repro.statistics import interquartile_mean, mean_interval, probability_of_improvement

PRINTED_EPISODES = 50
"""Of one printed mean: ten of each of five runs."""

LOWER_IS_BETTER = "smoothness"
SETTINGS = [(e, a) for a in ("td3", "sac") for e in ENVIRONMENTS]


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


def return_change(runs: RecordedRuns, environment: str, algorithm: str) -> dict[str, float]:
    """{mean, low, high} of (return of PAVE - that of Base) / |mean return of Base| over runs, paired by seed."""
    runs.require((environment, algorithm, m) for m in ("base", "pave"))
    base, pave = (runs.scores(environment, algorithm, m, "return") for m in ("base", "pave"))
    interval = mean_interval((pave - base) / abs(base.mean()), seed=0)
    return {name: interval[name] for name in ("mean", "low", "high")}


def best_of_all(
    runs: RecordedRuns, environment: str, algorithm: str, measure: str, method: str = "pave"
) -> dict[str, dict[str, float] | None]:
    """Probability that the method is better than each other one: above in return, below in smoothness."""
    compare = runs.below if measure == LOWER_IS_BETTER else runs.above
    return where_recorded(others(method), lambda other: compare(environment, algorithm, method, other, measure))


def actor_side_over_pave(runs: RecordedRuns, environment: str, algorithm: str) -> dict[str, dict[str, float] | None]:
    """Mean smoothness of GRAD and ASAP over PAVE's, with its interval over runs."""
    return where_recorded(
        ("grad", "asap"), lambda m: runs.over_lowest(environment, algorithm, m, ["pave"], LOWER_IS_BETTER)
    )


def methods_that_dominate(means: dict[str, tuple[float, float]], method: str = "pave") -> list[str]:
    """Methods with a higher return and a lower smoothness score; means: (return, smoothness) by method."""
    of_return, of_smoothness = means[method]
    return [m for m, (r, s) in means.items() if m != method and r > of_return and s < of_smoothness]


def recorded_means(runs: RecordedRuns, environment: str, algorithm: str) -> dict[str, tuple[float, float]]:
    """(return, smoothness) by method."""
    runs.require((environment, algorithm, m) for m in METHODS)
    return {
        m: tuple(float(runs.scores(environment, algorithm, m, measure).mean()) for measure in ("return", "smoothness"))
        for m in METHODS
    }


# The printed tables by themselves


def printed_means(printed: pd.DataFrame, environment: str, algorithm: str) -> dict[str, tuple[float, float]]:
    """(return, smoothness) by method."""
    table = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)]
    return {row.method: (row.return_mean, row.smoothness_mean) for row in table.itertuples()}


def printed_over_lowest(printed: pd.DataFrame) -> dict[str, float]:
    """PAVE's printed smoothness over the lowest of the other methods', per environment and algorithm."""
    found = {}
    for environment, algorithm in SETTINGS:
        scores = {m: pair[1] for m, pair in printed_means(printed, environment, algorithm).items()}
        found[f"{algorithm} {environment}"] = scores["pave"] / min(scores[m] for m in others("pave"))
    return found


def printed_return_change(printed: pd.DataFrame, leave_out: Iterable[str] = ()) -> dict[str, float]:
    """(printed return of PAVE - that of Base) / |that of Base| with TD3, per environment."""
    changes = {}
    for environment in ENVIRONMENTS:
        if environment not in set(leave_out):
            means = printed_means(printed, environment, "td3")
            changes[environment] = (means["pave"][0] - means["base"][0]) / abs(means["base"][0])
    return changes


def _better(means: dict[str, tuple[float, float]], measure: str, method: str, other: str) -> bool:
    if measure == LOWER_IS_BETTER:
        return means[method][1] < means[other][1]
    return means[method][0] > means[other][0]


def printed_td3_failures(printed: pd.DataFrame) -> dict[str, int]:
    """Of the statements "smoother than Base everywhere" and "best in both measures on Walker2d" with TD3."""
    outcomes = [_better(printed_means(printed, e, "td3"), "smoothness", "pave", "base") for e in ENVIRONMENTS]
    walker = printed_means(printed, "walker", "td3")
    outcomes += [_better(walker, measure, "pave", m) for measure in ("return", "smoothness") for m in others("pave")]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_sac_failures(printed: pd.DataFrame) -> dict[str, int]:
    """Of the statements on SAC: LunarLander, Pendulum, Walker2d, and who leads on Ant."""
    statements = [
        ("lunar", "smoothness", "pave"),
        ("pendulum", "smoothness", "pave"),
        ("walker", "return", "pave"),
        ("ant", "return", "grad"),
        ("ant", "smoothness", "asap"),
    ]
    outcomes = [
        _better(printed_means(printed, environment, "sac"), measure, method, m)
        for environment, measure, method in statements
        for m in others(method)
    ]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_actor_side_over_pave(printed: pd.DataFrame, environment: str, algorithm: str) -> dict[str, float]:
    """Printed smoothness of GRAD and ASAP over PAVE's."""
    means = printed_means(printed, environment, algorithm)
    return {m: means[m][1] / means["pave"][1] for m in ("grad", "asap")}


def lead_over_error(printed: pd.DataFrame, environment: str, algorithm: str) -> float:
    """Of the methods ahead of PAVE in both printed means, the largest lead in the measure where it leads less, over the
    standard error of that difference; 0 if there is none.
    """
    table = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index("method")
    ahead = methods_that_dominate(printed_means(printed, environment, algorithm))

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
    """Probability of improvement over Base by cell and measure, and averaged over the environments recorded.

    Columns: algorithm, environment ("all recorded" for the average), method, measure, probability, low, high.
    """
    rows = []
    for algorithm in ("td3", "sac"):
        for method in others("base"):
            for measure in ("return", "smoothness"):
                sign = -1 if measure == LOWER_IS_BETTER else 1
                both = [e for e in ENVIRONMENTS if all(runs.has(e, algorithm, m) for m in ("base", method))]
                groups = {e: [e] for e in both} | ({"all recorded": both} if both else {})
                for name, environments in groups.items():
                    x, y = (
                        np.stack([sign * runs.scores(e, algorithm, m, measure) for e in environments], axis=1)
                        for m in (method, "base")
                    )
                    row = {"algorithm": algorithm, "environment": name, "method": method, "measure": measure}
                    rows.append(row | probability_of_improvement(x, y, seed=0))
    return pd.DataFrame(rows)
