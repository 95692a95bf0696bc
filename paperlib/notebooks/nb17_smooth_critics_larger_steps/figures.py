"""The pictures of notebook 17."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paperlib.repro.figures import colours


def pairs_figure(ratios: Mapping[str, np.ndarray], border: Mapping[str, float]) -> Figure:
    """Distribution over pairs of |a*(s) - a*(s')| / ((M/mu) |s - s'|), by critic; border: share of maximisers there."""
    figure, axes = plt.subplots(figsize=(10, 4.2))
    for (name, ratio), colour in zip(ratios.items(), colours(list(ratios)).values(), strict=True):
        share = np.linspace(0, 1, len(ratio))
        axes.plot(np.sort(ratio), share, color=colour, label=f"{name} ({border[name]:.0%} at the border)")
    axes.axvline(1, color="0.3", ls=":")
    axes.set(
        xlabel=r"$\|a^*(s)-a^*(s')\|\;/\;\frac{M}{\mu}\|s-s'\|$   (dotted: the bound)",
        ylabel="share of pairs of states",
        xlim=(-0.02, 1.05),
    )
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def counterexamples_figure(peaks: pd.DataFrame, slopes: Mapping[float, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Left: the greedy policy of a critic with two peaks. Right: a*(w) of critics that share M, mu and slope in w."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for sign in (-1, 1):
        branch = peaks[np.sign(peaks["state"]) == sign]
        left.plot(branch["state"], branch["action"], color="C0")
    left.set(xlabel="$s$", ylabel="$a^*(s)$", title=r"two peaks: $M/\mu$ at the maximisers is finite")
    for (frequency, (w, action)), colour in zip(slopes.items(), colours(list(slopes)).values(), strict=True):
        right.plot(w, action, color=colour, label=f"$k$ = {frequency:g}")
    right.set(xlabel="$w$", ylabel="$a^*(w)$", title=r"one $M$, one $\mu$, $|da^*/dw|\leq 1$")
    right.legend()
    return figure


def actors_figure(points: pd.DataFrame) -> Figure:
    """Distance to a* against residual over mu, per state, by actor."""
    figure, axes = plt.subplots(figsize=(6.5, 4.6))
    for name, colour in colours(list(points["actor"].unique())).items():
        of = points[points["actor"] == name]
        axes.plot(of["allowed"], of["distance"], "o", ms=4, mfc="none", color=colour, label=name)
    top = points["allowed"].max()
    axes.plot([0, top], [0, top], color="0.3", ls=":", label="Theorem B's bound")
    axes.set(xlabel=r"$\|P\,\nabla_aQ(s,\pi(s))\|/\mu$", ylabel=r"$\|\pi(s)-a^*(s)\|$")
    axes.legend(title="actor", fontsize=9)
    return figure


def iteration_figure(rows: pd.DataFrame) -> Figure:
    """Both margins of the greedy policies along policy iteration; a panel per gamma, a colour per A."""
    gammas = list(rows["gamma"].unique())
    figure, panels = plt.subplots(1, len(gammas), figsize=(4 * len(gammas) + 1, 4), sharey=True)
    palette = colours([f"$A$ = {a:g}" for a in rows["A"].unique()])
    for gamma, axes in zip(gammas, panels, strict=True):
        for a, of in rows[rows["gamma"] == gamma].groupby("A"):
            colour = palette[f"$A$ = {a:g}"]
            axes.plot(of["iteration"], of["margin"], "o-", ms=4, color=colour, label=f"$A$ = {a:g}")
            axes.plot(of["iteration"], of["closed loop"], "--", lw=1, color=colour)
        axes.axhline(0, color="0.3", lw=1)
        axes.set(title=rf"$\gamma$ = {gamma:g}", xlabel="policy iteration", xticks=sorted(rows["iteration"].unique()))
    panels[0].set_ylabel("margin (dashed: with the closed-loop constant)")
    panels[-1].legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def ripple_figure(rows: pd.DataFrame, critical: float) -> Figure:
    """L_pi, margin and step against kappa, solved for and by the formula; critical: where the margin is used up."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8))
    for axes, name, label in zip(panels, ("slope", "margin", "step"), (r"$L_\pi$", "margin", "step size"), strict=True):
        formula, solved = (rows[f"{name}, {way}"] for way in ("formula", "solved"))
        axes.plot(rows["kappa"], formula, color="C0", label="by the formula")
        axes.plot(rows["kappa"], solved, "o", ms=5, mfc="none", color="C1", label="greedy policy solved for")
        axes.axvline(critical, color="0.3", ls=":", label="no margin left")
        axes.set(xlabel=r"$\kappa$", ylabel=label)
    panels[1].axhline(0, color="0.3", lw=1)
    panels[2].set_yscale("log")
    panels[0].legend(fontsize=9)
    return figure
