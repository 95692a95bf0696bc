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


def table_two(runs: pd.DataFrame, exact: dict) -> pd.DataFrame:
    """Table 2 as ours: exact iterations and the mean over GPOMDP runs with its 95 % interval, by cell and rule."""
    rows = []
    for cell, rules in _cells(runs):
        row = dict(zip(("A", "gamma", "sigma"), cell, strict=True))
        for rule, label in (("sss_slc", "Lipschitz"), ("agss", "AGSS")):
            part = rules[rule]
            row[f"{label}, exact"] = exact[cell, rule]
            row[f"{label}, GPOMDP"] = _mean_in_words(part)
        row["AGSS / Lipschitz, exact"] = round(exact[cell, "agss"] / exact[cell, "sss_slc"], 2)
        rows.append(row)
    return pd.DataFrame(rows)


def _mean_in_words(runs: pd.DataFrame) -> str:
    if (runs["iterations"] < 0).any():
        return f"over {runs['limit'].iloc[0]:,} (cut off)"
    interval = mean_interval(runs["iterations"], seed=0)
    return f"{interval['mean']:,.0f} [{interval['low']:,.0f}, {interval['high']:,.0f}]"
