"""The figures of notebook 14."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import binomtest

from paperlib.lipschitz.figures import RULE_COLOURS, RULE_LABELS
from paperlib.lipschitz.simulation.lqg_iterations import StepTable
from paperlib.notebooks.nb14_lqg.gradients import root_mean_square
from paperlib.repro.figures import budget_label
from paperlib.repro.statistics import bootstrap_interval

LABELS = RULE_LABELS | {"sss_slc": "Lipschitz rule"}
"""With one parameter the three Lipschitz rules coincide."""


def iterations_figure(exact: Mapping, estimated: pd.DataFrame, budget: str) -> Figure:
    """Iterations against A: a panel per gamma, lines for sigma with the exact gradient, GPOMDP runs as points, those
    that were cut off as arrows at their limit.

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
            panel.semilogy(a, needed, style, color=RULE_COLOURS[rule], label=f"{LABELS[rule]}, $\\sigma$ = {sigma:g}")
        for rule, shift in (("sss_slc", -0.006), ("agss", 0.006)):
            runs = estimated[(estimated["discount"] == gamma) & (estimated["rule"] == rule)]
            made, cut = runs[runs["iterations"] >= 0], runs[runs["iterations"] < 0]
            style = {"ls": "", "color": RULE_COLOURS[rule], "alpha": 0.6}
            panel.plot(made["a"] + shift, made["iterations"], marker=".", ms=3, **style)
            panel.plot(cut["a"] + shift, cut["limit"], marker="^", ms=5, mfc="none", **style)
        panel.set(title=f"$\\gamma$ = {gamma:g}", xlabel="$A$", xticks=sorted({cell[0] for cell in grid}))
    np.atleast_1d(axes)[0].set_ylabel("iterations to within 0.01 of the optimum")
    handles = np.atleast_1d(axes)[0].get_legend_handles_labels()[0]
    for marker, label in ((".", "runs by GPOMDP"), ("^", "stopped there, not arrived")):
        handles.append(plt.Line2D([], [], ls="", marker=marker, color="0.3", mfc="none", label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
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
                way, np.interp(way, table.parameters, table.step_sizes), color=RULE_COLOURS[rule], label=LABELS[rule]
            )
        _say_where_the_rule_has_no_step(panel, of_rule["sss_slc"], start)
        panel.axvline(table.optimum, color="0.4", lw=1, ls="--")
        panel.annotate("optimum", (table.optimum, 0.03), xycoords=("data", "axes fraction"), rotation=90, fontsize=9,
                       ha="right")  # fmt: skip
        panel.set(title=name, xlabel=r"$\theta$")
    axes[0].set_ylabel("step size")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _say_where_the_rule_has_no_step(panel: Axes, table: StepTable, start: float) -> None:
    """Where the margin is not positive on the way from the start to zero."""
    way = (start <= table.parameters) & (table.parameters < 0)
    none = table.parameters[way & (table.step_sizes == 0)]
    if none.size:
        text = f"no step of the\nLipschitz rule left\nof {none.max():.2f}"
        place = {"xytext": (-8, 0), "textcoords": "offset points", "ha": "right", "fontsize": 9}
        panel.annotate(text, (none.max(), 1e-7), **place)


def constant_steps_figure(needed: Mapping[float, int], ratio_of_agss: float) -> Figure:
    """Iterations of constant steps, multiples of the Lipschitz rule's first; those that never arrive at the top."""
    factors = np.array(list(needed))
    iterations = np.array(list(needed.values()), dtype=float)
    arrives = iterations >= 0
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    axes.loglog(factors[arrives], iterations[arrives], "o-", color="C0", label="constant step")
    top = 5 * iterations.max()
    axes.loglog(factors[~arrives], np.full((~arrives).sum(), top), "x", color="C3",
                label="never arrives (drawn at the top)")  # fmt: skip
    axes.axvline(1, color=RULE_COLOURS["sss_slc"], ls="--", label="first step of the Lipschitz rule")
    axes.axvline(ratio_of_agss, color=RULE_COLOURS["agss"], ls=":", label="step of AGSS")
    axes.set(xlabel="step over the Lipschitz rule's first step", ylabel="iterations to within 0.01")
    axes.legend()
    return figure


def audit_figure(rows: Sequence[Mapping]) -> Figure:
    """Share of updates that break their guarantee, against episodes per estimate, with 95 % (Wilson) intervals.

    rows: place, episodes, updates, and of these those below the guarantee and those worse than before.
    """
    table = pd.DataFrame(rows)
    places = list(dict.fromkeys(table["place"]))
    figure, axes = plt.subplots(1, len(places), figsize=(4.5 * len(places), 3.8), sharey=True)
    for panel, place in zip(axes, places, strict=True):
        part = table[table["place"] == place]
        for name, style, colour in (("below the guarantee", "o-", "C0"), ("worse than before", "s:", "C1")):
            share = part[name] / part["updates"]
            counts = zip(part[name], part["updates"], strict=True)
            intervals = np.array([binomtest(k, n).proportion_ci(method="wilson") for k, n in counts])
            reach = np.abs(intervals - share.to_numpy()[:, None]).T
            panel.errorbar(part["episodes"], share, reach, fmt=style, color=colour, label=name, capsize=2)
        panel.set(xscale="log", title=place, xlabel="episodes per gradient estimate", ylim=(-0.03, 1.03))
        panel.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("share of updates")
    axes[0].legend(fontsize=9, loc="upper right")
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


def estimators_figure(errors: Mapping[str, np.ndarray]) -> Figure:
    """Root mean square errors of gradient estimates from the same number of episodes, with 95 % bootstrap intervals.

    errors: by estimator, (repetitions,).
    """
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    found = [bootstrap_interval(one[:, None], root_mean_square, seed=0) for one in errors.values()]
    sizes = np.array([one["estimate"] for one in found])
    reach = np.abs([[one[end] for one in found] for end in ("low", "high")] - sizes)
    axes.errorbar(sizes, list(errors), xerr=reach, fmt="o", capsize=3, color="C0")
    axes.invert_yaxis()
    axes.set(xlim=(0, None), xlabel="root mean square error of the gradient")
    axes.grid(False, axis="y")
    return figure
