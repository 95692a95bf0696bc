"""What notebooks 15 and 16 both ask of recorded runs of the step-size rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from paperlib.lipschitz.figures import RULE_LABELS
from paperlib.repro.statistics import mean_interval, probability_of_improvement
from paperlib.repro.store import Record


class Ascents:
    """Recorded runs of one experiment, by cell and rule."""

    def __init__(self, records: Sequence[Record]):
        self._records = {(record.spec["cell"], record.spec["rule"]): record for record in records}

    def regrouped(self, places: Mapping[tuple[str, str], tuple[str, str]]) -> Ascents:
        """The same records under other (cell, rule), each with the one it is taken from; the others are left out."""
        found = Ascents(())
        found._records = {place: self._records[origin] for place, origin in places.items()}
        return found

    def rules(self, cell: str) -> list[str]:
        """Rules that were run on a cell, in the order of the figures."""
        return [rule for rule in RULE_LABELS if (cell, rule) in self._records]

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
                        "rule": RULE_LABELS[rule],
                        "updates audited": int(runs["audited"].sum()),
                        "below the guarantee": int(runs["violations"].sum()),
                        "share": runs["violations"].sum() / max(runs["audited"].sum(), 1),
                        "smallest surplus": runs["smallest_surplus"].min(),
                        "runs stopped for want of a margin": int((runs["stopped"] >= 0).sum()),
                        "realised over guaranteed": self._realised_over_guaranteed(cell, rule),
                    }
                )
        return pd.DataFrame(rows)

    def _realised_over_guaranteed(self, cell: str, rule: str) -> float:
        """Of improvements, summed over recorded iterations and runs."""
        realised, guarantee = (self.curve(cell, rule, name)["mean"].sum() for name in ("realised", "guarantee"))
        return float(realised / guarantee)


def distinct_rules(ascents: Ascents, cell: str) -> list[str]:
    """Rules that were run on a cell, without the larger guarantee (ours) where all its curves are MSS-MLC's to 1 % of
    their range over all rules.
    """
    rules, ours = ascents.rules(cell), "largest_guarantee"
    if ours in rules and all(
        _follows_mss_mlc(ascents, cell, quantity) for quantity in ("score", "step_size", "policy_constant", "margin")
    ):
        rules.remove(ours)
    return rules


def _follows_mss_mlc(ascents: Ascents, cell: str, quantity: str) -> bool:
    means = {rule: ascents.curve(cell, rule, quantity)["mean"] for rule in ascents.rules(cell)}
    height = max(mean.max() for mean in means.values()) - min(mean.min() for mean in means.values())
    return bool((means["largest_guarantee"] - means["mss_mlc"]).abs().max() <= 0.01 * height)


def better(ascents: Ascents, cell: str, rule: str, other: str, quantity: str = "score") -> dict[str, float]:
    """Probability that a run of a rule has the larger quantity, averaged over iterations, than one of the other."""
    one, two = (ascents.per_run(cell, r, quantity) for r in (rule, other))
    return probability_of_improvement(one, two, seed=0)


def improvements(ascents: Ascents, cell: str, rule: str, tenths: Iterable[int] = range(10)) -> np.ndarray:
    """Score averaged over tenths of the iterations minus the mean initial one, by run: shape (R,)."""
    return ascents.per_run(cell, rule, "score", tenths) - ascents.curve(cell, rule, "score")["mean"].iloc[0]


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


def summary(ascents: Ascents, cells: Iterable[str]) -> pd.DataFrame:
    """A row per cell and rule, the larger guarantee where it differs: scores and steps averaged over iterations, with
    standard errors over runs.
    """
    rows = []
    for cell in cells:
        for rule in distinct_rules(ascents, cell):
            rows.append(
                {
                    "cell": cell,
                    "rule": RULE_LABELS[rule],
                    "mean score": with_error(ascents.per_run(cell, rule, "score")),
                    "score at the end": with_error(ascents.per_run(cell, rule, "score", [9])),
                    "mean step size": f"{ascents.per_run(cell, rule, 'step_size').mean():.3g}",
                    "L_pi at the end": with_error(ascents.per_run(cell, rule, "policy_constant", [9])),
                    "margin at the end": with_error(ascents.per_run(cell, rule, "margin", [9])),
                }
            )
    return pd.DataFrame(rows)


def with_error(values: np.ndarray) -> str:
    """The mean over runs and its standard error, to the error's second digit."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    digits = 6 if error == 0 else max(1 - math.floor(math.log10(error)), 0)
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"


def share_of_attainable(ascents: Ascents, cell: str, rule: str, best: float, error: float = 0.0) -> dict[str, float]:
    """{mean, low, high}: improvement in the last tenth of the iterations over that of the best policy of the class,
    whose score is `best` with standard error `error`; the 95 % interval is over runs, with that error added.
    """
    attainable = best - ascents.curve(cell, rule, "score")["mean"].iloc[0]
    share = mean_interval(improvements(ascents, cell, rule, [9]) / attainable, seed=0)
    mean, of_best = share["mean"], 1.96 * error * share["mean"] / attainable
    return {
        "mean": mean,
        "low": mean - math.hypot(mean - share["low"], of_best),
        "high": mean + math.hypot(share["high"] - mean, of_best),
    }


def shares_of_attainable(ascents: Ascents, best: Mapping[str, float]) -> pd.DataFrame:
    """A row per cell, with the best score of each, and a column per rule: percentages with standard errors."""
    rows = []
    for cell, score in best.items():
        initial = ascents.curve(cell, "agss", "score")["mean"].iloc[0]
        shares = {
            RULE_LABELS[rule]: with_error(100 * improvements(ascents, cell, rule, [9]) / (score - initial))
            for rule in distinct_rules(ascents, cell)
        }
        rows.append({"cell": cell, "at zero": f"{initial:.4f}", "best": f"{score:.4f}"} | shares)
    return pd.DataFrame(rows).fillna("")


def mean_final_parameters(ascents: Ascents, cell: str, rule: str) -> np.ndarray:
    """Averaged over runs, shape (d,)."""
    runs = ascents.table("runs", cell, rule)
    return runs[[name for name in runs.columns if name.startswith("theta_")]].mean().to_numpy()
