"""The pictures of notebook 10."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paperlib.lipschitz.kantorovich import kantorovich_on_line
from paperlib.notebooks.nb10_lipschitz_mdps.measures import total_variation
from paperlib.repro.figures import colours


def metrics_figure() -> Figure:
    """Two distributions moved apart under both metrics: point masses, and normal ones of some widths.

    Under the Kantorovich distance all lines are one; they are drawn one inside the other.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    grid, shifts = np.linspace(-4, 8, 12_001), np.linspace(0, 3, 61)
    widths = {"point masses": 0.0, "deviation 0.2": 0.2, "deviation 1": 1.0}
    for (name, width), colour, thick in zip(widths.items(), colours(list(widths)).values(), (8, 4.5, 1.5), strict=True):
        if width:
            mass = [np.exp(-(((grid - shift) / width) ** 2) / 2) for shift in shifts]
            mass = np.array([m / m.sum() for m in mass])
            axes[0].plot(shifts, kantorovich_on_line(grid, mass, mass[0]), color=colour, lw=thick)
            axes[1].plot(shifts, total_variation(mass, mass[0]), color=colour, label=name)
        else:
            axes[0].plot(shifts, shifts, color=colour, lw=thick)
            axes[1].plot([0, 3], [1, 1], color=colour, label=name)
            axes[1].plot(0, 0, "o", color=colour)
            axes[1].plot(0, 1, "o", color=colour, mfc="white")
    axes[0].set(title="Kantorovich: the shift, whatever the width", xlabel="shift of the mean", ylabel="distance")
    axes[1].set(title="total variation: a jump for point masses", xlabel="shift of the mean")
    axes[1].legend(loc="lower right")
    return figure


def ratio_of_metrics_figure(ratios: Mapping[float, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Largest ratios of deterministic maps under both metrics against the distance of the states.

    Maps with the same constant coincide; their marks take turns.
    """
    figure, axes = plt.subplots(figsize=(8, 4.2))
    distances, maps = list(ratios), list(next(iter(ratios.values())))
    jump = [min(row["total variation"] for row in ratios[d].values()) for d in distances]
    axes.plot(distances, jump, color="0.2", lw=2, ls="--", label="total variation, all maps")
    for turn, ((name, colour), mark) in enumerate(zip(colours(maps).items(), "osD^vP", strict=True)):
        kantorovich = [ratios[d][name]["kantorovich"] for d in distances]
        style = {"color": colour, "marker": mark, "ms": 7, "markevery": (turn % 3, 3)}
        axes.plot(distances, kantorovich, label=f"Kantorovich, {name}", **style)
    axes.set(
        xscale="log", yscale="log", xlabel="distance of the two states", ylabel="distance of next states / distance"
    )
    figure.legend(loc="outside right center", frameon=False)
    return figure


def lqg_figure(ratios: pd.DataFrame) -> Figure:
    """Steepest slope over Lemma 1's constant on LQG problems, with columns as `measures.lqg_ratios` describes them."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    axes.axhline(1, color="0.2", lw=2, label=r"linear system and reward, $k\geq 0$: attained")
    for (name, colour), mark in zip(colours(["Q", "V"]).items(), "ox", strict=True):
        style = {"color": colour, "ms": 4, "ls": "none", "alpha": 0.7}
        axes.plot(ratios["product"], ratios[name], mark, label=f"${name}$, LQG", **style)
    axes.set(
        xlabel=r"$\gamma L_P(1+L_\pi)$", ylabel="steepest slope / constant of Lemma 1", xlim=(0, 0.6), ylim=(0, 1.05)
    )
    axes.legend(loc="lower left", fontsize=10)
    return figure
