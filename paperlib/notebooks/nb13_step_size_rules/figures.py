"""The pictures of notebook 13."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from paperlib.lipschitz.figures import RULE_COLOURS, RULE_LABELS
from paperlib.lipschitz.step_sizes import mss_mlc, sss_mlc
from paperlib.notebooks.nb13_step_size_rules import algorithm1
from paperlib.notebooks.nb13_step_size_rules.problems import best_along
from paperlib.notebooks.nb13_step_size_rules.searches import first_zero
from paperlib.repro.figures import colours

_RULES = {label: RULE_COLOURS[rule] for rule, label in RULE_LABELS.items()}


def lemma8_figure(surplus: np.ndarray) -> Figure:
    """Improvement minus bound over the term that the bound subtracts, against the step's length: surplus (n, 2)."""
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.scatter(*surplus.T, s=10, alpha=0.6)
    for level in (0, 2):
        axes.axhline(level, color="black", lw=1)
    axes.set(
        xscale="log",
        ylim=(-0.1, 2.1),
        xlabel=r"length of the step $\|\Delta\theta\|_2$",
        ylabel="surplus / subtracted term",
        title="Lemma 8: nothing below 0, and by its mirror image nothing above 2",
    )
    axes.title.set_fontsize(11)
    return figure


def guarantee_figure(by_rule: dict[str, np.ndarray]) -> Figure:
    """Realised over guaranteed improvement, a histogram for each rule; each array (n, 2): guaranteed, realised."""
    figure, axes = plt.subplots(1, len(by_rule), figsize=(11, 3.6), sharey=True)
    for axis, (name, pairs) in zip(axes, by_rule.items(), strict=True):
        ratio = pairs[:, 1] / pairs[:, 0]
        axis.hist(ratio, bins=np.linspace(1, 3, 21), color=_RULES[name])
        axis.axvline(np.median(ratio), color="black", lw=1)
        axis.set(xlim=(0.95, 3.05), xticks=(1, 2, 3), xlabel="realised / guaranteed")
        axis.set_title(f"{name}, median {np.median(ratio):.2f}", fontsize=11)
    axes[0].set_ylabel("test functions")
    return figure


def psi_figure(phis: Sequence[float]) -> Figure:
    """The guarantee against psi for angles phi below, between and above the two thresholds."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for phi, colour in zip(phis, colours([f"{phi:.3f}" for phi in phis]).values(), strict=True):
        psi = np.linspace(0, math.pi / 2 - phi, 4000)[:-1]
        axes.plot(psi, algorithm1.guarantee_at(psi, phi), color=colour, label=rf"$\phi$ = {phi:.3f}")
        if (top := algorithm1.local_maximum(phi)) is not None:
            axes.plot(top, algorithm1.guarantee_at(top, phi), "o", color=colour)
    axes.set(
        ylim=(0.8, 1.6),
        xlabel=r"$\psi$, angle from the gradient, away from $L$ (rad)",
        ylabel=r"guarantee / $(\|g\|^2 / 2\|L\|)$",
    )
    axes.set_title("dots: local maxima, which exist up to 0.340 (printed: up to 0.124)", fontsize=11)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def shortfall_figure(by_rule: dict[str, np.ndarray]) -> Figure:
    """Share of problems that miss more than so much of the best guarantee; rules that miss nothing are named alone."""
    figure, axes = plt.subplots(figsize=(8, 4))
    levels = np.geomspace(1e-6, 1, 400)
    exact = [name for name, values in by_rule.items() if values.max() < levels[0]]
    missing = [name for name in by_rule if name not in exact]
    for name, colour in colours(missing).items():
        beyond = [100 * (by_rule[name] > level).mean() for level in levels]
        axes.step(100 * levels, beyond, color=colour, label=name)
    axes.set(
        xscale="log",
        xlabel="missed share of the best guarantee (%)",
        ylabel="problems that miss more (%)",
        title=f"these miss nothing: {' and '.join(exact)}",
    )
    axes.title.set_fontsize(11)
    axes.legend(loc="upper right")
    return figure


def plane_figure(g: np.ndarray, lipschitz: np.ndarray) -> Figure:
    """Figure 1 in three dimensions, and the guarantee along the way of Algorithm 1: |g| and L of shape (3,)."""
    figure = plt.figure(figsize=(12, 5))
    space, along = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
    _way_in_space(space, g, lipschitz)
    _guarantee_along_the_way(along, g, lipschitz)
    return figure


def _way(g: np.ndarray, lipschitz: np.ndarray) -> list[np.ndarray]:
    """Directions (n, d) from |g| away from L, until a step size vanishes, and on in that coordinate plane."""
    segments, free, start = [], np.arange(len(g)), 0.0
    while len(free) > 1:
        p, q = g[free], lipschitz[free]
        last = int(np.argmin(p / q))
        end = p - p[last] / q[last] * q
        directions, psis = np.zeros((100, len(g))), np.linspace(start, algorithm1.angle(p, end), 100)
        directions[:, free] = [algorithm1.turned(p, q, psi) for psi in psis]
        segments.append(np.maximum(directions, 0))
        free, end = np.delete(free, last), np.delete(end, last)
        start = algorithm1.angle(g[free], end)
    return segments


def _way_in_space(space, g: np.ndarray, lipschitz: np.ndarray) -> None:
    one, other = g / np.linalg.norm(g), lipschitz / np.linalg.norm(lipschitz)
    way = _way(g, lipschitz)
    best = mss_mlc(g, lipschitz).update
    best = best / np.linalg.norm(best)
    plane = np.linalg.qr(np.stack([g, lipschitz], axis=1))[0]
    out = math.degrees(math.asin(np.linalg.norm(best - plane @ (plane.T @ best))))
    back = [algorithm1.turned(g, lipschitz, -psi) for psi in np.linspace(algorithm1.angle(g, lipschitz), 0, 50)]
    sector = Poly3DCollection([np.concatenate([np.zeros((1, 3)), back, way[0]])], alpha=0.15, color="0.4")
    space.add_collection3d(sector)
    arrows = {"|g|": one, "L": other, f"MSS-MLC, {out:.0f}° out of their plane": best}
    for (name, vector), colour in zip(arrows.items(), colours(list(arrows)).values(), strict=True):
        space.quiver(0, 0, 0, *vector, color=colour, arrow_length_ratio=0.08, lw=2, label=name)
    for segment, line in zip(way, ("--", ":"), strict=True):
        space.plot(*segment.T, color="0.2", ls=line)
        space.scatter(*segment[-1], color="0.2", s=25)
    ticks = {f"{axis}ticks": (0.5,) for axis in "xyz"}  # those at 0 and 1 would meet in the corners
    limits = {f"{axis}lim": (0, 1) for axis in "xyz"}
    space.set(**limits, **ticks, xlabel=r"$|\Delta_1|$", ylabel=r"$|\Delta_2|$", zlabel=r"$|\Delta_3|$")
    space.view_init(28, 55)
    space.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), fontsize=9, frameon=False)


def _guarantee_along_the_way(axes, g: np.ndarray, lipschitz: np.ndarray) -> None:
    """The guarantee while turning, a line for each plane, with the guarantees of the two rules."""
    unit, turned = (g @ g) / (2 * np.linalg.norm(lipschitz)), 0.0
    names = ("in the plane of |g| and L", "on in the coordinate plane")
    for segment, line, name in zip(_way(g, lipschitz), ("--", ":"), names, strict=True):
        angles = turned + np.array([algorithm1.angle(segment[0], direction) for direction in segment])
        guarantee = [best_along(direction, g, lipschitz).guarantee / unit for direction in segment]
        axes.plot(angles, guarantee, color="0.2", ls=line, label=name)
        axes.plot(angles[-1], guarantee[-1], "o", color="0.2", ms=6)
        turned = angles[-1]
    for name, rule in (("SSS-MLC", sss_mlc), ("MSS-MLC", mss_mlc)):
        level = rule(g, lipschitz).guaranteed_improvement / unit
        axes.axhline(level, color=_RULES[name], label=f"{name}'s guarantee", zorder=1)
    axes.set(xlabel="angle turned (rad)", ylabel=r"guarantee / $(\|g\|^2 / 2\|L\|)$")
    axes.set_title("dots: a step size vanishes", fontsize=11)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.93), fontsize=9)


def concavity_figure(lipschitz: np.ndarray) -> Figure:
    """Where the bound (22) of two parameters is concave: the largest eigenvalue of its Hessian over directions."""
    figure, axes = plt.subplots(figsize=(7, 4))
    angles = np.linspace(0, math.pi / 2, 400)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    largest = [np.linalg.eigvalsh(algorithm1.hessian_of_bound(lipschitz, u))[-1] for u in directions]
    away = [algorithm1.angle(u, lipschitz) for u in directions]
    outside = np.array(away) > math.atan(math.sqrt(2))
    axes.axvspan(angles[outside].min(), angles[outside].max(), alpha=0.2, label=r"over $\arctan\sqrt{2}$ from $L$")
    axes.plot(angles, largest)
    axes.axvline(math.atan2(lipschitz[1], lipschitz[0]), color="C1", ls="--", label="direction of $L$")
    axes.axhline(0, color="black", lw=1)
    axes.set(
        xlabel="direction of the step in the plane of two parameters (rad)",
        ylabel="largest eigenvalue of the Hessian",
        title="two parameters: the bound is concave where this is not positive",
    )
    axes.legend(loc="upper center", fontsize=9)
    return figure


def times_figure(table: pd.DataFrame) -> Figure:
    """Recorded seconds against the number of parameters, medians over rounds; bars: fastest to slowest round."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    tasks = list(dict.fromkeys(table["task"]))
    for task, colour in colours(tasks).items():
        rounds = table[table["task"] == task].groupby("d")["seconds"].agg(["min", "median", "max"])
        sampled = task == "collecting the samples"  # at the three sizes of Table 1 alone
        axes.errorbar(
            rounds.index,
            rounds["median"],
            [rounds["median"] - rounds["min"], rounds["max"] - rounds["median"]],
            fmt="s" if sampled else "o-",
            color=colour,
            label=task,
            ms=6 if sampled else 4,
            capsize=3,
        )
    axes.set(xscale="log", yscale="log", xlabel="number of parameters d", ylabel="seconds for one call (median)")
    axes.legend(fontsize=9, loc="upper left")
    return figure


def advantage_figure(paths: Sequence[tuple[np.ndarray, np.ndarray]]) -> Figure:
    """MSS-MLC's guarantee over SSS-MLC's along paths of gradients that turn away from the constants: (n, d) each."""
    figure, axes = plt.subplots(figsize=(8, 4))
    dimensions = sorted({g.shape[1] for g, _ in paths})
    colour_of = colours([str(d) for d in dimensions])
    for g, lipschitz in paths:
        step, d = mss_mlc(g, lipschitz), str(g.shape[1])
        ratio = step.guaranteed_improvement / sss_mlc(g, lipschitz).guaranteed_improvement
        last = first_zero(step.update) - 1
        turned = [algorithm1.angle(*pair) for pair in zip(g, lipschitz, strict=True)]
        axes.plot(turned, ratio, lw=1.2, color=colour_of[d])
        axes.plot(turned[last], ratio[last], "k.", ms=6)
    axes.legend(
        handles=[plt.Line2D([], [], color=colour, label=f"d = {d}") for d, colour in colour_of.items()],
        loc="upper left",
        fontsize=9,
    )
    axes.set(
        xlabel=r"angle $\phi$ between $|g|$ and $L$ (rad)",
        ylabel="guarantee, MSS-MLC / SSS-MLC",
        title=f"{len(paths)} paths; dots: the first step size vanishes",
    )
    return figure
