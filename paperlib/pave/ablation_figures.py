"""The figures of notebook 09."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paperlib.pave.training_figures import display_name
from paperlib.pave.verification.ablation_effects import CONFIGURATIONS, key
from paperlib.repro.figures import budget_label, colours

_LABELS = ["Base", "MPR", "VFC", "MPR+VFC", "Curv", "MPR+Curv", "VFC+Curv", "PAVE"]


def factorial_figure(scores: pd.DataFrame, printed: pd.DataFrame, budget: str) -> Figure:
    """The eight combinations: ours run by run (method, seed, return, smoothness), printed ones beside, own axes."""
    figure, axes = plt.subplots(2, 2, figsize=(12.0, 6.4), sharex=True)
    of = printed.set_index(printed["configuration"].map(key))
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


def noise_figure(episodes: pd.DataFrame, budget: str) -> Figure:
    """Return and smoothness against the size of the observation noise, means with 95 % intervals over episodes."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 4.0))
    named = episodes.assign(method=episodes["method"].map(display_name))
    palette = colours(["Base", "CAPS", "GRAD", "ASAP", "PAVE"])
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
