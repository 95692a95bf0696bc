"""What notebook 07 measures: Tables 1 and 2, and the sentences about them, from recorded runs and from print.

Measures take recorded runs, or the printed table, as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from paperlib.pave.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.recorded_runs import RecordedRuns
from paperlib.repro.statistics import interquartile_mean, probability_of_improvement

TIE = 1.02
"""A smoothness within 2 % of the lowest is tied with it."""

LOWER_IS_BETTER = "smoothness"


def others(method: str) -> tuple[str, ...]:
    """The methods but one."""
    return tuple(m for m in METHODS if m != method)


# Recorded against printed


def cell_means(
    runs: RecordedRuns, printed: pd.DataFrame, algorithm: str, measure: str, environment: str
) -> dict[str, dict[str, float]]:
    """Per method, our mean over runs with its interval beside the printed mean, as the check `mean_agrees` takes it."""
    runs.require((environment, algorithm, method) for method in METHODS)
    table = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index("method")
    return {
        method: {name: value for name, value in runs.interval(environment, algorithm, method, measure).items()
                 if name != "runs"} | {"printed": float(table.loc[method, f"{measure}_mean"])}
        for method in METHODS
    }  # fmt: skip


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


def return_change(runs: RecordedRuns, algorithm: str, leave_out: Iterable[str] = ()) -> dict[str, float]:
    """(mean return of PAVE - that of Base) / |that of Base|, per environment."""
    environments = [e for e in ENVIRONMENTS if e not in set(leave_out)]
    runs.require((e, algorithm, m) for e in environments for m in ("base", "pave"))
    changes = {}
    for environment in environments:
        base, pave = (runs.scores(environment, algorithm, m, "return").mean() for m in ("base", "pave"))
        changes[environment] = float((pave - base) / abs(base))
    return changes


def smoother_than_base(runs: RecordedRuns, algorithm: str) -> dict[str, dict[str, float]]:
    """Probability that PAVE's score is below Base's, per environment."""
    runs.require((e, algorithm, m) for e in ENVIRONMENTS for m in ("base", "pave"))
    return {e: runs.below(e, algorithm, "pave", "base", "smoothness") for e in ENVIRONMENTS}


def best_of_all(
    runs: RecordedRuns, environment: str, algorithm: str, measure: str, method: str = "pave"
) -> dict[str, dict[str, float]]:
    """Probability that the method is better than each other one: above in return, below in smoothness."""
    runs.require((environment, algorithm, m) for m in METHODS)
    compare = runs.below if measure == LOWER_IS_BETTER else runs.above
    return {other: compare(environment, algorithm, method, other, measure) for other in others(method)}


def smoothness_wins(means: dict[tuple[str, str], dict[str, float]]) -> int:
    """Settings in which PAVE's mean is at most 1.02 times the lowest of the others; means by setting and method."""
    return sum(of["pave"] <= TIE * min(of[m] for m in others("pave")) for of in means.values())


def recorded_smoothness(runs: RecordedRuns) -> dict[tuple[str, str], dict[str, float]]:
    """Mean smoothness by (environment, algorithm) and method, all twelve settings."""
    settings = [(e, a) for e in ENVIRONMENTS for a in ("td3", "sac")]
    runs.require((*setting, m) for setting in settings for m in METHODS)
    return {s: {m: float(runs.scores(*s, m, "smoothness").mean()) for m in METHODS} for s in settings}


def actor_side_over_pave(runs: RecordedRuns, environment: str, algorithm: str) -> dict[str, float]:
    """Mean smoothness of GRAD and ASAP over PAVE's."""
    runs.require((environment, algorithm, m) for m in ("grad", "asap", "pave"))
    pave = runs.scores(environment, algorithm, "pave", "smoothness").mean()
    return {m: float(runs.scores(environment, algorithm, m, "smoothness").mean() / pave) for m in ("grad", "asap")}


def methods_that_dominate(means: dict[str, tuple[float, float]], method: str = "pave") -> int:
    """Methods with a higher return and a lower smoothness score; means: (return, smoothness) by method."""
    of_return, of_smoothness = means[method]
    return sum(r > of_return and s < of_smoothness for m, (r, s) in means.items() if m != method)


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


def printed_smoothness(printed: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """Mean smoothness by (environment, algorithm) and method."""
    settings = [(e, a) for e in ENVIRONMENTS for a in ("td3", "sac")]
    return {s: {m: pair[1] for m, pair in printed_means(printed, *s).items()} for s in settings}


def printed_return_change(printed: pd.DataFrame) -> dict[str, float]:
    """(printed return of PAVE - that of Base) / |that of Base| with TD3, per environment."""
    changes = {}
    for environment in ENVIRONMENTS:
        means = printed_means(printed, environment, "td3")
        changes[environment] = (means["pave"][0] - means["base"][0]) / abs(means["base"][0])
    return changes


def _better(means: dict[str, tuple[float, float]], measure: str, method: str, other: str, slack: float = 1.0) -> bool:
    if measure == LOWER_IS_BETTER:
        return means[method][1] < slack * means[other][1]
    return means[method][0] > means[other][0]


def printed_td3_failures(printed: pd.DataFrame) -> dict[str, int]:
    """Of the statements "smoother than Base everywhere" and "best in both measures on Walker2d" with TD3."""
    outcomes = [_better(printed_means(printed, e, "td3"), "smoothness", "pave", "base") for e in ENVIRONMENTS]
    walker = printed_means(printed, "walker", "td3")
    outcomes += [_better(walker, measure, "pave", m) for measure in ("return", "smoothness") for m in others("pave")]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


def printed_sac_failures(printed: pd.DataFrame) -> dict[str, int]:
    """Of the statements on SAC: Reacher, LunarLander, Pendulum, Walker2d, and who leads on Ant."""
    of = {e: printed_means(printed, e, "sac") for e in ENVIRONMENTS}
    outcomes = [_better(of["reacher"], "smoothness", m, "pave", slack=TIE) for m in ("grad", "asap")]
    statements = [
        ("lunar", "smoothness", "pave"),
        ("pendulum", "smoothness", "pave"),
        ("walker", "return", "pave"),
        ("ant", "return", "grad"),
        ("ant", "smoothness", "asap"),
    ]
    for environment, measure, method in statements:
        outcomes += [_better(of[environment], measure, method, m) for m in others(method)]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}


# Tables to show


def against_print(runs: RecordedRuns, printed: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Tables 1 and 2 in one measure: a row per cell, printed and ours, or "not run at this budget"."""
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
        agrees = interval["low"] <= value <= interval["high"] or abs(value - interval["mean"]) <= 0.1 * abs(
            interval["mean"]
        )
        effect = (interval["mean"] - value) / scores.std(ddof=1)
        rows.append(
            line
            | {
                "ours [95 %]": f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]",
                "IQM": f"{interquartile_mean(scores):.3f}",
                "sd over runs": f"{scores.std(ddof=1):.3f}",
                "sd pooled": f"{runs.episodes(*cell)[measure].std(ddof=0):.3f}",
                "runs": str(interval["runs"]),
                "rule": "agrees" if agrees else f"differs, by {effect:+.1f} of our standard deviations",
            }
        )
    return pd.DataFrame(rows)


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
