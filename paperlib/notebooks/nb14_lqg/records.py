"""What notebook 14 measures of recorded LQG runs (Table 2 by GPOMDP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from paperlib.lipschitz.lqg_experiment import LQGCell
from paperlib.notebooks.shared.outcomes import count, ratio_of_means
from paperlib.repro.statistics import mean_interval, probability_of_improvement
from paperlib.repro.store import Record


def runs_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run: a, discount, standard_deviation, rule, run, iterations (-1: cut off), limit."""
    parts = []
    for record in records:
        cell = {name: record.spec[name] for name in ("a", "discount", "standard_deviation")}
        parts.append(record.table("runs").assign(**cell))
    return pd.concat(parts, ignore_index=True)


def exact_runs(*ascents: Mapping) -> pd.DataFrame:
    """A row per ascent with the exact gradient and cell, as in `runs_table`: the Lipschitz rule's iterations."""
    return pd.DataFrame(
        [
            {"a": c[0], "discount": c[1], "standard_deviation": c[2], "rule": rule, "iterations": n}
            for needed in ascents
            for (c, rule), n in needed.items()
            if rule == "sss_slc"
        ]
    )


def settings(cell: LQGCell) -> dict[str, float]:
    """Of the experiment, as claim lip.lqg.settings names them."""
    domain = cell.domain()
    return {
        "reward_weight": domain.reward_weight,
        "state_lowest": domain.state_low[0],
        "state_highest": domain.state_high[0],
        "initial_state_lowest": -domain.limit,
        "initial_state_highest": domain.limit,
        "parameter_tolerance": cell.tolerance,
        "runs": cell.runs,
    }


def _cells(runs: pd.DataFrame):
    for cell, part in runs.groupby(["a", "discount", "standard_deviation"]):
        yield cell, {rule: of_rule for rule, of_rule in part.groupby("rule")}


def spread_failures(runs: pd.DataFrame, exact: pd.DataFrame) -> dict[str, int]:
    """Cells where iterations vary over runs with the exact gradient, or do not with GPOMDP (the Lipschitz rule)."""
    exact_spread = {cell: np.ptp(rules["sss_slc"]["iterations"]) for cell, rules in _cells(exact)}
    return count(
        exact_spread[cell] == 0 < np.ptp(rules["sss_slc"]["iterations"])
        for cell, rules in _cells(runs)
        if cell in exact_spread
    )


def advantage_at_small_a(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean iterations of AGSS over those of the Lipschitz rule at gamma 0.9, sigma 0.5, by A up to 0.4, with intervals.

    KeyError if runs of these cells were cut off.
    """
    ratios = {}
    for (a, gamma, sigma), rules in _cells(runs):
        if (gamma, sigma) == (0.9, 0.5) and a <= 0.4:
            if any((part["iterations"] < 0).any() for part in rules.values()):
                raise KeyError(f"runs of A = {a:g} were cut off")
            needed = {rule: part["iterations"].to_numpy() for rule, part in rules.items()}
            ratios[f"A = {a:g}"] = ratio_of_means(needed["agss"], needed["sss_slc"])
    return ratios


def probability_of_fewer_iterations(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """That a run of the Lipschitz rule needs fewer iterations than one of AGSS, by cell.

    A run that was cut off counts its limit, which lies beyond the slowest run of the Lipschitz rule.
    """
    probabilities = {}
    for (a, gamma, sigma), rules in _cells(runs):
        needed = {rule: np.where(p["iterations"] < 0, p["limit"], p["iterations"]) for rule, p in rules.items()}
        name = f"A = {a:g}, gamma = {gamma:g}, sigma = {sigma:g}"
        probabilities[name] = probability_of_improvement(-needed["sss_slc"], -needed["agss"], seed=0)
    return probabilities


def columns(runs: pd.DataFrame, exact: Mapping) -> dict[str, dict[str, float]]:
    """Mean iterations over GPOMDP runs with the 95 % interval, and as `printed` those of the exact gradient, by cell
    and rule; cells where runs were cut off are left out.
    """
    found = {}
    for cell, rules in _cells(runs):
        for rule, part in rules.items():
            if (part["iterations"] >= 0).all():
                interval = mean_interval(part["iterations"], seed=0)
                name = "A = {:g}, gamma = {:g}, sigma = {:g}, ".format(*cell) + rule
                found[name] = {end: interval[end] for end in ("mean", "low", "high")} | {
                    "printed": exact[cell, rule],
                    "printed_error": 0.0,
                }
    return found


def table_two(runs: pd.DataFrame, exact: Mapping) -> pd.DataFrame:
    """Table 2 as a grid: a row per gamma and A, columns for sigma and rule; iterations with the exact gradient, and the
    mean over GPOMDP runs with its 95 % interval.
    """
    rows: dict[tuple, dict] = {}
    for (a, gamma, sigma), rules in sorted(_cells(runs), key=lambda found: found[0]):
        row = rows.setdefault((gamma, a), {"gamma": f"{gamma:g}", "A": f"{a:g}"})
        for rule, label in (("sss_slc", "SSS"), ("agss", "AGSS")):
            name = f"sigma = {sigma:g}, {label}: exact / GPOMDP"
            row[name] = f"{exact[(a, gamma, sigma), rule]:,} / {_mean_in_words(rules[rule])}"
    return pd.DataFrame([rows[key] for key in sorted(rows)])


def ratio_table(exact: Mapping) -> pd.DataFrame:
    """AGSS's exact iterations over the Lipschitz rule's: a row per gamma and A, a column per sigma."""
    rows: dict[tuple, dict] = {}
    for a, gamma, sigma in sorted({cell for cell, _ in exact}):
        row = rows.setdefault((gamma, a), {"gamma": f"{gamma:g}", "A": f"{a:g}"})
        row[f"sigma = {sigma:g}"] = f"{exact[(a, gamma, sigma), 'agss'] / exact[(a, gamma, sigma), 'sss_slc']:.2f}"
    return pd.DataFrame([rows[key] for key in sorted(rows)])


def _mean_in_words(runs: pd.DataFrame) -> str:
    if (runs["iterations"] < 0).any():
        return f"> {runs['limit'].iloc[0]:,} (stopped)"
    interval = mean_interval(runs["iterations"], seed=0)
    return f"{interval['mean']:,.0f} [{interval['low']:,.0f}, {interval['high']:,.0f}]"
