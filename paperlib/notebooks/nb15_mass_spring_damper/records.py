"""What notebook 15 measures of recorded runs on the mass-spring-damper: Figs. 2 and 3 in the words of their prose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from paperlib.lipschitz.figures import RULE_LABELS
from paperlib.lipschitz.rules import LIPSCHITZ_RULES
from paperlib.notebooks.shared.ascents import Ascents, better, improvements
from paperlib.notebooks.shared.outcomes import ratio_of_means
from paperlib.repro.checks import PASSES, judge, plain
from paperlib.repro.claims import claims_of
from paperlib.repro.statistics import bootstrap_interval

CONFIGURATIONS = ("c1", "c2")


def interchanged(ascents: Ascents) -> Ascents:
    """Cells c1 and c2 of the reading in which the two printed L_P are interchanged; AGSS, which reads no L_P, made the
    same runs in both.
    """
    places = {(c, "agss"): (c, "agss") for c in CONFIGURATIONS}
    places |= {(c, rule): (f"{c}, interchanged", rule) for c in CONFIGURATIONS for rule in LIPSCHITZ_RULES}
    return ascents.regrouped(places)


def sentences(ascents: Ascents, transition: Mapping[str, float]) -> dict[str, Any]:
    """What the four sentences on Figs. 2a and 3a say of a reading's runs and L_P, by claim, as the claims' rules take
    it.
    """
    pair = ("sss_mlc", "mss_mlc"), ("sss_slc", "agss")
    return {
        "lip.msd.agss_faster_than_slc_in_c1": better(ascents, "c1", "agss", "sss_slc"),
        "lip.msd.agss_similar_to_slc_in_c2": either_over_the_other(ascents, "c2", "agss", "sss_slc"),
        "lip.msd.multiple_constants_outperform": comparisons(ascents, CONFIGURATIONS, *pair),
        "lip.msd.c2_has_smaller_constant": transition["c2"] - transition["c1"],
    }


def satisfies(claim: str, measured: Any) -> bool:
    """Whether the claim's own rule in the ledger passes for what was measured, corrections aside."""
    rule = claims_of("15_mass_spring_damper")[claim].rule
    return judge(rule.check, rule.parameters, plain(measured)).result == PASSES


def in_words(measured: Any) -> str:
    """The case that does least for a sentence: the lowest probability, the highest ratio, or the number itself."""
    if not isinstance(measured, Mapping):
        return f"{measured:+.2f}"
    cases = [measured] if "low" in measured else list(measured.values())
    if "probability" in cases[0]:
        worst, centre = min(cases, key=lambda case: case["low"]), "probability"
    else:
        worst, centre = max(cases, key=lambda case: case["high"]), "mean"
    return f"{worst[centre]:.3f} [{worst['low']:.3f}, {worst['high']:.3f}]"


def comparisons(
    ascents: Ascents, cells: Iterable[str], rules: Iterable[str], others: Iterable[str], quantity: str = "score"
) -> dict[str, dict[str, float]]:
    """`better` by cell and pair of rules."""
    return {
        f"{cell}, {RULE_LABELS[rule]} over {RULE_LABELS[other]}": better(ascents, cell, rule, other, quantity)
        for cell in cells
        for rule in rules
        for other in others
    }


def either_over_the_other(ascents: Ascents, cell: str, rule: str, other: str) -> dict[str, dict[str, float]]:
    """Mean improvement of each of two rules over that of the other, averaged over iterations, with intervals."""
    one, two = (improvements(ascents, cell, r) for r in (rule, other))
    names = RULE_LABELS[rule], RULE_LABELS[other]
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
