"""The figures of notebook 09."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paperlib.notebooks.nb09_pave_ablations.measures import CONFIGURATIONS
from paperlib.pave.figures.names import METHOD_COLOURS, environment_name, method_name
from paperlib.repro.figures import budget_label

_LABELS = ["Base", "MPR", "VFC", "MPR+VFC", "Curv", "MPR+Curv", "VFC+Curv", "PAVE"]
_PRINTED = "printed, Walker2d"


def _title(source: str) -> str:
    return _PRINTED if source == "printed" else f"ours, {environment_name(source)}"


def factorial_figure(scores: Mapping[str, Mapping[str, Mapping[str, np.ndarray | float]]]) -> Figure:
    """The eight combinations: a row per measure, a column per source, runs as dots and their means as lines.

    scores: measure to source ("printed", or an environment) to score by configuration.
    """
    sources = list(next(iter(scores.values())))
    figure, axes = plt.subplots(
        len(scores), len(sources), figsize=(max(5.6 * len(sources), 7.0), 5.4), sharex=True, squeeze=False
    )
    for row, (measure, of) in zip(axes, scores.items(), strict=True):
        for panel, source in zip(row, sources, strict=True):
            for k, method in enumerate(CONFIGURATIONS):
                runs = np.atleast_1d(of[source][method])
                marker = {"marker": "D", "mfc": "none", "color": "0.3"} if source == "printed" else {"marker": "o"}
                panel.plot([k] * len(runs), runs, ls="", **{"color": "C0"} | marker)
                if len(runs) > 1:
                    panel.plot([k - 0.25, k + 0.25], [runs.mean()] * 2, color="C0", lw=2)
        row[0].set_ylabel(measure)
    for panel, source in zip(axes[0], sources, strict=True):
        panel.set_title(_title(source))
    for panel in axes[-1]:
        panel.set_xticks(range(len(_LABELS)), _LABELS, rotation=35, ha="right")
    budget_label(figure, "TD3, published budget; print gives no deviation")
    return figure


def effects_figure(effects: pd.DataFrame) -> Figure:
    """Main effects and interactions, a panel per measure, a marker per source; with 95 % intervals where there are
    runs. Columns: measure, source, effect, mean, low, high.
    """
    measures = list(dict.fromkeys(effects["measure"]))
    figure, axes = plt.subplots(1, len(measures), figsize=(5.5 * len(measures), 4.0), sharey=True)
    for panel, measure in zip(axes, measures, strict=True):
        part = effects[effects["measure"] == measure]
        names = list(dict.fromkeys(part["effect"]))
        for k, (source, of) in enumerate(part.groupby("source", sort=False)):
            width = None if source == "printed" else [of["mean"] - of["low"], of["high"] - of["mean"]]
            places = np.arange(len(of)) + 0.2 * k
            marker = {"fmt": "D", "mfc": "none", "color": "0.3"} if source == "printed" else {"fmt": "o"}
            panel.errorbar(of["mean"], places, xerr=width, capsize=3, label=_title(source), **marker)
        panel.axvline(0, color="0.4", lw=1)
        panel.set(title=measure, xlabel="change by the loss, or by losses together")
        panel.set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    budget_label(figure, "TD3, published budget; smoothness: below zero is smoother")
    return figure


def noise_figure(episodes: pd.DataFrame, budget: str) -> Figure:
    """Change of the return and smoothness against the size of the observation noise, means with 95 % intervals over
    episodes.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 4.0))
    named = episodes.assign(method=episodes["method"].map(method_name))
    palette = {method_name(method): colour for method, colour in METHOD_COLOURS.items()}
    labels = {"change": "return minus that of Base\nwithout noise, same start", "smoothness": "smoothness score"}
    for panel, (measure, label) in zip(axes, labels.items(), strict=True):
        sns.lineplot(
            named,
            x="noise",
            y=measure,
            hue="method",
            palette=palette,
            marker="o",
            seed=0,
            ax=panel,
            legend=measure == "smoothness",
        )
        panel.set(xlabel="noise, standard deviations of the state under Base", ylabel=label)
    axes[1].legend(title="", loc="upper left")
    budget_label(figure, budget)
    return figure
