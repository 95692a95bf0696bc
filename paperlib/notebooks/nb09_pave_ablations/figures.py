"""The figures of notebook 09."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paperlib.notebooks.nb09_pave_ablations.measures import CONFIGURATIONS, SWEPT
from paperlib.pave.engine.settings import Coefficients
from paperlib.pave.experiments import Run
from paperlib.pave.figures.names import METHOD_COLOURS, environment_name, method_name
from paperlib.repro.figures import budget_label

_SWEPT_TITLES = {
    "mpr": r"$\lambda_1$ (MPR)",
    "vfc": r"$\lambda_2$ (VFC)",
    "curv": r"$\lambda_3$ (Curv)",
    "sigma": r"$\sigma$ (MPR)",
    "delta": r"$\delta$ (Curv)",
}
_LABELS = ["Base", "MPR", "VFC", "MPR+VFC", "Curv", "MPR+Curv", "VFC+Curv", "PAVE"]


def live_budget(runs: Sequence[Run]) -> str:
    """The label of a figure of live runs, from what was asked for."""
    run, seeds = runs[0], len({run.seed for run in runs})
    each = f"{seeds} runs each" if seeds > 1 else "1 run each"
    return (
        f"live, reduced budget: {environment_name(run.environment)}, {run.algorithm.upper()}, {each}, "
        f"{run.budget.steps:,} steps, hidden layers {run.settings.hidden}"
    )


def factorial_figure(scores: pd.DataFrame, printed: pd.DataFrame, budget: str) -> Figure:
    """The eight combinations: ours run by run (method, seed, return, smoothness), printed ones beside, own axes."""
    figure, axes = plt.subplots(2, 2, figsize=(12.0, 6.4), sharex=True)
    of = printed.set_index("method")
    for row, measure in zip(axes, ("return", "smoothness"), strict=True):
        row[0].plot(_LABELS, of.loc[list(CONFIGURATIONS), f"{measure}_mean"], "D", mfc="none", color="0.3")
        for k, method in enumerate(CONFIGURATIONS):
            runs = scores.loc[scores["method"] == method, measure]
            row[1].plot([k] * len(runs), runs, "o", color="C0", alpha=0.6)
            row[1].plot([k - 0.25, k + 0.25], [runs.mean()] * 2, color="C0", lw=2)
        row[0].set_ylabel(measure)
    axes[0, 0].set_title("printed: Walker2d, TD3, 1,000,000 steps")
    axes[0, 1].set_title("ours, live: Pendulum, SAC, reduced")
    for panel in axes[1]:
        panel.set_xticks(range(len(_LABELS)), _LABELS, rotation=35, ha="right")
    budget_label(figure, budget)
    return figure


def effects_figure(effects: pd.DataFrame, budget: str) -> Figure:
    """Main effects and interactions with 95 % intervals: a panel per measure; column `measure` tells them apart."""
    measures = list(dict.fromkeys(effects["measure"]))
    figure, axes = plt.subplots(1, len(measures), figsize=(5.5 * len(measures), 4.0), sharey=True)
    for panel, measure in zip(axes, measures, strict=True):
        part = effects[effects["measure"] == measure].reset_index(drop=True)
        panel.errorbar(
            part["mean"], part.index, xerr=[part["mean"] - part["low"], part["high"] - part["mean"]], fmt="o", capsize=3
        )
        panel.axvline(0, color="0.4", lw=1)
        panel.set(title=measure, xlabel="change by the loss, or by losses together", yticks=part.index)
        panel.set_yticklabels(part["effect"])
    axes[0].invert_yaxis()
    budget_label(figure, budget)
    return figure


def critic_side_figure(scores: pd.DataFrame, budget: str) -> Figure:
    """What each way to regularise a critic does, run by run: method, seed and the measures below."""
    measures = {
        "return": "return",
        "smoothness": "smoothness",
        "mixed_hessian_sup": "$M_{sup}$",
        "curvature_median": r"median of $\mu=-\lambda_{max}(H_{aa})$",
        "negative_definite_rate": "negative-definite rate",
    }
    methods = list(dict.fromkeys(scores["method"]))
    figure, axes = plt.subplots(1, len(measures), figsize=(16.0, 4.2))
    for panel, (measure, title) in zip(axes, measures.items(), strict=True):
        for k, method in enumerate(methods):
            runs = scores.loc[scores["method"] == method, measure]
            panel.plot([k] * len(runs), runs, "o", color=METHOD_COLOURS[method], alpha=0.6)
            panel.plot([k - 0.25, k + 0.25], [runs.mean()] * 2, color=METHOD_COLOURS[method], lw=2)
        panel.set_title(title)
        panel.set_xticks(range(len(methods)), [method_name(m) for m in methods], rotation=45, ha="right")
    axes[3].axhline(0, color="0.4", lw=1)
    budget_label(figure, budget)
    return figure


def sensitivity_figure(scores: pd.DataFrame, published: Coefficients, budget: str) -> Figure:
    """Return and smoothness over each swept coefficient, the others as published (dotted: its published value).

    scores: columns coefficient, value, seed, return, smoothness.
    """
    figure, axes = plt.subplots(2, len(SWEPT), figsize=(16.0, 6.0), sharex="col", sharey="row")
    for column, name in zip(axes.T, SWEPT, strict=True):
        part = scores[scores["coefficient"] == name]
        for panel, measure in zip(column, ("return", "smoothness"), strict=True):
            panel.plot(part["value"], part[measure], "o", color="C0", alpha=0.5, ms=4)
            panel.plot(part.groupby("value")[measure].mean(), color="C0")
            panel.axvline(getattr(published, name), color="0.4", ls=":")
        column[0].set(title=_SWEPT_TITLES[name], xscale="log")
        column[1].set_xlabel("value")
    axes[0, 0].set_ylabel("return")
    axes[1, 0].set(ylabel="smoothness", ylim=(0, None))
    budget_label(figure, budget)
    return figure


def noise_figure(episodes: pd.DataFrame, budget: str) -> Figure:
    """Return and smoothness against the size of the observation noise, means with 95 % intervals over episodes."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 4.0))
    named = episodes.assign(method=episodes["method"].map(method_name))
    palette = {method_name(method): colour for method, colour in METHOD_COLOURS.items()}
    for panel, measure in zip(axes, ("return", "smoothness"), strict=True):
        sns.lineplot(
            named,
            x="noise",
            y=measure,
            hue="method",
            palette=palette,
            marker="o",
            seed=0,
            ax=panel,
            legend=measure == "return",
        )
        panel.set(xlabel="noise, standard deviations of the state under Base")
    axes[0].legend(title="")
    budget_label(figure, budget)
    return figure
