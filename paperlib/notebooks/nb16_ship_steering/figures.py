"""The pictures of notebook 16."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from paperlib.lipschitz.figures import RULE_LABELS, rule_style
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.ascent_figures import budget_of, draw_curves, legend_above, rules_to_draw, spaced
from paperlib.notebooks.shared.ascents import Ascents
from paperlib.repro.figures import budget_label


def scores_figure(ascents: Ascents, cells: Mapping[str, str]) -> Figure:
    """Panels of Fig. 4, a cell each; bars: the runs' standard deviation, each rule's at its own iterations."""
    figure, axes = plt.subplots(1, len(cells), figsize=(5.5 * len(cells), 4.8))
    rules = rules_to_draw(ascents, cells.values())
    for panel, letter, (title, cell) in zip(axes, "abcd", cells.items(), strict=False):
        for place, rule in enumerate(rules):
            curve = spaced(ascents.curve(cell, rule, "score"))
            bars = {"yerr": curve["standard_deviation"], "errorevery": (place, len(rules)), "elinewidth": 1.5}
            panel.errorbar(curve["iteration"], curve["mean"], capsize=2, **bars, **rule_style(rule))
        panel.set(title=f"{letter}. {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
    legend_above(figure, axes[0])
    budget_label(figure, budget_of(ascents, next(iter(cells.values()))) + "; bars: standard deviation over runs")
    return figure


def behaviour_figure(ascents: Ascents, cells: Mapping[str, str]) -> Figure:
    """Fig. 5, a row per cell: scores (panels a and c); step sizes, L_pi and contraction margin (panels b and d)."""
    panels = {
        "score": r"score $J^\theta_\mu$",
        "step_size": r"step size $\|\alpha\|_2$",
        "policy_constant": r"$L_\pi$",
        "margin": r"margin $1-\gamma L_P(1+L_\pi)$",
    }
    figure, axes = plt.subplots(len(cells), 4, figsize=(17.0, 4.1 * len(cells)), squeeze=False)
    rules = rules_to_draw(ascents, cells.values())
    for row, letters, (title, cell) in zip(axes, ("abbb", "cddd"), cells.items(), strict=True):
        for panel, letter, (quantity, label) in zip(row, letters, panels.items(), strict=True):
            draw_curves(panel, ascents, cell, quantity, rules)
            panel.set(xlabel="iterations", title=f"{letter}. {label}")
            panel.xaxis.set_major_locator(plt.MaxNLocator(4))
        row[0].set_ylabel(title)
        row[1].set_yscale("log")
        row[3].axhline(0, color="0.3", lw=1)
    legend_above(figure, axes[0, 0])
    label = budget_of(ascents, next(iter(cells.values())))
    budget_label(figure, label + "; shading: 95 % interval of the mean")
    return figure


def routes_figure(
    domains: Mapping[str, ShipSteering],
    policies: Mapping[str, Mapping[str, Callable[[tuple], np.ndarray]]],
    steps: int,
    budget: str,
) -> Figure:
    """The ship's way without noise, by domain and policy (state to heading omega; "optimal" or a rule's); the current
    in grey, the limits of the state framed.
    """
    figure, axes = plt.subplots(1, len(domains), figsize=(6.0 * len(domains), 4.4), sharey=True)
    for panel, (title, domain) in zip(axes, domains.items(), strict=True):
        _draw_waters(panel, domain)
        for name, policy in policies[title].items():
            way = _way(domain, policy, steps)
            style = rule_style(name) if name in RULE_LABELS else {"color": "0.3", "linestyle": "--", "label": name}
            panel.plot(*way.T, marker=".", ms=4, **style)
        panel.set(title=title, xlabel="x, km", xlim=(-2.3, 6.3), ylim=(-2.2, 2.2), aspect="equal")
        panel.grid(False)
    axes[0].set_ylabel("y, km")
    legend_above(figure, axes[0])
    budget_label(figure, budget)
    return figure


def _draw_waters(panel: Axes, domain: ShipSteering) -> None:
    """Limits, goal and current."""
    (x_low, y_low), (x_high, y_high) = domain.state_low, domain.state_high
    panel.add_patch(Rectangle((x_low, y_low), x_high - x_low, y_high - y_low, fill=False, color="0.6"))
    panel.add_patch(Circle((0, 0), domain.goal_radius, color="0.75"))
    panel.annotate("goal", (0, -0.25), ha="center", va="top", fontsize=9)
    y = np.linspace(-1.8, 1.8, 9)
    panel.quiver(np.full(9, -1.0), y, -y, 0 * y, color="0.7", scale=12, width=0.005)
    panel.annotate("current", (-1.0, 0), color="0.5", ha="center", va="center", fontsize=9)


def _way(domain: ShipSteering, policy: Callable[[tuple], np.ndarray], steps: int) -> np.ndarray:
    """Positions from the start on, shape (steps + 1, 2)."""
    state, way = tuple(np.array([c]) for c in domain.start_at), [domain.start_at]
    for _ in range(steps):
        state = domain.step(state, policy(state))
        way.append(tuple(float(c[0]) for c in state))
    return np.array(way)
