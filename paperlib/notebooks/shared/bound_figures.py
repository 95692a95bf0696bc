"""How loose a bound is: the picture notebooks 10 to 12 share."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from paperlib.notebooks.shared.grid_family import Search
from paperlib.repro.figures import colours

_COLOURS = colours(["random", "adversary"])


def ratio_figure(searches: Mapping[str, Search]) -> Figure:
    """Actual over bound, one row per link: quantiles over the random family, and the largest ratio a search found.

    Ratios of zero have no place on the logarithmic axis and are left out of the quantiles.
    """
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.5 * len(searches)))
    for row, search in enumerate(searches.values()):
        low, lower, median, upper, high = np.quantile(
            search.random_ratios[search.random_ratios > 0], [0.05, 0.25, 0.5, 0.75, 0.95]
        )
        first = row == 0
        axes.plot([low, high], [row, row], color=_COLOURS["random"], lw=1.5, label="5 to 95 % of random" * first)
        axes.plot([lower, upper], [row, row], color=_COLOURS["random"], lw=7, label="middle half of random" * first)
        axes.plot(median, row, "|", color="white", ms=11, mew=2)
        axes.plot(search.largest, row, "D", color=_COLOURS["adversary"], label="found by the search" * first)
        axes.annotate(f"{search.largest:.2g}", (search.largest, row), (0, 8), textcoords="offset points", ha="center")
    axes.axvline(1, color="0.2", lw=1.5)
    axes.set_xscale("log")
    axes.set_yticks(range(len(searches)), list(searches))
    axes.set_ylim(len(searches) - 0.5, -0.7)
    axes.set(xlabel="actual / bound; at 1 (line) the bound is attained")
    axes.grid(False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure
