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
    that were cut off as triangles at their limit, joined to the exact count of their cell.

    exact: by ((A, gamma, sigma), rule). estimated: a, discount, standard_deviation, rule, iterations, limit.
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
            for (cell_a, sigma), part in cut.groupby(["a", "standard_deviation"]):
                ends = part["limit"].iloc[0], exact[(cell_a, gamma, sigma), rule]
                panel.plot([cell_a + shift] * 2, ends, color=RULE_COLOURS[rule], lw=0.8, alpha=0.5)
        panel.set(title=f"$\\gamma$ = {gamma:g}", xlabel="$A$", xticks=sorted({cell[0] for cell in grid}))
    np.atleast_1d(axes)[0].set_ylabel("iterations to within 0.01 of the optimum")
    handles = np.atleast_1d(axes)[0].get_legend_handles_labels()[0]
    for marker, label in ((".", "runs by GPOMDP"), ("^", "stopped there; line to its exact count")):
        handles.append(plt.Line2D([], [], ls="", marker=marker, color="0.3", mfc="none", label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    budget_label(figure, budget)
    return figure


def _products(first, second):
    return [(one, other) for one in first for other in second]


_OF_BASELINE = {
    "none": ("no baseline", "C2", "s"),
    "own": ("baseline of the same episodes", "C3", "v"),
    "leave_one_out": ("baseline of the other episodes", "C0", "o"),
}


def bias_figure(curves: Mapping[str, pd.DataFrame], near: float = 0.06) -> Figure:
    """Expected estimates by baseline: a row per cell, over the exact gradient on the left, and near the optimum as they
    are, where they should vanish.

    curves: by cell, tables of `bias.expected_estimates`. Bars are 95 % intervals.
    """
    figure, axes = plt.subplots(len(curves), 2, figsize=(11.0, 3.6 * len(curves)), squeeze=False)
    for (left, right), (name, table) in zip(axes, curves.items(), strict=True):
        for shift, (baseline, (label, colour, marker)) in enumerate(_OF_BASELINE.items()):
            part = table[table["baseline"] == baseline]
            style = {"color": colour, "marker": marker, "ms": 5, "capsize": 2, "ls": "", "label": label}
            far, close = part[part["offset"].abs() > near / 2], part[part["offset"].abs() <= near]
            ratio, reach = far["mean"] / far["exact"], 1.96 * far["error"] / far["exact"].abs()
            left.errorbar(far["offset"] + 0.006 * (shift - 1), ratio, reach, **style)
            right.errorbar(close["offset"] + 0.001 * (shift - 1), close["mean"], 1.96 * close["error"], **style)
        exact = part[part["offset"].abs() <= near]
        right.plot(exact["offset"], exact["exact"], color="0.3", lw=1, label="exact gradient")
        right.axvspan(-0.01, 0.01, color="0.9", zorder=0, label="counts as the optimum")
        left.axhline(1, color="0.3", lw=1)
        right.axhline(0, color="0.3", lw=0.5)
        left.set(title=name, ylabel="expected / exact", xlabel=r"$\theta-\theta^*$", ylim=(0, None))
        right.set(title=f"{name}, near the optimum", ylabel="expected estimate", xlabel=r"$\theta-\theta^*$")
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def closed_loop_figure(margins: pd.DataFrame, steps: pd.DataFrame, name: str) -> Figure:
    """Margins with the paper's constant and with the closed loop's over theta, a colour per A; and steps in one cell.

    margins: a, theta, paper, closed_loop. steps: theta and a column per way to step, 0 where it has none.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.4))
    for colour, (a, part) in zip(("C0", "C1", "C3"), margins.groupby("a"), strict=True):
        left.plot(part["theta"], part["closed_loop"], color=colour, label=f"$1-\\gamma K$, $A$ = {a:g}")
        left.plot(part["theta"], part["paper"], color=colour, ls="--", label=f"paper's, $A$ = {a:g}")
    left.axhline(0, color="0.3", lw=1)
    left.set(title="contraction margin", xlabel=r"$\theta$")
    left.legend(fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    drawn = {
        "Lipschitz rule with $K$ (ours)": ("C4", "-"),
        "Lipschitz rule": (RULE_COLOURS["sss_slc"], "--"),
        "AGSS": (RULE_COLOURS["agss"], "-"),
    }
    for label, (colour, line) in drawn.items():
        right.semilogy(steps["theta"], steps[label].where(steps[label] > 0), color=colour, ls=line, label=label)
    right.set(title=f"step size, {name}", xlabel=r"$\theta$")
    right.legend(fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    return figure


def steps_figure(tables: Mapping[str, Mapping], start: float) -> Figure:
    """Step sizes along the way from the start to the optimum: a panel per cell, a line per rule."""
    figure, axes = plt.subplots(1, len(tables), figsize=(4.4 * len(tables), 4.0), sharey=True)
    for panel, (name, of_rule) in zip(axes, tables.items(), strict=True):
        way = np.linspace(min(start, of_rule["agss"].optimum) - 0.03, 0.05, 300)
        panel.set_xlim(way[0], way[-1])
        for rule, table in of_rule.items():
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
        panel.axvspan(panel.get_xlim()[0], none.max(), color="0.93", zorder=0)
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
