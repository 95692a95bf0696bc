"""What the figures of notebooks 15 and 16 have in common: curves over iterations, by rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.lipschitz.figures import RULE_COLOURS, RULE_LABELS, rule_style
from paperlib.notebooks.shared.ascents import Ascents

_QUANTITIES = ("score", "step_size", "policy_constant", "margin")


def budget_of(ascents: Ascents, cell: str) -> str:
    """What a cell's curves were made of, for the label of a figure."""
    spec = ascents.spec(cell)
    return f"recorded: {spec['runs']} runs, {spec['episodes']} episodes of {spec['steps']} steps per gradient"


def rules_to_draw(ascents: Ascents, cells: Iterable[str]) -> list[str]:
    """All rules, without the larger guarantee (ours) where all its curves are MSS-MLC's to 1 % of a panel's height."""
    hidden = all(_follows_mss_mlc(ascents, cell, quantity) for cell in cells for quantity in _QUANTITIES)
    return [rule for rule in RULE_LABELS if rule != "largest_guarantee" or not hidden]


def _follows_mss_mlc(ascents: Ascents, cell: str, quantity: str) -> bool:
    means = {rule: ascents.curve(cell, rule, quantity)["mean"] for rule in RULE_LABELS}
    height = max(mean.max() for mean in means.values()) - min(mean.min() for mean in means.values())
    return bool((means["largest_guarantee"] - means["mss_mlc"]).abs().max() <= 0.01 * height)


def spaced(curve: pd.DataFrame) -> pd.DataFrame:
    """Without iterations that follow the one before by less than 1 % of all, which would show as a jump."""
    kept = []
    for iteration in curve["iteration"]:
        if not kept or iteration - kept[-1] >= 0.01 * curve["iteration"].max():
            kept.append(iteration)
    return curve[curve["iteration"].isin(kept)]


def draw_curves(panel: Axes, ascents: Ascents, cell: str, quantity: str, rules: Sequence[str]) -> None:
    """Means over runs with 95 % intervals shaded."""
    for rule in rules:
        curve = spaced(ascents.curve(cell, rule, quantity))
        width = 1.96 * curve["standard_deviation"] / np.sqrt(curve["runs"])
        panel.plot(curve["iteration"], curve["mean"], **rule_style(rule))
        low, high = curve["mean"] - width, curve["mean"] + width
        panel.fill_between(curve["iteration"], low, high, color=RULE_COLOURS[rule], alpha=0.2, lw=0)


def legend_above(figure: Figure, panel: Axes) -> None:
    """One legend for the whole figure, from one of its panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
