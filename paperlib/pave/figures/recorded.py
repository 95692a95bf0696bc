"""Figures of recorded runs beside printed numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.pave.figures.names import METHOD_COLOURS, environment_name, method_name
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.scores import RecordedRuns
from paperlib.repro.figures import budget_label
from paperlib.repro.statistics import mean_interval

PANELS_PER_ROW = 6


def tables_figure(runs: RecordedRuns, printed: pd.DataFrame, measure: str, label: str) -> Figure:
    """Tables 1 and 2 in one measure: a panel per environment and algorithm that is recorded, ours with 95 % intervals
    and runs as dots beside the printed means and standard deviations; below, small, what is printed only.
    """
    settings = [(e, a) for a in ("td3", "sac") for e in ENVIRONMENTS]
    ours = [cell for cell in settings if any(runs.has(*cell, method) for method in METHODS)]
    parts = {"ours": ours, "printed": [cell for cell in settings if cell not in ours]}
    heights = {"ours": 3.0, "printed": 1.5}
    rows = {name: math.ceil(len(cells) / PANELS_PER_ROW) for name, cells in parts.items() if cells}
    tall = [rows[name] * heights[name] for name in rows]
    figure = plt.figure(figsize=(14.0, sum(tall) + 0.8))
    for part, name in zip(np.atleast_1d(figure.subfigures(len(rows), 1, height_ratios=tall)), rows, strict=True):
        columns = min(max(len(parts[name]), 3), PANELS_PER_ROW)
        panels = part.subplots(rows[name], columns, squeeze=False)
        for panel in panels.flat[len(parts[name]) :]:
            panel.set_axis_off()
        for panel, cell in zip(panels.flat, parts[name], strict=False):
            _panel(panel, runs, printed, cell, measure, small=name == "printed")
        panels[0, 0].set_ylabel(label, fontsize=8 if name == "printed" else None)
        if name == "printed":
            part.suptitle("printed only, not run at this budget", fontsize=10, color="0.4")
    handles = [
        plt.Line2D([], [], marker="o", ls="", color="0.2", label="ours: mean, 95 % interval over runs, runs as dots"),
        plt.Line2D(
            [], [], marker="D", ls="", mfc="none", color="0.6", ms=4, label="printed: mean and standard deviation"
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    budget_label(figure, f"published budget, {len(runs.seeds)} runs of ours a cell")
    return figure


def _panel(
    panel: Axes, runs: RecordedRuns, printed: pd.DataFrame, cell: tuple[str, str], measure: str, *, small: bool
) -> None:
    environment, algorithm = cell
    here = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index("method")
    for k, method in enumerate(METHODS):
        mean, deviation = here.loc[method, f"{measure}_mean"], here.loc[method, f"{measure}_std"]
        panel.errorbar(k if small else k + 0.2, mean, deviation, fmt="D", mfc="none", color="0.6", ms=4, lw=0.8)
        if runs.has(*cell, method):
            _estimate(panel, k - 0.2, runs.scores(*cell, method, measure), method)
    size = 6 if small else 9
    panel.set_xticks(range(len(METHODS)), [method_name(m) for m in METHODS], fontsize=size)
    panel.set_xlim(-0.6, len(METHODS) - 0.4)
    panel.tick_params(axis="y", labelsize=size + 1)
    panel.set_title(f"{environment_name(environment)}, {algorithm.upper()}", fontsize=8 if small else 12)


def _estimate(panel: Axes, x: float, scores: np.ndarray, method: str, **style) -> None:
    """A method's mean with its 95 % interval over runs, and the runs as dots."""
    interval, colour = mean_interval(scores, seed=0), METHOD_COLOURS[method]
    below, above = interval["mean"] - interval["low"], interval["high"] - interval["mean"]
    panel.errorbar(x, interval["mean"], [[below], [above]], color=colour, capsize=3, **{"fmt": "o"} | style)
    panel.plot(np.full(len(scores), x), scores, ".", color=colour, ms=4, alpha=0.5)


def improvement_figure(table: pd.DataFrame) -> Figure:
    """Probability of improvement over Base of what is recorded: a row per algorithm, methods by colour."""
    algorithms = list(dict.fromkeys(table["algorithm"]))
    rows = {a: list(dict.fromkeys(table.loc[table["algorithm"] == a, "environment"])) for a in algorithms}
    height = 1.4 + sum(0.5 + 0.7 * len(of) for of in rows.values())
    figure, axes = plt.subplots(len(rows), 2, figsize=(11.0, height), sharex=True, squeeze=False)
    for line, (algorithm, environments) in zip(axes, rows.items(), strict=True):
        for panel, measure in zip(line, ("return", "smoothness"), strict=True):
            part = table[(table["algorithm"] == algorithm) & (table["measure"] == measure)]
            for row in part.itertuples():
                y = environments.index(row.environment) + 0.16 * (METHODS.index(row.method) - 2.5)
                panel.plot([row.low, row.high], [y, y], color=METHOD_COLOURS[row.method])
                panel.plot(row.probability, y, "o", color=METHOD_COLOURS[row.method], ms=5)
            panel.set_title(f"{algorithm.upper()}, {measure}")
            panel.axvline(0.5, color="0.4", lw=1)
            names = [name if name == "all recorded" else environment_name(name) for name in environments]
            panel.set_yticks(range(len(names)), names)
            panel.set(ylim=(len(names) - 0.4, -0.6), xlim=(-0.03, 1.03))
    for panel in axes[-1]:
        panel.set_xlabel("probability of improvement over Base")
    handles = [plt.Line2D([], [], marker="o", color=METHOD_COLOURS[m], label=method_name(m)) for m in METHODS[1:]]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    budget_label(figure, "published budget; lines: 95 % over runs; what is not shown is not run")
    return figure


def geometry_figure(runs: RecordedRuns, environment: str, algorithm: str) -> Figure:
    """Geometry of the critic of one environment and algorithm, in both action units: means with 95 % intervals over
    runs, and runs as dots.
    """
    measures = {
        "mixed_hessian_sup": "$M_{sup}$",
        "curvature_median": r"median of $\mu=-\lambda_{max}(H_{aa})$",
        "negative_definite_rate": "negative-definite rate",
        "cosine_mean": "cosine of consecutive\naction gradients",
        "flip_rate": "flip rate",
    }
    markers = {"environment": (-0.2, {"fmt": "o"}), "scaled": (0.2, {"fmt": "s", "mfc": "white"})}
    figure, axes = plt.subplots(1, len(measures), figsize=(15.0, 4.4))
    for panel, (measure, title) in zip(axes, measures.items(), strict=True):
        for k, method in enumerate(METHODS):
            for units, (shift, style) in markers.items():
                if runs.has(environment, algorithm, method):
                    scores = runs.scores(environment, algorithm, method, measure, units)
                    _estimate(panel, k + shift, scores, method, **style)
        panel.set_xticks(range(len(METHODS)), [method_name(m) for m in METHODS], fontsize=8)
        panel.set_title(title, fontsize=11)
        if measure in ("mixed_hessian_sup", "flip_rate"):
            panel.set_ylim(bottom=0.0)
        panel.tick_params(axis="y", labelsize=9)
    handles = [
        plt.Line2D([], [], marker="o", ls="", color="0.3", label="at actions in environment units, as published"),
        plt.Line2D([], [], marker="s", mfc="white", ls="", color="0.3", label="at actions in [-1, 1], as trained"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    label = f"{environment_name(environment)}, {algorithm.upper()}, published budget, {len(runs.seeds)} runs as dots"
    budget_label(figure, f"{label}, 95 % intervals of their means")
    return figure


def against_smoothness_figure(table: pd.DataFrame, measures: Mapping[str, str], budget: str) -> Figure:
    """Smoothness against each measure, a dot per run in its method's colour; measures: column to label."""
    figure, axes = plt.subplots(1, len(measures), figsize=(3.6 * len(measures), 4.0), sharey=True)
    for panel, (measure, label) in zip(axes, measures.items(), strict=True):
        for method, part in table.groupby("method", sort=False):
            panel.plot(part[measure], part["smoothness"], "o", color=METHOD_COLOURS[method], label=method_name(method))
        panel.set_xlabel(label)
        panel.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel("smoothness score")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    budget_label(figure, budget)
    return figure
