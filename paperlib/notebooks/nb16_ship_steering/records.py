"""What notebook 16 measures of recorded runs on the ship: Figs. 4 and 5 in the words of their prose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.ascent_figures import noiseless
from paperlib.notebooks.shared.ascents import (
    LABELS,
    LIPSCHITZ,
    Ascents,
    better,
    better_at_the_end,
    coefficient_of_variation,
    improvements,
    largest_parameter_ratio,
    mean_improvement,
    rise_of_policy_constant,
    updates_to_share,
)
from paperlib.notebooks.shared.outcomes import ratio_of_means
from paperlib.repro.statistics import probability_of_improvement

PRINTED_RULES = (*LIPSCHITZ, "agss")
SPEEDS = ("fast", "slow")


def by_rule(measure: Callable[..., float], ascents: Ascents, cell: str, *arguments) -> dict[str, float]:
    """`measure(ascents, cell, rule, ...)` of the three Lipschitz rules."""
    return {LABELS[rule]: measure(ascents, cell, rule, *arguments) for rule in LIPSCHITZ}


def slow_over_fast(measure: Callable[..., float], ascents: Ascents, heading: str) -> dict[str, float]:
    """A measure at 0.005 km/s over the same at 0.01 km/s, of the three Lipschitz rules."""
    slow, fast = (by_rule(measure, ascents, f"{heading} {speed}") for speed in ("slow", "fast"))
    return {rule: slow[rule] / fast[rule] for rule in slow}


def first_scenario_easier(ascents: Ascents, easier: str = "north", harder: str = "east") -> dict[str, dict]:
    """Probability that a run's mean score is higher where the heading starts north, by rule and speed."""
    return {
        f"{LABELS[rule]}, {speed}": probability_of_improvement(
            *(ascents.per_run(f"{heading} {speed}", rule, "score") for heading in (easier, harder)), seed=0
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
    for rule in LIPSCHITZ:
        ends, times = (
            [measure(ascents, f"north {speed}", rule) for speed in SPEEDS]
            for measure in (_at_the_end, updates_to_share)
        )
        effects[f"{LABELS[rule]}, improvement"] = ratio_of_means(*sorted(ends, key=np.mean, reverse=True))
        effects[f"{LABELS[rule]}, time"] = ratio_of_means(*sorted(times, key=np.mean, reverse=True))
    return effects


def _at_the_end(ascents: Ascents, cell: str, rule: str) -> np.ndarray:
    return improvements(ascents, cell, rule, [9])


def agss_falls_behind(ascents: Ascents, leader: str = "mss_mlc", follower: str = "agss") -> dict[str, dict]:
    """Probability that a run of MSS-MLC has the higher mean score, by speed."""
    return {speed: better(ascents, f"north {speed}", leader, follower) for speed in SPEEDS}


def gradients_at_low_speed(ascents: Ascents, numerator: str = "slow", denominator: str = "fast") -> float:
    """Mean norm of the first gradient estimate, slow over fast."""
    norms = [
        ascents.curve(f"north {speed}", "agss", "gradient_norm")["mean"].iloc[0] for speed in (numerator, denominator)
    ]
    return float(norms[0] / norms[1])


def _share_of_agss(ascents: Ascents, cell: str) -> float:
    """Of MSS-MLC's final improvement that AGSS reaches, averaged over iterations."""
    initial = ascents.curve(cell, "mss_mlc", "score")["mean"].iloc[0]
    final = ascents.per_run(cell, "mss_mlc", "score", [9]).mean() - initial
    return mean_improvement(ascents, cell, "agss") / float(final)


def agss_slowed(ascents: Ascents, numerator: str = "slow", denominator: str = "fast") -> float:
    """The share that AGSS reaches, slow over fast."""
    return _share_of_agss(ascents, f"north {numerator}") / _share_of_agss(ascents, f"north {denominator}")


def gap_grows(ascents: Ascents, smoother: str = "slow", rougher: str = "fast") -> dict[str, float]:
    """Probability that the gap of a run of MSS-MLC over one of AGSS, in shares of the range of MSS-MLC's mean score, is
    larger at low speed.
    """
    gaps = []
    for speed in (smoother, rougher):
        cell = f"north {speed}"
        gap = ascents.per_run(cell, "mss_mlc", "score") - ascents.per_run(cell, "agss", "score")
        gaps.append(gap / np.ptp(ascents.curve(cell, "mss_mlc", "score")["mean"]))
    return probability_of_improvement(*gaps, seed=0)


# Fig. 5


def agss_ends_higher(ascents: Ascents, cell: str) -> dict[str, dict[str, float]]:
    """Probability that a run of AGSS ends above one of each Lipschitz rule."""
    return {LABELS[rule]: better_at_the_end(ascents, cell, "agss", rule) for rule in LIPSCHITZ}


def lipschitz_beats_agss(ascents: Ascents, cell: str) -> dict[str, dict[str, float]]:
    """Probability that a run of each Lipschitz rule has a higher mean score than one of AGSS."""
    return {LABELS[rule]: better(ascents, cell, rule, "agss") for rule in LIPSCHITZ}


def first_component_share(ascents: Ascents, cell: str) -> dict[str, float]:
    """Share of the first tenth of iterations in which the first component of gradient and of update is the largest."""
    return {LABELS[r]: float(ascents.per_run(cell, r, "first_component", [0]).mean()) for r in LIPSCHITZ}


def early_steps_at_low_speed(ascents: Ascents) -> dict[str, dict[str, float]]:
    """Mean step over the first tenth of iterations, slow over fast with intervals, by rule."""
    early = {
        rule: [ascents.per_run(f"east {speed}", rule, "step_size", [0]) for speed in ("slow", "fast")]
        for rule in LIPSCHITZ
    }
    return {LABELS[rule]: ratio_of_means(*steps) for rule, steps in early.items()}


def rise_at_low_speed(ascents: Ascents) -> dict[str, float]:
    """Rise of L_pi per iteration over the first tenth, slow over fast, by rule."""
    return slow_over_fast(rise_of_policy_constant, ascents, "east")


def variation_of_agss_step(ascents: Ascents, rule: str = "agss") -> dict[str, float]:
    """Coefficient of variation over iterations of the mean step, by speed."""
    return {speed: coefficient_of_variation(ascents, f"east {speed}", rule, "step_size") for speed in SPEEDS}


def agss_step_at_low_speed(ascents: Ascents, rule: str = "agss") -> float:
    """Mean step over all iterations, slow over fast."""
    slow, fast = (ascents.per_run(f"east {speed}", rule, "step_size").mean() for speed in ("slow", "fast"))
    return float(slow / fast)


def share_of_the_second_parameter(ascents: Ascents, cell: str, rule: str = "mss_mlc") -> float:
    """How large a rule's second parameter gets beside its first, as a share of the same of SSS-MLC."""
    return largest_parameter_ratio(ascents, cell, rule) / largest_parameter_ratio(ascents, cell, "sss_mlc")


def largest_heading_change(ascents: Ascents, cell: str, domain: ShipSteering, steps: int = 30) -> float:
    """Largest change of the heading between decisions of noise-free episodes under all final policies, over 2 pi."""
    largest = 0.0
    for rule in PRINTED_RULES:
        runs = ascents.table("runs", cell, rule)
        theta = runs[[f"theta_{i}" for i in range(domain.features.dimension)]].to_numpy().T
        start = tuple(np.full(len(runs), coordinate) for coordinate in domain.start_at)
        states = noiseless(domain, theta, start, steps)
        features = domain.feature_values((states[:, 0], states[:, 1]))
        headings = domain.applied(sum(t * phi for t, phi in zip(theta, features, strict=True)))
        largest = max(largest, float(np.abs(np.diff(headings, axis=0)).max()))
    return largest / (2 * np.pi)
