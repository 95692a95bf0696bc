"""How loose bounds are: the picture and the table that notebooks 10 to 12 share."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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
        beside = axes.get_yaxis_transform()
        axes.text(1.02, row, f"{search.largest:.3g}", transform=beside, va="center", color=_COLOURS["adversary"])
    axes.axvline(1, color="0.2", lw=1.5, zorder=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(searches)), list(searches))
    axes.set_ylim(len(searches) - 0.5, -0.7)
    axes.set(xlabel="actual / bound; at 1 (line) the bound is attained")
    axes.grid(False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def ratio_table(searches: Mapping[str, Search]) -> pd.DataFrame:
    """The same as a table, a row per link."""
    return pd.DataFrame(
        {
            "link": list(searches),
            "median of random pairs": [np.median(search.random_ratios) for search in searches.values()],
            "largest found": [search.largest for search in searches.values()],
        }
    )
