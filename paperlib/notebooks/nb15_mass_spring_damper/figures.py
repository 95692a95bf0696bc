"""The pictures of notebook 15."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from paperlib.lipschitz.figures import RULE_COLOURS, rule_style
from paperlib.lipschitz.simulation.domains import MassSpringDamper
from paperlib.notebooks.shared.ascent_figures import budget_of, draw_curves, legend_above, rules_to_draw
from paperlib.notebooks.shared.ascents import Ascents
from paperlib.notebooks.shared.mean_policy import noiseless
from paperlib.repro.figures import budget_label


def scores_and_steps_figure(ascents: Ascents, cell: str, title: str) -> Figure:
    """Panels a (scores) and b (step sizes, 2-norm for MSS-MLC) of Figs. 2 and 3."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.8))
    rules = rules_to_draw(ascents, [cell])
    draw_curves(left, ascents, cell, "score", rules)
    draw_curves(right, ascents, cell, "step_size", rules)
    left.set(title=f"a. score, {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
    right.set(title=f"b. step size, {title}", xlabel="iterations", ylabel=r"$\|\alpha\|_2$", yscale="log")
    legend_above(figure, left)
    budget_label(figure, budget_of(ascents, cell) + "; shading: 95 % interval of the mean")
    return figure


def angle_figure(ascents: Ascents, cells: Sequence[str]) -> Figure:
    """What MSS-MLC guarantees over SSS-MLC against the angle between gradient and constants, runs of MSS-MLC."""
    figure, axes = plt.subplots(1, len(cells), figsize=(5.5 * len(cells), 4.2), sharey=True)
    for panel, cell in zip(axes, cells, strict=True):
        trace = ascents.table("trace", cell, "mss_mlc")
        trace = trace[trace["angle"] >= 0]
        points = panel.scatter(
            np.degrees(trace["angle"]), trace["mss_over_sss_mlc"], c=trace["iteration"], s=4, cmap="viridis", lw=0
        )
        panel.set(title=cell, xlabel="angle between |gradient| and constants, degrees")
    axes[0].set_ylabel("guarantee of MSS-MLC over SSS-MLC")
    figure.colorbar(points, ax=axes, label="iteration")
    budget_label(figure, budget_of(ascents, cells[0]))
    return figure


def audit_figure(ascents: Ascents, cells: Sequence[str]) -> Figure:
    """Percentage of MSS-MLC's updates that improve by less than guaranteed, by tenth of the iterations and cell;
    the title tells the largest share of the rules with one step size.
    """
    figure, axes = plt.subplots(figsize=(8.0, 4.4))
    for cell, line in zip(cells, ("-", "--", ":"), strict=True):
        share = _broken_guarantees(ascents, cell, "mss_mlc")
        axes.plot(range(1, 11), share, line, marker=".", color=RULE_COLOURS["mss_mlc"], label=f"MSS-MLC, {cell}")
    others = max(_broken_guarantees(ascents, c, rule).max() for c in cells for rule in ("sss_slc", "sss_mlc", "agss"))
    axes.set(xlabel="tenth of the iterations", ylabel="updates below their guarantee, %", xticks=range(1, 11))
    axes.set_title(f"rules with one step size: at most {others:.2g} % in any tenth", fontsize=11)
    axes.legend(loc="upper left", frameon=False)
    budget_label(figure, budget_of(ascents, cells[0]))
    return figure


def _broken_guarantees(ascents: Ascents, cell: str, rule: str) -> np.ndarray:
    """Percentage of the updates in each tenth of the iterations, shape (10,)."""
    return 100 * ascents.table("tenths", cell, rule).groupby("tenth")["violations"].mean().to_numpy()


def motion_figure(
    domains: Mapping[str, MassSpringDamper], parameters: Mapping[str, Mapping[str, np.ndarray]], budget: str
) -> Figure:
    """Position over time without noise, from either start, at theta = 0 and by configuration and rule."""
    figure, axes = plt.subplots(1, len(domains), figsize=(5.5 * len(domains), 4.4), sharey=True)
    for panel, (name, domain) in zip(axes, domains.items(), strict=True):
        styles = {rule: rule_style(rule) for rule in parameters[name]}
        styles = {None: {"color": "0.5", "linestyle": ":", "label": r"$\theta=0$"}} | styles
        for rule, style in styles.items():
            theta = np.zeros(3) if rule is None else parameters[name][rule]
            states = noiseless(domain, theta, (np.array([-1.0, 1.0]), np.zeros(2)), 30)
            time = domain.interval * np.arange(len(states))
            panel.plot(time, states[:, 0, 0], **style)
            panel.plot(time, states[:, 0, 1], **style | {"label": None})
        panel.axhline(domain.goal, color="0.3", lw=1, ls="--")
        panel.set(title=name, xlabel="time, s")
    axes[0].set_ylabel("position (goal dashed)")
    legend_above(figure, axes[0])
    budget_label(figure, budget)
    return figure
