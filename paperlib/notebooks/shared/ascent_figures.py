"""What the figures of notebooks 15 and 16 have in common: curves over iterations, by rule."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paperlib.lipschitz.figures import RULE_COLOURS, RULE_LABELS, rule_style
from paperlib.notebooks.shared.ascents import Ascents
from paperlib.repro.figures import budget_label

BEST_STYLE = {"color": "0.25", "linestyle": (0, (6, 3)), "label": "best policy of the class"}


def budget_of(ascents: Ascents, cell: str) -> str:
    """What a cell's curves were made of, for the label of a figure."""
    spec = ascents.spec(cell)
    return f"recorded: {spec['runs']} runs, {spec['episodes']} episodes of {spec['steps']} steps per gradient"


def spaced(curve: pd.DataFrame) -> pd.DataFrame:
    """Without iterations that follow the one before by less than 1 % of all, which would show as a jump."""
    kept = []
    for iteration in curve["iteration"]:
        if not kept or iteration - kept[-1] >= 0.01 * curve["iteration"].max():
            kept.append(iteration)
    return curve[curve["iteration"].isin(kept)]


def draw_curves(
    panel: Axes, ascents: Ascents, cell: str, quantity: str, rules: Sequence[str], linestyle: str | None = None
) -> None:
    """Means over runs with 95 % intervals shaded; MSS-MLC's on top. linestyle: in place of the rules' own."""
    for rule in rules:
        curve = spaced(ascents.curve(cell, rule, quantity))
        width = 1.96 * curve["standard_deviation"] / np.sqrt(curve["runs"])
        style = rule_style(rule) | ({} if linestyle is None else {"linestyle": linestyle})
        panel.plot(curve["iteration"], curve["mean"], zorder=layer(rule), **style)
        low, high = curve["mean"] - width, curve["mean"] + width
        panel.fill_between(curve["iteration"], low, high, color=RULE_COLOURS[rule], alpha=0.2, lw=0)


def layer(rule: str) -> float:
    """Drawing order: MSS-MLC above the other rules, and the larger guarantee, dotted, above it."""
    return {"mss_mlc": 3.0, "largest_guarantee": 3.5}.get(rule, 2.5)


def parameters_figure(ascents: Ascents, cell: str, rules: Sequence[str]) -> Figure:
    """Means over runs of the parameters theta_i (above) and of their step sizes alpha_i (below), a column per rule."""
    figure, axes = plt.subplots(2, len(rules), figsize=(5.2 * len(rules), 6.6), sharex=True, sharey="row")
    numbers = range(sum(name.startswith("theta_") for name in ascents.table("runs", cell, rules[0])))
    for column, rule in zip(axes.T, rules, strict=True):
        for panel, quantity in zip(column, ("theta", "step_size"), strict=True):
            means = [spaced(ascents.curve(cell, rule, f"{quantity}_{i}")) for i in numbers]
            if quantity == "step_size" and all(mean["mean"].equals(means[0]["mean"]) for mean in means):
                panel.plot(means[0]["iteration"], means[0]["mean"], color="0.3")
                panel.annotate("one for all $i$", (0.95, 0.9), xycoords="axes fraction", ha="right", color="0.3")
                continue
            for i, curve, line in zip(numbers, means, ("-", "--", "-."), strict=True):
                style = {"color": f"C{i}", "linestyle": line, "label": rf"$i={i + 1}$", "lw": 3.0 - 0.8 * i}
                panel.plot(curve["iteration"], curve["mean"], **style)
        column[0].set_title(RULE_LABELS[rule])
        column[1].set_xlabel("iterations")
    axes[0, 0].set_ylabel(r"$\theta_i$")
    axes[1, 0].set_ylabel(r"step size $\alpha_i$")
    axes[1, 0].set_ylim(bottom=0)
    legend_above(figure, axes[0, 0])
    budget_label(figure, budget_of(ascents, cell))
    return figure


def legend_above(figure: Figure, *panels: Axes, ncols: int | None = None, more: Sequence[Line2D] = ()) -> None:
    """One legend for the whole figure, from some of its panels and lines that none of them has; the best policy's last
    of theirs.
    """
    found = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if (best := BEST_STYLE["label"]) in found:
        found[best] = found.pop(best)
    found |= {line.get_label(): line for line in more}
    place = {"loc": "outside upper center", "ncols": ncols or len(found), "frameon": False}
    figure.legend(found.values(), found.keys(), **place)
