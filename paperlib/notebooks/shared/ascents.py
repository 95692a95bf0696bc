"""What notebooks 15 and 16 measure of recorded runs of the step-size rules: comparisons of runs, curves, tenths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from paperlib.notebooks.shared.outcomes import ratio_of_means
from paperlib.repro.statistics import bootstrap_interval, mean_interval, probability_of_improvement
from paperlib.repro.store import Record

LIPSCHITZ = ("sss_slc", "sss_mlc", "mss_mlc")
LABELS = {
    "sss_slc": "SSS-SLC",
    "sss_mlc": "SSS-MLC",
    "mss_mlc": "MSS-MLC",
    "agss": "AGSS",
    "largest_guarantee": "larger guarantee (ours)",
}


class Ascents:
    """Recorded runs of one experiment, by cell and rule."""

    def __init__(self, records: Sequence[Record]):
        self._records = {(record.spec["cell"], record.spec["rule"]): record for record in records}

    def spec(self, cell: str) -> dict:
        """What was run on a cell."""
        return next(record.spec for (name, _), record in self._records.items() if name == cell)

    def table(self, name: str, cell: str, rule: str) -> pd.DataFrame:
        """`trace`, `curves`, `tenths` or `runs`; see `paperlib.lipschitz.simulation.ascent.Ascent.result`."""
        return self._records[cell, rule].table(name)

    def curve(self, cell: str, rule: str, quantity: str) -> pd.DataFrame:
        """Of a quantity over recorded iterations: iteration, mean, standard_deviation, runs."""
        curves = self.table("curves", cell, rule)
        return curves[curves["quantity"] == quantity].drop(columns="quantity").reset_index(drop=True)

    def per_run(self, cell: str, rule: str, quantity: str, tenths: Iterable[int] = range(10)) -> np.ndarray:
        """A quantity averaged over tenths of the iterations, by run: shape (R,)."""
        table = self.table("tenths", cell, rule)
        return table[table["tenth"].isin(list(tenths))].groupby("run")[quantity].mean().to_numpy()

    def total_updates(self, cell: str) -> pd.DataFrame:
        """Audit of the guarantee on a cell: a row per rule."""
        rows = []
        for (name, rule), record in self._records.items():
            runs = record.table("runs")
            if name == cell:
                rows.append(
                    {
                        "rule": LABELS[rule],
                        "updates": int(runs["updates"].sum()),
                        "below the guarantee": int(runs["violations"].sum()),
                        "share": runs["violations"].sum() / max(runs["updates"].sum(), 1),
                        "smallest surplus": runs["smallest_surplus"].min(),
                        "runs stopped for want of a margin": int((runs["stopped"] >= 0).sum()),
                    }
                )
        return pd.DataFrame(rows)


def better(ascents: Ascents, cell: str, rule: str, other: str, quantity: str = "score") -> dict[str, float]:
    """Probability that a run of a rule has the larger quantity, averaged over iterations, than one of the other."""
    one, two = (ascents.per_run(cell, r, quantity) for r in (rule, other))
    return probability_of_improvement(one, two, seed=0)


def better_at_the_end(ascents: Ascents, cell: str, rule: str, other: str) -> dict[str, float]:
    """Probability that a run of a rule has a higher score than one of the other over the last tenth of iterations."""
    one, two = (ascents.per_run(cell, r, "score", [9]) for r in (rule, other))
    return probability_of_improvement(one, two, seed=0)


def improvements(ascents: Ascents, cell: str, rule: str, tenths: Iterable[int] = range(10)) -> np.ndarray:
    """Score averaged over tenths of the iterations minus the mean initial one, by run: shape (R,)."""
    return ascents.per_run(cell, rule, "score", tenths) - ascents.curve(cell, rule, "score")["mean"].iloc[0]


def mean_improvement(ascents: Ascents, cell: str, rule: str) -> float:
    """Score averaged over iterations minus the initial one, averaged over runs."""
    return float(improvements(ascents, cell, rule).mean())


def either_over_the_other(ascents: Ascents, cell: str, rule: str, other: str) -> dict[str, dict[str, float]]:
    """Mean improvement of each of two rules over that of the other, averaged over iterations, with intervals."""
    one, two = (improvements(ascents, cell, r) for r in (rule, other))
    names = LABELS[rule], LABELS[other]
    return {" over ".join(names): ratio_of_means(one, two), " over ".join(names[::-1]): ratio_of_means(two, one)}


def half_width_over_range(ascents: Ascents, cell: str, rule: str) -> float:
    """Largest half-width of the 95 % interval of the mean score over the range of the mean score."""
    curve = ascents.curve(cell, rule, "score")
    half = 1.96 * curve["standard_deviation"] / np.sqrt(curve["runs"])
    return float(half.max() / np.ptp(curve["mean"]))


def angle_and_advantage_correlation(ascents: Ascents, cell: str) -> dict[str, float]:
    """{mean, low, high}: Spearman's, over recorded iterations of all MSS-MLC runs, of the angle between gradient and
    constants with the ratio of MSS-MLC's guarantee to SSS-MLC's; whole runs are resampled.
    """
    trace = ascents.table("trace", cell, "mss_mlc")
    of_runs = [run[["angle", "mss_over_sss_mlc"]].to_numpy() for _, run in trace[trace["angle"] >= 0].groupby("run")]

    def correlation(runs: np.ndarray) -> float:
        pooled = np.concatenate([of_runs[int(run)] for run in runs.ravel()])
        return float(spearmanr(pooled[:, 0], pooled[:, 1]).statistic)

    found = bootstrap_interval(np.arange(len(of_runs)), correlation, seed=0, resamples=500)
    return {"mean": found["estimate"], "low": found["low"], "high": found["high"]}


def updates_to_share(ascents: Ascents, cell: str, rule: str, share: float = 0.9) -> np.ndarray:
    """Iterations to a share of a run's own total improvement, by run: shape (R,).

    Scores averaged over tenths of the iterations, as single ones are noisy, linear between their middles; the total
    is from the mean initial score to the last tenth.
    """
    table = ascents.table("tenths", cell, rule).pivot(index="run", columns="tenth", values="score")
    iterations = ascents.spec(cell)["iterations"]
    middles = np.r_[0, (np.arange(10) + 0.5) * iterations / 10]
    initial = ascents.curve(cell, rule, "score")["mean"].iloc[0]
    needed = []
    for scores in table.to_numpy():
        improvement = np.maximum.accumulate((np.r_[initial, scores] - initial) / (scores[-1] - initial))
        needed.append(np.interp(share, improvement, middles))
    return np.array(needed)


def rise_of_policy_constant(ascents: Ascents, cell: str, rule: str) -> float:
    """Mean rise of L_pi per iteration over the first tenth of the iterations."""
    curve, end = ascents.curve(cell, rule, "policy_constant"), ascents.spec(cell)["iterations"] / 10
    at_end = np.interp(end, curve["iteration"], curve["mean"])
    return float((at_end - curve["mean"].iloc[0]) / end)


def rank_correlation_with_iteration(ascents: Ascents, cell: str, rule: str, quantity: str) -> float:
    """Spearman's, between iteration and the mean over runs of a quantity."""
    curve = ascents.curve(cell, rule, quantity)
    return float(spearmanr(curve["iteration"], curve["mean"]).statistic)


def last_over_first(ascents: Ascents, cell: str, rule: str, quantity: str) -> float:
    """Mean of a quantity over the last tenth of the iterations, over its value at the first."""
    first = ascents.curve(cell, rule, quantity)["mean"].iloc[0]
    return float(ascents.per_run(cell, rule, quantity, [9]).mean() / first)


def share_of_rise_in_first_quarter(ascents: Ascents, cell: str, rule: str, quantity: str = "policy_constant") -> float:
    """Of the rise of the mean over runs of a quantity from the first to the last iteration."""
    curve = ascents.curve(cell, rule, quantity)
    quarter = np.interp(ascents.spec(cell)["iterations"] / 4, curve["iteration"], curve["mean"])
    return float((quarter - curve["mean"].iloc[0]) / (curve["mean"].iloc[-1] - curve["mean"].iloc[0]))


def slope_of_step_on_constants(ascents: Ascents, cell: str, rule: str) -> float:
    """Slope of the logarithm of the mean step size over that of the mean 2-norm of the gradient's constants."""
    step, constants = (ascents.curve(cell, rule, name) for name in ("step_size", "lipschitz_norm"))
    both = step.merge(constants, on="iteration")
    return float(np.polyfit(np.log(both["mean_y"]), np.log(both["mean_x"]), 1)[0])


def coefficient_of_variation(ascents: Ascents, cell: str, rule: str, quantity: str) -> float:
    """Of the mean over runs of a quantity, over recorded iterations."""
    values = ascents.curve(cell, rule, quantity)["mean"]
    return float(values.std(ddof=0) / values.mean())


def made_again(records: Sequence[Record], live: Sequence[Record]) -> dict[str, int]:
    """Runs made again from the same seeds, at the iterations both recorded: scores compared, and how many differ."""
    recorded, compared, differ = Ascents(records), 0, 0
    for record in live:
        cell, rule = record.spec["cell"], record.spec["rule"]
        one, two = record.table("trace"), recorded.table("trace", cell, rule)
        same_sizes = all(record.spec[name] == recorded.spec(cell)[name] for name in ("episodes", "steps"))
        if same_sizes:
            both = one.merge(two, on=["run", "iteration"])
            compared += len(both)
            differ += int((~np.isclose(both["score_x"], both["score_y"], rtol=2e-5)).sum())
    return {"scores": compared, "differ": differ}


def comparisons(
    ascents: Ascents, cells: Iterable[str], rules: Iterable[str], others: Iterable[str], quantity: str = "score"
) -> dict[str, dict[str, float]]:
    """`better` by cell and pair of rules."""
    return {
        f"{cell}, {LABELS[rule]} over {LABELS[other]}": better(ascents, cell, rule, other, quantity)
        for cell in cells
        for rule in rules
        for other in others
    }


def summary(ascents: Ascents, cells: Iterable[str]) -> pd.DataFrame:
    """A row per cell and rule: scores and steps averaged over iterations, with 95 % intervals over runs."""
    rows = []
    for cell in cells:
        for rule, label in LABELS.items():
            end = ascents.per_run(cell, rule, "score", [9])
            rows.append(
                {
                    "cell": cell,
                    "rule": label,
                    "mean score": _in_words(ascents.per_run(cell, rule, "score")),
                    "score at the end": _in_words(end),
                    "mean step size": f"{ascents.per_run(cell, rule, 'step_size').mean():.3g}",
                    "L_pi at the end": f"{ascents.per_run(cell, rule, 'policy_constant', [9]).mean():.3f}",
                    "margin at the end": f"{ascents.per_run(cell, rule, 'margin', [9]).mean():.3f}",
                }
            )
    return pd.DataFrame(rows)


def _in_words(values: np.ndarray) -> str:
    interval = mean_interval(values, seed=0)
    return f"{interval['mean']:.4f} [{interval['low']:.4f}, {interval['high']:.4f}]"


def largest_parameter_ratio(ascents: Ascents, cell: str, rule: str, index: int = 1) -> float:
    """Largest absolute mean over runs of a parameter over that of the first, both over recorded iterations."""
    sizes = [ascents.curve(cell, rule, f"theta_{i}")["mean"].abs().max() for i in (index, 0)]
    return float(sizes[0] / sizes[1])


def mean_final_parameters(ascents: Ascents, cell: str, rule: str) -> np.ndarray:
    """Averaged over runs, shape (d,)."""
    runs = ascents.table("runs", cell, rule)
    return runs[[name for name in runs.columns if name.startswith("theta_")]].mean().to_numpy()
