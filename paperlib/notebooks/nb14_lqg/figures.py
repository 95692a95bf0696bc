"""The figures of notebook 14."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paperlib.repro.figures import budget_label, colours

LABELS = {"sss_slc": "Lipschitz rule", "agss": "AGSS", "largest_guarantee": "larger guarantee (ours)"}
_COLOUR_OF = colours([*LABELS])


def iterations_figure(exact: Mapping, estimated: pd.DataFrame, budget: str) -> Figure:
    """Iterations against A: a panel per gamma, lines for sigma with the exact gradient, GPOMDP runs as points.

    exact: by ((A, gamma, sigma), rule). estimated: a, discount, standard_deviation, rule, iterations.
    """
    grid = sorted({cell for cell, _ in exact})
    gammas, sigmas = (sorted({cell[k] for cell in grid}) for k in (1, 2))
    figure, axes = plt.subplots(1, len(gammas), figsize=(4.2 * len(gammas), 4.6), sharey=True)
    for panel, gamma in zip(np.atleast_1d(axes), gammas, strict=True):
        for (sigma, style), rule in _products(zip(sigmas, ("-", "--", ":"), strict=False), ("sss_slc", "agss")):
            cells = [cell for cell in grid if cell[1:] == (gamma, sigma)]
            needed = [exact[cell, rule] for cell in cells]
            a = [cell[0] for cell in cells]
            panel.semilogy(a, needed, style, color=_COLOUR_OF[rule], label=f"{LABELS[rule]}, $\\sigma$ = {sigma:g}")
        here = estimated[(estimated["discount"] == gamma) & (estimated["iterations"] >= 0)]
        for rule, shift in (("sss_slc", -0.006), ("agss", 0.006)):
            runs = here[here["rule"] == rule]
            panel.plot(runs["a"] + shift, runs["iterations"], ".", color=_COLOUR_OF[rule], ms=3, alpha=0.5)
        panel.set(title=f"$\\gamma$ = {gamma:g}", xlabel="$A$", xticks=sorted({cell[0] for cell in grid}))
    np.atleast_1d(axes)[0].set_ylabel("iterations to within 0.01 of the optimum")
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    budget_label(figure, budget)
    return figure


def _products(first, second):
    return [(one, other) for one in first for other in second]


def steps_figure(tables: Mapping[str, Mapping], start: float) -> Figure:
    """Step sizes along the way from the start to the optimum: a panel per cell, a line per rule."""
    figure, axes = plt.subplots(1, len(tables), figsize=(4.4 * len(tables), 4.0), sharey=True)
    for panel, (name, of_rule) in zip(axes, tables.items(), strict=True):
        for rule, table in of_rule.items():
            way = np.linspace(start, 0.05, 300)
            panel.semilogy(
                way, np.interp(way, table.parameters, table.step_sizes), color=_COLOUR_OF[rule], label=LABELS[rule]
            )
        panel.axvline(table.optimum, color="0.4", lw=1, ls="--")
        panel.annotate("optimum", (table.optimum, 0.03), xycoords=("data", "axes fraction"), rotation=90, fontsize=9,
                       ha="right")  # fmt: skip
        panel.set(title=name, xlabel=r"$\theta$")
    axes[0].set_ylabel("step size")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def constant_steps_figure(needed: Mapping[float, int], ratio_of_agss: float) -> Figure:
    """Iterations of constant steps, multiples of the Lipschitz rule's first; those that never arrive at the top."""
    factors = np.array(list(needed))
    iterations = np.array(list(needed.values()), dtype=float)
    arrives = iterations >= 0
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    axes.loglog(factors[arrives], iterations[arrives], "o-", color="C0", label="constant step")
    top = 5 * iterations.max()
    axes.loglog(factors[~arrives], np.full((~arrives).sum(), top), "x", color="C3", label="never arrives")
    axes.axvline(1, color=_COLOUR_OF["sss_slc"], ls="--", label="first step of the Lipschitz rule")
    axes.axvline(ratio_of_agss, color=_COLOUR_OF["agss"], ls=":", label="step of AGSS")
    axes.set(xlabel="step over the Lipschitz rule's first step", ylabel="iterations to within 0.01")
    axes.legend()
    return figure


def audit_figure(rows: Sequence[Mapping]) -> Figure:
    """Share of updates that break their guarantee, against episodes per estimate."""
    table = pd.DataFrame(rows)
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    for colour, (place, part) in zip(("C0", "C1"), table.groupby("place", sort=False), strict=False):
        axes.semilogx(
            part["episodes"], part["below the guarantee"], "o-", color=colour, label=f"{place}: below guarantee"
        )
        axes.semilogx(
            part["episodes"], part["worse than before"], "s:", color=colour, label=f"{place}: worse than before"
        )
    axes.set(xlabel="episodes per gradient estimate", ylabel="share of updates", ylim=(-0.03, 1.03))
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def estimated_constants_figure(ratios: pd.DataFrame) -> Figure:
    """Estimated over true constant against the number of transitions: median and whole range over data sets."""
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    for colour, (name, part) in zip(("C0", "C1", "C2"), ratios.groupby("constant", sort=False), strict=True):
        by_count = part.groupby("transitions")["ratio"]
        axes.semilogx(by_count.median().index, by_count.median(), "o-", color=colour, label=name)
        axes.fill_between(by_count.min().index, by_count.min(), by_count.max(), color=colour, alpha=0.2)
    axes.axhline(1, color="0.4", lw=1)
    axes.set(xlabel="transitions", ylabel="estimate over constant", ylim=(0, 1.05))
    axes.legend(title="median and range over data sets", loc="lower right")
    return figure


def estimators_figure(errors: Mapping[str, float]) -> Figure:
    """Root mean square errors of gradient estimates from the same number of episodes."""
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    axes.barh(list(errors), list(errors.values()), color=["C0"] + ["C1"] * (len(errors) - 1))
    axes.invert_yaxis()
    axes.set(xlabel="root mean square error of the gradient")
    axes.grid(False, axis="y")
    return figure
