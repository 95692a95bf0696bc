"""The pictures of notebook 16."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from paperlib.lipschitz.figures import RULE_LABELS, rule_style
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.ascent_figures import (
    BEST_STYLE,
    budget_of,
    draw_curves,
    layer,
    legend_above,
    spaced,
)
from paperlib.notebooks.shared.ascents import Ascents, distinct_rules
from paperlib.repro.figures import budget_label


def scores_figure(ascents: Ascents, cells: Mapping[str, str], best: Mapping[str, float]) -> Figure:
    """Panels of Fig. 4, a cell each; bars: the runs' standard deviation, each rule's at its own iterations.

    best: score of the best policy of the class by cell, of which some may be left out.
    """
    figure, axes = plt.subplots(1, len(cells), figsize=(6.0 * len(cells), 4.8), squeeze=False)
    for panel, letter, (title, cell) in zip(axes[0], "abcd", cells.items(), strict=False):
        rules = distinct_rules(ascents, cell)
        for place, rule in enumerate(rules):
            curve = spaced(ascents.curve(cell, rule, "score"))
            bars = {"yerr": curve["standard_deviation"], "errorevery": (place, len(rules)), "elinewidth": 1.5}
            style = bars | rule_style(rule) | {"zorder": layer(rule)}
            panel.errorbar(curve["iteration"], curve["mean"], capsize=2, **style)
        if cell in best:
            panel.axhline(best[cell], lw=1.2, **BEST_STYLE)
        panel.set(title=f"{letter}. {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
    legend_above(figure, *axes[0])
    budget_label(figure, budget_of(ascents, next(iter(cells.values()))) + "; bars: standard deviation over runs")
    return figure


def behaviour_figure(ascents: Ascents, cells: Mapping[str, str], best: Mapping[str, float]) -> Figure:
    """Fig. 5, a row per cell: scores (panels a and c); step sizes, L_pi and contraction margin (panels b and d)."""
    figure, axes = plt.subplots(len(cells), 2, figsize=(13.0, 0.8 + 4.4 * len(cells)), squeeze=False)
    for (left, right), letters, (title, cell) in zip(axes, ("ab", "cd"), cells.items(), strict=True):
        rules = distinct_rules(ascents, cell)
        draw_curves(left, ascents, cell, "score", rules)
        left.axhline(best[cell], lw=1.2, **BEST_STYLE)
        left.set(title=f"{letters[0]}. score, {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
        _draw_steps_and_smoothness(right, ascents, cell, rules)
        right.set(title=f"{letters[1]}. step size, $L_\\pi$ and margin, {title}", xlabel="iterations")
    quantities = {"-": "step size", "--": r"$L_\pi$", ":": r"margin $1-\gamma L_P(1+L_\pi)$"}
    lines = [Line2D([], [], color="0.4", linestyle=line, label=f"b, d: {label}") for line, label in quantities.items()]
    legend_above(figure, *axes[:, 0], ncols=4, more=lines)
    label = budget_of(ascents, next(iter(cells.values())))
    budget_label(figure, label + "; shading: 95 % interval of the mean")
    return figure


def _draw_steps_and_smoothness(panel: Axes, ascents: Ascents, cell: str, rules: Sequence[str]) -> None:
    """Step sizes in the upper half (left axis, logarithmic); L_pi, dashed, and margin, dotted, in the lower (right)."""
    draw_curves(panel, ascents, cell, "step_size", rules, "-")
    panel.set_yscale("log")
    low, high = np.log10(panel.get_ylim())
    of_a_decade = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [m * 10.0**power for power in range(math.floor(low), math.ceil(high)) for m in of_a_decade]
    panel.set_yticks([tick for tick in ticks if low <= math.log10(tick) <= high], minor=False)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_ylim(10 ** (2 * low - high), 10**high)
    panel.set_ylabel(r"step size $\|\alpha\|_2$", y=0.75)
    lower = panel.twinx()
    draw_curves(lower, ascents, cell, "policy_constant", rules, "--")
    draw_curves(lower, ascents, cell, "margin", rules, ":")
    low, high = lower.get_ylim()
    lower.set_yticks([tick for tick in lower.get_yticks() if low <= tick <= high])
    lower.set_ylim(low, 2 * high - low)
    lower.set_ylabel(r"$L_\pi$ and margin", y=0.25)
    lower.tick_params(right=False)  # beside the numbers a tick looks like a minus
    lower.grid(False)
    lower.axhline(0, color="0.5", lw=0.8)


def routes_figure(
    domains: Mapping[str, ShipSteering],
    policies: Mapping[str, Mapping[str, Callable[[tuple], np.ndarray]]],
    steps: int,
    budget: str,
) -> Figure:
    """The ship's way without noise, by domain and policy (state to heading omega; of a rule, the best of the class or
    any), up to the limits of the state, where a cross shows that it is held; the current in grey, the limits framed.
    """
    figure, axes = plt.subplots(1, len(domains), figsize=(6.3 * len(domains), 4.7), sharey=True)
    for panel, (title, domain) in zip(axes, domains.items(), strict=True):
        _draw_waters(panel, domain)
        for name, policy in policies[title].items():
            way, style = _way(domain, policy, steps), _style_of_route(name)
            panel.plot(*way.T, marker=".", ms=4, **style)
            if len(way) <= steps:
                panel.plot(*way[-1], marker="x", ms=9, mew=2, color=style["color"], zorder=4)
        panel.set(title=title, xlabel="x, km", xlim=(-2.3, 6.3), ylim=(-2.2, 2.2), aspect="equal")
        panel.grid(False)
    axes[0].set_ylabel("y, km")
    legend_above(figure, axes[0], ncols=3)
    budget_label(figure, budget)
    return figure


def _style_of_route(name: str) -> dict[str, Any]:
    if name in RULE_LABELS:
        return rule_style(name) | {"zorder": layer(name)}
    return BEST_STYLE if name == BEST_STYLE["label"] else {"color": "black", "linestyle": ":", "label": name}


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
    """Positions from the start to the first at a limit of the state, shape (steps + 1, 2) or shorter."""
    state, way = tuple(np.array([c]) for c in domain.start_at), [domain.start_at]
    while len(way) <= steps and not _at_limit(domain, way[-1]):
        state = domain.step(state, policy(state))
        way.append(tuple(float(c[0]) for c in state))
    return np.array(way)


def _at_limit(domain: ShipSteering, place: tuple[float, ...]) -> bool:
    return any(c <= low or c >= high for c, low, high in zip(place, domain.state_low, domain.state_high, strict=True))
