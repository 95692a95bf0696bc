"""The pictures of notebook 12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from paperlib.repro.figures import colours

_COLOURS = colours(["lost", "gained", "total"])


def waterfall_figure(typical: Sequence[Mapping[str, float]], worst: Mapping[str, float]) -> Figure:
    """Decades between the actual change of the gradient and Theorem 3's bound, link by link.

    typical: the slack of each random pair, of which the means are drawn (so that the links still add up to the total),
    with the middle half of the pairs as a line; worst: the slack of the pair with the largest ratio.
    """
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharex=True, sharey=True)
    links = list(worst)
    table = np.array([[pair[link] for link in links] for pair in typical])
    _waterfall(axes[0], links, table.mean(axis=0), np.quantile(table, [0.25, 0.75], axis=0))
    _waterfall(axes[1], links, np.array([worst[link] for link in links]), None)
    axes[0].set_title(f"mean of {len(typical)} random pairs (line: middle half)", fontsize=11)
    axes[1].set_title("the pair with the tightest bound that the search found", fontsize=11)
    axes[0].set_xlim(right=1.15 * max(table.mean(axis=0).cumsum().max(), sum(worst.values()), 0.1))
    for one in axes:
        one.set_xlabel("decades from the actual change (0) to the bound")
        one.xaxis.set_major_locator(MultipleLocator(1))
    return figure


def _waterfall(axes: Axes, links: Sequence[str], decades: np.ndarray, spread: np.ndarray | None) -> None:
    ends = np.cumsum(decades)
    for row, (start, width) in enumerate(zip(ends - decades, decades, strict=True)):
        axes.barh(row, width, left=start, color=_COLOURS["lost" if width >= 0 else "gained"])
        axes.annotate(f"{width:.2f}", (max(start, start + width), row), (4, 0), textcoords="offset points", va="center")
        if spread is not None:
            axes.plot(start + spread[:, row], [row + 0.3] * 2, color="0.2", lw=1.5)
    axes.barh(len(links), ends[-1], color=_COLOURS["total"])
    axes.annotate(f"{ends[-1]:.2f}", (ends[-1], len(links)), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(links) + 1), [*links, "all together"])
    axes.set_ylim(len(links) + 0.6, -0.6)
    axes.grid(False, axis="y")
