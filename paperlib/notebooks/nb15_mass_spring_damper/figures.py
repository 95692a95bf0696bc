"""The pictures of notebook 15."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from paperlib.lipschitz.figures import RULE_COLOURS, rule_style
from paperlib.lipschitz.simulation.domains import MassSpringDamper
from paperlib.notebooks.shared.ascent_figures import BEST_STYLE, budget_of, draw_curves, legend_above
from paperlib.notebooks.shared.ascents import Ascents, distinct_rules
from paperlib.notebooks.shared.mean_policy import noiseless
from paperlib.repro.figures import budget_label


def scores_and_steps_figure(ascents: Ascents, titles: Mapping[str, str], best: Mapping[str, float]) -> Figure:
    """Scores (panels a, c) and step sizes (panels b, d; 2-norm for MSS-MLC) as in Figs. 2 and 3, a row per cell.

    best: score of the best policy of the class, by cell.
    """
    figure, axes = plt.subplots(len(titles), 2, figsize=(11.0, 0.6 + 4.2 * len(titles)), squeeze=False)
    for (left, right), (cell, title), letters in zip(axes, titles.items(), ("ab", "cd"), strict=False):
        rules = distinct_rules(ascents, cell)
        draw_curves(left, ascents, cell, "score", rules)
        left.axhline(best[cell], lw=1.2, **BEST_STYLE)
        draw_curves(right, ascents, cell, "step_size", rules)
        left.set(title=f"{letters[0]}. score, {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
        right.set(title=f"{letters[1]}. step size, {title}", xlabel="iterations", ylabel=r"$\|\alpha\|_2$")
        right.set_yscale("log")
    legend_above(figure, *axes[:, 0])
    budget_label(figure, budget_of(ascents, next(iter(titles))) + "; shading: 95 % interval of the mean")
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
    """Position over time without noise, from either start, at theta = 0 and by configuration and rule, or "best"."""
    figure, axes = plt.subplots(1, len(domains), figsize=(6.5 * len(domains), 4.6), sharey=True)
    for panel, (name, domain) in zip(axes, domains.items(), strict=True):
        zero = {"color": "0.6", "linestyle": ":", "label": r"$\theta=0$"}
        styles = {rule: BEST_STYLE if rule == "best" else rule_style(rule) for rule in parameters[name]}
        for rule, style in {None: zero, **styles}.items():
            theta = np.zeros(3) if rule is None else parameters[name][rule]
            states = noiseless(domain, theta, (np.array([-1.0, 1.0]), np.zeros(2)), 30)
            time = domain.interval * np.arange(len(states))
            panel.plot(time, states[:, 0, 0], **style)
            panel.plot(time, states[:, 0, 1], **style | {"label": None})
        panel.axhline(domain.goal, color="0.4", lw=1)
        panel.annotate("goal", (3.0, domain.goal), ha="right", va="bottom", fontsize=9, color="0.3")
        panel.set(title=name, xlabel="time, s")
    axes[0].set_ylabel("position, m")
    legend_above(figure, axes[0])
    budget_label(figure, budget)
    return figure
