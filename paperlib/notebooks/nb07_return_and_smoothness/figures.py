"""The figures of notebook 07 that no other shares: averaged actions, and the chain from the critic to the actions."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paperlib.notebooks.nb07_return_and_smoothness.episodes import USERS_MEASURES
from paperlib.pave.figures.names import METHOD_COLOURS, method_name
from paperlib.repro.figures import budget_label

AVERAGED = {"color": METHOD_COLOURS["base"], "mfc": "white", "marker": "o", "ms": 7}


def averaging_figure(table: pd.DataFrame, own: pd.DataFrame, chosen: pd.Series, budget: str) -> Figure:
    """Left: return, less Base's, against smoothness of Base with averaged actions by weight, and of PAVE; right: every
    measure over Base's.

    table: of `averaged`; own: means of `measured` by method; chosen: the row of `table` that the right panel shows.
    """
    figure, (trade, ratios) = plt.subplots(1, 2, figsize=(12.0, 4.2))
    change = table["return"] - own.loc["base", "return"]
    label = "Base, averaged (weight of the new action)"
    trade.plot(table["published score"], change, "-", label=label, **AVERAGED)
    for weight, *at in zip(table["weight"], table["published score"], change, strict=True):
        trade.annotate(f"{weight:g}", at, xytext=(5, 6), textcoords="offset points", fontsize=8)
    for method, of in own.iterrows():
        at = of["published score"], of["return"] - own.loc["base", "return"]
        trade.plot(*at, "D", color=METHOD_COLOURS[method], ms=9, label=method_name(method))
    trade.set_yscale("symlog", linthresh=1)
    trade.set_yticks([0, -1, -10, -100], ["0", "-1", "-10", "-100"])
    trade.set(xlabel="smoothness score", ylabel="return minus Base's")
    names, over = list(USERS_MEASURES), own.loc["base", list(USERS_MEASURES)]
    places = np.arange(len(names))
    ratios.plot(own.loc["pave", names] / over, places, "D", color=METHOD_COLOURS["pave"], ms=9)
    ratios.plot(chosen[names].astype(float) / over, places, ls="", **AVERAGED)
    ratios.axvline(1, color=METHOD_COLOURS["base"], lw=1)
    ratios.set(xlabel=f"over Base's; averaged at weight {chosen['weight']:g}", xlim=(0, None))
    ratios.set_yticks(places, names)
    ratios.invert_yaxis()
    figure.legend(*trade.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    budget_label(figure, budget)
    return figure


def chain_figure(tables: Mapping[str, pd.DataFrame], budget: str) -> Figure:
    """Per visited state: slope of the greedy policy against the actor's, that against what the actions do, and the two
    ends of the chain; dots by method, lines of equality where both axes are in one unit.
    """
    links = {
        ("greedy", "actor"): (
            r"$\|H_{aa}^{-1}H_{as}\|$, greedy policy",
            r"$\|\partial\pi/\partial s\|$, trained policy",
        ),
        ("actor", "followed"): (r"$\|\partial\pi/\partial s\|$", r"$|\Delta a|\,/\,\|\Delta s\|$"),
        ("bound", "change"): (r"$\|H_{sa}\|/\mu$", r"$|\Delta a|$"),
    }
    figure, axes = plt.subplots(1, len(links), figsize=(13.5, 4.2))
    for panel, ((one, two), labels) in zip(axes, links.items(), strict=True):
        for method, table in tables.items():
            panel.plot(table[one], table[two], ".", color=METHOD_COLOURS[method], ms=3, label=method_name(method))
        panel.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
        if two != "change":
            ends = np.array(panel.get_xlim())
            panel.plot(ends, ends, color="0.4", lw=1)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, markerscale=4
    )
    budget_label(figure, budget)
    return figure
