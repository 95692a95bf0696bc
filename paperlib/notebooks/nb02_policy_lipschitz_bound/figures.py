"""The pictures of PAVE Proposition 2."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from paperlib.notebooks.nb02_policy_lipschitz_bound.measures import TwoPeakCritic
from paperlib.pave.figures.names import METHOD_COLOURS
from paperlib.pave.greedy_policy import greedy_actions
from paperlib.repro.figures import colours

_LOSSES = colours(["alignment", "suprema", "bound"])


def tightness(ratios: Mapping[str, Tensor], ladder: pd.DataFrame) -> Figure:
    """Left: ||J|| over the product of norms, every state a dot. Right: what the suprema lose on the way to M / mu.

    ratios: critic to (B,). ladder: index critic; columns sup_jacobian, pointwise, bound.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True)
    rows = np.arange(len(ladder))
    generator = np.random.default_rng(0)
    for row, name in enumerate(ladder.index):
        values = ratios[name].numpy()
        jitter = generator.uniform(-0.25, 0.25, len(values))
        left.plot(values, row + jitter, ".", ms=4, alpha=0.5, color=_LOSSES["alignment"])
    left.axvline(1, color="0.2", lw=1.5)
    left.set(xlim=(0, 1.05), xlabel=r"$\|J\|\;/\;(\|H_{aa}^{-1}\|\,\|H_{sa}\|)$, one dot per state")
    left.set_title("step 1: lost to direction", fontsize=12)
    left.set_yticks(rows, ladder.index)
    left.invert_yaxis()
    share = ladder.div(ladder["bound"], axis=0)
    right.hlines(rows, share["sup_jacobian"], share["pointwise"], color=_LOSSES["alignment"], lw=5)
    right.hlines(rows, share["pointwise"], 1, color=_LOSSES["suprema"], lw=5)
    right.plot(share["pointwise"], rows, "D", color=_LOSSES["suprema"], label=r"$\sup\,(M(s)/\mu(s))$")
    right.plot(share["sup_jacobian"], rows, "o", color=_LOSSES["alignment"], ms=8, label=r"$\sup\,\|J\|$, measured")
    right.axvline(1, color="0.2", lw=1.5, label=r"the bound $\sup M(s)/\inf\mu(s)$")
    right.set(xlabel=r"share of the bound $M/\mu$")
    right.set_xlim(0, 1.05)
    right.set_title("steps 1 and 2: lost to separate suprema too", fontsize=12)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def broken_hypotheses() -> Figure:
    """Four critics on which the conclusion fails, one missing hypothesis each."""
    figure, ((jump, slit), (flat, steep)) = plt.subplots(2, 2, figsize=(10.5, 8))
    _two_peaks(jump)
    _slit_annulus(figure, slit)
    s = np.linspace(-1, 1, 801)
    _curve(flat, s, np.cbrt(s), r"$Q=-a^4/4+sa$", r"curvature not bounded away from 0: $a^*=\sqrt[3]{s}$")
    _curve(steep, s, np.sqrt(np.abs(s)), r"$Q=-a^2/2+a\sqrt{|s|}$", r"mixed partial unbounded: $a^*=\sqrt{|s|}$")
    return figure


def _curve(axes: Axes, s: np.ndarray, greedy: np.ndarray, critic: str, title: str) -> None:
    axes.plot(s, greedy, color="C0", lw=2, label=rf"$a^*(s)$ of {critic}")
    for slope in (1, 4, 16):
        axes.plot(
            s,
            np.where((s >= 0) & (slope * s <= 1), slope * s, np.nan),
            color="0.5",
            lw=1,
            label="lines through 0, by slope" if slope == 1 else None,
        )
        axes.annotate(f"{slope}", (1 / slope, 1.02), fontsize=9, color="0.3", ha="center", va="bottom")
    axes.set(xlabel="state $s$", ylabel="greedy action", ylim=(-1.05, 1.2))
    axes.set_title(title, fontsize=11)
    axes.grid(False)
    axes.legend(loc="lower right", fontsize=9)


def _two_peaks(axes: Axes) -> None:
    critic = TwoPeakCritic()
    s = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None]
    a = greedy_actions(critic, s, 1).actions.numpy()[:, 0]
    s = s.numpy()[:, 0]
    for side in (s < 0, s > 0):
        axes.plot(s[side], a[side], color="C0", lw=2, label=r"$a^*(s)$, global maximiser" if side[0] else None)
    start = 40
    reach = critic.bound * np.abs(s - s[start])
    axes.fill_between(s, a[start] - reach, a[start] + reach, color="C1", alpha=0.3, lw=0, label=r"within $M/\mu$")
    axes.plot(s[start], a[start], "o", color="C1")
    axes.set(xlabel="state $s$", ylabel="greedy action", ylim=(-1.05, 1.25))
    axes.set_title("two competing maxima: a jump", fontsize=11)
    axes.legend(loc="upper left", fontsize=9)


def _slit_annulus(figure: Figure, axes: Axes) -> None:
    angle, radius = np.meshgrid(np.linspace(-math.pi, math.pi, 121) * 0.97, np.linspace(0.6, 1, 3))
    shown = axes.pcolormesh(
        radius * np.cos(angle), radius * np.sin(angle), angle / (1.1 * math.pi), cmap="coolwarm", shading="gouraud"
    )
    shown.set_rasterized(True)
    figure.colorbar(shown, ax=axes, label="greedy action $a^*(s)$")
    ends = 0.8 * np.array([[math.cos(angle[0, i]), math.sin(angle[0, i])] for i in (0, -1)])
    axes.plot(*ends.T, "ko", ms=5)
    axes.annotate(
        "near in states,\nfar in actions",
        (-0.78, 0),
        (-0.28, 0),
        va="center",
        arrowprops={"arrowstyle": "->", "color": "k"},
    )
    axes.set(xlabel="$s_1$", ylabel="$s_2$", aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    axes.grid(False)
    axes.set_title("states connected, not convex: one smooth branch", fontsize=11)


def coupling_families(table: pd.DataFrame) -> Figure:
    """Measured ||J|| (columns) against M (index) along families of critics."""
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for name, marker in zip(table.columns, "osD", strict=True):
        axes.loglog(table.index, table[name], marker=marker, lw=2)
        axes.annotate(
            name, (table.index[-1], table[name].iloc[-1]), (8, 0), textcoords="offset points", va="center", fontsize=11
        )
    largest, smallest = table.index.max(), table.index.min()
    axes.set(xlabel=r"$M=\|H_{sa}\|_2$, falling to the right", ylabel=r"$\|J\|_2$, measured")
    axes.set_xlim(1.3 * largest, smallest / 6)
    return figure


def visited_curvatures(curvatures: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Share of visited states with curvature below x, per environment and method; environment to method to (B,)."""
    figure, panels = plt.subplots(1, len(curvatures), figsize=(11, 3.9), sharey=True)
    for axes, (environment, by_method) in zip(np.atleast_1d(panels), curvatures.items(), strict=True):
        for method, values in by_method.items():
            ordered = np.sort(values.numpy())
            rate = (ordered > 0).mean()
            axes.step(
                ordered,
                np.arange(1, len(ordered) + 1) / len(ordered),
                where="post",
                lw=2,
                color=METHOD_COLOURS[method.lower()],
                label=rf"{method}: {100 * rate:.1f} % with $\mu>0$",
            )
        axes.axvline(0, color="0.2", lw=1.2)
        limits = axes.get_xlim()
        axes.axvspan(limits[0], 0, color="0.5", alpha=0.15, lw=0)
        axes.set_xlim(limits)
        axes.set(xlabel=r"$-\lambda_{\max}(H_{aa})$ at visited $(s,\pi(s))$")
        axes.set_title(environment, fontsize=12, pad=8)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=9, frameon=False)
    np.atleast_1d(panels)[0].set_ylabel("share of visited states")
    return figure
