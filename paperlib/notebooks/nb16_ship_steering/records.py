"""What notebook 16 measures of recorded runs on the ship: Figs. 4 and 5 in the words of their prose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from paperlib.lipschitz.figures import RULE_LABELS
from paperlib.lipschitz.rules import LIPSCHITZ_RULES
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.ascents import Ascents, better, improvements
from paperlib.notebooks.shared.mean_policy import mean_action, noiseless
from paperlib.notebooks.shared.numerics import log_log_slope
from paperlib.notebooks.shared.outcomes import ratio_of_means
from paperlib.repro.statistics import probability_of_improvement

PRINTED_RULES = (*LIPSCHITZ_RULES, "agss")
SPEEDS = ("fast", "slow")


def by_rule(measure: Callable, ascents: Ascents, cell: str, *arguments) -> dict:
    """`measure(ascents, cell, rule, ...)` of the three Lipschitz rules."""
    return {RULE_LABELS[rule]: measure(ascents, cell, rule, *arguments) for rule in LIPSCHITZ_RULES}


def first_scenario_easier(ascents: Ascents) -> dict[str, dict]:
    """Probability that a run's mean score is higher where the heading starts north, by rule and speed."""
    return {
        f"{RULE_LABELS[rule]}, {speed}": probability_of_improvement(
            *(ascents.per_run(f"{heading} {speed}", rule, "score") for heading in ("north", "east")), seed=0
        )
        for rule in PRINTED_RULES
        for speed in SPEEDS
    }


# Fig. 4


def effect_of_speed(ascents: Ascents) -> dict[str, dict[str, float]]:
    """Of the two speeds the larger mean over the smaller, with intervals, by rule: improvement in the last tenth of
    iterations, and iterations to 90 % of a run's own improvement.
    """
    effects = {}
    for rule in LIPSCHITZ_RULES:
        ends = [improvements(ascents, f"north {speed}", rule, [9]) for speed in SPEEDS]
        times = [updates_to_share(ascents, f"north {speed}", rule) for speed in SPEEDS]
        effects[f"{RULE_LABELS[rule]}, improvement"] = ratio_of_means(*sorted(ends, key=np.mean, reverse=True))
        effects[f"{RULE_LABELS[rule]}, time"] = ratio_of_means(*sorted(times, key=np.mean, reverse=True))
    return effects


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


def agss_falls_behind(ascents: Ascents) -> dict[str, dict]:
    """Probability that a run of MSS-MLC has a higher mean score than one of AGSS, by speed."""
    return {speed: better(ascents, f"north {speed}", "mss_mlc", "agss") for speed in SPEEDS}


def gradients_at_low_speed(ascents: Ascents) -> float:
    """Mean norm of the first gradient estimate, slow over fast."""
    slow, fast = (ascents.curve(f"north {s}", "agss", "gradient_norm")["mean"].iloc[0] for s in ("slow", "fast"))
    return float(slow / fast)


def agss_slowed(ascents: Ascents) -> float:
    """The share of MSS-MLC's final improvement that AGSS reaches, averaged over iterations, slow over fast."""
    slow, fast = (
        improvements(ascents, f"north {speed}", "agss").mean()
        / improvements(ascents, f"north {speed}", "mss_mlc", [9]).mean()
        for speed in ("slow", "fast")
    )
    return float(slow / fast)


def gap_grows(ascents: Ascents) -> dict[str, float]:
    """Probability that the gap of a run of MSS-MLC over one of AGSS, in shares of the range of MSS-MLC's mean score, is
    larger at low speed.
    """
    gaps = []
    for cell in ("north slow", "north fast"):
        gap = ascents.per_run(cell, "mss_mlc", "score") - ascents.per_run(cell, "agss", "score")
        gaps.append(gap / np.ptp(ascents.curve(cell, "mss_mlc", "score")["mean"]))
    return probability_of_improvement(*gaps, seed=0)


# Fig. 5


def agss_ends_higher(ascents: Ascents, cell: str) -> dict[str, dict[str, float]]:
    """Probability that a run of AGSS ends (last tenth of iterations) above one of each Lipschitz rule."""
    ends = ascents.per_run(cell, "agss", "score", [9])
    return {
        RULE_LABELS[rule]: probability_of_improvement(ends, ascents.per_run(cell, rule, "score", [9]), seed=0)
        for rule in LIPSCHITZ_RULES
    }


def lipschitz_beats_agss(ascents: Ascents, cell: str) -> dict[str, dict[str, float]]:
    """Probability that a run of each Lipschitz rule has a higher mean score than one of AGSS."""
    return by_rule(better, ascents, cell, "agss")


def first_component_share(ascents: Ascents, cell: str) -> dict[str, float]:
    """Share of the first tenth of iterations in which the first component of gradient and of update is the largest."""
    shares = {rule: ascents.per_run(cell, rule, "first_component", [0]).mean() for rule in LIPSCHITZ_RULES}
    return {RULE_LABELS[rule]: float(share) for rule, share in shares.items()}


def early_steps_at_low_speed(ascents: Ascents) -> dict[str, dict[str, float]]:
    """Mean step over the first tenth of iterations, slow over fast with intervals, by rule."""
    early = {
        rule: [ascents.per_run(f"east {speed}", rule, "step_size", [0]) for speed in ("slow", "fast")]
        for rule in LIPSCHITZ_RULES
    }
    return {RULE_LABELS[rule]: ratio_of_means(*steps) for rule, steps in early.items()}


def rise_at_low_speed(ascents: Ascents) -> dict[str, float]:
    """Rise of L_pi per iteration over the first tenth, slow over fast, by rule."""
    slow, fast = (by_rule(rise_of_policy_constant, ascents, f"east {speed}") for speed in ("slow", "fast"))
    return {rule: slow[rule] / fast[rule] for rule in slow}


def rise_of_policy_constant(ascents: Ascents, cell: str, rule: str) -> float:
    """Mean rise of L_pi per iteration over the first tenth of the iterations."""
    curve, end = ascents.curve(cell, rule, "policy_constant"), ascents.spec(cell)["iterations"] / 10
    at_end = np.interp(end, curve["iteration"], curve["mean"])
    return float((at_end - curve["mean"].iloc[0]) / end)


def parameters_of(ascents: Ascents, cell: str, rule: str, number: int = 3) -> np.ndarray:
    """Largest |theta_i| over recorded iterations of the means over runs, shape (number,)."""
    return np.array([ascents.curve(cell, rule, f"theta_{i}")["mean"].abs().max() for i in range(number)])


def rank_correlation_with_iteration(ascents: Ascents, cell: str, rule: str, quantity: str) -> float:
    """Spearman's, between iteration and the mean over runs of a quantity."""
    curve = ascents.curve(cell, rule, quantity)
    return float(spearmanr(curve["iteration"], curve["mean"]).statistic)


def last_over_first(ascents: Ascents, cell: str, rule: str, quantity: str) -> float:
    """Mean of a quantity over the last tenth of the iterations, over its value at the first."""
    first = ascents.curve(cell, rule, quantity)["mean"].iloc[0]
    return float(ascents.per_run(cell, rule, quantity, [9]).mean() / first)


def share_of_rise_in_first_quarter(ascents: Ascents, cell: str, rule: str) -> float:
    """Of the rise of the mean over runs of L_pi from the first to the last iteration."""
    curve = ascents.curve(cell, rule, "policy_constant")
    quarter = np.interp(ascents.spec(cell)["iterations"] / 4, curve["iteration"], curve["mean"])
    return float((quarter - curve["mean"].iloc[0]) / (curve["mean"].iloc[-1] - curve["mean"].iloc[0]))


def slope_of_step_on_constants(ascents: Ascents, cell: str, rule: str) -> float:
    """Slope of the logarithm of the mean step size over that of the mean 2-norm of the gradient's constants."""
    step, constants = (ascents.curve(cell, rule, name) for name in ("step_size", "lipschitz_norm"))
    both = step.merge(constants, on="iteration")
    return log_log_slope(both["mean_y"], both["mean_x"])


def variation_of_agss_step(ascents: Ascents) -> dict[str, float]:
    """Coefficient of variation over recorded iterations of the mean step, by speed."""
    steps = {speed: ascents.curve(f"east {speed}", "agss", "step_size")["mean"] for speed in SPEEDS}
    return {speed: float(mean.std(ddof=0) / mean.mean()) for speed, mean in steps.items()}


def agss_step_at_low_speed(ascents: Ascents) -> float:
    """Mean step over all iterations, slow over fast."""
    slow, fast = (ascents.per_run(f"east {speed}", "agss", "step_size").mean() for speed in ("slow", "fast"))
    return float(slow / fast)


def share_of_the_second_parameter(ascents: Ascents, cell: str) -> float:
    """How large MSS-MLC's second parameter gets beside its first, as a share of the same of SSS-MLC."""
    several, single = (parameters_of(ascents, cell, rule) for rule in ("mss_mlc", "sss_mlc"))
    return float(several[1] / several[0] / (single[1] / single[0]))


def heading_changes(ascents: Ascents, cell: str, rule: str, domain: ShipSteering, steps: int = 30) -> dict[str, float]:
    """Largest change of the mean heading between decisions of noise-free episodes under a rule's final policies: over
    2 pi ("range"), and over the largest heading of the same episode ("own").
    """
    runs = ascents.table("runs", cell, rule)
    theta = runs[[f"theta_{i}" for i in range(domain.features.dimension)]].to_numpy().T
    start = tuple(np.full(len(runs), coordinate) for coordinate in domain.start_at)
    states = noiseless(domain, theta, start, steps)
    headings = mean_action(domain, theta, (states[:, 0], states[:, 1]))
    change = np.abs(np.diff(headings, axis=0)).max(axis=0)
    own = change / np.abs(headings).max(axis=0)
    return {"range": float(change.max()) / (2 * np.pi), "own": float(own.max())}
