"""Figures of recorded runs beside printed numbers."""

from __future__ import annotations

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


def tables_figure(runs: RecordedRuns, printed: pd.DataFrame, measure: str, label: str) -> Figure:
    """Tables 1 and 2 in one measure: a row per algorithm, a panel per environment; ours with 95 % intervals and runs as
    dots, printed means as diamonds with their printed standard deviation.
    """
    figure, axes = plt.subplots(2, len(ENVIRONMENTS), figsize=(16.0, 6.2))
    for row, algorithm in zip(axes, ("td3", "sac"), strict=True):
        for panel, environment in zip(row, ENVIRONMENTS, strict=True):
            here = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)]
            _panel(panel, runs, here.set_index("method"), environment, algorithm, measure)
            panel.set_title(environment_name(environment) if algorithm == "td3" else "")
        row[0].set_ylabel(f"{algorithm.upper()}\n{label}")
    handles = [
        plt.Line2D([], [], marker="o", ls="", color="0.2", label="ours: mean, 95 % interval over runs, runs as dots"),
        plt.Line2D(
            [], [], marker="D", ls="", mfc="none", color="0.6", ms=4, label="printed: mean and standard deviation"
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    budget_label(figure, f"published budget, {len(runs.seeds)} runs a cell; what has no coloured point is not run")
    return figure


def _panel(
    panel: Axes, runs: RecordedRuns, printed: pd.DataFrame, environment: str, algorithm: str, measure: str
) -> None:
    for k, method in enumerate(METHODS):
        row = printed.loc[method]
        mean, deviation = row[f"{measure}_mean"], row[f"{measure}_std"]
        panel.errorbar(k + 0.2, mean, deviation, fmt="D", mfc="none", color="0.6", ms=4, lw=0.8)
        if runs.has(environment, algorithm, method):
            colour, interval = METHOD_COLOURS[method], runs.interval(environment, algorithm, method, measure)
            below, above = interval["mean"] - interval["low"], interval["high"] - interval["mean"]
            panel.errorbar(k - 0.2, interval["mean"], [[below], [above]], fmt="o", color=colour, capsize=3)
            scores = runs.scores(environment, algorithm, method, measure)
            panel.plot(np.full(len(scores), k - 0.2), scores, ".", color=colour, ms=4, alpha=0.5)
    panel.set_xticks(range(len(METHODS)), [method_name(m) for m in METHODS], fontsize=8)
    panel.set_xlim(-0.6, len(METHODS) - 0.4)
    panel.tick_params(axis="y", labelsize=9)


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


def geometry_figure(
    runs: RecordedRuns, environment: str, algorithm: str, printed: pd.DataFrame | None = None
) -> Figure:
    """Geometry of the critic of one environment and algorithm: runs as dots, means as bars, in both action units."""
    measures = {
        "mixed_hessian_sup": "$M_{sup}$",
        "negative_definite_rate": "negative-definite rate",
        "cosine_mean": "cosine of consecutive\naction gradients",
        "flip_rate": "flip rate",
    }
    figure, axes = plt.subplots(1, 4, figsize=(14.0, 4.8))
    for panel, (measure, label) in zip(axes, measures.items(), strict=True):
        for k, method in enumerate(METHODS):
            for shift, units, alpha in ((-0.2, "environment", 0.9), (0.2, "scaled", 0.35)):
                if runs.has(environment, algorithm, method):
                    scores = runs.scores(environment, algorithm, method, measure, units)
                    panel.bar(k + shift, scores.mean(), 0.38, color=METHOD_COLOURS[method], alpha=alpha)
                    panel.plot(np.full(len(scores), k + shift), scores, "k.", ms=4)
        if measure == "mixed_hessian_sup":
            panel.set_yscale("log")
        panel.set_xticks(range(len(METHODS)), [method_name(m) for m in METHODS], fontsize=9)
        panel.set_title(label, fontsize=11)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color="0.3", alpha=0.9, label="at actions in environment units, as published"),
        plt.Rectangle((0, 0), 1, 1, color="0.3", alpha=0.35, label="at actions in [-1, 1], as trained"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    label = f"{environment_name(environment)}, {algorithm.upper()}, published budget, {len(runs.seeds)} runs as dots"
    budget_label(figure, label)
    return figure


def surfaces_figure(
    surfaces: Mapping[str, np.ndarray], axes_of: Mapping[str, np.ndarray], ceiling: float, budget: str
) -> Figure:
    """Q-gradient surfaces ||H_sa||_2 over one state and one action coordinate, by method, clipped at `ceiling`."""
    figure = plt.figure(figsize=(5.4 * len(surfaces), 4.6))
    state, action = np.meshgrid(axes_of["state"], axes_of["action"], indexing="ij")
    for k, (method, height) in enumerate(surfaces.items()):
        panel = figure.add_subplot(1, len(surfaces), k + 1, projection="3d")
        panel.plot_surface(
            state, action, np.minimum(height, ceiling), cmap="viridis", vmin=0, vmax=ceiling, rcount=50, ccount=50, lw=0
        )
        panel.set(
            title=method_name(method),
            zlim=(0, ceiling),
            xlabel="state coordinate",
            ylabel="action",
            zlabel=r"$\|H_{sa}\|_2$",
        )
        panel.set_box_aspect(None, zoom=0.85)
    budget_label(figure, budget)
    return figure
